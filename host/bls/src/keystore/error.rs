//! Why a key file was not read or written.

use super::Curve;

/// Why a key file was not read or written. No variant carries a secret or a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// The checksum does not fit the password.
    ///
    /// For a sealed file that is the whole truth, because the seal was checked before (unless somebody forged one). For
    /// another file it may also mean that the file was changed: its checksum covers password and ciphertext at once, so
    /// nobody can tell.
    #[error("{}", wrong_password(*.sealed))]
    WrongPassword {
        /// Whether the file has a seal, so that a changed file is ruled out.
        sealed: bool,
    },
    /// The file is not as its writer left it, or it never was a key file.
    #[error("the key file is damaged: {0}; use another copy of it")]
    Damaged(#[from] Damage),
    /// The file's key is for another curve.
    #[error("the key file holds a {stated} key where a {asked} key is needed: name another file")]
    WrongCurve {
        /// What the file says.
        stated: Curve,
        /// What was asked for.
        asked: Curve,
    },
    /// A function, version, curve or public key in a form that is not known here.
    #[error("the key file's {part} {found:?} is not supported: export the key again with another tool")]
    Unsupported {
        /// What of the file.
        part: &'static str,
        /// The file's word for it, shortened.
        found: String,
    },
    /// An Ethereum account's file: the same layout, but no BLS public key in it.
    #[error("the key file states no BLS public key: it looks like an Ethereum account's; name the BLS key's file")]
    NotBls,
    /// A cost that would exhaust memory or time, or would protect nothing. Nothing was computed.
    #[error("the key derivation's {parameter} is {found}, outside {least} to {most}: write the key file with another")]
    OutOfBounds {
        /// Which one.
        parameter: &'static str,
        /// The file's or the caller's value.
        found: u64,
        /// The least that is accepted.
        least: u64,
        /// The most that is accepted.
        most: u64,
    },
    /// A file under an empty password is not encrypted.
    #[error("the password has no characters that count: choose another")]
    EmptyPassword,
    /// Other tools, or this one, could not read the file back.
    #[error("the key file cannot be written: {0}")]
    Unwritable(&'static str),
    /// Not 64 hexadecimal digits.
    #[error("a secret key is 64 hexadecimal digits, with or without 0x")]
    NotHex,
}

impl KeystoreError {
    /// Stable word for scripts and answers; texts may change.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::WrongPassword { .. } => "wrong-password",
            Self::Damaged(_) => "damaged-keystore",
            Self::WrongCurve { .. } => "wrong-curve",
            Self::Unsupported { .. } => "unsupported-keystore",
            Self::NotBls => "not-a-bls-keystore",
            Self::OutOfBounds { .. } => "keystore-out-of-bounds",
            Self::EmptyPassword => "empty-password",
            Self::Unwritable(_) => "unwritable-keystore",
            Self::NotHex => "not-hex",
        }
    }
}

const fn wrong_password(sealed: bool) -> &'static str {
    if sealed {
        "the password is not the one of the key file: try another"
    } else {
        "the password is not the one of the key file, or the file was changed: try another password, then another copy"
    }
}

/// What is wrong with a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Longer than any key file.
    #[error("it has {0} bytes and a key file has at most {max}", max = super::MAX_LEN)]
    TooLarge(usize),
    /// Not one JSON object, or one with a member twice, which two readers may understand in two ways.
    #[error("it is not JSON without repeated members")]
    NotJson,
    /// A member is missing or of another type.
    #[error("its {0} is missing or of another type")]
    Member(&'static str),
    /// Something else than an even number of hexadecimal digits.
    #[error("its {0} is not hexadecimal")]
    NotHex(&'static str),
    /// A member of another length than its use allows.
    #[error("its {member} has {found} bytes")]
    Length {
        /// Which one.
        member: &'static str,
        /// Its bytes.
        found: usize,
    },
    /// Two members state two curves.
    #[error("it states two curves")]
    TwoCurves,
    /// The seal does not fit the rest.
    #[error("its seal does not fit (if another tool rewrote it on purpose, take the seal out of its description)")]
    Seal,
    /// The number in it is no secret key of its curve.
    #[error("the number in it is no secret key of its curve")]
    Secret,
    /// The number in it is the secret of another public key.
    #[error("the secret in it does not belong to the public key that it states")]
    PublicKey,
}
