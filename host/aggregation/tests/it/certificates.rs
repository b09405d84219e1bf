//! Certificates hold only as their operators made them.

use eigenshift_aggregation::eigenlayer::{
    CheckSignaturesIndices, EigenLayerError, G1Point, G2Point, non_signer_stakes_and_signature,
};
use eigenshift_aggregation::{CertificateError, check_certificate, contract_parts};
use eigenshift_bls::any::verify_each;
use eigenshift_bls::bn254::{G1, G2, matches};
use eigenshift_bls::{ContractKey, Curve, DecodeError, PublicKey, SecretKey};
use eigenshift_types::{Bitmap, Bytes, Certificate, Stake, U256};

use crate::fixture::{CURVES, Cluster, both_curves, digest, malformed, quorums, secret};

fn cluster(curve: Curve) -> Cluster {
    Cluster::on(curve, &[&[100, 0], &[100, 100], &[100, 100], &[0, 0], &[0, 50]])
}

fn good(cluster: &Cluster) -> Certificate {
    cluster.certificate(&[(0, 1), (1, 2), (4, 1)], 5)
}

fn stake(value: u128) -> Stake {
    Stake::new(value).unwrap()
}

fn a_good_certificate_holds_and_says_its_stakes(curve: Curve) {
    let cluster = cluster(curve);
    let check = check_certificate(&cluster.operators, &quorums(&[66, 60]), &good(&cluster)).unwrap();
    assert!(check.verifies());
    assert_eq!(check.stakes, [(stake(200), stake(300)), (stake(150), stake(250))]);
    let signers = [(0, 1), (1, 2), (4, 1)];
    let keys = signers.map(|(position, weight): (usize, u64)| (cluster.secrets[position].public_key(), weight));
    let expected = PublicKey::weighted_sum(curve, keys);
    assert_eq!((check.aggregate_key, check.digest), (expected, digest(5)));
}

fn many_are_checked_in_one_pairing_product_and_the_bad_one_is_named(curve: Curve) {
    let cluster = cluster(curve);
    let mut wrong = good(&cluster);
    wrong.digest = digest(6);
    let checks: Vec<_> = [good(&cluster), wrong, cluster.certificate(&[(1, 2), (2, 2)], 7)]
        .iter()
        .map(|certificate| check_certificate(&cluster.operators, &quorums(&[66, 60]), certificate).unwrap().item())
        .collect();
    assert_eq!(verify_each(&checks), [true, false, true]);
}

fn a_bitmap_that_does_not_fit_the_set_is_refused(curve: Curve) {
    let cluster = cluster(curve);
    let all = |len: usize| Bitmap::from_fn(len, |position| [0, 1, 4].contains(&position));
    for signers in
        [Bitmap::from_fn(0, |_| false), all(9), Bitmap::from_fn(6, |position| [0, 1, 4, 5].contains(&position))]
    {
        let certificate = Certificate { signers, ..good(&cluster) };
        let result = check_certificate(&cluster.operators, &quorums(&[66, 60]), &certificate);
        assert_eq!(result, Err(CertificateError::Bitmap { operators: 5 }));
    }
    assert_eq!(all(5), good(&cluster).signers);
}

fn a_bit_of_an_operator_without_stake_in_the_task_is_refused(curve: Curve) {
    let cluster = cluster(curve);
    let signers = Bitmap::from_fn(5, |position| position != 2);
    let certificate = Certificate { signers, ..good(&cluster) };
    let result = check_certificate(&cluster.operators, &quorums(&[66, 60]), &certificate);
    assert_eq!(result, Err(CertificateError::SignerWithoutStake { position: 3 }));
    // Of the first quorum alone, operator 4 has nothing either.
    let result = check_certificate(&cluster.operators, &quorums(&[66]), &good(&cluster));
    assert_eq!(result, Err(CertificateError::SignerWithoutStake { position: 4 }));
}

fn a_bit_of_an_operator_that_did_not_sign_fails_the_pairing(curve: Curve) {
    let cluster = cluster(curve);
    let signers = Bitmap::from_fn(5, |position| position != 3);
    let certificate = Certificate { signers, ..good(&cluster) };
    assert!(!check_certificate(&cluster.operators, &quorums(&[66, 60]), &certificate).unwrap().verifies());
}

