//! A chain that an operator sees differently from the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use eigenshift_chain::{
    Chain, EmbeddedChain, Error, Header, Log, LogFilter, Receipt, SignedTransaction, TransactionRequest, Wallet,
};
use eigenshift_types::{Address, B256, Bytes};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What one operator does not get to see: receipts, as if its chain had been reorganised, or blocks by their hash, as if it
/// were behind.
#[derive(Clone, Default)]
pub struct Sight(Arc<Mutex<Hidden>>);

#[derive(Default)]
struct Hidden {
    all: bool,
    some: BTreeSet<B256>,
    blocks: bool,
}

impl Sight {
    pub fn hide_all(&self) {
        self.0.lock().all = true;
    }

    pub fn show_all(&self) {
        *self.0.lock() = Hidden::default();
    }

    /// It answers no task, since it does not know the task's block.
    pub fn hide_blocks(&self) {
        self.0.lock().blocks = true;
    }

    /// From now on all but this one are seen.
    pub fn hide_only(&self, tx: B256) {
        let mut hidden = self.0.lock();
        hidden.all = false;
        hidden.some.insert(tx);
    }

    fn hides(&self, tx: B256) -> bool {
        let hidden = self.0.lock();
        hidden.all || hidden.some.contains(&tx)
    }
}

pub struct Forgetful {
    pub chain: Arc<EmbeddedChain>,
    pub sight: Sight,
}

#[async_trait]
impl Chain for Forgetful {
    fn chain_id(&self) -> u64 {
        self.chain.chain_id()
    }

    async fn head(&self) -> Result<Header, Error> {
        self.chain.head().await
    }

    async fn finalized(&self) -> Result<Header, Error> {
        self.chain.finalized().await
    }

    async fn header_by_number(&self, number: u64) -> Result<Option<Header>, Error> {
        self.chain.header_by_number(number).await
    }

    async fn header_by_hash(&self, hash: B256) -> Result<Option<Header>, Error> {
        if self.sight.0.lock().blocks { Ok(None) } else { self.chain.header_by_hash(hash).await }
    }

    async fn call(&self, to: Address, data: Bytes, at: B256) -> Result<Bytes, Error> {
        self.chain.call(to, data, at).await
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        self.chain.logs(filter).await
    }

    async fn transaction_count(&self, account: Address) -> Result<u64, Error> {
        self.chain.transaction_count(account).await
    }

    async fn prepare(
        &self,
        wallet: &Wallet,
        request: &TransactionRequest,
        nonce: u64,
        bump: u32,
    ) -> Result<SignedTransaction, Error> {
        self.chain.prepare(wallet, request, nonce, bump).await
    }

    async fn send(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        self.chain.send(transaction).await
    }

    async fn receipt(&self, tx: B256) -> Result<Option<Receipt>, Error> {
        if self.sight.hides(tx) { Ok(None) } else { self.chain.receipt(tx).await }
    }

    fn heads(&self) -> watch::Receiver<Header> {
        self.chain.heads()
    }
}
