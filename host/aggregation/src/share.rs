//! One operator's signed answer, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::any::verify;
use eigenshift_bls::{Curve, DecodeError, PublicKey, Signature};
use eigenshift_types::{B256, Bytes, Certificate, OperatorId, Quorums, ResponseKey, TaskIndex};
use serde::{Deserialize, Serialize};

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
    /// When a key whose digest has its quorums is certified.
    pub policy: Policy,
    /// When the task ends by itself, if it does; else whoever opened it closes it.
    pub expiry: Expiry,
    /// Response keys that one operator may answer for. Counted per operator, so that one that makes up keys takes nobody
    /// else's place.
    pub max_keys: usize,
    /// Keys that are certified already, by an aggregator before this one.
    pub certified: Vec<(ResponseKey, B256)>,
}

/// When a key whose digest has its quorums is certified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// At once: soonest, with the most non-signers.
    #[default]
    AtQuorum,
    /// When enough have signed, or time is up: each non-signer costs gas on chain.
    Wait {
        /// How long signatures are still added after the quorums are reached.
        at_most: Duration,
        /// How many of those with stake may be missing from the winner without waiting for them.
        non_signers: usize,
    },
}

impl Policy {
    /// Waits for everybody, for so long; not at all for zero.
    #[must_use]
    pub const fn window(window: Duration) -> Self {
        if window.is_zero() { Self::AtQuorum } else { Self::Wait { at_most: window, non_signers: 0 } }
    }
}

/// When a task ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never: it is closed.
    #[default]
    Never,
    /// So long after it was opened.
    After(Duration),
    /// With this block, whatever the time.
    AtBlock(u64),
}

/// What eigensdk's aggregation service is told of a task, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskMetadata {
    /// Number of the task.
    pub task_index: TaskIndex,
    /// Block at which the operators' stakes count.
    pub task_created_block: u64,
    /// Quorums, strictly ascending.
    pub quorum_numbers: Vec<u8>,
    /// One threshold for each quorum, percent of its stake.
    pub quorum_threshold_percentages: Vec<u8>,
    /// How long after it was opened the task expires.
    pub time_to_expiry: Duration,
    /// How long signatures are still added after the quorums are reached; zero by default.
    pub window_duration: Duration,
}

impl TaskMetadata {
    /// A task without a window.
    #[must_use]
    pub const fn new(
        task_index: TaskIndex,
        task_created_block: u64,
        quorum_numbers: Vec<u8>,
        quorum_threshold_percentages: Vec<u8>,
        time_to_expiry: Duration,
    ) -> Self {
        let window_duration = Duration::ZERO;
        Self {
            task_index,
            task_created_block,
            quorum_numbers,
            quorum_threshold_percentages,
            time_to_expiry,
            window_duration,
        }
    }

    /// The same task with a window.
    #[must_use]
    pub const fn with_window_duration(mut self, window: Duration) -> Self {
        self.window_duration = window;
        self
    }

    /// The task under the operators of its block, with one response key.
    #[must_use]
    pub fn with_operators(self, operators: Arc<Operators>) -> TaskAggregation {
        TaskAggregation {
            task: self.task_index,
            operators,
            quorums: Quorums { numbers: self.quorum_numbers, thresholds: self.quorum_threshold_percentages },
            policy: Policy::window(self.window_duration),
            expiry: Expiry::After(self.time_to_expiry),
            max_keys: 1,
            certified: Vec::new(),
        }
    }
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
    /// What was sent beside `K`.
    pub extension: Bytes,
    /// What was signed.
    pub digest: B256,
    /// Who signed, as proven by the envelope.
    pub operator: OperatorId,
    /// The signature over `digest`, uncompressed.
    pub signature: Bytes,
}

/// What became of a share that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It counts.
    Counted,
    /// The same one counts already.
    Duplicate,
    /// The key is certified, with this digest: nothing is left to add.
    AlreadyCertified {
        /// What won.
        digest: B256,
    },
}

/// Why a share is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// No such task here now: park it if it is early, else drop it.
    #[error("task {0} is not being aggregated here")]
    NotOpen(TaskIndex),
    /// The task has expired.
    #[error("task {0} has expired")]
    Expired(TaskIndex),
    /// The signer is not in the task's operator set.
    #[error("operator {0} is not in the task's operator set")]
    UnknownOperator(OperatorId),
    /// The signer has no stake in any of the task's quorums.
    #[error("operator {0} has no stake in the task's quorums")]
    NoStake(OperatorId),
    /// The signature is no point of its group.
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
            Self::Expired(_) => "expired",
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

/// An answer of which evidence is made. That its digest is about the task and the key, the AVS's logic says of payload and
/// extension, to whoever runs its `on-leader-process-task-response` again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What was signed.
    pub digest: B256,
    /// The signature over it.
    pub signature: Bytes,
    /// A `K` that comes to this digest; of several operators that answered so, the first one's.
    pub payload: Bytes,
    /// What was sent beside that `K`.
    pub extension: Bytes,
}

/// An operator's signatures over two digests for one key of one task: whoever has its key can check both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The task.
    pub task: TaskIndex,
    /// What both answers are about.
    pub key: ResponseKey,
    /// Who signed both.
    pub operator: OperatorId,
    /// Curve of the key and the signatures.
    pub curve: Curve,
    /// The operator's verification key, uncompressed; that it is the operator's, the registry tells.
    pub public_key: Bytes,
    /// The answer that was first, and counts.
    pub first: Answer,
    /// The answer that came later.
    pub second: Answer,
}

impl Evidence {
    /// Whether both signatures are the key's, over two digests. What the digests are about is for the AVS's logic to say:
    /// see [`Answer`].
    #[must_use]
    pub fn holds(&self) -> bool {
        let Ok(key) = PublicKey::decode(self.curve, &self.public_key) else { return false };
        let valid = |answer: &Answer| {
            let signature = Signature::decode(self.curve, &answer.signature);
            signature.is_ok_and(|signature| verify(&key, answer.digest, &signature))
        };
        self.first.digest != self.second.digest && valid(&self.first) && valid(&self.second)
    }

    /// For whoever judges it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads what [`Evidence::to_json`] wrote. Whether it holds is another question.
    ///
    /// # Errors
    /// [`serde_json::Error`] says what is missing or wrong, and where.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
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
    /// A task has ended by itself. Once per task, after the terminal events of its keys, of which there may be none.
    Ended {
        /// The task.
        task: TaskIndex,
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