fn stake_below_a_threshold_is_refused_in_whichever_quorum(curve: Curve) {
    let cluster = cluster(curve);
    let refused = |quorum, signed, total, threshold| {
        Err(CertificateError::BelowThreshold { quorum, signed: stake(signed), total: stake(total), threshold })
    };
    let check = |thresholds| check_certificate(&cluster.operators, &quorums(thresholds), &good(&cluster));
    assert_eq!(check(&[67, 60]), refused(0, 200, 300, 67));
    assert_eq!(check(&[66, 61]), refused(1, 150, 250, 61));
    let nobody = Certificate { signers: Bitmap::from_fn(5, |_| false), ..good(&cluster) };
    assert_eq!(check_certificate(&cluster.operators, &quorums(&[1]), &nobody), refused(0, 0, 300, 1));
}

fn a_sum_with_wrong_multiplicity_or_of_other_signers_fails_the_pairing(curve: Curve) {
    let cluster = cluster(curve);
    for signers in [[(0, 1), (1, 1), (4, 1)], [(0, 2), (1, 2), (4, 1)], [(2, 1), (1, 2), (4, 1)]] {
        let certificate = Certificate { signature: cluster.certificate(&signers, 5).signature, ..good(&cluster) };
        assert!(!check_certificate(&cluster.operators, &quorums(&[66, 60]), &certificate).unwrap().verifies());
    }
}

fn a_signature_that_is_no_point_is_refused(curve: Curve) {
    let cluster = cluster(curve);
    for (what, signature, expected) in malformed(curve, &good(&cluster).signature) {
        let certificate = Certificate { signature: Bytes::from(signature), ..good(&cluster) };
        let result = check_certificate(&cluster.operators, &quorums(&[66, 60]), &certificate);
        assert_eq!(result, Err(CertificateError::Signature(expected)), "{what}");
    }
}

/// Of secrets s and -s: their keys are as good as any, and anything would verify under their sum.
#[test]
fn signers_whose_keys_add_up_to_nothing_are_refused() {
    let orders = [
        "21888242871839275222246405745257275088548364400416034343698204186575808495617",
        "52435875175126190479447740508185965837690552500527637822603658699938581184513",
    ];
    for (curve, order) in CURVES.into_iter().zip(orders) {
        let minus = U256::from_str_radix(order, 10).unwrap() - U256::from(1001);
        let minus = SecretKey::from_bytes(curve, &minus.to_be_bytes()).unwrap();
        let secrets = vec![secret(curve, 1001), minus, secret(curve, 1002)];
        let cluster = Cluster::of(secrets, &[0], &[&[100], &[100], &[100]]);
        let third = cluster.operators.position(secret(curve, 1002).operator_id()).unwrap();
        let both = |answer| Certificate {
            signers: Bitmap::from_fn(3, |position| position != third),
            ..cluster.certificate(&[(third, 1)], answer)
        };
        for answer in [5, 6] {
            let result = check_certificate(&cluster.operators, &quorums(&[60]), &both(answer));
            assert_eq!(result, Err(CertificateError::IdentityKey));
            assert_eq!(
                contract_parts(&cluster.operators, &quorums(&[60]), &both(answer)),
                Err(CertificateError::IdentityKey)
            );
        }
        // Their own signatures add up to nothing as well.
        let pair: Vec<(usize, u64)> =
            (0..3).filter(|position| *position != third).map(|position| (position, 1)).collect();
        let result = check_certificate(&cluster.operators, &quorums(&[60]), &cluster.certificate(&pair, 5));
        assert_eq!(result, Err(CertificateError::Signature(DecodeError::Identity)));
        // With the third it is an ordinary certificate, of the third's key.
        let all = cluster.certificate(&[(0, 1), (1, 1), (2, 1)], 5);
        let check = check_certificate(&cluster.operators, &quorums(&[100]), &all).unwrap();
        assert_eq!(check.aggregate_key, secret(curve, 1002).public_key());
        assert!(check.verifies());
    }
}

#[test]
fn a_contract_gets_parts_that_its_own_sum_agrees_with() {
    let cluster = cluster(Curve::Bn254);
    let parts = contract_parts(&cluster.operators, &quorums(&[66, 60]), &good(&cluster)).unwrap();
    assert_eq!(parts.quorums, [0, 1]);
    // Operator 2 did not sign; operator 3 has no stake and is none of the contract's business.
    assert_eq!(parts.non_signers, [cluster.secrets[2].contract_key().encode()]);
    // As the contract does: the quorums' keys less each non-signer's, once per quorum it is in.
    let quorum_keys: G1 = parts.quorum_aggregate_keys.iter().map(|key| G1::decode(key).unwrap()).sum();
    let absent: G1 = parts.non_signers.iter().map(|key| G1::decode(key).unwrap().mul_small(2)).sum();
    let signers = G2::decode(&parts.signers_aggregate_key).unwrap();
    assert!(matches(&(quorum_keys + -absent), &signers));
    assert_eq!(parts.signature, good(&cluster).signature);
}

