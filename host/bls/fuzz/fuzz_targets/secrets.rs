//! Secret keys from bytes and from hexadecimal digits.
#![no_main]

use ark_ff::{BigInteger, PrimeField};
use eigenshift_bls::keystore::secret_from_hex;
use eigenshift_bls::{Curve, DecodeError, SecretKey, bn254};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(number) = input.first_chunk() {
        from_bytes(Curve::Bn254, number, &ark_bn254::Fr::MODULUS.to_bytes_be());
        from_bytes(Curve::Bls12381, number, &ark_bls12_381::Fr::MODULUS.to_bytes_be());
    }
    if let Ok(text) = std::str::from_utf8(input) {
        from_text(text);
    }
});

/// Exactly the numbers from 1 to the group order less one are keys; big-endian bytes compare as the numbers do.
fn from_bytes(curve: Curve, number: &[u8; 32], order: &[u8]) {
    let key = SecretKey::from_bytes(curve, number);
    assert_eq!(key.is_ok(), *number != [0; 32] && number.as_slice() < order);
    if let Ok(key) = key {
        assert_eq!((key.curve(), *key.to_bytes()), (curve, *number));
        assert!(!key.contract_key().is_identity());
    }
}

/// The two readers of digits agree but for white space around them, which only the one for files takes.
fn from_text(text: &str) {
    let read = secret_from_hex(text).ok();
    assert_eq!(read.is_some(), are_digits(text.trim()));
    let key = match read {
        Some(number) if are_digits(text) => bn254::SecretKey::from_bytes(&number).map(|key| *key.to_bytes()),
        _ => Err(DecodeError::NotHex),
    };
    assert_eq!(bn254::SecretKey::from_hex(text).map(|key| *key.to_bytes()), key);
}

fn are_digits(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}
