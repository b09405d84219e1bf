//! Known answers, recomputed independently of this code from EigenLayer's libraries and contracts.

use eigenshift_bls::bn254::{G1, G2, SecretKey, hash_to_g1, matches, operator_id, verify};
use eigenshift_types::B256;

use crate::{g1, number};

const SECRET: &str = "12248929636257230549931416853095037629726205319386239410403476017439825112537";

fn counting() -> B256 {
    B256::from(std::array::from_fn(|index| u8::try_from(index).unwrap() + 1))
}

#[test]
fn hashing_to_g1_gives_the_contracts_point_after_three_increments() {
    let expected = g1(
        "455867356320691211509944977504407603390036387149619137164185182714736811811",
        "9802125641729881429496664198939823213610051907104384160271670136040620850981",
    );
    assert_eq!(hash_to_g1(counting()), expected);
    let mut x = counting().0;
    x[31] += 3;
    assert_eq!(expected.encode()[..32], x);
}

#[test]
fn a_digest_above_the_modulus_is_reduced_before_hashing() {
    // p + 1 and 1 hash alike.
    let mut above = number("21888242871839275222246405745257275088696311157297823662689037894645226208583");
    above[31] += 1;
    assert_eq!(hash_to_g1(B256::from(above)), hash_to_g1(B256::with_last_byte(1)));
}

#[test]
fn known_secret_gives_the_known_key_and_operator_id() {
    let secret = SecretKey::from_bytes(&number(SECRET)).unwrap();
    let key = g1(
        "277950648056014144722774518899051149098728246263316284984520891067822832300",
        "16927236637669640540790285431111034664564710839671197540688155537113438534238",
    );
    assert_eq!(secret.g1(), key);
    // x has a leading zero byte: an id over unpadded bytes would differ.
    assert_eq!(key.encode()[0], 0);
    let id = "0xb345f720903a3ecfd59f3de456dd9d266c2ce540b05e8c909106962684d9afa3";
    assert_eq!(operator_id(&key).to_string(), id);
    assert_eq!(secret.operator_id(), operator_id(&key));
    assert!(matches(&key, &secret.g2()));
}

#[test]
fn known_secret_gives_the_known_signatures() {
    let secret = SecretKey::from_bytes(&number(SECRET)).unwrap();
    let cases = [
        (
            counting(),
            "6125087140203962697351933212367898471377426213402772883153680722977416765651",
            "19120302240465611628345095276448175199636936878728446037184749040811421969742",
        ),
        (
            B256::from(*b"Hello, world!Hello, world!123456"),
            "15790168376429033610067099039091292283117017641532256477437243974517959682102",
            "4960450323239587206117776989095741074887370703941588742100855592356200866613",
        ),
    ];
    for (message, x, y) in cases {
        assert_eq!(secret.sign(message), g1(x, y));
        assert!(verify(&secret.g2(), message, &g1(x, y)));
    }
}

/// The generators of EIP-197, as contracts write them down.
#[test]
fn encodings_have_the_contracts_order() {
    let x_imaginary = number("11559732032986387107991004021392285783925812861821192530917403151452391805634");
    let x_real = number("10857046999023057135944570762232829481370756359578518086990519993285655852781");
    let y_imaginary = number("4082367875863433681332203403145435568316851327593401208105741076214120093531");
    let y_real = number("8495653923123431417604973247489272438418190587263600148770280649306958101930");
    let generator = G2::generator();
    assert_eq!(generator.encode().to_vec(), [x_imaginary, x_real, y_imaginary, y_real].concat());
    assert_eq!(generator.encode_real_first().to_vec(), [x_real, x_imaginary, y_real, y_imaginary].concat());
    assert_eq!(G1::generator().encode().to_vec(), [number("1"), number("2")].concat());
    assert_eq!(G1::identity().encode(), [0; 64]);
    assert_eq!(G2::identity().encode(), [0; 128]);
}
