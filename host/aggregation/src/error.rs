//! Why a set, a task's quorums or an opening is refused.

use eigenshift_bls::DecodeError;
use eigenshift_types::TaskIndex;

/// Which of an operator's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The key that the id is made of.
    G1,
    /// The key that verifies.
    G2,
}

/// Why a set, a task's quorums or an opening is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No operator, or too many.
    #[error("an operator set has 1 to {max} operators, this one has {found}", max = crate::operators::MAX_OPERATORS)]
    SetSize {
        /// What there was.
        found: usize,
    },
    /// The set has no quorum, or they do not ascend strictly.
    #[error("the set's quorums must be there and ascend strictly by number")]
    SetQuorumOrder,
    /// Operators do not ascend strictly by id.
    #[error("operator {position}: ids must ascend strictly")]
    OperatorOrder {
        /// Where in the set.
        position: usize,
    },
    /// Not one stake for each quorum of the set.
    #[error("operator {position}: {found} stakes for {quorums} quorums")]
    StakeCount {
        /// Where in the set.
        position: usize,
        /// How many stakes there were.
        found: usize,
        /// How many quorums the set has.
        quorums: usize,
    },
    /// A key that is no point of its group.
    #[error("operator {position}: {group:?} key: {source}")]
    OperatorKey {
        /// Where in the set.
        position: usize,
        /// Which key.
        group: Group,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// An id that is not the hash of the G1 key.
    #[error("operator {position}: the id is not keccak256 of the G1 key")]
    OperatorId {
        /// Where in the set.
        position: usize,
    },
    /// Some operator's G1 and G2 keys have different secrets: certificates under the set could be forged.
    #[error("some operator's G1 and G2 keys do not belong together: do not use this registry")]
    KeysDiffer,
    /// A total that is not the sum of the stakes, or leaves the range of a stake.
    #[error("quorum {quorum}: the total stake is not the sum of the operators' stakes")]
    StakeSum {
        /// Number of the quorum.
        quorum: u8,
    },
    /// An aggregate key that is not the sum of the keys with stake.
    #[error("quorum {quorum}: the aggregate key is not the sum of the keys of the operators with stake")]
    AggregateKey {
        /// Number of the quorum.
        quorum: u8,
    },
    /// Not the hash of the set's content.
    #[error("the set's digest is not that of its content")]
    Digest,
    /// A task without quorums.
    #[error("a task needs at least one quorum")]
    NoQuorum,
    /// Not one threshold for each quorum.
    #[error("{quorums} quorums with {thresholds} thresholds: give one for each")]
    ThresholdCount {
        /// How many quorums.
        quorums: usize,
        /// How many thresholds.
        thresholds: usize,
    },
    /// A task's quorums do not ascend strictly: contracts refuse that.
    #[error("quorum {quorum}: a task's quorums must ascend strictly")]
    QuorumOrder {
        /// The first that is out of order.
        quorum: u8,
    },
    /// A quorum that the operator set does not have.
    #[error("quorum {quorum} is not in the operator set: name the set of a block at which it exists")]
    UnknownQuorum {
        /// Number of the quorum.
        quorum: u8,
    },
    /// A quorum without any stake, which nothing could ever reach.
    #[error("quorum {quorum} has no stake: nothing could be certified")]
    EmptyQuorum {
        /// Number of the quorum.
        quorum: u8,
    },
    /// A threshold outside 1 to 100.
    #[error("quorum {quorum}: a threshold is 1 to 100 percent, not {threshold}")]
    Threshold {
        /// Number of the quorum.
        quorum: u8,
        /// What was given.
        threshold: u8,
    },
    /// No key allowed for a task.
    #[error("a task needs room for at least one response key")]
    NoKeys,
    /// The task is open already: close it first.
    #[error("task {task} is being aggregated already: close it first")]
    AlreadyOpen {
        /// The task.
        task: TaskIndex,
    },
    /// As many tasks as allowed are open: close some first.
    #[error("{max} tasks are being aggregated, which is the limit: close some, or raise it")]
    TooManyTasks {
        /// The limit.
        max: usize,
    },
}
