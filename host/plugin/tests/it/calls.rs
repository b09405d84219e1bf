//! What goes in, what comes out, and what is refused of it.

use std::path::PathBuf;
use std::time::Duration;

use eigenshift_env::Env;
use eigenshift_plugin::{
    AggregateKey, Bundle, CallError, Candidate, Decision, EventFilter, Grants, Host, NewTask, PeerResponse, Plan,
    Plugin, ProcessError, SubmissionCertificate, Transaction, Trigger,
};
use eigenshift_types::{Address, B256, Bytes, OperatorId, ResponseKey, U256};

use crate::fixtures::{BLOCK, chain, load, options, peer, service, task};
use crate::guest::{
    ADDRESS, ANSWER, DIGEST, DIRECTORY, Guest, KEY, ONE, ROTATION, SCRATCH, SOURCE, SUBMISSION, result,
};

fn key(bytes: &'static [u8]) -> ResponseKey {
    ResponseKey::new(Bytes::from_static(bytes)).unwrap()
}

#[tokio::test]
async fn the_three_callbacks_carry_their_values() {
    let plugin = load(&Guest::default()).await.unwrap();
    let answers = plugin.on_task_request(&task(), chain()).await.unwrap();
    assert_eq!(answers, [Bytes::from_static(&[1, 2, 3, 4])]);
    let items = plugin.on_submit_task_to_leader(&task(), &answers).await.unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!((&items[0].key, &items[0].payload, items[0].digest), (&key(b"k"), &answers[0], B256::repeat_byte(0x11)));
    let counts = plugin.on_leader_process_task_response(&task(), &peer()).await.unwrap();
    assert_eq!(counts, AggregateKey { task_index: 7, key: key(b"k"), digest: B256::repeat_byte(0x11) });
}

#[tokio::test]
async fn what_the_guest_is_given_is_what_the_host_gave() {
    // Echoes the request: parameters 1 and 2 are its place.
    let echo = format!(
        "(i32.store (i32.const {SCRATCH}) (i32.const 0))
         (i32.store (i32.const {}) (i32.const {item})) (i32.store (i32.const {}) (i32.const 1))
         (i32.store (i32.const {item}) (local.get 1)) (i32.store (i32.const {}) (local.get 2)) (i32.const {SCRATCH})",
        SCRATCH + 4,
        SCRATCH + 8,
        SCRATCH + 16,
        item = SCRATCH + 12,
    );
    let plugin = load(&Guest::with("on-task-request", &echo)).await.unwrap();
    assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap(), [Bytes::from_static(b"request")]);
    // Echoes the peer's payload as the key; it lies after the task (64 bytes) and the operator's id (8).
    let body = format!(
        "{} (i32.store (i32.const {}) (i32.load offset=72 (local.get 0)))",
        result(&[0, 7, 0, 4, DIGEST, 32]),
        SCRATCH + 8
    );
    let plugin = load(&Guest::with("on-leader-process-task-response", &body)).await.unwrap();
    let response = PeerResponse { payload: Bytes::from_static(b"wxyz"), ..peer() };
    assert_eq!(plugin.on_leader_process_task_response(&task(), &response).await.unwrap().key, key(b"wxyz"));
}

#[tokio::test]
async fn a_guests_errors_keep_their_meaning() {
    let errors = [
        (result(&[1, 0, 1500]), CallError::RetryAfter(Duration::from_millis(1500))),
        (result(&[1, 1, 1024, 5]), CallError::NotApplicable("probe".into())),
        (result(&[1, 2, 1024, 5]), CallError::InvalidTask("probe".into())),
        (result(&[1, 3, 1024, 5]), CallError::Guest("probe".into())),
    ];
    for (body, error) in errors {
        let plugin = load(&Guest::with("on-task-request", &body)).await.unwrap();
        assert_eq!(plugin.on_task_request(&task(), chain()).await, Err(error));
        assert_eq!(plugin.counters().failed, 0, "the engine had no trouble");
    }
}

#[tokio::test]
async fn a_rejection_carries_the_plugins_code_if_it_is_one() {
    // "probe" is a code; "1.0n" with its dot is not.
    for (at, len, code) in [(1024, 5, "probe"), (1029, 4, "rejected"), (1024, 0, "rejected")] {
        let body = result(&[1, at, len, 1032, 4]);
        let plugin = load(&Guest::with("on-leader-process-task-response", &body)).await.unwrap();
        let error = plugin.on_leader_process_task_response(&task(), &peer()).await.unwrap_err();
        assert_eq!(error, ProcessError::Rejected { code: code.into(), message: "none".into() });
        assert_eq!(error.code(), code);
    }
}

