//! Whole nodes: real files, real TLS and HTTP on loopback, an embedded chain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admin;
mod assignment;
mod cluster;
mod crashes;
mod directory;
mod disputes;
mod faults;
mod forgetful;
mod gates;
mod hosting;
mod http;
mod idle;
mod joins;
mod logic;
mod responses;
mod rounds;
mod shadows;
mod swap;
mod tasks;
mod versions;
