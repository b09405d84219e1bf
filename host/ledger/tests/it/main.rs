//! The rules of the ledger, as tables and as properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod authors;
mod bundles;
mod endings;
mod lives;
mod properties;
mod sim;
mod table;
mod units;