#[tokio::test]
async fn outputs_out_of_bounds_are_refused() {
    let s = SCRATCH;
    let answers = [
        ("too many", result(&[0, s + 12, 2, ANSWER, 4, ANSWER, 4])),
        ("too large", result(&[0, s + 12, 1, 0, 16 * 1024 + 1])),
        ("out of memory", result(&[0, s + 12, 1, u32::MAX - 4, 100])),
        ("no such case", result(&[9, 0, 0])),
    ];
    for (what, body) in answers {
        let plugin = load(&Guest::with("on-task-request", &body)).await.unwrap();
        let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
        assert!(matches!(error, CallError::BadOutput(_)), "{what}: {error:?}");
    }
    let sign = [
        ("no key", result(&[0, s + 12, 1, KEY, 0, ANSWER, 4, DIGEST, 32, ANSWER, 0])),
        ("long key", result(&[0, s + 12, 1, KEY, 65, ANSWER, 4, DIGEST, 32, ANSWER, 0])),
        ("short digest", result(&[0, s + 12, 1, KEY, 1, ANSWER, 4, DIGEST, 31, ANSWER, 0])),
        ("long digest", result(&[0, s + 12, 1, KEY, 1, ANSWER, 4, DIGEST, 33, ANSWER, 0])),
        ("payload", result(&[0, s + 12, 1, KEY, 1, 0, 16 * 1024 + 1, DIGEST, 32, ANSWER, 0])),
        ("extension", result(&[0, s + 12, 1, KEY, 1, ANSWER, 4, DIGEST, 32, 0, 1025])),
        ("too many", {
            let item = [ANSWER, 4, DIGEST, 32, ANSWER, 0];
            let two = [&[0, s + 12, 2, KEY, 1][..], &item, &[KEY + 1, 1], &item].concat();
            result(&two)
        }),
    ];
    for (what, body) in sign {
        let plugin = load(&Guest::with("on-submit-task-to-leader", &body)).await.unwrap();
        let error = plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap_err();
        assert!(matches!(error, CallError::BadOutput(_)), "{what}: {error:?}");
    }
    for body in
        [result(&[0, 7, KEY, 0, DIGEST, 32]), result(&[0, 7, KEY, 65, DIGEST, 32]), result(&[0, 7, KEY, 1, DIGEST, 0])]
    {
        let plugin = load(&Guest::with("on-leader-process-task-response", &body)).await.unwrap();
        let error = plugin.on_leader_process_task_response(&task(), &peer()).await.unwrap_err();
        assert!(matches!(error, ProcessError::Call(CallError::BadOutput(_))), "{error:?}");
    }
}

#[tokio::test]
async fn response_keys_are_unique_within_a_task() {
    let item = [ANSWER, 4, DIGEST, 32, ANSWER, 0];
    let two = |second| [&[0, SCRATCH + 12, 2, KEY, 1][..], &item, &[second, 1], &item].concat();
    let guest = |second| Guest::with("on-submit-task-to-leader", &result(&two(second))).limits("keys-per-task = 2");
    let plugin = load(&guest(KEY + 1)).await.unwrap();
    assert_eq!(plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap().len(), 2);
    let plugin = load(&guest(KEY)).await.unwrap();
    let error = plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap_err();
    assert_eq!(error, CallError::BadOutput("the response key k twice".into()));
}

fn certificate() -> SubmissionCertificate {
    SubmissionCertificate {
        key: key(b"k"),
        payload: Bytes::from_static(&[1]),
        digest: B256::repeat_byte(1),
        non_signers: vec![Bytes::from(vec![3; 64])],
        quorum_aggregate_keys: vec![Bytes::from(vec![4; 64])],
        quorums: vec![0],
        signers_aggregate_key: Bytes::from(vec![5; 128]),
        signature: Bytes::from(vec![6; 64]),
    }
}

