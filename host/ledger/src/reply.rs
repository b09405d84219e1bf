//! What applying a command comes to.

use eigenshift_types::{CommandId, NodeId, TaskIndex, frame};
use serde::{Deserialize, Serialize};

/// The answer that the proposer gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It changed the state.
    Accepted(Accepted),
    /// It was taken before, or says what is already so: nothing changed.
    NoOp,
    /// It was refused: nothing changed.
    Refused {
        /// [`Refusal::code`].
        code: String,
        /// For people.
        message: String,
    },
}

/// What a command that was accepted made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accepted {
    /// Nothing that has a name.
    Plain,
    /// A member.
    Member(NodeId),
    /// A task.
    Task {
        /// Its number.
        index: TaskIndex,
        /// Who aggregates it.
        aggregator: NodeId,
    },
}

impl Reply {
    /// The bytes that travel back to the proposer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        frame::canonical(self)
    }

    /// Reads what [`Reply::encode`] wrote.
    ///
    /// # Errors
    /// [`frame::FrameError`] when it is of another shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, frame::FrameError> {
        frame::from_canonical(bytes)
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident $({ $($field:ident: $type:ty),* $(,)? })? = $code:literal, $message:literal;)*) => {
        /// Why a command was refused. The codes are stable.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Refusal {
            $($(#[$doc])* #[error($message)] $name $({ $(#[allow(missing_docs, reason = "named in the message")] $field: $type),* })?,)*
        }

        impl Refusal {
            /// Short machine-readable code.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self {
                    $(Self::$name $({ $($field: _),* })? => $code,)*
                }
            }
        }
    };
}

refusals! {
    /// No frame, no command in it.
    Malformed = "malformed", "the entry holds no readable command; it was logged by a faulty leader";
    /// The ledger has not begun, or has begun already.
    Bootstrapped = "bootstrap", "a ledger begins with one Bootstrap and has no second one";
    /// Nobody of that id.
    UnknownAuthor { author: NodeId } = "unknown-author", "node {author} is no member; it may have been removed: join again";
    /// Not the author's signature.
    BadSignature = "bad-signature", "the author's signature does not cover this cluster, epoch, id and command";
    /// Too far behind.
    StaleId { id: CommandId } = "stale-id", "command id {id} is more than 1,024 behind the author's highest; take a new id";
    /// Only the leader may.
    NotLeader = "not-leader", "only the leader of the entry may log this; send it to the current leader";
    /// Only the aggregator may.
    NotAggregator = "not-aggregator", "only the task's aggregator may log this; look up who that is now";
    /// An older assignment.
    StaleAssignment { current: u64 } = "stale-assignment", "the task has been assigned anew (assignment epoch {current})";
    /// No such member.
    UnknownMember { node: NodeId } = "unknown-member", "node {node} is no member";
    /// Another author's business.
    NotYours = "not-yours", "only the leader or the node itself may log this";
    /// The operator's message.
    InvalidJoin { why: &'static str } = "invalid-join", "the join is not acceptable: {why}";
    /// Used challenge.
    ChallengeUsed = "challenge-used", "the join's challenge was used before; ask for a new one";
    /// Bad settings.
    InvalidSettings { why: &'static str } = "invalid-settings", "{why}";
    /// Approvals.
    NotApproved { have: usize, need: usize } = "not-approved", "{have} valid approvals of voters, {need} needed";
    /// Bad operator set.
    InvalidOperatorSet { why: String } = "invalid-operator-set", "the operator set is not well formed: {why}";
    /// Unknown operator set.
    UnknownOperatorSet = "unknown-operator-set", "the operator set is not in the ledger; log it first";
    /// Trigger used.
    TriggerUsed = "trigger-used", "this trigger has made its task or plan already";
    /// Index used.
    IndexUsed { index: TaskIndex } = "index-used", "task index {index} is used or below those kept";
    /// Task outside the settings.
    InvalidTask { why: &'static str } = "invalid-task", "the task is outside the cluster's settings: {why}";
    /// Too many tasks.
    TooManyTasks { open: u32 } = "too-many-open-tasks", "{open} tasks are open, which is the cluster's limit; wait for one to end";
    /// A hand-over comes first.
    HandOverDue = "hand-over-due", "a hand-over of the duty is due; the next leader creates the task";
    /// Wrong bundle.
    WrongBundle = "wrong-bundle", "the task names another bundle than the active one";
    /// Nobody can aggregate.
    NoAggregator = "no-aggregator", "no live member of the operator set can aggregate";
    /// No such task.
    UnknownTask { index: TaskIndex } = "unknown-task", "task {index} is not known, or long ended";
    /// Task ended.
    TaskEnded { index: TaskIndex } = "task-ended", "task {index} has ended; its state is final";
    /// The aggregator is there.
    AggregatorLives = "aggregator-lives", "the task's aggregator is a live member";
    /// Bad certificate.
    InvalidCertificate { why: String } = "invalid-certificate", "the certificate is not valid: {why}";
    /// Two digests.
    Conflict = "conflicting-certificate", "another digest is certified for this key; recorded as a fault";
    /// Wrong phase.
    WrongPhase { why: &'static str } = "wrong-phase", "not in this phase of the task: {why}";
    /// Intent rules.
    InvalidIntent { why: &'static str } = "invalid-intent", "{why}";
    /// Bundle rules.
    InvalidBundle { why: &'static str } = "invalid-bundle", "{why}";
    /// Too long.
    TooLarge { what: &'static str } = "too-large", "{what} is too large";
    /// Rotation rules.
    InvalidTurn { why: &'static str } = "invalid-turn", "{why}";
    /// Complaint rules.
    InvalidComplaint { why: &'static str } = "invalid-complaint", "{why}";
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code().to_owned(), message: refusal.to_string() }
    }
}
