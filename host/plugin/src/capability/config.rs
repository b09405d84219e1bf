//! `wasi:config/store`: values that the bundle declares and the operator may set.
//!
//! A bundle's defaults are the same on every operator, because its digest covers them; what an operator sets is its own. So
//! the two pure callbacks, which must give equal results everywhere, see the defaults and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use crate::error::LoadError;
use crate::manifest::{ConfigKey, ConfigType, Manifest};
use crate::sandbox::imports::CallState;

mod bindings {
    #![allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::indexing_slicing)]
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is the macro's code")]

    wasmtime::component::bindgen!({
        path: "../../wit/deps/config",
        world: "wasi:config/imports",
        imports: { default: trappable },
    });
}

use bindings::wasi::config::store as wit;

/// The interface's name without its version, and its version: a release candidate is compatible with no other.
pub(super) const INTERFACE: (&str, &str) = ("wasi:config/store", "0.2.0-rc.1");

/// Reads of one call.
const MAX_READS: u32 = 256;
/// Longest value, in bytes; the manifest's defaults have the same bound.
const MAX_VALUE_BYTES: usize = 4 * 1024;

/// In key order, so that `get-all` gives the same list everywhere.
type Values = Arc<BTreeMap<String, String>>;

/// The values of a loaded bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// The manifest's defaults.
    pinned: Values,
    /// The defaults with the operator's values over them.
    local: Values,
}

/// Which values a callback sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sees {
    /// None: every read is denied.
    Nothing,
    /// The manifest's.
    Pinned,
    /// The operator's too.
    Local,
}

/// The values of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// None when reads are denied.
    values: Option<Values>,
    reads: u32,
}

impl Config {
    /// Holds what the operator sets against what the manifest declares.
    ///
    /// # Errors
    /// [`LoadError::Config`] names the key.
    pub(crate) fn resolve(manifest: &Manifest, set: &BTreeMap<String, String>) -> Result<Self, LoadError> {
        if let Some(key) = set.keys().find(|key| !manifest.config.contains_key(*key)) {
            return Err(refuse(key, "is set by the operator, but avs.toml declares no such key; take it out"));
        }
        let (mut pinned, mut local) = (BTreeMap::new(), BTreeMap::new());
        for (key, declared) in &manifest.config {
            if let Some(default) = &declared.default {
                pinned.insert(key.clone(), default.clone());
            }
            let value = match set.get(key) {
                Some(value) => check(declared, value).map_err(|fix| refuse(key, fix))?,
                None => declared.default.clone().ok_or_else(|| refuse(key, "has no default; set it"))?,
            };
            local.insert(key.clone(), value);
        }
        Ok(Self { pinned: Arc::new(pinned), local: Arc::new(local) })
    }

    pub(crate) fn access(&self, sees: Sees) -> Access {
        let values = match sees {
            Sees::Nothing => None,
            Sees::Pinned => Some(Arc::clone(&self.pinned)),
            Sees::Local => Some(Arc::clone(&self.local)),
        };
        Access { values, reads: 0 }
    }
}

fn refuse(key: &str, fix: &'static str) -> LoadError {
    LoadError::Config { key: key.to_owned(), fix }
}

/// A value in the one notation of its type.
fn check(declared: &ConfigKey, value: &str) -> Result<String, &'static str> {
    if value.len() > MAX_VALUE_BYTES || value.contains(char::is_control) {
        return Err("needs at most 4096 bytes without control characters");
    }
    match declared.kind {
        ConfigType::String => Ok(value.to_owned()),
        ConfigType::Integer => match value.parse::<i64>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err("needs a whole number of 64 bits"),
        },
        ConfigType::Boolean if matches!(value, "true" | "false") => Ok(value.to_owned()),
        ConfigType::Boolean => Err("needs true or false"),
    }
}

impl Access {
    fn read(&mut self) -> Result<&BTreeMap<String, String>, wit::Error> {
        let values = self.values.as_deref();
        let values = values.ok_or_else(|| {
            wit::Error::Upstream(
                "access-denied: avs.toml does not list `config`, or this callback may not use it".into(),
            )
        })?;
        if self.reads >= MAX_READS {
            return Err(wit::Error::Upstream(format!("quota: a call may read its configuration {MAX_READS} times")));
        }
        self.reads += 1;
        Ok(values)
    }
}

impl wit::Host for CallState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, wit::Error>> {
        self.count_host_call()?;
        Ok(self.config.read().map(|values| values.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, wit::Error>> {
        self.count_host_call()?;
        let list = |values: &BTreeMap<String, String>| {
            values.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        Ok(self.config.read().map(list))
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)
}
