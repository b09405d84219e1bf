//! Key files: other tools' files open, ours come back, and whatever is wrong with a file has its own name.

use std::time::{Duration, Instant};

use eigenshift_bls::Curve;
use eigenshift_bls::bn254::SecretKey;
use eigenshift_bls::keystore::{
    Damage, Format, Kdf, Keystore, KeystoreError, MAX_LEN, NewKeystore, bn254_keystore, bn254_secret, secret_from_hex,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{number, secret};

const CHEAP: Kdf = Kdf::Scrypt { n: 2, r: 8, p: 1 };
const PASSWORD: &str = "correct horse";

/// EIP-2335's test cases: one password and one secret.
const EIP_2335_PASSWORD: &str = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑";
const EIP_2335_SECRET: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
const EIP_2335_PUBLIC_KEY: &str =
    "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07";

fn eip_2335_scrypt() -> Value {
    json!({
        "crypto": {
            "kdf": {
                "function": "scrypt",
                "params": {
                    "dklen": 32, "n": 262144, "p": 1, "r": 8,
                    "salt": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
                },
                "message": ""
            },
            "checksum": {
                "function": "sha256",
                "params": {},
                "message": "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484"
            },
            "cipher": {
                "function": "aes-128-ctr",
                "params": {"iv": "264daa3f303d7259501c93d997d84fe6"},
                "message": "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f"
            }
        },
        "description": "This is a test keystore that uses scrypt to secure the secret.",
        "pubkey": EIP_2335_PUBLIC_KEY,
        "path": "m/12381/60/3141592653/589793238",
        "uuid": "1d85ae20-35c5-4611-98e8-aa14a633906f",
        "version": 4
    })
}

fn eip_2335_pbkdf2() -> Value {
    json!({
        "crypto": {
            "kdf": {
                "function": "pbkdf2",
                "params": {
                    "dklen": 32, "c": 262144, "prf": "hmac-sha256",
                    "salt": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
                },
                "message": ""
            },
            "checksum": {
                "function": "sha256",
                "params": {},
                "message": "8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1"
            },
            "cipher": {
                "function": "aes-128-ctr",
                "params": {"iv": "264daa3f303d7259501c93d997d84fe6"},
                "message": "cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad"
            }
        },
        "description": "This is a test keystore that uses PBKDF2 to secure the secret.",
        "pubkey": EIP_2335_PUBLIC_KEY,
        "path": "m/12381/60/0/0",
        "uuid": "64625def-3331-4eea-ab6f-782f3ed16a83",
        "version": 4
    })
}

/// eigensdk-go, `crypto/utils/test_data/bls_keys/keys/1.bls.key.json`, password and key from the files beside it.
fn eigensdk_go() -> Value {
    json!({
        "pubKey": "E([20770760626397288647989719952430268435412940027317835986854114355284449304367,\
                   14860742301798284656486681596150725088757741265286915113692865360170725264111])",
        "crypto": {
            "cipher": "aes-128-ctr",
            "ciphertext": "0fb5c298c1783ac3ed388f513c4cf7e5cc9b6f12df4d931949801b02012c9bdc",
            "cipherparams": {"iv": "ebe125ef3babb65e5cc6651decae2f88"},
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 262144, "p": 1, "r": 8,
                "salt": "e14f75b96c13aa124f063eb48c4ce4abb2d8560d44dc40da01d9c8afc048325f"
            },
            "mac": "7efcdf55ff520c228f34b4a5e9e3a0417defc831ea441b925045d3a0f89aaaff"
        }
    })
}

/// hourglass, `ponos/testKeys/aggregator/key_bn254.json`, empty password: crypto-libs' layout.
fn hourglass() -> Value {
    json!({
        "crypto": {
            "kdf": {
                "function": "scrypt",
                "params": {
                    "dklen": 32, "n": 262144, "p": 1, "r": 8,
                    "salt": "dfca382309f4848f5b19e68b210a4352483ac2932ed85fd33dcf18a65cf6df00"
                },
                "message": ""
            },
            "checksum": {
                "function": "sha256",
                "params": {},
                "message": "2a199250fa26519cf2126a1412146401841dcf01bf3b7247400e0a7a76c4250b"
            },
            "cipher": {
                "function": "aes-128-ctr",
                "params": {"iv": "677edd29eff1f8635a51f66f71bc5c83"},
                "message": "162d9d639a04c1ba85eca100875408dcc19fcd4c3d046137a73c777dde1f8347"
            }
        },
        "pubkey": "2d9070dd755001e31106e8fd58e12f391d09748e5e729512847a944f59966c33\
                   11647e4f059bc95ca7f82ecf104758658faa6c3fd18e520c84ba494659b0c6aa\
                   015b70ece5cf79963f6295b2db088213732f8bd5c2c456039cd76991e8f24fc2\
                   25de170c25e59665e9ed95313f43f0bfc93122445e048c9a91fbdea84c71d169",
        "path": "m/1/0/0",
        "uuid": "3b7d7ab3-4472-417f-8f2f-8b2a7011a463",
        "version": 4,
        "curveType": "bn254"
    })
}

