//! The operator key in a key file, asked for by curve.

use eigenshift_bls::bn254::SecretKey;
use eigenshift_bls::keystore::{Damage, Format, Kdf, KeystoreError, NewKeystore, bn254_keystore, bn254_secret, secret};
use eigenshift_bls::{Curve, bls12381};
use serde_json::{Value, json};

use crate::{g1, number};

const CHEAP: Kdf = Kdf::Scrypt { n: 2, r: 8, p: 1 };
const PASSWORD: &str = "correct horse";
const CURVES: [Curve; 2] = [Curve::Bn254, Curve::Bls12381];

/// What eigensdk-go keeps beside one another in `crypto/utils/test_data/bls_keys`: a key file, its line in `password.txt`
/// and its line in `private_key_hex.txt`, which are decimal digits.
struct Known {
    x: &'static str,
    y: &'static str,
    ciphertext: &'static str,
    iv: &'static str,
    salt: &'static str,
    mac: &'static str,
    password: &'static str,
    secret: &'static str,
}

const KNOWN: [Known; 3] = [
    Known {
        x: "20770760626397288647989719952430268435412940027317835986854114355284449304367",
        y: "14860742301798284656486681596150725088757741265286915113692865360170725264111",
        ciphertext: "0fb5c298c1783ac3ed388f513c4cf7e5cc9b6f12df4d931949801b02012c9bdc",
        iv: "ebe125ef3babb65e5cc6651decae2f88",
        salt: "e14f75b96c13aa124f063eb48c4ce4abb2d8560d44dc40da01d9c8afc048325f",
        mac: "7efcdf55ff520c228f34b4a5e9e3a0417defc831ea441b925045d3a0f89aaaff",
        password: "f3?T0pFhPFKG=SJ^No0<",
        secret: "2695733600625131346122864983303466385927445828993184612262398097053003827945",
    },
    Known {
        x: "4648943875184248607357788340159405012950960504516188565107353869715506236335",
        y: "7501586147268558313116967332995665819044819171170704584958862395468948086362",
        ciphertext: "97396840561bc1ed54dbdc6cd3ff857f5cf959c9f2a1605dfe881d43dce61fa2",
        iv: "14a5c807749164d91f7e0946a730afdc",
        salt: "00c32d59f450e0f07e50a45a52bdf8ea80379f919d09e0397cba32b4fe3e80ea",
        mac: "2770a419e3bb8ace292ccff7ffa7cfc601b677e9ea6e38928a79e02d757ae656",
        password: "bGT#m7M46QVdAFEsEqvl",
        secret: "8605448476381973975809603788929135888378871499562201547767959402074076235219",
    },
    Known {
        x: "9278084904752243643306053466869078361122028005738127188147925519398467958707",
        y: "18705255696372299997483050498725770207955448401537645013920359207003673147305",
        ciphertext: "7afe5ad78046230c01cfe57ec2ffe0eb7d413fe8c0ac4d8545ac31775d060296",
        iv: "24d880621068ae17486361fbd7b8fa0f",
        salt: "6667fdd9bdd03160acb08de0b8934f3313b9c7ec8e302976b3bdf91d7884f6e6",
        mac: "c354136fc65a57d452e31d613ddd853f194f0086e48d2a5320edd40ef9a7bf2b",
        password: "+qyH/00MfF%Z4+iFh)8{",
        secret: "16892569661324478123728510691609064600607370634825548658081880184349074143253",
    },
];

impl Known {
    fn file(&self) -> Vec<u8> {
        let file = json!({
            "pubKey": format!("E([{},{}])", self.x, self.y),
            "crypto": {
                "cipher": "aes-128-ctr",
                "ciphertext": self.ciphertext,
                "cipherparams": {"iv": self.iv},
                "kdf": "scrypt",
                "kdfparams": {"dklen": 32, "n": 262144, "p": 1, "r": 8, "salt": self.salt},
                "mac": self.mac
            }
        });
        serde_json::to_vec(&file).unwrap()
    }
}

#[test]
fn the_first_three_key_files_of_eigensdk_go_hold_their_secrets() {
    for known in KNOWN {
        let opened = secret(&known.file(), known.password, Curve::Bn254).unwrap();
        assert_eq!(*opened.to_bytes(), number(known.secret));
        assert_eq!(SecretKey::from_bytes(&number(known.secret)).unwrap().g1(), g1(known.x, known.y));
    }
}

/// The file of the key 77, and the public key that it states.
fn file(curve: Curve, format: Format) -> (String, String) {
    let fill = |buffer: &mut [u8]| buffer.fill(9);
    let mut bytes = [0; 32];
    bytes[31] = 77;
    let text = match curve {
        Curve::Bn254 => {
            let key = SecretKey::from_bytes(&bytes).unwrap();
            bn254_keystore(&key, format, "", PASSWORD, CHEAP, fill).unwrap()
        }
        Curve::Bls12381 => {
            let key = bls12381::SecretKey::from_bytes(&bytes).unwrap();
            let public_key = hex::encode(key.public_key().encode_compressed());
            let new = NewKeystore { format, curve, public_key: &public_key, description: "", path: "", kdf: CHEAP };
            new.encrypt(&bytes, PASSWORD, fill).unwrap()
        }
    };
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let name = if format == Format::Web3 { "pubKey" } else { "pubkey" };
    (text, parsed[name].as_str().unwrap().to_owned())
}

