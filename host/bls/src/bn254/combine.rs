//! Sums of points times random coefficients: the dear part of a batch.
//!
//! A coefficient is `low + high * w`, two numbers of 64 bits, where `w` is a cube root of one modulo the group order.
//! Multiplying by `w` is one field multiplication (the curve's endomorphism), so a coefficient of 128 random bits costs
//! the doublings of one of 64. No two coefficients are equal: if `a + b * w = 0` modulo the order `r`, then `r` divides
//! the norm `a^2 - a*b + b^2`, which for `|a|, |b| < 2^64` is below `3 * 2^128 < r`, and zero only for `a = b = 0`.
//!
//! The sum is taken by the bucket method over signed windows. What falls into the buckets of all windows is added up in
//! affine coordinates, in rounds: the divisions of one round share one inversion, which makes an addition about six
//! multiplications instead of ten.

use ark_bn254::{g1, g2};
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{AffineRepr, VariableBaseMSM, scalar_mul::glv::GLVConfig};
use ark_ff::{AdditiveGroup, Field};

/// A random coefficient: `low + high * w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coefficient {
    pub(super) low: u64,
    pub(super) high: u64,
}

/// A group in which multiplying by `w` multiplies the x coordinate.
pub(super) trait Endomorphism: SWCurveConfig {
    /// By what.
    fn beta() -> Self::BaseField;
}

impl Endomorphism for g1::Config {
    fn beta() -> Self::BaseField {
        Self::ENDO_COEFFS.first().copied().unwrap_or_default()
    }
}

impl Endomorphism for g2::Config {
    /// The library's root stands for the square of `w` here, so its square stands for `w`.
    fn beta() -> Self::BaseField {
        Self::ENDO_COEFFS.first().copied().unwrap_or_default().square()
    }
}

/// Terms that are added up at a time: bounds the memory.
const CHUNK: usize = 1 << 12;

/// Pairs of points below which sharing an inversion saves nothing.
const FEW: usize = 24;

/// The sum of `points` times `coefficients`. What has no partner counts for nothing.
pub(super) fn combine<P: Endomorphism>(points: &[Affine<P>], coefficients: &[Coefficient]) -> Projective<P> {
    let beta = P::beta();
    let with = points.iter().zip(coefficients).filter(|(point, _)| !point.is_zero());
    let terms: Vec<(Affine<P>, u64)> = with
        .flat_map(|(point, coefficient)| {
            let turned = Affine::<P>::new_unchecked(point.x * beta, point.y);
            [(*point, coefficient.low), (turned, coefficient.high)]
        })
        .collect();
    terms.chunks(CHUNK).map(sum_of_products).sum()
}

fn sum_of_products<P: SWCurveConfig>(terms: &[(Affine<P>, u64)]) -> Projective<P> {
    let width = best_width(terms.len());
    let mut buckets = Buckets::fill(terms, width);
    while buckets.halve() {}
    let per_window = 1 << (width - 1);
    let mut sum = Projective::<P>::ZERO;
    for window in (0..windows(width)).rev() {
        for _ in 0..width {
            sum.double_in_place();
        }
        // Each bucket times its digit, by adding the running sum from the top as often as there are buckets.
        let (mut running, mut total) = (Projective::<P>::ZERO_BUCKET, Projective::<P>::ZERO_BUCKET);
        for digit in (0..per_window).rev() {
            for point in buckets.get(window * per_window + digit) {
                running += point;
            }
            total += &running;
        }
        sum += &total;
    }
    sum
}

/// Lists of points, one after the other in one vector.
struct Buckets<P: SWCurveConfig> {
    points: Vec<Affine<P>>,
    /// Where each list begins; one more at the end.
    starts: Vec<usize>,
}

