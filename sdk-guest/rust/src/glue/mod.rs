//! Between the WIT package and the SDK's traits: one adapter, one implementation for each interface.

#[cfg(target_arch = "wasm32")]
pub(crate) mod chain;
mod convert;

use std::marker::PhantomData;

use convert::{Bad, bytes32, certificate, service, task, trigger};

use crate::codec::DecodeError;
use crate::wit::lifecycle::eigenshift::avs::types as wire;
use crate::wit::lifecycle::exports::eigenshift::avs::task_lifecycle;
use crate::wit::operator_directory::exports::eigenshift::avs::operator_directory;
use crate::wit::rotation::exports::eigenshift::avs::rotation;
use crate::wit::task_source::exports::eigenshift::avs::task_source;
use crate::wit::task_submission::exports::eigenshift::avs::task_submission;
use crate::{
    Avs, Candidate, Chain, Decision, DirectoryError, OperatorDirectory, Payload, Peer, Plan, Rejection, Rotation,
    SourceError, SubmissionError, TaskError, TaskSource, TaskSubmission, U256, log,
};

/// Implements the generated traits for a plugin's type. Holds nothing.
pub struct Adapter<A>(PhantomData<A>);

impl<A: Avs> task_lifecycle::Guest for Adapter<A> {
    fn describe() -> task_lifecycle::Descriptor {
        log::report_panics();
        task_lifecycle::Descriptor {
            name: A::NAME.to_owned(),
            version: A::VERSION.to_owned(),
            schema: A::SCHEMA.to_owned(),
        }
    }

    fn on_task_request(wire: wire::Task) -> Result<Vec<Vec<u8>>, wire::TaskError> {
        log::report_panics();
        let task = task::<A::Request>(wire).map_err(task_error)?;
        let responses = A::on_task_request(&task, &Chain::host()).map_err(wire::TaskError::from)?;
        Ok(responses.iter().map(Payload::encode).collect())
    }

    fn on_submit_task_to_leader(
        wire: wire::Task,
        responses: Vec<Vec<u8>>,
    ) -> Result<Vec<task_lifecycle::Signable>, wire::TaskError> {
        log::report_panics();
        let task = task::<A::Request>(wire).map_err(task_error)?;
        let responses = responses
            .iter()
            .map(|bytes| A::Response::decode_canonical(bytes))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TaskError::Other(format!("own response: {error}")))?;
        let signables = A::on_submit_task_to_leader(&task, responses)?;
        Ok(signables
            .into_iter()
            .map(|signable| task_lifecycle::Signable {
                key: signable.key.into_bytes(),
                payload: signable.response.encode(),
                digest: signable.digest.to_vec(),
                extension: signable.extension.encode(),
            })
            .collect())
    }

    fn on_leader_process_task_response(
        wire: wire::Task,
        response: task_lifecycle::PeerResponse,
    ) -> Result<task_lifecycle::AggregateKey, task_lifecycle::Rejection> {
        log::report_panics();
        let found = process::<A>(wire, &response)?;
        Ok(task_lifecycle::AggregateKey {
            task_index: found.task_index,
            key: found.key.into_bytes(),
            digest: found.digest.to_vec(),
        })
    }
}

/// What a node makes of one answer, before it is looked at by the plugin and after.
fn process<A: Avs>(
    wire: wire::Task,
    response: &task_lifecycle::PeerResponse,
) -> Result<crate::AggregateKey, Rejection> {
    let task = task::<A::Request>(wire).map_err(|bad| Rejection::new("invalid-task", bad.to_string()))?;
    let operator_id =
        bytes32(&response.operator_id).map_err(|bad| Rejection::new("malformed", format!("operator id: {bad}")))?;
    let decoded = A::Response::decode_canonical(&response.payload).map_err(|error| match error {
        DecodeError::Malformed(_) => {
            Rejection::new("malformed", format!("the response is {error}; expected {}", A::SCHEMA))
        }
        DecodeError::NonCanonical => Rejection::new("non-canonical", error.to_string()),
    })?;
    let extension = if response.extension.is_empty() {
        None
    } else {
        let extension = A::Extension::decode_canonical(&response.extension);
        Some(extension.map_err(|error| Rejection::new("malformed-extension", format!("the extension is {error}")))?)
    };
    A::on_leader_process_task_response(&task, &Peer { operator_id, extension }, &decoded)
}

impl<A: TaskSource> task_source::Guest for Adapter<A> {
    fn event_filters(wire: wire::Service) -> Vec<task_source::EventFilter> {
        log::report_panics();
        match service(wire) {
            Ok(service) => A::event_filters(&service)
                .into_iter()
                .map(|filter| task_source::EventFilter {
                    address: filter.address.to_vec(),
                    topics0: filter.topics0.iter().map(|topic| topic.to_vec()).collect(),
                })
                .collect(),
            Err(bad) => {
                crate::error!("no event is watched: {bad}");
                Vec::new()
            }
        }
    }

