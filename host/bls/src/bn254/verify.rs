//! Verification, alone and in batches.
//!
//! A batch is checked by one product of pairings over a random linear combination: with coefficients `r`,
//! `e(sum r*sig, -g2) * product over digests e(H(digest), sum r*key) = 1`. Without coefficients two wrong signatures
//! could cancel out.
//!
//! The coefficients are 128 bits each and come from hashing the whole batch (Fiat-Shamir). That is sound: keys and
//! signatures are points of groups of prime order, so a batch that holds a wrong signature passes for at most a fraction
//! of 2^-128 of the coefficient vectors, and an attacker learns the vector of a batch only by fixing every byte of the
//! batch; each try costs a hash of all of it, so 2^k tries succeed with probability 2^(k-128). And it needs no random
//! source: every node comes to the same verdict, as the ledger's `apply` requires.

use std::sync::LazyLock;

use alloy_primitives::Keccak256;
use ark_bn254::{Bn254 as Pairs, G1Affine, G2Affine};
use ark_ec::bn::{G1Prepared, G2Prepared};
use ark_ec::pairing::{Pairing, PairingOutput};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::AdditiveGroup;
use eigenshift_types::B256;

use super::combine::{Coefficient, combine};
use super::{G1, G2, hash_to_g1};

type Prepared = G2Prepared<ark_bn254::Config>;

static NEGATED_GENERATOR: LazyLock<Prepared> = LazyLock::new(|| Prepared::from(-G2Affine::generator()));

/// Whether the product of `e(a, -g2)` and of `e(p, q)` over all pairs is one.
fn cancels(a: G1Affine, pairs: &[(G1Affine, G2Affine)]) -> bool {
    let left = std::iter::once(a).chain(pairs.iter().map(|pair| pair.0)).map(G1Prepared::from);
    let right = std::iter::once(NEGATED_GENERATOR.clone()).chain(pairs.iter().map(|pair| Prepared::from(pair.1)));
    let product = Pairs::multi_miller_loop(left, right);
    Pairs::final_exponentiation(product).is_some_and(|output| output == PairingOutput::ZERO)
}

/// Whether the key signed the digest. Never true for the identity, as key or as signature.
#[must_use]
pub fn verify(key: &G2, digest: B256, signature: &G1) -> bool {
    !key.is_identity() && !signature.is_identity() && cancels(signature.0, &[(hash_to_g1(digest).0, key.0)])
}

/// Whether a G1 and a G2 key have the same secret. Never true for the identity.
#[must_use]
pub fn matches(g1: &G1, g2: &G2) -> bool {
    all_match(&[(*g1, *g2)])
}

/// Whether every pair has the same secret on both sides: one check of two pairings for all of them. False when a pair
/// holds the identity; true when there are none.
#[must_use]
pub fn all_match(keys: &[(G1, G2)]) -> bool {
    if keys.iter().any(|(g1, g2)| g1.is_identity() || g2.is_identity()) {
        return false;
    }
    let mut transcript = Transcript::new("eigenshift bn254 key pairs v1", keys.len());
    for (g1, g2) in keys {
        transcript.absorb(&g1.encode());
        transcript.absorb(&g2.encode());
    }
    let coefficients = transcript.coefficients(keys.len());
    let first: Vec<G1Affine> = keys.iter().map(|(g1, _)| g1.0).collect();
    let second: Vec<G2Affine> = keys.iter().map(|(_, g2)| g2.0).collect();
    let left = combine(&first, &coefficients).into_affine();
    let right = combine(&second, &coefficients).into_affine();
    cancels(left, &[(G1Affine::generator(), right)])
}

/// Which of many signatures over one digest are valid. All valid: two pairings in all; each wrong one adds about
/// `2 * log2(n)` such checks.
#[must_use]
pub fn verify_same(digest: B256, signatures: &[(G2, G1)]) -> Vec<bool> {
    verdicts(signatures.iter().map(|(key, signature)| (key, digest, signature)))
}

/// Which of many signatures are valid, over any digests. All valid: one pairing for each distinct digest, one more, and
/// one final exponentiation.
#[must_use]
pub fn verify_each(signatures: &[(G2, B256, G1)]) -> Vec<bool> {
    verdicts(signatures.iter().map(|(key, digest, signature)| (key, *digest, signature)))
}