/// hourglass, `ponos/key_bn254.json`, empty password: go-ethereum's layout under version 4.
fn hourglass_before_eip_2335() -> Value {
    json!({
        "publicKey": "0f0533b7b2c6c00e5b6d440c0e93eadfea6d07d2f7c1b93376d958437086c9e4\
                      1595e3725693bee8010135894c98ea9ec81028f7cecb2412d2f4ecef26b01f56\
                      039ce9c62a264d188d45bc21e840c9ccff8fd14badd4a0c0792526161772e502\
                      2c7d5f302fa771d09da4d88f64e666727abf97c5a92ce0ed1fb3ce126cf76fc8",
        "crypto": {
            "cipher": "aes-128-ctr",
            "ciphertext": "3c93ff6a6bb6674454934155c253e512c488b52963f613527abfd8c8f55db520",
            "cipherparams": {"iv": "1cab94d8a70510094173b843fec8c2aa"},
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 262144, "p": 1, "r": 8,
                "salt": "bad0e3a17980551dd9183ae841f3418dacbcb361a1bb3df980ccce7a85c1e9bb"
            },
            "mac": "37a5bfdbb611331ab67c90df46764e9f7f1d14f3c0045b7b90070393633af399"
        },
        "uuid": "7f8d000d-41f5-4201-8dba-52a7acc5f838",
        "version": 4
    })
}

/// cerberus, `internal/services/signing/testdata/keystore`, password and key from the test: bn254-keystore-go's layout.
fn cerberus() -> Value {
    json!({
        "crypto": {
            "kdf": {
                "function": "scrypt",
                "params": {
                    "dklen": 32, "n": 262144, "p": 1, "r": 8,
                    "salt": "da545c4ce983b0121e02a78cbf97ffbde4fcec6a2a3312b7e5ad0ee67b378425"
                },
                "message": ""
            },
            "checksum": {
                "function": "sha256",
                "params": {},
                "message": "f526116f0f8ce0698d6ae3eddcba316268a962080aacc1bd0c0b910d9ed25c78"
            },
            "cipher": {
                "function": "aes-128-ctr",
                "params": {"iv": "7a264654c45ccfe6c93ac04631bb383b"},
                "message": "1481a16a3e6f8bb6bdc5e24304906e3f84d4e3062ac00ee8afc42bb791dda528"
            }
        },
        "description": "",
        "pubkey": "a3111a2232584734d526d62cbb7c9a0d4ce1984a92b7ecb85bde8878fea5d1b0",
        "path": "m/254/60/0/0",
        "uuid": "bdf7a014d841465e995843f37b48f8c4",
        "version": 0,
        "curve": "bn254"
    })
}

fn text(file: &Value) -> Vec<u8> {
    serde_json::to_vec(file).unwrap()
}

fn parse(file: &Value) -> Result<Keystore, KeystoreError> {
    Keystore::parse(&text(file))
}

/// Bytes that differ from call to call and from one seed to the next.
fn bytes(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut next = Sha256::digest([seed]);
    move |buffer| {
        for byte in buffer {
            next = Sha256::digest(next);
            *byte = next[0];
        }
    }
}

fn bls12381(format: Format, kdf: Kdf) -> NewKeystore<'static> {
    NewKeystore {
        format,
        curve: Curve::Bls12381,
        public_key: EIP_2335_PUBLIC_KEY,
        description: "",
        path: "m/12381/60/0/0",
        kdf,
    }
}

/// One file of every layout and curve, and what is in it.
fn written() -> Vec<(Format, Curve, String, [u8; 32])> {
    let mut files = Vec::new();
    for (n, kdf) in [(1_u8, CHEAP), (2, Kdf::Pbkdf2 { c: 1 })] {
        for format in [Format::Web3, Format::Eip2335WithCurve] {
            let key = secret(0x1_0000 + u64::from(n));
            let file = bn254_keystore(&key, format, "operator 7", PASSWORD, kdf, bytes(n)).unwrap();
            files.push((format, Curve::Bn254, file, *key.to_bytes()));
        }
        for format in [Format::Eip2335, Format::Eip2335WithCurve] {
            let file = bls12381(format, kdf).encrypt(&[n; 32], PASSWORD, bytes(n)).unwrap();
            files.push((format, Curve::Bls12381, file, [n; 32]));
        }
    }
    files
}

/// The file without its seal, as another tool would have written it.
fn foreign(file: &str) -> Value {
    let mut file: Value = serde_json::from_str(file).unwrap();
    file["description"] = json!("");
    file
}

