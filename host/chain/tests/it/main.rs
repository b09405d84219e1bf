//! The crate's public behaviour: one table of properties over both chains, and what is particular to each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod anvil;
mod embedded;
mod endpoint;
mod fake;
mod layout;
mod operators;
mod properties;
mod signatures;
mod wallet;
mod world;
