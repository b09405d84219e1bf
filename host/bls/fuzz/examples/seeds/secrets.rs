//! Secret keys.

use ark_ff::{BigInteger, PrimeField};

use super::{Seeds, number};

pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, order) in
        [("bn254", ark_bn254::Fr::MODULUS.to_bytes_be()), ("bls12381", ark_bls12_381::Fr::MODULUS.to_bytes_be())]
    {
        let mut last = order.clone();
        last[31] -= 1;
        seeds.extend([(format!("{name}-order"), order), (format!("{name}-last"), last)]);
    }
    let digits = hex::encode(number(0x1234_5678_9abc_def0));
    let texts = [
        ("zero", [0; 32].to_vec()),
        ("one", number(1).to_vec()),
        ("ones", [0xff; 32].to_vec()),
        ("short", [1; 31].to_vec()),
        ("hex", digits.clone().into_bytes()),
        ("hex-upper-case", digits.to_uppercase().into_bytes()),
        ("hex-prefix", format!("0x{digits}").into_bytes()),
        ("hex-two-prefixes", format!("0x0x{digits}").into_bytes()),
        ("hex-white-space", format!(" \t0x{digits}\r\n").into_bytes()),
        ("hex-inner-space", format!("0x {digits}").into_bytes()),
        ("hex-short", digits.as_bytes()[1..].to_vec()),
        ("hex-long", format!("{digits}0").into_bytes()),
        ("hex-zero", "0".repeat(64).into_bytes()),
        ("hex-ones", "f".repeat(64).into_bytes()),
        ("hex-no-digit", digits.replace('9', "g").into_bytes()),
        ("hex-two-byte-letters", "é".repeat(32).into_bytes()),
    ];
    seeds.extend(texts.map(|(name, bytes)| (name.to_owned(), bytes)));
    seeds
}
