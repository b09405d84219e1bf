//! Turn what a cluster has agreed on into work: answers, certificates, transactions, hand-overs.
//!
//! For `eigenshift-node`, which starts one [`avs::AvsHandle`] per AVS, and for the listeners in front of it.
//!
//! # Layout
//! - [`avs`]: one AVS at work: its options, its handle.
//! - [`callbacks`]: what an AVS's logic is, over bytes; [`wasm`]: a plugin as that logic;
//!   [`logics`]: its versions.
//! - `drivers`: respond and swap (every operator), inbox and aggregate and submit (a task's aggregator), trigger, plan, lead and
//!   members (the leader), watch (every member).
//! - [`guard`]: no two digests for one task and key; [`signer`]: signing for one task, under the guard; [`evidence`]: who
//!   signed two; [`ledger`]: reading and proposing; [`sets`]: operator sets as this node's chain has them; [`join`]: taking operators in; [`http`]: posting to other operators;
//!   `shared`: what the AVSs of one host share.
//! - [`status`], [`counters`]: what an operator sees; `retire`: what comes before an AVS is stopped here.
//!
//! # Guarantees
//! - Drivers are level-triggered: whatever is undone in the ledger is done after a restart, or by the next leader.
//! - A response leaves this node only after the guard stored it durably.
//! - A transaction is sent only after the ledger knows of it.
//! - Nothing that others send is taken without the checks of the protocol, in order of their cost; every refusal has a
//!   code and is counted.
//!
//! # Not here
//! What the ledger accepts (`eigenshift-ledger`), how it is replicated (`eigenshift-consensus`), listeners
//! (`eigenshift-api`), files and configuration (`eigenshift-node`).

pub mod avs;
pub mod callbacks;
mod context;
pub mod counters;
mod drivers;
pub mod evidence;
pub mod guard;
pub mod http;
pub mod join;
pub mod ledger;
pub mod logics;
mod retire;
pub mod sets;
mod shared;
pub mod signer;
pub mod status;
pub mod wasm;

pub use avs::{AvsHandle, AvsOptions, RequestError};
pub use context::{Identity, Patience};
pub use drivers::inbox::Rejection;
pub use drivers::outbox::Ack;
pub use drivers::trigger::{Timer, TriggerError, Triggered};
pub use eigenshift_ledger::command::Shadow;
pub use shared::Shared;
