//! An operator set is taken only when everything in it follows from its records.

use eigenshift_aggregation::error::Group;
use eigenshift_aggregation::operators::{MAX_OPERATORS, assemble};
use eigenshift_aggregation::{Error, Operators};
use eigenshift_bls::bn254::G2;
use eigenshift_bls::{ContractKey, Curve, DecodeError, SecretKey};
use eigenshift_types::{B256, Bytes, OperatorId, OperatorSet, Stake, U256};

use crate::fixture::{CURVES, Cluster, block, record, secret};

fn cluster() -> Cluster {
    Cluster::new(&[&[100, 5], &[200, 0], &[300, 7]])
}

#[test]
fn an_assembled_set_is_taken_and_its_sums_count_only_operators_with_stake() {
    let cluster = cluster();
    assert_eq!(Operators::verify_structure(&cluster.set), Ok(()));
    let quorum = &cluster.operators.quorums()[1];
    assert_eq!(quorum.total, Stake::new(12).unwrap());
    let keys = [0, 2].map(|position: usize| (cluster.secrets[position].contract_key(), 1));
    assert_eq!(quorum.aggregate, ContractKey::weighted_sum(Curve::Bn254, keys));
    assert_eq!(cluster.operators.position(cluster.secrets[1].operator_id()), Some(1));
    assert_eq!((cluster.operators.len(), cluster.operators.digest()), (3, cluster.set.digest));
    assert_eq!((cluster.operators.quorum_position(1), cluster.operators.quorum_position(2)), (Some(1), None));
}

/// The key as eigensdk-go writes it.
fn real_first(key: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&G2::decode(key).unwrap().encode_real_first())
}

/// Breaks a set; true when the digest is to be made right again, as a liar would.
type Break = fn(&mut OperatorSet, &Cluster) -> bool;

#[test]
fn every_broken_set_is_refused_for_its_reason() {
    let cases: &[(Break, Error)] = &[
        (
            |set, _| {
                set.digest = B256::ZERO;
                false
            },
            Error::Digest,
        ),
        (
            |set, _| {
                set.operators.clear();
                true
            },
            Error::SetSize { found: 0 },
        ),
        (
            |set, _| {
                set.quorums.clear();
                true
            },
            Error::SetQuorumOrder,
        ),
        (
            |set, _| {
                set.quorums[1].number = 0;
                true
            },
            Error::SetQuorumOrder,
        ),
        (
            |set, _| {
                set.operators.swap(0, 1);
                true
            },
            Error::OperatorOrder { position: 1 },
        ),
        (
            |set, _| {
                set.operators[1] = set.operators[0].clone();
                true
            },
            Error::OperatorOrder { position: 1 },
        ),
        (
            |set, _| {
                set.operators[1].stakes.pop();
                true
            },
            Error::StakeCount { position: 1, found: 1, quorums: 2 },
        ),
        (
            |set, _| {
                set.operators[2].id = OperatorId(B256::repeat_byte(0xff));
                true
            },
            Error::OperatorId { position: 2 },
        ),
        (
            |set, _| {
                set.operators[0].g1 = Bytes::from(vec![0; 64]);
                true
            },
            Error::OperatorKey { position: 0, group: Group::G1, source: DecodeError::Identity },
        ),
        (
            |set, _| {
                set.operators[0].g1 = Bytes::from(vec![1; 64]);
                true
            },
            Error::OperatorKey { position: 0, group: Group::G1, source: DecodeError::NotOnCurve },
        ),
        (
            |set, _| {
                set.operators[1].g2 = real_first(&set.operators[1].g2);
                true
            },
            Error::OperatorKey { position: 1, group: Group::G2, source: DecodeError::NotOnCurve },
        ),
        (
            |set, _| {
                set.operators[1].g2 = Bytes::copy_from_slice(&G2::generator().encode());
                true
            },
            Error::KeysDiffer,
        ),
        (
            // A rogue pair whose plain sum is right.
            |set, _| {
                let (a, b) = (set.operators[0].g2.clone(), set.operators[1].g2.clone());
                set.operators[0].g2 = b;
                set.operators[1].g2 = a;
                true
            },
            Error::KeysDiffer,
        ),
        (
            |set, _| {
                set.quorums[0].total_stake = Stake::new(601).unwrap();
                true
            },
            Error::StakeSum { quorum: 0 },
        ),
        (
            |set, _| {
                set.operators[0].stakes[1] = Stake::MAX;
                set.quorums[1].total_stake = Stake::MAX;
                true
            },
            Error::StakeSum { quorum: 1 },
        ),
        (
            |set, _| {
                set.quorums[1].aggregate_g1 = set.quorums[0].aggregate_g1.clone();
                true
            },
            Error::AggregateKey { quorum: 1 },
        ),
        (
            |set, _| {
                set.quorums[1].aggregate_g1 = Bytes::new();
                true
            },
            Error::AggregateKey { quorum: 1 },
        ),
    ];
    let cluster = cluster();
    for (number, (broken, expected)) in cases.iter().enumerate() {
        let mut set = cluster.set.clone();
        if broken(&mut set, &cluster) {
            set.digest = set.compute_digest();
        }
        assert_eq!(Operators::verify_structure(&set), Err(expected.clone()), "case {number}");
    }
}

