//! Key files.
//!
//! Files that ask for more than the least work are only read, not decrypted: the reader's bounds allow ten seconds, and
//! what comes after the key derivation is the same.
#![no_main]

use eigenshift_bls::Curve;
use eigenshift_bls::bn254::SecretKey;
use eigenshift_bls::keystore::{Format, Kdf, Keystore, bn254_keystore, bn254_secret};
use eigenshift_bls_fuzz::PASSWORD;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(file) = Keystore::parse(input) else { return };
    let (kdf, curve) = (file.kdf(), file.curve());
    assert!(is_bounded(kdf), "{kdf:?}");

    let other = if curve == Curve::Bn254 { Curve::Bls12381 } else { Curve::Bn254 };
    assert_eq!(file.decrypt(PASSWORD, other).map_err(|error| error.code()), Err("wrong-curve"));
    if !is_cheap(kdf) {
        return;
    }
    match file.decrypt(PASSWORD, curve) {
        Ok(_) => assert!(file.decrypt("another", curve).is_err()),
        Err(error) => assert_eq!(error.code(), "wrong-password"),
    }
    match bn254_secret(input, PASSWORD) {
        Ok(secret) => {
            comes_back(&secret, Format::Web3, kdf);
            comes_back(&secret, Format::Eip2335WithCurve, kdf);
        }
        Err(error) => assert!(["wrong-password", "wrong-curve", "damaged-keystore"].contains(&error.code())),
    }
});

/// What the module says no file can exceed.
fn is_bounded(kdf: Kdf) -> bool {
    match kdf {
        Kdf::Scrypt { n, r, p } => {
            let [n, r, p] = [n, r, p].map(u64::from);
            n.is_power_of_two() && 128 * n * r <= 512 << 20 && n * r * p <= 1 << 25
        }
        Kdf::Pbkdf2 { c } => (1..=10_000_000).contains(&c),
    }
}

fn is_cheap(kdf: Kdf) -> bool {
    match kdf {
        Kdf::Scrypt { n, r, p } => u64::from(n) * u64::from(r) * u64::from(p) <= 64,
        Kdf::Pbkdf2 { c } => c <= 16,
    }
}

fn comes_back(secret: &SecretKey, format: Format, kdf: Kdf) {
    let file = bn254_keystore(secret, format, "again", PASSWORD, kdf, |bytes| bytes.fill(7));
    let read = file.and_then(|file| bn254_secret(file.as_bytes(), PASSWORD));
    assert_eq!(read.map(|read| *read.to_bytes()), Ok(*secret.to_bytes()));
}
