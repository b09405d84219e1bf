//! Run EigenShift in a process: one host, many AVSs.
//!
//! For the `eigenshift` binary, and for Rust teams that embed it.
//!
//! # Layout
//! - [`node`]: the host: listeners, stores, pools; [`node::Node::start`]; [`error`]: what is in the way.
//! - `hosting`: its AVSs, each added, paused, resumed and removed by itself ([`node::Node::add`] and the like); `launch`, `leave`:
//!   one AVS's start and end; [`control`]: what the admin listener may command.
//! - [`identity`]: which node of which cluster this is, on disk.
//! - `bundles`: the plugins' versions on disk.
//! - [`membership`]: founding a cluster, joining one.
//! - [`local`]: what a cluster on one machine needs.
//! - [`native`]: native callbacks: [`native::TaskConsensusManager`].
//!
//! # Guarantees
//! - A data directory is used by one process at a time, and what is in it is never overwritten by mistake: a directory
//!   in use, corrupt, or of a removed node stops the start.
//! - A cluster is founded once: after a crash in the middle, the next start goes on with the same cluster.
//! - An operation on one AVS neither waits for one on another nor is noticed by it; one that fails has left nothing open.
//! - An AVS that leaves its cluster never loses what it signed: its successor on this host goes by the same guard.
//! - A joiner trusts a key only if the operator that the chain knows signed for it.
//!
//! # Not here
//! The configuration file and the commands (`eigenshift`).

mod bundles;
pub mod control;
pub mod error;
mod hosting;
pub mod identity;
mod launch;
mod leave;
pub mod local;
pub mod membership;
pub mod native;
pub mod node;

pub use bundles::Approval;
pub use control::Source;
pub use eigenshift_api::Logs;
pub use eigenshift_api::avss::{AvsEntry, Phase};
pub use eigenshift_bls::Curve;
pub use eigenshift_plugin::TenantOptions;
pub use error::NodeError;
pub use local::OperatorKeys;
pub use node::{AvsOptions, Entrance, Logic, Node, NodeOptions};
