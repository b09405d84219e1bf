//! The `chain` imports.

use super::convert;
use crate::wit::lifecycle::eigenshift::avs::chain as wire;
use crate::{Address, B256, ChainError, EventLog, Header};

impl From<wire::ChainError> for ChainError {
    fn from(error: wire::ChainError) -> Self {
        match error {
            wire::ChainError::AccessDenied => Self::AccessDenied,
            wire::ChainError::Reverted(data) => Self::Reverted(data),
            wire::ChainError::UnknownBlock => Self::UnknownBlock,
            wire::ChainError::InvalidArgument(what) => Self::InvalidArgument(what),
            wire::ChainError::Unavailable(why) => Self::Unavailable(why),
            wire::ChainError::Other(why) => Self::Other(why),
        }
    }
}

impl From<convert::Bad> for ChainError {
    fn from(bad: convert::Bad) -> Self {
        Self::Other(bad.to_string())
    }
}

pub(crate) fn call(to: Address, data: &[u8], at: Option<u64>) -> Result<Vec<u8>, ChainError> {
    Ok(wire::call(&to.to_vec(), data, at)?)
}

pub(crate) fn logs(address: Address, topics0: &[B256], start: u64, end: u64) -> Result<Vec<EventLog>, ChainError> {
    let topics0: Vec<Vec<u8>> = topics0.iter().map(|topic| topic.to_vec()).collect();
    let found = wire::logs(&address.to_vec(), &topics0, start, end)?;
    Ok(found.into_iter().map(convert::event_log).collect::<Result<_, _>>()?)
}

pub(crate) fn header(at: Option<u64>) -> Result<Header, ChainError> {
    let found = wire::header(at)?;
    Ok(Header { block: convert::block_id(&found.block)?, timestamp: found.timestamp })
}
