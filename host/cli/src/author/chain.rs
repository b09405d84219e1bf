//! The chain as a recorded task saw it.

use std::sync::Arc;

use async_trait::async_trait;
use eigenshift_plugin::{ChainReadError, ChainReader, EventLog, Header};
use eigenshift_types::{Address, B256, BlockRef, Bytes, keccak256};

use super::missed::Missed;
use super::tasks::{Call, Entries, Log};

/// The hash of a block of which only the number was recorded.
pub(super) fn made_up(block: u64) -> B256 {
    keccak256(block.to_be_bytes())
}

/// Answers from what was recorded.
#[derive(Debug)]
pub struct RecordedChain {
    bound: BlockRef,
    time: u64,
    reads: Arc<Entries>,
    missed: Missed,
}

impl RecordedChain {
    /// The chain that ends in the block `bound`, of this time.
    pub(super) fn new(bound: BlockRef, time: u64, reads: Arc<Entries>) -> Self {
        Self { bound, time, reads, missed: Missed::default() }
    }

    /// What was asked and not recorded, as it would stand in the file.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        self.missed.noted()
    }

    fn miss(&self, what: String) -> ChainReadError {
        self.missed.note(what);
        ChainReadError::Unavailable("nothing was recorded for this read".to_owned())
    }

    fn block(&self, number: u64) -> BlockRef {
        if number == self.bound.number { self.bound } else { BlockRef { number, hash: made_up(number) } }
    }
}

#[async_trait]
impl ChainReader for RecordedChain {
    async fn call(&self, to: Address, data: Bytes, at: BlockRef) -> Result<Bytes, ChainReadError> {
        let same =
            |call: &&Call| call.to == to && call.data.0 == data && call.block.unwrap_or(self.bound.number) == at.number;
        match self.reads.calls.iter().find(same) {
            Some(Call { returns: Some(returns), .. }) => Ok(returns.0.clone()),
            Some(Call { reverts, .. }) => {
                Err(ChainReadError::Reverted(reverts.as_ref().map(|data| data.0.clone()).unwrap_or_default()))
            }
            None => {
                let block = at.number;
                Err(self.miss(format!(
                    "[[task.call]]\nto = \"{to}\"\ndata = \"{data}\"\nblock = {block}\nreturns = \"0x\""
                )))
            }
        }
    }

    async fn logs(
        &self,
        address: Address,
        topics0: &[B256],
        from: u64,
        to: u64,
        _bound: BlockRef,
    ) -> Result<Vec<EventLog>, ChainReadError> {
        // That there are none is an answer too.
        let wanted = |log: &&Log| {
            let topic = log.topics.first();
            log.address == address
                && (from..=to).contains(&log.block)
                && (topics0.is_empty() || topic.is_some_and(|topic| topics0.contains(topic)))
        };
        let logs = self.reads.logs.iter().filter(wanted).zip(0..);
        let event = |(log, log_index): (&Log, u32)| EventLog {
            address,
            topics: log.topics.clone(),
            data: log.data.0.clone(),
            block: self.block(log.block),
            transaction_hash: made_up(log.block),
            log_index,
        };
        Ok(logs.map(event).collect())
    }

    async fn header(&self, number: Option<u64>, bound: BlockRef) -> Result<Header, ChainReadError> {
        let number = number.unwrap_or(bound.number);
        if number == self.bound.number {
            return Ok(Header { block: self.bound, timestamp: self.time });
        }
        match self.reads.headers.iter().find(|header| header.block == number) {
            Some(header) => Ok(Header { block: self.block(number), timestamp: header.time }),
            None => Err(self.miss(format!("[[task.header]]\nblock = {number}\ntime = 0"))),
        }
    }

    async fn at_number(&self, number: u64, _bound: BlockRef) -> Result<BlockRef, ChainReadError> {
        Ok(self.block(number))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]
mod tests {
    use super::super::tasks::parse;
    use super::*;

    #[tokio::test]
    async fn the_chain_answers_what_was_recorded_and_notes_the_rest() {
        let to = Address::repeat_byte(0x22);
        let text = format!(
            "[[task]]
name = \"first\"
request = \"\"
time = 12
block = 100
[[task.call]]
to = \"{to}\"
data = \"0x01\"
returns = \"0x02\"
[[task.call]]
to = \"{to}\"
data = \"0x01\"
block = 90
reverts = \"\"
[[task.log]]
address = \"{to}\"
block = 95
"
        );
        let tasks = parse(&text).unwrap();
        let chain = tasks.tasks[0].chain();
        let call = Bytes::from_static(&[1]);
        let bound = chain.bound;
        assert_eq!(chain.call(to, call.clone(), bound).await.unwrap()[..], [2]);
        let at = chain.at_number(90, bound).await.unwrap();
        assert_eq!(chain.call(to, call, at).await, Err(ChainReadError::Reverted(Bytes::new())));
        assert_eq!(chain.logs(to, &[], 90, 95, bound).await.unwrap().len(), 1);
        assert!(chain.logs(to, &[B256::ZERO], 90, 95, bound).await.unwrap().is_empty());
        assert_eq!(chain.header(None, bound).await.unwrap().timestamp, 12);
        assert!(chain.missed().is_empty());
        for _ in 0..2 {
            assert!(matches!(chain.header(Some(90), bound).await, Err(ChainReadError::Unavailable(_))));
        }
        assert_eq!(chain.missed(), ["[[task.header]]\nblock = 90\ntime = 0"]);
    }
}
