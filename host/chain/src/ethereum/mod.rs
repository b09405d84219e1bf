//! An Ethereum endpoint: JSON-RPC over HTTP through alloy, with polling.

pub mod anvil;
mod convert;
mod shared;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::Ethereum;
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{Block, Filter, TransactionInput, TransactionRequest as RpcRequest};
use alloy_primitives::{Address, B256, Bytes, TxKind};
use async_trait::async_trait;
use eigenshift_env::{Clock, Env};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::convert::{plain, simulated};
pub use self::shared::Endpoints;
use self::transport::BoundedHttp;
use crate::fees::{Fees, gas_limit};
use crate::{Chain, Error, Header, Log, LogFilter, Receipt, SignedTransaction, TransactionRequest, Wallet};

/// JSON-RPC: method not found.
const NO_SUCH_METHOD: i64 = -32601;

/// Wei per gas for the block's builder where the endpoint has no opinion.
const DEFAULT_TIP: u128 = 1_000_000_000;

/// Of how many transactions the fees are remembered.
const REMEMBERED_FEES: usize = 1024;

/// How an endpoint is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthereumOptions {
    /// Which chain it must serve; none for whichever it does.
    pub chain_id: Option<u64>,
    /// Time between looks at the newest block.
    pub poll_interval: Duration,
    /// How long one request may take, waiting for its turn included.
    pub request_timeout: Duration,
    /// Requests at once; more wait.
    pub max_in_flight: usize,
    /// Bytes of one answer.
    pub max_response_bytes: usize,
    /// Logs of one [`Chain::logs`].
    pub max_logs: usize,
    /// Blocks per `eth_getLogs`; a longer range is asked for in parts. Many providers limit it.
    pub max_log_range: u64,
    /// The most that is ever offered, wei per gas: what a replaced transaction may cost in the end.
    pub max_fee_per_gas: u128,
    /// Certificates (PEM) trusted for https besides the system's.
    pub extra_roots_pem: Option<String>,
}

impl Default for EthereumOptions {
    fn default() -> Self {
        Self {
            chain_id: None,
            poll_interval: Duration::from_secs(1),
            request_timeout: Duration::from_secs(10),
            max_in_flight: 32,
            max_response_bytes: 8 * 1024 * 1024,
            max_logs: 10_000,
            max_log_range: 2_000,
            max_fee_per_gas: 1_000_000_000_000,
            extra_roots_pem: None,
        }
    }
}

/// An endpoint in use. Cheap to clone; polling ends with the last clone.
#[derive(Clone)]
pub struct EthereumChain(Arc<Inner>);

struct Inner {
    provider: RootProvider<Ethereum>,
    chain_id: u64,
    options: EthereumOptions,
    heads: watch::Receiver<Header>,
    /// What was offered last per account and nonce, and at which bump: a replacement must go above it even when the base
    /// fee fell in between. Lost at a restart; then the bump alone has to do.
    offered: Mutex<BTreeMap<(Address, u64), (u32, Fees)>>,
}

impl EthereumChain {
    /// Connects, within a tokio runtime: asks for the chain id and the newest block, and begins to poll.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for an unusable URL or certificate; [`Error::WrongChain`]; [`Error::Unavailable`].
    pub async fn connect(url: &str, options: EthereumOptions, env: &Env) -> Result<Self, Error> {
        let transport = BoundedHttp::new(url, &options, Arc::clone(&env.clock))?;
        let provider = RootProvider::new(RpcClient::new(transport, false));
        let chain_id = provider.get_chain_id().await.map_err(plain)?;
        if let Some(expected) = options.chain_id.filter(|expected| *expected != chain_id) {
            return Err(Error::WrongChain { expected, found: chain_id });
        }
        let head = header_at(&provider, BlockId::latest()).await?;
        let head = head.ok_or_else(|| Error::malformed("the endpoint has no newest block"))?;
        let (sender, heads) = watch::channel(head);
        let interval = options.poll_interval;
        let inner = Arc::new(Inner { provider, chain_id, options, heads, offered: Mutex::default() });
        env.spawn(poll(Arc::downgrade(&inner), sender, Arc::clone(&env.clock), interval));
        Ok(Self(inner))
    }

