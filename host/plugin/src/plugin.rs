//! A loaded bundle. Each method that takes a task, a trigger or an operator is one call into a fresh instance.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId, Service};
use wasmtime::component::Component;

use crate::chain::ChainReader;
use crate::error::{CallError, ProcessError};
use crate::manifest::Manifest;
use crate::sandbox::call::Code;
use crate::track::v0_1::Exports;
use crate::usage::Usage;
use crate::values::{
    AggregateKey, Candidate, Decision, Descriptor, EventFilter, PeerResponse, Plan, Signable, SubmissionCertificate,
    Task, Trigger,
};

/// Where the machine code of a plugin came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled for this load.
    Compiled,
    /// This host compiled it before and kept it on disk.
    Disk,
    /// Another plugin of this host has the same component.
    Memory,
}

/// What a plugin has used since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls begun.
    pub calls: u64,
    /// Of these, how many an instance served that was kept from an earlier one.
    pub reused: u64,
    /// Of all calls, how many had an engine's error: out of fuel, trap, deadline, and so on. Errors that the guest returns
    /// do not count.
    pub failed: u64,
    /// Fuel used, but for calls that the deadline cut off.
    pub fuel: u64,
    /// Chain reads.
    pub chain_reads: u64,
    /// Operations on the AVS's store.
    pub keyvalue_operations: u64,
    /// Secrets revealed.
    pub secrets_revealed: u64,
    /// Requests to other hosts.
    pub http_requests: u64,
    /// Of these, how many went nowhere because they may not.
    pub http_refused: u64,
    /// Log lines written.
    pub log_lines: u64,
    /// Log lines dropped: over the cap of a call, or in a callback that may not log.
    pub log_lines_dropped: u64,
    /// Processor time of the guest threads, instances made and dropped included.
    pub cpu: Duration,
    /// Processor time of the guest threads around the calls: to wake up for one, take it up, and hand its answer over.
    pub cpu_around: Duration,
}

struct Inner {
    digest: B256,
    manifest: Manifest,
    descriptor: Descriptor,
    origin: Origin,
    /// Held so that another load of the same component finds it.
    _component: Arc<Component>,
    code: Code,
    exports: Exports,
}

