use eigenshift_guest::alloy_primitives::IntoLogData;
use eigenshift_guest::alloy_sol_types::{SolCall, SolEvent};
use eigenshift_guest::{Address, B256, BlockId, EventLog, Plan, SourceError, TaskSource, Trigger, U256};
use price_oracle::PriceOraclePlugin as Plugin;
use price_oracle::contracts::{PriceOracle, Task};

use crate::fixture::{BLOCK, ORACLE, feed, onchain_task, service, word};

fn plan(trigger: Trigger) -> Result<Plan<Task>, SourceError> {
    let head = BlockId { number: BLOCK + 3, hash: B256::ZERO };
    Plugin::on_trigger(&service(), &head, &trigger, &feed(2).chain())
}

fn event() -> EventLog {
    let (topics, data) = PriceOracle::TaskCreated { index: 2, task: onchain_task() }.to_log_data().split();
    EventLog {
        address: ORACLE,
        topics,
        data: data.to_vec(),
        block: BlockId { number: BLOCK, hash: B256::repeat_byte(5) },
        transaction_hash: B256::ZERO,
        log_index: 0,
    }
}

#[test]
fn a_timer_and_an_administrator_ask_for_a_feed_by_name() {
    let timer = Trigger::Timer { name: "EUR/USD".into(), slot: 1 };
    for trigger in [timer, Trigger::Request(b"EUR/USD".to_vec())] {
        let Ok(Plan::Transact(transaction)) = plan(trigger) else { panic!("no transaction") };
        assert_eq!((transaction.to, transaction.value), (ORACLE, U256::ZERO));
        let call = PriceOracle::createTaskCall::abi_decode(&transaction.data).unwrap();
        assert_eq!(call.feed, word("EUR/USD"));
    }
}

#[test]
fn what_is_no_feed_s_name_is_an_invalid_trigger() {
    for request in [&b""[..], &[b'x'; 33], &[0xff, 0xfe], b"a\0"] {
        assert!(matches!(plan(Trigger::Request(request.to_vec())), Err(SourceError::InvalidTrigger(_))));
    }
    assert!(plan(Trigger::Request(vec![b'x'; 32])).is_ok());
}

#[test]
fn a_created_event_makes_the_contract_s_task_with_a_key_for_each_source() {
    let plan = plan(Trigger::Event(event())).unwrap();
    assert_eq!(plan, Plan::Create { index: Some(2), request: onchain_task(), keys_expected: 3 });
    let filters = Plugin::event_filters(&service());
    assert_eq!((filters[0].address, filters[0].topics0.as_slice()), (ORACLE, &event().topics[..1]));
    assert_eq!(PriceOracle::TaskCreated::SIGNATURE, "TaskCreated(uint32,(uint32,bytes32,uint32,bytes,uint8))");
}

#[test]
fn another_contract_s_event_is_ignored_and_a_broken_one_refused() {
    let foreign = EventLog { address: Address::ZERO, ..event() };
    assert!(matches!(plan(Trigger::Event(foreign)), Ok(Plan::Ignore(_))));
    let other = EventLog { topics: vec![B256::ZERO], ..event() };
    assert!(matches!(plan(Trigger::Event(other)), Ok(Plan::Ignore(_))));
    let cut = EventLog { data: vec![1; 33], ..event() };
    assert!(matches!(plan(Trigger::Event(cut)), Err(SourceError::InvalidTrigger(_))));
    let bare = EventLog { topics: event().topics[..1].to_vec(), ..event() };
    assert!(matches!(plan(Trigger::Event(bare)), Err(SourceError::InvalidTrigger(_))));
}
