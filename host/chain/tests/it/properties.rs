//! What both chains do alike.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolError, SolEvent};
use eigenshift_chain::deploy::send_and_wait;
use eigenshift_chain::{
    Chain, EmbeddedChain, EmbeddedOptions, Error, LogFilter, SignedTransaction, TransactionRequest,
};
use eigenshift_types::BlockRef;

use crate::operators::the_operator_set_is_what_was_registered;
use crate::world::{
    AnswerUpdated, Blocks, NoData, NotOwner, PATIENCE, World, answer_at, latestRoundDataCall, price,
    transferOwnershipCall, wallet,
};

macro_rules! properties {
    ($($name:ident: $blocks:ident,)*) => {
        mod on_the_embedded_chain {
            use super::{Blocks, World};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(World::embedded(Blocks::$blocks).await).await;
                }
            )*
        }
        mod on_anvil {
            use super::{Blocks, World};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(World::anvil(Blocks::$blocks).await).await;
                }
            )*
        }
    };
}

properties! {
    a_past_block_is_read_as_it_was: ByThemselves,
    logs_are_those_of_the_range_and_event_asked_for: ByThemselves,
    headers_are_linked_and_canonical: ByThemselves,
    finality_follows_the_head: ByThemselves,
    unknown_blocks_are_told_apart_from_errors: ByThemselves,
    a_revert_surfaces_with_its_data: ByThemselves,
    a_transaction_that_fails_when_mined_has_a_failed_receipt: OnDemand,
    sending_a_transaction_again_is_no_error: OnDemand,
    a_nonce_taken_by_another_transaction_is_told: OnDemand,
    a_replacement_with_higher_fees_takes_the_place: OnDemand,
    two_transactions_in_a_row_share_a_block: OnDemand,
    waiting_for_a_block_that_never_comes_ends: OnDemand,
    what_is_no_transaction_of_this_chain_is_refused: OnDemand,
    an_account_without_funds_is_refused: OnDemand,
    the_operator_set_is_what_was_registered: ByThemselves,
}

async fn a_past_block_is_read_as_it_was(world: World) {
    let chain = world.chain();
    let before = chain.head().await.unwrap();
    let feed = world.feed().await;
    let first = world.price(feed, 100).await;
    let second = world.price(feed, 200).await;
    assert!(second.block.number > first.block.number);
    assert_eq!(answer_at(chain, feed, first.block.hash).await, Ok(100));
    assert_eq!(answer_at(chain, feed, second.block.hash).await, Ok(200));
    let nothing = chain.call(feed, latestRoundDataCall {}.abi_encode().into(), before.block.hash).await;
    assert_eq!(nothing, Ok(Bytes::new()), "there was no contract yet");
}

async fn logs_are_those_of_the_range_and_event_asked_for(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let mut receipts = Vec::new();
    for answer in [1, 2, 3] {
        receipts.push(world.price(feed, answer).await);
    }
    let filter = |from, to, topics0| LogFilter { address: feed, topics0, from, to };
    let all = |topics0| filter(0, u64::MAX, topics0);

    let middle = receipts[1].block;
    let logs = chain.logs(&filter(middle.number, middle.number, vec![AnswerUpdated::SIGNATURE_HASH])).await.unwrap();
    assert_eq!(logs, receipts[1].logs);
    assert_eq!((logs.len(), logs[0].block, logs[0].tx, logs[0].address), (1, middle, receipts[1].tx, feed));
    assert_eq!(logs[0].topics[1], B256::from(U256::from(2)));
    assert_eq!(logs[0].data.len(), 32);

    let every = chain.logs(&all(vec![B256::repeat_byte(7), AnswerUpdated::SIGNATURE_HASH])).await.unwrap();
    assert_eq!(every, receipts.iter().flat_map(|receipt| receipt.logs.clone()).collect::<Vec<_>>());
    assert_eq!(chain.logs(&all(vec![])).await.unwrap().len(), 4, "the constructor's event too");
    assert_eq!(chain.logs(&all(vec![B256::repeat_byte(7)])).await.unwrap(), []);
    let elsewhere = LogFilter { address: Address::repeat_byte(9), ..all(vec![]) };
    assert_eq!(chain.logs(&elsewhere).await.unwrap(), []);
    assert!(matches!(chain.logs(&filter(2, 1, vec![])).await, Err(Error::InvalidInput(_))));
}

