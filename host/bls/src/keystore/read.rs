//! From a file to a [`Keystore`].

use super::tree::Tree;
use super::{Curve, Damage, Format, Kdf, Keystore, KeystoreError, Locked, MAX_LEN, seal};

pub(super) fn keystore(json: &[u8]) -> Result<Keystore, KeystoreError> {
    if json.len() > MAX_LEN {
        return Err(Damage::TooLarge(json.len()).into());
    }
    let file = Tree::parse(json)?;
    // First of all, so that a sealed file that was changed is called damaged and nothing else.
    let sealed = seal::check(json, &file)?;
    let crypto = file.need("crypto")?;
    let (format, locked) = match crypto.need("kdf")? {
        Tree::Text(_) => (Format::Web3, web3(&file, crypto)?),
        _ => (Format::Eip2335, modules(&file, crypto)?),
    };
    let public_key = public_key(&file)?;
    if format == Format::Web3 && public_key.is_none() {
        return Err(KeystoreError::NotBls);
    }
    let named = named_curve(&file)?;
    let curve = match named {
        Some(curve) => curve,
        None => implied_curve(format, public_key)?,
    };
    check_length(&locked.ciphertext, curve)?;
    Ok(Keystore {
        format: if format == Format::Eip2335 && named.is_some() { Format::Eip2335WithCurve } else { format },
        curve,
        public_key: public_key.map(str::to_owned),
        description: seal::without(file.text_or_empty("description")?).to_owned(),
        path: file.text_or_empty("path")?.to_owned(),
        sealed,
        locked,
    })
}

/// EIP-2335's three modules.
fn modules(file: &Tree, crypto: &Tree) -> Result<Locked, KeystoreError> {
    // bn254-keystore-go leaves the version at 0.
    check_version(file, &[0, 4])?;
    let kdf = crypto.need("kdf")?;
    let checksum = crypto.need("checksum")?;
    let cipher = crypto.need("cipher")?;
    only("checksum function", checksum.need_text("function")?, "sha256")?;
    only("cipher", cipher.need_text("function")?, "aes-128-ctr")?;
    let (kdf, salt) = derivation(kdf.need_text("function")?, kdf.need("params")?)?;
    Ok(Locked {
        kdf,
        salt,
        iv: fixed(cipher.need("params")?, "iv")?,
        ciphertext: bytes("cipher message", cipher.need_text("message")?, 1, 32)?,
        checksum: fixed(checksum, "message")?,
    })
}

/// go-ethereum's members.
fn web3(file: &Tree, crypto: &Tree) -> Result<Locked, KeystoreError> {
    // eigensdk-go writes no version, hourglass wrote 4.
    check_version(file, &[3, 4])?;
    only("cipher", crypto.need_text("cipher")?, "aes-128-ctr")?;
    let (kdf, salt) = derivation(crypto.need_text("kdf")?, crypto.need("kdfparams")?)?;
    Ok(Locked {
        kdf,
        salt,
        iv: fixed(crypto.need("cipherparams")?, "iv")?,
        ciphertext: bytes("ciphertext", crypto.need_text("ciphertext")?, 1, 32)?,
        checksum: fixed(crypto, "mac")?,
    })
}

fn derivation(function: &str, params: &Tree) -> Result<(Kdf, Vec<u8>), KeystoreError> {
    let kdf = match function {
        "scrypt" => Kdf::scrypt(params.need_number("n")?, params.need_number("r")?, params.need_number("p")?)?,
        "pbkdf2" => {
            only("pbkdf2 function", params.need_text("prf")?, "hmac-sha256")?;
            Kdf::pbkdf2(params.need_number("c")?)?
        }
        other => return Err(unsupported("key derivation", other)),
    };
    let (least, most) = (32, 64);
    match params.need_number("dklen")? {
        length if (least..=most).contains(&length) => {}
        found => return Err(KeystoreError::OutOfBounds { parameter: "dklen", found, least, most }),
    }
    Ok((kdf, bytes("salt", params.need_text("salt")?, 8, 64)?))
}

fn check_version(file: &Tree, known: &[u64]) -> Result<(), KeystoreError> {
    match file.member("version") {
        None => Ok(()),
        Some(Tree::Number(version)) if known.contains(version) => Ok(()),
        Some(Tree::Number(version)) => Err(unsupported("version", &version.to_string())),
        // go-ethereum's first version is text.
        Some(Tree::Text(version)) => Err(unsupported("version", version)),
        Some(_) => Err(Damage::Member("version").into()),
    }
}

fn public_key(file: &Tree) -> Result<Option<&str>, Damage> {
    for name in ["pubkey", "pubKey", "publicKey"] {
        let text = file.text_or_empty(name)?;
        if !text.is_empty() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// What the file says in so many words.
fn named_curve(file: &Tree) -> Result<Option<Curve>, KeystoreError> {
    let mut curve = None;
    for member in ["curveType", "curve"] {
        let name = file.text_or_empty(member)?;
        if name.is_empty() {
            continue;
        }
        let named = match name.to_ascii_lowercase().as_str() {
            "bn254" => Curve::Bn254,
            "bls381" | "bls12381" | "bls12-381" => Curve::Bls12381,
            _ => return Err(unsupported("curve", name)),
        };
        if curve.is_some_and(|other| other != named) {
            return Err(Damage::TwoCurves.into());
        }
        curve = Some(named);
    }
    Ok(curve)
}

/// Coordinates have 32 bytes on BN254 and 48 on BLS12-381, so no length of a public key is of both. EIP-2335 alone is
/// for BLS12-381.
fn implied_curve(format: Format, public_key: Option<&str>) -> Result<Curve, KeystoreError> {
    let Some(text) = public_key else { return Ok(Curve::Bls12381) };
    match text.strip_prefix("0x").unwrap_or(text).len() {
        _ if text.starts_with("E(") => Ok(Curve::Bn254),
        64 | 128 | 256 => Ok(Curve::Bn254),
        96 | 192 | 384 => Ok(Curve::Bls12381),
        _ if format == Format::Eip2335 => Ok(Curve::Bls12381),
        _ => Err(unsupported("public key", text)),
    }
}

/// crypto-libs drops the leading zero bytes of BN254's numbers, bn254-keystore-go and everybody else does not.
fn check_length(ciphertext: &[u8], curve: Curve) -> Result<(), Damage> {
    match (ciphertext.len(), curve) {
        (32, _) | (..32, Curve::Bn254) => Ok(()),
        (found, _) => Err(Damage::Length { member: "ciphertext", found }),
    }
}

fn only(part: &'static str, found: &str, known: &str) -> Result<(), KeystoreError> {
    if found == known { Ok(()) } else { Err(unsupported(part, found)) }
}

fn unsupported(part: &'static str, found: &str) -> KeystoreError {
    KeystoreError::Unsupported { part, found: found.chars().take(40).collect() }
}

fn bytes(member: &'static str, digits: &str, least: usize, most: usize) -> Result<Vec<u8>, Damage> {
    let length = Damage::Length { member, found: digits.len() / 2 };
    if digits.len() > 2 * most {
        return Err(length);
    }
    let bytes = hex::decode(digits).map_err(|_| Damage::NotHex(member))?;
    if bytes.len() < least { Err(length) } else { Ok(bytes) }
}

fn fixed<const N: usize>(parent: &Tree, member: &'static str) -> Result<[u8; N], Damage> {
    let bytes = bytes(member, parent.need_text(member)?, N, N)?;
    bytes.try_into().map_err(|_| Damage::Member(member))
}
