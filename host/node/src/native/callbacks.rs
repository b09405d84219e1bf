//! The five callbacks, typed, and their bridge to the engine.

use std::marker::PhantomData;

use async_trait::async_trait;
use eigenshift_engine::callbacks::{Callbacks, OperatorDirectory};
use eigenshift_engine::signer::{SignError, TaskSigner};
use eigenshift_plugin::{AggregateKey, CallError, PeerResponse, ProcessError, Signable, Task};
use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId, ResponseKey, Service, TaskIndex, frame};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Anything that can travel between operators: named MessagePack, so that equal values have equal bytes.
pub trait Payload: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<P: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Payload for P {}

/// A task, with the team's own request.
#[derive(Clone, Debug)]
pub struct TaskInfo<T> {
    /// Number.
    pub index: TaskIndex,
    /// `T`.
    pub request: T,
    /// The AVS.
    pub service: Service,
    /// Where chain reads for the task happen.
    pub reference_block: BlockRef,
    /// Timestamp of the reference block, seconds since 1970.
    pub reference_time: u64,
}

/// Why a response is not taken: becomes the HTTP reply to the operator that sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// Short and machine-readable, kebab-case.
    pub code: String,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// `S`: a response that an operator stands behind. The signature itself travels in the host's envelope, and is verified
/// by the host.
pub trait SignedResponse: Clone + Send + Sync + 'static {
    /// `K`.
    type Response: Payload;

    /// Puts together what arrived.
    ///
    /// # Errors
    /// [`Rejection`] when the extension is not one.
    fn from_parts(response: Self::Response, extension: &[u8]) -> Result<Self, Rejection>;

    /// `K`.
    fn response(&self) -> &Self::Response;

    /// What travels beside `K`; not covered by the signature. At most 1 KiB.
    fn extension(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// The default `S`: `K`, and nothing beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTaskResponse<K> {
    /// `K`.
    pub response: K,
}

impl<K: Payload> SignedResponse for SignedTaskResponse<K> {
    type Response = K;

    fn from_parts(response: K, _: &[u8]) -> Result<Self, Rejection> {
        Ok(Self { response })
    }

    fn response(&self) -> &K {
        &self.response
    }
}

/// Signs responses to one task: under the guard, and only what the aggregator's side of the logic derives.
pub struct GuardedSigner<'a> {
    signer: &'a TaskSigner,
    signed: parking_lot::Mutex<Vec<Signable>>,
}

impl GuardedSigner<'_> {
    /// Signs `response` under a response key: the BLS signature, uncompressed G1. Only what was signed here is sent.
    ///
    /// # Errors
    /// [`SignError`]: another digest was signed for the key before, or the aggregator's side comes to another one.
    pub async fn sign<S: SignedResponse>(
        &self,
        key: ResponseKey,
        response: &S,
        digest: B256,
    ) -> Result<Bytes, SignError> {
        let signable = Signable {
            key,
            payload: frame::canonical(response.response()).into(),
            digest,
            extension: response.extension().into(),
        };
        let signature = self.signer.sign(&signable).await?;
        self.signed.lock().push(signable);
        Ok(signature)
    }
}

/// Does the AVS's work: the answers to a task.
pub type OnTaskRequest<T, K> = Box<dyn Fn(TaskInfo<T>) -> BoxFuture<'static, Result<Vec<K>, CallError>> + Send + Sync>;

/// Signs the answers with the guarded signer.
pub type OnSubmitTaskToLeader<T, K> = Box<
    dyn for<'a> Fn(TaskInfo<T>, Vec<K>, &'a GuardedSigner<'a>) -> BoxFuture<'a, Result<(), SignError>> + Send + Sync,
>;

/// Checks an answer and says which task and digest it counts for. Pure: every node comes to the same. The response key
/// is the second part.
pub type OnLeaderProcessTaskResponse<T, S> =
    Box<dyn Fn(&TaskInfo<T>, OperatorId, &S) -> Result<(TaskIndex, ResponseKey, B256), Rejection> + Send + Sync>;

/// Whether an account is an operator of the AVS at a block.
pub type IsRegisteredOperator =
    Box<dyn Fn(BlockRef, Address) -> BoxFuture<'static, Result<bool, CallError>> + Send + Sync>;

/// The URL an operator published, if the AVS keeps such a list.
pub type FetchOperatorUrl =
    Box<dyn Fn(BlockRef, Address) -> BoxFuture<'static, Result<Option<String>, CallError>> + Send + Sync>;

