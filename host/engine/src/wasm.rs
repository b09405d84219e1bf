//! Callbacks that are a WebAssembly plugin.

use std::sync::Arc;

use async_trait::async_trait;
use eigenshift_chain::{Chain, Error, LogFilter};
use eigenshift_plugin::manifest;
use eigenshift_plugin::{
    AggregateKey, CallError, Candidate, ChainReadError, ChainReader, Decision, EventFilter, EventLog, Header,
    PeerResponse, Plan, Plugin, ProcessError, Signable, SubmissionCertificate, Task, Trigger, Usage,
};
use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId, Service};

use crate::callbacks::{Callbacks, OperatorDirectory, Rotation, TaskSource, TaskSubmission};
use crate::drivers::trigger::Timer;
use crate::logics::ShadowLogic;
use crate::signer::TaskSigner;

/// A plugin with what its calls need: the AVS and its chain.
pub struct WasmCallbacks {
    plugin: Plugin,
    service: Service,
    reader: Arc<dyn ChainReader>,
}

impl WasmCallbacks {
    /// The callbacks of `plugin` for `service`, whose contracts are on `chain`.
    #[must_use]
    pub fn new(plugin: Plugin, service: Service, chain: Arc<dyn Chain>) -> Self {
        Self { plugin, service, reader: Arc::new(Reader(chain)) }
    }
}

#[async_trait]
impl Callbacks for WasmCallbacks {
    fn bundle_digest(&self) -> B256 {
        self.plugin.digest()
    }

    fn max_keys(&self) -> usize {
        self.plugin.manifest().limits.keys_per_task as usize
    }

    async fn on_task_request(&self, task: &Task) -> Result<Vec<Bytes>, CallError> {
        self.plugin.on_task_request(task, Arc::clone(&self.reader)).await
    }

    async fn on_submit_task_to_leader(
        &self,
        task: &Task,
        responses: &[Bytes],
        _: &TaskSigner,
    ) -> Result<Vec<Signable>, CallError> {
        self.plugin.on_submit_task_to_leader(task, responses).await
    }

    async fn on_leader_process_task_response(
        &self,
        task: &Task,
        response: &PeerResponse,
    ) -> Result<AggregateKey, ProcessError> {
        self.plugin.on_leader_process_task_response(task, response).await
    }

    fn source(&self) -> Option<&dyn TaskSource> {
        self.plugin.has_task_source().then_some(self)
    }

    fn submission(&self) -> Option<&dyn TaskSubmission> {
        self.plugin.has_task_submission().then_some(self)
    }

    fn rotation(&self) -> Option<&dyn Rotation> {
        self.plugin.has_rotation().then_some(self)
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.plugin.usage())
    }

    fn directory(&self) -> Option<&dyn OperatorDirectory> {
        self.plugin.has_operator_directory().then_some(self)
    }
}

#[async_trait]
impl ShadowLogic for WasmCallbacks {
    async fn answers(&self, task: &Task) -> Result<Vec<Signable>, CallError> {
        let responses = self.plugin.on_task_request(task, Arc::clone(&self.reader)).await?;
        self.plugin.on_submit_task_to_leader(task, &responses).await
    }
}

#[async_trait]
impl TaskSource for WasmCallbacks {
    fn timers(&self) -> Vec<Timer> {
        let timer = |trigger: &manifest::Trigger| match trigger {
            manifest::Trigger::Timer { name, every } => Some(Timer { name: name.clone(), every: *every }),
            manifest::Trigger::Event { .. } => None,
        };
        self.plugin.manifest().triggers.iter().filter_map(timer).collect()
    }

    /// The manifest's and those that the plugin names.
    async fn event_filters(&self) -> Result<Vec<EventFilter>, CallError> {
        let event = |trigger: &manifest::Trigger| match trigger {
            manifest::Trigger::Event { address, topics } => {
                Some(EventFilter { address: *address, topics0: topics.clone() })
            }
            manifest::Trigger::Timer { .. } => None,
        };
        let mut filters: Vec<EventFilter> = self.plugin.manifest().triggers.iter().filter_map(event).collect();
        for filter in self.plugin.event_filters(&self.service).await? {
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        Ok(filters)
    }

    async fn on_trigger(&self, block: BlockRef, trigger: &Trigger) -> Result<Plan, CallError> {
        self.plugin.on_trigger(&self.service, block, trigger, Arc::clone(&self.reader)).await
    }
}

#[async_trait]
impl TaskSubmission for WasmCallbacks {
    async fn submit(
        &self,
        task: &Task,
        certificates: &[SubmissionCertificate],
        is_final: bool,
        block: BlockRef,
    ) -> Result<Decision, CallError> {
        self.plugin.submit(task, certificates, is_final, block, Arc::clone(&self.reader)).await
    }

