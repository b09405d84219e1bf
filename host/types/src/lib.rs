//! Name the things that EigenShift's crates speak of.
//!
//! For every other crate of the host. Nothing here does IO, reads a clock or draws randomness.
//!
//! # Layout
//! - [`ids`]: identifiers, each its own type where mixing two up would be a bug.
//! - [`block`]: blocks and the AVS's place on its chain.
//! - [`operators`]: operator sets: who has which keys and stakes at a block.
//! - [`task`]: tasks, response keys, outcomes and certificates.
//! - [`response`]: a signed response on its way to the aggregator.
//! - [`join`]: the typed data that an operator signs to become a member.
//! - [`node_key`]: a node's Ed25519 key, which signs commands and is its TLS key.
//! - [`frame`]: the versioned, checksummed frame of everything written to disk or sent between nodes.
//!
//! # Guarantees
//! - Encodings are canonical: equal values have equal bytes, because structures are written with their field names in
//!   declaration order and maps are ordered.
//! - Decoding is bounded by the input's length and never panics.
//! - [`node_key::NodeKey`] is zeroised on drop and cannot be printed or serialised.
//!
//! # Not here
//! Curve arithmetic (`eigenshift-bls`), commands and the rules they follow (`eigenshift-ledger`).

pub mod block;
pub mod frame;
pub mod ids;
pub mod join;
pub mod node_key;
pub mod operators;
pub mod response;
pub mod task;

pub use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
pub use block::{BlockRef, Service};
pub use ids::{AvsId, ClusterId, CommandId, Epoch, NodeId, OperatorId, ResponseKey, Stake, TaskIndex};
pub use join::{Join, SignedJoin};
pub use node_key::{NodeKey, NodePublicKey, NodeSignature};
pub use operators::{OperatorRecord, OperatorSet, QuorumRecord};
pub use response::ResponseEnvelope;
pub use task::{Bitmap, Certificate, Outcome, Quorums, TaskSpec};
