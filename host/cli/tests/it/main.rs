//! The binary as its users meet it: a cluster of processes, the demo, the command line, and the documents that explain it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[allow(dead_code, reason = "the plugin host's tests use the rest")]
#[path = "../../../plugin/tests/it/asking.rs"]
mod asking;
mod author;
mod cluster;
mod commands;
mod crates;
mod demo;
mod dev;
#[allow(dead_code, reason = "the plugin host's tests use the rest")]
#[path = "../../../plugin/tests/it/guest.rs"]
mod guest;
mod hosting;
mod nodes;
mod process;
mod readme;
