use eigenshift_guest::alloy_sol_types::SolCall;
use eigenshift_guest::types::{G1Point, G2Point};
use eigenshift_guest::{
    Avs, B256, BlockId, Certificate, ChainError, Decision, SubmissionError, TaskSubmission, U256, testing::FakeChain,
};
use price_oracle::PriceOraclePlugin as Plugin;
use price_oracle::contracts::{PriceOracle, Response};

use crate::fixture::{BLOCK, ORACLE, feed, response, task, word};

fn g1(x: u64) -> G1Point {
    G1Point { x: U256::from(x), y: U256::from(x + 1) }
}

fn certificate(source: &str, price: i64) -> Certificate<Response> {
    let response = response(source, price);
    Certificate {
        key: Plugin::key(&task(), &response),
        digest: Plugin::digest(&task(), &response),
        response,
        non_signers: vec![g1(10), g1(20)],
        quorum_aggregate_keys: vec![g1(30), g1(40)],
        quorums: vec![0, 1],
        signers_aggregate_key: G2Point { x: [U256::from(1), U256::from(2)], y: [U256::from(3), U256::from(4)] },
        signature: g1(50),
    }
}

fn decide(certificates: &[Certificate<Response>], last: bool) -> Result<Decision, SubmissionError> {
    let head = BlockId { number: BLOCK + 4, hash: B256::ZERO };
    Plugin::submit(&task(), certificates, last, &head, &feed(2).chain())
}

fn submitted(decision: Result<Decision, SubmissionError>) -> PriceOracle::respondToTaskCall {
    let Ok(Decision::Submit(transaction)) = decision else { panic!("not submitted: {decision:?}") };
    assert_eq!(transaction.to, ORACLE);
    PriceOracle::respondToTaskCall::abi_decode(&transaction.data).unwrap()
}

#[test]
fn all_sources_certified_are_submitted_at_once_ascending_by_name() {
    let call = submitted(decide(&[certificate("c", 3), certificate("a", 1), certificate("b", 2)], false));
    assert_eq!(call.task, task().request);
    let sources: Vec<B256> = call.submitted.iter().map(|answer| answer.response.source).collect();
    assert_eq!(sources, [word("a"), word("b"), word("c")]);
    let params = &call.submitted[0].params;
    assert_eq!((params.sigma.X, params.sigma.Y), (U256::from(50), U256::from(51)));
    assert_eq!(params.nonSignerPubkeys.iter().map(|key| key.X).collect::<Vec<_>>(), [U256::from(10), U256::from(20)]);
    assert_eq!((params.apkG2.X, params.apkG2.Y), ([U256::from(1), U256::from(2)], [U256::from(3), U256::from(4)]));
}

#[test]
fn a_part_of_the_sources_waits_for_the_last_call_and_then_needs_the_minimum() {
    let two = [certificate("c", 3), certificate("a", 1)];
    assert_eq!(decide(&two, false), Ok(Decision::NotYet));
    assert_eq!(submitted(decide(&two, true)).submitted.len(), 2);
    assert_eq!(decide(&two[..1], true), Ok(Decision::NotYet));
    assert_eq!(decide(&[], true), Ok(Decision::NotYet));
}

#[test]
fn a_source_that_the_feed_does_not_have_counts_for_nothing() {
    let certificates = [certificate("c", 3), certificate("z", 1)];
    assert_eq!(decide(&certificates, true), Ok(Decision::NotYet));
    let certificates = [certificate("c", 3), certificate("z", 1), certificate("a", 1)];
    assert_eq!(submitted(decide(&certificates, true)).submitted.len(), 2);
}

#[test]
fn other_quorums_than_the_contract_s_fail_with_the_way_to_mend_it() {
    let certificate = Certificate { quorums: vec![0], ..certificate("a", 1) };
    assert!(matches!(decide(&[certificate], false), Ok(Decision::Fail(why)) if why.contains("[0, 1]")));
}

#[test]
fn whether_a_task_is_answered_is_the_contract_s_word() {
    let head = BlockId { number: BLOCK + 4, hash: B256::ZERO };
    let call = PriceOracle::isAnsweredCall { index: 2 };
    for answered in [true, false] {
        let chain = FakeChain::new().answer(ORACLE, &call, None, &answered);
        assert_eq!(Plugin::is_answered(&task(), &head, &chain.chain()), Ok(answered));
    }
    let down = FakeChain::new().fail(ORACLE, &call, None, ChainError::Unavailable("down".into()));
    assert!(matches!(Plugin::is_answered(&task(), &head, &down.chain()), Err(SubmissionError::RetryAfterMs(_))));
}
