//! Run EigenShift in a process: one host, many AVSs.
//!
//! For the `eigenshift` binary, and for Rust teams that embed it.
//!
//! # Layout
//! - [`node`]: the host: listeners, stores, pools; [`node::Node::start`], [`node::Node::add`].
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
//! - A joiner trusts a key only if the operator that the chain knows signed for it.
//!
//! # Not here
//! The configuration file and the commands (`eigenshift`).

mod bundles;
pub mod identity;
pub mod local;
pub mod membership;
pub mod native;
pub mod node;

pub use bundles::Approval;
pub use eigenshift_bls::Curve;
pub use eigenshift_plugin::TenantOptions;
pub use local::OperatorKeys;
pub use node::{AvsOptions, Entrance, Logic, Node, NodeError, NodeOptions};
