//! Bytes become points only when they are the one encoding of a point of the group.

use eigenshift_bls::DecodeError;
use eigenshift_bls::bn254::{G1, G2};
use proptest::prelude::*;

use crate::{number, secret};

const MODULUS: &str = "21888242871839275222246405745257275088696311157297823662689037894645226208583";

fn add_modulus(bytes: &mut [u8]) {
    let mut carry = 0_u16;
    for (byte, part) in bytes.iter_mut().zip(number(MODULUS)).rev() {
        let sum = u16::from(*byte) + u16::from(part) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "the second encoding must fit");
}

#[test]
fn short_and_long_encodings_are_refused() {
    let (one, two) = (secret(5).g1().encode(), secret(5).g2().encode());
    for found in [0, 1, 31, 32, 63, 65, 96, 128, 1000] {
        let bytes: Vec<u8> = one.iter().copied().cycle().take(found).collect();
        assert_eq!(G1::decode(&bytes), Err(DecodeError::Length { expected: 64, found }));
    }
    for found in [0, 64, 127, 129, 256] {
        let bytes: Vec<u8> = two.iter().copied().cycle().take(found).collect();
        assert_eq!(G2::decode(&bytes), Err(DecodeError::Length { expected: 128, found }));
        assert_eq!(G2::decode_real_first(&bytes), Err(DecodeError::Length { expected: 128, found }));
    }
    assert_eq!(G1::decode_compressed(&one), Err(DecodeError::Length { expected: 32, found: 64 }));
    assert_eq!(G2::decode_compressed(&two), Err(DecodeError::Length { expected: 64, found: 128 }));
}

#[test]
fn the_identity_is_a_sum_but_nobodys_key() {
    assert_eq!(G1::decode(&[0; 64]), Err(DecodeError::Identity));
    assert_eq!(G2::decode(&[0; 128]), Err(DecodeError::Identity));
    assert_eq!(G2::decode_real_first(&[0; 128]), Err(DecodeError::Identity));
    assert_eq!(G1::decode_compressed(&G1::identity().encode_compressed()), Err(DecodeError::Identity));
    assert_eq!(G2::decode_compressed(&G2::identity().encode_compressed()), Err(DecodeError::Identity));
    assert_eq!(G1::decode_or_identity(&[0; 64]), Ok(G1::identity()));
    assert_eq!(G2::decode_or_identity(&[0; 128]), Ok(G2::identity()));
}

#[test]
fn points_off_the_curve_are_refused() {
    let mut one = secret(5).g1().encode();
    one[63] ^= 1;
    assert_eq!(G1::decode(&one), Err(DecodeError::NotOnCurve));
    let two = secret(5).g2();
    // The other library's order.
    assert_eq!(G2::decode(&two.encode_real_first()), Err(DecodeError::NotOnCurve));
    let mut bytes = two.encode();
    bytes[127] ^= 1;
    assert_eq!(G2::decode(&bytes), Err(DecodeError::NotOnCurve));
    // (0, y) and (x, 0) are not the identity.
    let half = [[0; 32], number("2")].concat();
    assert_eq!(G1::decode(&half), Err(DecodeError::NotOnCurve));
    // An x whose x^3 + 3 is no square; half of all are.
    let without_root = (1_u8..).map(|n| [&[n][..], &[0; 31]].concat()).find_map(|x| G1::decode_compressed(&x).err());
    assert_eq!(without_root, Some(DecodeError::NotOnCurve));
}

#[test]
fn a_second_encoding_of_a_point_is_refused() {
    let mut one = G1::generator().encode();
    add_modulus(&mut one[..32]);
    assert_eq!(G1::decode(&one), Err(DecodeError::NotCanonical));
    for part in 0..4 {
        let mut two = G2::generator().encode();
        add_modulus(&mut two[part * 32..(part + 1) * 32]);
        assert_eq!(G2::decode(&two), Err(DecodeError::NotCanonical), "coordinate {part}");
    }
    let mut zeros_but_one = [0; 64];
    zeros_but_one[..32].copy_from_slice(&number(MODULUS));
    assert_eq!(G1::decode_or_identity(&zeros_but_one), Err(DecodeError::NotCanonical));

    let mut both_flags = G1::generator().encode_compressed();
    both_flags[31] |= 0xc0;
    assert_eq!(G1::decode_compressed(&both_flags), Err(DecodeError::NotCanonical));
    let mut identity_with_x = G1::generator().encode_compressed();
    identity_with_x[31] = 0x40;
    assert_eq!(G1::decode_compressed(&identity_with_x), Err(DecodeError::NotCanonical));
    let mut identity_with_x = G2::generator().encode_compressed();
    identity_with_x[63] = 0x40;
    assert_eq!(G2::decode_compressed(&identity_with_x), Err(DecodeError::NotCanonical));
}

#[test]
fn sums_are_those_of_the_group() {
    let points: Vec<G1> = (1..=9).map(|n| secret(n).g1()).collect();
    assert_eq!(points.iter().copied().sum::<G1>(), secret(45).g1());
    assert_eq!(points[0] + points[1], secret(3).g1());
    assert_eq!(points[2] + -points[2], G1::identity());
    assert_eq!(G1::identity() + points[3], points[3]);
    assert_eq!(points[1].mul_small(0), G1::identity());
    assert_eq!(
        points[1].mul_small(u64::MAX),
        G1::generator().mul_small(u64::MAX) + G1::generator().mul_small(u64::MAX)
    );
    assert_eq!(std::iter::empty::<G2>().sum::<G2>(), G2::identity());
    let keys = [(secret(2).g2(), 3), (secret(7).g2(), 1), (secret(9).g2(), 0)];
    assert_eq!(G2::weighted_sum(keys), secret(13).g2());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_encoding_round_trips(n in 1_u64.., negate: bool) {
        let (one, two) = (secret(n).g1(), secret(n).g2());
        let (one, two) = if negate { (-one, -two) } else { (one, two) };
        prop_assert_eq!(G1::decode(&one.encode()), Ok(one));
        prop_assert_eq!(G1::decode_compressed(&one.encode_compressed()), Ok(one));
        prop_assert_eq!(G2::decode(&two.encode()), Ok(two));
        prop_assert_eq!(G2::decode_real_first(&two.encode_real_first()), Ok(two));
        prop_assert_eq!(G2::decode_compressed(&two.encode_compressed()), Ok(two));
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(bytes: [u8; 32], flip in 0_usize..64, to: u8) {
        if let Ok(point) = G1::decode_compressed(&bytes) {
            prop_assert_eq!(point.encode_compressed(), bytes);
        }
        let mut bytes = secret(77).g1().encode();
        bytes[flip] = to;
        if let Ok(point) = G1::decode(&bytes) {
            prop_assert_eq!(point.encode(), bytes);
        }
    }
}
