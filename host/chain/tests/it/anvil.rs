//! What only a real node shows: reorganisations, its end, the limit on fees.

use alloy_primitives::{Address, Bytes};
use eigenshift_chain::ethereum::anvil::{AnvilNode, AnvilOptions, Mining};
use eigenshift_chain::{Chain, Error, EthereumOptions};
use eigenshift_env::Env;
use serde_json::json;

use crate::world::{anvil_program, price, quick, wallet};

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_another_chain_is_refused() {
    let env = Env::real();
    let node = AnvilNode::start(&AnvilOptions::new(anvil_program()), &env).await.unwrap();
    let wrong = node.connect(EthereumOptions { chain_id: Some(1), ..quick() }, &env).await;
    assert_eq!(wrong.map(drop), Err(Error::WrongChain { expected: 1, found: 31337 }));
    let right = node.connect(EthereumOptions { chain_id: Some(31337), ..quick() }, &env).await.unwrap();
    assert_eq!(right.chain_id(), 31337);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_block_is_unknown_and_not_canonical() {
    let env = Env::real();
    let options = AnvilOptions { mining: Mining::Never, ..AnvilOptions::new(anvil_program()) };
    let node = AnvilNode::start(&options, &env).await.unwrap();
    let chain = node.connect(quick(), &env).await.unwrap();
    chain.raw_request("anvil_mine", json!(["0x5"])).await.unwrap();
    let orphan = chain.head().await.unwrap().block;
    let kept = chain.header_by_number(2).await.unwrap().unwrap().block;
    let mut heads = chain.heads();
    heads.wait_for(|head| head.block == orphan).await.unwrap();
    chain.raw_request("anvil_reorg", json!([2, []])).await.unwrap();
    heads.wait_for(|head| head.block.hash != orphan.hash).await.unwrap();

    assert_eq!(chain.is_canonical(orphan).await, Ok(false));
    assert_eq!(chain.is_canonical(kept).await, Ok(true));
    let call = chain.call(Address::repeat_byte(1), Bytes::new(), orphan.hash).await;
    assert_eq!(call, Err(Error::UnknownBlock(orphan.hash)));
    assert_eq!(chain.call(Address::repeat_byte(1), Bytes::new(), kept.hash).await, Ok(Bytes::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn anvil_ends_with_its_handle() {
    let env = Env::real();
    let node = AnvilNode::start(&AnvilOptions::new(anvil_program()), &env).await.unwrap();
    let chain = node.connect(quick(), &env).await.unwrap();
    drop(node);
    assert!(chain.head().await.unwrap_err().is_transient());
    let missing = AnvilNode::start(&AnvilOptions::new("/nonexistent/anvil"), &env).await;
    assert!(matches!(missing, Err(Error::Unavailable(_))));
    let ends = AnvilNode::start(&AnvilOptions::new("/bin/true"), &env).await;
    assert!(matches!(ends, Err(Error::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn fees_stop_at_the_operators_limit() {
    let env = Env::real();
    let options = AnvilOptions { mining: Mining::Never, ..AnvilOptions::new(anvil_program()) };
    let node = AnvilNode::start(&options, &env).await.unwrap();
    let max = 20_000_000_000;
    let chain = node.connect(EthereumOptions { max_fee_per_gas: max, ..quick() }, &env).await.unwrap();
    let (owner, request) = (wallet(1), price(Address::repeat_byte(4), 1));
    chain.prepare(&owner, &request, 0, 0).await.unwrap();
    let outcome = chain.prepare(&owner, &request, 0, 40).await;
    assert!(matches!(outcome, Err(Error::FeeTooHigh { fee, max: 20_000_000_000 }) if fee > max), "{outcome:?}");
}