/// A loaded bundle. Cheap to clone; its code is freed with the last clone and the last running call.
///
/// A call that is dropped before it ends is abandoned: its instance goes at its next yield.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.0.manifest.name)
            .field("version", &self.0.manifest.version)
            .field("digest", &self.0.digest)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(crate) fn new(
        digest: B256,
        manifest: Manifest,
        descriptor: Descriptor,
        origin: Origin,
        component: Arc<Component>,
        code: Code,
        exports: Exports,
    ) -> Self {
        Self(Arc::new(Inner { digest, manifest, descriptor, origin, _component: component, code, exports }))
    }

    /// The bundle's digest.
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.0.digest
    }

    /// The bundle's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// What the plugin says it is.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.0.descriptor
    }

    /// Where its machine code came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// What it has used since it was loaded; the calls at load, of `describe` and of golden tasks, count.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.code.totals.read()
    }

    /// What all plugins of its tenant have used, and hold now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let code = &self.0.code;
        let (counters, failures) = code.account.account();
        let (calls_running, memory_reserved) = code.shared.gate.held(code.tenant.id);
        Usage { counters, failures, calls_running, memory_reserved }
    }

    /// Bytes of memories and tables that the hungriest call took that ended since this was asked last, or since the load;
    /// calls that the deadline cut off do not count.
    pub fn take_memory_peak(&self) -> u64 {
        self.0.code.totals.memory_peak.swap(0, Ordering::Relaxed)
    }

    /// Whether it turns triggers into tasks ([`Plugin::event_filters`], [`Plugin::on_trigger`]).
    #[must_use]
    pub fn has_task_source(&self) -> bool {
        self.0.exports.has_source()
    }

    /// Whether it puts outcomes on chain ([`Plugin::submit`], [`Plugin::is_answered`]).
    #[must_use]
    pub fn has_task_submission(&self) -> bool {
        self.0.exports.has_submission()
    }

    /// Whether it has its own order of duty ([`Plugin::next`]).
    #[must_use]
    pub fn has_rotation(&self) -> bool {
        self.0.exports.has_rotation()
    }

    /// Whether it knows who is an operator ([`Plugin::is_registered_operator`], [`Plugin::fetch_operator_url`]).
    #[must_use]
    pub fn has_operator_directory(&self) -> bool {
        self.0.exports.has_directory()
    }

    /// Does the AVS's work on a task: the list of `K`, at most `keys_per_task`, at most 16 KiB each. Chain reads are bound
    /// to the task's reference block.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn on_task_request(&self, task: &Task, chain: Arc<dyn ChainReader>) -> Result<Vec<Bytes>, CallError> {
        self.0.exports.on_task_request(&self.0.code, task, chain).await
    }

    /// Turns the answers into what is to be signed: response keys are unique, at most `keys_per_task`. Pure.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn on_submit_task_to_leader(&self, task: &Task, responses: &[Bytes]) -> Result<Vec<Signable>, CallError> {
        self.0.exports.on_submit(&self.0.code, task, responses).await
    }

    /// Checks one answer and says where it counts. Pure: equal arguments give equal results on every node. The caller
    /// compares the task index.
    ///
    /// # Errors
    /// [`ProcessError::Rejected`] is the plugin's verdict on the answer; [`ProcessError::Call`] says nothing about it.
    pub async fn on_leader_process_task_response(
        &self,
        task: &Task,
        response: &PeerResponse,
    ) -> Result<AggregateKey, ProcessError> {
        self.0.exports.on_process(&self.0.code, task, response).await
    }

    /// Which contract events make tasks: at most 64 filters of at most 64 topics.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unsupported`] without [`Plugin::has_task_source`].
    pub async fn event_filters(&self, service: &Service) -> Result<Vec<EventFilter>, CallError> {
        self.0.exports.event_filters(&self.0.code, service).await
    }

    /// Turns a trigger into a plan. Chain reads are bound to `block`.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unsupported`] without [`Plugin::has_task_source`].
    pub async fn on_trigger(
        &self,
        service: &Service,
        block: BlockRef,
        trigger: &Trigger,
        chain: Arc<dyn ChainReader>,
    ) -> Result<Plan, CallError> {
        self.0.exports.on_trigger(&self.0.code, service, block, trigger, chain).await
    }

    /// Decides whether the certificates answer the task, and encodes the transaction. `is_final` is true for the last
    /// call before the task expires. Chain reads are bound to `block`, the head.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unsupported`] without [`Plugin::has_task_submission`].
    pub async fn submit(
        &self,
        task: &Task,
        certificates: &[SubmissionCertificate],
        is_final: bool,
        block: BlockRef,
        chain: Arc<dyn ChainReader>,
    ) -> Result<Decision, CallError> {
        self.0.exports.submit(&self.0.code, task, certificates, is_final, block, chain).await
    }

    /// Whether the contract already holds an answer to the task at `block`.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unsupported`] without [`Plugin::has_task_submission`].
    pub async fn is_answered(
        &self,
        task: &Task,
        block: BlockRef,
        chain: Arc<dyn ChainReader>,
    ) -> Result<bool, CallError> {
        self.0.exports.is_answered(&self.0.code, task, block, chain).await
    }

    /// Who of `candidates` (ascending by operator id, not empty) is next on duty: an index into them; an index that the
    /// plugin gives out of range counts as 0. `seed` is the hash of the closed task's reference block.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unsupported`] without [`Plugin::has_rotation`].
    pub async fn next(
        &self,
        candidates: &[Candidate],
        last: Option<OperatorId>,
        seed: B256,
    ) -> Result<usize, CallError> {
        self.0.exports.next(&self.0.code, candidates, last, seed).await
    }

    /// Whether `operator` is registered for the AVS at `block`.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unsupported`] without [`Plugin::has_operator_directory`].
    pub async fn is_registered_operator(
        &self,
        service: &Service,
        block: BlockRef,
        operator: Address,
        chain: Arc<dyn ChainReader>,
    ) -> Result<bool, CallError> {
        self.0.exports.is_registered_operator(&self.0.code, service, block, operator, chain).await
    }

    /// The URL that `operator` published: at most 2 KiB without spaces; not checked further.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unsupported`] without [`Plugin::has_operator_directory`].
    pub async fn fetch_operator_url(
        &self,
        service: &Service,
        block: BlockRef,
        operator: Address,
        chain: Arc<dyn ChainReader>,
    ) -> Result<Option<String>, CallError> {
        self.0.exports.fetch_operator_url(&self.0.code, service, block, operator, chain).await
    }
}
