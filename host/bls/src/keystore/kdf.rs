//! From a password to the keys of cipher and checksum.

use alloy_primitives::Keccak256;
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::KeystoreError;

/// How dear it is to try one password. The default is what EIP-2335 and go-ethereum use: 256 MiB, about a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// scrypt, RFC 7914.
    Scrypt {
        /// Cost: a power of two, up to 2^20; `128 * n * r` is the memory in bytes, up to 512 MiB.
        n: u32,
        /// Block size, 1 to 16.
        r: u32,
        /// How often it is done, 1 to 16.
        p: u32,
    },
    /// PBKDF2 with HMAC-SHA-256, RFC 8018. It needs no memory, so special hardware tries passwords faster.
    Pbkdf2 {
        /// Iterations, 1 to 10 million.
        c: u32,
    },
}

impl Default for Kdf {
    fn default() -> Self {
        Self::Scrypt { n: 1 << 18, r: 8, p: 1 }
    }
}

const MAX_MEMORY: u64 = 512 << 20;
/// Bounds the time where `p` repeats what memory allows: 16 times the default's, some ten seconds.
const MAX_WORK: u64 = 1 << 25;

impl Kdf {
    /// Refuses what would exhaust the machine, before anything is computed or allocated.
    pub(super) fn scrypt(n: u64, r: u64, p: u64) -> Result<Self, KeystoreError> {
        let n_32 = within("n", n, 2, 1 << 20)?;
        let r_32 = within("r", r, 1, 16)?;
        let p_32 = within("p", p, 1, 16)?;
        // RFC 7914, section 2: n is below 2^(128 * r / 8).
        if !n.is_power_of_two() || u64::from(n_32.trailing_zeros()) >= 16 * r {
            let most = if r == 1 { 1 << 15 } else { 1 << 20 };
            return Err(KeystoreError::OutOfBounds { parameter: "n (a power of two)", found: n, least: 2, most });
        }
        within("memory in bytes", 128 * n * r, 1, MAX_MEMORY)?;
        within("n * r * p", n * r * p, 1, MAX_WORK)?;
        Ok(Self::Scrypt { n: n_32, r: r_32, p: p_32 })
    }

    pub(super) fn pbkdf2(c: u64) -> Result<Self, KeystoreError> {
        Ok(Self::Pbkdf2 { c: within("c", c, 1, 10_000_000)? })
    }

    /// The same, for parameters that the caller chose.
    pub(super) fn checked(self) -> Result<Self, KeystoreError> {
        match self {
            Self::Scrypt { n, r, p } => Self::scrypt(n.into(), r.into(), p.into()),
            Self::Pbkdf2 { c } => Self::pbkdf2(c.into()),
        }
    }

    /// Both functions end in PBKDF2 with blocks of 32 bytes, so these 32 are the same however many were asked for.
    pub(super) fn derive(self, password: &[u8], salt: &[u8]) -> Result<Derived, KeystoreError> {
        let mut key = Zeroizing::new([0; 32]);
        match self.checked()? {
            Self::Scrypt { n, r, p } => {
                let refused = KeystoreError::OutOfBounds { parameter: "n", found: n.into(), least: 2, most: 1 << 20 };
                u8::try_from(n.trailing_zeros())
                    .ok()
                    .and_then(|log_n| scrypt::Params::new(log_n, r, p, key.len()).ok())
                    .and_then(|params| scrypt::scrypt(password, salt, &params, key.as_mut_slice()).ok())
                    .ok_or(refused)?;
            }
            Self::Pbkdf2 { c } => pbkdf2_hmac::<Sha256>(password, salt, c, key.as_mut_slice()),
        }
        Ok(Derived(key))
    }
}

fn within(parameter: &'static str, found: u64, least: u64, most: u64) -> Result<u32, KeystoreError> {
    u32::try_from(found).ok().filter(|_| (least..=most).contains(&found)).ok_or(KeystoreError::OutOfBounds {
        parameter,
        found,
        least,
        most,
    })
}

/// What a password gives: the cipher's key, then the checksum's.
pub(super) struct Derived(Zeroizing<[u8; 32]>);

impl Derived {
    pub(super) fn cipher_key(&self) -> &[u8] {
        self.0.split_at(16).0
    }

    /// EIP-2335's checksum over the ciphertext.
    pub(super) fn sha256(&self, ciphertext: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.0.split_at(16).1).chain_update(ciphertext).finalize().into()
    }

    /// go-ethereum's.
    pub(super) fn keccak256(&self, ciphertext: &[u8]) -> [u8; 32] {
        let mut hasher = Keccak256::new();
        hasher.update(self.0.split_at(16).1);
        hasher.update(ciphertext);
        hasher.finalize().0
    }
}

/// EIP-2335's form of a password: NFKD, then without control characters (C0, C1 and Delete), then UTF-8.
pub(super) fn normalised(password: &str) -> Zeroizing<String> {
    let characters = || password.nfkd().filter(|character| !character.is_control());
    // The exact size first: a buffer that grows leaves copies of the password behind.
    let mut text = Zeroizing::new(String::with_capacity(characters().map(char::len_utf8).sum()));
    text.extend(characters());
    text
}
