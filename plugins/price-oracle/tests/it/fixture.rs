//! One feed with three sources, ascending by name as `a`, `b`, `c` but listed as `c`, `a`, `b`.

use eigenshift_guest::alloy_primitives::I256;
use eigenshift_guest::alloy_primitives::aliases::U80;
use eigenshift_guest::testing::FakeChain;
use eigenshift_guest::{Address, B256, BlockId, ChainError, Service, U256};
use price_oracle::contracts::{AggregatorV3Interface as Aggregator, PriceOracle, Response, Source, Task};

pub const ORACLE: Address = Address::repeat_byte(0xaa);
pub const BLOCK: u64 = 50;
pub const SOURCES: [&str; 3] = ["c", "a", "b"];

pub fn word(name: &str) -> B256 {
    B256::right_padding_from(name.as_bytes())
}

pub fn aggregator(source: &str) -> Address {
    Address::repeat_byte(source.as_bytes()[0])
}

pub fn service() -> Service {
    Service { avs: "oracle".into(), chain_id: 31337, service_manager: ORACLE }
}

pub fn onchain_task() -> Task {
    Task {
        index: 2,
        feed: word("EUR/USD"),
        createdBlock: u32::try_from(BLOCK).unwrap(),
        quorumNumbers: vec![0, 1].into(),
        thresholdPercentage: 67,
    }
}

pub fn task() -> eigenshift_guest::Task<Task> {
    eigenshift_guest::Task {
        index: 2,
        request: onchain_task(),
        service: service(),
        reference_block: BlockId { number: BLOCK, hash: B256::repeat_byte(5) },
        reference_time: 1_700_000_000,
    }
}

pub fn response(source: &str, price: i64) -> Response {
    Response {
        taskIndex: 2,
        source: word(source),
        price: I256::try_from(price).unwrap(),
        roundId: U80::from(11),
        updatedAt: 1_699_999_000,
    }
}

/// A chain that lists the feed's sources, at the block of the call and at [`BLOCK`].
pub fn feed(min_sources: u32) -> FakeChain {
    let call = PriceOracle::feedSourcesCall { feed: word("EUR/USD") };
    let returns = PriceOracle::feedSourcesReturn {
        sources: SOURCES.map(|name| Source { name: word(name), aggregator: aggregator(name) }).to_vec(),
        minSources: min_sources,
    };
    FakeChain::new().answer(ORACLE, &call, None, &returns).answer(ORACLE, &call, Some(BLOCK), &returns)
}

/// As [`feed`], and each source has a round with this price.
pub fn priced(prices: &[(&str, i64)]) -> FakeChain {
    prices.iter().fold(feed(1), |chain, (source, price)| round(chain, source, *price, U256::from(1_699_999_000)))
}

pub fn round(chain: FakeChain, source: &str, price: i64, updated_at: U256) -> FakeChain {
    let returns = Aggregator::latestRoundDataReturn {
        roundId: U80::from(11),
        answer: I256::try_from(price).unwrap(),
        startedAt: updated_at,
        updatedAt: updated_at,
        answeredInRound: U80::from(11),
    };
    chain.answer(aggregator(source), &Aggregator::latestRoundDataCall {}, None, &returns)
}

pub fn failing(chain: FakeChain, source: &str, error: ChainError) -> FakeChain {
    chain.fail(aggregator(source), &Aggregator::latestRoundDataCall {}, None, error)
}
