//! Triggers to tasks: a timer or an administrator asks for a feed, the contract creates the task, its event makes it one
//! of the log.

use eigenshift_guest::alloy_sol_types::SolEvent;
use eigenshift_guest::{
    B256, BlockId, Chain, EventFilter, EventLog, Plan, Service, SourceError, TaskSource, Transaction, Trigger,
};

use crate::PriceOraclePlugin;
use crate::contracts::{PriceOracle, Task};

impl TaskSource for PriceOraclePlugin {
    fn event_filters(service: &Service) -> Vec<EventFilter> {
        vec![EventFilter { address: service.service_manager, topics0: vec![PriceOracle::TaskCreated::SIGNATURE_HASH] }]
    }

    fn on_trigger(
        service: &Service,
        _block: &BlockId,
        trigger: &Trigger,
        chain: &Chain,
    ) -> Result<Plan<Task>, SourceError> {
        match trigger {
            Trigger::Timer { name, .. } => create(service, name.as_bytes()),
            Trigger::Request(feed) => create(service, feed),
            Trigger::Event(log) => created(service, log, chain),
        }
    }
}

/// The transaction that creates a task for the feed of this name.
fn create(service: &Service, feed: &[u8]) -> Result<Plan<Task>, SourceError> {
    let invalid = |why: &str| {
        SourceError::InvalidTrigger(format!("{why}: send a feed's name, 1 to 32 bytes of UTF-8, such as EUR/USD"))
    };
    let text = std::str::from_utf8(feed).map_err(|_| invalid("no UTF-8"))?;
    if text.is_empty() || text.len() > 32 || text.contains('\0') {
        return Err(invalid("no name of a feed"));
    }
    let feed = B256::right_padding_from(text.as_bytes());
    Ok(Plan::Transact(Transaction::call(service.service_manager, &PriceOracle::createTaskCall { feed })))
}

/// The task that a `TaskCreated` event announces. As many keys are expected as the feed has sources at the event's block.
fn created(service: &Service, log: &EventLog, chain: &Chain) -> Result<Plan<Task>, SourceError> {
    if log.address != service.service_manager || log.topics.first() != Some(&PriceOracle::TaskCreated::SIGNATURE_HASH) {
        return Ok(Plan::Ignore("not a TaskCreated event of the service manager".to_owned()));
    }
    let event = PriceOracle::TaskCreated::decode_raw_log_validate(log.topics.iter().copied(), &log.data)
        .map_err(|error| SourceError::InvalidTrigger(format!("an undecodable TaskCreated event: {error}")))?;
    let feed = PriceOracle::feedSourcesCall { feed: event.task.feed };
    let sources = chain.call_at(log.block.number, service.service_manager, &feed)?.sources;
    Ok(Plan::Create {
        index: Some(event.index),
        request: event.task,
        keys_expected: u32::try_from(sources.len()).unwrap_or(u32::MAX),
    })
}
