use eigenshift_guest::glue::Adapter;
use eigenshift_guest::wit::lifecycle::eigenshift::avs::types as wire;
use eigenshift_guest::wit::lifecycle::exports::eigenshift::avs::task_lifecycle::{Guest, PeerResponse};
use eigenshift_guest::{
    Avs, B256, Chain, ChainError, Payload, Peer, Rejection, ResponseKey, Task, TaskError, abi_payload, json_payload,
    keccak256, sol,
};
use serde::{Deserialize, Serialize};

sol! {
    #[derive(Debug, PartialEq)]
    struct Ask { uint32 count; }

    #[derive(Debug, PartialEq)]
    struct Reply { uint32 taskIndex; uint32 number; }
}
abi_payload!(Ask, Reply);

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}
json_payload!(Note);

/// Everything but the work by default.
struct Plain;

impl Avs for Plain {
    type Request = Ask;
    type Response = Reply;
    type Extension = ();
    const NAME: &'static str = "plain";
    const VERSION: &'static str = "1.2.3";
    const SCHEMA: &'static str = "(uint32) -> (uint32, uint32)";

    fn on_task_request(task: &Task<Ask>, _chain: &Chain) -> Result<Vec<Reply>, TaskError> {
        Ok((0..task.request.count).map(|number| Reply { taskIndex: task.index, number }).collect())
    }
}
eigenshift_guest::export!(Plain);

/// A key for each response, an extension, and a check.
struct Keyed;

impl Avs for Keyed {
    type Request = Ask;
    type Response = Reply;
    type Extension = Note;
    const NAME: &'static str = "keyed";
    const VERSION: &'static str = "0.0.1";
    const SCHEMA: &'static str = "";

    fn on_task_request(task: &Task<Ask>, chain: &Chain) -> Result<Vec<Reply>, TaskError> {
        // There is no host under a native test.
        let error = chain.call_raw(task.service.service_manager, &[], None).unwrap_err();
        assert_eq!(error, ChainError::AccessDenied);
        Err(error.into())
    }

    fn key(_: &Task<Ask>, response: &Reply) -> ResponseKey {
        ResponseKey::new(response.number.to_string()).unwrap()
    }

    fn extension(_: &Task<Ask>, response: &Reply) -> Note {
        Note { text: format!("n{}", response.number) }
    }

    fn check(task: &Task<Ask>, peer: &Peer<Note>, response: &Reply) -> Result<(), Rejection> {
        if response.taskIndex != task.index {
            return Err(Rejection::new("wrong-task", "another task"));
        }
        match &peer.extension {
            Some(note) if note.text == "evil" => Err(Rejection::new("evil", format!("{}", peer.operator_id))),
            _ => Ok(()),
        }
    }
}

fn task(request: Vec<u8>) -> wire::Task {
    wire::Task {
        index: 5,
        request,
        service: wire::Service { avs: "test".into(), chain_id: 31337, service_manager: vec![0x22; 20] },
        reference_block: wire::BlockId { number: 9, hash: vec![0x33; 32] },
        reference_time: 1_700_000_000,
    }
}

fn asking(count: u32) -> wire::Task {
    task(Ask { count }.encode())
}

fn peer(payload: Vec<u8>, extension: &[u8]) -> PeerResponse {
    PeerResponse { operator_id: vec![0x44; 32], payload, extension: extension.to_vec() }
}

fn rejected<A: Avs>(response: PeerResponse) -> String {
    Adapter::<A>::on_leader_process_task_response(asking(1), response).unwrap_err().code
}

#[test]
fn describe_tells_name_version_and_schema() {
    let descriptor = Adapter::<Plain>::describe();
    assert_eq!(descriptor.name, "plain");
    assert_eq!(descriptor.version, "1.2.3");
    assert_eq!(descriptor.schema, "(uint32) -> (uint32, uint32)");
}

#[test]
fn an_own_response_gets_the_same_key_and_digest_when_signed_and_when_received() {
    let responses = Adapter::<Plain>::on_task_request(asking(1)).unwrap();
    let signable = Adapter::<Plain>::on_submit_task_to_leader(asking(1), responses.clone()).unwrap();
    assert_eq!(signable.len(), 1);
    assert_eq!(signable[0].payload, responses[0]);
    assert_eq!(signable[0].key, b"0");
    assert_eq!(signable[0].extension, b"");
    assert_eq!(signable[0].digest, keccak256(&responses[0]).to_vec());

    let found = Adapter::<Plain>::on_leader_process_task_response(asking(1), peer(responses[0].clone(), b"")).unwrap();
    assert_eq!((found.task_index, found.key, found.digest), (5, signable[0].key.clone(), signable[0].digest.clone()));
}

