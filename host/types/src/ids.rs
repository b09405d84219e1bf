//! Identifiers.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};

/// Number of a task within its AVS; for tasks created on chain the contract's own number.
pub type TaskIndex = u32;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A Raft node: the log index of its joining, never reused. A rejoining operator gets a new one.
    NodeId
);
number!(
    /// Incarnation of a cluster: 0 at bootstrap, raised by every recovery, so that members of two incarnations never mix.
    Epoch
);
number!(
    /// Number of a command among those of its author; the ledger takes each once.
    CommandId
);

/// keccak256 of an operator's G1 key (x and y, 32 bytes big-endian each): EigenLayer's operator id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorId(pub B256);

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cluster: 32 random bytes drawn once, at bootstrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub B256);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Stake in the unit of EigenLayer's `uint96`.
///
/// Kept below 2^96, so that a total times 100 cannot overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stake(u128);

impl Stake {
    /// The largest stake: 2^96 - 1.
    pub const MAX: Self = Self((1 << 96) - 1);

    /// A stake, or none when it does not fit EigenLayer's `uint96`.
    #[must_use]
    pub const fn new(value: u128) -> Option<Self> {
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The sum, or none when it leaves the range.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Self::new(sum),
            None => None,
        }
    }

    /// EigenLayer's integer rule: `signed * 100 >= total * threshold`.
    #[must_use]
    pub const fn reaches(self, total: Self, threshold_percent: u8) -> bool {
        self.0 * 100 >= total.0 * threshold_percent as u128
    }
}

impl fmt::Display for Stake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// Decimal text: MessagePack and JSON numbers end at 64 bits.
impl Serialize for Stake {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Stake {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value: u128 = text.parse().map_err(serde::de::Error::custom)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom("stake above 2^96 - 1"))
    }
}

/// Why a name or key is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// An AVS id is 1 to 64 of `a-z 0-9 -`, beginning with a letter.
    #[error("{0:?} is no AVS id: use 1 to 64 of a-z, 0-9 and '-', beginning with a letter")]
    Avs(String),
    /// A response key is 1 to 64 bytes.
    #[error("a response key has 1 to 64 bytes, this one has {0}")]
    ResponseKey(usize),
}

/// An AVS's name in configuration, URLs and storage: 1 to 64 of `a-z 0-9 -`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AvsId(String);

impl AvsId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AvsId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for AvsId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        let body = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if starts && body && text.len() <= 64 { Ok(Self(text)) } else { Err(InvalidId::Avs(text)) }
    }
}

impl From<AvsId> for String {
    fn from(id: AvsId) -> Self {
        id.0
    }
}

impl fmt::Display for AvsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a response is about (a price source, for example): 1 to 64 bytes, chosen by the plugin, equal at every operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct ResponseKey(Bytes);

impl ResponseKey {
    /// Checks the length.
    ///
    /// # Errors
    /// [`InvalidId::ResponseKey`] unless there are 1 to 64 bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidId> {
        let bytes = bytes.into();
        if (1..=64).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidId::ResponseKey(bytes.len())) }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Bytes> for ResponseKey {
    type Error = InvalidId;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidId> {
        Self::new(bytes)
    }
}

impl From<ResponseKey> for Bytes {
    fn from(key: ResponseKey) -> Self {
        key.0
    }
}

impl fmt::Display for ResponseKey {
    /// The text when it is printable ASCII, else hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if text.bytes().all(|b| b.is_ascii_graphic()) => f.write_str(text),
            _ => self.0.fmt(f),
        }
    }
}