async fn headers_are_linked_and_canonical(world: World) {
    let chain = world.chain();
    let mut heads = chain.heads();
    let start = heads.borrow_and_update().block.number;
    let head = *heads.wait_for(|head| head.block.number >= start + 3).await.unwrap();
    let mut header = chain.header_by_hash(head.block.hash).await.unwrap().unwrap();
    assert_eq!(header, head);
    while header.block.number > 0 {
        let parent = chain.header_by_number(header.block.number - 1).await.unwrap().unwrap();
        assert_eq!(parent.block.hash, header.parent);
        assert!(parent.timestamp <= header.timestamp);
        assert!(chain.is_canonical(parent.block).await.unwrap());
        header = parent;
    }
    assert!(chain.head().await.unwrap().block.number >= head.block.number);
}

async fn finality_follows_the_head(world: World) {
    let chain = world.chain();
    let mut heads = chain.heads();
    let start = chain.head().await.unwrap().block;
    heads.wait_for(|head| head.block.number >= start.number + 3).await.unwrap();
    let finalized = chain.finalized().await.unwrap().block;
    assert!(finalized.number > start.number, "{finalized} after {start}");
    assert!(finalized.number < chain.head().await.unwrap().block.number);
    assert!(chain.is_canonical(finalized).await.unwrap());
}

async fn unknown_blocks_are_told_apart_from_errors(world: World) {
    let chain = world.chain();
    let hash = B256::repeat_byte(0x77);
    assert_eq!(chain.header_by_hash(hash).await, Ok(None));
    assert_eq!(chain.header_by_number(1 << 40).await, Ok(None));
    assert_eq!(chain.is_canonical(BlockRef { number: 0, hash }).await, Ok(false));
    let call = chain.call(Address::repeat_byte(1), Bytes::new(), hash).await;
    assert_eq!(call, Err(Error::UnknownBlock(hash)));
    assert_eq!(chain.receipt(hash).await, Ok(None));
}

async fn a_revert_surfaces_with_its_data(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let head = chain.head().await.unwrap();
    let empty = answer_at(chain, feed, head.block.hash).await;
    assert_eq!(empty, Err(Error::Reverted(NoData { roundId: U256::ZERO.to() }.abi_encode().into())));
    let stranger = world.prepare(&world.other, &price(feed, 1), 0).await;
    let refusal = NotOwner { caller: world.other.address() }.abi_encode();
    assert_eq!(stranger, Err(Error::Reverted(refusal.clone().into())), "simulated with the sender");
    let generous = TransactionRequest { gas: Some(500_000), ..price(feed, 1) };
    assert_eq!(world.prepare(&world.other, &generous, 0).await, Err(Error::Reverted(refusal.into())));
}

async fn a_transaction_that_fails_when_mined_has_a_failed_receipt(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let nonce = chain.transaction_count(world.owner.address()).await.unwrap();
    let give_away = transferOwnershipCall { newOwner: world.other.address() }.abi_encode();
    let first = chain.prepare(&world.owner, &TransactionRequest::call(feed, give_away), nonce, 0).await.unwrap();
    let second = chain.prepare(&world.owner, &price(feed, 1), nonce + 1, 0).await.unwrap();
    chain.send(&first).await.unwrap();
    chain.send(&second).await.unwrap();
    world.mine().await;
    assert!(chain.receipt(first.hash).await.unwrap().unwrap().success);
    let failed = chain.receipt(second.hash).await.unwrap().unwrap();
    assert_eq!((failed.tx, failed.success, failed.contract, failed.logs.len()), (second.hash, false, None, 0));
    assert_eq!(chain.transaction_count(world.owner.address()).await.unwrap(), nonce + 2, "it used up its nonce");
    chain.send(&second).await.unwrap();
}

async fn sending_a_transaction_again_is_no_error(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let transaction = world.prepare(&world.owner, &price(feed, 5), 0).await.unwrap();
    chain.send(&transaction).await.unwrap();
    chain.send(&transaction).await.unwrap();
    assert_eq!(chain.receipt(transaction.hash).await, Ok(None));
    world.mine().await;
    chain.send(&transaction).await.unwrap();
    world.mine().await;
    assert_eq!(chain.transaction_count(world.owner.address()).await.unwrap(), transaction.nonce + 1);
    let receipt = chain.receipt(transaction.hash).await.unwrap().unwrap();
    assert_eq!(answer_at(chain, feed, receipt.block.hash).await, Ok(5));
}

async fn a_nonce_taken_by_another_transaction_is_told(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let loser = world.prepare(&world.owner, &price(feed, 1), 0).await.unwrap();
    let winner = world.prepare(&world.owner, &price(feed, 2), 0).await.unwrap();
    assert_eq!(loser.nonce, winner.nonce);
    assert_ne!((loser.hash, loser.calldata_hash), (winner.hash, winner.calldata_hash));
    chain.send(&winner).await.unwrap();
    world.mine().await;
    let (from, nonce) = (world.owner.address(), loser.nonce);
    assert_eq!(chain.send(&loser).await, Err(Error::NonceUsed { from, nonce }));
}

