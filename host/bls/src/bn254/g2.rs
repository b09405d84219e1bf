//! G2: the keys that verify.

use ark_bn254::{Fq2, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};

use super::field::{self, flags};
use super::points::{self, group_operations};
use crate::DecodeError;

/// A point of G2, the identity included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct G2(pub(super) G2Affine);

group_operations!(G2, G2Affine);

impl G2 {
    /// Bytes of the uncompressed encoding.
    pub const LEN: usize = 4 * field::LEN;
    /// Bytes of the compressed encoding.
    pub const COMPRESSED_LEN: usize = 2 * field::LEN;

    /// One operator's key as contracts have it: x imaginary, x real, y imaginary, y real, 32 bytes big-endian each.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_or_identity(bytes)?.unless_identity()
    }

    /// Like [`G2::decode`], for sums: the identity is all zeros.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed.
    pub fn decode_or_identity(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [x_imaginary, x_real, y_imaginary, y_real] = field::coordinates(bytes)?;
        Self::from_parts([x_real, x_imaginary, y_real, y_imaginary])
    }

    /// As [`G2::decode`], but with the real parts first, which is how eigensdk-go serialises G2. Nothing in the bytes
    /// tells the two orders apart; the wrong one is almost always off the curve.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode_real_first(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_parts(field::coordinates(bytes)?)?.unless_identity()
    }

    fn from_parts(parts: [[u8; field::LEN]; 4]) -> Result<Self, DecodeError> {
        if parts == [[0; field::LEN]; 4] {
            return Ok(Self::identity());
        }
        let [x_real, x_imaginary, y_real, y_imaginary] = parts;
        let x = Fq2::new(field::from_be(&x_real)?, field::from_be(&x_imaginary)?);
        let y = Fq2::new(field::from_be(&y_real)?, field::from_be(&y_imaginary)?);
        points::checked(x, y).map(Self)
    }

    /// x imaginary, x real, y imaginary, y real, 32 bytes big-endian each; the identity is all zeros.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        self.encode_parts(|x, y| [x.c1, x.c0, y.c1, y.c0])
    }

    /// x real, x imaginary, y real, y imaginary, 32 bytes big-endian each, as eigensdk-go serialises G2.
    #[must_use]
    pub fn encode_real_first(&self) -> [u8; Self::LEN] {
        self.encode_parts(|x, y| [x.c0, x.c1, y.c0, y.c1])
    }

    fn encode_parts(&self, order: impl Fn(Fq2, Fq2) -> [ark_bn254::Fq; 4]) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        if let Some((x, y)) = self.0.xy() {
            for (chunk, part) in bytes.chunks_exact_mut(field::LEN).zip(order(x, y)) {
                chunk.copy_from_slice(&field::to_be(part));
            }
        }
        bytes
    }

    /// arkworks' compressed form: x real, x imaginary, little-endian, the two top bits of the last byte saying which y,
    /// or the identity.
    #[must_use]
    pub fn encode_compressed(&self) -> [u8; Self::COMPRESSED_LEN] {
        let mut bytes = [0; Self::COMPRESSED_LEN];
        if let Some((x, _)) = self.0.xy() {
            for (chunk, part) in bytes.chunks_exact_mut(field::LEN).zip([x.c0, x.c1]) {
                chunk.copy_from_slice(&field::to_le(part));
            }
        }
        flags::put(&mut bytes, self.flags());
        bytes
    }

    /// One operator's key in arkworks' compressed form.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode_compressed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [real, mut imaginary] = field::coordinates(bytes)?;
        let flags = flags::take(&mut imaginary);
        let larger_y = flags::larger_y(flags, [real, imaginary] == [[0; field::LEN]; 2])?;
        points::from_x(Fq2::new(field::from_le(real)?, field::from_le(imaginary)?), larger_y).map(Self)
    }

    /// arkworks' uncompressed form, which eigensdk-rs writes: x real, x imaginary, y real, y imaginary, 32 bytes
    /// little-endian each, the two top bits of the last byte as in the compressed form.
    #[must_use]
    pub fn encode_arkworks(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        if let Some((x, y)) = self.0.xy() {
            for (chunk, part) in bytes.chunks_exact_mut(field::LEN).zip([x.c0, x.c1, y.c0, y.c1]) {
                chunk.copy_from_slice(&field::to_le(part));
            }
        }
        flags::put(&mut bytes, self.flags());
        bytes
    }

    /// One operator's key in arkworks' uncompressed form. Stricter than arkworks, which does not hold the bits against y:
    /// they would be a second encoding.
    ///
    /// # Errors
    /// [`DecodeError`] says which check failed; the identity is refused.
    pub fn decode_arkworks(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [x_real, x_imaginary, y_real, mut y_imaginary] = field::coordinates(bytes)?;
        let flags = flags::take(&mut y_imaginary);
        flags::larger_y(flags, [x_real, x_imaginary, y_real, y_imaginary] == [[0; field::LEN]; 4])?;
        let x = Fq2::new(field::from_le(x_real)?, field::from_le(x_imaginary)?);
        let y = Fq2::new(field::from_le(y_real)?, field::from_le(y_imaginary)?);
        let point = points::checked(x, y).map(Self)?;
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
        for point in (0..8).map(|n| G2::generator().mul_small(n)).flat_map(|point| [point, -point]) {
            let (mut compressed, mut uncompressed) = (Vec::new(), Vec::new());
            point.0.serialize_compressed(&mut compressed).unwrap();
            point.0.serialize_uncompressed(&mut uncompressed).unwrap();
            assert_eq!(point.encode_compressed().to_vec(), compressed);
            assert_eq!(point.encode_arkworks().to_vec(), uncompressed);
            let decoded = if point.is_identity() { Err(DecodeError::Identity) } else { Ok(point) };
            assert_eq!(G2::decode_compressed(&compressed), decoded);
            assert_eq!(G2::decode_arkworks(&uncompressed), decoded);
        }
    }

    #[test]
    fn a_point_of_the_curve_outside_the_group_is_refused_in_every_form() {
        let outside = (1_u64..)
            .find_map(|n| {
                let (y, _) = G2Affine::get_ys_from_x_unchecked(Fq2::from(n))?;
                let point = G2Affine::new_unchecked(Fq2::from(n), y);
                (!point.is_in_correct_subgroup_assuming_on_curve()).then_some(G2(point))
            })
            .unwrap();
        assert!(outside.0.is_on_curve());
        assert_eq!(G2::decode(&outside.encode()), Err(DecodeError::NotInSubgroup));
        assert_eq!(G2::decode_or_identity(&outside.encode()), Err(DecodeError::NotInSubgroup));
        assert_eq!(G2::decode_real_first(&outside.encode_real_first()), Err(DecodeError::NotInSubgroup));
        assert_eq!(G2::decode_compressed(&outside.encode_compressed()), Err(DecodeError::NotInSubgroup));
        assert_eq!(G2::decode_arkworks(&outside.encode_arkworks()), Err(DecodeError::NotInSubgroup));
    }
}
