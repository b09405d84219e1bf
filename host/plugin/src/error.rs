//! Why a bundle is not loaded and why a call has no result.

use std::time::Duration;

use crate::golden::GoldenError;
use crate::inspect::Limit;
use crate::manifest::{Import, ManifestError};

/// Why a bundle is not loaded. Each names what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The manifest is not one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest has triggers that nothing makes tasks of.
    #[error(
        "avs.toml has [[trigger]], but the component does not export `task-source`, which makes tasks of triggers; export it, or leave [[trigger]] out"
    )]
    TriggerWithoutSource,
    /// The component is larger than this host takes.
    #[error("the component has {len} bytes, this host takes {max}; strip it, or raise the host's limit")]
    TooLarge {
        /// What was found.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// The bytes are neither a WebAssembly component nor anything close to one.
    #[error("not a WebAssembly component: the bytes do not begin with its header")]
    NotWasm,
    /// The bytes are a core module.
    #[error(
        "this is a core WebAssembly module, not a component: turn it into one (`eigenshift plugin build`, `wasm-tools component new`)"
    )]
    CoreModule,
    /// The bytes are precompiled machine code, which is never accepted from outside.
    #[error(
        "this is precompiled machine code (.cwasm), which cannot be checked: deploy the .wasm component it was made from"
    )]
    Precompiled,
    /// The component has more of something than is ever compiled.
    #[error("the component has {found} {limit}, at most {max} are compiled; make it simpler")]
    TooComplex {
        /// Of what.
        limit: Limit,
        /// How much was found when the pass ended; there may be more.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// The component is broken.
    #[error("the component is malformed: {0}; build it again")]
    Malformed(String),
    /// The component needs more of something than the operator gives; its manifest cannot be honoured.
    #[error(
        "limits.{limit} of {wanted} is more than this host gives, {granted}: lower it in avs.toml, or raise the host's limit"
    )]
    LimitNotGranted {
        /// The manifest's key.
        limit: &'static str,
        /// What the manifest wants.
        wanted: u64,
        /// What the operator gives.
        granted: u64,
    },
    /// An interface, or a function of one (`interface#function`), is not exported.
    #[error("the component does not export {name}")]
    MissingExport {
        /// Its full name.
        name: String,
    },
    /// An interface is imported or exported, but of another track.
    #[error("the component has {found}, this host serves {expected}: build it against that version of the WIT package")]
    OtherTrack {
        /// What the component has.
        found: String,
        /// What this host looks for.
        expected: String,
    },
    /// The component imports something that this host does not know.
    #[error("the component imports {name}, which this host does not have; build it without")]
    UnknownImport {
        /// Its full name.
        name: String,
    },
    /// The manifest lists an import that the operator does not grant.
    #[error("avs.toml lists `{import}`, which this operator does not grant: grant it, or do not run this bundle")]
    ImportNotGranted {
        /// What.
        import: Import,
    },
    /// What the operator sets of the bundle's configuration is not what its manifest declares.
    #[error("the configuration value `{key}` {fix}")]
    Config {
        /// The key.
        key: String,
        /// What is wrong and what to do.
        fix: &'static str,
    },
    /// The manifest lists `keyvalue`, and the node has no store for the AVS.
    #[error("avs.toml lists `keyvalue`, and this AVS has no store here; give it one, or do not run this bundle")]
    NoStore,
    /// The manifest lists a secret that the operator does not provide.
    #[error(
        "avs.toml lists the secret `{name}`, which this operator does not provide: provide it, or do not run this bundle"
    )]
    SecretMissing {
        /// Its name.
        name: String,
    },
    /// An import or export has other types than its track.
    #[error("types differ from the WIT package: {0}")]
    WrongTypes(String),
    /// A function is malformed, or the component uses a WebAssembly feature that is off or needs more than a call's slot has.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// Compiling took longer than the operator allows.
    #[error(
        "compiling took longer than this host allows ({time:?}, of which {cpu:?} of processor time): split its largest functions, or raise the host's limits"
    )]
    CompileTooSlow {
        /// Time that is allowed.
        time: Duration,
        /// Processor time that is allowed.
        cpu: Duration,
    },
    /// Compiling took more memory than the operator allows.
    #[error(
        "compiling took more memory than this host allows, {max} bytes: split its largest functions, or raise the host's limit"
    )]
    CompileTooMuchMemory {
        /// Bytes that are allowed.
        max: u64,
    },
    /// The machine code is larger than is ever kept.
    #[error("the component becomes more than {max} bytes of machine code; make it smaller")]
    CodeTooLarge {
        /// Bytes that are taken.
        max: usize,
    },
    /// The compiler died: the component is more than it can take, or the machine has no memory left.
    #[error(
        "the compiler crashed ({0}); if it does so again, the component is too deeply nested or hits a bug: report it"
    )]
    CompilerCrashed(String),
    /// The compiler cannot be used, whatever the component: the operator's business.
    #[error("the compiler cannot be used: {0}; check the program that the host starts for it")]
    CompilerUnusable(String),
    /// The smoke test, a call of `describe`, failed.
    #[error("`describe` failed, so nothing else would work: {0}")]
    Describe(CallError),
    /// A task with a known answer got another one.
    #[error("golden task {number} of avs.toml (counted from 0) failed: {why}; mend the plugin or the task")]
    Golden {
        /// Which, from 0.
        number: usize,
        /// How.
        why: GoldenError,
    },
    /// This host is shutting down, or a thread of its own died.
    #[error("the host could not finish loading: {0}; try again")]
    Internal(String),
}

