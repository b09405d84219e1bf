//! What EigenShift needs of a chain.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use eigenshift_types::BlockRef;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Error, Wallet};

/// A block's header, as far as anybody here needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The block.
    pub block: BlockRef,
    /// Its parent's hash.
    pub parent: B256,
    /// Seconds since 1970. Never below the parent's.
    pub timestamp: u64,
}

/// Which logs are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// The contract.
    pub address: Address,
    /// Event signatures (first topics), any of them; empty for all events.
    pub topics0: Vec<B256>,
    /// First block.
    pub from: u64,
    /// Last block, itself included.
    pub to: u64,
}

/// An event of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// Up to four topics.
    pub topics: Vec<B256>,
    /// What is not indexed, ABI-encoded.
    pub data: Bytes,
    /// The block it is in.
    pub block: BlockRef,
    /// The transaction that caused it.
    pub tx: B256,
    /// Its number among the logs of the block.
    pub index: u32,
}

/// What a transaction shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionRequest {
    /// The contract; none to deploy one.
    pub to: Option<Address>,
    /// Calldata, or init code with constructor arguments.
    pub data: Bytes,
    /// Wei sent along.
    pub value: U256,
    /// Gas limit; none to estimate it and add a margin.
    pub gas: Option<u64>,
}

impl TransactionRequest {
    /// A call of a contract, without value.
    #[must_use]
    pub fn call(to: Address, data: impl Into<Bytes>) -> Self {
        Self { to: Some(to), data: data.into(), ..Self::default() }
    }
}

/// A signed transaction, ready to be sent again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// Its hash.
    pub hash: B256,
    /// EIP-2718 bytes.
    pub raw: Bytes,
    /// The sender's nonce.
    pub nonce: u64,
    /// The sender.
    pub from: Address,
    /// keccak256 of the calldata.
    pub calldata_hash: B256,
}

impl SignedTransaction {
    /// A transaction under a foreign hash would never be found again.
    pub(crate) fn check_hash(&self) -> Result<(), Error> {
        if keccak256(&self.raw) == self.hash {
            Ok(())
        } else {
            Err(Error::InvalidInput("the hash is not that of the transaction's bytes".to_owned()))
        }
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The transaction.
    pub tx: B256,
    /// The block it is in.
    pub block: BlockRef,
    /// Whether it did what it was meant to; a reverted one is mined all the same and uses up its nonce.
    pub success: bool,
    /// The contract it deployed.
    pub contract: Option<Address>,
    /// Its events.
    pub logs: Vec<Log>,
}

/// Access to one chain. Cheap to share; all methods may be called at once.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// EIP-155 chain id.
    fn chain_id(&self) -> u64;

    /// The newest block.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its like.
    async fn head(&self) -> Result<Header, Error>;

    /// The newest block that cannot be replaced any more.
    ///
    /// # Errors
    /// [`Error::NotFinalized`] on a young chain.
    async fn finalized(&self) -> Result<Header, Error>;

    /// The canonical block of a number; none if it is not there yet, or too long ago.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its like.
    async fn header_by_number(&self, number: u64) -> Result<Option<Header>, Error>;

    /// The block of a hash; none if this chain access does not know it. An orphaned block may still be known:
    /// [`Chain::is_canonical`] tells.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its like.
    async fn header_by_hash(&self, hash: B256) -> Result<Option<Header>, Error>;

    /// Reads a contract as it is at the end of the block `at`, which is on the canonical chain.
    ///
    /// # Errors
    /// [`Error::Reverted`], [`Error::UnknownBlock`].
    async fn call(&self, to: Address, data: Bytes, at: B256) -> Result<Bytes, Error>;

    /// The logs of a contract in a range of blocks, in the chain's order.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than the limit; [`Error::InvalidInput`] for a range that ends before it begins.
    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error>;

    /// The account's next nonce, by mined transactions.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its like.
    async fn transaction_count(&self, account: Address) -> Result<u64, Error>;

    /// Simulates the request on the newest state, fills in gas and fees, and signs. `bump` says that this is the n-th
    /// replacement of the transaction with that nonce: fees rise by at least 12.5 % per step, over what a pool asks for
    /// (10 %).
    ///
    /// # Errors
    /// [`Error::Reverted`] when the simulation does; [`Error::FeeTooHigh`].
    async fn prepare(
        &self,
        wallet: &Wallet,
        request: &TransactionRequest,
        nonce: u64,
        bump: u32,
    ) -> Result<SignedTransaction, Error>;

    /// Hands a transaction to the chain. That it is already known, waiting or mined, is no error.
    ///
    /// # Errors
    /// [`Error::NonceUsed`] when another transaction was mined with its nonce; [`Error::Refused`].
    async fn send(&self, transaction: &SignedTransaction) -> Result<(), Error>;

    /// The receipt of a mined transaction; none while it is not in a block (any more).
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its like.
    async fn receipt(&self, tx: B256) -> Result<Option<Receipt>, Error>;

    /// The newest block, whenever it changes. Some blocks may be skipped.
    fn heads(&self) -> watch::Receiver<Header>;

    /// Whether a block is on the canonical chain now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its like.
    async fn is_canonical(&self, block: BlockRef) -> Result<bool, Error> {
        Ok(self.header_by_number(block.number).await?.is_some_and(|header| header.block == block))
    }
}
