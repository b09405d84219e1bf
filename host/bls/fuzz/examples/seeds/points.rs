//! Points of both curves.

use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, SWCurveConfig};
use ark_ff::{BigInteger, PrimeField, Zero};
use ark_serialize::CanonicalSerialize;
use eigenshift_bls::bls12381::{self, PublicKey, Signature};
use eigenshift_bls::bn254::{self, G1, G2};
use eigenshift_types::B256;

use super::{Seeds, number};

/// Any will do.
const SECRET: u64 = 0x1234;

pub fn bn254() -> Seeds {
    let modulus = ark_bn254::Fq::MODULUS.to_bytes_be();
    let (one, two) = (g1(SECRET), g2(SECRET));
    let mut seeds = Seeds::new();
    around(&mut seeds, "g1", &one.encode());
    around(&mut seeds, "g1-compressed", &one.encode_compressed());
    around(&mut seeds, "g2", &two.encode());
    around(&mut seeds, "g2-real-first", &two.encode_real_first());
    around(&mut seeds, "g2-compressed", &two.encode_compressed());

    let outside = outside_bn254();
    add(&mut seeds, "g1-negated", &(-one).encode());
    add(&mut seeds, "g1-compressed-negated", &(-one).encode_compressed());
    add(&mut seeds, "g1-compressed-identity", &G1::identity().encode_compressed());
    add(&mut seeds, "g1-compressed-both-flags", &with_last(one.encode_compressed(), 0xc0));
    add(&mut seeds, "g1-compressed-identity-with-x", &with_last(one.encode_compressed(), 0x40));
    add(&mut seeds, "g2-negated", &(-two).encode());
    add(&mut seeds, "g2-compressed-negated", &(-two).encode_compressed());
    add(&mut seeds, "g2-compressed-identity", &G2::identity().encode_compressed());
    add(&mut seeds, "g2-compressed-both-flags", &with_last(two.encode_compressed(), 0xc0));
    add(&mut seeds, "g2-outside", &outside);
    add(&mut seeds, "g2-real-first-outside", &halves_swapped(&outside));
    let mut compressed = halves_swapped(&outside);
    compressed.truncate(64);
    compressed.chunks_exact_mut(32).for_each(<[u8]>::reverse);
    add(&mut seeds, "g2-compressed-outside", &compressed);

    raised(&mut seeds, "g1", &one.encode(), &modulus);
    raised(&mut seeds, "g2", &two.encode(), &modulus);
    // Where flags have the top bits, x must be small.
    let raised = (1..).find_map(|n| {
        let mut bytes = g1(n).encode();
        let fits = raise(&mut bytes[..32], &modulus) && bytes[0] < 0x40;
        bytes[..32].reverse();
        fits.then(|| bytes[..32].to_vec())
    });
    seeds.extend(raised.map(|bytes| ("g1-compressed-raised".to_owned(), bytes)));
    seeds
}

pub fn bls12381() -> Seeds {
    let modulus = ark_bls12_381::Fq::MODULUS.to_bytes_be();
    let (key, signature) = (key(SECRET), signature(SECRET));
    let mut seeds = Seeds::new();
    around(&mut seeds, "key", &key.encode());
    around(&mut seeds, "key-compressed", &key.encode_compressed());
    around(&mut seeds, "signature", &signature.encode());
    around(&mut seeds, "signature-compressed", &signature.encode_compressed());

    for flags in [0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0] {
        let mut bytes = key.encode();
        bytes[0] |= flags;
        add(&mut seeds, &format!("key-flags-{flags:x}"), &bytes);
        let mut bytes = signature.encode_compressed();
        bytes[0] = bytes[0] & 0x1f | flags;
        add(&mut seeds, &format!("signature-compressed-flags-{flags:x}"), &bytes);
    }
    add(&mut seeds, "key-identity", &PublicKey::identity().encode());
    add(&mut seeds, "key-compressed-identity", &PublicKey::identity().encode_compressed());
    add(&mut seeds, "signature-identity", &Signature::identity().encode());
    add(&mut seeds, "signature-compressed-identity", &Signature::identity().encode_compressed());

    let outside = outside::<ark_bls12_381::g1::Config>(|n| n.into());
    add(&mut seeds, "key-outside", &arkworks(&outside, false));
    add(&mut seeds, "key-compressed-outside", &arkworks(&outside, true));
    // x = 0 is a point of order three.
    let mut order_three = [0; PublicKey::LEN];
    order_three[PublicKey::LEN - 1] = 2;
    add(&mut seeds, "key-order-three", &order_three);
    let outside = self::outside::<ark_bls12_381::g2::Config>(|n| ark_bls12_381::Fq2::new(n.into(), 1.into()));
    add(&mut seeds, "signature-outside", &arkworks(&outside, false));
    add(&mut seeds, "signature-compressed-outside", &arkworks(&outside, true));

    // Where flags have the top bits, x must be small.
    let small = (1..).map(self::key).find(|key| raise(&mut key.encode()[..48], &modulus) && key.encode()[0] < 4);
    if let Some(small) = small {
        raised(&mut seeds, "key", &small.encode(), &modulus);
        let mut bytes = small.encode_compressed();
        let flags = bytes[0] & 0xe0;
        bytes[0] &= 0x1f;
        assert!(raise(&mut bytes, &modulus));
        bytes[0] |= flags;
        add(&mut seeds, "key-compressed-raised", &bytes);
    }
    let small = (1..).map(self::signature).find(|signature| signature.encode()[0] < 4);
    if let Some(small) = small {
        raised(&mut seeds, "signature", &small.encode(), &modulus);
    }
    seeds
}