impl LoadError {
    /// Stable machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Manifest(error) => error.code(),
            Self::TriggerWithoutSource => "trigger-without-source",
            Self::TooLarge { .. } => "component-too-large",
            Self::NotWasm => "component-not-wasm",
            Self::CoreModule => "component-core-module",
            Self::Precompiled => "component-precompiled",
            Self::TooComplex { .. } => "component-too-complex",
            Self::Malformed(_) => "component-malformed",
            Self::LimitNotGranted { .. } => "limit-not-granted",
            Self::MissingExport { .. } => "export-missing",
            Self::OtherTrack { .. } => "other-track",
            Self::UnknownImport { .. } => "import-unknown",
            Self::ImportNotGranted { .. } => "import-not-granted",
            Self::Config { .. } => "config-invalid",
            Self::SecretMissing { .. } => "secret-missing",
            Self::NoStore => "keyvalue-no-store",
            Self::WrongTypes(_) => "types-differ",
            Self::Compile(_) => "compile-failed",
            Self::CompileTooSlow { .. } => "compile-too-slow",
            Self::CompileTooMuchMemory { .. } => "compile-too-much-memory",
            Self::CodeTooLarge { .. } => "compiled-too-large",
            Self::CompilerCrashed(_) => "compiler-crashed",
            Self::CompilerUnusable(_) => "compiler-unusable",
            Self::Describe(_) => "describe-failed",
            Self::Golden { .. } => "golden-failed",
            Self::Internal(_) => "host-internal",
        }
    }
}

/// Why a call has no result. Texts from the guest are cut to 1 KiB, control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest says: not now, call again after this time.
    #[error("the plugin asks to be called again in {0:?}")]
    RetryAfter(Duration),
    /// The guest has nothing to say on this task; do not call again.
    #[error("the plugin has nothing to say on this task: {0}")]
    NotApplicable(String),
    /// The guest says that the task itself is wrong; do not call again.
    #[error("the plugin refuses the task: {0}")]
    InvalidTask(String),
    /// The guest says that the trigger is unusable; drop it.
    #[error("the plugin refuses the trigger: {0}")]
    InvalidTrigger(String),
    /// The guest could not read what it needs from the chain; try again later.
    #[error("the plugin could not read the chain: {0}")]
    Unavailable(String),
    /// Any other error that the guest reports; try again with back-off.
    #[error("the plugin failed: {0}")]
    Guest(String),
    /// The call used up its fuel: the same on every operator.
    #[error("the call used up its fuel; raise limits.fuel in avs.toml or do less")]
    OutOfFuel,
    /// The call took longer than this host allows; says nothing about other operators.
    #[error("the call took longer than this host allows")]
    Deadline,
    /// The call died after it was refused memory: the same on every operator.
    #[error("the call needed more memory than its limit; raise limits.memory-bytes in avs.toml or use less")]
    Memory,
    /// The call made more host calls than one may: the same on every operator.
    #[error("the call used its imports more than {max} times; do more with each")]
    HostCalls {
        /// How many a call may make.
        max: u32,
    },
    /// The guest trapped.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// The guest returned something that its interface does not allow.
    #[error("the plugin returned something unusable: {0}")]
    BadOutput(String),
    /// No call slot, or not as much memory as the manifest asks for, was free within the host's bound; try again.
    #[error("every call slot stayed taken, or the memory for one; try again")]
    Busy,
    /// The plugin does not export the interface.
    #[error("the plugin does not export this interface")]
    Unsupported,
    /// This host is shutting down, a thread of its own died, or the machine has no memory left; says nothing about other
    /// operators.
    #[error("the host could not finish the call: {0}; try again")]
    Internal(String),
}

impl CallError {
    /// Stable machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RetryAfter(_) => "plugin-retry-after",
            Self::NotApplicable(_) => "plugin-not-applicable",
            Self::InvalidTask(_) => "plugin-invalid-task",
            Self::InvalidTrigger(_) => "plugin-invalid-trigger",
            Self::Unavailable(_) => "plugin-chain-unavailable",
            Self::Guest(_) => "plugin-error",
            Self::OutOfFuel => "plugin-out-of-fuel",
            Self::Deadline => "plugin-deadline",
            Self::Memory => "plugin-memory",
            Self::HostCalls { .. } => "plugin-host-calls",
            Self::Trap(_) => "plugin-trap",
            Self::BadOutput(_) => "plugin-bad-output",
            Self::Busy => "plugin-busy",
            Self::Unsupported => "plugin-unsupported",
            Self::Internal(_) => "host-internal",
        }
    }
}

/// Why a response was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// The plugin refuses it: becomes the reply to whoever sent it.
    #[error("{code}: {message}")]
    Rejected {
        /// Kebab-case, 1 to 64 bytes; `rejected` when the plugin's own is not that.
        code: String,
        /// For people: at most 1 KiB.
        message: String,
    },
    /// The plugin could not be asked; says nothing about the response.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ProcessError {
    /// Stable machine-readable name; the plugin's own code for a rejection.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Rejected { code, .. } => code,
            Self::Call(error) => error.code(),
        }
    }
}