    /// Any request, for development nodes: `anvil_*`, `evm_*`.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unavailable`] and its like.
    pub async fn raw_request(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, Error> {
        self.0.provider.raw_request(method.to_owned().into(), params).await.map_err(plain)
    }

    async fn block(&self, at: BlockId) -> Result<Option<Block>, Error> {
        self.0.provider.get_block(at).hashes().await.map_err(plain)
    }

    /// What an error means that may come from not knowing the block: nodes agree on neither code nor text, so the chain
    /// itself is asked.
    async fn explained(&self, error: Error, at: B256) -> Error {
        if !matches!(error, Error::Refused { .. } | Error::Malformed(_)) {
            return error;
        }
        match self.header_by_hash(at).await {
            Ok(Some(header)) => match self.is_canonical(header.block).await {
                Ok(true) => error,
                Ok(false) => Error::UnknownBlock(at),
                Err(unclear) => unclear,
            },
            Ok(None) => Error::UnknownBlock(at),
            Err(unclear) => unclear,
        }
    }

    async fn fees(&self, from: Address, nonce: u64, bump: u32) -> Result<Fees, Error> {
        let head = self.block(BlockId::latest()).await?;
        let base_fee = head
            .and_then(|head| head.header.inner.base_fee_per_gas)
            .ok_or_else(|| Error::malformed("the newest block has no base fee: a chain without EIP-1559"))?;
        let tip = match self.0.provider.get_max_priority_fee_per_gas().await.map_err(plain) {
            Err(Error::Refused { code: NO_SUCH_METHOD, .. }) => DEFAULT_TIP,
            // A pool takes 10 % more of nothing as a replacement, a builder does not take nothing.
            tip => tip?.max(1),
        };
        let mut fees = Fees::for_base_fee(base_fee.into(), tip).bumped(bump);
        let mut offered = self.0.offered.lock();
        if let Some((last_bump, last)) = offered.get(&(from, nonce))
            && let Some(steps) = bump.checked_sub(*last_bump)
        {
            fees = fees.at_least(last.bumped(steps));
        }
        let max = self.0.options.max_fee_per_gas;
        if fees.max > max {
            return Err(Error::FeeTooHigh { fee: fees.max, max });
        }
        offered.insert((from, nonce), (bump, fees));
        while offered.len() > REMEMBERED_FEES {
            offered.pop_first();
        }
        Ok(fees)
    }
}

async fn header_at(provider: &RootProvider<Ethereum>, at: BlockId) -> Result<Option<Header>, Error> {
    let block = provider.get_block(at).hashes().await.map_err(plain)?;
    Ok(block.as_ref().map(convert::header))
}

async fn poll(inner: Weak<Inner>, heads: watch::Sender<Header>, clock: Arc<dyn Clock>, interval: Duration) {
    loop {
        clock.sleep(interval).await;
        let Some(inner) = inner.upgrade() else { return };
        match header_at(&inner.provider, BlockId::latest()).await {
            Ok(Some(head)) => {
                heads.send_if_modified(|last| {
                    let changed = *last != head;
                    *last = head;
                    changed
                });
            }
            Ok(None) => tracing::debug!("the endpoint has no newest block"),
            Err(error) => tracing::debug!(%error, "looking at the newest block failed"),
        }
    }
}

#[async_trait]
impl Chain for EthereumChain {
    fn chain_id(&self) -> u64 {
        self.0.chain_id
    }

    async fn head(&self) -> Result<Header, Error> {
        let head = header_at(&self.0.provider, BlockId::latest()).await?;
        head.ok_or_else(|| Error::malformed("the endpoint has no newest block"))
    }

    async fn finalized(&self) -> Result<Header, Error> {
        header_at(&self.0.provider, BlockId::finalized()).await?.ok_or(Error::NotFinalized)
    }

    async fn header_by_number(&self, number: u64) -> Result<Option<Header>, Error> {
        let header = header_at(&self.0.provider, BlockId::Number(BlockNumberOrTag::Number(number))).await?;
        match header {
            Some(header) if header.block.number != number => Err(Error::malformed("a block of another number")),
            header => Ok(header),
        }
    }

    async fn header_by_hash(&self, hash: B256) -> Result<Option<Header>, Error> {
        let header = header_at(&self.0.provider, BlockId::hash(hash)).await?;
        match header {
            Some(header) if header.block.hash != hash => Err(Error::malformed("a block of another hash")),
            header => Ok(header),
        }
    }

