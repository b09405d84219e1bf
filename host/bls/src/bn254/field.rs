//! Base-field elements as bytes.

use ark_bn254::Fq;
use ark_ff::{BigInt, PrimeField};

use crate::DecodeError;

/// Bytes of one coordinate.
pub(super) const LEN: usize = 32;

pub(super) fn to_be(element: Fq) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let limbs = element.into_bigint().0;
    for (chunk, limb) in bytes.rchunks_exact_mut(8).zip(limbs) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

pub(super) fn from_be(bytes: &[u8; LEN]) -> Result<Fq, DecodeError> {
    Fq::from_bigint(integer(bytes)).ok_or(DecodeError::NotCanonical)
}

/// A 256-bit big-endian number, not reduced.
pub(super) fn integer(bytes: &[u8; LEN]) -> BigInt<4> {
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks_exact(8)) {
        *limb = chunk.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte));
    }
    BigInt::new(limbs)
}

pub(super) fn to_le(element: Fq) -> [u8; LEN] {
    let mut bytes = to_be(element);
    bytes.reverse();
    bytes
}

pub(super) fn from_le(mut bytes: [u8; LEN]) -> Result<Fq, DecodeError> {
    bytes.reverse();
    from_be(&bytes)
}

/// Splits an encoding into its coordinates.
pub(super) fn coordinates<const N: usize>(bytes: &[u8]) -> Result<[[u8; LEN]; N], DecodeError> {
    let wrong = DecodeError::Length { expected: N * LEN, found: bytes.len() };
    let (chunks, rest) = bytes.as_chunks::<LEN>();
    if !rest.is_empty() {
        return Err(wrong);
    }
    chunks.try_into().map_err(|_| wrong)
}

/// The two bits that arkworks keeps free in the last byte of a point, compressed or not.
pub(super) mod flags {
    use crate::DecodeError;

    /// Takes the flags out of the last byte.
    pub(in crate::bn254) fn take(bytes: &mut [u8]) -> u8 {
        let Some(last) = bytes.last_mut() else { return 0 };
        let flags = *last & ALL;
        *last &= !ALL;
        flags
    }

    /// Puts flags into the last byte, where they are zero.
    pub(in crate::bn254) fn put(bytes: &mut [u8], flags: u8) {
        if let Some(last) = bytes.last_mut() {
            *last |= flags;
        }
    }

    /// Whether y is the larger root, of a point that is not the identity, all of whose coordinates are zero.
    pub(in crate::bn254) fn larger_y(flags: u8, zeros: bool) -> Result<bool, DecodeError> {
        match flags {
            ALL => Err(DecodeError::NotCanonical),
            IDENTITY if zeros => Err(DecodeError::Identity),
            IDENTITY => Err(DecodeError::NotCanonical),
            _ => Ok(flags == LARGER_Y),
        }
    }

    /// The point is the identity.
    pub(in crate::bn254) const IDENTITY: u8 = 0x40;
    /// y is the larger of the two roots.
    pub(in crate::bn254) const LARGER_Y: u8 = 0x80;
    /// Both.
    pub(in crate::bn254) const ALL: u8 = IDENTITY | LARGER_Y;
}
