//! The chain reads that a plugin is given.
//!
//! The host checks arguments, sizes, quotas and the bound before it asks the reader; the reader answers from the chain.

use async_trait::async_trait;
use eigenshift_types::{Address, B256, BlockRef, Bytes};

use crate::values::{EventLog, Header};

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainReadError {
    /// The contract reverted, with this data.
    #[error("the contract reverted with {0}")]
    Reverted(Bytes),
    /// The block is unknown to this node, or not an ancestor of the bound.
    #[error("the block is unknown to this node's endpoint, or not an ancestor of the block of the call")]
    UnknownBlock,
    /// The endpoint does not take the arguments.
    #[error("the endpoint refuses the arguments: {0}")]
    InvalidArgument(String),
    /// The endpoint did not answer: worth a retry.
    #[error("the endpoint did not answer: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Reads one chain. Blocks are named by hash, so that two operators can never read different states for one task.
///
/// Every method may take as long as it likes: the call's deadline drops it. It runs on the runtime of whoever called the
/// plugin.
#[async_trait]
pub trait ChainReader: Send + Sync {
    /// Calls a contract in the state after block `at` (EIP-1898: by hash, canonical required).
    ///
    /// # Errors
    /// [`ChainReadError`].
    async fn call(&self, to: Address, data: Bytes, at: BlockRef) -> Result<Bytes, ChainReadError>;

    /// Logs of `address` whose first topic is one of `topics0` (all if empty), in blocks `from` to `to` inclusive of the
    /// chain that ends in `bound`.
    ///
    /// # Errors
    /// [`ChainReadError`].
    async fn logs(
        &self,
        address: Address,
        topics0: &[B256],
        from: u64,
        to: u64,
        bound: BlockRef,
    ) -> Result<Vec<EventLog>, ChainReadError>;

    /// The header of block `number` (none: of `bound`) of the chain that ends in `bound`.
    ///
    /// # Errors
    /// [`ChainReadError`].
    async fn header(&self, number: Option<u64>, bound: BlockRef) -> Result<Header, ChainReadError>;

    /// The block of that number of the chain that ends in `bound`; `number` is below `bound`'s.
    ///
    /// # Errors
    /// [`ChainReadError`].
    async fn at_number(&self, number: u64, bound: BlockRef) -> Result<BlockRef, ChainReadError>;
}