#[test]
fn a_set_that_is_too_large_is_refused_before_its_points_are_looked_at() {
    let mut set = cluster().set;
    set.operators = vec![set.operators[0].clone(); MAX_OPERATORS + 1];
    set.digest = set.compute_digest();
    assert_eq!(Operators::verify_structure(&set), Err(Error::SetSize { found: MAX_OPERATORS + 1 }));
}

#[test]
fn assembling_sorts_and_refuses_what_does_not_fit() {
    let cluster = cluster();
    let records = || cluster.secrets.iter().rev().map(|secret| record(secret, &[1, 2])).collect::<Vec<_>>();
    let set = assemble(block(), &[3, 9], records()).unwrap();
    assert!(set.operators.is_sorted_by_key(|operator| operator.id));
    assert_eq!(Operators::verify_structure(&set), Ok(()));
    assert_eq!(assemble(block(), &[9, 3], records()).unwrap_err(), Error::SetQuorumOrder);
    assert_eq!(assemble(block(), &[], records()).unwrap_err(), Error::SetQuorumOrder);
    assert_eq!(assemble(block(), &[3], vec![]).unwrap_err(), Error::SetSize { found: 0 });
    let twice = [records(), records()].concat();
    assert_eq!(assemble(block(), &[3, 9], twice).unwrap_err(), Error::OperatorOrder { position: 1 });
}

type Change = fn(&mut OperatorSet);

