//! One operator's signed answer, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::DecodeError;
use eigenshift_types::{B256, Bytes, Certificate, OperatorId, Quorums, ResponseKey, TaskIndex};

use crate::Operators;

/// A task to collect signatures for.
#[derive(Clone, Debug)]
pub struct TaskAggregation {
    /// The task.
    pub task: TaskIndex,
    /// Who counts.
    pub operators: Arc<Operators>,
    /// Which quorums must be reached.
    pub quorums: Quorums,
    /// How long signatures are still added after the quorums are reached. It ends early when every operator has answered;
    /// zero certifies at once.
    pub window: Duration,
    /// Response keys that one operator may answer for. Counted per operator, so that one that makes up keys takes nobody
    /// else's place.
    pub max_keys: usize,
    /// Keys that are certified already, by an aggregator before this one.
    pub certified: Vec<(ResponseKey, B256)>,
}

/// One operator's signed answer. Bodies are bounded by whoever received them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The task.
    pub task: TaskIndex,
    /// What the answer is about.
    pub key: ResponseKey,
    /// `K`. The first counted one of the digest that wins goes into the certificate.
    pub payload: Bytes,
    /// What was signed.
    pub digest: B256,
    /// Who signed, as proven by the envelope.
    pub operator: OperatorId,
    /// The signature over `digest`, uncompressed G1.
    pub signature: Bytes,
}

/// What became of a share that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It counts.
    Counted,
    /// The same one counts already.
    Duplicate,
    /// The key is certified: nothing is left to add.
    AlreadyCertified,
}

/// Why a share is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// No such task here now: park it if it is early, else drop it.
    #[error("task {0} is not being aggregated here")]
    NotOpen(TaskIndex),
    /// The signer is not in the task's operator set.
    #[error("operator {0} is not in the task's operator set")]
    UnknownOperator(OperatorId),
    /// The signer has no stake in any of the task's quorums.
    #[error("operator {0} has no stake in the task's quorums")]
    NoStake(OperatorId),
    /// The signature is no point of G1.
    #[error("the signature: {0}")]
    Malformed(#[from] DecodeError),
    /// The signature is not the operator's over that digest.
    #[error("the signature is not the operator's over this digest")]
    Incorrect,
    /// The operator signed another digest for this key before; the first one counts, both are kept as evidence.
    #[error("the operator signed {first} for this key before")]
    Equivocation {
        /// The digest that counts.
        first: B256,
    },
    /// The operator answers for more keys than a task may have.
    #[error("the operator answers for more than {max} keys of this task")]
    TooManyKeys {
        /// What a task may have.
        max: usize,
    },
    /// The operator sent so many wrong signatures for this task that none is looked at any more.
    #[error("the operator sent {limit} wrong signatures for this task: no more are looked at")]
    TooManyIncorrect {
        /// How many are looked at.
        limit: u32,
    },
    /// The queue is full, or the operator has another share for this key in it: send again later.
    #[error("busy: send again later")]
    Busy,
    /// The pool dropped the verification, mostly because the host is shutting down.
    #[error("the share was not verified, the aggregator is shutting down: send again later")]
    Closed,
}

impl ShareError {
    /// Short machine-readable code; stable.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotOpen(_) => "not-open",
            Self::UnknownOperator(_) => "unknown-operator",
            Self::NoStake(_) => "no-stake",
            Self::Malformed(_) => "malformed-signature",
            Self::Incorrect => "incorrect-signature",
            Self::Equivocation { .. } => "equivocation",
            Self::TooManyKeys { .. } => "too-many-keys",
            Self::TooManyIncorrect { .. } => "too-many-incorrect",
            Self::Busy => "busy",
            Self::Closed => "closed",
        }
    }
}

/// An operator's signatures over two digests for one key of one task: whoever has its key can check both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The task.
    pub task: TaskIndex,
    /// What both answers are about.
    pub key: ResponseKey,
    /// Who signed both.
    pub operator: OperatorId,
    /// Digest and signature that were first, and count.
    pub first: (B256, Bytes),
    /// Digest and signature that came later.
    pub second: (B256, Bytes),
}

/// What happened. A key of a task has one terminal event: certified or expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A certificate was made. Terminal.
    Certified(Certificate),
    /// The task was closed before any answer for this key reached its quorums. Terminal.
    Expired {
        /// The task.
        task: TaskIndex,
        /// The key, for which there was at least one valid share.
        key: ResponseKey,
    },
    /// An operator signed two digests for one key. Once per operator and key.
    Equivocation(Evidence),
}

/// How far a key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStage {
    /// No digest has its quorums.
    Collecting,
    /// A digest has its quorums; more signers are waited for.
    Window,
    /// Done.
    Certified,
}

/// How far a key has come, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProgress {
    /// What the answers are about.
    pub key: ResponseKey,
    /// Stage.
    pub stage: KeyStage,
    /// The digest that won, or else leads.
    pub digest: B256,
    /// Signers of that digest that are counted here.
    pub signers: usize,
    /// Stake behind it in whole percent of each of the task's quorums, rounded down.
    pub percent: Vec<u8>,
}
