//! Batches say of each signature what checking it alone says.

use eigenshift_bls::Scheme;
use eigenshift_bls::bn254::{Bn254, G1, G2, all_match, matches, verify, verify_each, verify_same};
use eigenshift_types::B256;
use proptest::prelude::*;

use crate::{digest, secret};

fn signed(count: u64, message: B256) -> Vec<(G2, G1)> {
    (1..=count).map(|n| (secret(n).g2(), secret(n).sign(message))).collect()
}

#[test]
fn a_lone_signature_verifies_under_its_key_and_digest_only() {
    let signature = secret(5).sign(digest(1));
    assert!(verify(&secret(5).g2(), digest(1), &signature));
    assert!(!verify(&secret(6).g2(), digest(1), &signature));
    assert!(!verify(&secret(5).g2(), digest(2), &signature));
    assert!(!verify(&secret(5).g2(), digest(1), &-signature));
}

#[test]
fn the_identity_never_verifies() {
    assert!(!verify(&G2::identity(), digest(1), &G1::identity()));
    let mut batch = signed(3, digest(1));
    batch.push((G2::identity(), G1::identity()));
    assert_eq!(verify_same(digest(1), &batch), [true, true, true, false]);
    assert_eq!(verify_same(digest(1), &[(G2::identity(), G1::identity())]), [false]);
    assert!(!matches(&G1::identity(), &G2::identity()));
}

#[test]
fn an_empty_batch_has_no_verdicts() {
    assert!(verify_same(digest(1), &[]).is_empty());
    assert!(verify_each(&[]).is_empty());
}

#[test]
fn wrong_signatures_that_cancel_out_are_both_found() {
    let mut batch = signed(4, digest(1));
    let error = secret(99).g1();
    batch[1].1 = batch[1].1 + error;
    batch[2].1 = batch[2].1 + -error;
    // Their plain sum is right, which is why there are coefficients.
    let keys: G2 = batch.iter().map(|entry| entry.0).sum();
    let sum: G1 = batch.iter().map(|entry| entry.1).sum();
    assert!(verify(&keys, digest(1), &sum));
    assert_eq!(verify_same(digest(1), &batch), [true, false, false, true]);
}

#[test]
fn swapped_signatures_are_both_found() {
    let mut batch = signed(5, digest(1));
    let kept = batch[0].1;
    batch[0].1 = batch[4].1;
    batch[4].1 = kept;
    assert_eq!(verify_same(digest(1), &batch), [false, true, true, true, false]);
}

#[test]
fn a_batch_over_many_digests_names_exactly_the_bad() {
    let mut batch: Vec<(G2, B256, G1)> = (1..=12)
        .map(|n| {
            let message = digest(u8::try_from(n % 5).unwrap());
            (secret(n).g2(), message, secret(n).sign(message))
        })
        .collect();
    assert_eq!(verify_each(&batch), [true; 12]);
    batch[3].1 = digest(9);
    batch[7].0 = secret(1).g2();
    let expected: Vec<bool> = (0..12).map(|position| position != 3 && position != 7).collect();
    assert_eq!(verify_each(&batch), expected);
}

#[test]
fn signatures_added_up_verify_under_the_added_keys_with_equal_weights_only() {
    let batch = signed(6, digest(3));
    let weights = [1, 2, 3, 1, 2, 3];
    let key = G2::weighted_sum(batch.iter().map(|entry| entry.0).zip(weights));
    let signature = G1::weighted_sum(batch.iter().map(|entry| entry.1).zip(weights));
    assert!(verify(&key, digest(3), &signature));
    let plain = Bn254::sum(batch.iter().map(|entry| (entry.1, 1)));
    assert!(!verify(&key, digest(3), &plain));
    let plain_key = Bn254::sum_keys(batch.iter().map(|entry| (entry.0, 1)));
    assert!(verify(&plain_key, digest(3), &plain));
}

#[test]
fn keys_of_two_secrets_do_not_match_alone_or_in_a_batch() {
    let mut keys: Vec<(G1, G2)> = (1..=7).map(|n| (secret(n).g1(), secret(n).g2())).collect();
    assert!(all_match(&keys) && all_match(&[]));
    assert!(matches(&keys[0].0, &keys[0].1));
    assert!(!matches(&keys[0].0, &keys[1].1));
    // Two errors that cancel out in a plain sum.
    let kept = keys[2].1;
    keys[2].1 = keys[3].1;
    keys[3].1 = kept;
    assert!(!all_match(&keys));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn bisection_finds_exactly_the_bad(bad in proptest::collection::vec(any::<bool>(), 1..20), digests in 1_u8..4) {
        let batch: Vec<(G2, B256, G1)> = bad
            .iter()
            .enumerate()
            .map(|(position, bad)| {
                let secret = secret(position as u64 + 1);
                let message = digest(u8::try_from(position).unwrap() % digests);
                let signature = secret.sign(message);
                (secret.g2(), message, if *bad { signature + G1::generator() } else { signature })
            })
            .collect();
        let expected: Vec<bool> = bad.iter().map(|bad| !bad).collect();
        prop_assert_eq!(&verify_each(&batch), &expected);
        if digests == 1 {
            let same: Vec<(G2, G1)> = batch.iter().map(|entry| (entry.0, entry.2)).collect();
            prop_assert_eq!(&verify_same(digest(0), &same), &expected);
        }
    }
}