/// Some of those that are refused over BN254 too, and those that only this curve has.
#[test]
fn every_broken_set_over_bls12_381_is_refused_for_its_reason() {
    let wrong = |position, group, source| Error::OperatorKey { position, group, source };
    let cases: &[(Change, Error)] = &[
        // One key is both: a second one, even the same or BN254's, would be a second encoding of the set.
        (
            |set| set.operators[0].g2 = set.operators[0].g1.clone(),
            wrong(0, Group::G2, DecodeError::Length { expected: 0, found: 96 }),
        ),
        (
            |set| set.operators[2].g2 = secret(Curve::Bn254, 1).public_key().encode(),
            wrong(2, Group::G2, DecodeError::Length { expected: 0, found: 128 }),
        ),
        (|set| set.operators[1].g2 = Bytes::from(vec![0]), wrong(1, Group::G2, length(0, 1))),
        // (0, 2) is on the curve and not in the group.
        (
            |set| {
                let mut key = vec![0; 96];
                key[95] = 2;
                set.operators[1].g1 = key.into();
            },
            wrong(1, Group::G1, DecodeError::NotInSubgroup),
        ),
        (|set| set.operators[1].g1 = Bytes::from(vec![0; 96]), wrong(1, Group::G1, DecodeError::NotOnCurve)),
        (
            |set| {
                let mut key = vec![0; 96];
                key[0] = 0x40;
                set.operators[0].g1 = key.into();
            },
            wrong(0, Group::G1, DecodeError::Identity),
        ),
        (|set| set.operators[0].g1 = Bytes::from(vec![0xff; 96]), wrong(0, Group::G1, DecodeError::NotCanonical)),
        (|set| set.operators[1].g1 = set.operators[1].g1.slice(..48), wrong(1, Group::G1, length(96, 48))),
        (|set| set.operators[1].g1 = set.operators[0].g1.clone(), Error::OperatorId { position: 1 }),
        (|set| set.operators.swap(0, 1), Error::OperatorOrder { position: 1 }),
        (|set| set.quorums[0].total_stake = Stake::new(601).unwrap(), Error::StakeSum { quorum: 0 }),
        (|set| set.quorums[1].aggregate_g1 = set.quorums[0].aggregate_g1.clone(), Error::AggregateKey { quorum: 1 }),
    ];
    let cluster = Cluster::on(Curve::Bls12381, &[&[100, 5], &[200, 0], &[300, 7]]);
    assert_eq!(Operators::verify_structure(&cluster.set), Ok(()));
    for (number, (broken, expected)) in cases.iter().enumerate() {
        let mut set = cluster.set.clone();
        broken(&mut set);
        assert_eq!(Operators::verify_structure(&set), Err(Error::Digest), "case {number}");
        set.digest = set.compute_digest();
        assert_eq!(Operators::verify_structure(&set), Err(expected.clone()), "case {number}");
    }
}

const fn length(expected: usize, found: usize) -> DecodeError {
    DecodeError::Length { expected, found }
}

#[test]
fn two_curves_in_one_set_are_refused_wherever_the_second_comes() {
    for other in 0..3 {
        for [most, one] in [CURVES, [CURVES[1], CURVES[0]]] {
            // In the order of their ids, all of the first curve but one.
            let ids = |n: u64| (1..=3).map(move |part| n * 3 + part);
            let mixed = |n: u64| {
                let mut secrets: Vec<_> = ids(n).map(|n| secret(most, n)).collect();
                secrets[0] = secret(one, n + 1);
                secrets.sort_by_key(SecretKey::operator_id);
                (secrets[other].curve() == one).then_some(secrets)
            };
            let secrets = (1..).find_map(mixed).unwrap();
            let records = || secrets.iter().map(|secret| record(secret, &[100])).collect::<Vec<_>>();
            // The first one's curve is the set's.
            let position = if other == 0 { 1 } else { other };
            let len = |curve: Curve| if curve == Curve::Bn254 { 64 } else { 96 };
            let (of_set, found) = (secrets[0].curve(), secrets[position].curve());
            let expected = Error::OperatorKey { position, group: Group::G1, source: length(len(of_set), len(found)) };
            assert_eq!(assemble(block(), &[0], records()).unwrap_err(), expected);
            let mut set = Cluster::equal_on(most, 3).set;
            set.operators = records();
            set.digest = set.compute_digest();
            assert_eq!(Operators::from_set(&set).unwrap_err(), expected);
        }
    }
}

/// A point of BN254's twist with x = 1, times the group order not the identity: found with an independent library.
const OUTSIDE: [&str; 4] = [
    "0",
    "1",
    "5912654199736721486680175016176231956195085055698687135131307249486702594212",
    "18278151005453108793778860132295291098363647455926340152056652516292830556603",
];

#[test]
fn a_bn254_key_outside_the_group_is_refused() {
    let mut set = cluster().set;
    let coordinates = OUTSIDE.map(|part| U256::from_str_radix(part, 10).unwrap().to_be_bytes::<32>());
    set.operators[1].g2 = Bytes::from(coordinates.concat());
    set.digest = set.compute_digest();
    let expected = Error::OperatorKey { position: 1, group: Group::G2, source: DecodeError::NotInSubgroup };
    assert_eq!(Operators::from_set(&set).unwrap_err(), expected);
}