/// The first byte is the curve.
pub fn any() -> Seeds {
    let outside_bls = outside::<ark_bls12_381::g1::Config>(|n| n.into());
    let of_bn254: [(&str, &[u8]); 5] = [
        ("g1", &g1(SECRET).encode()),
        ("g2", &g2(SECRET).encode()),
        ("g1-identity", &G1::identity().encode()),
        ("g2-identity", &G2::identity().encode()),
        ("g2-outside", &outside_bn254()),
    ];
    let of_bls12381: [(&str, &[u8]); 5] = [
        ("key", &key(SECRET).encode()),
        ("signature", &signature(SECRET).encode()),
        ("key-identity", &PublicKey::identity().encode()),
        ("signature-identity", &Signature::identity().encode()),
        ("key-outside", &arkworks(&outside_bls, false)),
    ];
    let mut seeds = Seeds::new();
    for (right, points) in [(0, of_bn254), (1, of_bls12381)] {
        for (name, point) in points {
            add(&mut seeds, name, &[&[right], point].concat());
            add(&mut seeds, &format!("{name}-other-curve"), &[&[1 - right], point].concat());
        }
    }
    add(&mut seeds, "only-a-curve", &[0]);
    seeds
}

fn g1(n: u64) -> G1 {
    secret_bn254(n).g1()
}

fn g2(n: u64) -> G2 {
    secret_bn254(n).g2()
}

fn secret_bn254(n: u64) -> bn254::SecretKey {
    bn254::SecretKey::from_bytes(&number(n)).expect("small numbers are keys")
}

fn key(n: u64) -> PublicKey {
    secret_bls12381(n).public_key()
}

fn signature(n: u64) -> Signature {
    secret_bls12381(n).sign(B256::repeat_byte(1))
}

fn secret_bls12381(n: u64) -> bls12381::SecretKey {
    bls12381::SecretKey::from_bytes(&number(n)).expect("small numbers are keys")
}

fn add(seeds: &mut Seeds, name: &str, bytes: &[u8]) {
    seeds.push((name.to_owned(), bytes.to_vec()));
}

/// An encoding, and what differs from it in a way that any encoding can.
fn around(seeds: &mut Seeds, name: &str, bytes: &[u8]) {
    add(seeds, name, bytes);
    add(seeds, &format!("{name}-short"), &bytes[..bytes.len() - 1]);
    add(seeds, &format!("{name}-long"), &[bytes, &[0]].concat());
    add(seeds, &format!("{name}-zeros"), &vec![0; bytes.len()]);
    add(seeds, &format!("{name}-ones"), &vec![0xff; bytes.len()]);
    let mut flipped = bytes.to_vec();
    flipped[bytes.len() - 1] ^= 1;
    add(seeds, &format!("{name}-flipped"), &flipped);
}

/// Each coordinate in turn with the modulus added to it: the same point, if anybody reduced it.
fn raised(seeds: &mut Seeds, name: &str, bytes: &[u8], modulus: &[u8]) {
    for (position, start) in (0..bytes.len()).step_by(modulus.len()).enumerate() {
        let mut bytes = bytes.to_vec();
        if raise(&mut bytes[start..start + modulus.len()], modulus) {
            add(seeds, &format!("{name}-raised-{position}"), &bytes);
        }
    }
}

/// Whether the sum, big-endian, fits.
fn raise(number: &mut [u8], modulus: &[u8]) -> bool {
    let mut carry = false;
    for (byte, part) in number.iter_mut().zip(modulus).rev() {
        let (sum, first) = byte.overflowing_add(*part);
        let (sum, second) = sum.overflowing_add(u8::from(carry));
        (*byte, carry) = (sum, first || second);
    }
    !carry
}

/// The first point outside the prime-order group whose x is made of a small number.
fn outside<P: SWCurveConfig>(x: impl Fn(u64) -> P::BaseField) -> Affine<P> {
    let points = (1..).filter_map(|n| Affine::<P>::get_point_from_x_unchecked(x(n), false));
    let mut outside = points.filter(|point| !point.mul_bigint(P::ScalarField::MODULUS).is_zero());
    outside.next().expect("most points are")
}

/// As contracts have it.
fn outside_bn254() -> Vec<u8> {
    let point = outside::<ark_bn254::g2::Config>(ark_bn254::Fq2::from);
    [point.x.c1, point.x.c0, point.y.c1, point.y.c0].iter().flat_map(|part| part.into_bigint().to_bytes_be()).collect()
}

fn arkworks<P: SWCurveConfig>(point: &Affine<P>, compressed: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written =
        if compressed { point.serialize_compressed(&mut bytes) } else { point.serialize_uncompressed(&mut bytes) };
    written.expect("memory takes everything");
    bytes
}

/// From imaginary parts first to real parts first.
fn halves_swapped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.chunks_exact_mut(64).for_each(|number| number.rotate_left(32));
    bytes
}

fn with_last<const N: usize>(mut bytes: [u8; N], flags: u8) -> [u8; N] {
    bytes[N - 1] = bytes[N - 1] & 0x3f | flags;
    bytes
}