    async fn call(&self, to: Address, data: Bytes, at: B256) -> Result<Bytes, Error> {
        let request = rpc_request(&TransactionRequest::call(to, data));
        // EIP-1898 with requireCanonical: an orphan's state is no answer.
        match self.0.provider.call(request).block(BlockId::hash_canonical(at)).await {
            Ok(output) => Ok(output),
            Err(error) => Err(self.explained(simulated(error), at).await),
        }
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        if filter.from > filter.to {
            return Err(Error::InvalidInput("a range of blocks that ends before it begins".to_owned()));
        }
        let max = self.0.options.max_logs;
        // Beyond the newest block there is nothing, and a caller's "to the end" must not become a thousand requests.
        let end = filter.to.min(self.head().await?.block.number);
        let mut logs = Vec::new();
        let mut from = filter.from;
        while from <= end {
            let to = from.saturating_add(self.0.options.max_log_range.max(1) - 1).min(end);
            let mut part = Filter::new().address(filter.address).from_block(from).to_block(to);
            if !filter.topics0.is_empty() {
                part = part.event_signature(filter.topics0.clone());
            }
            let answer = self.0.provider.get_logs(&part).await.map_err(plain)?;
            if logs.len().saturating_add(answer.len()) > max {
                return Err(Error::TooLarge { max, unit: "logs" });
            }
            logs.extend(convert::logs(answer, filter, from, to)?);
            let Some(next) = to.checked_add(1) else { break };
            from = next;
        }
        Ok(logs)
    }

    async fn transaction_count(&self, account: Address) -> Result<u64, Error> {
        self.0.provider.get_transaction_count(account).block_id(BlockId::latest()).await.map_err(plain)
    }

    async fn prepare(
        &self,
        wallet: &Wallet,
        request: &TransactionRequest,
        nonce: u64,
        bump: u32,
    ) -> Result<SignedTransaction, Error> {
        let from = wallet.address();
        let mut simulation = rpc_request(request);
        // Without a sender nodes simulate the zero address, which an owner check refuses.
        simulation.from = Some(from);
        // A first transaction runs on top of whatever waits, and in the next block. A replacement must not: what waits is
        // what it replaces.
        let state = if bump == 0 { BlockId::pending() } else { BlockId::latest() };
        let estimate = self.0.provider.estimate_gas(simulation).block(state).await.map_err(simulated)?;
        let fees = self.fees(from, nonce, bump).await?;
        let gas = request.gas.unwrap_or_else(|| gas_limit(estimate));
        wallet.sign_transaction(self.0.chain_id, request, nonce, gas, fees)
    }

    async fn send(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        transaction.check_hash()?;
        let raw = (transaction.raw.clone(),);
        let sent: Result<B256, _> = self.0.provider.client().request("eth_sendRawTransaction", raw).await;
        let error = match sent.map_err(plain) {
            Ok(hash) if hash == transaction.hash => return Ok(()),
            Ok(_) => {
                return Err(Error::malformed("the endpoint names another hash for the transaction"));
            }
            Err(error @ Error::Refused { .. }) => error,
            Err(error) => return Err(error),
        };
        // "Already known", "nonce too low" and the rest differ in text only, so the chain itself is asked. The count comes
        // before the receipt: a block in between then shows as the receipt.
        let count = self.transaction_count(transaction.from).await?;
        if self.receipt(transaction.hash).await?.is_some() {
            return Ok(());
        }
        if count > transaction.nonce {
            return Err(Error::NonceUsed { from: transaction.from, nonce: transaction.nonce });
        }
        let waiting = self.0.provider.get_transaction_by_hash(transaction.hash).await.map_err(plain)?;
        if waiting.is_some() { Ok(()) } else { Err(error) }
    }

    async fn receipt(&self, tx: B256) -> Result<Option<Receipt>, Error> {
        match self.0.provider.get_transaction_receipt(tx).await.map_err(plain)? {
            Some(answer) => convert::receipt(tx, answer),
            None => Ok(None),
        }
    }

    fn heads(&self) -> watch::Receiver<Header> {
        self.0.heads.clone()
    }
}

fn rpc_request(request: &TransactionRequest) -> RpcRequest {
    RpcRequest {
        to: Some(request.to.map_or(TxKind::Create, TxKind::Call)),
        value: Some(request.value),
        gas: request.gas,
        input: TransactionInput::new(request.data.clone()),
        ..RpcRequest::default()
    }
}
