//! `avs.toml`: what a bundle is called, what it needs, and how much it may use.
//!
//! ```toml
//! name = "price-oracle"
//! version = "1.2.0"
//! world = "0.1"
//! imports = ["chain", "log"]      # default: none
//!
//! [limits]                        # all optional
//! fuel = 1_000_000_000            # per call, about one a WebAssembly instruction
//! memory-bytes = 67_108_864       # memories and tables of a call, summed
//! keys-per-task = 1               # response keys a task may have
//! ```
//!
//! - `keys`: every key with its bounds and its meaning, in one table.
//! - `check`: holds a document against the table.
//! - `read`: takes the values out, and checks what concerns more than one key.
//! - `schema`: the table as JSON schema, for editors.
//! - here: the values.

mod check;
mod keys;
mod read;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use eigenshift_types::{Address, B256, Bytes, TaskIndex};

use crate::capability::egress::Rule;
pub use keys::{Fallback, Form, KEYS, Key, Kind, Need, WORLD};
pub use schema::schema;

/// Longest `avs.toml`, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;

/// Something a plugin may import, beyond types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Import {
    /// Reads of the AVS's chain.
    Chain,
    /// Log lines.
    Log,
    /// Configuration values.
    Config,
    /// Storage of its own.
    Keyvalue,
    /// Requests to other hosts.
    Http,
    /// Secrets that the operator provides.
    Secrets,
}

impl Import {
    /// Every import there is.
    pub const ALL: [Self; 6] = [Self::Chain, Self::Log, Self::Config, Self::Keyvalue, Self::Http, Self::Secrets];

    /// Its name in `avs.toml` and in the operator's grants.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Log => "log",
            Self::Config => "config",
            Self::Keyvalue => "keyvalue",
            Self::Http => "http",
            Self::Secrets => "secrets",
        }
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one call may use. The same on every operator, because the bundle's digest covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fuel per call.
    pub fuel: u64,
    /// Bytes of all memories and tables of a call, summed.
    pub memory_bytes: u64,
    /// How many response keys a task may have.
    pub keys_per_task: u32,
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where requests may go.
    pub allow: Vec<Rule>,
    /// Bytes of a request's body.
    pub request_bytes: u64,
    /// Bytes of a response's body.
    pub response_bytes: u64,
    /// Longest time of a request.
    pub timeout: Duration,
    /// Requests of a call at the same time.
    pub concurrency: u32,
    /// Requests of a call.
    pub requests_per_call: u32,
}

/// `[keyvalue]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyvalue {
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: u64,
    /// Operations of a call.
    pub operations_per_call: u32,
}

/// What a configuration value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// Text without control characters, at most 4 KiB.
    String,
    /// A whole number of 64 bits, in decimal.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// `[config.KEY]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigKey {
    /// What the value is.
    pub kind: ConfigType,
    /// The value where the operator sets none, as the plugin reads it; without it the operator must set one.
    pub default: Option<String>,
    /// What it is for.
    pub doc: Option<String>,
}

/// `[[trigger]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A timer.
    Timer {
        /// Its name.
        name: String,
        /// Time between two slots.
        every: Duration,
    },
    /// Events of a contract.
    Event {
        /// The contract.
        address: Address,
        /// First topics; all if empty.
        topics: Vec<B256>,
    },
}

/// `[[golden]]`: a task with a known answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    /// The task's index.
    pub index: TaskIndex,
    /// `T`.
    pub request: Bytes,
    /// A digest that the plugin must want signed for it.
    pub digest: B256,
}

/// A parsed and checked `avs.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the AVS's logic, for people: 1 to 64 bytes.
    pub name: String,
    /// Version of the AVS's logic, for people: 1 to 64 bytes.
    pub version: String,
    /// WIT track: `0.1`.
    pub world: String,
    /// Who publishes it, for people.
    pub publisher: Option<String>,
    /// What it may use per call.
    pub limits: Limits,
    /// What it needs to import.
    pub imports: BTreeSet<Import>,
    /// Where it may send requests, and how many.
    pub http: Http,
    /// How much it may store.
    pub keyvalue: Keyvalue,
    /// Names of the secrets it needs.
    pub secrets: BTreeSet<String>,
    /// What may be set about it.
    pub config: BTreeMap<String, ConfigKey>,
    /// What makes tasks.
    pub triggers: Vec<Trigger>,
    /// Calls that an instance serves before it is replaced; 0 gives each call a fresh one.
    pub reuse_calls: u32,
    /// Tasks with known answers.
    pub golden: Vec<Golden>,
}

/// Why an `avs.toml` is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than a manifest has any reason to be.
    #[error("avs.toml has {len} bytes, at most {MAX_MANIFEST_BYTES} are read; shorten it")]
    TooLarge {
        /// What was found.
        len: usize,
    },
    /// Not TOML.
    #[error("avs.toml line {line}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A key that means nothing.
    #[error("avs.toml line {line}: there is no key {key}; there are {known}")]
    UnknownKey {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The keys there are beside it.
        known: String,
    },
    /// A key that must be there.
    #[error("avs.toml line {line}: {key} is missing; add it")]
    MissingKey {
        /// Line, from 1, of the table that lacks it.
        line: usize,
        /// The key.
        key: String,
    },
    /// A value out of its bounds.
    #[error("avs.toml line {line}: {key} {fix}")]
    Value {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What to write instead.
        fix: String,
    },
}

impl ManifestError {
    /// Stable machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "manifest-too-large",
            Self::Syntax { .. } => "manifest-syntax",
            Self::UnknownKey { .. } => "manifest-unknown-key",
            Self::MissingKey { .. } => "manifest-missing-key",
            Self::Value { .. } => "manifest-value",
        }
    }
}
