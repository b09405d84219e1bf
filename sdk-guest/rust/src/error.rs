//! Why a callback has no result. A case stands for something the host does; the texts are for people.

use thiserror::Error;

/// Why a chain read gave nothing. `?` turns it into the error of the callback: what may heal is asked again, the rest is
/// reported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    /// Neither the manifest's grant nor the operator's allows it, or this callback may not read.
    #[error("chain reads are not granted here")]
    AccessDenied,
    /// The contract reverted, with this data.
    #[error("the contract reverted with 0x{}", alloy_primitives::hex::encode(.0))]
    Reverted(Vec<u8>),
    /// A block above the one of the call, or unknown to the operator's endpoint.
    #[error("the block is unknown or above the block of the call")]
    UnknownBlock,
    /// A range that is too wide or an argument of a wrong length.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// The endpoint did not answer.
    #[error("the chain is unavailable: {0}")]
    Unavailable(String),
    /// The contract answered with something that the call's return types do not describe (no contract there, for example).
    #[error("undecodable answer: {0}")]
    Undecodable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// How long a callback asks to be left alone when its chain read may work later.
const CHAIN_RETRY_MS: u32 = 1_000;

impl ChainError {
    /// Whether the same read may work later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::UnknownBlock)
    }
}

/// Why [`Avs::on_task_request`](crate::Avs::on_task_request) has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TaskError {
    /// Not now: called again after so many milliseconds, until the task expires.
    #[error("again in {0} ms")]
    RetryAfterMs(u32),
    /// This operator has nothing to say on this task: not called again.
    #[error("not applicable: {0}")]
    NotApplicable(String),
    /// The task itself is wrong: not called again, and reported.
    #[error("invalid task: {0}")]
    InvalidTask(String),
    /// Anything else: logged, and tried again with back-off until the task expires.
    #[error("{0}")]
    Other(String),
}

/// Why the aggregator does not take a response; the sender gets it as the HTTP reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// Short code in kebab-case, for machines.
    pub code: String,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl Rejection {
    /// A rejection. Codes that the SDK itself uses: `invalid-task`, `malformed`, `non-canonical`, `malformed-extension`.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// Why a trigger has no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    /// Not now: called again with the same trigger after so many milliseconds.
    #[error("again in {0} ms")]
    RetryAfterMs(u32),
    /// The trigger is unusable: dropped, and reported to whoever sent it.
    #[error("invalid trigger: {0}")]
    InvalidTrigger(String),
    /// Anything else: reported and dropped.
    #[error("{0}")]
    Other(String),
}

/// Why there is no decision about a submission.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmissionError {
    /// Not now: called again after so many milliseconds.
    #[error("again in {0} ms")]
    RetryAfterMs(u32),
    /// Anything else: logged, and tried again with back-off until the task expires.
    #[error("{0}")]
    Other(String),
}

/// Why the directory has no answer; the join that asked is refused and may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DirectoryError {
    /// The chain could not be read.
    #[error("the chain is unavailable: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

macro_rules! from_chain_error {
    ($($error:ident),+) => {$(
        impl From<ChainError> for $error {
            fn from(error: ChainError) -> Self {
                if error.is_transient() { Self::RetryAfterMs(CHAIN_RETRY_MS) } else { Self::Other(error.to_string()) }
            }
        }
    )+};
}
from_chain_error!(TaskError, SourceError, SubmissionError);

impl From<ChainError> for DirectoryError {
    fn from(error: ChainError) -> Self {
        if error.is_transient() { Self::Unavailable(error.to_string()) } else { Self::Other(error.to_string()) }
    }
}
