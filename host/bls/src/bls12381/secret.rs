//! The secret half of an operator's key.

use std::fmt;

use blst::min_pk;
use eigenshift_types::{B256, OperatorId};
use zeroize::Zeroizing;

use super::{POSSESSION, PublicKey, SIGNATURES, Signature, operator_id};
use crate::DecodeError;

/// A number from 1 to the group order less one. Zeroised on drop.
///
/// It belongs to one AVS, because a digest signed for one would count for another that shares the key.
pub struct SecretKey(min_pk::SecretKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// The key whose number is these 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`DecodeError::SecretOutOfRange`] for zero and for what is not below the group order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, DecodeError> {
        min_pk::SecretKey::from_bytes(bytes).map(Self).map_err(|_| DecodeError::SecretOutOfRange)
    }

    /// A new key from a source of randomness.
    #[must_use]
    pub fn generate(mut fill: impl FnMut(&mut [u8])) -> Self {
        let mut material = Zeroizing::new([0; 48]);
        loop {
            fill(material.as_mut_slice());
            // Refuses only material that is too short.
            if let Ok(secret) = min_pk::SecretKey::key_gen(material.as_slice(), &[]) {
                return Self(secret);
            }
        }
    }

    /// The number, 32 bytes big-endian: for the key file, and for nothing else.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key that verifies.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.sk_to_pk())
    }

    /// The operator's id.
    #[must_use]
    pub fn operator_id(&self) -> OperatorId {
        operator_id(&self.public_key())
    }

    /// Signs a digest.
    #[must_use]
    pub fn sign(&self, digest: B256) -> Signature {
        Signature(self.0.sign(digest.as_slice(), SIGNATURES, &[]))
    }

    /// Proves to have the secret of the public key: a signature over its compressed form, in a domain of its own.
    #[must_use]
    pub fn prove_possession(&self) -> Signature {
        Signature(self.0.sign(&self.public_key().encode_compressed(), POSSESSION, &[]))
    }
}
