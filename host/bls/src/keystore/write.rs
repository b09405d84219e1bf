//! From a secret to a file.

use zeroize::Zeroizing;

use super::tree::Tree;
use super::{Curve, Format, Kdf, KeystoreError, apply_cipher, kdf, seal};

/// What a new key file says besides the secret.
#[derive(Clone, Copy, Debug)]
pub struct NewKeystore<'a> {
    /// Its layout.
    pub format: Format,
    /// The key's curve.
    pub curve: Curve,
    /// The public key in the format's form, see [the table](crate::keystore#formats).
    pub public_key: &'a str,
    /// What people call the key, or nothing. [`Format::Web3`] has no place for it; readers ignore it there.
    pub description: &'a str,
    /// Where in a tree of keys it comes from (EIP-2334), or nothing. [`Format::Web3`] leaves it out.
    pub path: &'a str,
    /// What one try of a password costs. Other tools refuse files that are much cheaper than the default.
    pub kdf: Kdf,
}

impl NewKeystore<'_> {
    /// The text of a key file with this secret in it, sealed. `fill` is a source of randomness that nobody can predict:
    /// salt and initialisation vector come from it.
    ///
    /// # Errors
    /// [`KeystoreError::Unwritable`], [`KeystoreError::EmptyPassword`] or [`KeystoreError::OutOfBounds`].
    pub fn encrypt(
        &self,
        secret: &[u8; 32],
        password: &str,
        mut fill: impl FnMut(&mut [u8]),
    ) -> Result<String, KeystoreError> {
        self.check()?;
        if kdf::normalised(password).is_empty() {
            return Err(KeystoreError::EmptyPassword);
        }
        let (mut salt, mut iv, mut uuid) = ([0; 32], [0; 16], [0; 16]);
        fill(&mut salt);
        fill(&mut iv);
        fill(&mut uuid);

        let derived = self.format.derive(self.kdf, password, &salt)?;
        // Zeroised in case the cipher fails: until it has run, this is the secret.
        let mut ciphertext = Zeroizing::new(*secret);
        apply_cipher(derived.cipher_key(), &iv, ciphertext.as_mut_slice())?;
        let checksum = hex::encode(self.format.checksum(&derived, ciphertext.as_slice()));
        let ciphertext = hex::encode(ciphertext.as_slice());

        let file = match self.format {
            Format::Web3 => self.web3(&salt, &iv, ciphertext, checksum),
            Format::Eip2335 | Format::Eip2335WithCurve => self.modules(&salt, &iv, uuid, ciphertext, checksum),
        };
        Ok(seal::close(file, self.description)?)
    }

    /// Whether the tools that the format is for could read the file.
    fn check(&self) -> Result<(), KeystoreError> {
        let plain = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        let refused = match (self.format, self.curve) {
            (Format::Eip2335, Curve::Bn254) => Some("plain EIP-2335 is for BLS12-381: choose a format with the curve"),
            (Format::Web3, Curve::Bls12381) => Some("eigensdk-go's format is for BN254: choose EIP-2335"),
            _ if self.public_key.is_empty() => Some("it needs the public key"),
            _ if !plain(self.public_key, 512) => Some("the public key has control characters or over 512 bytes"),
            _ if !plain(self.description, 1024) => Some("the description has control characters or over 1024 bytes"),
            _ if !plain(self.path, 256) => Some("the path has control characters or over 256 bytes"),
            _ => None,
        };
        refused.map_or(Ok(()), |reason| Err(KeystoreError::Unwritable(reason)))
    }

    fn modules(&self, salt: &[u8], iv: &[u8], uuid: [u8; 16], ciphertext: String, checksum: String) -> Tree {
        let (function, params) = self.kdf_members(salt);
        let module = |function: &str, params: Tree, message: String| {
            Tree::object([("function", Tree::text(function)), ("params", params), ("message", Tree::text(message))])
        };
        let mut file = Tree::object([
            (
                "crypto",
                Tree::object([
                    ("kdf", module(function, params, String::new())),
                    ("checksum", module("sha256", Tree::object([]), checksum)),
                    ("cipher", module("aes-128-ctr", iv_member(iv), ciphertext)),
                ]),
            ),
            ("pubkey", Tree::text(self.public_key)),
            ("path", Tree::text(self.path)),
            ("uuid", Tree::text(uuid_text(uuid))),
            ("version", Tree::Number(4)),
        ]);
        if self.format == Format::Eip2335WithCurve {
            let name = match self.curve {
                Curve::Bn254 => "bn254",
                Curve::Bls12381 => "bls381",
            };
            file.set("curveType", Tree::text(name));
        }
        file
    }

    fn web3(&self, salt: &[u8], iv: &[u8], ciphertext: String, mac: String) -> Tree {
        let (kdf, params) = self.kdf_members(salt);
        let crypto = Tree::object([
            ("cipher", Tree::text("aes-128-ctr")),
            ("ciphertext", Tree::text(ciphertext)),
            ("cipherparams", iv_member(iv)),
            ("kdf", Tree::text(kdf)),
            ("kdfparams", params),
            ("mac", Tree::text(mac)),
        ]);
        Tree::object([("pubKey", Tree::text(self.public_key)), ("crypto", crypto)])
    }

    fn kdf_members(&self, salt: &[u8]) -> (&'static str, Tree) {
        let salt = ("salt", Tree::text(hex::encode(salt)));
        let length = ("dklen", Tree::Number(32));
        match self.kdf {
            Kdf::Scrypt { n, r, p } => {
                let [n, r, p] = [("n", n), ("r", r), ("p", p)].map(|(name, value)| (name, Tree::Number(value.into())));
                ("scrypt", Tree::object([length, n, r, p, salt]))
            }
            Kdf::Pbkdf2 { c } => {
                let prf = ("prf", Tree::text("hmac-sha256"));
                ("pbkdf2", Tree::object([length, ("c", Tree::Number(c.into())), prf, salt]))
            }
        }
    }
}

fn iv_member(iv: &[u8]) -> Tree {
    Tree::object([("iv", Tree::text(hex::encode(iv)))])
}

/// Random bytes as a UUID of version 4 (RFC 9562, section 5.4).
fn uuid_text(random: [u8; 16]) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let number = u128::from_be_bytes(random) & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62;
    let part = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 32), part(80, 16), part(64, 16), part(48, 16), part(0, 48))
}
