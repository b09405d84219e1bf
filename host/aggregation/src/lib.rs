//! Collect operators' signatures until enough stake stands behind one answer, and make the certificate of it.
//!
//! For the engine, whose aggregator feeds it, and for the ledger, which checks what it made.
//!
//! # Layout
//! - [`operators`]: an operator set with its points decoded and its structure checked; [`operators::assemble`] builds one.
//! - [`quorums`]: a task's quorums and thresholds, resolved against an operator set.
//! - [`certificate`]: the checks of a certificate but for the pairing, and the parts that a contract wants.
//! - [`eigenlayer`]: certificates as EigenLayer's own signature checker takes them.
//! - [`share`]: one operator's signed answer, and why it is refused.
//! - [`batch`]: verifying many shares at once, by plain sums first.
//! - [`prepared`]: operators' keys made ready for lone shares.
//! - [`core`]: the pure state machine; time is an input, events come out.
//! - [`service`]: the async shell: batches of shares verified on a pool, windows timed, events delivered.
//! - [`error`]: why a set, a task's quorums or an opening is refused.
//!
//! # Guarantees
//! - A key of a task is certified at most once, and ends once: [`Event::Certified`] or [`Event::Expired`].
//! - The winner is sticky: once a digest has its quorums, the window only adds signers to it.
//! - An operator counts for one digest per key. A second one that it signed is kept as evidence, and counts nowhere.
//! - A signature is added once for each of the task's quorums that its signer has stake in, as contracts that sum up
//!   the quorums' keys require.
//! - What is verified as part of a sum counts only with all of the sum, and is no evidence before it is verified alone.
//! - Whoever sent a wrong signature is verified apart from the others and after them.
//! - One bad signature loses no good one; a caller that goes away, a stalled reader of events, a late share of a closed
//!   task hold up nobody. What waits is bounded in number and bytes.
//! - [`check_certificate`] and [`operators::Operators`] are pure: equal inputs give equal answers on every node.
//!
//! # Not here
//! - Early shares of a task that is not open yet, rates, envelopes, what a plugin says of a payload (`eigenshift-engine`).
//! - When a task of the ledger expires: the ledger says, and [`service::Handle::close`] does it.
//! - Partial aggregates on disk: operators send again to a new aggregator, and to a restarted one.

pub mod batch;
pub mod certificate;
pub mod core;
pub mod eigenlayer;
pub mod error;
pub mod operators;
pub mod prepared;
pub mod quorums;
pub mod service;
pub mod share;

pub use certificate::{CertificateCheck, CertificateError, ContractParts, check_certificate, contract_parts};
pub use error::Error;
pub use operators::Operators;
pub use quorums::TaskQuorums;
pub use service::{Events, Handle, Options, Service};
pub use share::{
    Accepted, Answer, Event, Evidence, Expiry, KeyProgress, KeyStage, Policy, Share, ShareError, TaskAggregation,
    TaskMetadata,
};
