//! What can go wrong on the way to a chain.

use alloy_primitives::{Address, B256, Bytes};

/// Why a chain did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The contract reverted, with this data (the ABI-encoded error; may be empty). The same call fails the same way.
    #[error("the contract reverted with {0}")]
    Reverted(Bytes),
    /// The block is not on the canonical chain of this endpoint, or its state is gone. A node that lags behind knows it
    /// later: ask again, until the task expires.
    #[error("block {0} is unknown, orphaned, or too old for this chain access")]
    UnknownBlock(B256),
    /// Nothing is final yet.
    #[error("the chain has finalized no block yet: ask again later")]
    NotFinalized,
    /// Another transaction of this account has taken the nonce. Look at the chain before anything is sent again.
    #[error("nonce {nonce} of {from} is used by another transaction")]
    NonceUsed {
        /// Account.
        from: Address,
        /// Its nonce.
        nonce: u64,
    },
    /// The chain refused the request and gave no revert data: no funds, fees too low, gas exhausted, malformed. Sending
    /// the same again does not help; for a stuck transaction, a replacement with higher fees may.
    #[error("refused (code {code}): {message}")]
    Refused {
        /// JSON-RPC error code, or HTTP status.
        code: i64,
        /// For people; at most 256 characters of the endpoint's own words.
        message: String,
    },
    /// The endpoint did not answer, or said that it has too much to do. Try again after a pause, or use another one.
    #[error("the chain cannot be reached now: {0}")]
    Unavailable(String),
    /// It took longer than allowed. Try again.
    #[error("{what} took longer than allowed")]
    Timeout {
        /// What was waited for.
        what: &'static str,
    },
    /// The answer is larger than this node accepts. Ask for less (a shorter range of blocks), or raise the limit.
    #[error("the answer is larger than {max} {unit}: ask for less, or raise the limit")]
    TooLarge {
        /// The limit.
        max: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// The endpoint serves another chain than configured. Correct the URL or the chain id.
    #[error("the endpoint serves chain {found}, not {expected}: correct the URL or the chain id")]
    WrongChain {
        /// Configured.
        expected: u64,
        /// Served.
        found: u64,
    },
    /// The answer is not what was asked for: the endpoint or the contract at this address is not what it should be.
    #[error("the answer is not usable: {0}; check the endpoint and the contract's address")]
    Malformed(String),
    /// The caller's own input is not usable.
    #[error("not usable: {0}")]
    InvalidInput(String),
    /// A replacement would cost more per gas than the operator allows. Raise `max_fee_per_gas`, or wait.
    #[error("a fee of {fee} wei per gas is above the limit of {max}: raise max_fee_per_gas, or wait")]
    FeeTooHigh {
        /// What it would be.
        fee: u128,
        /// What is allowed.
        max: u128,
    },
    /// A transaction of set-up code was mined and failed.
    #[error("transaction {0} was mined and failed")]
    TransactionFailed(B256),
    /// The embedded chain's thread has ended: the host is shutting down.
    #[error("the embedded chain has stopped")]
    Stopped,
}

impl Error {
    /// Whether the same request may well succeed after a pause.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout { .. } | Self::NotFinalized)
    }

    pub(crate) fn refused(code: i64, message: &str) -> Self {
        Self::Refused { code, message: shortened(message) }
    }

    pub(crate) fn malformed(what: impl std::fmt::Display) -> Self {
        Self::Malformed(shortened(&what.to_string()))
    }
}

/// At most 256 characters, without control characters: the text comes from outside and ends up in logs.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(256).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
