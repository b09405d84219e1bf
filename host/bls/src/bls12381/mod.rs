//! BLS12-381 as Ethereum has it: keys in G1, signatures in G2, the proof-of-possession ciphersuite.
//!
//! Sums of keys are only safe against rogue keys if every key's owner has proven to have its secret:
//! [`SecretKey::prove_possession`] and [`PublicKey::is_possessed`].
//!
//! The arithmetic is blst's, on the calling thread. Encodings are those of its authors and of ZCash: big-endian, the
//! three top bits of the first byte saying whether the point is compressed, the identity, and of the larger y. Contracts
//! take points in the encoding of EIP-2537, which both kinds of points have besides.

mod eip2537;
mod points;
mod secret;
mod verify;

use alloy_primitives::keccak256;
use eigenshift_types::{B256, OperatorId};

pub use points::{PublicKey, Signature};
pub use secret::SecretKey;
pub use verify::{verify, verify_each, verify_same, verify_sum};

use crate::{DecodeError, Scheme};

/// Domain of signatures.
const SIGNATURES: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Domain of proofs of possession.
const POSSESSION: &[u8] = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// The id of the operator with this key: keccak256 of its uncompressed form, x and y of 48 bytes each.
#[must_use]
pub fn operator_id(key: &PublicKey) -> OperatorId {
    OperatorId(keccak256(key.encode()))
}

/// The scheme over BLS12-381.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bls12381;

impl Scheme for Bls12381 {
    const NAME: &'static str = "bls12-381";
    type SecretKey = SecretKey;
    type PublicKey = PublicKey;
    type Signature = Signature;

    fn public_key(secret: &SecretKey) -> PublicKey {
        secret.public_key()
    }

    fn sign(secret: &SecretKey, digest: B256) -> Signature {
        secret.sign(digest)
    }

    fn verify(key: &PublicKey, digest: B256, signature: &Signature) -> bool {
        verify(key, digest, signature)
    }

    fn verify_sum(digest: B256, signatures: &[(PublicKey, Signature)]) -> bool {
        verify_sum(digest, signatures)
    }

    fn verify_same(digest: B256, signatures: &[(PublicKey, Signature)]) -> Vec<bool> {
        verify_same(digest, signatures)
    }

    fn verify_each(signatures: &[(PublicKey, B256, Signature)]) -> Vec<bool> {
        verify_each(signatures)
    }

    fn sum(signatures: impl IntoIterator<Item = (Signature, u64)>) -> Signature {
        Signature::weighted_sum(signatures)
    }

    fn sum_keys(keys: impl IntoIterator<Item = (PublicKey, u64)>) -> PublicKey {
        PublicKey::weighted_sum(keys)
    }

    fn encode_key(key: &PublicKey) -> Vec<u8> {
        key.encode().to_vec()
    }

    fn decode_key(bytes: &[u8]) -> Result<PublicKey, DecodeError> {
        PublicKey::decode(bytes)
    }

    fn encode(signature: &Signature) -> Vec<u8> {
        signature.encode().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Signature, DecodeError> {
        Signature::decode(bytes)
    }
}