    async fn is_answered(&self, task: &Task, block: BlockRef) -> Result<bool, CallError> {
        self.plugin.is_answered(task, block, Arc::clone(&self.reader)).await
    }
}

#[async_trait]
impl Rotation for WasmCallbacks {
    async fn next(&self, candidates: &[Candidate], last: Option<OperatorId>, seed: B256) -> Result<usize, CallError> {
        self.plugin.next(candidates, last, seed).await
    }
}

#[async_trait]
impl OperatorDirectory for WasmCallbacks {
    async fn is_registered_operator(&self, block: BlockRef, operator: Address) -> Result<bool, CallError> {
        self.plugin.is_registered_operator(&self.service, block, operator, Arc::clone(&self.reader)).await
    }

    async fn fetch_operator_url(&self, block: BlockRef, operator: Address) -> Result<Option<String>, CallError> {
        self.plugin.fetch_operator_url(&self.service, block, operator, Arc::clone(&self.reader)).await
    }
}

/// The chain as a plugin reads it.
struct Reader(Arc<dyn Chain>);

fn failed(error: Error) -> ChainReadError {
    match error {
        Error::Reverted(data) => ChainReadError::Reverted(data),
        Error::UnknownBlock(_) | Error::NotFinalized => ChainReadError::UnknownBlock,
        Error::TooLarge { .. } | Error::InvalidInput(_) => ChainReadError::InvalidArgument(error.to_string()),
        error if error.is_transient() => ChainReadError::Unavailable(error.to_string()),
        error => ChainReadError::Other(error.to_string()),
    }
}

impl Reader {
    /// The header of an ancestor of `bound`: canonical by number, which is sound only while `bound` is canonical too.
    async fn ancestor(&self, number: u64, bound: BlockRef) -> Result<eigenshift_chain::Header, ChainReadError> {
        let found = self.0.header_by_number(number).await.map_err(failed)?.ok_or(ChainReadError::UnknownBlock)?;
        if !self.0.is_canonical(bound).await.map_err(failed)? {
            return Err(ChainReadError::UnknownBlock);
        }
        Ok(found)
    }
}

#[async_trait]
impl ChainReader for Reader {
    async fn call(&self, to: Address, data: Bytes, at: BlockRef) -> Result<Bytes, ChainReadError> {
        self.0.call(to, data, at.hash).await.map_err(failed)
    }

    async fn logs(
        &self,
        address: Address,
        topics0: &[B256],
        from: u64,
        to: u64,
        bound: BlockRef,
    ) -> Result<Vec<EventLog>, ChainReadError> {
        let filter = LogFilter { address, topics0: topics0.to_vec(), from, to };
        let logs = self.0.logs(&filter).await.map_err(failed)?;
        if !self.0.is_canonical(bound).await.map_err(failed)? {
            return Err(ChainReadError::UnknownBlock);
        }
        let convert = |log: eigenshift_chain::Log| EventLog {
            address: log.address,
            topics: log.topics,
            data: log.data,
            block: log.block,
            transaction_hash: log.tx,
            log_index: log.index,
        };
        Ok(logs.into_iter().map(convert).collect())
    }

    async fn header(&self, number: Option<u64>, bound: BlockRef) -> Result<Header, ChainReadError> {
        let header = match number.filter(|number| *number != bound.number) {
            Some(number) => self.ancestor(number, bound).await?,
            None => self.0.header_by_hash(bound.hash).await.map_err(failed)?.ok_or(ChainReadError::UnknownBlock)?,
        };
        Ok(Header { block: header.block, timestamp: header.timestamp })
    }

    async fn at_number(&self, number: u64, bound: BlockRef) -> Result<BlockRef, ChainReadError> {
        Ok(self.ancestor(number, bound).await?.block)
    }
}