/// The AVS's logic.
pub struct TaskConsensusCallbacks<T, K, S = SignedTaskResponse<K>> {
    /// Names the logic: tasks run only on operators with the same name and version.
    pub version: String,
    /// Most response keys per task.
    pub max_keys: usize,
    /// Does the work.
    pub on_task_request: OnTaskRequest<T, K>,
    /// Signs the answers.
    pub on_submit_task_to_leader: OnSubmitTaskToLeader<T, K>,
    /// Checks one answer.
    pub on_leader_process_task_response: OnLeaderProcessTaskResponse<T, S>,
    /// Whether an account is an operator.
    pub is_registered_operator: IsRegisteredOperator,
    /// Where an operator says it is.
    pub fetch_operator_url: FetchOperatorUrl,
    /// Whether the team's own code puts answers on chain and reports the transactions.
    pub reports_submissions: bool,
}

pub(super) struct Bridge<T, K, S> {
    callbacks: TaskConsensusCallbacks<T, K, S>,
    digest: B256,
    _types: PhantomData<(T, K, S)>,
}

impl<T: Payload, K: Payload, S: SignedResponse<Response = K>> Bridge<T, K, S> {
    pub fn new(callbacks: TaskConsensusCallbacks<T, K, S>) -> Self {
        let digest = eigenshift_types::keccak256(frame::canonical(&("eigenshift native v1", &callbacks.version)));
        Self { callbacks, digest, _types: PhantomData }
    }

    fn info(task: &Task) -> Result<TaskInfo<T>, CallError> {
        let request =
            frame::from_canonical(&task.request).map_err(|error| CallError::InvalidTask(error.to_string()))?;
        Ok(TaskInfo {
            index: task.index,
            request,
            service: task.service.clone(),
            reference_block: task.reference_block,
            reference_time: task.reference_time,
        })
    }
}

fn reject(code: &str, message: impl std::fmt::Display) -> ProcessError {
    ProcessError::Rejected { code: code.to_owned(), message: message.to_string() }
}

#[async_trait]
impl<T: Payload, K: Payload, S: SignedResponse<Response = K>> Callbacks for Bridge<T, K, S> {
    fn bundle_digest(&self) -> B256 {
        self.digest
    }

    fn max_keys(&self) -> usize {
        self.callbacks.max_keys
    }

    async fn on_task_request(&self, task: &Task) -> Result<Vec<Bytes>, CallError> {
        let answers = (self.callbacks.on_task_request)(Self::info(task)?).await?;
        Ok(answers.iter().map(|answer| frame::canonical(answer).into()).collect())
    }

    async fn on_submit_task_to_leader(
        &self,
        task: &Task,
        responses: &[Bytes],
        signer: &TaskSigner,
    ) -> Result<Vec<Signable>, CallError> {
        let decode =
            |bytes: &Bytes| frame::from_canonical(bytes).map_err(|error| CallError::BadOutput(error.to_string()));
        let answers = responses.iter().map(decode).collect::<Result<Vec<K>, _>>()?;
        let guarded = GuardedSigner { signer, signed: Default::default() };
        (self.callbacks.on_submit_task_to_leader)(Self::info(task)?, answers, &guarded).await.map_err(|error| {
            match error {
                SignError::Call(error) => error,
                error => CallError::BadOutput(error.to_string()),
            }
        })?;
        Ok(guarded.signed.into_inner())
    }

    async fn on_leader_process_task_response(
        &self,
        task: &Task,
        response: &PeerResponse,
    ) -> Result<AggregateKey, ProcessError> {
        let info = Self::info(task)?;
        let answer: K = frame::from_canonical(&response.payload).map_err(|error| reject("malformed", error))?;
        if frame::canonical(&answer) != response.payload {
            return Err(reject("non-canonical", "encoded again, the response has other bytes"));
        }
        let rejected = |rejection: Rejection| reject(&rejection.code, rejection.message);
        let signed = S::from_parts(answer, &response.extension).map_err(rejected)?;
        let (task_index, key, digest) =
            (self.callbacks.on_leader_process_task_response)(&info, response.operator_id, &signed).map_err(rejected)?;
        Ok(AggregateKey { task_index, key, digest })
    }

    fn submits(&self) -> bool {
        self.callbacks.reports_submissions
    }

    fn directory(&self) -> Option<&dyn OperatorDirectory> {
        Some(self)
    }
}

#[async_trait]
impl<T: Payload, K: Payload, S: SignedResponse<Response = K>> OperatorDirectory for Bridge<T, K, S> {
    async fn is_registered_operator(&self, block: BlockRef, operator: Address) -> Result<bool, CallError> {
        (self.callbacks.is_registered_operator)(block, operator).await
    }

    async fn fetch_operator_url(&self, block: BlockRef, operator: Address) -> Result<Option<String>, CallError> {
        (self.callbacks.fetch_operator_url)(block, operator).await
    }
}
