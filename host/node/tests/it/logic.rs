//! The AVS of these tests: it answers with what it was asked, when it is let.

use std::sync::Arc;

use async_trait::async_trait;
use eigenshift_engine::callbacks::{Callbacks, Rotation, TaskSource, TaskSubmission};
use eigenshift_engine::signer::TaskSigner;
use eigenshift_plugin::{
    AggregateKey, CallError, Candidate, Decision, EventFilter, NewTask, PeerResponse, Plan, ProcessError, Signable,
    SubmissionCertificate, Task, Transaction, Trigger,
};
use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId, ResponseKey, TaskIndex, U256, keccak256};
use tokio::sync::watch;

/// What a request says to an operator that does not behave.
pub mod order {
    pub const PANIC: &[u8] = b"panic";
    pub const FAIL: &[u8] = b"fail";
    pub const TRAP: &[u8] = b"trap";
    pub const LIE: &[u8] = b"lie";
}

/// An answer that ends with this makes whoever checks it panic.
pub const MINE: &[u8] = b"boom";

/// One operator's logic, as the test sees it. The logic waits at the gate before it answers.
#[derive(Clone)]
pub struct Probe {
    calls: watch::Sender<u32>,
    gate: watch::Sender<bool>,
    desk: watch::Sender<bool>,
    answered: watch::Sender<bool>,
    obeys: bool,
    /// To whom it sends a transaction when a task is certified.
    submits_to: Option<Address>,
    /// Whether it makes tasks of timers.
    timed: bool,
}

impl Probe {
    /// `obeys`: does what [`order`] says, which an honest operator does not.
    pub fn new(obeys: bool) -> Self {
        Self {
            calls: watch::Sender::new(0),
            gate: watch::Sender::new(true),
            desk: watch::Sender::new(true),
            answered: watch::Sender::new(false),
            obeys,
            submits_to: None,
            timed: false,
        }
    }

    pub fn timed(self) -> Self {
        Self { timed: true, ..self }
    }

    pub fn submitting(self) -> Self {
        Self { submits_to: Some(Address::repeat_byte(0x5b)), ..self }
    }

    /// What the contract says: whether it holds an answer.
    pub fn set_answered(&self, answered: bool) {
        self.answered.send_replace(answered);
    }

    /// While it is closed, nobody's answers are processed here.
    pub fn set_desk(&self, open: bool) {
        self.desk.send_replace(open);
    }

    pub fn set_gate(&self, open: bool) {
        self.gate.send_replace(open);
    }

    /// How often it was asked for an answer.
    pub fn calls(&self) -> u32 {
        *self.calls.borrow()
    }

    pub async fn wait_calls(&self, least: u32) {
        let mut calls = self.calls.subscribe();
        calls.wait_for(|calls| *calls >= least).await.unwrap();
    }

    pub fn callbacks(&self) -> Arc<dyn Callbacks> {
        Arc::new(self.clone())
    }
}

/// `K`: task, 0 for the truth, request.
pub fn payload(task: TaskIndex, lie: u8, request: &[u8]) -> Bytes {
    [task.to_be_bytes().as_slice(), &[lie], request].concat().into()
}

pub fn digest(payload: &Bytes) -> B256 {
    keccak256(payload)
}

pub fn key() -> ResponseKey {
    ResponseKey::new(b"answer".to_vec()).unwrap()
}

#[async_trait]
impl Callbacks for Probe {
    fn bundle_digest(&self) -> B256 {
        keccak256("echo")
    }

    fn max_keys(&self) -> usize {
        1
    }

    async fn on_task_request(&self, task: &Task) -> Result<Vec<Bytes>, CallError> {
        self.calls.send_modify(|calls| *calls += 1);
        self.gate.subscribe().wait_for(|open| *open).await.map_err(|error| CallError::Internal(error.to_string()))?;
        let order: &[u8] = if self.obeys { &task.request } else { &[] };
        match order {
            order::PANIC => panic!("a callback that panics, as the test asked"),
            order::FAIL => Err(CallError::InvalidTask("as the test asked".to_owned())),
            order::TRAP => Err(CallError::Trap("as the test asked".to_owned())),
            order::LIE => Ok(vec![payload(task.index, 1, &task.request)]),
            _ => Ok(vec![payload(task.index, 0, &task.request)]),
        }
    }

    async fn on_submit_task_to_leader(
        &self,
        _: &Task,
        responses: &[Bytes],
        _: &TaskSigner,
    ) -> Result<Vec<Signable>, CallError> {
        let sign = |payload: &Bytes| Signable {
            key: key(),
            payload: payload.clone(),
            digest: digest(payload),
            extension: Bytes::new(),
        };
        Ok(responses.iter().map(sign).collect())
    }

    async fn on_leader_process_task_response(
        &self,
        _: &Task,
        response: &PeerResponse,
    ) -> Result<AggregateKey, ProcessError> {
        let closed = |error: watch::error::RecvError| CallError::Internal(error.to_string());
        self.desk.subscribe().wait_for(|open| *open).await.map_err(closed)?;
        let Some((task, _)) = response.payload.split_first_chunk::<4>() else {
            let message = "an answer begins with the task's number".to_owned();
            return Err(ProcessError::Rejected { code: "no-answer".to_owned(), message });
        };
        assert!(!response.payload.ends_with(MINE), "an answer that makes the logic panic, as the test asked");
        Ok(AggregateKey { task_index: TaskIndex::from_be_bytes(*task), key: key(), digest: digest(&response.payload) })
    }

    fn source(&self) -> Option<&dyn TaskSource> {
        self.timed.then_some(self)
    }

    fn submission(&self) -> Option<&dyn TaskSubmission> {
        self.submits_to.is_some().then_some(self)
    }

    fn rotation(&self) -> Option<&dyn Rotation> {
        Some(self)
    }
}

/// A task for each slot of a timer, about the slot.
#[async_trait]
impl TaskSource for Probe {
    async fn event_filters(&self) -> Result<Vec<EventFilter>, CallError> {
        Ok(Vec::new())
    }

    async fn on_trigger(&self, _: BlockRef, trigger: &Trigger) -> Result<Plan, CallError> {
        match trigger {
            Trigger::Timer { slot, .. } => {
                let request = slot.to_be_bytes().to_vec().into();
                Ok(Plan::Create(NewTask { index: None, request, keys_expected: 1 }))
            }
            _ => Ok(Plan::Ignore("no timer".to_owned())),
        }
    }
}

/// A contract that says that it is answered when the test does.
#[async_trait]
impl TaskSubmission for Probe {
    async fn submit(
        &self,
        task: &Task,
        _: &[SubmissionCertificate],
        _: bool,
        _: BlockRef,
    ) -> Result<Decision, CallError> {
        let to = self.submits_to.ok_or(CallError::Unsupported)?;
        Ok(Decision::Submit(Transaction { to, data: payload(task.index, 0, &task.request), value: U256::ZERO }))
    }

    async fn is_answered(&self, _: &Task, _: BlockRef) -> Result<bool, CallError> {
        Ok(*self.answered.borrow())
    }
}

/// Its own order of duty, for clusters that want one: against the ring.
#[async_trait]
impl Rotation for Probe {
    async fn next(&self, candidates: &[Candidate], last: Option<OperatorId>, _: B256) -> Result<usize, CallError> {
        let at = candidates.iter().position(|candidate| Some(candidate.operator_id) == last);
        Ok(at.and_then(|at| at.checked_sub(1)).unwrap_or(candidates.len() - 1))
    }
}
