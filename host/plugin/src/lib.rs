//! Run an AVS's WebAssembly component in a sandbox, with limits that hold.
//!
//! For the engine's drivers, which give it tasks and get back what to sign, what to send and what to refuse. A team that
//! embeds EigenShift with native callbacks does not need this crate.
//!
//! # Layout
//! - [`manifest`], [`bundle`]: what a team ships: a component and its `avs.toml`.
//! - [`host`]: [`Host`] checks, compiles and loads bundles.
//! - [`inspect`]: what a component is made of, counted and bounded before anything of it is compiled.
//! - [`capability`]: what a plugin may reach outside its sandbox, and on whose word.
//! - [`plugin`]: [`Plugin`] is a loaded bundle; each of its methods is one call into a fresh instance.
//! - [`usage`]: what the plugins of an AVS have used and hold.
//! - [`values`]: what goes in and comes out, as the host's own types.
//! - [`chain`]: the chain reads that a plugin is given; the node implements [`ChainReader`].
//! - [`error`]: why a bundle is not loaded and why a call has no result.
//! - `golden` (private): tasks with known answers, run at load.
//! - `sandbox` (private): engine settings, the memory limiter, what imports may do in which callback, guest threads.
//! - `track` (private): one module per released WIT track, converting to and from [`values`].
//! - [`compile`]: components to machine code, in a child process with limits; what that does and does not protect from.
//! - `cache` (private): compiled code on disk, authenticated.
//!
//! # Guarantees
//! - Every call gets a fresh instance: nothing that a guest writes is there at its next call, or for another plugin.
//! - A call ends within its fuel, its memory, its host calls and the host's deadline, whatever the guest does; the error
//!   says which of them ended it. Fuel and memory are the manifest's, exactly: the same on every operator; memory is set
//!   aside before the call begins. A deadline is this node's own and never a fact about the task, and so is a machine that
//!   has no memory left.
//! - Compiling a component ends within the operator's limits, and no component crashes the host's own process by how it
//!   compiles ([`Compiler::Child`]).
//! - A guest uses no import that its manifest does not list, that the operator does not grant, or that PROTOCOL §10 does
//!   not allow to the callback that is running.
//! - A request of a guest goes to an address that was checked, of a host that manifest and operator allow; nothing is
//!   followed from there.
//! - What is said about a guest, in logs and errors, holds none of its secrets.
//! - What comes out has the promised sizes: keys of 1 to 64 bytes, digests of 32, no more items than the manifest says.
//! - Guests run on threads of their own; the caller's runtime is never blocked. Chain reads and requests to other hosts run
//!   on the caller's runtime, a store's operations on the pool it was opened with.
//! - A file of compiled code that this host did not write is never executed.
//!
//! # Not here
//! Which bundle a task must run and when it changes (`eigenshift-ledger`), retries and signing (`eigenshift-engine`),
//! reading a real chain (`eigenshift-chain`).

pub mod bundle;
mod cache;
pub mod capability;
pub mod chain;
pub mod compile;
pub mod error;
#[doc(hidden)]
pub mod floor;
mod golden;
pub mod host;
pub mod inspect;
pub mod manifest;
pub mod plugin;
mod sandbox;
mod track;
pub mod usage;
pub mod values;

pub use bundle::Bundle;
pub use capability::http::{Answers, HttpPolicy, Roots, RootsError};
pub use capability::keyvalue::{KeyValueError, KeyValueStore};
pub use capability::secrets::{SecretError, SecretValue, Secrets};
pub use chain::{ChainReadError, ChainReader};
pub use compile::{CompileLimits, Compiler};
pub use error::{CallError, LoadError, ProcessError};
pub use golden::GoldenError;
pub use host::{Grants, Host, HostError, HostOptions, Tenant, TenantOptions};
pub use manifest::{Import, Limits, Manifest, ManifestError};
pub use plugin::{Counters, Origin, Plugin};
pub use usage::Usage;
pub use values::{
    AggregateKey, Candidate, Decision, Descriptor, EventFilter, EventLog, Header, NewTask, PeerResponse, Plan,
    Signable, SubmissionCertificate, Task, Transaction, Trigger,
};