fn bn254_file(format: Format) -> String {
    bn254_keystore(&secret(0x1234), format, "", PASSWORD, CHEAP, bytes(1)).unwrap()
}

#[test]
fn the_vectors_of_eip_2335_open() {
    for (file, path) in [(eip_2335_scrypt(), "m/12381/60/3141592653/589793238"), (eip_2335_pbkdf2(), "m/12381/60/0/0")]
    {
        let keystore = parse(&file).unwrap();
        assert_eq!((keystore.format(), keystore.curve()), (Format::Eip2335, Curve::Bls12381));
        assert_eq!(keystore.public_key_text(), Some(EIP_2335_PUBLIC_KEY));
        assert_eq!((keystore.path(), keystore.is_sealed()), (path, false));
        assert_eq!(Some(keystore.description()), file["description"].as_str());
        let opened = keystore.decrypt(EIP_2335_PASSWORD, Curve::Bls12381).unwrap();
        assert_eq!(hex::encode(opened.as_slice()), EIP_2335_SECRET);
    }
}

#[test]
fn files_of_eigenlayers_tools_open() {
    let cases = [
        (
            eigensdk_go(),
            Format::Web3,
            "f3?T0pFhPFKG=SJ^No0<",
            number("2695733600625131346122864983303466385927445828993184612262398097053003827945"),
        ),
        (
            hourglass_before_eip_2335(),
            Format::Web3,
            "",
            from_hex("0cb19ef033f54767a36a614de864e341ecb1357ee6168b696dbe9c15d48fc1a4"),
        ),
        (
            hourglass(),
            Format::Eip2335WithCurve,
            "",
            from_hex("2da8081b860f3b611de370deca14538ccf1641033bdcdad8dfddcb18d68e7eef"),
        ),
        (
            cerberus(),
            Format::Eip2335WithCurve,
            "p@$$w0rd",
            from_hex("040ad69253b921aca71dd714cccc3095576fbe1a21f86c9b10cb5b119b1c6899"),
        ),
    ];
    for (file, format, password, expected) in cases {
        let keystore = parse(&file).unwrap();
        assert_eq!((keystore.format(), keystore.curve()), (format, Curve::Bn254));
        assert_eq!(*bn254_secret(&text(&file), password).unwrap().to_bytes(), expected, "{file}");
    }
}

fn from_hex(digits: &str) -> [u8; 32] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

#[test]
fn what_we_write_is_what_eip_2335_computes() {
    let vector = eip_2335_pbkdf2();
    let kdf = &vector["crypto"]["kdf"]["params"]["salt"];
    let mut given =
        [kdf, &vector["crypto"]["cipher"]["params"]["iv"]].map(|digits| hex::decode(digits.as_str().unwrap()).unwrap());
    given.reverse();
    let mut given = given.to_vec();
    let fill = |buffer: &mut [u8]| {
        if let Some(bytes) = given.pop() {
            buffer.copy_from_slice(&bytes);
        }
    };
    let file = bls12381(Format::Eip2335, Kdf::Pbkdf2 { c: 262_144 });
    let written = file.encrypt(&from_hex(EIP_2335_SECRET), EIP_2335_PASSWORD, fill).unwrap();
    let mut written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["crypto"], vector["crypto"]);
    // Every member is one that strict readers know.
    written["description"] = vector["description"].clone();
    written["uuid"] = vector["uuid"].clone();
    assert_eq!(written, vector);
}

#[test]
fn every_layout_comes_back() {
    for (format, curve, file, expected) in written() {
        let keystore = Keystore::parse(file.as_bytes()).unwrap();
        assert_eq!((keystore.format(), keystore.curve(), keystore.is_sealed()), (format, curve, true));
        let description = if curve == Curve::Bn254 { "operator 7" } else { "" };
        assert_eq!(keystore.description(), description);
        assert_eq!(*keystore.decrypt(PASSWORD, curve).unwrap(), expected);
        if curve == Curve::Bn254 {
            assert_eq!(*bn254_secret(file.as_bytes(), PASSWORD).unwrap().to_bytes(), expected);
        }
    }
}

#[test]
fn our_files_have_the_members_of_the_tools_they_are_for() {
    let names = |file: &Value| file.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let web3: Value = serde_json::from_str(&bn254_file(Format::Web3)).unwrap();
    assert_eq!(names(&web3), ["crypto", "description", "pubKey"]);
    assert_eq!(names(&web3["crypto"]), names(&eigensdk_go()["crypto"]));
    assert_eq!(web3["pubKey"].as_str().unwrap().get(..3), Some("E(["));

    let tagged: Value = serde_json::from_str(&bn254_file(Format::Eip2335WithCurve)).unwrap();
    assert_eq!(names(&tagged), ["crypto", "curveType", "description", "path", "pubkey", "uuid", "version"]);
    assert_eq!((&tagged["curveType"], &tagged["version"]), (&json!("bn254"), &json!(4)));
    assert_eq!(tagged["pubkey"].as_str().unwrap().len(), 256);
    let uuid = tagged["uuid"].as_str().unwrap();
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!(uuid.as_bytes()[14], b'4');
    assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
}

