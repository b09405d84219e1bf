//! What every scheme holds.

use std::fmt::Debug;

use eigenshift_bls::bls12381::{self, Bls12381};
use eigenshift_bls::bn254::{self, Bn254};
use eigenshift_bls::{DecodeError, Scheme};
use eigenshift_types::{B256, U256};

use crate::digest;

/// A scheme with keys to try it with.
trait Tried: Scheme {
    fn secret(n: u64) -> Self::SecretKey;

    /// The sum of both and nothing else: an error that is another signature.
    fn off(signature: Self::Signature, n: u64) -> Self::Signature {
        Self::sum([(signature, 1), (Self::sign(&Self::secret(n), digest(99)), 1)])
    }
}

impl Tried for Bn254 {
    fn secret(n: u64) -> bn254::SecretKey {
        bn254::SecretKey::from_bytes(&U256::from(n).to_be_bytes()).unwrap()
    }
}

impl Tried for Bls12381 {
    fn secret(n: u64) -> bls12381::SecretKey {
        bls12381::SecretKey::from_bytes(&U256::from(n).to_be_bytes()).unwrap()
    }
}

type Entry<S> = (<S as Scheme>::PublicKey, B256, <S as Scheme>::Signature);

/// Signatures by different keys over digests that repeat.
fn entries<S: Tried>(count: u64, digests: u64) -> Vec<Entry<S>> {
    let entry = |n: u64| {
        let message = digest(u8::try_from(n % digests).unwrap());
        (S::public_key(&S::secret(n + 1)), message, S::sign(&S::secret(n + 1), message))
    };
    (0..count).map(entry).collect()
}

fn same<S: Scheme>(entries: &[Entry<S>]) -> Vec<(S::PublicKey, S::Signature)> {
    entries.iter().map(|(key, _, signature)| (*key, *signature)).collect()
}

macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod bn254_ {
            $(#[test] fn $law() { super::$law::<super::Bn254>(); })*
        }
        mod bls12381_ {
            $(#[test] fn $law() { super::$law::<super::Bls12381>(); })*
        }
    };
}

laws! {
    a_signature_verifies_under_its_key_and_digest_only,
    encodings_round_trip_and_nothing_else_is_decoded,
    the_identity_never_verifies,
    sums_verify_under_sums_of_keys_with_equal_weights_only,
    a_plain_sum_says_nothing_of_its_parts_and_a_batch_does,
    batches_name_exactly_the_bad,
    many_digests_of_few_keys_and_many_keys_of_few_digests_are_checked_alike,
    secrets_are_not_printed,
}

fn a_signature_verifies_under_its_key_and_digest_only<S: Tried>() {
    let (key, other) = (S::public_key(&S::secret(5)), S::public_key(&S::secret(6)));
    let signature = S::sign(&S::secret(5), digest(1));
    assert!(S::verify(&key, digest(1), &signature));
    assert!(!S::verify(&other, digest(1), &signature));
    assert!(!S::verify(&key, digest(2), &signature));
    assert!(!S::verify(&key, digest(1), &S::off(signature, 3)));
    assert_eq!(S::sign(&S::secret(5), digest(1)), signature, "signing draws nothing");
}

fn encodings_round_trip_and_nothing_else_is_decoded<S: Tried>() {
    fn only<T: Debug + PartialEq>(bytes: &[u8], value: &T, decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
        assert_eq!(decode(bytes).as_ref(), Ok(value));
        for length in (0..bytes.len()).chain([bytes.len() + 1, 2 * bytes.len(), 1 << 20]) {
            let mut other = bytes.to_vec();
            other.resize(length, 0);
            assert!(matches!(decode(&other), Err(DecodeError::Length { .. })), "{length}");
        }
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.to_vec();
                other[position] ^= 1 << bit;
                // The other root of y is the only neighbour that is a point, and it is not this one.
                assert_ne!(decode(&other).as_ref(), Ok(value), "{position} {bit}");
            }
        }
        assert!(decode(&vec![0xff; bytes.len()]).is_err());
    }
    for n in [1, 2, 77, u64::MAX] {
        let key = S::public_key(&S::secret(n));
        only(&S::encode_key(&key), &key, S::decode_key);
        let signature = S::sign(&S::secret(n), digest(4));
        only(&S::encode(&signature), &signature, S::decode);
    }
    let nothing = (S::encode_key(&S::sum_keys([])), S::encode(&S::sum([])));
    assert_eq!(S::decode_key(&nothing.0), Err(DecodeError::Identity));
    assert_eq!(S::decode(&nothing.1), Err(DecodeError::Identity));
}

