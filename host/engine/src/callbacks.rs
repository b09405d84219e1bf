//! What an AVS's logic is to the engine: the callbacks, over bytes.
//!
//! A WebAssembly plugin is one implementation ([`crate::wasm::WasmCallbacks`]); native Rust callbacks are another.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use eigenshift_plugin::{
    AggregateKey, CallError, Candidate, Decision, EventFilter, PeerResponse, Plan, ProcessError, Signable,
    SubmissionCertificate, Task, Trigger, Usage,
};
use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId};
use futures::FutureExt;

use crate::drivers::trigger::Timer;
use crate::signer::TaskSigner;

/// The AVS's logic. Calls may come from many tasks at once.
#[async_trait]
pub trait Callbacks: Send + Sync + 'static {
    /// sha256 of the bundle: what tasks name as the logic that must run them.
    fn bundle_digest(&self) -> B256;

    /// Most response keys a task may have.
    fn max_keys(&self) -> usize;

    /// Does the AVS's work: the list of `K`.
    ///
    /// # Errors
    /// [`CallError`]: retry, never, or a fault of the logic.
    async fn on_task_request(&self, task: &Task) -> Result<Vec<Bytes>, CallError>;

    /// What is to be signed for the answers. Pure. The engine signs what comes back; `signer` is for logic that needs the
    /// signature itself, and keeps the same rules.
    ///
    /// # Errors
    /// As [`Callbacks::on_task_request`].
    async fn on_submit_task_to_leader(
        &self,
        task: &Task,
        responses: &[Bytes],
        signer: &TaskSigner,
    ) -> Result<Vec<Signable>, CallError>;

    /// Where an answer counts. Pure: every node comes to the same.
    ///
    /// # Errors
    /// [`ProcessError::Rejected`] becomes the HTTP reply to the sender.
    async fn on_leader_process_task_response(
        &self,
        task: &Task,
        response: &PeerResponse,
    ) -> Result<AggregateKey, ProcessError>;

    /// The part that makes tasks, if there is one.
    fn source(&self) -> Option<&dyn TaskSource> {
        None
    }

    /// The part that puts outcomes on chain, if there is one.
    fn submission(&self) -> Option<&dyn TaskSubmission> {
        None
    }

    /// Whether tasks end on chain: by [`Callbacks::submission`] or, without it, by whoever reports a transaction.
    fn submits(&self) -> bool {
        self.submission().is_some()
    }

    /// The AVS's own order of duty, if it has one.
    fn rotation(&self) -> Option<&dyn Rotation> {
        None
    }

    /// What it has used and holds, all versions of it that run here; none when that is not measured.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// The part that knows the operators, if there is one; else the registry contract is asked.
    fn directory(&self) -> Option<&dyn OperatorDirectory> {
        None
    }
}

/// Makes tasks.
#[async_trait]
pub trait TaskSource: Send + Sync {
    /// Which timers make tasks, besides those of the leader's own configuration: the same on every node.
    fn timers(&self) -> Vec<Timer> {
        Vec::new()
    }

    /// Which contract events make tasks.
    ///
    /// # Errors
    /// [`CallError`].
    async fn event_filters(&self) -> Result<Vec<EventFilter>, CallError>;

    /// What is to be done about a trigger, as of `block`.
    ///
    /// # Errors
    /// [`CallError`].
    async fn on_trigger(&self, block: BlockRef, trigger: &Trigger) -> Result<Plan, CallError>;
}

/// Puts outcomes on chain.
#[async_trait]
pub trait TaskSubmission: Send + Sync {
    /// What to do with the certificates so far, as of `block`; `is_final` before the task expires.
    ///
    /// # Errors
    /// [`CallError`].
    async fn submit(
        &self,
        task: &Task,
        certificates: &[SubmissionCertificate],
        is_final: bool,
        block: BlockRef,
    ) -> Result<Decision, CallError>;

    /// Whether the contract holds an answer already, as of `block`.
    ///
    /// # Errors
    /// [`CallError`].
    async fn is_answered(&self, task: &Task, block: BlockRef) -> Result<bool, CallError>;
}

/// Says who is next on duty.
#[async_trait]
pub trait Rotation: Send + Sync {
    /// Position in `candidates` (never empty) of the next on duty. Pure: every node comes to the same.
    ///
    /// # Errors
    /// [`CallError`].
    async fn next(&self, candidates: &[Candidate], last: Option<OperatorId>, seed: B256) -> Result<usize, CallError>;
}

/// Knows the operators.
#[async_trait]
pub trait OperatorDirectory: Send + Sync {
    /// Whether an account is registered as operator at `block`.
    ///
    /// # Errors
    /// [`CallError`].
    async fn is_registered_operator(&self, block: BlockRef, operator: Address) -> Result<bool, CallError>;

    /// The URL the operator published, if the AVS keeps such a list.
    ///
    /// # Errors
    /// [`CallError`].
    async fn fetch_operator_url(&self, block: BlockRef, operator: Address) -> Result<Option<String>, CallError>;
}

/// Awaits a callback. A panic of native logic is what a trap is for a plugin: this call fails, nothing else.
///
/// Unwinding is safe to go on from: what the logic shares between calls is its own, and its locks tell it of the panic.
pub(crate) async fn caught<T, E: From<CallError>>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let panicked = |_| Err(E::from(CallError::Trap("the logic panicked".to_owned())));
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(panicked)
}
