//! The chain itself: what its one thread does.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use alloy::consensus;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use eigenshift_env::{Clock, Env};
use eigenshift_types::BlockRef;
use revm::context::BlockEnv;
use revm::context::result::{ExecutionResult, Output};
use tokio::sync::watch;

use super::EmbeddedOptions;
use super::evm::{self, BASE_FEE, BLOCK_GAS, CALL_GAS};
use super::pool::{Checked, Pool};
use super::state::{State, View};
use crate::{Error, Header, Log, LogFilter, Receipt, SignedTransaction, TransactionRequest};

const MAX_LOGS: usize = 10_000;
const MIN_HISTORY: u64 = 256;

struct Block {
    header: Header,
    transactions: Vec<B256>,
    logs: Vec<Log>,
}

/// The kept blocks. Invariant: never empty; numbers are consecutive; `by_hash` holds exactly these.
struct Blocks {
    head: Header,
    kept: VecDeque<Block>,
    by_hash: HashMap<B256, u64>,
}

impl Blocks {
    fn first(&self) -> u64 {
        self.kept.front().map_or(self.head.block.number, |block| block.header.block.number)
    }

    fn get(&self, number: u64) -> Option<&Block> {
        let position = number.checked_sub(self.first())?;
        self.kept.get(usize::try_from(position).ok()?)
    }

    fn hash(&self, number: u64) -> Option<B256> {
        self.get(number).map(|block| block.header.block.hash)
    }

    fn push(&mut self, block: Block) {
        self.head = block.header;
        self.by_hash.insert(block.header.block.hash, block.header.block.number);
        self.kept.push_back(block);
    }
}

/// What a transaction did, before its block has a hash.
struct Done {
    hash: B256,
    success: bool,
    contract: Option<Address>,
    logs: Vec<alloy_primitives::Log>,
    gas_used: u64,
}

pub(super) struct Node {
    chain_id: u64,
    finality_depth: u64,
    start_time: u64,
    history: u64,
    clock: Arc<dyn Clock>,
    started: Duration,
    blocks: Blocks,
    state: State,
    pool: Pool,
    receipts: HashMap<B256, Receipt>,
    heads: watch::Sender<Header>,
}

impl Node {
    pub(super) fn new(options: EmbeddedOptions, env: &Env) -> (Self, watch::Receiver<Header>) {
        let mut state = State::default();
        for account in &options.funded {
            state.fund(*account, U256::from(10).pow(U256::from(24)));
        }
        let genesis = consensus::Header {
            timestamp: options.start_time,
            gas_limit: BLOCK_GAS,
            base_fee_per_gas: Some(BASE_FEE),
            // Block hashes of two chains never meet, so that data kept from one is not mistaken for the other's.
            mix_hash: B256::from(env.random_32()),
            ..consensus::Header::default()
        };
        let hash = genesis.hash_slow();
        let header = Header { block: BlockRef { number: 0, hash }, parent: B256::ZERO, timestamp: options.start_time };
        let (heads, receiver) = watch::channel(header);
        let mut blocks = Blocks { head: header, kept: VecDeque::new(), by_hash: HashMap::new() };
        blocks.push(Block { header, transactions: Vec::new(), logs: Vec::new() });
        let node = Self {
            chain_id: options.chain_id,
            finality_depth: options.finality_depth,
            start_time: options.start_time,
            history: options.history.max(MIN_HISTORY),
            clock: Arc::clone(&env.clock),
            started: env.clock.monotonic(),
            blocks,
            state,
            pool: Pool::default(),
            receipts: HashMap::new(),
            heads,
        };
        (node, receiver)
    }

    fn head(&self) -> Header {
        self.blocks.head
    }

    pub(super) fn finalized(&self) -> Option<Header> {
        self.by_number(self.head().block.number.saturating_sub(self.finality_depth))
    }

    pub(super) fn by_number(&self, number: u64) -> Option<Header> {
        self.blocks.get(number).map(|block| block.header)
    }

