//! Key files: secrets encrypted under a password, as other tools write and read them.
//!
//! Bytes and text only: whoever calls reads and writes the disk. A secret is 32 bytes, big-endian, of either curve.
//!
//! # Formats
//! | [`Format`] | written by | password | checksum | public key |
//! |---|---|---|---|---|
//! | [`Eip2335`](Format::Eip2335) | staking tools (EIP-2335, BLS12-381); Layr-Labs/rust-bls-bn254 (BN254) | NFKD, no control characters | SHA-256 | `pubkey`, hexadecimal |
//! | [`Eip2335WithCurve`](Format::Eip2335WithCurve) | Layr-Labs/crypto-libs and hourglass (member `curveType`), Layr-Labs/bn254-keystore-go and cerberus (member `curve`, version 0) | the same | the same | `pubkey`, hexadecimal: of BN254 the G2 key uncompressed, or a compressed one as gnark writes it |
//! | [`Web3`](Format::Web3) | eigensdk-go, eigenlayer-cli (member `pubKey`), hourglass before EIP-2335 (member `publicKey`) | its UTF-8 bytes | Keccak-256 | `E([x,y])` with the G1 key in decimal, or hexadecimal as above |
//!
//! Key derivation is scrypt or PBKDF2-HMAC-SHA-256, the cipher AES-128-CTR. A file that states no curve has that of its
//! public key's length. Numbers that crypto-libs wrote without their leading zero bytes, one in 48, are read too.
//!
//! # Wrong password, damaged file, wrong curve
//! These are three errors with three codes. A checksum covers password and ciphertext at once and cannot tell the first
//! two apart, and it does not cover the rest at all: with one bit of the initialisation vector changed, such a file
//! yields another key without a word. Files written here therefore carry a seal over all of it, in the description,
//! where every reader of these formats takes any text; the seal is checked before the password is used. In a file
//! without a seal a wrong checksum is called a wrong password, and the message says that the file may have been
//! changed; and for every file [`Keystore::open`] holds the key against the public key that the file states.
//!
//! # Guarantees
//! - No file makes it panic, allocate much more than 512 MiB or compute for much more than ten seconds: the costs that
//!   a file asks for are bounded before any of it is done.
//! - Passwords, derived keys and secrets are zeroised, as far as they are ours: what scrypt leaves in its freed working
//!   memory is not.
//!
//! # Not here
//! - Mnemonics and key paths (EIP-2333, EIP-2334): a path is carried as text.
//! - hourglass' first files, whose encrypted content is the number in decimal digits: they are refused by their length.

mod bn254;
mod error;
mod kdf;
mod read;
mod seal;
mod tree;
mod write;

use std::fmt;

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use crate::{Curve, SecretKey, bls12381};

pub use bn254::{bn254_keystore, bn254_secret};
pub use error::{Damage, KeystoreError};
pub use kdf::Kdf;
pub use write::NewKeystore;

/// Bytes of the longest key file that is read.
pub const MAX_LEN: usize = 64 << 10;

/// The layout of a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// EIP-2335 and nothing more: what staking tools read.
    Eip2335,
    /// EIP-2335 with the curve's name in one more member: what crypto-libs and hourglass read.
    Eip2335WithCurve,
    /// go-ethereum's third version around a BLS key: what eigensdk-go and eigenlayer-cli read.
    Web3,
}

/// A key file, read but not decrypted.
pub struct Keystore {
    format: Format,
    curve: Curve,
    public_key: Option<String>,
    description: String,
    path: String,
    sealed: bool,
    locked: Locked,
}

/// The encrypted part.
struct Locked {
    kdf: Kdf,
    salt: Vec<u8>,
    iv: [u8; 16],
    /// At most 32 bytes.
    ciphertext: Vec<u8>,
    checksum: [u8; 32],
}

impl fmt::Debug for Keystore {
    /// Without the encrypted part, which is all that one needs to guess a weak password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystore")
            .field("format", &self.format)
            .field("curve", &self.curve)
            .field("public_key", &self.public_key)
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

impl Keystore {
    /// Reads a key file. It does not need the password.
    ///
    /// # Errors
    /// [`KeystoreError::Damaged`], [`KeystoreError::Unsupported`], [`KeystoreError::NotBls`] or
    /// [`KeystoreError::OutOfBounds`].
    pub fn parse(json: &[u8]) -> Result<Self, KeystoreError> {
        read::keystore(json)
    }

    /// Its layout.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The curve that it states, or that its public key's form tells.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        self.curve
    }

    /// The public key that it states, in the file's own form.
    #[must_use]
    pub fn public_key_text(&self) -> Option<&str> {
        self.public_key.as_deref()
    }

    /// Its description, without the seal.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What one try of a password costs: for whoever has less memory or time than the bounds allow.
    #[must_use]
    pub const fn kdf(&self) -> Kdf {
        self.locked.kdf
    }