fn with_everything() -> Guest {
    let s = SCRATCH;
    let mut guest = Guest::default();
    let transaction = [ADDRESS, 20, ANSWER, 4, ONE, 32];
    guest.export(
        SOURCE,
        &[
            ("event-filters", result(&[s + 8, 1, ADDRESS, 20, s + 24, 1, DIGEST, 32])),
            ("on-trigger", result(&[0, 0, 1, 42, ANSWER, 4, 1])),
        ],
    );
    guest.export(
        SUBMISSION,
        &[
            // Submits when there is a certificate (the list's length follows the task, 64 bytes, and its address).
            (
                "submit",
                format!(
                    "(if (result i32) (i32.load offset=68 (local.get 0)) (then {}) (else {}))",
                    result(&[&[0, 0][..], &transaction].concat()),
                    result(&[0, 1])
                ),
            ),
            ("is-answered", result(&[0, 1])),
        ],
    );
    // The number of candidates: always out of range.
    guest.export(ROTATION, &[("next", "(local.get 1)".to_owned())]);
    guest.export(
        DIRECTORY,
        &[("is-registered-operator", result(&[0, 1])), ("fetch-operator-url", result(&[0, 1, 1024, 5]))],
    );
    guest
}

#[tokio::test]
async fn optional_interfaces_are_found_and_carry_their_values() {
    let plugin = load(&with_everything()).await.unwrap();
    assert!(plugin.has_task_source() && plugin.has_task_submission());
    assert!(plugin.has_rotation() && plugin.has_operator_directory());

    let filters = plugin.event_filters(&service()).await.unwrap();
    let address = Address::repeat_byte(0x22);
    assert_eq!(filters, [EventFilter { address, topics0: vec![B256::repeat_byte(0x11)] }]);
    let answer = Bytes::from_static(&[1, 2, 3, 4]);
    let planned = Plan::Create(NewTask { index: Some(42), request: answer.clone(), keys_expected: 1 });
    for trigger in [
        Trigger::Timer { name: "every".into(), slot: 9 },
        Trigger::Request(answer.clone()),
        Trigger::Event(crate::chain::event()),
    ] {
        assert_eq!(plugin.on_trigger(&service(), BLOCK, &trigger, chain()).await.unwrap(), planned);
    }

    assert_eq!(plugin.submit(&task(), &[], false, BLOCK, chain()).await.unwrap(), Decision::NotYet);
    let sent = Transaction { to: address, data: answer, value: U256::from(1) };
    let decided = plugin.submit(&task(), &[certificate()], true, BLOCK, chain()).await.unwrap();
    assert_eq!(decided, Decision::Submit(sent));
    assert!(plugin.is_answered(&task(), BLOCK, chain()).await.unwrap());

    let candidate = |byte| Candidate { operator_id: OperatorId(B256::repeat_byte(byte)), stakes: vec![U256::from(5)] };
    let candidates = [candidate(1), candidate(2)];
    assert_eq!(plugin.next(&candidates, None, B256::ZERO).await.unwrap(), 0, "out of range counts as 0");

    assert!(plugin.is_registered_operator(&service(), BLOCK, address, chain()).await.unwrap());
    let url = plugin.fetch_operator_url(&service(), BLOCK, address, chain()).await.unwrap();
    assert_eq!(url.as_deref(), Some("probe"));
}

#[tokio::test]
async fn an_interface_that_is_not_exported_is_unsupported() {
    let plugin = load(&Guest::default()).await.unwrap();
    assert_eq!(plugin.event_filters(&service()).await, Err(CallError::Unsupported));
    let trigger = Trigger::Request(Bytes::new());
    assert_eq!(plugin.on_trigger(&service(), BLOCK, &trigger, chain()).await, Err(CallError::Unsupported));
    assert_eq!(plugin.submit(&task(), &[], true, BLOCK, chain()).await, Err(CallError::Unsupported));
    assert_eq!(plugin.is_answered(&task(), BLOCK, chain()).await, Err(CallError::Unsupported));
    assert_eq!(plugin.next(&[], None, B256::ZERO).await, Err(CallError::Unsupported));
    let operator = Address::ZERO;
    let registered = plugin.is_registered_operator(&service(), BLOCK, operator, chain()).await;
    assert_eq!(registered, Err(CallError::Unsupported));
    assert_eq!(plugin.fetch_operator_url(&service(), BLOCK, operator, chain()).await, Err(CallError::Unsupported));
}

