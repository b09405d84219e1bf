//! What an AVS author may rely on, seen from both sides: the traits, and the WIT interfaces behind them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod codecs;
mod lifecycle;
mod optional;
