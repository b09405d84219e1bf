//! Products of pairings: is one of them one?
//!
//! On x86-64 with BMI2 and ADX the arithmetic is halo2curves', written in assembly; elsewhere it is arkworks'. Both give
//! the same verdicts. The loop over halo2curves' field is ours, because that library's cannot take prepared points: here
//! the lines of a point of G2 are computed once, and divided by the factor of `y` so that multiplying by one costs ten
//! multiplications instead of thirteen. (A factor in a subfield does not outlive the final exponentiation.)

use ark_bn254::{G1Affine, G2Affine};
use ark_ec::AffineRepr;

/// A point of G2 made ready for pairings: about 12 KiB.
#[derive(Clone)]
pub(super) struct Prepared {
    /// For arkworks, which prepares it anew each time.
    point: G2Affine,
    #[cfg(target_arch = "x86_64")]
    lines: Option<fast::Lines>,
}

impl Prepared {
    pub(super) fn new(point: G2Affine) -> Self {
        Self {
            point,
            #[cfg(target_arch = "x86_64")]
            lines: fast::is_available().then(|| fast::Lines::of(&point)),
        }
    }
}

/// Whether the product of the pairings of all pairs is one. The identity pairs to one.
pub(super) fn product_is_one(pairs: &[(G1Affine, &Prepared)]) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let with = pairs.iter().filter(|(point, _)| !point.is_zero());
        let lines: Option<Vec<_>> = with.map(|(point, prepared)| Some((*point, prepared.lines.as_ref()?))).collect();
        if let Some(pairs) = lines {
            return fast::product_is_one(&pairs);
        }
    }
    portable::product_is_one(pairs)
}

mod portable {
    use ark_bn254::{Bn254, G1Affine};
    use ark_ec::bn::{G1Prepared, G2Prepared};
    use ark_ec::pairing::{Pairing, PairingOutput};
    use ark_ff::AdditiveGroup;

    use super::Prepared;

    pub(super) fn product_is_one(pairs: &[(G1Affine, &Prepared)]) -> bool {
        let left = pairs.iter().map(|(point, _)| G1Prepared::from(*point));
        let right = pairs.iter().map(|(_, prepared)| G2Prepared::from(prepared.point));
        let product = Bn254::multi_miller_loop(left, right);
        Bn254::final_exponentiation(product).is_some_and(|output| output == PairingOutput::ZERO)
    }
}

#[cfg(target_arch = "x86_64")]
mod fast {
    use std::sync::LazyLock;

    use ark_bn254::{G1Affine, G2Affine};
    use ark_ec::AffineRepr;
    use halo2curves::bn256::{FROBENIUS_COEFF_FQ6_C1, FROBENIUS_COEFF_FQ12_C1, Fq, Fq2, Fq6, Fq12, SIX_U_PLUS_2_NAF};
    use halo2curves::ff::Field;
    use halo2curves::ff_ext::ExtField;
    use halo2curves::ff_ext::cubic::CubicSparseMul;
    use halo2curves::group::Group;
    use halo2curves::pairing::MillerLoopResult;

    /// Whether this processor has what the assembly needs.
    pub(super) fn is_available() -> bool {
        static AVAILABLE: LazyLock<bool> =
            LazyLock::new(|| is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("adx"));
        *AVAILABLE
    }

    /// Both libraries keep elements in Montgomery form with the factor 2^256.
    fn element(element: ark_bn254::Fq) -> Fq {
        Fq(element.0.0)
    }

    fn element2(element2: ark_bn254::Fq2) -> Fq2 {
        Fq2::new(element(element2.c0), element(element2.c1))
    }

    /// The line `1 + slope * (x/y) * w + offset * (1/y) * w^3` through multiples of a point, to be taken at `(x, y)`.
    #[derive(Clone, Copy)]
    struct Line {
        slope: Fq2,
        offset: Fq2,
    }

    /// The lines of the loop, in its order.
    #[derive(Clone)]
    pub(super) struct Lines(Vec<Line>);

    /// A point in Jacobian coordinates.
    struct Running {
        x: Fq2,
        y: Fq2,
        z: Fq2,
    }