#[test]
fn several_responses_need_a_key_each() {
    let responses = Adapter::<Plain>::on_task_request(asking(3)).unwrap();
    let error = Adapter::<Plain>::on_submit_task_to_leader(asking(3), responses.clone()).unwrap_err();
    assert!(matches!(error, wire::TaskError::Other(why) if why.contains("\"0\"")));
    let signable = Adapter::<Keyed>::on_submit_task_to_leader(asking(3), responses).unwrap();
    assert_eq!(signable.iter().map(|one| one.key.clone()).collect::<Vec<_>>(), [b"0", b"1", b"2"]);
    assert_eq!(signable[2].extension, br#"{"text":"n2"}"#);
}

#[test]
fn an_undecodable_request_is_an_invalid_task() {
    for request in [vec![], vec![1], vec![0xff; 32]] {
        let error = Adapter::<Plain>::on_task_request(task(request.clone())).unwrap_err();
        assert!(matches!(error, wire::TaskError::InvalidTask(_)));
        let error = Adapter::<Plain>::on_submit_task_to_leader(task(request.clone()), vec![]).unwrap_err();
        assert!(matches!(error, wire::TaskError::InvalidTask(_)));
        let reply = peer(Reply { taskIndex: 5, number: 0 }.encode(), b"");
        let error = Adapter::<Plain>::on_leader_process_task_response(task(request), reply).unwrap_err();
        assert_eq!(error.code, "invalid-task");
    }
}

#[test]
fn a_host_that_passes_wrong_lengths_gets_an_error_not_a_panic() {
    let mut short = asking(1);
    short.service.service_manager.pop();
    assert!(matches!(Adapter::<Plain>::on_task_request(short), Err(wire::TaskError::Other(_))));
    let mut long = asking(1);
    long.reference_block.hash.push(0);
    assert!(matches!(Adapter::<Plain>::on_task_request(long), Err(wire::TaskError::Other(_))));
    let mut nobody = peer(Reply { taskIndex: 5, number: 0 }.encode(), b"");
    nobody.operator_id.clear();
    assert_eq!(rejected::<Plain>(nobody), "malformed");
}

#[test]
fn a_hostile_response_is_refused_with_a_code_of_its_own() {
    let good = Reply { taskIndex: 5, number: 0 }.encode();
    let mut trailing = good.clone();
    trailing.push(0);
    assert_eq!(rejected::<Plain>(peer(trailing, b"")), "non-canonical");
    assert_eq!(rejected::<Plain>(peer(vec![1, 2, 3], b"")), "malformed");
    assert_eq!(rejected::<Plain>(peer(good.clone(), b"x")), "malformed-extension");
    assert_eq!(rejected::<Keyed>(peer(good.clone(), b"{}")), "malformed-extension");
    assert_eq!(rejected::<Keyed>(peer(good.clone(), br#"{"text":"evil"}"#)), "evil");
    assert_eq!(rejected::<Keyed>(peer(Reply { taskIndex: 6, number: 0 }.encode(), b"")), "wrong-task");
    // A certificate keeps no extension; its response must still be taken.
    assert!(Adapter::<Keyed>::on_leader_process_task_response(asking(1), peer(good, b"")).is_ok());
}

#[test]
fn a_denied_read_is_reported_and_a_transient_one_is_tried_again() {
    assert!(matches!(Adapter::<Keyed>::on_task_request(asking(1)), Err(wire::TaskError::Other(_))));
    assert_eq!(TaskError::from(ChainError::Unavailable("x".into())), TaskError::RetryAfterMs(1_000));
    assert_eq!(TaskError::from(ChainError::UnknownBlock), TaskError::RetryAfterMs(1_000));
    assert!(matches!(TaskError::from(ChainError::Reverted(vec![1])), TaskError::Other(why) if why.contains("0x01")));
}

#[test]
fn the_task_reaches_the_plugin_as_the_host_sent_it() {
    struct Echo;
    impl Avs for Echo {
        type Request = Vec<u8>;
        type Response = Vec<u8>;
        type Extension = ();
        const NAME: &'static str = "";
        const VERSION: &'static str = "";
        const SCHEMA: &'static str = "";

        fn on_task_request(task: &Task<Vec<u8>>, _: &Chain) -> Result<Vec<Vec<u8>>, TaskError> {
            assert_eq!(task.index, 5);
            assert_eq!(task.service.avs, "test");
            assert_eq!(task.service.chain_id, 31337);
            assert_eq!(task.service.service_manager.as_slice(), [0x22; 20]);
            assert_eq!(task.reference_block.number, 9);
            assert_eq!(task.reference_block.hash, B256::repeat_byte(0x33));
            assert_eq!(task.reference_time, 1_700_000_000);
            Ok(vec![task.request.clone()])
        }
    }
    assert_eq!(Adapter::<Echo>::on_task_request(task(vec![1, 2])).unwrap(), [vec![1, 2]]);
}