#[test]
fn wrong_password_changed_file_and_wrong_curve_have_three_codes() {
    for (_, curve, file, _) in written() {
        let other = if curve == Curve::Bn254 { Curve::Bls12381 } else { Curve::Bn254 };
        let keystore = Keystore::parse(file.as_bytes()).unwrap();
        let wrong_password = keystore.decrypt("incorrect horse", curve).unwrap_err();
        assert_eq!(wrong_password, KeystoreError::WrongPassword { sealed: true });
        let wrong_curve = keystore.decrypt(PASSWORD, other).unwrap_err();
        let iv = file.find("\"iv\":\"").unwrap() + 6;
        let changed = format!("{}{}{}", &file[..iv], if &file[iv..=iv] == "0" { "1" } else { "0" }, &file[iv + 1..]);
        let damaged = Keystore::parse(changed.as_bytes()).unwrap_err();
        let codes = [wrong_password.code(), damaged.code(), wrong_curve.code()];
        assert_eq!(codes, ["wrong-password", "damaged-keystore", "wrong-curve"]);
    }
}

#[test]
fn every_truncation_of_our_files_is_damage() {
    for (_, _, file, _) in written() {
        for end in 0..file.len() {
            let error = Keystore::parse(&file.as_bytes()[..end]).unwrap_err();
            assert_eq!(error.code(), "damaged-keystore", "{}", &file[..end]);
        }
    }
}

#[test]
fn every_changed_byte_of_our_files_is_damage() {
    for (_, _, file, _) in written() {
        for place in 0..file.len() {
            let mut changed = file.clone().into_bytes();
            let whole = changed[place];
            let flips = (0..8).map(|bit| whole ^ (1 << bit));
            for byte in flips.chain([0, b' ', b'"', b'0', 0xff]).filter(|byte| *byte != whole) {
                changed[place] = byte;
                let outcome = Keystore::parse(&changed).map_err(|error| error.code());
                assert_eq!(outcome.err(), Some("damaged-keystore"), "{place}: {}", String::from_utf8_lossy(&changed));
            }
        }
    }
}

#[test]
fn a_missing_or_added_byte_of_our_files_is_damage_or_changes_nothing() {
    for (_, curve, file, expected) in written() {
        let check = |changed: &[u8]| match Keystore::parse(changed).and_then(|file| file.decrypt(PASSWORD, curve)) {
            Ok(opened) => assert_eq!(*opened, expected, "{}", String::from_utf8_lossy(changed)),
            Err(error) => assert_eq!(error.code(), "damaged-keystore", "{}", String::from_utf8_lossy(changed)),
        };
        for place in 0..file.len() {
            let mut shorter = file.clone().into_bytes();
            shorter.remove(place);
            check(&shorter);
            for byte in [b' ', b'0', b'"', b'}'] {
                let mut longer = file.clone().into_bytes();
                longer.insert(place, byte);
                check(&longer);
            }
        }
    }
}

#[test]
fn laying_out_the_text_anew_does_not_break_the_seal() {
    let file = bn254_file(Format::Eip2335WithCurve);
    let value: Value = serde_json::from_str(&file).unwrap();
    let mut pretty = serde_json::to_string_pretty(&value).unwrap();
    pretty.push('\n');
    let description = format!("\"description\":{}", value["description"]);
    let reordered = file.replace(&format!(",{description}"), "").replacen('{', &format!("{{{description},"), 1);
    assert_ne!(reordered, file);
    for text in [pretty, reordered] {
        assert!(Keystore::parse(text.as_bytes()).unwrap().is_sealed(), "{text}");
        assert!(bn254_secret(text.as_bytes(), PASSWORD).is_ok());
    }
}

#[test]
fn a_stale_seal_is_damage_and_without_it_the_file_is_as_any_other() {
    let mut file: Value = serde_json::from_str(&bn254_file(Format::Eip2335WithCurve)).unwrap();
    file["path"] = json!("m/1");
    assert_eq!(parse(&file).unwrap_err(), Damage::Seal.into());
    file["description"] = json!("moved");
    let keystore = parse(&file).unwrap();
    assert_eq!((keystore.is_sealed(), keystore.description()), (false, "moved"));
    assert!(bn254_secret(&text(&file), PASSWORD).is_ok());
}

#[test]
fn without_a_seal_a_changed_ciphertext_is_called_a_wrong_password_and_says_so() {
    let mut file = foreign(&bn254_file(Format::Web3));
    file["crypto"]["ciphertext"] = json!("00".repeat(32));
    let changed = bn254_secret(&text(&file), PASSWORD).unwrap_err();
    assert_eq!(changed, KeystoreError::WrongPassword { sealed: false });
    assert!(changed.to_string().contains("the file was changed"));
}

