//! From digests to points, and from keys to ids.

use ark_bn254::{Fq, G1Affine};
use ark_ff::{Field, PrimeField};
use eigenshift_types::{B256, OperatorId, keccak256};

use super::G1;

/// The point that is signed for a digest, by EigenLayer's try-and-increment (`BN254.hashToG1`).
///
/// x is the digest modulo p, raised by one until x^3 + 3 has a root; y is that root to the power (p + 1) / 4, not
/// normalised to the smaller one. The time depends on the digest, which is public.
#[must_use]
pub fn hash_to_g1(digest: B256) -> G1 {
    let mut x = Fq::from_be_bytes_mod_order(digest.as_slice());
    loop {
        // p = 3 mod 4, so `sqrt` is the power that the contract computes.
        if let Some(y) = (x.square() * x + Fq::from(3_u64)).sqrt() {
            return G1(G1Affine::new_unchecked(x, y));
        }
        x += Fq::ONE;
    }
}

/// keccak256 over the 64 bytes of the G1 key: leading zeros count.
#[must_use]
pub fn operator_id(key: &G1) -> OperatorId {
    OperatorId(keccak256(key.encode()))
}
