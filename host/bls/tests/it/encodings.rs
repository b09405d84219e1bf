//! Every encoding of every kind of point, over both curves: round trips, strictness, other libraries' bytes.

use std::fmt::Debug;

use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};
use eigenshift_bls::bn254::{self, G1, G2};
use eigenshift_bls::{ContractKey, Curve, DecodeError, PublicKey, Signature, bls12381};
use eigenshift_types::B256;
use proptest::prelude::*;

use crate::number;

type Encode<P> = fn(&P) -> Vec<u8>;
type Decode<P> = fn(&[u8]) -> Result<P, DecodeError>;
type Encoding<P> = (&'static str, usize, Encode<P>, Decode<P>);

const G1_ENCODINGS: [Encoding<G1>; 3] = [
    ("contract", 64, |point| point.encode().to_vec(), G1::decode),
    ("compressed", 32, |point| point.encode_compressed().to_vec(), G1::decode_compressed),
    ("arkworks", 64, |point| point.encode_arkworks().to_vec(), G1::decode_arkworks),
];

const G2_ENCODINGS: [Encoding<G2>; 4] = [
    ("contract", 128, |point| point.encode().to_vec(), G2::decode),
    ("real first", 128, |point| point.encode_real_first().to_vec(), G2::decode_real_first),
    ("compressed", 64, |point| point.encode_compressed().to_vec(), G2::decode_compressed),
    ("arkworks", 128, |point| point.encode_arkworks().to_vec(), G2::decode_arkworks),
];

const KEY_ENCODINGS: [Encoding<bls12381::PublicKey>; 2] = [
    ("uncompressed", 96, |point| point.encode().to_vec(), bls12381::PublicKey::decode),
    ("compressed", 48, |point| point.encode_compressed().to_vec(), bls12381::PublicKey::decode_compressed),
];

const SIGNATURE_ENCODINGS: [Encoding<bls12381::Signature>; 2] = [
    ("uncompressed", 192, |point| point.encode().to_vec(), bls12381::Signature::decode),
    ("compressed", 96, |point| point.encode_compressed().to_vec(), bls12381::Signature::decode_compressed),
];

/// The point comes back; no other length is taken; what a changed byte still decodes to has these bytes and no others.
fn holds<P: Debug + PartialEq>(
    encodings: &[Encoding<P>],
    point: &P,
    (place, change): (usize, u8),
) -> Result<(), TestCaseError> {
    for (name, length, encode, decode) in encodings {
        let bytes = encode(point);
        prop_assert_eq!(bytes.len(), *length, "{}", name);
        let decoded = decode(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(point), "{}", name);
        let mut long = bytes.clone();
        long.push(0);
        for other in [&long[..], &bytes[1..], &bytes[..length - 1], &[]] {
            let error = DecodeError::Length { expected: *length, found: other.len() };
            prop_assert_eq!(decode(other), Err(error), "{}", name);
        }
        let mut changed = bytes.clone();
        changed[place % length] ^= change;
        if let Ok(other) = decode(&changed) {
            prop_assert_eq!(encode(&other), changed, "{}", name);
            prop_assert_ne!(&other, point, "{}", name);
        }
    }
    Ok(())
}

fn random() -> impl Strategy<Value = ([u8; 32], [u8; 32], (usize, u8))> {
    (any::<[u8; 32]>(), any::<[u8; 32]>(), (any::<usize>(), 1_u8..))
}

/// A key whose number is random, and far beyond what a u64 holds.
fn bn254_secret(seed: [u8; 32]) -> bn254::SecretKey {
    let mut seed = seed.iter().cycle();
    bn254::SecretKey::generate(|buffer| buffer.fill_with(|| seed.next().copied().unwrap_or(0).wrapping_add(1)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_encoding_over_bn254_round_trips_and_is_the_only_one((seed, digest, change) in random()) {
        let secret = bn254_secret(seed);
        for point in [secret.g1(), -secret.g1(), secret.sign(B256::from(digest)), bn254::hash_to_g1(digest.into())] {
            holds(&G1_ENCODINGS, &point, change)?;
        }
        for point in [secret.g2(), -secret.g2()] {
            holds(&G2_ENCODINGS, &point, change)?;
        }
    }

    #[test]
    fn every_encoding_over_bls12_381_round_trips_and_is_the_only_one((seed, digest, change) in random()) {
        let mut seed = seed.iter().cycle();
        let secret =
            bls12381::SecretKey::generate(|buffer| buffer.fill_with(|| seed.next().copied().unwrap_or_default()));
        holds(&KEY_ENCODINGS, &secret.public_key(), change)?;
        holds(&SIGNATURE_ENCODINGS, &secret.sign(digest.into()), change)?;
        holds(&SIGNATURE_ENCODINGS, &secret.prove_possession(), change)?;
    }

    #[test]
    fn what_either_curve_encodes_it_decodes_and_the_other_does_not((seed, digest, _) in random()) {
        for (curve, other) in [(Curve::Bn254, Curve::Bls12381), (Curve::Bls12381, Curve::Bn254)] {
            let mut bytes = seed.iter().cycle();
            let fill = |buffer: &mut [u8]| buffer.fill_with(|| bytes.next().copied().unwrap_or(0).wrapping_add(1));
            let secret = eigenshift_bls::SecretKey::generate(curve, fill);
            let (contract, public, signature) =
                (secret.contract_key(), secret.public_key(), secret.sign(digest.into()));
            prop_assert_eq!(ContractKey::decode(curve, &contract.encode()), Ok(contract));
            prop_assert_eq!(PublicKey::decode(curve, &public.encode()), Ok(public));
            prop_assert_eq!(Signature::decode(curve, &signature.encode()), Ok(signature));
            prop_assert!(ContractKey::decode(other, &contract.encode()).is_err());
            prop_assert!(PublicKey::decode(other, &public.encode()).is_err());
            prop_assert!(Signature::decode(other, &signature.encode()).is_err());
        }
    }

    #[test]
    fn arkworks_own_bytes_are_ours_and_the_other_way_round((seed, digest, _) in random()) {
        let secret = bn254_secret(seed);
        for point in [secret.g1(), -secret.g1(), secret.sign(digest.into())] {
            let theirs = ark_bn254::G1Affine::deserialize_uncompressed(&point.encode_arkworks()[..]).unwrap();
            let mut bytes = Vec::new();
            theirs.serialize_uncompressed(&mut bytes).unwrap();
            prop_assert_eq!(G1::decode_arkworks(&bytes), Ok(point));
            let theirs = ark_bn254::G1Affine::deserialize_compressed(&point.encode_compressed()[..]).unwrap();
            let mut bytes = Vec::new();
            theirs.serialize_compressed(&mut bytes).unwrap();
            prop_assert_eq!(G1::decode_compressed(&bytes), Ok(point));
        }
        for point in [secret.g2(), -secret.g2()] {
            let theirs = ark_bn254::G2Affine::deserialize_uncompressed(&point.encode_arkworks()[..]).unwrap();
            let mut bytes = Vec::new();
            theirs.serialize_uncompressed(&mut bytes).unwrap();
            prop_assert_eq!(G2::decode_arkworks(&bytes), Ok(point));
            let theirs = ark_bn254::G2Affine::deserialize_compressed(&point.encode_compressed()[..]).unwrap();
            let mut bytes = Vec::new();
            theirs.serialize_compressed(&mut bytes).unwrap();
            prop_assert_eq!(G2::decode_compressed(&bytes), Ok(point));
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..260), length in 0_usize..8) {
        let lengths = [32, 48, 64, 96, 128, 192, 0, 260];
        let mut bytes = bytes;
        bytes.resize(lengths[length], 0);
        for (_, _, _, decode) in G1_ENCODINGS {
            let _ = decode(&bytes);
        }
        for (_, _, _, decode) in G2_ENCODINGS {
            let _ = decode(&bytes);
        }
        for (_, _, _, decode) in KEY_ENCODINGS {
            let _ = decode(&bytes);
        }
        for (_, _, _, decode) in SIGNATURE_ENCODINGS {
            let _ = decode(&bytes);
        }
    }
}

/// Coordinates little-endian, real before imaginary: EIP-197's generator.
#[test]
fn arkworks_order_is_little_endian_with_the_real_part_first() {
    let little = |decimal: &str| {
        let mut bytes = number(decimal);
        bytes.reverse();
        bytes
    };
    let parts = [
        "10857046999023057135944570762232829481370756359578518086990519993285655852781",
        "11559732032986387107991004021392285783925812861821192530917403151452391805634",
        "8495653923123431417604973247489272438418190587263600148770280649306958101930",
        "4082367875863433681332203403145435568316851327593401208105741076214120093531",
    ];
    assert_eq!(G2::generator().encode_arkworks().to_vec(), parts.map(little).concat());
    assert_eq!(G1::generator().encode_arkworks().to_vec(), ["1", "2"].map(little).concat());
    // The larger root has the top bit of the last byte.
    assert_eq!((-G1::generator()).encode_arkworks()[63] & 0xc0, 0x80);
    assert_eq!((-G2::generator()).encode_arkworks()[127] & 0xc0, 0x80);
}

/// The two bits of arkworks' forms: one value for each point. arkworks itself takes either sign in its uncompressed form.
#[test]
fn arkworks_bits_that_do_not_fit_the_point_are_refused() {
    let one = G1::generator().encode_arkworks();
    let two = G2::generator().encode_arkworks();
    for bits in [0x40, 0x80, 0xc0] {
        let (mut first, mut second) = (one, two);
        first[63] |= bits;
        second[127] |= bits;
        assert_eq!(G1::decode_arkworks(&first), Err(DecodeError::NotCanonical), "{bits:x}");
        assert_eq!(G2::decode_arkworks(&second), Err(DecodeError::NotCanonical), "{bits:x}");
    }
    let (mut first, mut second) = ((-G1::generator()).encode_arkworks(), (-G2::generator()).encode_arkworks());
    first[63] &= 0x3f;
    second[127] &= 0x3f;
    assert_eq!(G1::decode_arkworks(&first), Err(DecodeError::NotCanonical));
    assert_eq!(G2::decode_arkworks(&second), Err(DecodeError::NotCanonical));
}

#[test]
fn arkworks_identity_is_nobodys_key() {
    let (one, two) = (G1::identity().encode_arkworks(), G2::identity().encode_arkworks());
    assert_eq!((one[63], two[127]), (0x40, 0x40));
    assert_eq!(G1::decode_arkworks(&one), Err(DecodeError::Identity));
    assert_eq!(G2::decode_arkworks(&two), Err(DecodeError::Identity));
    // Zeros without the bit would be a second encoding of it, and with the bit nothing else may be there.
    assert_eq!(G1::decode_arkworks(&[0; 64]), Err(DecodeError::NotCanonical));
    assert_eq!(G2::decode_arkworks(&[0; 128]), Err(DecodeError::NotCanonical));
    let (mut one, mut two) = (one, two);
    one[0] = 1;
    two[64] = 1;
    assert_eq!(G1::decode_arkworks(&one), Err(DecodeError::NotCanonical));
    assert_eq!(G2::decode_arkworks(&two), Err(DecodeError::NotCanonical));
}

#[test]
fn arkworks_forms_off_the_curve_or_not_reduced_are_refused() {
    let mut one = G1::generator().encode_arkworks();
    one[0] ^= 1;
    assert_eq!(G1::decode_arkworks(&one), Err(DecodeError::NotOnCurve));
    let mut modulus = number("21888242871839275222246405745257275088696311157297823662689037894645226208583");
    modulus.reverse();
    for part in 0..4 {
        let mut two = G2::generator().encode_arkworks();
        two[32 * part] ^= 1;
        assert_eq!(G2::decode_arkworks(&two), Err(DecodeError::NotOnCurve), "{part}");
        two[32 * part..32 * (part + 1)].copy_from_slice(&modulus);
        assert_eq!(G2::decode_arkworks(&two), Err(DecodeError::NotCanonical), "{part}");
        if part < 2 {
            let mut one = G1::generator().encode_arkworks();
            one[32 * part..32 * (part + 1)].copy_from_slice(&modulus);
            assert_eq!(G1::decode_arkworks(&one), Err(DecodeError::NotCanonical), "{part}");
        }
    }
    // The contract's bytes are not arkworks'.
    let key = crate::secret(5);
    assert!(G1::decode_arkworks(&key.g1().encode()).is_err() && G2::decode_arkworks(&key.g2().encode()).is_err());
}
