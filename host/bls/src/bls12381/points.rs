//! Keys and signatures as points.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use blst::{BLST_ERROR, MultiPoint, min_pk};

use crate::DecodeError;

fn refused(error: BLST_ERROR) -> DecodeError {
    match error {
        BLST_ERROR::BLST_POINT_NOT_ON_CURVE => DecodeError::NotOnCurve,
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => DecodeError::NotInSubgroup,
        BLST_ERROR::BLST_PK_IS_INFINITY => DecodeError::Identity,
        _ => DecodeError::NotCanonical,
    }
}

pub(super) fn length(bytes: &[u8], expected: usize) -> Result<(), DecodeError> {
    if bytes.len() == expected { Ok(()) } else { Err(DecodeError::Length { expected, found: bytes.len() }) }
}

/// Adds a term to a sum, which begins with it.
fn add_to<T>(sum: Entry<'_, u64, T>, term: T, add: fn(&mut T, &T)) {
    match sum {
        Entry::Vacant(empty) => drop(empty.insert(term)),
        Entry::Occupied(mut sum) => add(sum.get_mut(), &term),
    }
}

/// Implements what keys and signatures have in common, over blst's point and sum.
macro_rules! point {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $affine:ty, $sum:ty, $len:literal, $compressed:literal, $validate:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub(super) $inner);

        impl $name {
            /// Bytes of the uncompressed encoding.
            pub const LEN: usize = $len;
            /// Bytes of the compressed encoding.
            pub const COMPRESSED_LEN: usize = $compressed;

            /// A point from its uncompressed encoding.
            ///
            /// # Errors
            /// [`DecodeError`] says which check failed; the identity is refused.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                length(bytes, Self::LEN)?;
                Self::checked(<$inner>::deserialize(bytes))
            }

            /// A point from its compressed encoding.
            ///
            /// # Errors
            /// [`DecodeError`] says which check failed; the identity is refused.
            pub fn decode_compressed(bytes: &[u8]) -> Result<Self, DecodeError> {
                length(bytes, Self::COMPRESSED_LEN)?;
                Self::checked(<$inner>::uncompress(bytes))
            }

            fn checked(point: Result<$inner, BLST_ERROR>) -> Result<Self, DecodeError> {
                let point = point.map_err(refused)?;
                let validate: fn(&$inner) -> Result<(), BLST_ERROR> = $validate;
                validate(&point).map_err(refused)?;
                Ok(Self(point))
            }

            /// The uncompressed encoding.
            #[must_use]
            pub fn encode(&self) -> [u8; Self::LEN] {
                self.0.serialize()
            }

            /// The compressed encoding.
            #[must_use]
            pub fn encode_compressed(&self) -> [u8; Self::COMPRESSED_LEN] {
                self.0.compress()
            }

            /// The identity: the sum of nothing.
            #[must_use]
            pub fn identity() -> Self {
                Self(<$inner>::from(<$affine>::default()))
            }

            /// Whether it is the identity.
            #[must_use]
            pub fn is_identity(&self) -> bool {
                *self == Self::identity()
            }

            /// The sum of points, each taken as often as its weight says.
            #[must_use]
            pub fn weighted_sum(points: impl IntoIterator<Item = (Self, u64)>) -> Self {
                // Weights are few: one multiplication for all points of the same one.
                let mut by_weight: BTreeMap<u64, $sum> = BTreeMap::new();
                for (point, weight) in points.into_iter().filter(|(_, weight)| *weight > 0) {
                    add_to(by_weight.entry(weight), <$sum>::from(&point), <$sum>::add);
                }
                let weighted = |(weight, sum): (u64, $sum)| {
                    let point = sum.into_point();
                    let once = weight == 1 || point.is_identity();
                    <$sum>::from(&if once { point } else { Self::combine(&[point.0], &weight.to_le_bytes(), 64) })
                };
                let sums = by_weight.into_iter().map(weighted);
                let sum = sums.reduce(|mut sum, term| {
                    sum.add(&term);
                    sum
                });
                sum.map_or_else(Self::identity, |sum| sum.into_point())
            }

            /// The sum of points times numbers of so many bits, little-endian, one after the other.
            pub(super) fn combine(points: &[$inner], numbers: &[u8], bits: usize) -> Self {
                // blst panics on what does not fit.
                if points.is_empty() || bits == 0 || numbers.len() < points.len() * bits.div_ceil(8) {
                    return Self::identity();
                }
                Self(<$inner>::from_aggregate(&points.mult(numbers, bits)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.encode_compressed()))
            }
        }
    };
}

struct KeySum(min_pk::AggregatePublicKey);

impl KeySum {
    fn from(key: &PublicKey) -> Self {
        Self(min_pk::AggregatePublicKey::from_public_key(&key.0))
    }

    fn add(&mut self, other: &Self) {
        self.0.add_aggregate(&other.0);
    }

    fn into_point(self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }
}

struct SignatureSum(min_pk::AggregateSignature);

impl SignatureSum {
    fn from(signature: &Signature) -> Self {
        Self(min_pk::AggregateSignature::from_signature(&signature.0))
    }

    fn add(&mut self, other: &Self) {
        self.0.add_aggregate(&other.0);
    }

    fn into_point(self) -> Signature {
        Signature(self.0.to_signature())
    }
}

point! {
    /// A verification key: a point of G1.
    PublicKey, min_pk::PublicKey, blst::blst_p1_affine, KeySum, 96, 48, min_pk::PublicKey::validate
}

point! {
    /// A signature: a point of G2.
    Signature, min_pk::Signature, blst::blst_p2_affine, SignatureSum, 192, 96, |signature| signature.validate(true)
}
