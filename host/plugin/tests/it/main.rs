//! The plugin host against components that do what they should, and against those that do not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: what fails here is to fail the test"
)]

mod asking;
mod cache;
mod calls;
mod chain;
mod compile;
mod config;
mod egress;
mod fixtures;
mod golden;
mod guest;
mod http;
mod inspect;
mod isolation;
mod keyvalue;
mod languages;
mod limits;
mod lines;
mod load;
mod manifest;
mod reuse;
mod secrets;
mod wasi;
