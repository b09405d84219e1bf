//! An operator set is taken only when everything in it follows from its records.

use eigenshift_aggregation::error::Group;
use eigenshift_aggregation::operators::{MAX_OPERATORS, assemble};
use eigenshift_aggregation::{Error, Operators};
use eigenshift_bls::bn254::G2;
use eigenshift_bls::{ContractKey, Curve, DecodeError};
use eigenshift_types::{B256, Bytes, OperatorId, OperatorSet, Stake};

use crate::fixture::{Cluster, block, record};

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
