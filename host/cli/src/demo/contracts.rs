//! The price oracle's contracts: what the demo deploys and reads.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use eigenshift_chain::{Chain, Error, LogFilter, Wallet};
use eigenshift_env::Env;
use eigenshift_node::local::{self, setup};
use eigenshift_node::{Curve, OperatorKeys};

use crate::demo::prices::Prices;

const FEED: &str = include_str!("../../../../examples/price-oracle/contracts/out/PriceFeed.json");
const ORACLE: &str = include_str!("../../../../examples/price-oracle/contracts/out/PriceOracle.json");

mod abi {
    #![allow(missing_docs, reason = "the contracts document themselves")]
    alloy_sol_types::sol! {
        function addFeed(bytes32 feed, uint32 minSources, uint64 maxAge, bytes32[] names, address[] aggregators);
        function update(int256 answer, uint256 updatedAt);
        function answers(uint32 index) returns (int256 price, uint64 answeredAt, uint32 sources, address submitter);
        event TaskAnswered(uint32 indexed index, bytes32 indexed feed, int256 price, uint32 sources);
    }
}

/// A price is stale after a day.
const MAX_AGE: u64 = 86_400;

/// How many blocks a task may be answered in.
const RESPONSE_WINDOW: u32 = 10_000;

/// The share of stake that must sign, percent.
pub const THRESHOLD: u8 = 67;

/// What was deployed.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The operator registry.
    pub registry: Address,
    /// The price oracle: the AVS's service manager.
    pub oracle: Address,
    /// A feed contract per column of the prices.
    pub feeds: Vec<Address>,
}

/// A name as the contracts have it: padded with zeros.
#[must_use]
pub fn name32(name: &str) -> B256 {
    B256::right_padding_from(name.as_bytes().get(..32.min(name.len())).unwrap_or_default())
}

/// Deploys registry, feeds and oracle, and registers the operators with equal stakes in quorum 0.
///
/// # Errors
/// The chain's.
pub async fn deploy(
    chain: &dyn Chain,
    env: &Env,
    owner: &Wallet,
    operators: &[OperatorKeys],
    prices: &Prices,
) -> Result<Deployment, Error> {
    let by_owner = setup(chain, env, owner);
    let registry = local::deploy_registry(&by_owner, Curve::Bn254).await?;
    let arguments = (registry, Bytes::from(vec![0_u8]), U256::from(THRESHOLD), U256::from(RESPONSE_WINDOW));
    let oracle = by_owner.deploy(ORACLE, &arguments.abi_encode_params()).await?;
    local::enrol(&by_owner, registry, operators).await?;
    let mut feeds = Vec::new();
    for column in &prices.columns {
        let description = format!("{} from {}", column.feed, column.source);
        feeds.push(by_owner.deploy(FEED, &(description,).abi_encode_params()).await?);
    }
    for (feed, columns) in prices.feeds() {
        let sources = columns.iter().filter_map(|index| Some((prices.columns.get(*index)?, *feeds.get(*index)?)));
        let (names, aggregators) = sources.map(|(column, address)| (name32(&column.source), address)).unzip();
        let call = abi::addFeedCall {
            feed: name32(&feed),
            minSources: u32::try_from(columns.len().div_ceil(2)).unwrap_or(1),
            maxAge: MAX_AGE,
            names,
            aggregators,
        };
        by_owner.send(oracle, call.abi_encode()).await?;
    }
    Ok(Deployment { registry, oracle, feeds })
}

/// Writes a row of prices to the feed contracts.
///
/// # Errors
/// The chain's.
pub async fn write_row(
    chain: &dyn Chain,
    env: &Env,
    owner: &Wallet,
    deployment: &Deployment,
    row: &crate::demo::prices::Row,
) -> Result<(), Error> {
    for (feed, price) in deployment.feeds.iter().zip(&row.prices) {
        let answer = alloy_primitives::I256::try_from(*price).unwrap_or_default();
        let call = abi::updateCall { answer, updatedAt: U256::from(row.time) };
        setup(chain, env, owner).send(*feed, call.abi_encode()).await?;
    }
    Ok(())
}

/// The oracle's answer to a task, as it stands now; none if there is none.
///
/// # Errors
/// The chain's.
pub async fn answer(chain: &dyn Chain, oracle: Address, index: u32) -> Result<Option<i128>, Error> {
    let head = chain.head().await?.block;
    let data = chain.call(oracle, abi::answersCall { index }.abi_encode().into(), head.hash).await?;
    let answer = abi::answersCall::abi_decode_returns(&data)
        .map_err(|error| Error::Malformed(format!("answers(uint32): {error}")))?;
    Ok(i128::try_from(answer.price).ok().filter(|_| answer.answeredAt != 0))
}

/// How often the oracle announced an answer to each task since a block.
///
/// # Errors
/// The chain's.
pub async fn answers_announced(chain: &dyn Chain, oracle: Address, from: u64) -> Result<BTreeMap<u32, usize>, Error> {
    const RANGE: u64 = 500;
    let head = chain.head().await?.block.number;
    let mut times = BTreeMap::new();
    let mut start = from;
    while start <= head {
        let to = head.min(start + RANGE - 1);
        let filter = LogFilter { address: oracle, topics0: vec![abi::TaskAnswered::SIGNATURE_HASH], from: start, to };
        for log in chain.logs(&filter).await? {
            let index = log.topics.get(1).map(|topic| U256::from_be_bytes(topic.0));
            if let Some(index) = index.and_then(|index| u32::try_from(index).ok()) {
                *times.entry(index).or_default() += 1;
            }
        }
        start = to + 1;
    }
    Ok(times)
}
