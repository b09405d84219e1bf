//! What the two groups have in common.

use std::collections::BTreeMap;

use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::AdditiveGroup;

use crate::DecodeError;

/// Checks that coordinates make a point of the prime-order group.
pub(super) fn checked<P: SWCurveConfig>(x: P::BaseField, y: P::BaseField) -> Result<Affine<P>, DecodeError> {
    let point = Affine::<P>::new_unchecked(x, y);
    if !point.is_on_curve() {
        Err(DecodeError::NotOnCurve)
    } else if !point.is_in_correct_subgroup_assuming_on_curve() {
        Err(DecodeError::NotInSubgroup)
    } else {
        Ok(point)
    }
}

/// The point with this x whose y is the larger or the smaller root.
pub(super) fn from_x<P: SWCurveConfig>(x: P::BaseField, larger_y: bool) -> Result<Affine<P>, DecodeError> {
    let (smaller, larger) = Affine::<P>::get_ys_from_x_unchecked(x).ok_or(DecodeError::NotOnCurve)?;
    checked(x, if larger_y { larger } else { smaller })
}

/// The sum of points, each taken as often as its weight says. Normalised once, at the end: that is the dear part.
pub(super) fn weighted_sum<P: SWCurveConfig>(points: impl Iterator<Item = (Affine<P>, u64)>) -> Affine<P> {
    // Weights are few: one multiplication for all points of the same one.
    let mut by_weight: BTreeMap<u64, Projective<P>> = BTreeMap::new();
    for (point, weight) in points {
        *by_weight.entry(weight).or_insert(Projective::ZERO) += point;
    }
    let weighted = |(weight, sum): (u64, Projective<P>)| if weight == 1 { sum } else { sum.mul_bigint([weight]) };
    by_weight.into_iter().map(weighted).sum::<Projective<P>>().into_affine()
}

/// Implements what both point types offer over their inner affine point.
macro_rules! group_operations {
    ($name:ident, $affine:ty) => {
        impl $name {
            /// The identity: the sum of nothing.
            #[must_use]
            pub fn identity() -> Self {
                Self(<$affine>::identity())
            }

            /// The generator that EigenLayer's contracts use.
            #[must_use]
            pub fn generator() -> Self {
                Self(<$affine>::generator())
            }

            /// Whether it is the identity.
            #[must_use]
            pub fn is_identity(&self) -> bool {
                self.0.is_zero()
            }

            /// The point added to itself `times` times.
            #[must_use]
            pub fn mul_small(&self, times: u64) -> Self {
                Self::weighted_sum([(*self, times)])
            }

            /// The sum of points, each taken as often as its weight says; far cheaper than adding one by one.
            #[must_use]
            pub fn weighted_sum(points: impl IntoIterator<Item = (Self, u64)>) -> Self {
                Self($crate::bn254::points::weighted_sum(points.into_iter().map(|(point, weight)| (point.0, weight))))
            }
        }

        impl std::ops::Add for $name {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self((self.0 + other.0).into_affine())
            }
        }

        impl std::ops::Neg for $name {
            type Output = Self;

            fn neg(self) -> Self {
                Self(-self.0)
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(points: I) -> Self {
                Self::weighted_sum(points.map(|point| (point, 1)))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.encode()))
            }
        }
    };
}
pub(super) use group_operations;
