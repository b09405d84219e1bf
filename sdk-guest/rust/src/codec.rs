//! How an AVS's own types become the bytes that the host carries.
//!
//! Give each type one of the two codecs: [`abi_payload!`](crate::abi_payload) for types of [`sol!`](crate::sol), whose
//! bytes are what `abi.encode` makes in the contract, or [`json_payload!`](crate::json_payload) for serde types. `()` is
//! no bytes at all, `Vec<u8>` is itself.

use std::fmt;

#[doc(hidden)]
pub use serde_json as json;

/// A type that travels as bytes. Equal values have equal bytes.
pub trait Payload: Sized {
    /// The bytes.
    fn encode(&self) -> Vec<u8>;

    /// The value, or what is wrong with the bytes. May accept more than [`encode`](Self::encode) makes.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;

    /// The value, if the bytes are exactly those that [`encode`](Self::encode) makes of it. What is signed and compared
    /// must be read this way: otherwise one answer has many spellings, and the digest of one can be paired with another.
    fn decode_canonical(bytes: &[u8]) -> Result<Self, DecodeError> {
        let value = Self::decode(bytes).map_err(DecodeError::Malformed)?;
        if value.encode() == bytes { Ok(value) } else { Err(DecodeError::NonCanonical) }
    }
}

/// Bytes that do not stand for a value of the type. The text says why, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// With a reason for people.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// Why [`Payload::decode_canonical`] refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No value of the type.
    #[error("not decodable: {0}")]
    Malformed(Malformed),
    /// A value, but spelt another way than its encoding.
    #[error("the bytes are not the canonical encoding of the value they stand for")]
    NonCanonical,
}

impl Payload for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() { Ok(()) } else { Err(Malformed::new("no bytes expected")) }
    }
}

impl Payload for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(bytes.to_vec())
    }
}

/// Gives types of [`sol!`](crate::sol) the Solidity ABI as their codec: `abi_payload!(Request, Response)`. The bytes are
/// those of `abi.encode(value)`, so the default digest is what a contract computes as `keccak256(abi.encode(value))`.
#[macro_export]
macro_rules! abi_payload {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::Payload for $type {
            fn encode(&self) -> ::std::vec::Vec<u8> {
                $crate::alloy_sol_types::SolValue::abi_encode(self)
            }

            fn decode(bytes: &[u8]) -> ::std::result::Result<Self, $crate::codec::Malformed> {
                <Self as $crate::alloy_sol_types::SolValue>::abi_decode_validate(bytes)
                    .map_err($crate::codec::Malformed::new)
            }
        }
    )+};
}

/// Gives serde types JSON as their codec: `json_payload!(Request, Response)`. The canonical form is `serde_json`'s compact
/// one with fields in the order of their declaration. Use ordered maps (`BTreeMap`), and integers or strings rather than
/// floats, in what is signed.
#[macro_export]
macro_rules! json_payload {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::Payload for $type {
            fn encode(&self) -> ::std::vec::Vec<u8> {
                // Only a map with keys that are no strings, or a failing hand-written Serialize, ends in the default.
                $crate::codec::json::to_vec(self).unwrap_or_default()
            }

            fn decode(bytes: &[u8]) -> ::std::result::Result<Self, $crate::codec::Malformed> {
                $crate::codec::json::from_slice(bytes).map_err($crate::codec::Malformed::new)
            }
        }
    )+};
}