struct Item {
    position: usize,
    digest: B256,
    key: G2,
    signature: G1,
}

fn verdicts<'a>(signatures: impl ExactSizeIterator<Item = (&'a G2, B256, &'a G1)>) -> Vec<bool> {
    let mut verdicts = vec![false; signatures.len()];
    let mut items: Vec<Item> = signatures
        .enumerate()
        .map(|(position, (key, digest, signature))| Item { position, digest, key: *key, signature: *signature })
        .filter(|item| !item.key.is_identity() && !item.signature.is_identity())
        .collect();
    // Equal digests side by side: they share a pairing, in halves of the batch too.
    items.sort_by_key(|item| item.digest);
    settle(&items, &mut verdicts);
    verdicts
}

/// Writes down the verdicts of items of which nothing is known. Whether all are valid.
fn settle(items: &[Item], verdicts: &mut [bool]) -> bool {
    let valid = all_valid(items);
    if valid {
        for item in items {
            if let Some(verdict) = verdicts.get_mut(item.position) {
                *verdict = true;
            }
        }
    } else {
        settle_bad(items, verdicts);
    }
    valid
}

/// Writes down the verdicts of items of which at least one is wrong.
fn settle_bad(items: &[Item], verdicts: &mut [bool]) {
    if items.len() <= 1 {
        return;
    }
    let (left, right) = items.split_at(items.len() / 2);
    if settle(left, verdicts) {
        // Then the wrong one is on the right: no need to check that as a whole.
        settle_bad(right, verdicts);
    } else {
        settle(right, verdicts);
    }
}

fn all_valid(items: &[Item]) -> bool {
    match items {
        [] => return true,
        [item] => return verify(&item.key, item.digest, &item.signature),
        _ => {}
    }
    let mut transcript = Transcript::new("eigenshift bn254 signatures v1", items.len());
    for item in items {
        transcript.absorb(&item.key.encode());
        transcript.absorb(item.digest.as_slice());
        transcript.absorb(&item.signature.encode());
    }
    let coefficients = transcript.coefficients(items.len());
    let signatures: Vec<G1Affine> = items.iter().map(|item| item.signature.0).collect();
    let sum = combine(&signatures, &coefficients).into_affine();

    let mut rest = coefficients.as_slice();
    let mut pairs = Vec::new();
    for group in items.chunk_by(|a, b| a.digest == b.digest) {
        let (own, others) = rest.split_at(group.len().min(rest.len()));
        rest = others;
        pairs.extend(pair_of(group, own));
    }
    cancels(sum, &pairs)
}

/// The pair for the items of one digest. A lone item's coefficient goes to the G1 side, where multiplying is cheaper.
fn pair_of(group: &[Item], coefficients: &[Coefficient]) -> Option<(G1Affine, G2Affine)> {
    let hash = hash_to_g1(group.first()?.digest).0;
    Some(match group {
        [item] => (combine(&[hash], coefficients).into_affine(), item.key.0),
        _ => {
            let keys: Vec<G2Affine> = group.iter().map(|item| item.key.0).collect();
            (hash, combine(&keys, coefficients).into_affine())
        }
    })
}

/// Hashes everything that the coefficients must depend on.
struct Transcript(Keccak256);

impl Transcript {
    fn new(domain: &str, count: usize) -> Self {
        let mut hasher = Keccak256::new();
        hasher.update(domain);
        hasher.update((count as u64).to_be_bytes());
        Self(hasher)
    }

    /// Every part has a fixed length, so that no two batches give the same bytes.
    fn absorb(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    fn coefficients(self, count: usize) -> Vec<Coefficient> {
        let seed = self.0.finalize();
        (0..count as u64)
            .map(|number| {
                let mut hasher = Keccak256::new();
                hasher.update(seed);
                hasher.update(number.to_be_bytes());
                let hash: [u8; 32] = hasher.finalize().0;
                let half = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                Coefficient { low: half(&hash), high: half(hash.split_at(8).1) }
            })
            .collect()
    }
}
