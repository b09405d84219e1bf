//! Why an author's command did not do what it was asked to.

use std::path::{Path, PathBuf};

use eigenshift_build::BuildError;
use eigenshift_plugin::{HostError, LoadError, ManifestError};

/// Why not. Each has a code that scripts may rely on.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// A name that cannot be a plugin's.
    #[error("{name:?} cannot be a plugin's name: {fix}")]
    Name {
        /// What was given.
        name: String,
        /// What to give.
        fix: &'static str,
    },
    /// Nothing is ever overwritten.
    #[error("{} is there already and not empty: take another name, or another place with --path", .0.display())]
    NotEmpty(PathBuf),
    /// A file or folder.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A folder that is no plugin's.
    #[error(
        "{} has no Cargo.toml, package.json or requirements.txt: it is no plugin's folder; `eigenshift plugin new` makes one",
        .0.display()
    )]
    NoProject(PathBuf),
    /// A program is missing or too old.
    #[error("{what}; {advice}")]
    Tool {
        /// Which, and what about it.
        what: String,
        /// How to get it.
        advice: &'static str,
    },
    /// A program of the language failed; its output is above.
    #[error("{what} failed ({status}); what it said is above")]
    Failed {
        /// Which.
        what: &'static str,
        /// How it ended.
        status: String,
    },
    /// Rust's tools.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The manifest.
    #[error("{path}: {error}", path = path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// The line and the fix.
        error: ManifestError,
    },
    /// The component, or what its manifest makes of it.
    #[error("{path}: {error}", path = path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        error: LoadError,
    },
    /// The same for a build that was read a moment ago.
    #[error(transparent)]
    Load(LoadError),
    /// Answers that go on chain have to go somewhere.
    #[error("the plugin puts answers on chain, and there is no contract: give its compiled JSON with --contract")]
    NeedsContract,
    /// A compiled contract that cannot be deployed.
    #[error("{path}: {why}", path = path.display())]
    Contract {
        /// Which.
        path: PathBuf,
        /// What is wrong, and the fix.
        why: String,
    },
    /// No request.
    #[error(
        "there is nothing to ask: give requests with --payload, have them read with --stdin, or record tasks in tasks.toml; or let triggers in avs.toml make tasks"
    )]
    NothingToAsk,
    /// The plugin host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The file of recorded tasks.
    #[error("{path}: {why}", path = path.display())]
    Tasks {
        /// Which.
        path: PathBuf,
        /// The line and the fix.
        why: String,
    },
    /// There is nothing to run.
    #[error("{} is not there, and avs.toml has no [[golden]] task: record one, for example\n\n[[task]]\nname = \"first\"\nrequest = \"0x\"\n\nand run with --record", .0.display())]
    NoTasks(PathBuf),
    /// Two runs of one task gave different things.
    #[error(
        "{0} of the tasks gave different things in two runs: operators would not agree; no clock, no randomness, no state that other tasks left may be in an answer"
    )]
    Nondeterministic(usize),
    /// Answers are not those that were recorded.
    #[error("{0} of the tasks gave something else than was recorded; if that is meant, record it with --record")]
    Unexpected(usize),
    /// Versions give different answers.
    #[error("{0} of the tasks have different answers in different versions")]
    Versions(usize),
    /// The command line.
    #[error("{0}")]
    Usage(String),
}

impl AuthorError {
    /// Stable machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "name-invalid",
            Self::NotEmpty(_) => "folder-not-empty",
            Self::File { .. } => "file",
            Self::NoProject(_) => "no-project",
            Self::Tool { .. } => "tool-missing",
            Self::Failed { .. } => "build-failed",
            Self::Build(error) => error.code(),
            Self::Manifest { error, .. } => error.code(),
            Self::Refused { error, .. } => error.code(),
            Self::Load(error) => error.code(),
            Self::NeedsContract => "contract-missing",
            Self::Contract { .. } => "contract-invalid",
            Self::NothingToAsk => "nothing-to-ask",
            Self::Host(_) => "plugin-host",
            Self::Tasks { .. } => "tasks-invalid",
            Self::NoTasks(_) => "no-tasks",
            Self::Nondeterministic(_) => "nondeterministic",
            Self::Unexpected(_) => "unexpected-answers",
            Self::Versions(_) => "versions-differ",
            Self::Usage(_) => "usage",
        }
    }
}

/// An error about a file.
pub(crate) fn file(path: &Path, why: impl std::fmt::Display) -> AuthorError {
    AuthorError::File { path: path.to_owned(), why: why.to_string() }
}
