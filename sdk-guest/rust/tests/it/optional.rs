use eigenshift_guest::glue::Adapter;
use eigenshift_guest::testing::FakeChain;
use eigenshift_guest::wit::lifecycle::eigenshift::avs::types as wire;
use eigenshift_guest::wit::rotation::exports::eigenshift::avs::rotation::{self, Guest as _};
use eigenshift_guest::wit::task_source::exports::eigenshift::avs::task_source::{self, Guest as _};
use eigenshift_guest::wit::task_submission::exports::eigenshift::avs::task_submission::{self, Guest as _};
use eigenshift_guest::{
    Address, Avs, B256, BlockId, Candidate, Certificate, Chain, ChainError, Decision, DirectoryError, EventFilter,
    EventLog, Header, OperatorDirectory, Plan, Rotation, Service, SourceError, SubmissionError, Task, TaskError,
    TaskSource, TaskSubmission, Transaction, Trigger, U256, sol,
};

sol! {
    interface Registry {
        function isRegistered(address operator) external view returns (bool);
    }
}

struct Full;

impl Avs for Full {
    type Request = Vec<u8>;
    type Response = Vec<u8>;
    type Extension = ();
    const NAME: &'static str = "full";
    const VERSION: &'static str = "";
    const SCHEMA: &'static str = "";

    fn on_task_request(_: &Task<Vec<u8>>, _: &Chain) -> Result<Vec<Vec<u8>>, TaskError> {
        Ok(vec![])
    }
}

impl TaskSource for Full {
    fn event_filters(service: &Service) -> Vec<EventFilter> {
        vec![EventFilter { address: service.service_manager, topics0: vec![B256::repeat_byte(1)] }]
    }

    fn on_trigger(_: &Service, _: &BlockId, trigger: &Trigger, _: &Chain) -> Result<Plan<Vec<u8>>, SourceError> {
        match trigger {
            Trigger::Timer { name, slot } => Ok(Plan::Ignore(format!("{name} {slot}"))),
            Trigger::Request(bytes) => Ok(Plan::Create { index: Some(3), request: bytes.clone(), keys_expected: 2 }),
            Trigger::Event(log) => Ok(Plan::Transact(Transaction {
                to: log.address,
                data: log.data.clone(),
                value: U256::from(log.log_index),
            })),
        }
    }
}

impl TaskSubmission for Full {
    fn submit(
        _: &Task<Vec<u8>>,
        certificates: &[Certificate<Vec<u8>>],
        last: bool,
        _: &BlockId,
        _: &Chain,
    ) -> Result<Decision, SubmissionError> {
        let certificate = &certificates[0];
        assert_eq!(certificate.signature.x, U256::from(1));
        assert_eq!(certificate.signature.y, U256::from(2));
        assert_eq!(certificate.signers_aggregate_key.x, [U256::from(3), U256::from(4)]);
        assert_eq!(certificate.signers_aggregate_key.y, [U256::from(5), U256::from(6)]);
        assert_eq!(certificate.quorums, [0, 1]);
        Ok(if last { Decision::Fail("late".into()) } else { Decision::NotYet })
    }

    fn is_answered(_: &Task<Vec<u8>>, _: &BlockId, chain: &Chain) -> Result<bool, SubmissionError> {
        Ok(chain.header(None).map(|_| true)?)
    }
}

impl Rotation for Full {
    fn next(candidates: &[Candidate], last: Option<B256>, _: B256) -> usize {
        let at = candidates.iter().position(|candidate| Some(candidate.operator_id) == last);
        at.map_or(0, |at| (at + 1) % candidates.len())
    }
}

impl OperatorDirectory for Full {
    fn is_registered_operator(
        service: &Service,
        _: &BlockId,
        operator: Address,
        chain: &Chain,
    ) -> Result<bool, DirectoryError> {
        Ok(chain.call(service.service_manager, &Registry::isRegisteredCall { operator })?)
    }

    fn fetch_operator_url(_: &Service, _: &BlockId, _: Address, _: &Chain) -> Result<Option<String>, DirectoryError> {
        Ok(None)
    }
}
eigenshift_guest::export!(Full; TaskSource, TaskSubmission, Rotation, OperatorDirectory);

fn service() -> wire::Service {
    wire::Service { avs: "full".into(), chain_id: 1, service_manager: vec![7; 20] }
}

fn block() -> wire::BlockId {
    wire::BlockId { number: 1, hash: vec![1; 32] }
}

fn words(numbers: &[u8]) -> Vec<u8> {
    numbers.iter().flat_map(|number| U256::from(*number).to_be_bytes::<32>()).collect()
}

