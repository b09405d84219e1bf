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

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Range, RangeInclusive};

use serde::Deserialize;
use toml::Spanned;

/// Longest `avs.toml`, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;

const NAME_LEN: RangeInclusive<u64> = 1..=64;
const VERSION_LEN: RangeInclusive<u64> = 1..=64;
const FUEL: RangeInclusive<u64> = 10_000..=1_000_000_000_000;
const MEMORY: RangeInclusive<u64> = 64 * 1024..=1024 * 1024 * 1024;
const KEYS: RangeInclusive<u64> = 1..=64;
const DEFAULT_FUEL: u64 = 1_000_000_000;
const DEFAULT_MEMORY: u64 = 64 * 1024 * 1024;
const DEFAULT_KEYS: u64 = 1;

/// The WIT track that this host serves.
pub const WORLD: &str = "0.1";

/// Something a plugin may import, beyond types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Import {
    /// Reads of the AVS's chain.
    Chain,
    /// Log lines.
    Log,
}

impl Import {
    /// Every import there is.
    pub const ALL: [Self; 2] = [Self::Chain, Self::Log];

    /// Its name in `avs.toml` and in the WIT package.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Log => "log",
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

/// A parsed and checked `avs.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the AVS's logic, for people: 1 to 64 bytes.
    pub name: String,
    /// Version of the AVS's logic, for people: 1 to 64 bytes.
    pub version: String,
    /// WIT track: `0.1`.
    pub world: String,
    /// What it may use per call.
    pub limits: Limits,
    /// What it needs to import.
    pub imports: BTreeSet<Import>,
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
    /// Not TOML, an unknown or missing key, or a value of another type.
    #[error("avs.toml line {line}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A value out of its bounds.
    #[error("avs.toml line {line}: {key} {fix}")]
    Value {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What to write instead.
        fix: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    version: Spanned<String>,
    world: Spanned<String>,
    #[serde(default)]
    imports: BTreeSet<Import>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLimits {
    fuel: Option<Spanned<u64>>,
    memory_bytes: Option<Spanned<u64>>,
    keys_per_task: Option<Spanned<u64>>,
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

struct Checker<'a>(&'a str);

impl Checker<'_> {
    fn refuse(&self, key: &'static str, span: &Range<usize>, fix: String) -> ManifestError {
        ManifestError::Value { line: line_of(self.0, span), key, fix }
    }

    fn number(
        &self,
        key: &'static str,
        value: Option<Spanned<u64>>,
        default: u64,
        bounds: &RangeInclusive<u64>,
    ) -> Result<u64, ManifestError> {
        let Some(value) = value else { return Ok(default) };
        let number = *value.get_ref();
        if bounds.contains(&number) {
            return Ok(number);
        }
        let fix = format!("is {number}; write a number from {} to {}", bounds.start(), bounds.end());
        Err(self.refuse(key, &value.span(), fix))
    }

    fn text(
        &self,
        key: &'static str,
        value: Spanned<String>,
        bounds: &RangeInclusive<u64>,
    ) -> Result<String, ManifestError> {
        let (span, text) = (value.span(), value.into_inner());
        if bounds.contains(&(text.len() as u64)) && !text.contains(char::is_control) {
            return Ok(text);
        }
        let fix = format!("needs {} to {} bytes without control characters", bounds.start(), bounds.end());
        Err(self.refuse(key, &span, fix))
    }
}

impl Manifest {
    /// Parses and checks the text of an `avs.toml`.
    ///
    /// # Errors
    /// [`ManifestError`] names the line and what to write.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { len: text.len() });
        }
        let raw: Raw = toml::from_str(text).map_err(|error| ManifestError::Syntax {
            line: line_of(text, &error.span().unwrap_or_default()),
            message: error.message().to_owned(),
        })?;
        let check = Checker(text);
        let (span, world) = (raw.world.span(), raw.world.into_inner());
        if world != WORLD {
            return Err(check.refuse(
                "world",
                &span,
                format!("must be \"{WORLD}\", the WIT track that this host serves"),
            ));
        }
        let keys = check.number("limits.keys-per-task", raw.limits.keys_per_task, DEFAULT_KEYS, &KEYS)?;
        Ok(Self {
            name: check.text("name", raw.name, &NAME_LEN)?,
            version: check.text("version", raw.version, &VERSION_LEN)?,
            world,
            limits: Limits {
                fuel: check.number("limits.fuel", raw.limits.fuel, DEFAULT_FUEL, &FUEL)?,
                memory_bytes: check.number("limits.memory-bytes", raw.limits.memory_bytes, DEFAULT_MEMORY, &MEMORY)?,
                keys_per_task: u32::try_from(keys).unwrap_or(u32::MAX),
            },
            imports: raw.imports,
        })
    }
}