    pub(super) fn by_hash(&self, hash: B256) -> Option<Header> {
        self.by_number(*self.blocks.by_hash.get(&hash)?)
    }

    pub(super) fn nonce(&self, account: Address) -> u64 {
        self.state.nonce(account, self.head().block.number)
    }

    pub(super) fn receipt(&self, tx: B256) -> Option<Receipt> {
        self.receipts.get(&tx).cloned()
    }

    pub(super) fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        if filter.from > filter.to {
            return Err(Error::InvalidInput("a range of blocks that ends before it begins".to_owned()));
        }
        let first = self.blocks.first();
        if filter.from < first {
            return Err(Error::refused(-32000, &format!("logs before block {first} are not kept")));
        }
        let wanted = |log: &&Log| {
            let event = |topic: &B256| filter.topics0.is_empty() || filter.topics0.contains(topic);
            log.address == filter.address && (filter.topics0.is_empty() || log.topics.first().is_some_and(event))
        };
        let last = filter.to.min(self.head().block.number);
        let blocks = (filter.from..=last).filter_map(|number| self.blocks.get(number));
        let logs: Vec<Log> = blocks.flat_map(|block| &block.logs).filter(wanted).take(MAX_LOGS + 1).cloned().collect();
        if logs.len() > MAX_LOGS { Err(Error::TooLarge { max: MAX_LOGS, unit: "logs" }) } else { Ok(logs) }
    }

    pub(super) fn call(&self, to: Address, data: Bytes, at: B256) -> Result<Bytes, Error> {
        let header = self.by_hash(at).ok_or(Error::UnknownBlock(at))?;
        let block = block_env(header.block.number, header.timestamp, header.parent);
        let input = (data, U256::ZERO, CALL_GAS);
        let hashes = |number| self.blocks.hash(number);
        let view = View { state: &self.state, at: header.block.number, hashes: &hashes };
        Ok(evm::simulate(view, self.chain_id, block, Address::ZERO, TxKind::Call(to), input)?.0)
    }

    /// Gas that a transaction would spend in the next block.
    pub(super) fn estimate(&self, from: Address, request: &TransactionRequest) -> Result<u64, Error> {
        let head = self.head();
        let block = block_env(head.block.number + 1, self.next_timestamp(), head.block.hash);
        let input = (request.data.clone(), request.value, request.gas.unwrap_or(BLOCK_GAS));
        let kind = request.to.map_or(TxKind::Create, TxKind::Call);
        let hashes = |number| self.blocks.hash(number);
        let view = View { state: &self.state, at: head.block.number, hashes: &hashes };
        Ok(evm::simulate(view, self.chain_id, block, from, kind, input)?.1)
    }

    pub(super) fn submit(&mut self, transaction: &SignedTransaction) -> Result<(), Error> {
        transaction.check_hash()?;
        let checked = Checked::decode(&transaction.raw, self.chain_id)?;
        if self.receipts.contains_key(&checked.hash) {
            return Ok(());
        }
        let (from, nonce) = (checked.from, checked.body.nonce);
        let next = self.nonce(from);
        if nonce < next {
            return Err(Error::NonceUsed { from, nonce });
        }
        let gas = U256::from(checked.body.gas_limit).saturating_mul(U256::from(checked.body.max_fee_per_gas));
        if self.state.balance(from, self.head().block.number) < gas.saturating_add(checked.body.value) {
            return Err(Error::refused(-32000, "insufficient funds for gas and value"));
        }
        self.pool.add(checked, next)
    }

    /// Makes the next block of whatever transactions wait.
    pub(super) fn mine(&mut self) -> Header {
        let parent = self.head();
        let number = parent.block.number + 1;
        let timestamp = self.next_timestamp();
        let done = self.execute(number, timestamp, parent.block.hash);

        let hashes: Vec<B256> = done.iter().map(|done| done.hash).collect();
        let outcomes: Vec<u8> = done.iter().map(|done| u8::from(done.success)).collect();
        let transactions_root = keccak256(hashes.concat());
        let sealed = consensus::Header {
            parent_hash: parent.block.hash,
            number,
            timestamp,
            gas_limit: BLOCK_GAS,
            gas_used: done.iter().map(|done| done.gas_used).sum(),
            base_fee_per_gas: Some(BASE_FEE),
            mix_hash: randomness(parent.block.hash),
            transactions_root,
            receipts_root: keccak256(outcomes),
            state_root: keccak256([parent.block.hash, transactions_root].concat()),
            ..consensus::Header::default()
        };
        let block = BlockRef { number, hash: sealed.hash_slow() };
        let header = Header { block, parent: parent.block.hash, timestamp };

        let mut logs = Vec::new();
        for done in done {
            let own = logs.len();
            for log in done.logs {
                let index = u32::try_from(logs.len()).unwrap_or(u32::MAX);
                let (topics, data) = (log.data.topics().to_vec(), log.data.data.clone());
                logs.push(Log { address: log.address, topics, data, block, tx: done.hash, index });
            }
            let receipt = Receipt {
                tx: done.hash,
                block,
                success: done.success,
                contract: done.contract,
                logs: logs.iter().skip(own).cloned().collect(),
            };
            self.receipts.insert(done.hash, receipt);
        }
        self.blocks.push(Block { header, transactions: hashes, logs });
        self.forget();
        self.heads.send_replace(header);
        header
    }

    fn execute(&mut self, number: u64, timestamp: u64, parent: B256) -> Vec<Done> {
        let horizon = (number + 1).saturating_sub(self.history);
        let mut gas = BLOCK_GAS;
        let mut done = Vec::new();
        loop {
            let state = &self.state;
            let Some(transaction) = self.pool.next(|account| state.nonce(account, number), gas) else {
                return done;
            };
            let hashes = |number| self.blocks.hash(number);
            let view = View { state: &self.state, at: number, hashes: &hashes };
            let block = block_env(number, timestamp, parent);
            let run = match evm::transact(view, self.chain_id, block, transaction.to_env(), true) {
                Ok(run) => run,
                // Valid when it came, no longer so: its sender has spent the funds since.
                Err(error) => {
                    tracing::debug!(tx = %transaction.hash, %error, "a waiting transaction became invalid");
                    continue;
                }
            };
            let gas_used = run.result.gas().tx_gas_used();
            gas = gas.saturating_sub(gas_used);
            let (success, contract, logs) = match run.result {
                ExecutionResult::Success { logs, output: Output::Create(_, contract), .. } => (true, contract, logs),
                ExecutionResult::Success { logs, .. } => (true, None, logs),
                ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => (false, None, Vec::new()),
            };
            self.state.apply(number, horizon, run.state);
            done.push(Done { hash: transaction.hash, success, contract, logs, gas_used });
        }
    }

    fn forget(&mut self) {
        while self.blocks.kept.len() as u64 > self.history {
            let Some(block) = self.blocks.kept.pop_front() else {
                return;
            };
            self.blocks.by_hash.remove(&block.header.block.hash);
            for tx in block.transactions {
                self.receipts.remove(&tx);
            }
        }
    }

    fn next_timestamp(&self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_sub(self.started).as_secs();
        self.start_time.saturating_add(elapsed).max(self.head().timestamp)
    }
}

fn randomness(parent: B256) -> B256 {
    keccak256([b"randomness".as_slice(), parent.as_slice()].concat())
}

fn block_env(number: u64, timestamp: u64, parent: B256) -> BlockEnv {
    BlockEnv {
        number: U256::from(number),
        timestamp: U256::from(timestamp),
        gas_limit: BLOCK_GAS,
        basefee: BASE_FEE,
        prevrandao: Some(randomness(parent)),
        ..BlockEnv::default()
    }
}