#[test]
fn triggers_and_plans_cross_the_boundary_unchanged() {
    let filters = Adapter::<Full>::event_filters(service());
    assert_eq!((filters[0].address.clone(), filters[0].topics0.clone()), (vec![7; 20], vec![vec![1; 32]]));

    let plan = |trigger| Adapter::<Full>::on_trigger(service(), block(), trigger);
    let timer = plan(task_source::Trigger::Timer(("hourly".into(), 9))).unwrap();
    assert!(matches!(timer, task_source::Plan::Ignore(why) if why == "hourly 9"));
    let task_source::Plan::Create(created) = plan(task_source::Trigger::Request(vec![5])).unwrap() else {
        panic!("no task")
    };
    assert_eq!((created.index, created.request, created.keys_expected), (Some(3), vec![5], 2));
    let log = wire::EventLog {
        address: vec![8; 20],
        topics: vec![vec![1; 32]],
        data: vec![1, 2, 3],
        block: block(),
        transaction_hash: vec![2; 32],
        log_index: 77,
    };
    let task_source::Plan::Transact(transaction) = plan(task_source::Trigger::Event(log.clone())).unwrap() else {
        panic!("no transaction")
    };
    assert_eq!((transaction.to, transaction.data, transaction.value), (vec![8; 20], vec![1, 2, 3], words(&[77])));

    let cut = wire::EventLog { topics: vec![vec![1; 31]], ..log };
    assert!(matches!(plan(task_source::Trigger::Event(cut)), Err(task_source::SourceError::Other(_))));
}

#[test]
fn a_certificate_keeps_the_order_of_its_coordinates() {
    let task =
        || wire::Task { index: 0, request: vec![], service: service(), reference_block: block(), reference_time: 0 };
    let certificate = task_submission::Certificate {
        key: b"k".to_vec(),
        payload: vec![1],
        digest: vec![9; 32],
        non_signers: vec![],
        quorum_aggregate_keys: vec![words(&[1, 2]), words(&[1, 2])],
        quorums: vec![0, 1],
        signers_aggregate_key: words(&[3, 4, 5, 6]),
        signature: words(&[1, 2]),
    };
    let decide = |certificate, last| Adapter::<Full>::submit(task(), vec![certificate], last, block());
    assert!(matches!(decide(certificate.clone(), false), Ok(task_submission::Decision::NotYet)));
    assert!(matches!(decide(certificate.clone(), true), Ok(task_submission::Decision::Fail(_))));
    for broken in [
        task_submission::Certificate { signature: words(&[1]), ..certificate.clone() },
        task_submission::Certificate { signature: vec![0; 63], ..certificate.clone() },
        task_submission::Certificate { signers_aggregate_key: words(&[1, 2]), ..certificate.clone() },
        task_submission::Certificate { key: vec![], ..certificate.clone() },
    ] {
        assert!(matches!(decide(broken, false), Err(task_submission::SubmissionError::Other(_))));
    }
    let denied = Adapter::<Full>::is_answered(task(), block());
    assert!(matches!(denied, Err(task_submission::SubmissionError::Other(_))));
}

#[test]
fn rotation_gets_the_candidates_and_survives_broken_ones() {
    let candidate = |byte: u8| rotation::Candidate { operator_id: vec![byte; 32], stakes: vec![words(&[byte])] };
    let next = |last: Option<u8>| {
        let candidates = vec![candidate(1), candidate(2), candidate(3)];
        Adapter::<Full>::next(candidates, last.map(|byte| vec![byte; 32]), vec![0; 32])
    };
    assert_eq!([next(None), next(Some(1)), next(Some(3))], [0, 1, 0]);
    assert_eq!(Adapter::<Full>::next(vec![candidate(1)], Some(vec![1]), vec![]), 0);
}

#[test]
fn the_fake_chain_answers_what_it_was_told_and_reverts_the_rest() {
    let manager = Address::repeat_byte(7);
    let [known, flaky, unknown] = [1, 2, 3].map(Address::repeat_byte);
    let log = EventLog {
        address: manager,
        topics: vec![B256::repeat_byte(4)],
        data: vec![],
        block: BlockId { number: 5, hash: B256::ZERO },
        transaction_hash: B256::ZERO,
        log_index: 0,
    };
    let header = Header { block: log.block, timestamp: 60 };
    let fake = FakeChain::new()
        .answer(manager, &Registry::isRegisteredCall { operator: known }, None, &true)
        .fail(manager, &Registry::isRegisteredCall { operator: flaky }, None, ChainError::Unavailable("down".into()))
        .log(log.clone())
        .header(header);
    let chain = fake.chain();
    let service = Service { avs: String::new(), chain_id: 1, service_manager: manager };
    let registered = |operator| Full::is_registered_operator(&service, &log.block, operator, &chain);
    assert_eq!(registered(known), Ok(true));
    assert!(matches!(registered(flaky), Err(DirectoryError::Unavailable(_))));
    assert!(matches!(registered(unknown), Err(DirectoryError::Other(_))));
    assert_eq!(
        chain.call_at(4, manager, &Registry::isRegisteredCall { operator: known }),
        Err(ChainError::Reverted(vec![]))
    );
    assert_eq!(chain.logs(manager, &[B256::repeat_byte(4)], 5, 5), Ok(vec![log]));
    assert_eq!(chain.logs(manager, &[B256::repeat_byte(9)], 5, 5), Ok(vec![]));
    assert_eq!(chain.header(Some(5)), Ok(header));
    assert_eq!(chain.header(Some(6)), Err(ChainError::UnknownBlock));
}
