//! Wire values to the SDK's and back. The host is checked like anyone else: a wrong length is an error, not a panic.

use crate::codec::{DecodeError, Malformed};
use crate::wit::lifecycle::eigenshift::avs::types as wire;
use crate::wit::lifecycle::exports::eigenshift::avs::task_lifecycle;
use crate::wit::operator_directory::exports::eigenshift::avs::operator_directory;
use crate::wit::task_source::exports::eigenshift::avs::task_source;
use crate::wit::task_submission::exports::eigenshift::avs::task_submission;
use crate::{
    Address, B256, BlockId, Certificate, DirectoryError, EventLog, G1Point, G2Point, Payload, Rejection, ResponseKey,
    Service, SourceError, SubmissionError, Task, TaskError, Transaction, Trigger, U256,
};

/// Why an argument could not be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    #[error("the request is not decodable: {0}")]
    Request(Malformed),
    #[error("a certificate's response is {0}")]
    Response(DecodeError),
    #[error("the host passed {found} bytes where {expected} are due")]
    Length { expected: usize, found: usize },
    #[error("the host passed a response key that is empty or longer than 64 bytes")]
    Key,
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Bad> {
    bytes.try_into().map_err(|_| Bad::Length { expected: N, found: bytes.len() })
}

pub(super) fn bytes32(bytes: &[u8]) -> Result<B256, Bad> {
    fixed(bytes).map(B256::new)
}

pub(super) fn address(bytes: &[u8]) -> Result<Address, Bad> {
    fixed(bytes).map(Address::new)
}

pub(super) fn block_id(wire: &wire::BlockId) -> Result<BlockId, Bad> {
    Ok(BlockId { number: wire.number, hash: bytes32(&wire.hash)? })
}

pub(super) fn service(wire: wire::Service) -> Result<Service, Bad> {
    Ok(Service { avs: wire.avs, chain_id: wire.chain_id, service_manager: address(&wire.service_manager)? })
}

pub(super) fn task<T: Payload>(wire: wire::Task) -> Result<Task<T>, Bad> {
    Ok(Task {
        index: wire.index,
        request: T::decode(&wire.request).map_err(Bad::Request)?,
        service: service(wire.service)?,
        reference_block: block_id(&wire.reference_block)?,
        reference_time: wire.reference_time,
    })
}

pub(super) fn event_log(wire: wire::EventLog) -> Result<EventLog, Bad> {
    Ok(EventLog {
        address: address(&wire.address)?,
        topics: wire.topics.iter().map(|topic| bytes32(topic)).collect::<Result<_, _>>()?,
        data: wire.data,
        block: block_id(&wire.block)?,
        transaction_hash: bytes32(&wire.transaction_hash)?,
        log_index: wire.log_index,
    })
}

pub(super) fn trigger(wire: task_source::Trigger) -> Result<Trigger, Bad> {
    Ok(match wire {
        task_source::Trigger::Timer((name, slot)) => Trigger::Timer { name, slot },
        task_source::Trigger::Event(log) => Trigger::Event(event_log(log)?),
        task_source::Trigger::Request(bytes) => Trigger::Request(bytes),
    })
}

/// The 32-byte words of a point.
fn words<const N: usize>(bytes: &[u8]) -> Result<[U256; N], Bad> {
    let length = || Bad::Length { expected: N * 32, found: bytes.len() };
    let words =
        bytes.chunks(32).map(|word| Ok(U256::from_be_bytes(fixed::<32>(word)?))).collect::<Result<Vec<_>, Bad>>();
    words.map_err(|_| length())?.try_into().map_err(|_| length())
}

fn g1(bytes: &[u8]) -> Result<G1Point, Bad> {
    let [x, y] = words(bytes)?;
    Ok(G1Point { x, y })
}

fn g2(bytes: &[u8]) -> Result<G2Point, Bad> {
    let [x_imaginary, x_real, y_imaginary, y_real] = words(bytes)?;
    Ok(G2Point { x: [x_imaginary, x_real], y: [y_imaginary, y_real] })
}

pub(super) fn certificate<K: Payload>(wire: task_submission::Certificate) -> Result<Certificate<K>, Bad> {
    Ok(Certificate {
        key: ResponseKey::new(wire.key).ok_or(Bad::Key)?,
        response: K::decode_canonical(&wire.payload).map_err(Bad::Response)?,
        digest: bytes32(&wire.digest)?,
        non_signers: wire.non_signers.iter().map(|point| g1(point)).collect::<Result<_, _>>()?,
        quorum_aggregate_keys: wire.quorum_aggregate_keys.iter().map(|point| g1(point)).collect::<Result<_, _>>()?,
        quorums: wire.quorums,
        signers_aggregate_key: g2(&wire.signers_aggregate_key)?,
        signature: g1(&wire.signature)?,
    })
}

impl From<Transaction> for wire::Transaction {
    fn from(transaction: Transaction) -> Self {
        Self {
            to: transaction.to.to_vec(),
            data: transaction.data,
            value: transaction.value.to_be_bytes::<32>().to_vec(),
        }
    }
}

impl From<TaskError> for wire::TaskError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::RetryAfterMs(ms) => Self::RetryAfterMs(ms),
            TaskError::NotApplicable(why) => Self::NotApplicable(why),
            TaskError::InvalidTask(why) => Self::InvalidTask(why),
            TaskError::Other(why) => Self::Other(why),
        }
    }
}

impl From<Rejection> for task_lifecycle::Rejection {
    fn from(rejection: Rejection) -> Self {
        Self { code: rejection.code, message: rejection.message }
    }
}

impl From<SourceError> for task_source::SourceError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::RetryAfterMs(ms) => Self::RetryAfterMs(ms),
            SourceError::InvalidTrigger(why) => Self::InvalidTrigger(why),
            SourceError::Other(why) => Self::Other(why),
        }
    }
}

impl From<SubmissionError> for task_submission::SubmissionError {
    fn from(error: SubmissionError) -> Self {
        match error {
            SubmissionError::RetryAfterMs(ms) => Self::RetryAfterMs(ms),
            SubmissionError::Other(why) => Self::Other(why),
        }
    }
}

impl From<DirectoryError> for operator_directory::DirectoryError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Unavailable(why) => Self::Unavailable(why),
            DirectoryError::Other(why) => Self::Other(why),
        }
    }
}
