//! The drivers: each looks at what is agreed and does what is still undone.
//!
//! All are level-triggered: a restart, or a new leader, continues where the last one stopped. What woke a driver is
//! never a reason to act; the state is.

pub(crate) mod aggregate;
pub(crate) mod dissent;
pub(crate) mod inbox;
pub(crate) mod lead;
pub(crate) mod members;
pub(crate) mod order;
pub(crate) mod outbox;
pub(crate) mod plan;
pub(crate) mod respond;
pub(crate) mod shadow;
pub(crate) mod submit;
pub(crate) mod swap;
pub(crate) mod transactions;
pub(crate) mod trigger;
pub(crate) mod watch;
pub(crate) mod workers;
