//! The secret half of an operator's key.

use std::fmt;

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{PrimeField, Zero};
use eigenshift_types::{B256, OperatorId};
use zeroize::{Zeroize, Zeroizing};

use super::{G1, G2, field, hash_to_g1, operator_id};
use crate::DecodeError;

/// A number from 1 to the group order less one. Zeroised on drop.
///
/// One of these signs for every operator task: it belongs to one AVS, because a digest signed for one would count for
/// another that shares the key.
pub struct SecretKey(Fr);

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// The key whose number is these 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`DecodeError::SecretOutOfRange`] for zero and for what is not below the group order: a number that were
    /// reduced silently would be another key than its owner believes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, DecodeError> {
        match Fr::from_bigint(field::integer(bytes)) {
            Some(scalar) if !scalar.is_zero() => Ok(Self(scalar)),
            _ => Err(DecodeError::SecretOutOfRange),
        }
    }

    /// The key whose number is these 64 hexadecimal digits, with or without `0x`.
    ///
    /// # Errors
    /// [`DecodeError::NotHex`], or as [`SecretKey::from_bytes`].
    pub fn from_hex(text: &str) -> Result<Self, DecodeError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, bytes.as_mut_slice()).map_err(|_| DecodeError::NotHex)?;
        Self::from_bytes(&bytes)
    }

    /// A new key from a source of randomness, which is asked again in the one case of 2^254 where the number is zero.
    #[must_use]
    pub fn generate(mut fill: impl FnMut(&mut [u8])) -> Self {
        // 384 bits reduced modulo 254: no number is likelier than another by more than 2^-130.
        let mut wide = Zeroizing::new([0; 48]);
        loop {
            fill(wide.as_mut_slice());
            let scalar = Fr::from_be_bytes_mod_order(wide.as_slice());
            if !scalar.is_zero() {
                return Self(scalar);
            }
        }
    }

    /// The number, 32 bytes big-endian: for the key file, and for nothing else.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        let mut number = self.0.into_bigint();
        for (chunk, limb) in bytes.rchunks_exact_mut(8).zip(number.0) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        number.zeroize();
        bytes
    }

    /// The G1 key, which the operator id is made of and contracts add up.
    #[must_use]
    pub fn g1(&self) -> G1 {
        G1((G1Affine::generator() * self.0).into_affine())
    }

    /// The G2 key, which verifies.
    #[must_use]
    pub fn g2(&self) -> G2 {
        G2((G2Affine::generator() * self.0).into_affine())
    }

    /// The operator's id.
    #[must_use]
    pub fn operator_id(&self) -> OperatorId {
        operator_id(&self.g1())
    }

    /// Signs a digest. Registering a key signs the registry's EIP-712 digest in the same way.
    #[must_use]
    pub fn sign(&self, digest: B256) -> G1 {
        G1((hash_to_g1(digest).0 * self.0).into_affine())
    }
}
