//! What is particular to the embedded chain.

use std::time::Duration;

use alloy_primitives::{B256, Bytes, keccak256};
use eigenshift_chain::{Chain, EmbeddedChain, EmbeddedOptions, Error, SignedTransaction, TransactionRequest};
use eigenshift_env::Env;
use futures::future::join_all;

use crate::world::{Blocks, World, answer_at, price, wallet};

fn on_demand() -> EmbeddedOptions {
    let funded = vec![wallet(1).address(), wallet(2).address()];
    EmbeddedOptions { block_interval: Duration::from_secs(3600), funded, ..EmbeddedOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_blocks_read_right_while_blocks_are_mined() {
    let world = World::embedded(Blocks::ByThemselves).await;
    let feed = world.feed().await;
    let mut blocks = Vec::new();
    for answer in 0..20 {
        blocks.push((answer, world.price(feed, answer).await.block.hash));
    }
    let writing = async {
        for answer in 100..110 {
            world.price(feed, answer).await;
        }
    };
    let reads = (0..100).map(|read| {
        let (answer, hash) = blocks[read % blocks.len()];
        let chain = world.chain();
        async move { assert_eq!(answer_at(chain, feed, hash).await, Ok(answer)) }
    });
    tokio::join!(writing, join_all(reads));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_beyond_the_kept_history_are_unknown_and_the_rest_reads_right() {
    let env = Env::real();
    let chain = EmbeddedChain::start(EmbeddedOptions { history: 256, ..on_demand() }, &env).unwrap();
    let genesis = chain.head().await.unwrap();
    let rich = wallet(1);
    let send = TransactionRequest { gas: Some(21_000), ..TransactionRequest::call(wallet(9).address(), vec![]) };
    let transaction = chain.prepare(&rich, &send, 0, 0).await.unwrap();
    chain.send(&transaction).await.unwrap();
    for _ in 0..300 {
        chain.mine_now().await.unwrap();
    }
    let read = |at: B256| chain.call(wallet(9).address(), Bytes::new(), at);
    assert_eq!(read(genesis.block.hash).await, Err(Error::UnknownBlock(genesis.block.hash)));
    assert_eq!(chain.header_by_hash(genesis.block.hash).await, Ok(None));
    assert_eq!(chain.header_by_number(44).await, Ok(None));
    let oldest = chain.header_by_number(45).await.unwrap().unwrap();
    assert_eq!(read(oldest.block.hash).await, Ok(Bytes::new()));
    assert_eq!(
        chain.transaction_count(rich.address()).await,
        Ok(1),
        "what was written before the horizon is still there"
    );
    assert_eq!(chain.receipt(transaction.hash).await, Ok(None));
    let logs = eigenshift_chain::LogFilter { address: wallet(9).address(), topics0: vec![], from: 0, to: 300 };
    assert!(matches!(chain.logs(&logs).await, Err(Error::Refused { .. })), "missing logs are not an empty answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chains_share_no_block() {
    let env = Env::real();
    let first = EmbeddedChain::start(on_demand(), &env).unwrap();
    let second = EmbeddedChain::start(on_demand(), &env).unwrap();
    assert_ne!(first.head().await.unwrap().block.hash, second.head().await.unwrap().block.hash);
    assert_ne!(first.mine_now().await.unwrap().block.hash, second.mine_now().await.unwrap().block.hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_never_ends_is_stopped_by_its_gas() {
    let world = World::embedded(Blocks::OnDemand).await;
    // Init code that returns the code `JUMPDEST PUSH1 0 JUMP`.
    let init = Bytes::from_static(&[0x63, 0x5b, 0x60, 0x00, 0x56, 0x60, 0x00, 0x52, 0x60, 0x04, 0x60, 0x1c, 0xf3]);
    let deploy = TransactionRequest { data: init, ..TransactionRequest::default() };
    let receipt = world.settle(&world.prepare(&world.owner, &deploy, 0).await.unwrap()).await;
    let looping = receipt.contract.unwrap();
    let read = world.chain().call(looping, Bytes::new(), receipt.block.hash).await;
    assert!(matches!(read, Err(Error::Refused { .. })), "{read:?}");
    let sent = world.prepare(&world.owner, &TransactionRequest::call(looping, vec![]), 0).await;
    assert!(matches!(sent, Err(Error::Refused { .. })), "{sent:?}");
    world.mine().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_a_transaction_are_refused() {
    let world = World::embedded(Blocks::OnDemand).await;
    let feed = world.feed().await;
    let good = world.prepare(&world.owner, &price(feed, 1), 0).await.unwrap();
    let raw = [good.raw.as_ref(), &[0]].concat();
    let longer = SignedTransaction { hash: keccak256(&raw), raw: raw.into(), ..good };
    assert!(matches!(world.chain().send(&longer).await, Err(Error::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_is_bounded_per_account() {
    let env = Env::real();
    let chain = EmbeddedChain::start(on_demand(), &env).unwrap();
    let request = TransactionRequest { gas: Some(21_000), ..TransactionRequest::call(wallet(9).address(), vec![]) };
    let mut refused = 0;
    for nonce in 0..80 {
        let transaction = chain.prepare(&wallet(1), &request, nonce, 0).await.unwrap();
        refused += u64::from(chain.send(&transaction).await.is_err());
    }
    assert_eq!(refused, 80 - 65, "the next nonce and 64 more");
    chain.mine_now().await.unwrap();
    assert_eq!(chain.transaction_count(wallet(1).address()).await, Ok(65));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_ends_with_its_last_handle() {
    let env = Env::real();
    let options = EmbeddedOptions { block_interval: Duration::from_millis(5), ..on_demand() };
    let chain = EmbeddedChain::start(options, &env).unwrap();
    let mut heads = chain.heads();
    heads.wait_for(|head| head.block.number >= 2).await.unwrap();
    drop(chain.clone());
    let seen = heads.borrow_and_update().block.number;
    heads.wait_for(|head| head.block.number > seen).await.expect("one handle is left");
    drop(chain);
    while heads.changed().await.is_ok() {}
}

#[test]
fn an_interval_of_nothing_is_refused() {
    let options = EmbeddedOptions { block_interval: Duration::ZERO, ..EmbeddedOptions::default() };
    assert!(matches!(EmbeddedChain::start(options, &Env::real()), Err(Error::InvalidInput(_))));
}
