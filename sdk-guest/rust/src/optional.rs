//! Interfaces that a plugin may add, each named in [`export!`](crate::export).

use crate::{
    Address, Avs, B256, BlockId, Candidate, Certificate, Chain, Decision, DirectoryError, EventFilter, Plan, Service,
    SourceError, SubmissionError, Task, Trigger,
};

/// Makes tasks. Called at the leader only. Without it, the bytes of an admin trigger are the request.
pub trait TaskSource: Avs {
    /// Which contract events make tasks. Called once per activation and at each change of leader; reads nothing.
    fn event_filters(service: &Service) -> Vec<EventFilter> {
        let _ = service;
        Vec::new()
    }

    /// Turns a trigger into a plan. `block` is the newest block the leader works with; chain reads are bound to it.
    fn on_trigger(
        service: &Service,
        block: &BlockId,
        trigger: &Trigger,
        chain: &Chain,
    ) -> Result<Plan<Self::Request>, SourceError>;
}

/// Puts the outcome on chain. Called at the task's aggregator only; chain reads are bound to `block`, the head.
pub trait TaskSubmission: Avs {
    /// Decides, from the certificates so far, and encodes the transaction. `last` is true once, before the task expires.
    fn submit(
        task: &Task<Self::Request>,
        certificates: &[Certificate<Self::Response>],
        last: bool,
        block: &BlockId,
        chain: &Chain,
    ) -> Result<Decision, SubmissionError>;

    /// Whether the contract already holds an answer. Asked before an answer is sent a second time.
    fn is_answered(task: &Task<Self::Request>, block: &BlockId, chain: &Chain) -> Result<bool, SubmissionError>;
}

/// The AVS's own order of duty. Every node re-runs it: pure, reads nothing.
pub trait Rotation {
    /// Index into `candidates` (ascending by operator id, never empty) of the next on duty. `last` is who had it; `seed` is
    /// the hash of the closed task's reference block. Out of range counts as 0.
    fn next(candidates: &[Candidate], last: Option<B256>, seed: B256) -> usize;
}

/// Who is an operator and where. Without it the AVS's registry contract answers.
pub trait OperatorDirectory {
    /// Whether `operator` is registered for the AVS at `block`.
    fn is_registered_operator(
        service: &Service,
        block: &BlockId,
        operator: Address,
        chain: &Chain,
    ) -> Result<bool, DirectoryError>;

    /// The URL that `operator` published, or none if the AVS keeps no such list.
    fn fetch_operator_url(
        service: &Service,
        block: &BlockId,
        operator: Address,
        chain: &Chain,
    ) -> Result<Option<String>, DirectoryError>;
}
