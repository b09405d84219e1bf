//! Sums of points times 128-bit numbers.
//!
//! The bucket method over signed windows. The curve library's own is made for numbers of 254 bits, or of 64 without
//! signs: for the batches here it takes about twice the additions.

use ark_ec::VariableBaseMSM;
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ff::AdditiveGroup;

/// The sum of `points` times `numbers`.
pub(super) fn combine<P: SWCurveConfig>(points: &[Affine<P>], numbers: &[u128]) -> Projective<P> {
    let width = best_width(points.len());
    let digits: Vec<Vec<i32>> = numbers.iter().map(|number| signed_digits(*number, width)).collect();
    let mut sum = Projective::<P>::ZERO;
    for window in (0..windows(width)).rev() {
        for _ in 0..width {
            sum.double_in_place();
        }
        let mut buckets = vec![Projective::<P>::ZERO_BUCKET; 1 << (width - 1)];
        for (point, digits) in points.iter().zip(&digits) {
            let digit = digits.get(window).copied().unwrap_or_default();
            // Digit 1 is in the first bucket; digit 0 is in none.
            let bucket = (digit.unsigned_abs() as usize).checked_sub(1).and_then(|index| buckets.get_mut(index));
            match bucket {
                Some(bucket) if digit < 0 => *bucket -= point,
                Some(bucket) => *bucket += point,
                None => {}
            }
        }
        // Each bucket times its digit, by adding the running sum from the top as often as there are buckets.
        let (mut running, mut total) = (Projective::<P>::ZERO_BUCKET, Projective::<P>::ZERO_BUCKET);
        for bucket in buckets.iter().rev() {
            running += bucket;
            total += &running;
        }
        sum += &total;
    }
    sum
}

/// Windows of 128 bits and the carry that signed digits may leave above them.
fn windows(width: usize) -> usize {
    128 / width + 1
}

/// The width that takes the fewest additions.
fn best_width(points: usize) -> usize {
    let additions = |width: usize| windows(width) * (points + (2 << (width - 1)));
    (2..=12).min_by_key(|width| additions(*width)).unwrap_or(4)
}

/// The number in digits from `-2^(width-1) + 1` to `2^(width-1)`, lowest first.
fn signed_digits(number: u128, width: usize) -> Vec<i32> {
    let base = 1_i32 << width;
    let mut carry = 0;
    (0..windows(width))
        .map(|window| {
            let low = u32::try_from(window * width).ok().and_then(|shift| number.checked_shr(shift)).unwrap_or(0);
            let digit = i32::try_from(low % (1_u128 << width)).unwrap_or(0) + carry;
            carry = i32::from(digit > base / 2);
            digit - carry * base
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ark_bn254::{G1Affine, G2Affine};
    use ark_ec::{AffineRepr, CurveGroup};

    use super::*;

    /// Numbers with every pattern of carries, and the ends of the range.
    fn numbers(count: u128) -> Vec<u128> {
        let ends = [0, 1, u128::MAX, u128::MAX - 1, 1 << 127, (1 << 64) - 1, 1 << 64];
        let spread = (0..count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).rotate_left(7));
        ends.into_iter().chain(spread).collect()
    }

    fn one_by_one<A: AffineRepr>(points: &[A], numbers: &[u128]) -> A::Group {
        let times = |(point, number): (&A, &u128)| point.mul_bigint([*number as u64, (*number >> 64) as u64]);
        points.iter().zip(numbers).map(times).sum()
    }

    #[test]
    fn sums_are_those_of_multiplying_one_by_one_at_every_width() {
        let mut widths = Vec::new();
        for count in [1, 2, 5, 7, 20, 60, 300] {
            let numbers: Vec<u128> = numbers(300).into_iter().take(count).collect();
            // Equal points among them: additions of a bucket to itself must work.
            let first: Vec<G1Affine> =
                (0..count as u64).map(|n| G1Affine::generator().mul_bigint([n % 17]).into_affine()).collect();
            let second: Vec<G2Affine> =
                (0..count as u64).map(|n| G2Affine::generator().mul_bigint([n % 17]).into_affine()).collect();
            assert_eq!(combine(&first, &numbers), one_by_one(&first, &numbers), "{count}");
            assert_eq!(combine(&second, &numbers), one_by_one(&second, &numbers), "{count}");
            widths.push(best_width(count));
        }
        widths.dedup();
        assert!(widths.len() >= 4, "{widths:?}");
    }

    #[test]
    fn digits_make_up_the_number() {
        for width in 2..=12 {
            for number in numbers(50) {
                let digits = signed_digits(number, width);
                assert!(digits.iter().all(|digit| digit.unsigned_abs() <= 1 << (width - 1)));
                // Horner's rule, modulo 2^128.
                let value = digits.iter().rev().fold(0_u128, |value, digit| {
                    value.wrapping_shl(width as u32).wrapping_add_signed(i128::from(*digit))
                });
                assert_eq!(value, number, "{width}");
                assert!(digits.last().is_some_and(|digit| *digit >= 0), "no carry is lost");
            }
        }
    }
}