    /// The key's path in a tree of keys (EIP-2334); often empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it carries a seal, which was then found right: damage since it was written is ruled out, malice is not.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The secret, which is for a key of this curve.
    ///
    /// It is not held against the public key. Without a seal a changed file may give another number than was encrypted,
    /// so prefer [`Keystore::open`].
    ///
    /// # Errors
    /// [`KeystoreError::WrongCurve`] before anything is computed, or [`KeystoreError::WrongPassword`].
    pub fn decrypt(&self, password: &str, curve: Curve) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
        if curve != self.curve {
            return Err(KeystoreError::WrongCurve { stated: self.curve, asked: curve });
        }
        let locked = &self.locked;
        let derived = self.format.derive(locked.kdf, password, &locked.salt)?;
        if self.format.checksum(&derived, &locked.ciphertext) != locked.checksum {
            return Err(KeystoreError::WrongPassword { sealed: self.sealed });
        }
        let mut secret = Zeroizing::new([0; 32]);
        let damaged = Damage::Length { member: "ciphertext", found: locked.ciphertext.len() };
        // A shorter number stands at the end, where big-endian has its small digits.
        let zeros = secret.len().checked_sub(locked.ciphertext.len()).ok_or(damaged)?;
        let (_, number) = secret.split_at_mut_checked(zeros).ok_or(damaged)?;
        number.copy_from_slice(&locked.ciphertext);
        apply_cipher(derived.cipher_key(), &locked.iv, number)?;
        Ok(secret)
    }

    /// The key of this curve, made by `key` of the secret and held by `belongs` against the public key's text.
    ///
    /// # Errors
    /// As [`Keystore::decrypt`], and [`KeystoreError::Damaged`] if the secret is no key, the file states no public key
    /// or states another.
    pub fn open<K>(
        &self,
        password: &str,
        curve: Curve,
        key: impl FnOnce(&[u8; 32]) -> Option<K>,
        belongs: impl FnOnce(&K, &str) -> bool,
    ) -> Result<K, KeystoreError> {
        let secret = self.decrypt(password, curve)?;
        let stated = self.public_key.as_deref().ok_or(Damage::Member("pubkey"))?;
        let key = key(&secret).ok_or(Damage::Secret)?;
        if belongs(&key, stated) { Ok(key) } else { Err(Damage::PublicKey.into()) }
    }
}

impl Format {
    fn derive(self, kdf: Kdf, password: &str, salt: &[u8]) -> Result<kdf::Derived, KeystoreError> {
        match self {
            Self::Web3 => kdf.derive(password.as_bytes(), salt),
            Self::Eip2335 | Self::Eip2335WithCurve => kdf.derive(kdf::normalised(password).as_bytes(), salt),
        }
    }

    fn checksum(self, derived: &kdf::Derived, ciphertext: &[u8]) -> [u8; 32] {
        match self {
            Self::Web3 => derived.keccak256(ciphertext),
            Self::Eip2335 | Self::Eip2335WithCurve => derived.sha256(ciphertext),
        }
    }
}

/// AES-128 in counter mode, which encrypts and decrypts.
fn apply_cipher(key: &[u8], iv: &[u8; 16], data: &mut [u8]) -> Result<(), Damage> {
    let mut cipher = Ctr128BE::<Aes128>::new_from_slices(key, iv)
        .map_err(|_| Damage::Length { member: "cipher key", found: key.len() })?;
    cipher.apply_keystream(data);
    Ok(())
}

/// The operator key of this curve in a key file of any format, held against the public key that the file states.
///
/// # Errors
/// As [`Keystore::parse`] and [`Keystore::open`].
pub fn secret(json: &[u8], password: &str, curve: Curve) -> Result<SecretKey, KeystoreError> {
    match curve {
        Curve::Bn254 => bn254_secret(json, password).map(SecretKey::Bn254),
        Curve::Bls12381 => {
            let key = |secret: &[u8; 32]| bls12381::SecretKey::from_bytes(secret).ok();
            let belongs = |key: &bls12381::SecretKey, text: &str| {
                let stated = hex::decode(text.strip_prefix("0x").unwrap_or(text));
                stated.is_ok_and(|stated| stated == key.public_key().encode_compressed())
            };
            Keystore::parse(json)?.open(password, curve, key, belongs).map(SecretKey::Bls12381)
        }
    }
}

/// The secret that is 64 hexadecimal digits, with or without `0x`, white space around it allowed: the file that an
/// operator made by hand. It has no curve and no checksum, so hold its public key against what is registered.
///
/// # Errors
/// [`KeystoreError::NotHex`].
pub fn secret_from_hex(text: &str) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, secret.as_mut_slice()).map_err(|_| KeystoreError::NotHex)?;
    Ok(secret)
}
