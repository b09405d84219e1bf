//! Secrets: what an operator gives a plugin and nobody else may see.
//!
//! A value is listed by name in the manifest and provided by the operator. A guest gets its bytes when it reveals it; from
//! then on they are the guest's to send where it may send. What this host says about the guest never contains them: log
//! lines, traps, rejections and errors are searched for the values and their usual encodings first.
//!
//! - `redact`: the search. `wit`: what a guest sees.
//! - here: the values.

mod redact;
mod wit;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::LoadError;
use crate::manifest::{Import, Manifest};
pub(crate) use redact::Redactor;
pub(crate) use wit::Access;
pub(super) use wit::{INTERFACE, TRACK, VERSION, add_to_linker};

/// Shortest value, in bytes: a shorter one is guessed, and could not be told from other text.
pub const MIN_SECRET_BYTES: usize = 8;
/// Longest value, in bytes.
pub const MAX_SECRET_BYTES: usize = 4096;

/// The value has no length that is taken. It is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret of {0} bytes; {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} are taken")]
pub struct SecretError(usize);

/// A secret's value. It is overwritten when dropped, and cannot be printed or serialised:
///
/// ```compile_fail
/// fn printed<T: std::fmt::Debug>() {}
/// printed::<eigenshift_plugin::SecretValue>();
/// ```
#[derive(Clone)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    /// Takes a value over.
    ///
    /// # Errors
    /// [`SecretError`]: too short or too long.
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, SecretError> {
        let bytes = bytes.into();
        if (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&bytes.len()) {
            Ok(Self(Arc::new(bytes)))
        } else {
            Err(SecretError(bytes.len()))
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Secrets by name. Cheap to clone; printed, it gives the names.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<String, SecretValue>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, SecretValue)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, SecretValue)>>(secrets: I) -> Self {
        Self(Arc::new(secrets.into_iter().collect()))
    }
}

impl Secrets {
    /// Those that a manifest lists; none when it does not import secrets.
    ///
    /// # Errors
    /// [`LoadError::SecretMissing`] names the first that the operator does not provide.
    pub(crate) fn listed(&self, manifest: &Manifest) -> Result<Self, LoadError> {
        if !manifest.imports.contains(&Import::Secrets) {
            return Ok(Self::default());
        }
        let listed = manifest.secrets.iter().map(|name| match self.0.get(name) {
            Some(value) => Ok((name.clone(), value.clone())),
            None => Err(LoadError::SecretMissing { name: name.clone() }),
        });
        listed.collect()
    }

    fn get(&self, name: &str) -> Option<&SecretValue> {
        self.0.get(name)
    }

    /// What takes these values out of texts.
    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::new(self.0.values().map(SecretValue::bytes))
    }
}
