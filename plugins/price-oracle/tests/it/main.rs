//! The plugin against a chain of canned answers: what it signs, when it makes tasks, when it submits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod fixture;
mod respond;
mod source;
mod submission;
