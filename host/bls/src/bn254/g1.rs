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
        let mut bytes = self.0.xy().map_or([0; field::LEN], |(x, _)| field::to_le(x));
        flags::put(&mut bytes, self.flags());
        bytes
    }

    /// One operator's key or signature in arkworks' compressed form.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode_compressed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [mut x] = field::coordinates(bytes)?;
        let flags = flags::take(&mut x);
        let larger_y = flags::larger_y(flags, x == [0; field::LEN])?;
        points::from_x(field::from_le(x)?, larger_y).map(Self)
    }

    /// arkworks' uncompressed form, which eigensdk-rs writes: x, y, 32 bytes little-endian each, the two top bits of the
    /// last byte as in the compressed form.
    #[must_use]
    pub fn encode_arkworks(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        if let Some((x, y)) = self.0.xy() {
            let (first, second) = bytes.split_at_mut(field::LEN);
            first.copy_from_slice(&field::to_le(x));
            second.copy_from_slice(&field::to_le(y));
        }
        flags::put(&mut bytes, self.flags());
        bytes
    }

    /// One operator's key or signature in arkworks' uncompressed form. Stricter than arkworks, which does not hold the
    /// bits against y: they would be a second encoding.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode_arkworks(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [x, mut y] = field::coordinates(bytes)?;
        let flags = flags::take(&mut y);
        flags::larger_y(flags, (x, y) == ([0; field::LEN], [0; field::LEN]))?;
        let point = points::checked(field::from_le(x)?, field::from_le(y)?).map(Self)?;
        if point.flags() == flags { Ok(point) } else { Err(DecodeError::NotCanonical) }
    }

    /// What arkworks says of a point in two bits.
    fn flags(&self) -> u8 {
        match self.0.xy() {
            Some((_, y)) if y <= -y => 0,
            Some(_) => flags::LARGER_Y,
            None => flags::IDENTITY,
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
    fn both_forms_are_those_of_arkworks() {
        for point in (0..8).map(|n| G1::generator().mul_small(n)).flat_map(|point| [point, -point]) {
            let (mut compressed, mut uncompressed) = (Vec::new(), Vec::new());
            point.0.serialize_compressed(&mut compressed).unwrap();
            point.0.serialize_uncompressed(&mut uncompressed).unwrap();
            assert_eq!(point.encode_compressed().to_vec(), compressed);
            assert_eq!(point.encode_arkworks().to_vec(), uncompressed);
            let decoded = if point.is_identity() { Err(DecodeError::Identity) } else { Ok(point) };
            assert_eq!(G1::decode_compressed(&compressed), decoded);
            assert_eq!(G1::decode_arkworks(&uncompressed), decoded);
        }
    }
}
