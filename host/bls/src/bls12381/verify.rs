//! Verification, alone and in batches.
//!
//! As over BN254: a batch is one product of pairings over a random combination, whose coefficients of 128 bits come from
//! hashing the whole batch.

use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine, min_pk};
use eigenshift_types::B256;

use super::{POSSESSION, PublicKey, SIGNATURES, Signature};
use crate::batch::{self, Item};
use crate::transcript::Transcript;

impl PublicKey {
    /// Whether the proof shows that somebody has the key's secret.
    #[must_use]
    pub fn is_possessed(&self, proof: &Signature) -> bool {
        checks(self, &self.encode_compressed(), POSSESSION, proof)
    }
}

fn checks(key: &PublicKey, message: &[u8], domain: &[u8], signature: &Signature) -> bool {
    // Points of these types are in their groups.
    !key.is_identity()
        && !signature.is_identity()
        && signature.0.verify(false, message, domain, &[], &key.0, false) == BLST_ERROR::BLST_SUCCESS
}

/// Whether the key signed the digest. Never true for the identity, as key or as signature.
#[must_use]
pub fn verify(key: &PublicKey, digest: B256, signature: &Signature) -> bool {
    checks(key, digest.as_slice(), SIGNATURES, signature)
}

/// Whether the plain sum of signatures verifies under the plain sum of their keys: what a certificate needs, and no proof
/// that any of them is valid alone. False for none.
#[must_use]
pub fn verify_sum(digest: B256, signatures: &[(PublicKey, Signature)]) -> bool {
    let key = PublicKey::weighted_sum(signatures.iter().map(|(key, _)| (*key, 1)));
    let signature = Signature::weighted_sum(signatures.iter().map(|(_, signature)| (*signature, 1)));
    verify(&key, digest, &signature)
}

/// Which of many signatures over one digest are valid.
#[must_use]
pub fn verify_same(digest: B256, signatures: &[(PublicKey, Signature)]) -> Vec<bool> {
    verdicts(signatures.iter().map(|(key, signature)| (*key, digest, *signature)))
}

/// Which of many signatures are valid, over any digests.
#[must_use]
pub fn verify_each(signatures: &[(PublicKey, B256, Signature)]) -> Vec<bool> {
    verdicts(signatures.iter().copied())
}

fn verdicts(signatures: impl ExactSizeIterator<Item = (PublicKey, B256, Signature)>) -> Vec<bool> {
    let count = signatures.len();
    let items = signatures
        .enumerate()
        .filter(|(_, (key, _, signature))| !key.is_identity() && !signature.is_identity())
        .map(|(position, (key, digest, signature))| Item { position, key, digest, signature });
    batch::verdicts(count, items.collect(), all_valid)
}

const BITS: usize = 128;

fn all_valid(items: &[Item<PublicKey, Signature>]) -> bool {
    match items {
        [] => return true,
        [item] => return verify(&item.key, item.digest, &item.signature),
        _ => {}
    }
    let mut transcript = Transcript::new("eigenshift bls12-381 signatures v1", items.len());
    for item in items {
        transcript.absorb(&item.key.encode());
        transcript.absorb(item.digest.as_slice());
        transcript.absorb(&item.signature.encode());
    }
    let coefficients: Vec<[u8; 16]> = transcript.coefficients(items.len());
    let signatures: Vec<min_pk::Signature> = items.iter().map(|item| item.signature.0).collect();
    let sum = Signature::combine(&signatures, coefficients.as_flattened(), BITS);

    let mut pairing = Pairing::new(true, SIGNATURES);
    let mut rest = coefficients.as_slice();
    let mut signature = Some(blst_p2_affine::from(sum.0));
    for group in items.chunk_by(|a, b| a.digest == b.digest) {
        let (own, others) = rest.split_at(group.len().min(rest.len()));
        rest = others;
        let keys: Vec<min_pk::PublicKey> = group.iter().map(|item| item.key.0).collect();
        let key = blst_p1_affine::from(PublicKey::combine(&keys, own.as_flattened(), BITS).0);
        let digest = group.first().map(|item| item.digest).unwrap_or_default();
        // The sum of signatures goes in with the first digest.
        let taken = match signature.take() {
            Some(signature) => pairing.aggregate(&key, false, &signature, false, digest.as_slice(), &[]),
            None => pairing.aggregate(&key, false, &(), false, digest.as_slice(), &[]),
        };
        if taken != BLST_ERROR::BLST_SUCCESS {
            return false;
        }
    }
    pairing.commit();
    pairing.finalverify(None)
}