impl<P: SWCurveConfig> Buckets<P> {
    /// Puts every point, or its negative, into the bucket of its digit in each window.
    fn fill(terms: &[(Affine<P>, u64)], width: usize) -> Self {
        let per_window = 1 << (width - 1);
        let mut lists = vec![Vec::new(); windows(width) * per_window];
        for (point, number) in terms {
            for (window, digit) in signed_digits(*number, width).enumerate() {
                // Digit 1 is in the first bucket; digit 0 is in none.
                let bucket = (digit.unsigned_abs() as usize).checked_sub(1).map(|index| window * per_window + index);
                if let Some(list) = bucket.and_then(|bucket| lists.get_mut(bucket)) {
                    list.push(if digit < 0 { -*point } else { *point });
                }
            }
        }
        let (mut points, mut starts) = (Vec::new(), vec![0]);
        for list in lists {
            points.extend(list);
            starts.push(points.len());
        }
        Self { points, starts }
    }

    fn get(&self, bucket: usize) -> &[Affine<P>] {
        let range = self.starts.get(bucket).zip(self.starts.get(bucket + 1));
        range.and_then(|(start, end)| self.points.get(*start..*end)).unwrap_or_default()
    }

    /// Adds neighbours in each bucket, all with one inversion. Whether it is worth doing again.
    fn halve(&mut self) -> bool {
        let lists = || {
            self.starts.windows(2).filter_map(|bounds| match bounds {
                [start, end] => self.points.get(*start..*end),
                _ => None,
            })
        };
        let pairs: usize = lists().map(|list| list.len() / 2).sum();
        if pairs < FEW {
            return false;
        }
        let mut divisors: Vec<P::BaseField> = Vec::with_capacity(pairs);
        divisors.extend(lists().flat_map(|list| list.as_chunks::<2>().0).map(|[a, b]| divisor(a, b)));
        ark_ff::batch_inversion(&mut divisors);
        let mut inverses = divisors.into_iter();
        let (mut points, mut starts) = (Vec::with_capacity(self.points.len() - pairs), vec![0]);
        for list in lists() {
            let (pairs, rest) = list.as_chunks::<2>();
            let sums = pairs.iter().zip(inverses.by_ref()).filter_map(|([a, b], inverse)| sum(a, b, inverse));
            points.extend(sums);
            points.extend(rest);
            starts.push(points.len());
        }
        *self = Self { points, starts };
        true
    }
}

/// What the slope of the line through two points is divided by; zero when they cancel out.
fn divisor<P: SWCurveConfig>(a: &Affine<P>, b: &Affine<P>) -> P::BaseField {
    if a.x != b.x {
        b.x - a.x
    } else if a.y == b.y {
        a.y.double()
    } else {
        P::BaseField::ZERO
    }
}

/// The sum of two points that are not the identity, given the inverse of their [`divisor`]; none if it is the identity.
fn sum<P: SWCurveConfig>(a: &Affine<P>, b: &Affine<P>, inverse: P::BaseField) -> Option<Affine<P>> {
    let slope = if a.x != b.x {
        (b.y - a.y) * inverse
    } else if a.y == b.y {
        let square = a.x.square();
        (square.double() + square) * inverse
    } else {
        return None;
    };
    let x = slope.square() - a.x - b.x;
    Some(Affine::new_unchecked(x, slope * (a.x - x) - a.y))
}

/// Windows of 64 bits and the carry that signed digits may leave above them.
fn windows(width: usize) -> usize {
    64 / width + 1
}

/// The width that takes the fewest multiplications: six for a shared addition, and twenty-four for what a bucket costs
/// in the end.
fn best_width(terms: usize) -> usize {
    let multiplications = |width: usize| windows(width) * (6 * terms + (24 << (width - 1)));
    (2..=12).min_by_key(|width| multiplications(*width)).unwrap_or(4)
}

/// The number in digits from `-2^(width-1) + 1` to `2^(width-1)`, lowest first.
fn signed_digits(number: u64, width: usize) -> impl Iterator<Item = i32> {
    let base = 1_i32 << width;
    let mut carry = 0;
    (0..windows(width)).map(move |window| {
        let low = u32::try_from(window * width).ok().and_then(|shift| number.checked_shr(shift)).unwrap_or(0);
        let digit = i32::try_from(low % (1_u64 << width)).unwrap_or(0) + carry;
        carry = i32::from(digit > base / 2);
        digit - carry * base
    })
}

#[cfg(test)]
mod tests {
    use ark_bn254::{Fr, G1Affine, G2Affine};
    use ark_ec::CurveGroup;

    use super::*;

