//! Answer tasks of the `PriceOracle` contract: each operator reads a feed's price sources and signs one response per source.
//!
//! *Layout*: `contracts`, what the plugin sees of the contracts; this file, the callbacks of a task's life; `source`,
//! triggers to tasks; `submission`, certificates to the answering transaction.
//!
//! *Guarantees*: prices are read at the block that created the task, so honest operators sign the same; the digest is the
//! contract's own `responseDigest`; a source that fails is left out and the others still count.
//!
//! *Not here*: the median. The contract takes it, over the sources that reached the stake threshold.

pub mod contracts;
mod source;
mod submission;

use contracts::{AggregatorV3Interface, PriceOracle, Response, Source, Task};
use eigenshift_guest::alloy_sol_types::SolValue;
use eigenshift_guest::{
    Address, Avs, B256, Chain, ChainError, Peer, Rejection, ResponseKey, TaskError, U256, abi_payload, keccak256, warn,
};

abi_payload!(Task, Response);

/// The plugin.
pub struct PriceOraclePlugin;

impl Avs for PriceOraclePlugin {
    type Request = Task;
    type Response = Response;
    type Extension = ();
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SCHEMA: &'static str = "(uint32 index, bytes32 feed, uint32 createdBlock, bytes quorumNumbers, uint8 \
        thresholdPercentage) -> (uint32 taskIndex, bytes32 source, int256 price, uint80 roundId, uint64 updatedAt)";

    fn on_task_request(task: &eigenshift_guest::Task<Task>, chain: &Chain) -> Result<Vec<Response>, TaskError> {
        if task.request.index != task.index {
            return Err(TaskError::InvalidTask(format!(
                "the request is task {} of the contract, the log calls it {}",
                task.request.index, task.index
            )));
        }
        if u64::from(task.request.createdBlock) != task.reference_block.number {
            return Err(TaskError::InvalidTask(format!(
                "created in block {}, to be read at block {}: stakes and prices would be of different blocks",
                task.request.createdBlock, task.reference_block.number
            )));
        }
        let feed = PriceOracle::feedSourcesCall { feed: task.request.feed };
        let sources = chain.call(task.service.service_manager, &feed)?.sources;
        let mut responses = Vec::with_capacity(sources.len());
        for source in &sources {
            responses.extend(read(task.index, source, chain)?);
        }
        if responses.is_empty() {
            return Err(TaskError::NotApplicable(format!(
                "none of the {} sources of {} has a price",
                sources.len(),
                name(task.request.feed)
            )));
        }
        Ok(responses)
    }

    fn key(_task: &eigenshift_guest::Task<Task>, response: &Response) -> ResponseKey {
        ResponseKey::trimmed(response.source)
    }

    fn digest(task: &eigenshift_guest::Task<Task>, response: &Response) -> B256 {
        digest(task.service.chain_id, task.service.service_manager, &task.request, response)
    }

    fn check(task: &eigenshift_guest::Task<Task>, _peer: &Peer<()>, response: &Response) -> Result<(), Rejection> {
        if response.taskIndex != task.index {
            let message = format!("the response is for task {}", response.taskIndex);
            return Err(Rejection::new("wrong-task", message));
        }
        if !response.price.is_positive() {
            let message = format!("{} is no price: the contract takes only positive ones", response.price);
            return Err(Rejection::new("invalid-price", message));
        }
        if response.source.is_zero() {
            return Err(Rejection::new("invalid-source", "the source has no name"));
        }
        Ok(())
    }
}

eigenshift_guest::export!(PriceOraclePlugin; TaskSource, TaskSubmission);

/// What the contract's `responseDigest` computes: bound to the chain, the contract and the whole task, so that a signature
/// counts for this task of this oracle only.
#[must_use]
pub fn digest(chain_id: u64, oracle: Address, task: &Task, response: &Response) -> B256 {
    let task_hash = keccak256(task.abi_encode());
    keccak256((U256::from(chain_id), oracle, task_hash, response.clone()).abi_encode_params())
}

/// The response of one source, or none when it has no usable price. Only a chain that may answer later is an error: the
/// operator would otherwise leave out a source that the others have.
fn read(task_index: u32, source: &Source, chain: &Chain) -> Result<Option<Response>, TaskError> {
    let left_out = |why: &dyn std::fmt::Display| {
        warn!("source {} is left out: {why}", name(source.name));
        Ok(None)
    };
    let round = match chain.call(source.aggregator, &AggregatorV3Interface::latestRoundDataCall {}) {
        Ok(round) => round,
        Err(error @ (ChainError::Reverted(_) | ChainError::Undecodable(_))) => {
            return left_out(&error);
        }
        Err(error) => return Err(error.into()),
    };
    if !round.answer.is_positive() {
        return left_out(&format_args!("its price is {}", round.answer));
    }
    let Ok(updated_at) = u64::try_from(round.updatedAt) else {
        return left_out(&format_args!("it was updated at {}", round.updatedAt));
    };
    Ok(Some(Response {
        taskIndex: task_index,
        source: source.name,
        price: round.answer,
        roundId: round.roundId,
        updatedAt: updated_at,
    }))
}

/// A `bytes32` name for people.
fn name(word: B256) -> String {
    String::from_utf8_lossy(ResponseKey::trimmed(word).as_bytes()).into_owned()
}
