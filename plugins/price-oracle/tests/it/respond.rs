use eigenshift_guest::alloy_sol_types::SolValue;
use eigenshift_guest::testing::FakeChain;
use eigenshift_guest::{Avs, B256, ChainError, Payload, Peer, TaskError, U256, keccak256};
use price_oracle::PriceOraclePlugin as Plugin;
use price_oracle::contracts::{Response, Task};

use crate::fixture::{ORACLE, failing, feed, priced, response, round, task, word};

fn run(chain: &FakeChain) -> Result<Vec<Response>, TaskError> {
    Plugin::on_task_request(&task(), &chain.chain())
}

#[test]
fn every_source_of_the_feed_gets_a_response_under_its_own_key() {
    let responses = run(&priced(&[("a", 3), ("b", 1), ("c", 2)])).unwrap();
    assert_eq!(responses, [response("c", 2), response("a", 3), response("b", 1)]);
    let signable = Plugin::on_submit_task_to_leader(&task(), responses).unwrap();
    assert_eq!(signable.iter().map(|one| one.key.as_bytes()).collect::<Vec<_>>(), [b"c", b"a", b"b"]);
}

#[test]
fn a_source_without_a_usable_price_is_left_out_and_the_rest_answer() {
    let reverting = priced(&[("a", 3), ("c", 2)]);
    assert_eq!(run(&reverting).unwrap().len(), 2);
    let undecodable = failing(priced(&[("a", 3), ("c", 2)]), "b", ChainError::Undecodable("no code".into()));
    assert_eq!(run(&undecodable).unwrap().len(), 2);
    assert_eq!(run(&priced(&[("a", 0), ("b", -5), ("c", 2)])).unwrap(), [response("c", 2)]);
    let never = round(priced(&[("a", 3), ("c", 2)]), "b", 7, U256::from(1) << 64);
    assert_eq!(run(&never).unwrap().len(), 2);
}

#[test]
fn with_no_source_left_the_task_is_not_applicable() {
    let error = run(&feed(1)).unwrap_err();
    assert!(matches!(error, TaskError::NotApplicable(why) if why.contains("EUR/USD")));
}

#[test]
fn a_chain_that_is_down_asks_for_a_retry_instead_of_a_shorter_answer() {
    for error in [ChainError::Unavailable("down".into()), ChainError::UnknownBlock] {
        let chain = failing(priced(&[("a", 3), ("c", 2)]), "b", error);
        assert!(matches!(run(&chain), Err(TaskError::RetryAfterMs(_))));
    }
    let denied = failing(priced(&[("a", 3), ("c", 2)]), "b", ChainError::AccessDenied);
    assert!(matches!(run(&denied), Err(TaskError::Other(_))));
}

#[test]
fn a_task_of_another_block_or_number_is_invalid() {
    let chain = priced(&[("a", 3)]);
    let mut early = task();
    early.reference_block.number -= 1;
    assert!(matches!(Plugin::on_task_request(&early, &chain.chain()), Err(TaskError::InvalidTask(_))));
    let mut renamed = task();
    renamed.index += 1;
    assert!(matches!(Plugin::on_task_request(&renamed, &chain.chain()), Err(TaskError::InvalidTask(_))));
}

#[test]
fn the_digest_is_the_contract_s_and_binds_chain_contract_task_and_response() {
    // abi.encode(chainid, address(this), taskHash, response): eight words, the response being a static struct.
    let response = response("ecb", 108_000_000);
    let mut bytes = Vec::new();
    bytes.extend(U256::from(31337).to_be_bytes::<32>());
    bytes.extend(ORACLE.into_word());
    bytes.extend(keccak256(SolValue::abi_encode(&task().request)));
    bytes.extend(U256::from(2).to_be_bytes::<32>());
    bytes.extend(word("ecb"));
    bytes.extend(U256::from(108_000_000).to_be_bytes::<32>());
    bytes.extend(U256::from(11).to_be_bytes::<32>());
    bytes.extend(U256::from(1_699_999_000).to_be_bytes::<32>());
    assert_eq!(Plugin::digest(&task(), &response), keccak256(&bytes));
    let mut elsewhere = task();
    elsewhere.service.chain_id = 1;
    assert_ne!(Plugin::digest(&elsewhere, &response), keccak256(&bytes));
    let mut other = task();
    other.request.feed = word("another feed");
    assert_ne!(Plugin::digest(&other, &response), keccak256(&bytes));
}

#[test]
fn a_response_that_the_contract_would_refuse_is_rejected() {
    let peer = Peer { operator_id: B256::ZERO, extension: None };
    let code = |response: &Response| Plugin::check(&task(), &peer, response).unwrap_err().code;
    assert!(Plugin::check(&task(), &peer, &response("a", 1)).is_ok());
    assert_eq!(code(&Response { taskIndex: 3, ..response("a", 1) }), "wrong-task");
    assert_eq!(code(&response("a", 0)), "invalid-price");
    assert_eq!(code(&response("a", -1)), "invalid-price");
    assert_eq!(code(&response("", 1)), "invalid-source");
}

#[test]
fn the_request_is_the_contract_s_task() {
    let bytes = task().request.encode();
    assert_eq!(Task::decode_canonical(&bytes).unwrap(), task().request);
}
