//! The public behaviour of `eigenshift-aggregation`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

mod cases;
mod certificates;
mod defects;
mod endings;
mod fixture;
mod invariants;
mod keys;
mod missing;
mod restarts;
mod service;
mod sets;
mod sums;