#[test]
fn without_a_seal_a_changed_initialisation_vector_does_not_give_another_key() {
    for format in [Format::Web3, Format::Eip2335WithCurve] {
        let whole = foreign(&bn254_file(format));
        for n in 0..64_u8 {
            let mut file = whole.clone();
            let params = match format {
                Format::Web3 => &mut file["crypto"]["cipherparams"],
                _ => &mut file["crypto"]["cipher"]["params"],
            };
            params["iv"] = json!(hex::encode([n; 16]));
            // The checksum does not cover it: decrypting gives something, opening does not.
            assert!(parse(&file).unwrap().decrypt(PASSWORD, Curve::Bn254).is_ok());
            assert_eq!(bn254_secret(&text(&file), PASSWORD).unwrap_err().code(), "damaged-keystore");
        }
    }
}

#[test]
fn another_public_key_than_the_secrets_is_damage() {
    for format in [Format::Web3, Format::Eip2335WithCurve] {
        let other = foreign(&bn254_keystore(&secret(5), format, "", PASSWORD, CHEAP, bytes(1)).unwrap());
        let member = if format == Format::Web3 { "pubKey" } else { "pubkey" };
        let mut file = foreign(&bn254_file(format));
        file[member] = other[member].clone();
        assert_eq!(bn254_secret(&text(&file), PASSWORD).unwrap_err(), Damage::PublicKey.into());
    }
}

#[test]
fn a_number_outside_the_group_is_damage() {
    let file =
        NewKeystore { curve: Curve::Bn254, public_key: &"00".repeat(128), ..bls12381(Format::Eip2335WithCurve, CHEAP) };
    for bad in [[0; 32], [0xff; 32]] {
        let file = file.encrypt(&bad, PASSWORD, bytes(1)).unwrap();
        assert_eq!(bn254_secret(file.as_bytes(), PASSWORD).unwrap_err(), Damage::Secret.into());
    }
}

#[test]
fn every_form_of_a_public_key_that_tools_write_is_recognised() {
    // The keys of two of the files above, in forms that other versions of the same tools write.
    let compressed_g2 = "ce29147275a76eb6cbe65b736ca2b636395ccbeaa6312359acf934e395b153d9\
                         114468916e5e171d139f6bfb4dde17be84422f39e9e5a3b1a9d779013638ec7b";
    let key = SecretKey::from_hex("040ad69253b921aca71dd714cccc3095576fbe1a21f86c9b10cb5b119b1c6899").unwrap();
    let smaller_y = "a3111a2232584734d526d62cbb7c9a0d4ce1984a92b7ecb85bde8878fea5d1b0";
    let uncompressed = hex::encode(key.g1().encode());
    let larger_y_key = SecretKey::from_hex("2da8081b860f3b611de370deca14538ccf1641033bdcdad8dfddcb18d68e7eef").unwrap();
    let larger_y = "e64468f5f990970fb0a2fc3f273b161ca34b7676ada2292f898a12a2907e8ef6";
    for (key, public_key) in [
        (&key, compressed_g2.to_owned()),
        (&key, format!("0x{compressed_g2}")),
        (&key, smaller_y.to_uppercase()),
        (&key, uncompressed),
        (&larger_y_key, larger_y.to_owned()),
    ] {
        let mut file = foreign(&bn254_keystore(key, Format::Eip2335WithCurve, "", PASSWORD, CHEAP, bytes(3)).unwrap());
        file["pubkey"] = json!(public_key);
        // rust-bls-bn254 names no curve: the length tells.
        file.as_object_mut().unwrap().remove("curveType");
        assert_eq!(parse(&file).unwrap().curve(), Curve::Bn254);
        assert!(bn254_secret(&text(&file), PASSWORD).is_ok(), "{public_key}");
    }
}

#[test]
fn numbers_without_their_leading_zeros_are_read() {
    // As crypto-libs writes them: the ciphertext has the number's length.
    let key = secret(0x12_3456);
    let mut file = foreign(&bn254_keystore(&key, Format::Eip2335WithCurve, "", PASSWORD, CHEAP, bytes(1)).unwrap());
    let params = |name: &str| hex::decode(file["crypto"]["kdf"]["params"][name].as_str().unwrap()).unwrap();
    let mut derived = [0; 32];
    scrypt::scrypt(
        PASSWORD.as_bytes(),
        &params("salt"),
        &scrypt::Params::new(1, 8, 1, 32).unwrap(),
        derived.as_mut_slice(),
    )
    .unwrap();
    let ciphertext = hex::decode(file["crypto"]["cipher"]["message"].as_str().unwrap()).unwrap();
    // The number's first 29 bytes are zero, so there the ciphertext is the key stream.
    let short: Vec<u8> = ciphertext.iter().zip([0x12, 0x34, 0x56]).map(|(stream, byte)| stream ^ byte).collect();
    let checksum = Sha256::new().chain_update(&derived[16..]).chain_update(&short).finalize();
    file["crypto"]["cipher"]["message"] = json!(hex::encode(short));
    file["crypto"]["checksum"]["message"] = json!(hex::encode(checksum));
    assert_eq!(bn254_secret(&text(&file), PASSWORD).unwrap().to_bytes(), key.to_bytes());

    let mut file = eip_2335_pbkdf2();
    file["crypto"]["cipher"]["message"] = json!("00".repeat(31));
    let error = parse(&file).unwrap_err();
    assert_eq!(error, Damage::Length { member: "ciphertext", found: 31 }.into());
}

