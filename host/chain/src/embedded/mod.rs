//! A chain in this process: the EVM (revm), blocks on a timer, finality after some depth. For demos and tests.
//!
//! One thread owns everything; handles send it work over a bounded queue, so that the EVM never holds up the async
//! runtime. State is kept for the last [`EmbeddedOptions::history`] blocks, each value with the block it was written in.
//!
//! Real: execution and gas (Prague, all its precompiles but the one for blobs), signatures, nonces, fees, receipts, logs,
//! parent hashes. Not real: the roots in a header commit to the block's transactions without being tries; the base fee
//! stays; nothing is ever reorganised; nothing survives the process.

mod evm;
mod node;
mod pool;
mod state;

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use eigenshift_env::Env;
use tokio::sync::{mpsc, oneshot, watch};

use self::node::Node;
use crate::fees::{Fees, gas_limit};
use crate::{Chain, Error, Header, Log, LogFilter, Receipt, SignedTransaction, TransactionRequest, Wallet};

/// Work that waits for the chain's thread; more makes callers wait.
const QUEUE: usize = 256;

/// Wei per gas that prepared transactions offer above the base fee.
const TIP: u128 = 1_000_000_000;

/// How an embedded chain is set up.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Time between blocks, at least a millisecond. Blocks come without transactions too, so that finality moves.
    pub block_interval: Duration,
    /// A block is final when it has this many on top.
    pub finality_depth: u64,
    /// Accounts with a million ether each at the start.
    pub funded: Vec<Address>,
    /// Timestamp of block 0, seconds since 1970. Later ones follow the monotonic clock; blocks less than a second apart
    /// may have the same one.
    pub start_time: u64,
    /// How many blocks are kept with their state, logs and receipts; at least 256.
    pub history: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            chain_id: 31337,
            block_interval: Duration::from_millis(200),
            finality_depth: 2,
            funded: Vec::new(),
            start_time: 1_767_225_600,
            history: 16_384,
        }
    }
}

type Job = Box<dyn FnOnce(&mut Node) + Send>;

/// A handle to an embedded chain. Cheap to clone; the chain ends with the last one.
#[derive(Clone)]
pub struct EmbeddedChain {
    chain_id: u64,
    jobs: mpsc::Sender<Job>,
    heads: watch::Receiver<Header>,
}

impl EmbeddedChain {
    /// Starts a chain, within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for an interval below a millisecond; [`Error::Unavailable`] when there is no thread to be had.
    pub fn start(options: EmbeddedOptions, env: &Env) -> Result<Self, Error> {
        if options.block_interval < Duration::from_millis(1) {
            return Err(Error::InvalidInput("block_interval: at least a millisecond".to_owned()));
        }
        let (chain_id, interval) = (options.chain_id, options.block_interval);
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let (mut node, heads) = Node::new(options, env);
        let body = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut node);
            }
        };
        env.threads
            .spawn("embedded-chain", Box::new(body))
            .map_err(|error| Error::Unavailable(format!("no thread for the embedded chain: {error}")))?;

        let ticks = jobs.downgrade();
        let clock = std::sync::Arc::clone(&env.clock);
        env.spawn(async move {
            loop {
                clock.sleep(interval).await;
                let Some(jobs) = ticks.upgrade() else { return };
                let mine: Job = Box::new(|node| {
                    node.mine();
                });
                if jobs.send(mine).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { chain_id, jobs, heads })
    }

    /// Mines a block now, with whatever transactions wait.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn mine_now(&self) -> Result<Header, Error> {
        self.ask(Node::mine).await
    }

    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Node) -> T + Send + 'static) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |node| {
            // Whoever asked may be gone: then the work is not done, unless it has begun.
            if !reply.is_closed() {
                let _ = reply.send(work(node));
            }
        });
        self.jobs.send(job).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)
    }
}

#[async_trait]
impl Chain for EmbeddedChain {
    fn chain_id(&self) -> u64 {
        self.chain_id
    }

    async fn head(&self) -> Result<Header, Error> {
        Ok(*self.heads.borrow())
    }

    async fn finalized(&self) -> Result<Header, Error> {
        self.ask(|node| node.finalized()).await?.ok_or(Error::NotFinalized)
    }

    async fn header_by_number(&self, number: u64) -> Result<Option<Header>, Error> {
        self.ask(move |node| node.by_number(number)).await
    }

    async fn header_by_hash(&self, hash: B256) -> Result<Option<Header>, Error> {
        self.ask(move |node| node.by_hash(hash)).await
    }

    async fn call(&self, to: Address, data: Bytes, at: B256) -> Result<Bytes, Error> {
        self.ask(move |node| node.call(to, data, at)).await?
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        let filter = filter.clone();
        self.ask(move |node| node.logs(&filter)).await?
    }

    async fn transaction_count(&self, account: Address) -> Result<u64, Error> {
        self.ask(move |node| node.nonce(account)).await
    }

    async fn prepare(
        &self,
        wallet: &Wallet,
        request: &TransactionRequest,
        nonce: u64,
        bump: u32,
    ) -> Result<SignedTransaction, Error> {
        let (from, simulated) = (wallet.address(), request.clone());
        let estimate = self.ask(move |node| node.estimate(from, &simulated)).await??;
        let gas = request.gas.unwrap_or_else(|| gas_limit(estimate));
        let fees = Fees::for_base_fee(evm::BASE_FEE.into(), TIP).bumped(bump);
        wallet.sign_transaction(self.chain_id, request, nonce, gas, fees)
    }

    async fn send(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        let transaction = transaction.clone();
        self.ask(move |node| node.submit(&transaction)).await?
    }

    async fn receipt(&self, tx: B256) -> Result<Option<Receipt>, Error> {
        self.ask(move |node| node.receipt(tx)).await
    }

    fn heads(&self) -> watch::Receiver<Header> {
        self.heads.clone()
    }
}
