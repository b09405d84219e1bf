//! Key files of EigenLayer's operators.

use alloy_primitives::U256;

use super::{Curve, Format, Kdf, Keystore, KeystoreError, NewKeystore};
use crate::bn254::{G1, G2, SecretKey};

/// The operator key in a key file of any format, held against the public key that the file states.
///
/// # Errors
/// As [`Keystore::parse`] and [`Keystore::open`].
pub fn bn254_secret(json: &[u8], password: &str) -> Result<SecretKey, KeystoreError> {
    Keystore::parse(json)?.open(password, Curve::Bn254, |secret| SecretKey::from_bytes(secret).ok(), belongs)
}

/// The text of a key file with an operator key in it, its public key as the format's other readers expect it.
///
/// # Errors
/// As [`NewKeystore::encrypt`].
pub fn bn254_keystore(
    secret: &SecretKey,
    format: Format,
    description: &str,
    password: &str,
    kdf: Kdf,
    fill: impl FnMut(&mut [u8]),
) -> Result<String, KeystoreError> {
    let public_key = match format {
        Format::Web3 => gnark_text(&secret.g1()),
        Format::Eip2335 | Format::Eip2335WithCurve => hex::encode(secret.g2().encode()),
    };
    let file = NewKeystore { format, curve: Curve::Bn254, public_key: &public_key, description, path: "", kdf };
    file.encrypt(&secret.to_bytes(), password, fill)
}

/// Whether a secret gives the public key that a file states in one of the forms that tools use.
fn belongs(secret: &SecretKey, text: &str) -> bool {
    if text.starts_with("E(") {
        return text == gnark_text(&secret.g1());
    }
    let Ok(stated) = hex::decode(text.strip_prefix("0x").unwrap_or(text)) else { return false };
    match stated.len() {
        G1::COMPRESSED_LEN => stated == gnark_compressed(secret.g1().encode_compressed()),
        G1::LEN => {
            // G1 uncompressed and G2 compressed have the same length.
            stated == secret.g1().encode() || stated == gnark_compressed(secret.g2().encode_compressed())
        }
        G2::LEN => stated == secret.g2().encode(),
        _ => false,
    }
}

/// gnark's text of a G1 point.
fn gnark_text(point: &G1) -> String {
    let encoded = point.encode();
    let (x, y) = encoded.split_at(32);
    format!("E([{},{}])", U256::from_be_slice(x), U256::from_be_slice(y))
}

/// gnark's compressed form of a point: arkworks' bytes in reverse order, with other flags for the larger and the
/// smaller y in the two top bits, which are now in front.
fn gnark_compressed<const N: usize>(mut arkworks: [u8; N]) -> [u8; N] {
    arkworks.reverse();
    if let Some(first) = arkworks.first_mut() {
        *first = if *first & 0x80 == 0 { *first | 0x80 } else { *first | 0xc0 };
    }
    arkworks
}
