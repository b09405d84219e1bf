//! A chain made of canned answers, so that a plugin's logic is tested by a plain `cargo test` on the host.

use std::collections::BTreeMap;

use alloy_sol_types::SolCall;

use crate::{Address, B256, Chain, ChainError, EventLog, Header, chain::Reads};

/// Calldata of a contract at a block (none: the block of the call).
type Question = (Address, Vec<u8>, Option<u64>);

/// Answers the calls it was told about; any other reverts with no data.
#[derive(Debug, Default)]
pub struct FakeChain {
    calls: BTreeMap<Question, Result<Vec<u8>, ChainError>>,
    logs: Vec<EventLog>,
    headers: Vec<Header>,
}

impl FakeChain {
    /// A chain that answers nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers this call, at `at` or the block of the call.
    #[must_use]
    pub fn answer<C: SolCall>(mut self, to: Address, call: &C, at: Option<u64>, returns: &C::Return) -> Self {
        self.calls.insert((to, call.abi_encode(), at), Ok(C::abi_encode_returns(returns)));
        self
    }

    /// Fails this call, at `at` or the block of the call.
    #[must_use]
    pub fn fail<C: SolCall>(mut self, to: Address, call: &C, at: Option<u64>, error: ChainError) -> Self {
        self.calls.insert((to, call.abi_encode(), at), Err(error));
        self
    }

    /// Adds a log.
    #[must_use]
    pub fn log(mut self, log: EventLog) -> Self {
        self.logs.push(log);
        self
    }

    /// Adds a header; the last one added is that of the block of the call.
    #[must_use]
    pub fn header(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }

    /// The handle that callbacks take.
    #[must_use]
    pub fn chain(&self) -> Chain<'_> {
        Chain::new(self)
    }
}

impl Reads for FakeChain {
    fn call(&self, to: Address, data: &[u8], at: Option<u64>) -> Result<Vec<u8>, ChainError> {
        self.calls.get(&(to, data.to_vec(), at)).cloned().unwrap_or(Err(ChainError::Reverted(Vec::new())))
    }

    fn logs(&self, address: Address, topics0: &[B256], start: u64, end: u64) -> Result<Vec<EventLog>, ChainError> {
        let wanted = |log: &&EventLog| {
            log.address == address
                && (start..=end).contains(&log.block.number)
                && (topics0.is_empty() || log.topics.first().is_some_and(|topic| topics0.contains(topic)))
        };
        Ok(self.logs.iter().filter(wanted).cloned().collect())
    }

    fn header(&self, at: Option<u64>) -> Result<Header, ChainError> {
        let found = match at {
            None => self.headers.last(),
            Some(number) => self.headers.iter().find(|header| header.block.number == number),
        };
        found.copied().ok_or(ChainError::UnknownBlock)
    }
}

/// The host's chain where there is no host: every read is denied.
pub(crate) struct NoChain;

impl Reads for NoChain {
    fn call(&self, _: Address, _: &[u8], _: Option<u64>) -> Result<Vec<u8>, ChainError> {
        Err(ChainError::AccessDenied)
    }

    fn logs(&self, _: Address, _: &[B256], _: u64, _: u64) -> Result<Vec<EventLog>, ChainError> {
        Err(ChainError::AccessDenied)
    }

    fn header(&self, _: Option<u64>) -> Result<Header, ChainError> {
        Err(ChainError::AccessDenied)
    }
}