    /// A line before it is divided by the factor of `y`.
    struct Raw {
        y: Fq2,
        x: Fq2,
        one: Fq2,
    }

    impl Lines {
        /// Nothing for the identity: it pairs to one with everything.
        pub(super) fn of(point: &G2Affine) -> Self {
            let Some((x, y)) = point.xy() else { return Self(Vec::new()) };
            let point = (element2(x), element2(y));
            let mut raw = Vec::with_capacity(96);
            let mut running = Running { x: point.0, y: point.1, z: Fq2::ONE };
            // The first digit is the point itself; from the next on each doubles.
            for digit in SIX_U_PLUS_2_NAF.iter().rev().skip(1) {
                raw.push(running.double());
                match digit {
                    1 => raw.push(running.add(point)),
                    -1 => raw.push(running.add((point.0, -point.1))),
                    _ => {}
                }
            }
            let [first, second] = frobenius(point);
            raw.push(running.add(first));
            raw.push(running.add(second));
            Self(normalised(&raw))
        }
    }

    /// The point's image under the Frobenius map, and the negative of its second image.
    fn frobenius(point: (Fq2, Fq2)) -> [(Fq2, Fq2); 2] {
        let [_, third, twothirds, ..] = FROBENIUS_COEFF_FQ6_C1;
        let [_, sixth, ..] = FROBENIUS_COEFF_FQ12_C1;
        let (mut x, mut y) = point;
        x.conjugate();
        y.conjugate();
        let half = sixth.square() * sixth;
        [(x * third, y * half), (point.0 * twothirds, point.1)]
    }

    /// Divides each line by its factor of `y`, all with one inversion.
    fn normalised(raw: &[Raw]) -> Vec<Line> {
        let mut products = Vec::with_capacity(raw.len());
        let mut product = Fq2::ONE;
        for line in raw {
            products.push(product);
            product *= line.y;
        }
        // Never zero for a point of the right group, and then a wrong line makes a wrong pairing, nothing worse.
        let mut inverse = product.invert().unwrap_or(Fq2::ZERO);
        let mut lines: Vec<Line> = raw
            .iter()
            .zip(products)
            .rev()
            .map(|(line, before)| {
                let own = inverse * before;
                inverse *= line.y;
                Line { slope: line.x * own, offset: line.one * own }
            })
            .collect();
        lines.reverse();
        lines
    }

    impl Running {
        /// Doubles the point and gives the tangent.
        fn double(&mut self) -> Raw {
            let xx = self.x.square();
            let yy = self.y.square();
            let yyyy = yy.square();
            let zz = self.z.square();
            let s = ((self.x + yy).square() - xx - yyyy).double();
            let m = xx.double() + xx;
            let x = m.square() - s.double();
            let z = (self.y + self.z).square() - yy - zz;
            let y = m * (s - x) - yyyy.double().double().double();
            // With lambda = m / z and the old point (x, y): z*zz*Y - m*zz*X + (m*x - 2*yy), where z = 2*y*z.
            let line = Raw { y: z * zz, x: -(m * zz), one: m * self.x - yy.double() };
            *self = Self { x, y, z };
            line
        }

        /// Adds a point and gives the line through both.
        fn add(&mut self, (x2, y2): (Fq2, Fq2)) -> Raw {
            let zz = self.z.square();
            let h = x2 * zz - self.x;
            let hh = h.square();
            let hhh = hh * h;
            let r = y2 * zz * self.z - self.y;
            let v = self.x * hh;
            let x = r.square() - hhh - v.double();
            let y = r * (v - x) - self.y * hhh;
            let z = self.z * h;
            // With lambda = r / z through (x2, y2): z*Y - r*X + (r*x2 - z*y2).
            let line = Raw { y: z, x: -r, one: r * x2 - z * y2 };
            *self = Self { x, y, z };
            line
        }
    }

    /// Where the lines are taken: `x / y` and `1 / y` of a point of G1.
    struct At {
        slope: Fq,
        offset: Fq,
    }

