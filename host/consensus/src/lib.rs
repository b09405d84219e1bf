//! Keep one log per AVS in agreement among operators that may crash.
//!
//! For `eigenshift-engine` and `eigenshift-node`: they hand a [`StateMachine`] to a [`Group`] and propose commands to it.
//! Raft itself is openraft's; none of its types is in this crate's API or in a file on disk.
//!
//! # Layout
//! - [`Group`]: one AVS's Raft group on this host: propose, members, hand-over, leadership.
//! - [`StateMachine`], [`Entry`], [`Payload`]: what the group drives, entry by entry, on a thread of its own.
//! - [`Store`]: the `raft.redb` and the snapshots of all groups of a host, written by one thread.
//! - [`Transport`]: HTTP/2 over mutual TLS 1.3 between hosts, for all groups.
//! - [`PeerBook`]: whose keys a group trusts; the transport accepts exactly those.
//! - [`error`]: what can go wrong, one enum per question a caller asks.
//!
//! # Guarantees
//! - An entry or a vote is acknowledged only after it is durable. A commit that fails poisons the store: nothing is written
//!   after it, fsync is never retried, and [`Store::poisoned`] lets the host end the process.
//! - A record that is torn or garbled is an error, never skipped.
//! - `ready` of [`Leadership`] is true only on a node that leads, has confirmed it with a quorum, and has applied
//!   everything committed before.
//! - A request is answered only if its TLS peer is the member it says it comes from, of this cluster, epoch and group.
//! - Everything that arrives is bounded before it is parsed.
//!
//! # Not here
//! What commands mean (`eigenshift-ledger`), who may join (`eigenshift-api`, `eigenshift-node`). Raft protects against
//! crashes, not against members that lie: a lying leader can withhold, a lying majority can rewrite.

mod applier;
mod endpoint;
pub mod error;
mod group;
mod machine;
mod network;
mod peers;
mod raft;
mod record;
mod store;
mod transport;
mod within;

pub use endpoint::{AskHandler, AskRefusal};
pub use error::{AskError, Error, HandOverError, MembershipError, ProposeError};
pub use group::{Applied, Group, GroupOptions, Health, Leadership, PeerHealth, Role, Timing};
pub use machine::{Entry, Payload, StateMachine};
pub use peers::{Peer, PeerBook};
pub use store::{MAX_SNAPSHOT_BYTES, Store};
pub use transport::{Security, Transport, TransportOptions};

/// The largest command that is accepted, in bytes.
pub const MAX_COMMAND_BYTES: usize = 1 << 20;
/// The largest request or answer of [`Group::ask`], in bytes.
pub const MAX_ASK_BYTES: usize = 4 << 20;
