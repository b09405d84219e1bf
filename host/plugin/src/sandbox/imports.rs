//! What a guest may do to the outside during one call.
//!
//! A component has one list of imports for all its callbacks, so what a callback may do is decided here, at the import.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use eigenshift_types::{Address, AvsId, B256, BlockRef, Bytes, TaskIndex};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::ResourceTable;

use super::call::Totals;
use super::limiter::Limiter;
use super::text::{MAX_TEXT, clean};
use crate::capability::secrets::{self, Redactor};
use crate::capability::{config, keyvalue, wasi};
use crate::chain::{ChainReadError, ChainReader};
use crate::values::{EventLog, Header};

/// Host calls of one call, of every kind: a rule like fuel, the same on every operator, because a guest that does nothing
/// else would use little fuel and much of the host. What stands for it in the cluster's settings is the fuel schedule.
pub(crate) const MAX_HOST_CALLS: u32 = 65_536;
/// Chain reads of one call.
pub(crate) const MAX_CHAIN_READS: u32 = 64;
/// Log lines of one call.
pub(crate) const MAX_LOG_LINES: u32 = 64;
/// Handles that a call may hold at the same time, of whatever kind.
const MAX_HANDLES: usize = 1024;
const MAX_CALLDATA: usize = 128 * 1024;
const MAX_RESULT: usize = 1024 * 1024;
const MAX_TOPICS: usize = 64;
const MAX_BLOCKS: u64 = 1_000;
/// What a log costs besides its topics and data: the sum of the fixed fields.
const LOG_OVERHEAD: usize = 128;

/// How serious a line is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The guest used its imports more often than one call may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {MAX_HOST_CALLS} host calls")]
pub(crate) struct TooManyHostCalls;

/// Why a chain read gave nothing, as every track can say it.
#[derive(Debug)]
pub(crate) enum Refusal {
    AccessDenied,
    Reverted(Bytes),
    UnknownBlock,
    InvalidArgument(String),
    Unavailable(String),
    Other(String),
}

impl From<ChainReadError> for Refusal {
    fn from(error: ChainReadError) -> Self {
        match error {
            ChainReadError::Reverted(data) if data.len() > MAX_RESULT => too_large(data.len()),
            ChainReadError::Reverted(data) => Self::Reverted(data),
            ChainReadError::UnknownBlock => Self::UnknownBlock,
            ChainReadError::InvalidArgument(text) => Self::InvalidArgument(clean(&text, MAX_TEXT)),
            ChainReadError::Unavailable(text) => Self::Unavailable(clean(&text, MAX_TEXT)),
            ChainReadError::Other(text) => Self::Other(clean(&text, MAX_TEXT)),
        }
    }
}

fn too_large(len: usize) -> Refusal {
    Refusal::Other(format!("the result has {len} bytes, at most {MAX_RESULT} are given"))
}

/// Chain access of one call.
#[derive(Clone)]
pub(crate) struct ChainAccess {
    reader: Arc<dyn ChainReader>,
    bound: BlockRef,
    /// Where reads run: the caller's runtime, whose I/O the reader was made for. None when the caller has none.
    runtime: Option<Handle>,
}

impl ChainAccess {
    pub(crate) fn new(reader: Arc<dyn ChainReader>, bound: BlockRef) -> Self {
        Self { reader, bound, runtime: Handle::try_current().ok() }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, ChainReadError>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let result = match &self.runtime {
            Some(runtime) => AbortOnDropHandle::new(runtime.spawn(read))
                .await
                .map_err(|_| Refusal::Other("the chain reader failed".to_owned()))?,
            None => read.await,
        };
        Ok(result?)
    }

    async fn block(&self, at: Option<u64>) -> Result<BlockRef, Refusal> {
        match at {
            Some(number) if number > self.bound.number => Err(Refusal::UnknownBlock),
            Some(number) if number < self.bound.number => {
                let (reader, bound) = (Arc::clone(&self.reader), self.bound);
                self.read(async move { reader.at_number(number, bound).await }).await
            }
            _ => Ok(self.bound),
        }
    }
}

