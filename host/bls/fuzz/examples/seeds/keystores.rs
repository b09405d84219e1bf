//! Key files of all tools' layouts under one password, with the least work that derives a key.

use eigenshift_bls::bn254::SecretKey;
use eigenshift_bls::keystore::{Format, Kdf, NewKeystore, bn254_keystore};
use eigenshift_bls::{Curve, bls12381};
use eigenshift_bls_fuzz::PASSWORD;
use serde_json::{Value, json};

use super::{Seeds, number};

const SCRYPT: Kdf = Kdf::Scrypt { n: 2, r: 1, p: 1 };
const PBKDF2: Kdf = Kdf::Pbkdf2 { c: 1 };

pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, text: String| seeds.push((format!("{name}.json"), text.into_bytes()));

    for (kdf_name, kdf) in [("scrypt", SCRYPT), ("pbkdf2", PBKDF2)] {
        for (name, format) in [("web3", Format::Web3), ("curve", Format::Eip2335WithCurve)] {
            let sealed = bn254(format, kdf);
            add(&format!("bn254-{name}-{kdf_name}"), unsealed(&sealed).to_string());
            add(&format!("bn254-{name}-{kdf_name}-sealed"), sealed);
        }
        for (name, format) in [("eip2335", Format::Eip2335), ("curve", Format::Eip2335WithCurve)] {
            let sealed = bls12381(format, kdf);
            add(&format!("bls12381-{name}-{kdf_name}"), unsealed(&sealed).to_string());
            add(&format!("bls12381-{name}-{kdf_name}-sealed"), sealed);
        }
    }
    for (name, file) in layouts() {
        add(name, file.to_string());
    }
    for (name, place, value) in changes() {
        let mut file = unsealed(&bn254(Format::Eip2335WithCurve, if place.ends_with("/c") { PBKDF2 } else { SCRYPT }));
        *file.pointer_mut(place).expect("the member is in every file") = value;
        add(name, file.to_string());
    }

    let sealed = bn254(Format::Web3, SCRYPT);
    add("seal-stale", sealed.replacen("E([", "E([1", 1));
    add("seal-mark-damaged", sealed.replacen("eigenshift-seal", "eigenshift-sael", 1));
    add("member-twice", sealed.replacen('{', r#"{"version":3,"version":3,"#, 1));
    add("truncated", sealed[..sealed.len() / 2].to_owned());
    add("nested", format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200)));
    add("two-values", format!("{sealed}{{}}"));
    add("empty-object", "{}".to_owned());
    seeds
}

/// What tools write that this crate does not: the same members elsewhere or under other names.
fn layouts() -> Vec<(&'static str, Value)> {
    let secret = secret();
    let web3 = unsealed(&bn254(Format::Web3, SCRYPT));
    let modules = unsealed(&bn254(Format::Eip2335WithCurve, SCRYPT));
    let with = |file: &Value, changes: &[(&str, Value)]| {
        let mut file = file.clone();
        for (name, value) in changes {
            file[*name] = value.clone();
        }
        file
    };
    let without = |file: &Value, name: &str| {
        let mut file = file.clone();
        file.as_object_mut().expect("a file is an object").remove(name);
        file
    };
    let g2 = json!(hex::encode(secret.g2().encode()));
    let mut compressed = secret.g1().encode_compressed();
    // As gnark has it: the other order, other flags.
    compressed.reverse();
    compressed[0] = if compressed[0] & 0x80 == 0 { compressed[0] | 0x80 } else { compressed[0] | 0xc0 };
    let account = with(&without(&web3, "pubKey"), &[("address", json!("00".repeat(20))), ("version", json!(3))]);
    vec![
        ("eigensdk-go", without(&web3, "description")),
        ("hourglass-first", with(&without(&web3, "pubKey"), &[("publicKey", g2), ("version", json!(4))])),
        (
            "cerberus",
            with(
                &without(&modules, "curveType"),
                &[("curve", json!("bn254")), ("version", json!(0)), ("pubkey", json!(hex::encode(compressed)))],
            ),
        ),
        ("rust-bls-bn254", without(&modules, "curveType")),
        ("g1-uncompressed", with(&modules, &[("pubkey", json!(hex::encode(secret.g1().encode())))])),
        ("two-curves", with(&modules, &[("curve", json!("bls12-381"))])),
        ("no-public-key", without(&modules, "pubkey")),
        ("account", account),
    ]
}

/// Files that are wrong, or dear, in one member.
fn changes() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("n-zero", "/crypto/kdf/params/n", json!(0)),
        ("n-no-power-of-two", "/crypto/kdf/params/n", json!(3)),
        ("n-dear", "/crypto/kdf/params/n", json!(1 << 15)),
        ("n-hostile", "/crypto/kdf/params/n", json!(1_u64 << 63)),
        ("r-dear", "/crypto/kdf/params/r", json!(16)),
        ("r-hostile", "/crypto/kdf/params/r", json!(u64::MAX)),
        ("p-dear", "/crypto/kdf/params/p", json!(16)),
        ("p-hostile", "/crypto/kdf/params/p", json!(1 << 30)),
        ("c-dear", "/crypto/kdf/params/c", json!(10_000_000)),
        ("c-hostile", "/crypto/kdf/params/c", json!(u64::MAX)),
        ("dklen-long", "/crypto/kdf/params/dklen", json!(64)),
        ("dklen-hostile", "/crypto/kdf/params/dklen", json!(u64::MAX)),
        ("salt-empty", "/crypto/kdf/params/salt", json!("")),
        ("iv-other", "/crypto/cipher/params/iv", json!("00".repeat(16))),
        ("iv-short", "/crypto/cipher/params/iv", json!("00".repeat(15))),
        ("ciphertext-short", "/crypto/cipher/message", json!("00")),
        ("ciphertext-long", "/crypto/cipher/message", json!("00".repeat(33))),
        ("checksum-other", "/crypto/checksum/message", json!("00".repeat(32))),
        ("kdf-unknown", "/crypto/kdf/function", json!("argon2id")),
        ("cipher-unknown", "/crypto/cipher/function", json!("aes-256-gcm")),
        ("version-text", "/version", json!("4")),
        ("public-key-other", "/pubkey", json!("00".repeat(128))),
        ("crypto-null", "/crypto", json!(null)),
    ]
}

fn secret() -> SecretKey {
    SecretKey::from_bytes(&number(0x1234)).expect("small numbers are keys")
}

fn bn254(format: Format, kdf: Kdf) -> String {
    bn254_keystore(&secret(), format, "", PASSWORD, kdf, |bytes| bytes.fill(7)).expect("it can be written")
}

fn bls12381(format: Format, kdf: Kdf) -> String {
    let secret = number(0x1234);
    let key = bls12381::SecretKey::from_bytes(&secret).expect("small numbers are keys").public_key();
    let public_key = hex::encode(key.encode_compressed());
    let file = NewKeystore {
        format,
        curve: Curve::Bls12381,
        public_key: &public_key,
        description: "operator 7",
        path: "m/12381/60/0/0",
        kdf,
    };
    file.encrypt(&secret, PASSWORD, |bytes| bytes.fill(7)).expect("it can be written")
}

/// As another tool would have written it.
fn unsealed(file: &str) -> Value {
    let mut file: Value = serde_json::from_str(file).expect("it is JSON");
    file["description"] = json!("");
    file
}
