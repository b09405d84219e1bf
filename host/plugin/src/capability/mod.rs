//! What a plugin may reach outside its sandbox, and on whose word.
//!
//! An import works when the bundle's manifest lists it *and* the operator grants it *and* the callback that runs may use it
//! (PROTOCOL §10). A component that imports what its manifest does not list is loaded all the same, because JavaScript's and
//! Python's tools import a whole world whether it is used or not; its calls are answered with the interface's own
//! access-denied error. What the manifest lists and the operator does not grant is refused at load: such a bundle would fail
//! at its first task.

pub(crate) mod config;
pub mod egress;
pub mod http;
pub mod keyvalue;
pub mod secrets;
pub(crate) mod wasi;

use std::fmt;

use wasmtime::component::Linker;

use crate::error::LoadError;
use crate::host::Grants;
use crate::inspect::Report;
use crate::manifest::{Import, Manifest};
use crate::sandbox::imports::CallState;
use crate::track::v0_1;

/// What becomes of one import of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Types only: there is nothing to grant.
    Types,
    /// It works, in a form that shows nothing of the machine: WASI.
    Closed,
    /// It works.
    Granted(Import),
    /// Its calls are answered with access-denied: the manifest does not list it.
    NotListed(Import),
    /// Refused at load: the manifest lists it, the operator does not grant it.
    NotGranted(Import),
    /// Refused at load: it is of another track.
    OtherTrack {
        /// The name that this host has.
        expected: String,
    },
    /// Refused at load: this host does not have it.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Types => f.write_str("types only, nothing to grant"),
            Self::Closed => f.write_str("in a closed form: no files, no variables, clock and random bytes by the task"),
            Self::Granted(import) => write!(f, "`{import}` is granted"),
            Self::NotListed(import) => {
                write!(f, "`{import}` is not listed in avs.toml: calls are answered access-denied")
            }
            Self::NotGranted(import) => write!(f, "`{import}` is not granted by the operator: refused at load"),
            Self::OtherTrack { expected } => write!(f, "this host has {expected}: refused at load"),
            Self::Unknown => f.write_str("this host does not have it: refused at load"),
        }
    }
}

/// Every interface that a component may import.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    v0_1::add_to_linker(linker)?;
    config::add_to_linker(linker)?;
    keyvalue::add_to_linker(linker)?;
    secrets::add_to_linker(linker)
}

/// The interfaces that only components of other tools import.
pub(crate) fn add_wasi_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasi::add_to_linker(linker)
}

/// Whether a component imports any of those.
pub(crate) fn imports_wasi(report: &Report) -> bool {
    report.imports.iter().any(|interface| {
        interface.name.split_once('@').is_some_and(|(name, version)| wasi::find(name, version).is_some())
    })
}

/// Interfaces whose version is a draft's, compatible with no other: name, version, what they are.
fn exact() -> impl Iterator<Item = (&'static str, &'static str, Import)> {
    let (interface, version) = config::INTERFACE;
    let keyvalue = keyvalue::INTERFACES.into_iter().map(|name| (name, keyvalue::VERSION, Import::Keyvalue));
    std::iter::once((interface, version, Import::Config)).chain(keyvalue)
}

/// Looks an import's full name up.
fn find(name: &str) -> v0_1::Found {
    let Some((interface, found)) = name.split_once('@') else { return v0_1::import(name) };
    match wasi::find(interface, found) {
        Some(Ok(wasi::Kind::Closed)) => return v0_1::Found::Closed,
        Some(Ok(wasi::Kind::Http)) => return v0_1::Found::Import(Import::Http),
        Some(Err(expected)) => return v0_1::Found::OtherTrack { expected },
        None => {}
    }
    if interface == secrets::INTERFACE {
        return if found.starts_with(secrets::TRACK) {
            v0_1::Found::Import(Import::Secrets)
        } else {
            v0_1::Found::OtherTrack { expected: format!("{interface}@{}", secrets::VERSION) }
        };
    }
    match exact().find(|(known, _, _)| *known == interface) {
        Some((_, version, import)) if found == version => v0_1::Found::Import(import),
        Some((_, version, _)) => v0_1::Found::OtherTrack { expected: format!("{interface}@{version}") },
        None => v0_1::import(name),
    }
}

/// What becomes of the import of that name.
pub(crate) fn verdict(name: &str, manifest: &Manifest, grants: &Grants) -> Verdict {
    let import = match find(name) {
        v0_1::Found::Types => return Verdict::Types,
        v0_1::Found::Closed => return Verdict::Closed,
        v0_1::Found::Import(import) => import,
        v0_1::Found::OtherTrack { expected } => return Verdict::OtherTrack { expected },
        v0_1::Found::Nothing => return Verdict::Unknown,
    };
    match (manifest.imports.contains(&import), grants.imports.contains(&import)) {
        (false, _) => Verdict::NotListed(import),
        (true, false) => Verdict::NotGranted(import),
        (true, true) => Verdict::Granted(import),
    }
}

/// Refuses a bundle whose manifest lists what the operator does not grant.
pub(crate) fn check_grants(manifest: &Manifest, grants: &Grants) -> Result<(), LoadError> {
    match manifest.imports.iter().find(|import| !grants.imports.contains(import)) {
        Some(import) => Err(LoadError::ImportNotGranted { import: *import }),
        None => Ok(()),
    }
}

/// Refuses a component that imports what this host does not have.
pub(crate) fn check_imports(report: &Report, manifest: &Manifest, grants: &Grants) -> Result<(), LoadError> {
    for (interface, verdict) in report.verdicts(manifest, grants) {
        let name = interface.name.clone();
        match verdict {
            Verdict::Types | Verdict::Closed | Verdict::Granted(_) | Verdict::NotListed(_) => {}
            Verdict::NotGranted(import) => return Err(LoadError::ImportNotGranted { import }),
            Verdict::OtherTrack { expected } => return Err(LoadError::OtherTrack { found: name, expected }),
            Verdict::Unknown => return Err(LoadError::UnknownImport { name }),
        }
    }
    Ok(())
}