    /// Numbers with every pattern of carries, and the ends of the range.
    fn numbers(count: u64) -> impl Iterator<Item = u64> {
        let ends = [0, 1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 32) - 1, 1 << 32];
        ends.into_iter().chain((0..count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7)))
    }

    fn coefficients(count: usize) -> Vec<Coefficient> {
        let highs = numbers(count as u64).skip(3).chain(numbers(3));
        numbers(count as u64).zip(highs).map(|(low, high)| Coefficient { low, high }).take(count).collect()
    }

    fn scalar(coefficient: &Coefficient) -> Fr {
        Fr::from(coefficient.low) + Fr::from(coefficient.high) * <g1::Config as GLVConfig>::LAMBDA
    }

    fn one_by_one<A: AffineRepr<ScalarField = Fr>>(points: &[A], coefficients: &[Coefficient]) -> A::Group {
        points.iter().zip(coefficients).map(|(point, coefficient)| *point * scalar(coefficient)).sum()
    }

    #[test]
    fn sums_are_those_of_multiplying_one_by_one_at_every_width() {
        let mut widths = Vec::new();
        for count in [1, 2, 5, 7, 20, 60, 300, 700] {
            let coefficients = coefficients(count);
            // Equal and opposite points among them, and the identity: additions of a bucket to itself must work.
            let first: Vec<G1Affine> = (0..count as u64)
                .map(|n| G1Affine::generator().mul_bigint([n % 17]).into_affine())
                .map(|point| if point.x.0.0[0] % 3 == 0 { -point } else { point })
                .collect();
            let second: Vec<G2Affine> =
                (0..count as u64).map(|n| G2Affine::generator().mul_bigint([n % 17]).into_affine()).collect();
            assert_eq!(combine(&first, &coefficients), one_by_one(&first, &coefficients), "{count}");
            assert_eq!(combine(&second, &coefficients), one_by_one(&second, &coefficients), "{count}");
            widths.push(best_width(2 * count));
        }
        widths.dedup();
        assert!(widths.len() >= 4, "{widths:?}");
    }

    #[test]
    fn points_that_cancel_out_leave_nothing_behind() {
        let point = G1Affine::generator();
        let equal = vec![Coefficient { low: 5, high: 9 }; 200];
        let points: Vec<G1Affine> = (0..200).map(|n| if n % 2 == 0 { point } else { -point }).collect();
        assert_eq!(combine(&points, &equal), Projective::ZERO);
        assert_eq!(combine::<g1::Config>(&[], &[]), Projective::ZERO);
    }

    #[test]
    fn the_turned_point_is_the_point_times_the_same_root_in_both_groups() {
        let root = <g1::Config as GLVConfig>::LAMBDA;
        assert_eq!(root.square() + root + Fr::ONE, Fr::ZERO);
        let turn = [Coefficient { low: 0, high: 1 }];
        assert_eq!(combine(&[G1Affine::generator()], &turn), G1Affine::generator() * root);
        assert_eq!(combine(&[G2Affine::generator()], &turn), G2Affine::generator() * root);
    }

    #[test]
    fn more_terms_than_are_added_up_at_a_time_are_added_up_too() {
        let count = CHUNK;
        let points = vec![G1Affine::generator(); count];
        let coefficients: Vec<Coefficient> = (0..count as u64).map(|low| Coefficient { low, high: 0 }).collect();
        let sum = (count * (count - 1) / 2) as u64;
        assert_eq!(combine(&points, &coefficients), G1Affine::generator() * Fr::from(sum));
    }

    #[test]
    fn digits_make_up_the_number() {
        for width in 2..=12 {
            for number in numbers(50) {
                let digits: Vec<i32> = signed_digits(number, width).collect();
                assert!(digits.iter().all(|digit| digit.unsigned_abs() <= 1 << (width - 1)));
                // Horner's rule, modulo 2^64.
                let value = digits.iter().rev().fold(0_u64, |value, digit| {
                    value.wrapping_shl(width as u32).wrapping_add_signed(i64::from(*digit))
                });
                assert_eq!(value, number, "{width}");
                assert!(digits.last().is_some_and(|digit| *digit >= 0), "no carry is lost");
            }
        }
    }
}