fn non_signers_ascend_by_operator_id(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 9);
    let certificate = cluster.certificate(&[(3, 1), (5, 1)], 5);
    let parts = contract_parts(&cluster.operators, &quorums(&[20]), &certificate).unwrap();
    let ids: Vec<_> =
        parts.non_signers.iter().map(|key| ContractKey::decode(curve, key).unwrap().operator_id()).collect();
    assert_eq!(ids.len(), 7);
    assert!(ids.is_sorted());
    let refused = contract_parts(&cluster.operators, &quorums(&[30]), &certificate);
    assert!(matches!(refused, Err(CertificateError::BelowThreshold { .. })));
}

#[test]
fn eigenlayers_contract_gets_the_same_parts_with_indices_that_fit() {
    let cluster = cluster(Curve::Bn254);
    let parts = contract_parts(&cluster.operators, &quorums(&[66, 60]), &good(&cluster)).unwrap();
    let indices = || CheckSignaturesIndices {
        nonSignerQuorumBitmapIndices: vec![4],
        quorumApkIndices: vec![1, 2],
        totalStakeIndices: vec![3, 5],
        nonSignerStakeIndices: vec![vec![6], vec![]],
    };
    let made = non_signer_stakes_and_signature(&parts, indices()).unwrap();
    let word = |bytes: &Bytes, at: usize| U256::from_be_slice(&bytes[32 * at..32 * (at + 1)]);
    let g1 = |bytes: &Bytes| G1Point { X: word(bytes, 0), Y: word(bytes, 1) };
    assert_eq!(made.nonSignerPubkeys, [g1(&parts.non_signers[0])]);
    assert_eq!(made.quorumApks, [g1(&parts.quorum_aggregate_keys[0]), g1(&parts.quorum_aggregate_keys[1])]);
    assert_eq!(made.sigma, g1(&parts.signature));
    let key = &parts.signers_aggregate_key;
    assert_eq!(made.apkG2, G2Point { X: [word(key, 0), word(key, 1)], Y: [word(key, 2), word(key, 3)] });
    assert_eq!((made.quorumApkIndices.len(), made.nonSignerStakeIndices.len()), (2, 2));

    let broken: [fn(&mut CheckSignaturesIndices); 5] = [
        |indices| indices.nonSignerQuorumBitmapIndices.clear(),
        |indices| indices.quorumApkIndices.push(1),
        |indices| indices.totalStakeIndices.truncate(1),
        |indices| indices.nonSignerStakeIndices.truncate(1),
        |indices| indices.nonSignerStakeIndices[1] = vec![1, 2],
    ];
    for change in broken {
        let mut indices = indices();
        change(&mut indices);
        let refused = non_signer_stakes_and_signature(&parts, indices);
        assert!(matches!(refused, Err(EigenLayerError::Length { .. })), "{refused:?}");
    }
    let other = Cluster::on(Curve::Bls12381, &[&[100]]);
    let parts = contract_parts(&other.operators, &quorums(&[66]), &other.certificate(&[(0, 1)], 5)).unwrap();
    let indices = CheckSignaturesIndices {
        quorumApkIndices: vec![1],
        totalStakeIndices: vec![1],
        nonSignerStakeIndices: vec![vec![]],
        ..Default::default()
    };
    assert_eq!(non_signer_stakes_and_signature(&parts, indices), Err(EigenLayerError::Curve));
}

both_curves! {
    a_signature_that_is_no_point_is_refused,
    a_good_certificate_holds_and_says_its_stakes,
    many_are_checked_in_one_pairing_product_and_the_bad_one_is_named,
    a_bitmap_that_does_not_fit_the_set_is_refused,
    a_bit_of_an_operator_without_stake_in_the_task_is_refused,
    a_bit_of_an_operator_that_did_not_sign_fails_the_pairing,
    stake_below_a_threshold_is_refused_in_whichever_quorum,
    a_sum_with_wrong_multiplicity_or_of_other_signers_fails_the_pairing,
    non_signers_ascend_by_operator_id
}
