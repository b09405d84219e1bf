//! Groups of real nodes: real files, real TLS on loopback, real threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cluster;
mod failures;
mod members;
mod strangers;
