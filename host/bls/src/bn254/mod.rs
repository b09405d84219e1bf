//! BN254 as EigenLayer has it: signatures and operator ids in G1, verification keys in G2.
//!
//! Encodings are those of the EIP-196/197 precompiles and of EigenLayer's contracts: coordinates of 32 bytes,
//! big-endian, G2's imaginary parts first, the identity all zeros.
//!
//! # Libraries
//! Two libraries of this curve were compared: arkworks 0.6, in Rust, and halo2curves 0.9, whose fields are in assembly on
//! x86-64. `cargo xtask bench bls` prints both products of two pairings beside this crate's verification, in one run.
//! halo2curves' was up to a quarter faster, so pairings are done over its fields, with a loop of ours that takes prepared
//! points (`pairing`). Decoding, hashing and sums are arkworks': there the difference is small, its code is generic over
//! both groups, and it runs on every processor. Both keep field elements in the same form, so that nothing is converted.

mod combine;
mod field;
mod g1;
mod g2;
mod hash;
mod pairing;
mod points;
pub mod registration;
mod secret;
mod verify;

use eigenshift_types::B256;

pub use g1::G1;
pub use g2::G2;
pub use hash::{hash_to_g1, operator_id};
pub use registration::Coordinator;
pub use secret::SecretKey;
pub use verify::{PreparedKey, all_match, matches, verify, verify_each, verify_same, verify_sum};

use crate::{DecodeError, Scheme};

/// The scheme over BN254.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bn254;

impl Scheme for Bn254 {
    const NAME: &'static str = "bn254";
    type SecretKey = SecretKey;
    type PublicKey = G2;
    type Signature = G1;

    fn public_key(secret: &SecretKey) -> G2 {
        secret.g2()
    }

    fn sign(secret: &SecretKey, digest: B256) -> G1 {
        secret.sign(digest)
    }

    fn verify(key: &G2, digest: B256, signature: &G1) -> bool {
        verify(key, digest, signature)
    }

    fn verify_sum(digest: B256, signatures: &[(G2, G1)]) -> bool {
        verify_sum(digest, signatures)
    }

    fn verify_same(digest: B256, signatures: &[(G2, G1)]) -> Vec<bool> {
        verify_same(digest, signatures)
    }

    fn verify_each(signatures: &[(G2, B256, G1)]) -> Vec<bool> {
        verify_each(signatures)
    }

    fn sum(signatures: impl IntoIterator<Item = (G1, u64)>) -> G1 {
        G1::weighted_sum(signatures)
    }

    fn sum_keys(keys: impl IntoIterator<Item = (G2, u64)>) -> G2 {
        G2::weighted_sum(keys)
    }

    fn encode_key(key: &G2) -> Vec<u8> {
        key.encode().to_vec()
    }

    fn decode_key(bytes: &[u8]) -> Result<G2, DecodeError> {
        G2::decode(bytes)
    }

    fn encode(signature: &G1) -> Vec<u8> {
        signature.encode().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<G1, DecodeError> {
        G1::decode(bytes)
    }
}
