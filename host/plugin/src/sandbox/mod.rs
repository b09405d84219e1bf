//! Where guests run.
//!
//! - `settings`: the engine.
//! - `limiter`: memory and tables of a call, summed.
//! - `imports`: what a guest may do to the outside during one call.
//! - `gate`: the places for calls, given to tenants in turn.
//! - `member`: how a tenant stands with the executor.
//! - `executor`: the threads that guests run on, and the epoch ticker.
//! - `call`: one call from slot to result.
//! - `warm`: instances that are kept for the next call.
//! - `text`: what a guest says, made fit for people.

pub(crate) mod call;
pub(crate) mod executor;
pub(crate) mod gate;
pub(crate) mod imports;
pub(crate) mod limiter;
pub(crate) mod member;
pub(crate) mod settings;
pub(crate) mod text;
pub(crate) mod warm;