#[test]
fn hostile_costs_are_refused_before_anything_is_computed() {
    let scrypt = |n: u64, r: u64, p: u64| {
        let mut file = eip_2335_scrypt();
        let params = &mut file["crypto"]["kdf"]["params"];
        (params["n"], params["r"], params["p"]) = (json!(n), json!(r), json!(p));
        file
    };
    let pbkdf2 = |c: u64| {
        let mut file = eip_2335_pbkdf2();
        file["crypto"]["kdf"]["params"]["c"] = json!(c);
        file
    };
    let length = |dklen: u64| {
        let mut file = eip_2335_pbkdf2();
        file["crypto"]["kdf"]["params"]["dklen"] = json!(dklen);
        file
    };
    let start = Instant::now();
    for file in [
        scrypt(0, 8, 1),
        scrypt(1, 8, 1),
        scrypt(262_143, 8, 1),
        scrypt(1 << 21, 1, 1),
        scrypt(1 << 63, 8, 1),
        scrypt(u64::MAX, 8, 1),
        scrypt(1 << 16, 1, 1),
        scrypt(1 << 18, 0, 1),
        scrypt(1 << 18, 17, 1),
        scrypt(1 << 18, u64::MAX, 1),
        scrypt(1 << 18, 8, 0),
        scrypt(1 << 18, 8, 17),
        scrypt(1 << 20, 8, 1),
        scrypt(1 << 18, 16, 9),
        pbkdf2(0),
        pbkdf2(10_000_001),
        pbkdf2(u64::MAX),
        length(0),
        length(31),
        length(65),
        length(u64::MAX),
    ] {
        assert_eq!(parse(&file).unwrap_err().code(), "keystore-out-of-bounds", "{file}");
    }
    for file in [scrypt(1 << 19, 8, 1), scrypt(1 << 18, 16, 8), scrypt(1 << 15, 1, 16), pbkdf2(1), length(64)] {
        assert!(parse(&file).is_ok(), "{file}");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_file_tells_what_a_password_costs_before_one_is_tried() {
    assert_eq!(parse(&eip_2335_scrypt()).unwrap().kdf(), Kdf::default());
    assert_eq!(parse(&eip_2335_pbkdf2()).unwrap().kdf(), Kdf::Pbkdf2 { c: 262_144 });
    assert_eq!(Keystore::parse(bn254_file(Format::Web3).as_bytes()).unwrap().kdf(), CHEAP);
}

#[test]
fn a_longer_derived_key_starts_with_the_same_bytes() {
    let mut file = foreign(&bn254_file(Format::Web3));
    file["crypto"]["kdfparams"]["dklen"] = json!(64);
    assert!(bn254_secret(&text(&file), PASSWORD).is_ok());
}

#[test]
fn unknown_functions_versions_and_curves_are_unsupported() {
    let changes: [(Value, &[&str], Value); 13] = [
        (eip_2335_scrypt(), &["crypto", "kdf", "function"], json!("argon2id")),
        (eip_2335_pbkdf2(), &["crypto", "kdf", "params", "prf"], json!("hmac-sha512")),
        (eip_2335_scrypt(), &["crypto", "checksum", "function"], json!("keccak256")),
        (eip_2335_scrypt(), &["crypto", "cipher", "function"], json!("aes-256-gcm")),
        (eip_2335_scrypt(), &["version"], json!(5)),
        (eip_2335_scrypt(), &["version"], json!("1")),
        (hourglass(), &["curveType"], json!("secp256k1")),
        (cerberus(), &["curve"], json!("x".repeat(1000))),
        (eigensdk_go(), &["crypto", "kdf"], json!("argon2id")),
        (eigensdk_go(), &["crypto", "cipher"], json!("aes-128-cbc")),
        (eigensdk_go(), &["version"], json!(1)),
        (eigensdk_go(), &["pubKey"], json!("O")),
        (eigensdk_go(), &["pubKey"], json!("1234")),
    ];
    for (mut file, place, value) in changes {
        *place.iter().fold(&mut file, |value, name| &mut value[*name]) = value;
        let error = parse(&file).unwrap_err();
        assert_eq!(error.code(), "unsupported-keystore", "{place:?}: {error}");
        assert!(error.to_string().len() < 200);
    }
}

#[test]
fn missing_members_wrong_types_and_wrong_lengths_are_damage() {
    fn leaves(value: &Value, place: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        for (name, inner) in value.as_object().into_iter().flatten() {
            place.push(name.clone());
            if name == "crypto" || place.first().is_some_and(|first| first == "crypto") {
                found.push(place.clone());
            }
            leaves(inner, place, found);
            place.pop();
        }
    }
    fn at<'a>(file: &'a mut Value, place: &[String]) -> &'a mut Value {
        place.iter().fold(file, |value, name| &mut value[name.as_str()])
    }
    // Nobody reads these two.
    let unread: [&[&str]; 2] = [&["crypto", "kdf", "message"], &["crypto", "checksum", "params"]];
    for whole in [eip_2335_scrypt(), eip_2335_pbkdf2(), hourglass(), eigensdk_go()] {
        let mut places = Vec::new();
        leaves(&whole, &mut Vec::new(), &mut places);
        for place in places
            .iter()
            .filter(|place| !unread.contains(&place.iter().map(String::as_str).collect::<Vec<_>>().as_slice()))
        {
            let (name, parent) = place.split_last().unwrap();
            let mut file = whole.clone();
            at(&mut file, parent).as_object_mut().unwrap().remove(name);
            assert_eq!(parse(&file).unwrap_err().code(), "damaged-keystore", "without {place:?}");
            for wrong in [json!(null), json!(true), json!([1, 2]), json!(-1), json!(0.5)] {
                let mut file = whole.clone();
                *at(&mut file, place) = wrong.clone();
                assert_eq!(parse(&file).unwrap_err().code(), "damaged-keystore", "{place:?} {wrong}");
            }
            let old = at(&mut whole.clone(), place).clone();
            if let Some(digits) = old.as_str().filter(|text| text.len() >= 32) {
                for wrong in ["", "zz", &digits[1..], &"00".repeat(100), &"0".repeat(10_000)] {
                    let mut file = whole.clone();
                    *at(&mut file, place) = json!(wrong);
                    assert_eq!(parse(&file).unwrap_err().code(), "damaged-keystore", "{place:?} {wrong}");
                }
            }
        }
    }
    for (member, value) in [("curve", json!("bls12-381")), ("pubkey", json!(7)), ("path", json!({}))] {
        let mut file = hourglass();
        file[member] = value;
        assert_eq!(parse(&file).unwrap_err().code(), "damaged-keystore", "{member}");
    }
}