fn the_identity_never_verifies<S: Tried>() {
    let (key, signature) = (S::sum_keys([]), S::sum([]));
    assert!(!S::verify(&key, digest(1), &signature));
    assert_eq!(S::verify_each(&[(key, digest(1), signature)]), [false]);
    assert!(!S::verify_sum(digest(1), &[(key, signature)]) && !S::verify_sum(digest(1), &[]));
    let mut batch = same::<S>(&entries::<S>(3, 1));
    batch.insert(1, (key, signature));
    assert_eq!(S::verify_same(digest(0), &batch), [true, false, true, true]);
    assert!(S::verify_same(digest(0), &[]).is_empty() && S::verify_each(&[]).is_empty());
}

fn sums_verify_under_sums_of_keys_with_equal_weights_only<S: Tried>() {
    let batch = entries::<S>(6, 1);
    let weights = [1, 2, 3, 1, 0, 300];
    let key = S::sum_keys(batch.iter().map(|entry| entry.0).zip(weights));
    let signature = S::sum(batch.iter().map(|entry| entry.2).zip(weights));
    assert!(S::verify(&key, digest(0), &signature));
    let plain = S::sum(batch.iter().map(|entry| (entry.2, 1)));
    assert!(!S::verify(&key, digest(0), &plain));
    assert!(S::verify(&S::sum_keys(batch.iter().map(|entry| (entry.0, 1))), digest(0), &plain));
    // Adding a key to itself is a doubling.
    assert_eq!(S::sum_keys([(batch[0].0, 1), (batch[0].0, 1)]), S::sum_keys([(batch[0].0, 2)]));
}

fn a_plain_sum_says_nothing_of_its_parts_and_a_batch_does<S: Tried>() {
    let mut batch = same::<S>(&entries::<S>(5, 1));
    assert!(S::verify_sum(digest(0), &batch));
    // Swapped signatures cancel out in the sum.
    let kept = batch[1].1;
    batch[1].1 = batch[3].1;
    batch[3].1 = kept;
    assert!(S::verify_sum(digest(0), &batch));
    assert_eq!(S::verify_same(digest(0), &batch), [true, false, true, false, true]);
    batch[0].1 = S::off(batch[0].1, 3);
    assert!(!S::verify_sum(digest(0), &batch));
}

fn batches_name_exactly_the_bad<S: Tried>() {
    for bad in [0_u32, 0b1, 0b1000_0000_0000, 0b10_1000, 0xfff] {
        let mut batch = entries::<S>(12, 5);
        for (position, entry) in batch.iter_mut().enumerate().filter(|(position, _)| bad >> position & 1 == 1) {
            match position % 3 {
                0 => entry.1 = digest(9),
                1 => entry.0 = S::public_key(&S::secret(99)),
                _ => entry.2 = S::off(entry.2, 3),
            }
        }
        let expected: Vec<bool> = (0..12).map(|position| bad >> position & 1 == 0).collect();
        assert_eq!(S::verify_each(&batch), expected, "{bad:b}");
        let alone: Vec<bool> =
            batch.iter().map(|(key, digest, signature)| S::verify(key, *digest, signature)).collect();
        assert_eq!(alone, expected);
    }
}

fn many_digests_of_few_keys_and_many_keys_of_few_digests_are_checked_alike<S: Tried>() {
    let few_keys: Vec<Entry<S>> = (0..9)
        .map(|n| {
            (S::public_key(&S::secret(n % 2 + 1)), digest(n as u8), S::sign(&S::secret(n % 2 + 1), digest(n as u8)))
        })
        .collect();
    for mut batch in [few_keys, entries::<S>(9, 2)] {
        assert_eq!(S::verify_each(&batch), [true; 9]);
        batch[4].2 = S::off(batch[4].2, 3);
        let expected: Vec<bool> = (0..9).map(|position| position != 4).collect();
        assert_eq!(S::verify_each(&batch), expected);
    }
}

fn secrets_are_not_printed<S: Tried>()
where
    S::SecretKey: Debug,
{
    assert_eq!(format!("{:?}", S::secret(0x1234_5678)), "SecretKey(..)");
}
