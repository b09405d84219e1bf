//! BN254's points in every form. The second opinions are the definitions, and arkworks' own reader of its compressed form.
#![no_main]

use ark_bn254::{Fq, Fq2, Fr, G1Affine, G2Affine, g1, g2};
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::SWCurveConfig;
use ark_ff::{BigInteger, Field, PrimeField, Zero};
use ark_serialize::CanonicalDeserialize;
use eigenshift_bls::bn254::{G1, G2};
use eigenshift_bls_fuzz::{point, reads_back};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let ones = [
        point(input, G1::decode, G1::encode, is_g1),
        point(input, G1::decode_or_identity, G1::encode, |bytes| bytes == &[0; G1::LEN] || is_g1(bytes)),
        point(input, G1::decode_compressed, G1::encode_compressed, |bytes| {
            G1Affine::deserialize_compressed(bytes.as_slice()).is_ok_and(|point| !point.is_zero())
        }),
    ];
    for one in ones.into_iter().flatten().filter(|point| !point.is_identity()) {
        reads_back(G1::decode(&one.encode()), &one);
        reads_back(G1::decode_or_identity(&one.encode()), &one);
        reads_back(G1::decode_compressed(&one.encode_compressed()), &one);
    }

    let twos = [
        point(input, G2::decode, G2::encode, |bytes| is_g2(swapped(bytes))),
        point(input, G2::decode_or_identity, G2::encode, |bytes| bytes == &[0; G2::LEN] || is_g2(swapped(bytes))),
        point(input, G2::decode_real_first, G2::encode_real_first, |bytes| is_g2(*bytes)),
        point(input, G2::decode_compressed, G2::encode_compressed, |bytes| {
            G2Affine::deserialize_compressed(bytes.as_slice()).is_ok_and(|point| !point.is_zero())
        }),
    ];
    for two in twos.into_iter().flatten().filter(|point| !point.is_identity()) {
        reads_back(G2::decode(&two.encode()), &two);
        reads_back(G2::decode_or_identity(&two.encode()), &two);
        reads_back(G2::decode_real_first(&two.encode_real_first()), &two);
        reads_back(G2::decode_compressed(&two.encode_compressed()), &two);
    }
});

/// The number if it is below the modulus; big-endian bytes compare as the numbers do.
fn coordinate(bytes: &[u8]) -> Option<Fq> {
    (bytes < Fq::MODULUS.to_bytes_be().as_slice()).then(|| Fq::from_be_bytes_mod_order(bytes))
}

fn is_g1(bytes: &[u8; G1::LEN]) -> bool {
    let (x, y) = bytes.split_at(32);
    let (Some(x), Some(y)) = (coordinate(x), coordinate(y)) else { return false };
    y.square() == x.square() * x + g1::Config::COEFF_B
}

/// Real parts first. In the group is what the group's order takes to the identity.
fn is_g2(bytes: [u8; G2::LEN]) -> bool {
    let mut parts = bytes.chunks_exact(32).map(coordinate);
    let mut next = || Some(Fq2::new(parts.next()??, parts.next()??));
    let (Some(x), Some(y)) = (next(), next()) else { return false };
    y.square() == x.square() * x + g2::Config::COEFF_B
        && G2Affine::new_unchecked(x, y).mul_bigint(Fr::MODULUS).is_zero()
}

/// From imaginary parts first to real parts first.
fn swapped(bytes: &[u8; G2::LEN]) -> [u8; G2::LEN] {
    let mut bytes = *bytes;
    for number in bytes.chunks_exact_mut(64) {
        number.rotate_left(32);
    }
    bytes
}
