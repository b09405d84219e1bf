//! Decide what a cluster of operators has agreed on: commands in, members, tasks, certificates and rotation out.
//!
//! For the engine, whose drivers look at the [`State`] and do what is still undone, and for whoever audits it.
//!
//! # Layout
//! - [`settings`]: what the cluster agreed to work by.
//! - [`command`]: every command, and the signed form in which it is logged.
//! - [`state`]: the state and its parts; [`rotation`]: whose turn it is; [`window`]: each command once.
//! - [`apply`]: the rules: who may log what, and when it is accepted.
//! - [`machine`]: state plus caches: batches of entries, snapshots, halting.
//!
//! # Guarantees
//! - Applying is a pure function of state and entry: no clock, no IO, no randomness. Equal logs give equal states, byte
//!   for byte; a snapshot and the tail of the log give the same state as the whole log.
//! - A task reaches one terminal state, once; a response key of a task has one certificate, once.
//! - Every command is checked: known author, right signature, unused id, right to log it. A refused command changes
//!   nothing but the author's used ids.
//! - The state is bounded by the settings.
//!
//! # Not here
//! Effects. Nothing here calls a plugin, a chain or a peer; the drivers of `eigenshift-engine` do.

pub mod apply;
pub mod command;
pub mod machine;
pub mod reply;
pub mod rotation;
pub mod settings;
pub mod state;
pub mod window;

pub use command::{Command, SignedCommand};
pub use machine::{Entry, Halt, Machine, Payload, RestoreError};
pub use reply::{Accepted, Refusal, Reply};
pub use settings::Settings;
pub use state::{Member, Phase, State, Task, TriggerId};