async fn a_replacement_with_higher_fees_takes_the_place(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let stuck = world.prepare(&world.owner, &price(feed, 1), 0).await.unwrap();
    let cheap = world.prepare(&world.owner, &price(feed, 2), 0).await.unwrap();
    chain.send(&stuck).await.unwrap();
    assert!(matches!(chain.send(&cheap).await, Err(Error::Refused { .. })), "no higher fee, no replacement");
    let mut last = stuck.clone();
    for bump in 1..=3 {
        let replacement = world.prepare(&world.owner, &price(feed, 1), bump).await.unwrap();
        assert_eq!((replacement.nonce, replacement.calldata_hash), (stuck.nonce, stuck.calldata_hash));
        chain.send(&replacement).await.unwrap();
        last = replacement;
    }
    world.mine().await;
    assert!(chain.receipt(last.hash).await.unwrap().unwrap().success);
    assert_eq!(chain.receipt(stuck.hash).await, Ok(None));
    let (from, nonce) = (world.owner.address(), stuck.nonce);
    assert_eq!(chain.send(&stuck).await, Err(Error::NonceUsed { from, nonce }));
}

async fn two_transactions_in_a_row_share_a_block(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let nonce = chain.transaction_count(world.owner.address()).await.unwrap();
    let first = chain.prepare(&world.owner, &price(feed, 1), nonce, 0).await.unwrap();
    let second = chain.prepare(&world.owner, &price(feed, 2), nonce + 1, 0).await.unwrap();
    chain.send(&second).await.unwrap();
    chain.send(&first).await.unwrap();
    world.mine().await;
    let (first, second) = (chain.receipt(first.hash).await.unwrap(), chain.receipt(second.hash).await.unwrap());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.block, second.block);
    assert_eq!(second.logs[0].index, first.logs[0].index + 1);
    assert_eq!(answer_at(chain, feed, second.block.hash).await, Ok(2), "in the order of their nonces");
}

async fn waiting_for_a_block_that_never_comes_ends(world: World) {
    let feed = world.feed().await;
    let transaction = world.prepare(&world.owner, &price(feed, 1), 0).await.unwrap();
    let waited = send_and_wait(world.chain(), &world.env, &transaction, std::time::Duration::from_millis(100)).await;
    assert!(matches!(waited, Err(Error::Timeout { .. })));
    world.mine().await;
    let receipt = send_and_wait(world.chain(), &world.env, &transaction, PATIENCE).await.unwrap();
    assert!(receipt.success, "it was sent all the same, and waiting again finds it");
}

async fn what_is_no_transaction_of_this_chain_is_refused(world: World) {
    let chain = world.chain();
    let feed = world.feed().await;
    let good = world.prepare(&world.owner, &price(feed, 1), 0).await.unwrap();
    let shorter = good.raw[..good.raw.len() - 1].to_vec();
    for (name, raw) in [("nothing", vec![]), ("noise", vec![0xff; 100]), ("cut", shorter)] {
        let garbage = SignedTransaction { hash: keccak256(&raw), raw: raw.into(), ..good.clone() };
        assert!(matches!(chain.send(&garbage).await, Err(Error::Refused { .. })), "{name}");
    }
    let mislabelled = SignedTransaction { hash: B256::ZERO, ..good.clone() };
    assert!(matches!(chain.send(&mislabelled).await, Err(Error::InvalidInput(_))));

    let owner = world.owner.address();
    let options = EmbeddedOptions { chain_id: 5, funded: vec![owner], ..EmbeddedOptions::default() };
    let elsewhere = EmbeddedChain::start(options, &world.env).unwrap();
    let request = TransactionRequest { gas: Some(100_000), ..price(feed, 1) };
    let foreign = elsewhere.prepare(&world.owner, &request, good.nonce, 0).await.unwrap();
    assert!(matches!(chain.send(&foreign).await, Err(Error::Refused { .. })));
    world.mine().await;
    assert_eq!(chain.transaction_count(owner).await.unwrap(), good.nonce, "none of them came in");
}

async fn an_account_without_funds_is_refused(world: World) {
    let chain = world.chain();
    let poor = wallet(77);
    let request =
        TransactionRequest { gas: Some(100_000), ..TransactionRequest::call(Address::repeat_byte(3), vec![]) };
    let transaction = chain.prepare(&poor, &request, 0, 0).await;
    // anvil looks at the funds when it simulates, revm's simulation is free.
    let outcome = match transaction {
        Ok(transaction) => chain.send(&transaction).await,
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
}
