//! G1: signatures, and the keys that operator ids are made of.

use ark_bn254::G1Affine;
use ark_ec::{AffineRepr, CurveGroup};

use super::field::{self, flags};
use super::points::{self, group_operations};
use crate::DecodeError;

/// A point of G1, the identity included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct G1(pub(super) G1Affine);

group_operations!(G1, G1Affine);

impl G1 {
    /// Bytes of the uncompressed encoding: x, y.
    pub const LEN: usize = 2 * field::LEN;
    /// Bytes of the compressed encoding.
    pub const COMPRESSED_LEN: usize = field::LEN;

    /// One operator's key or signature: x, y, 32 bytes big-endian each.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_or_identity(bytes)?.unless_identity()
    }

    /// Like [`G1::decode`], for sums: the identity is all zeros.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed.
    pub fn decode_or_identity(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [x, y] = field::coordinates(bytes)?;
        if (x, y) == ([0; 32], [0; 32]) {
            return Ok(Self::identity());
        }
        points::checked(field::from_be(&x)?, field::from_be(&y)?).map(Self)
    }

    /// x, y, 32 bytes big-endian each; the identity is all zeros.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        if let Some((x, y)) = self.0.xy() {
            let (first, second) = bytes.split_at_mut(field::LEN);
            first.copy_from_slice(&field::to_be(x));
            second.copy_from_slice(&field::to_be(y));
        }
        bytes
    }

    /// arkworks' compressed form: x little-endian, the two top bits of the last byte saying which y, or the identity.
    #[must_use]
    pub fn encode_compressed(&self) -> [u8; Self::COMPRESSED_LEN] {
        let (mut bytes, flag) = match self.0.xy() {
            Some((x, y)) => (field::to_le(x), if y <= -y { 0 } else { flags::LARGER_Y }),
            None => ([0; field::LEN], flags::IDENTITY),
        };
        if let Some(last) = bytes.last_mut() {
            *last |= flag;
        }
        bytes
    }

    /// One operator's key or signature in arkworks' compressed form.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode_compressed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [mut x] = field::coordinates(bytes)?;
        let flag = x.last().map_or(0, |last| last & flags::ALL);
        if let Some(last) = x.last_mut() {
            *last &= !flags::ALL;
        }
        match flag {
            flags::ALL => Err(DecodeError::NotCanonical),
            flags::IDENTITY if x == [0; field::LEN] => Err(DecodeError::Identity),
            flags::IDENTITY => Err(DecodeError::NotCanonical),
            _ => points::from_x(field::from_le(x)?, flag == flags::LARGER_Y).map(Self),
        }
    }

    fn unless_identity(self) -> Result<Self, DecodeError> {
        if self.is_identity() { Err(DecodeError::Identity) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use ark_serialize::CanonicalSerialize;

    use super::*;

    #[test]
    fn compressed_form_is_that_of_arkworks() {
        for point in (0..8).map(|n| G1::generator().mul_small(n)).flat_map(|point| [point, -point]) {
            let mut expected = Vec::new();
            point.0.serialize_compressed(&mut expected).unwrap();
            assert_eq!(point.encode_compressed().to_vec(), expected);
        }
    }
}
