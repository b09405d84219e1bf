//! Which imports and exports a component has, and whether they are this track's.

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::bindings::Host_;
use super::{wit_directory, wit_lifecycle, wit_rotation, wit_source, wit_submission};
use crate::error::LoadError;
use crate::manifest::Import;
use crate::sandbox::call::text as engine_text;
use crate::sandbox::imports::CallState;
use crate::sandbox::text::{MAX_TEXT, clean};

const PACKAGE: &str = "eigenshift:avs/";
const TRACK: &str = "0.1.";
const VERSION: &str = "@0.1.0";

const LIFECYCLE: (&str, &[&str]) =
    ("task-lifecycle", &["describe", "on-task-request", "on-submit-task-to-leader", "on-leader-process-task-response"]);
const SOURCE: (&str, &[&str]) = ("task-source", &["event-filters", "on-trigger"]);
const SUBMISSION: (&str, &[&str]) = ("task-submission", &["submit", "is-answered"]);
const ROTATION: (&str, &[&str]) = ("rotation", &["next"]);
const DIRECTORY: (&str, &[&str]) = ("operator-directory", &["is-registered-operator", "fetch-operator-url"]);

/// Everything that this track's imports need.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    Host_::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)
}

/// What this track has under an import's name.
pub(crate) enum Found {
    /// Types: no capability.
    Types,
    /// WASI without a way out.
    Closed,
    /// Functions.
    Import(Import),
    /// The interface, but of another track.
    OtherTrack {
        /// The name that this track has.
        expected: String,
    },
    /// Nothing.
    Nothing,
}

/// Looks an import's full name up.
pub(crate) fn import(name: &str) -> Found {
    let Some((interface, version)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
        return Found::Nothing;
    };
    let found = match interface {
        "types" => Found::Types,
        "chain" => Found::Import(Import::Chain),
        "log" => Found::Import(Import::Log),
        _ => return Found::Nothing,
    };
    if version.starts_with(TRACK) {
        found
    } else {
        Found::OtherTrack { expected: format!("{PACKAGE}{interface}{VERSION}") }
    }
}

/// What a component exports of this track.
#[derive(Clone)]
pub(crate) struct Exports {
    pub(super) lifecycle: wit_lifecycle::GuestIndices,
    pub(super) source: Option<wit_source::GuestIndices>,
    pub(super) submission: Option<wit_submission::GuestIndices>,
    pub(super) rotation: Option<wit_rotation::GuestIndices>,
    pub(super) directory: Option<wit_directory::GuestIndices>,
}

/// Whether the interface is exported, with all its functions.
fn exported(component: &Component, (interface, functions): (&str, &[&str])) -> Result<bool, LoadError> {
    let name = format!("{PACKAGE}{interface}{VERSION}");
    let Some(index) = component.get_export_index(None, name.as_str()) else {
        let other = format!("{PACKAGE}{interface}@");
        return match component.component_type().exports(component.engine()).find(|(found, _)| found.starts_with(&other))
        {
            Some((found, _)) => Err(LoadError::OtherTrack { found: clean(found, MAX_TEXT), expected: name }),
            None => Ok(false),
        };
    };
    for function in functions {
        if component.get_export_index(Some(&index), *function).is_none() {
            return Err(LoadError::MissingExport { name: format!("{name}#{function}") });
        }
    }
    Ok(true)
}

impl Exports {
    pub(crate) fn find(pre: &InstancePre<CallState>) -> Result<Self, LoadError> {
        let component = pre.component();
        let differ = |error: wasmtime::Error| LoadError::WrongTypes(engine_text(&error));
        if !exported(component, LIFECYCLE)? {
            let (interface, _) = LIFECYCLE;
            return Err(LoadError::MissingExport { name: format!("{PACKAGE}{interface}{VERSION}") });
        }
        macro_rules! optional {
            ($names:expr, $module:ident) => {
                if exported(component, $names)? { Some($module::GuestIndices::new(pre).map_err(differ)?) } else { None }
            };
        }
        Ok(Self {
            lifecycle: wit_lifecycle::GuestIndices::new(pre).map_err(differ)?,
            source: optional!(SOURCE, wit_source),
            submission: optional!(SUBMISSION, wit_submission),
            rotation: optional!(ROTATION, wit_rotation),
            directory: optional!(DIRECTORY, wit_directory),
        })
    }

    pub(crate) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    pub(crate) fn has_submission(&self) -> bool {
        self.submission.is_some()
    }

    pub(crate) fn has_rotation(&self) -> bool {
        self.rotation.is_some()
    }

    pub(crate) fn has_directory(&self) -> bool {
        self.directory.is_some()
    }
}