#[test]
fn what_is_no_json_object_of_sensible_size_is_damage() {
    let twice = text(&hourglass());
    let twice = String::from_utf8(twice).unwrap().replacen('{', r#"{"version":4,"#, 1);
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    for bad in ["", "null", "[]", "{}", "7", "\"text\"", "{}{}", "\u{feff}{}", &twice, &nested, &deep] {
        assert_eq!(Keystore::parse(bad.as_bytes()).unwrap_err().code(), "damaged-keystore");
    }
    let mut long = text(&eip_2335_scrypt());
    long.resize(MAX_LEN, b' ');
    assert!(Keystore::parse(&long).is_ok());
    long.push(b' ');
    assert_eq!(Keystore::parse(&long).unwrap_err(), Damage::TooLarge(MAX_LEN + 1).into());
}

#[test]
fn members_that_nobody_reads_are_left_alone() {
    let mut file = foreign(&bn254_file(Format::Web3));
    for (name, value) in
        [("address", json!("00")), ("id", json!("x")), ("version", json!(3)), ("extra", json!([{"a": null}]))]
    {
        file[name] = value;
    }
    assert!(bn254_secret(&text(&file), PASSWORD).is_ok());
}

#[test]
fn an_ethereum_accounts_file_is_not_taken_for_a_bls_key() {
    let mut file = eigensdk_go();
    file.as_object_mut().unwrap().remove("pubKey");
    file["address"] = json!("d8da6bf26964af9d7eed9e03e53415d37aa96045");
    file["version"] = json!(3);
    assert_eq!(parse(&file).unwrap_err(), KeystoreError::NotBls);
}

#[test]
fn hourglass_decimal_digits_are_refused_by_their_length() {
    let mut file = hourglass_before_eip_2335();
    file["crypto"]["ciphertext"] = json!("00".repeat(77));
    assert_eq!(parse(&file).unwrap_err(), Damage::Length { member: "ciphertext", found: 77 }.into());
}

#[test]
fn eip_2335_normalises_passwords_and_go_ethereum_does_not() {
    let written = "caf\u{e9}\u{fb01}";
    let same = ["cafe\u{301}fi", "\u{7}caf\u{e9}\u{7f}\u{fb01}\u{85}\n", "𝔠afe\u{301}ﬁ"];
    let key = secret(9);
    let open = |format, password: &str| {
        let file = bn254_keystore(&key, format, "", written, CHEAP, bytes(1)).unwrap();
        bn254_secret(file.as_bytes(), password).map(|key| key.to_bytes())
    };
    for password in same {
        assert_eq!(open(Format::Eip2335WithCurve, password).unwrap(), key.to_bytes(), "{password:?}");
        assert_eq!(open(Format::Web3, password).unwrap_err().code(), "wrong-password", "{password:?}");
    }
    for format in [Format::Eip2335WithCurve, Format::Web3] {
        assert_eq!(open(format, written).unwrap(), key.to_bytes());
        for other in ["cafefi", "caf\u{e9} \u{fb01}", "Caf\u{e9}\u{fb01}", ""] {
            assert_eq!(open(format, other).unwrap_err().code(), "wrong-password", "{other:?}");
        }
    }
}

#[test]
fn what_other_tools_could_not_read_is_not_written() {
    let key = secret(7);
    let bn254 = |format, description: &str, password: &str, kdf| {
        bn254_keystore(&key, format, description, password, kdf, bytes(1)).unwrap_err().code()
    };
    assert_eq!(bn254(Format::Eip2335, "", PASSWORD, CHEAP), "unwritable-keystore");
    assert_eq!(bn254(Format::Web3, "two\nlines", PASSWORD, CHEAP), "unwritable-keystore");
    assert_eq!(bn254(Format::Web3, &"x".repeat(1025), PASSWORD, CHEAP), "unwritable-keystore");
    for nothing in ["", "\u{7}\u{7f}"] {
        assert_eq!(bn254(Format::Web3, "", nothing, CHEAP), "empty-password");
    }
    let dear = Kdf::Scrypt { n: 1 << 20, r: 16, p: 1 };
    assert_eq!(bn254(Format::Web3, "", PASSWORD, dear), "keystore-out-of-bounds");
    assert_eq!(bn254(Format::Web3, "", PASSWORD, Kdf::Pbkdf2 { c: 0 }), "keystore-out-of-bounds");
    let bls12381 = bls12381(Format::Web3, CHEAP);
    for file in [
        bls12381,
        NewKeystore { format: Format::Eip2335, public_key: "", ..bls12381 },
        NewKeystore { format: Format::Eip2335, path: "\t", ..bls12381 },
    ] {
        assert_eq!(file.encrypt(&[1; 32], PASSWORD, bytes(1)).unwrap_err().code(), "unwritable-keystore");
    }
}

#[test]
fn the_longest_description_is_read_back() {
    // Escaped and multi-byte characters count as what they are in the file.
    for description in ["\"\\".repeat(512), "🔑".repeat(256), "[eigenshift-seal sha256:00]".to_owned()] {
        let file = bn254_keystore(&secret(7), Format::Web3, &description, PASSWORD, CHEAP, bytes(1)).unwrap();
        assert_eq!(Keystore::parse(file.as_bytes()).unwrap().description(), description);
        assert!(bn254_secret(file.as_bytes(), PASSWORD).is_ok());
    }
}

#[test]
fn two_files_with_the_same_key_and_password_have_nothing_encrypted_in_common() {
    let mut fill = bytes(1);
    let [one, two] = [(); 2].map(|()| {
        let file = bn254_keystore(&secret(7), Format::Web3, "", PASSWORD, CHEAP, &mut fill).unwrap();
        serde_json::from_str::<Value>(&file).unwrap()
    });
    for place in ["/crypto/ciphertext", "/crypto/mac", "/crypto/kdfparams/salt", "/crypto/cipherparams/iv"] {
        assert_ne!(one.pointer(place).unwrap(), two.pointer(place).unwrap(), "{place}");
    }
}

#[test]
fn hexadecimal_secrets_are_taken_as_people_write_them_and_nothing_else() {
    let digits = EIP_2335_SECRET;
    for good in [digits.to_owned(), format!("0x{digits}"), format!(" \t0x{digits}\r\n"), digits.to_uppercase()] {
        assert_eq!(*secret_from_hex(&good).unwrap(), from_hex(digits), "{good}");
    }
    for bad in ["", "0x", &digits[1..], &format!("{digits}0"), &format!("0x0x{digits}"), &format!("0x {digits}")] {
        assert_eq!(secret_from_hex(bad).unwrap_err().code(), "not-hex", "{bad}");
    }
}

#[test]
fn debug_output_shows_neither_secret_nor_what_it_is_guessed_from() {
    let keystore = parse(&eigensdk_go()).unwrap();
    let shown = format!("{keystore:?}");
    for hidden in ["0fb5c298", "e14f75b9", "7efcdf55", "15, 181, 194"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
