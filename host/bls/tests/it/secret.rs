//! Secret keys: strict in, zeroised, never shown.

use eigenshift_bls::DecodeError;
use eigenshift_bls::bn254::SecretKey;

use crate::{number, secret};

const ORDER: &str = "21888242871839275222246405745257275088548364400416034343698204186575808495617";

#[test]
fn only_numbers_below_the_group_order_and_above_zero_are_keys() {
    let order = number(ORDER);
    let mut last = order;
    last[31] -= 1;
    assert!(SecretKey::from_bytes(&last).is_ok());
    for bad in [[0; 32], order, [0xff; 32]] {
        assert_eq!(SecretKey::from_bytes(&bad).unwrap_err(), DecodeError::SecretOutOfRange);
    }
}

#[test]
fn hexadecimal_is_taken_with_and_without_its_prefix_and_nothing_else() {
    let digits = format!("{:064x}", 0x1234_u64);
    for good in [digits.clone(), format!("0x{digits}")] {
        assert_eq!(SecretKey::from_hex(&good).unwrap().to_bytes(), secret(0x1234).to_bytes());
    }
    for bad in
        ["", "0x", "1234", &digits[1..], &format!("0x0x{digits}"), &format!("{digits}0"), &format!(" {}", &digits[1..])]
    {
        assert_eq!(SecretKey::from_hex(bad).unwrap_err(), DecodeError::NotHex, "{bad}");
    }
}

#[test]
fn bytes_round_trip() {
    let bytes = number("12248929636257230549931416853095037629726205319386239410403476017439825112537");
    assert_eq!(*SecretKey::from_bytes(&bytes).unwrap().to_bytes(), bytes);
}

#[test]
fn generating_asks_again_when_the_number_is_zero() {
    let mut calls = 0_u8;
    let key = SecretKey::generate(|buffer| {
        buffer.fill(0);
        if calls > 0 {
            buffer[47] = 9;
        }
        calls += 1;
    });
    assert_eq!((calls, key.to_bytes()), (2, secret(9).to_bytes()));
}

#[test]
fn generating_reduces_all_384_bits() {
    let key = SecretKey::generate(|buffer| buffer.fill(0xff));
    assert!(SecretKey::from_bytes(&key.to_bytes()).is_ok());
}

#[test]
fn debug_output_does_not_show_the_secret() {
    assert_eq!(format!("{:?}", secret(4242)), "SecretKey(..)");
}