/// The log of one call.
#[derive(Clone)]
pub(crate) struct Log {
    /// Name of the bundle.
    pub plugin: Arc<str>,
    /// Which function runs.
    pub export: &'static str,
    pub avs: Option<AvsId>,
    pub task: Option<TaskIndex>,
    /// Whether lines are written at all: not in callbacks that may import nothing, nor when the manifest does not list it.
    pub open: bool,
    pub lines: u32,
    /// Takes secrets out of the lines.
    pub redactor: Arc<Redactor>,
    /// Counted at once, so that a call that is cut off counts too.
    pub totals: Arc<Totals>,
}

impl Log {
    /// Another log of the same call, with lines of its own.
    pub(crate) fn another(&self) -> Self {
        Self {
            plugin: Arc::clone(&self.plugin),
            export: self.export,
            avs: self.avs.clone(),
            task: self.task,
            open: self.open,
            lines: 0,
            redactor: Arc::clone(&self.redactor),
            totals: Arc::clone(&self.totals),
        }
    }

    /// Writes a line, or counts it as dropped.
    pub(crate) fn write(&mut self, level: Level, message: &str) {
        if !self.open || self.lines >= MAX_LOG_LINES {
            self.totals.log_lines_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.lines += 1;
        self.totals.log_lines.fetch_add(1, Ordering::Relaxed);
        let message = self.redactor.text(message);
        let (plugin, export) = (&*self.plugin, self.export);
        let avs = self.avs.as_ref().map(AvsId::as_str);
        let task = self.task;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "eigenshift_plugin::guest", plugin, export, avs, task, "{message}")
            };
        }
        match level {
            Level::Trace => line!(trace),
            Level::Debug => line!(debug),
            Level::Info => line!(info),
            Level::Warn => line!(warn),
            Level::Error => line!(error),
        }
    }
}

/// The state of one call: dropped with its instance, or what the next call in it begins with.
pub(crate) struct CallState {
    pub limiter: Limiter,
    pub log: Log,
    /// None where PROTOCOL §10 gives the callback no chain, or the manifest does not list it.
    pub chain: Option<ChainAccess>,
    pub chain_reads: u32,
    pub host_calls: u32,
    pub config: config::Access,
    pub keyvalue: keyvalue::Access,
    pub secrets: secrets::Access,
    /// None in a component that does not import it.
    pub wasi: Option<Box<wasi::State>>,
    /// What the guest has handles to.
    pub table: ResourceTable,
    /// Counted at once, so that a call that is cut off counts too.
    pub totals: Arc<Totals>,
}

/// An empty table with a bound.
pub(crate) fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_HANDLES);
    table
}

fn word(bytes: &[u8], what: &str) -> Result<B256, Refusal> {
    B256::try_from(bytes).map_err(|_| Refusal::InvalidArgument(format!("{what} has {} bytes, needs 32", bytes.len())))
}

fn address(bytes: &[u8]) -> Result<Address, Refusal> {
    Address::try_from(bytes)
        .map_err(|_| Refusal::InvalidArgument(format!("an address has {} bytes, needs 20", bytes.len())))
}

impl CallState {
    /// A state in which nothing is granted and nothing is limited.
    pub(crate) fn bare(plugin: Arc<str>) -> Self {
        let totals = Arc::<Totals>::default();
        Self {
            limiter: Limiter::new(usize::MAX),
            log: Log {
                plugin,
                export: "",
                avs: None,
                task: None,
                open: false,
                lines: 0,
                redactor: Arc::default(),
                totals: Arc::clone(&totals),
            },
            chain: None,
            chain_reads: 0,
            host_calls: 0,
            config: config::Access::default(),
            keyvalue: keyvalue::Access::default(),
            secrets: secrets::Access::default(),
            wasi: None,
            table: table(),
            totals,
        }
    }