fn formats(curve: Curve) -> Vec<Format> {
    match curve {
        Curve::Bn254 => vec![Format::Web3, Format::Eip2335WithCurve],
        Curve::Bls12381 => vec![Format::Eip2335, Format::Eip2335WithCurve],
    }
}

fn each(check: impl Fn(Curve, &str, &str)) {
    for curve in CURVES {
        for format in formats(curve) {
            let (text, public_key) = file(curve, format);
            check(curve, &text, &public_key);
        }
    }
}

/// Without the seal, as another tool would have written it.
fn foreign(text: &str) -> Value {
    let mut file: Value = serde_json::from_str(text).unwrap();
    file["description"] = json!("");
    file
}

fn opened(file: &Value, password: &str, curve: Curve) -> Result<[u8; 32], KeystoreError> {
    secret(&serde_json::to_vec(file).unwrap(), password, curve).map(|secret| *secret.to_bytes())
}

#[test]
fn the_right_password_gives_the_key_of_the_curve() {
    each(|curve, text, _| {
        for text in [text.as_bytes(), &serde_json::to_vec(&foreign(text)).unwrap()] {
            let key = secret(text, PASSWORD, curve).unwrap();
            assert_eq!((key.curve(), key.to_bytes()[31]), (curve, 77));
        }
    });
}

#[test]
fn a_wrong_password_is_called_so_with_and_without_a_seal() {
    each(|curve, text, _| {
        for wrong in ["", "correct horsf", "Correct horse", "correct horse "] {
            let refused = secret(text.as_bytes(), wrong, curve).map(drop);
            assert_eq!(refused, Err(KeystoreError::WrongPassword { sealed: true }), "{wrong:?}");
            let refused = opened(&foreign(text), wrong, curve);
            assert_eq!(refused, Err(KeystoreError::WrongPassword { sealed: false }), "{wrong:?}");
        }
    });
}

#[test]
fn the_other_curve_is_refused_whatever_the_password() {
    each(|curve, text, _| {
        let asked = CURVES.into_iter().find(|other| *other != curve).unwrap();
        for password in [PASSWORD, "wrong"] {
            let expected = KeystoreError::WrongCurve { stated: curve, asked };
            assert_eq!(secret(text.as_bytes(), password, asked).map(drop), Err(expected.clone()));
            assert_eq!(opened(&foreign(text), password, asked), Err(expected));
        }
    });
    let (text, _) = file(Curve::Bls12381, Format::Eip2335);
    assert!(matches!(bn254_secret(text.as_bytes(), PASSWORD), Err(KeystoreError::WrongCurve { .. })));
}

/// Another key's, one digit changed, and none: sealed files are damaged, others hold another key than they state.
#[test]
fn a_tampered_public_key_is_damage() {
    each(|curve, text, public_key| {
        let name = if public_key.starts_with("E(") { "pubKey" } else { "pubkey" };
        let digit = public_key.rfind(|digit: char| digit.is_ascii_digit()).unwrap();
        let mut changed = public_key.to_owned();
        let other = if changed[digit..].starts_with('1') { "2" } else { "1" };
        changed.replace_range(digit..=digit, other);
        let anothers = match (curve, name) {
            (Curve::Bn254, "pubKey") => {
                format!("E([{},{}])", KNOWN[0].x, KNOWN[0].y)
            }
            (Curve::Bn254, _) => hex::encode(crate::secret(78).g2().encode()),
            (Curve::Bls12381, _) => {
                let mut bytes = [0; 32];
                bytes[31] = 78;
                hex::encode(bls12381::SecretKey::from_bytes(&bytes).unwrap().public_key().encode_compressed())
            }
        };
        for tampered in [changed, anothers] {
            assert_ne!(tampered, public_key);
            let mut sealed: Value = serde_json::from_str(text).unwrap();
            sealed[name] = json!(tampered);
            assert_eq!(opened(&sealed, PASSWORD, curve), Err(Damage::Seal.into()));
            let mut file = foreign(text);
            file[name] = json!(tampered);
            assert_eq!(opened(&file, PASSWORD, curve), Err(Damage::PublicKey.into()), "{tampered}");
            file[name] = json!(public_key);
            assert_eq!(opened(&file, PASSWORD, curve).map(|secret| secret[31]), Ok(77));
        }
    });
}

#[test]
fn a_file_that_states_no_public_key_holds_no_operators_key() {
    for curve in CURVES {
        let (text, _) = file(curve, Format::Eip2335WithCurve);
        let mut file = foreign(&text);
        file.as_object_mut().unwrap().remove("pubkey");
        assert_eq!(opened(&file, PASSWORD, curve), Err(Damage::Member("pubkey").into()));
    }
}