    fn on_trigger(
        wire_service: wire::Service,
        block: wire::BlockId,
        wire: task_source::Trigger,
    ) -> Result<task_source::Plan, task_source::SourceError> {
        log::report_panics();
        let bad = |bad: Bad| SourceError::Other(bad.to_string());
        let service = service(wire_service).map_err(bad)?;
        let block = convert::block_id(&block).map_err(bad)?;
        let trigger = trigger(wire).map_err(bad)?;
        Ok(match A::on_trigger(&service, &block, &trigger, &Chain::host())? {
            Plan::Create { index, request, keys_expected } => {
                task_source::Plan::Create(task_source::NewTask { index, request: request.encode(), keys_expected })
            }
            Plan::Transact(transaction) => task_source::Plan::Transact(transaction.into()),
            Plan::Ignore(reason) => task_source::Plan::Ignore(reason),
        })
    }
}

impl<A: TaskSubmission> task_submission::Guest for Adapter<A> {
    fn submit(
        wire: wire::Task,
        certificates: Vec<task_submission::Certificate>,
        last: bool,
        block: wire::BlockId,
    ) -> Result<task_submission::Decision, task_submission::SubmissionError> {
        log::report_panics();
        let bad = |bad: Bad| SubmissionError::Other(bad.to_string());
        let task = task::<A::Request>(wire).map_err(bad)?;
        let block = convert::block_id(&block).map_err(bad)?;
        let certificates =
            certificates.into_iter().map(certificate::<A::Response>).collect::<Result<Vec<_>, _>>().map_err(bad)?;
        Ok(match A::submit(&task, &certificates, last, &block, &Chain::host())? {
            Decision::Submit(transaction) => task_submission::Decision::Submit(transaction.into()),
            Decision::NotYet => task_submission::Decision::NotYet,
            Decision::Fail(reason) => task_submission::Decision::Fail(reason),
        })
    }

    fn is_answered(wire: wire::Task, block: wire::BlockId) -> Result<bool, task_submission::SubmissionError> {
        log::report_panics();
        let bad = |bad: Bad| SubmissionError::Other(bad.to_string());
        let task = task::<A::Request>(wire).map_err(bad)?;
        let block = convert::block_id(&block).map_err(bad)?;
        Ok(A::is_answered(&task, &block, &Chain::host())?)
    }
}

impl<A: Rotation> rotation::Guest for Adapter<A> {
    // No import works here, so a host that breaks the shapes gets the index that counts for "any".
    fn next(candidates: Vec<rotation::Candidate>, last: Option<Vec<u8>>, seed: Vec<u8>) -> u32 {
        let parsed = || -> Result<u32, Bad> {
            let candidates = candidates
                .iter()
                .map(|candidate| {
                    let stakes = candidate.stakes.iter().map(|stake| Ok(U256::from_be_bytes(bytes32(stake)?.0)));
                    Ok(Candidate {
                        operator_id: bytes32(&candidate.operator_id)?,
                        stakes: stakes.collect::<Result<_, Bad>>()?,
                    })
                })
                .collect::<Result<Vec<_>, Bad>>()?;
            let last = last.as_deref().map(bytes32).transpose()?;
            Ok(u32::try_from(A::next(&candidates, last, bytes32(&seed)?)).unwrap_or(0))
        };
        parsed().unwrap_or(0)
    }
}

impl<A: OperatorDirectory> operator_directory::Guest for Adapter<A> {
    fn is_registered_operator(
        wire: wire::Service,
        block: wire::BlockId,
        operator: Vec<u8>,
    ) -> Result<bool, operator_directory::DirectoryError> {
        log::report_panics();
        let bad = |bad: Bad| DirectoryError::Other(bad.to_string());
        let service = service(wire).map_err(bad)?;
        let block = convert::block_id(&block).map_err(bad)?;
        let operator = convert::address(&operator).map_err(bad)?;
        Ok(A::is_registered_operator(&service, &block, operator, &Chain::host())?)
    }

    fn fetch_operator_url(
        wire: wire::Service,
        block: wire::BlockId,
        operator: Vec<u8>,
    ) -> Result<Option<String>, operator_directory::DirectoryError> {
        log::report_panics();
        let bad = |bad: Bad| DirectoryError::Other(bad.to_string());
        let service = service(wire).map_err(bad)?;
        let block = convert::block_id(&block).map_err(bad)?;
        let operator = convert::address(&operator).map_err(bad)?;
        Ok(A::fetch_operator_url(&service, &block, operator, &Chain::host())?)
    }
}

/// An undecodable request is the task's fault, anything else is not.
fn task_error(bad: Bad) -> TaskError {
    match bad {
        Bad::Request(_) => TaskError::InvalidTask(bad.to_string()),
        Bad::Length { .. } | Bad::Key | Bad::Response(_) => TaskError::Other(bad.to_string()),
    }
}
