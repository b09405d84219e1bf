//! The public behaviour of `eigenshift-bls`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

mod batch;
mod bls12381;
mod encodings;
mod key_files;
mod keystores;
mod laws;
mod middleware;
mod points;
mod registration;
mod secret;
mod vectors;

use eigenshift_bls::bn254::{G1, SecretKey};
use eigenshift_types::{B256, U256};

fn number(decimal: &str) -> [u8; 32] {
    U256::from_str_radix(decimal, 10).unwrap().to_be_bytes()
}

fn g1(x: &str, y: &str) -> G1 {
    G1::decode(&[number(x), number(y)].concat()).unwrap()
}

fn secret(n: u64) -> SecretKey {
    SecretKey::from_bytes(&U256::from(n).to_be_bytes()).unwrap()
}

fn digest(n: u8) -> B256 {
    B256::repeat_byte(n)
}
