//! The binary as its users meet it: a cluster of processes, the demo, the command line, and the documents that explain it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod cluster;
mod commands;
mod crates;
mod demo;
mod hosting;
mod nodes;
mod process;
mod readme;
