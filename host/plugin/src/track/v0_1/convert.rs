//! The host's own types to the track's, and back with every bound checked.

use std::collections::BTreeSet;
use std::time::Duration;

use eigenshift_types::{BlockRef, Bytes, Service};

use super::{wit, wit_directory, wit_lifecycle, wit_rotation, wit_source, wit_submission};
use crate::capability::secrets::Redactor;
use crate::error::CallError;
use crate::track::bounds::{
    MAX_EXTENSION, MAX_FILTERS, MAX_PAYLOAD, MAX_REQUEST, MAX_TRANSACTION, address, at_most, bad, bytes, key, number,
    word,
};
use crate::values::{
    Candidate, Decision, EventFilter, EventLog, NewTask, Plan, Signable, SubmissionCertificate, Task, Transaction,
    Trigger,
};

pub(super) fn from_block(block: &BlockRef) -> wit::BlockId {
    wit::BlockId { number: block.number, hash: block.hash.to_vec() }
}

pub(super) fn from_service(service: &Service) -> wit::Service {
    wit::Service {
        avs: service.avs.to_string(),
        chain_id: service.chain_id,
        service_manager: service.service_manager.to_vec(),
    }
}

pub(super) fn from_task(task: &Task) -> wit::Task {
    wit::Task {
        index: task.index,
        request: task.request.to_vec(),
        service: from_service(&task.service),
        reference_block: from_block(&task.reference_block),
        reference_time: task.reference_time,
    }
}

pub(super) fn from_log(log: &EventLog) -> wit::EventLog {
    wit::EventLog {
        address: log.address.to_vec(),
        topics: log.topics.iter().map(|topic| topic.to_vec()).collect(),
        data: log.data.to_vec(),
        block: from_block(&log.block),
        transaction_hash: log.transaction_hash.to_vec(),
        log_index: log.log_index,
    }
}

pub(super) fn from_trigger(trigger: &Trigger) -> wit_source::Trigger {
    match trigger {
        Trigger::Timer { name, slot } => wit_source::Trigger::Timer((name.clone(), *slot)),
        Trigger::Event(log) => wit_source::Trigger::Event(from_log(log)),
        Trigger::Request(bytes) => wit_source::Trigger::Request(bytes.to_vec()),
    }
}

pub(super) fn from_certificate(certificate: &SubmissionCertificate) -> wit_submission::Certificate {
    let lists = |points: &[Bytes]| points.iter().map(|point| point.to_vec()).collect();
    wit_submission::Certificate {
        key: certificate.key.as_bytes().to_vec(),
        payload: certificate.payload.to_vec(),
        digest: certificate.digest.to_vec(),
        non_signers: lists(&certificate.non_signers),
        quorum_aggregate_keys: lists(&certificate.quorum_aggregate_keys),
        quorums: certificate.quorums.clone(),
        signers_aggregate_key: certificate.signers_aggregate_key.to_vec(),
        signature: certificate.signature.to_vec(),
    }
}

pub(super) fn from_candidate(candidate: &Candidate) -> wit_rotation::Candidate {
    wit_rotation::Candidate {
        operator_id: candidate.operator_id.0.to_vec(),
        stakes: candidate.stakes.iter().map(|stake| stake.to_be_bytes_vec()).collect(),
    }
}

pub(super) fn task_error(error: wit::TaskError, redactor: &Redactor) -> CallError {
    match error {
        wit::TaskError::RetryAfterMs(ms) => CallError::RetryAfter(Duration::from_millis(ms.into())),
        wit::TaskError::NotApplicable(why) => CallError::NotApplicable(redactor.text(&why)),
        wit::TaskError::InvalidTask(why) => CallError::InvalidTask(redactor.text(&why)),
        wit::TaskError::Other(why) => CallError::Guest(redactor.text(&why)),
    }
}

pub(super) fn source_error(error: wit_source::SourceError, redactor: &Redactor) -> CallError {
    match error {
        wit_source::SourceError::RetryAfterMs(ms) => CallError::RetryAfter(Duration::from_millis(ms.into())),
        wit_source::SourceError::InvalidTrigger(why) => CallError::InvalidTrigger(redactor.text(&why)),
        wit_source::SourceError::Other(why) => CallError::Guest(redactor.text(&why)),
    }
}

pub(super) fn submission_error(error: wit_submission::SubmissionError, redactor: &Redactor) -> CallError {
    match error {
        wit_submission::SubmissionError::RetryAfterMs(ms) => CallError::RetryAfter(Duration::from_millis(ms.into())),
        wit_submission::SubmissionError::Other(why) => CallError::Guest(redactor.text(&why)),
    }
}

pub(super) fn directory_error(error: wit_directory::DirectoryError, redactor: &Redactor) -> CallError {
    match error {
        wit_directory::DirectoryError::Unavailable(why) => CallError::Unavailable(redactor.text(&why)),
        wit_directory::DirectoryError::Other(why) => CallError::Guest(redactor.text(&why)),
    }
}

pub(super) fn signables(
    items: Vec<wit_lifecycle::Signable>,
    max: u32,
    redactor: &Redactor,
) -> Result<Vec<Signable>, CallError> {
    at_most("answers to sign", items.len(), max as usize)?;
    let mut keys = BTreeSet::new();
    let mut signables = Vec::with_capacity(items.len());
    for item in items {
        let key = key(item.key)?;
        if !keys.insert(key.clone()) {
            return Err(bad(format!("the response key {} twice", redactor.text(&key.to_string()))));
        }
        signables.push(Signable {
            key,
            payload: bytes("a payload", item.payload, MAX_PAYLOAD)?,
            digest: word("a digest", &item.digest)?,
            extension: bytes("an extension", item.extension, MAX_EXTENSION)?,
        });
    }
    Ok(signables)
}

pub(super) fn transaction(value: wit::Transaction) -> Result<Transaction, CallError> {
    Ok(Transaction {
        to: address("a transaction's receiver", &value.to)?,
        data: bytes("calldata", value.data, MAX_TRANSACTION)?,
        value: number("a transaction's value", &value.value)?,
    })
}

pub(super) fn filter(value: wit_source::EventFilter) -> Result<EventFilter, CallError> {
    at_most("topics of a filter", value.topics0.len(), MAX_FILTERS)?;
    Ok(EventFilter {
        address: address("a filter's contract", &value.address)?,
        topics0: value.topics0.iter().map(|topic| word("a topic", topic)).collect::<Result<_, _>>()?,
    })
}

pub(super) fn plan(value: wit_source::Plan, max_keys: u32, redactor: &Redactor) -> Result<Plan, CallError> {
    Ok(match value {
        wit_source::Plan::Create(task) if !(1..=max_keys).contains(&task.keys_expected) => {
            return Err(bad(format!("{} keys expected, the manifest allows 1 to {max_keys}", task.keys_expected)));
        }
        wit_source::Plan::Create(task) => Plan::Create(NewTask {
            index: task.index,
            request: bytes("a request", task.request, MAX_REQUEST)?,
            keys_expected: task.keys_expected,
        }),
        wit_source::Plan::Transact(value) => Plan::Transact(transaction(value)?),
        wit_source::Plan::Ignore(why) => Plan::Ignore(redactor.text(&why)),
    })
}

pub(super) fn decision(value: wit_submission::Decision, redactor: &Redactor) -> Result<Decision, CallError> {
    Ok(match value {
        wit_submission::Decision::Submit(value) => Decision::Submit(transaction(value)?),
        wit_submission::Decision::NotYet => Decision::NotYet,
        wit_submission::Decision::Fail(why) => Decision::Fail(redactor.text(&why)),
    })
}