#[tokio::test]
async fn a_plan_or_a_transaction_out_of_bounds_is_refused() {
    let s = SCRATCH;
    for body in [
        result(&[0, 0, 0, 0, ANSWER, 4, 2]),
        result(&[0, 0, 0, 0, ANSWER, 4, 0]),
        result(&[0, 0, 0, 0, 0, 64 * 1024 + 1, 1]),
        result(&[0, 1, ADDRESS, 19, ANSWER, 4, ONE, 32]),
        result(&[0, 1, ADDRESS, 20, ANSWER, 4, ONE, 31]),
    ] {
        let mut guest = Guest::default();
        guest.export(SOURCE, &[("event-filters", result(&[s + 8, 65])), ("on-trigger", body)]);
        let plugin = load(&guest).await.unwrap();
        let trigger = Trigger::Request(Bytes::new());
        let error = plugin.on_trigger(&service(), BLOCK, &trigger, chain()).await.unwrap_err();
        assert!(matches!(error, CallError::BadOutput(_)), "{error:?}");
        let error = plugin.event_filters(&service()).await.unwrap_err();
        assert!(matches!(error, CallError::BadOutput(_)), "{error:?}");
    }
}

/// Built by `cargo xtask guests` from `plugins/`, with the Rust SDK.
fn shipped_bundle(name: &str) -> Bundle {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let folder = std::env::var_os("EIGENSHIFT_COMPONENTS").map_or_else(|| root.join("target/components"), Into::into);
    let path = folder.join(format!("{name}.wasm"));
    let component = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; build it with `cargo xtask guests`", path.display()));
    Bundle::new(component, std::fs::read_to_string(root.join(name).join("avs.toml")).unwrap())
}

async fn shipped(name: &str) -> Plugin {
    let host = Host::new(options(), &Env::real()).unwrap();
    let plugin = host.load(shipped_bundle(name), &Grants::all()).await.unwrap();
    assert_eq!(plugin.descriptor().name, name);
    plugin
}

#[tokio::test]
async fn the_shipped_price_oracle_loads_with_its_optional_interfaces() {
    let plugin = shipped("price-oracle").await;
    assert!(plugin.has_task_submission());
}

#[tokio::test]
async fn the_shipped_incredible_squaring_squares() {
    let plugin = shipped("incredible-squaring").await;
    let mut task = task();
    task.request = U256::from(12).to_be_bytes_vec().into();
    let answers = plugin.on_task_request(&task, chain()).await.unwrap();
    let expected = [U256::from(7).to_be_bytes_vec(), U256::from(144).to_be_bytes_vec()].concat();
    assert_eq!(answers, [Bytes::from(expected)]);
    let items = plugin.on_submit_task_to_leader(&task, &answers).await.unwrap();
    assert_eq!(items.len(), 1);
    let response = PeerResponse { payload: items[0].payload.clone(), extension: items[0].extension.clone(), ..peer() };
    let counts = plugin.on_leader_process_task_response(&task, &response).await.unwrap();
    assert_eq!((counts.task_index, &counts.key, counts.digest), (7, &items[0].key, items[0].digest));
    let wrong = PeerResponse { payload: Bytes::from_static(b"junk"), ..peer() };
    let error = plugin.on_leader_process_task_response(&task, &wrong).await.unwrap_err();
    assert!(matches!(error, ProcessError::Rejected { .. }), "{error:?}");
}

/// Bytes of the memories that a component's modules begin with.
fn initial_memory(component: &[u8]) -> u64 {
    let memories = wasmparser::Parser::new(0).parse_all(component).filter_map(|payload| match payload.unwrap() {
        wasmparser::Payload::MemorySection(section) => Some(section),
        _ => None,
    });
    memories.flatten().map(|memory| memory.unwrap().initial * 65_536).sum()
}

/// Growing is what costs: page protections change, and the other cores are waited for.
#[tokio::test]
async fn a_usual_call_of_a_plugin_made_with_the_sdk_does_not_grow_its_memory() {
    let initial = initial_memory(shipped_bundle("incredible-squaring").component());
    let plugin = shipped("incredible-squaring").await;
    let mut task = task();
    task.request = U256::from(12).to_be_bytes_vec().into();
    plugin.take_memory_peak();
    plugin.on_task_request(&task, chain()).await.unwrap();
    // Tables are counted, too; theirs is less than a page.
    let peak = plugin.take_memory_peak();
    assert!((initial..initial + 65_536).contains(&peak), "{peak} bytes, {initial} to begin with");
}