    /// Makes it the state of another call in the same instance: of what was, only the handles and the memory stay.
    pub(crate) fn begin_again(&mut self, next: Self) {
        let Self { limiter: _, log, chain, chain_reads, host_calls, config, keyvalue, secrets, wasi, table: _, totals } =
            next;
        self.limiter.begin_again();
        self.log = log;
        (self.chain, self.chain_reads, self.host_calls) = (chain, chain_reads, host_calls);
        (self.config, self.keyvalue, self.secrets) = (config, keyvalue, secrets);
        self.totals = totals;
        match (&mut self.wasi, wasi) {
            (Some(own), Some(next)) => own.begin_again(*next),
            (own, next) => *own = next,
        }
    }

    /// Ends a call whose instance is to serve another one; nothing of what was granted is held meanwhile. False when
    /// something of this call may still be under way: then it must not serve another one.
    pub(crate) fn rest(&mut self) -> bool {
        self.chain = None;
        self.config = config::Access::default();
        self.keyvalue = keyvalue::Access::default();
        self.secrets = secrets::Access::default();
        self.wasi.as_mut().is_none_or(|wasi| wasi.rest())
    }

    /// To be asked first in every import: ends the call when there were too many.
    pub(crate) fn count_host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        if self.host_calls > MAX_HOST_CALLS { Err(TooManyHostCalls.into()) } else { Ok(()) }
    }

    pub(crate) fn emit(&mut self, level: Level, message: &str) {
        self.log.write(level, message);
    }

    fn chain(&mut self) -> Result<&ChainAccess, Refusal> {
        let chain = self.chain.as_ref().ok_or(Refusal::AccessDenied)?;
        if self.chain_reads >= MAX_CHAIN_READS {
            return Err(Refusal::Other(format!("a call may read the chain {MAX_CHAIN_READS} times")));
        }
        self.chain_reads += 1;
        self.totals.chain_reads.fetch_add(1, Ordering::Relaxed);
        Ok(chain)
    }

    pub(crate) async fn chain_call(&mut self, to: &[u8], data: Vec<u8>, at: Option<u64>) -> Result<Bytes, Refusal> {
        let chain = self.chain()?;
        let to = address(to)?;
        if data.len() > MAX_CALLDATA {
            let fix = format!("calldata has {} bytes, at most {MAX_CALLDATA} are taken", data.len());
            return Err(Refusal::InvalidArgument(fix));
        }
        let (reader, at) = (Arc::clone(&chain.reader), chain.block(at).await?);
        let result = chain.read(async move { reader.call(to, data.into(), at).await }).await?;
        if result.len() > MAX_RESULT { Err(too_large(result.len())) } else { Ok(result) }
    }

    pub(crate) async fn chain_logs(
        &mut self,
        emitter: &[u8],
        topics0: &[Vec<u8>],
        start: u64,
        end: u64,
    ) -> Result<Vec<EventLog>, Refusal> {
        let chain = self.chain()?;
        let emitter = address(emitter)?;
        if topics0.len() > MAX_TOPICS {
            return Err(Refusal::InvalidArgument(format!("{} topics, at most {MAX_TOPICS} are taken", topics0.len())));
        }
        let topics0 = topics0.iter().map(|topic| word(topic, "a topic")).collect::<Result<Vec<_>, _>>()?;
        if start > end || end - start >= MAX_BLOCKS {
            let fix = format!("blocks {start} to {end}: ask for 1 to {MAX_BLOCKS} blocks");
            return Err(Refusal::InvalidArgument(fix));
        }
        if end > chain.bound.number {
            return Err(Refusal::UnknownBlock);
        }
        let (reader, bound) = (Arc::clone(&chain.reader), chain.bound);
        let logs = chain.read(async move { reader.logs(emitter, &topics0, start, end, bound).await }).await?;
        let size: usize = logs.iter().map(|log| log.data.len() + 32 * log.topics.len() + LOG_OVERHEAD).sum();
        if size > MAX_RESULT { Err(too_large(size)) } else { Ok(logs) }
    }

    pub(crate) async fn chain_header(&mut self, at: Option<u64>) -> Result<Header, Refusal> {
        let chain = self.chain()?;
        if at.is_some_and(|number| number > chain.bound.number) {
            return Err(Refusal::UnknownBlock);
        }
        let (reader, bound) = (Arc::clone(&chain.reader), chain.bound);
        chain.read(async move { reader.header(at, bound).await }).await
    }
}