    pub(super) fn product_is_one(pairs: &[(G1Affine, &Lines)]) -> bool {
        let mut inverses: Vec<ark_bn254::Fq> = pairs.iter().map(|(point, _)| point.y).collect();
        ark_ff::batch_inversion(&mut inverses);
        let mut walks: Vec<_> = pairs
            .iter()
            .zip(inverses)
            .map(|((point, lines), inverse)| {
                let at = At { slope: element(point.x * inverse), offset: element(inverse) };
                (at, lines.0.iter())
            })
            .collect();
        let mut product = Fq12::one();
        let mut step = |product: &mut Fq12| {
            for (at, lines) in &mut walks {
                if let Some(line) = lines.next() {
                    multiply(product, line, at);
                }
            }
        };
        for (round, digit) in SIX_U_PLUS_2_NAF.iter().rev().skip(1).enumerate() {
            if round > 0 {
                product.square_assign();
            }
            step(&mut product);
            if *digit != 0 {
                step(&mut product);
            }
        }
        step(&mut product);
        step(&mut product);
        product.final_exponentiation().is_identity().into()
    }

    fn scaled(element: &Fq2, by: &Fq) -> Fq2 {
        Fq2::new(element.c0() * by, element.c1() * by)
    }

    /// Multiplies by a line.
    fn multiply(product: &mut Fq12, line: &Line, at: &At) {
        let slope = scaled(&line.slope, &at.slope);
        let offset = scaled(&line.offset, &at.offset);
        let (low, high) = (*product.c0(), *product.c1());
        let own = Fq6::mul_by_01(&high, &slope, &offset);
        let cross = Fq6::mul_by_01(&(low + high), &(slope + Fq2::ONE), &offset);
        *product = Fq12::new(low + own.mul_by_nonresidue(), cross - low - own);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test may stop at the first surprise")]
    use ark_bn254::Fr;
    use ark_ec::CurveGroup;
    use ark_ff::Field;

    use super::*;

    fn scalars(count: u64) -> Vec<Fr> {
        (1..=count).map(|n| Fr::from(n).pow([41]) + Fr::from(n)).collect()
    }

    /// Pairs whose product is one, of the given number.
    fn cancelling(count: u64) -> Vec<(G1Affine, G2Affine)> {
        let (g1, g2) = (G1Affine::generator(), G2Affine::generator());
        let scalars = scalars(count);
        let mut pairs: Vec<(G1Affine, G2Affine)> =
            scalars.iter().map(|n| ((g1 * n).into_affine(), (g2 * n.square()).into_affine())).collect();
        let sum: Fr = scalars.iter().map(|n| *n * n.square()).sum();
        pairs.push((-(g1 * sum).into_affine(), g2));
        pairs
    }

    fn both(pairs: &[(G1Affine, G2Affine)]) -> [bool; 2] {
        let prepared: Vec<(G1Affine, Prepared)> = pairs.iter().map(|(p, q)| (*p, Prepared::new(*q))).collect();
        let pairs: Vec<(G1Affine, &Prepared)> = prepared.iter().map(|(p, q)| (*p, q)).collect();
        [product_is_one(&pairs), portable::product_is_one(&pairs)]
    }

    #[test]
    fn both_libraries_find_products_that_are_one_and_products_that_are_not() {
        assert_eq!(both(&[]), [true; 2]);
        for count in [1, 2, 3, 9] {
            let mut pairs = cancelling(count);
            assert_eq!(both(&pairs), [true; 2], "{count}");
            // The identity on either side changes nothing.
            pairs.push((G1Affine::identity(), G2Affine::generator()));
            pairs.insert(0, (G1Affine::generator(), G2Affine::identity()));
            assert_eq!(both(&pairs), [true; 2], "{count} and the identity");
            for wrong in 1..pairs.len() - 1 {
                let mut pairs = pairs.clone();
                pairs[wrong].0 = (pairs[wrong].0 + G1Affine::generator()).into_affine();
                assert_eq!(both(&pairs), [false; 2], "{count}, wrong in {wrong}");
            }
        }
    }
}
