//! Chain reads from inside the sandbox: which callbacks have them, and within which bounds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eigenshift_env::Env;
use eigenshift_plugin::{CallError, ChainReadError, ChainReader, EventLog, Grants, Header, Host, HostOptions, Plugin};
use eigenshift_types::{Address, B256, BlockRef, Bytes};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::fixtures::{BLOCK, chain, load, options, task};
use crate::guest::{
    ADDRESS, ANSWER, DIGEST, Guest, IMPORT_CALL, IMPORT_HEADER, IMPORT_LOGS, KEY, SCRATCH, manifest, result,
};

/// Where the import puts its result.
const OUT: u32 = 8192;

pub fn event() -> EventLog {
    EventLog {
        address: Address::repeat_byte(1),
        topics: vec![B256::repeat_byte(2)],
        data: Bytes::from_static(b"data"),
        block: BLOCK,
        transaction_hash: B256::repeat_byte(3),
        log_index: 4,
    }
}

/// Calls the contract at a block (none: the bound), with calldata of `len` bytes.
fn call(at: Option<u64>, len: u32) -> String {
    let (some, number) = at.map_or((0, 0), |number| (1, number));
    format!(
        "(call $call (i32.const {ADDRESS}) (i32.const 20) (i32.const {ANSWER}) (i32.const {len})
         (i32.const {some}) (i64.const {number}) (i32.const {OUT}))"
    )
}

/// Answers with what the import gave, if it gave a list; else with two bytes: 1 and the number of the error.
fn answer_with_result() -> String {
    let list = |at: String, len: String| {
        format!("(i32.store (i32.const {}) {at}) (i32.store (i32.const {}) {len})", SCRATCH + 12, SCRATCH + 16)
    };
    format!(
        "(i32.store8 (i32.const {pair}) (i32.const 1)) (i32.store8 (i32.const {second}) (i32.load8_u (i32.const {error})))
         {head}
         (if (i32.load8_u (i32.const {OUT}))
           (then {failed})
           (else {given}))",
        pair = OUT + 64,
        second = OUT + 65,
        error = OUT + 4,
        head = result(&[0, SCRATCH + 12, 1]),
        failed = list(format!("(i32.const {})", OUT + 64), "(i32.const 2)".into()),
        given = list(format!("(i32.load (i32.const {}))", OUT + 4), format!("(i32.load (i32.const {}))", OUT + 8)),
    )
}

fn caller(at: Option<u64>, len: u32) -> Guest {
    let mut guest = Guest::with("on-task-request", &format!("{} {}", call(at, len), answer_with_result()));
    guest.imports = IMPORT_CALL.to_owned();
    guest
}

async fn answer(guest: &Guest) -> Vec<u8> {
    let plugin = load(guest).await.unwrap();
    plugin.on_task_request(&task(), chain()).await.unwrap()[0].to_vec()
}

const ACCESS_DENIED: [u8; 2] = [1, 0];
const UNKNOWN_BLOCK: [u8; 2] = [1, 2];
const INVALID_ARGUMENT: [u8; 2] = [1, 3];

#[tokio::test]
async fn reads_happen_at_the_tasks_block_or_below_it() {
    assert_eq!(answer(&caller(None, 4)).await, [100, 1, 2, 3, 4]);
    assert_eq!(answer(&caller(Some(100), 4)).await, [100, 1, 2, 3, 4]);
    assert_eq!(answer(&caller(Some(60), 4)).await, [60, 1, 2, 3, 4]);
    assert_eq!(answer(&caller(Some(101), 4)).await, UNKNOWN_BLOCK);
    assert_eq!(answer(&caller(Some(u64::MAX), 4)).await, UNKNOWN_BLOCK);
}

#[tokio::test]
async fn a_chain_that_the_manifest_does_not_list_is_denied_at_the_call() {
    let mut guest = caller(None, 4);
    guest.manifest = manifest("imports = [\"log\"]", "");
    let plugin = load(&guest).await.unwrap();
    assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap()[0], ACCESS_DENIED[..]);
    assert_eq!(plugin.counters().chain_reads, 0);
}

#[tokio::test]
async fn arguments_out_of_bounds_are_the_guests_error() {
    assert_eq!(answer(&caller(None, 128 * 1024 + 1)).await, INVALID_ARGUMENT);
    let mut short = caller(None, 4);
    let body = short.bodies.values().find(|body| body.contains("$call")).unwrap().replacen(
        "(i32.const 20)",
        "(i32.const 19)",
        1,
    );
    short.body("on-task-request", &body);
    assert_eq!(answer(&short).await, INVALID_ARGUMENT);
}

/// Asks for logs; answers with the error, or with the data of the first one.
fn logs(topics: u32, start: u64, end: u64) -> Guest {
    // Result: list at OUT + 4; the log's data is its fifth word.
    let body = format!(
        "(i32.store (i32.const 9000) (i32.const {DIGEST})) (i32.store (i32.const 9004) (i32.const 32))
         (call $logs (i32.const {ADDRESS}) (i32.const 20) (i32.const 9000) (i32.const {topics})
            (i64.const {start}) (i64.const {end}) (i32.const {OUT}))
         (if (i32.eqz (i32.load8_u (i32.const {OUT})))
           (then (i32.store (i32.const {len}) (i32.load offset=20 (i32.load (i32.const {list}))))
                 (i32.store (i32.const {list}) (i32.load offset=16 (i32.load (i32.const {list}))))))
         {}",
        answer_with_result(),
        list = OUT + 4,
        len = OUT + 8,
    );
    let mut guest = Guest::with("on-task-request", &body);
    guest.imports = IMPORT_LOGS.to_owned();
    guest
}

#[tokio::test]
async fn logs_are_bounded_by_range_and_by_the_tasks_block() {
    assert_eq!(answer(&logs(1, 50, 100)).await, [50, 100]);
    assert_eq!(answer(&logs(0, 100, 100)).await, [100, 100]);
    assert_eq!(answer(&logs(0, 50, 101)).await, UNKNOWN_BLOCK);
    assert_eq!(answer(&logs(0, 51, 50)).await, INVALID_ARGUMENT);
    assert_eq!(answer(&logs(0, 0, 1000)).await, INVALID_ARGUMENT);
    assert_eq!(answer(&logs(65, 50, 60)).await, INVALID_ARGUMENT);
}

#[tokio::test]
async fn headers_are_bounded_by_the_tasks_block() {
    // Answers with the timestamp: 8 bytes at OUT + 24 (result, then block number, hash, timestamp).
    let guest = |some: u32, number: u64| {
        let body = format!(
            "(call $header (i32.const {some}) (i64.const {number}) (i32.const {OUT}))
             {head}
             (i32.store (i32.const {at}) (i32.const {timestamp})) (i32.store (i32.const {len}) (i32.const 8))
             (if (i32.load8_u (i32.const {OUT}))
               (then (i32.store (i32.const {at}) (i32.const {error})) (i32.store (i32.const {len}) (i32.const 1))))",
            head = result(&[0, SCRATCH + 12, 1]),
            at = SCRATCH + 12,
            len = SCRATCH + 16,
            timestamp = OUT + 24,
            error = OUT + 8,
        );
        let mut guest = Guest::with("on-task-request", &body);
        guest.imports = IMPORT_HEADER.to_owned();
        guest
    };
    assert_eq!(answer(&guest(0, 0)).await, 1200_u64.to_le_bytes());
    assert_eq!(answer(&guest(1, 10)).await, 120_u64.to_le_bytes());
    assert_eq!(answer(&guest(1, 101)).await, [2], "unknown block");
}

/// Pure callbacks: the same call answers access-denied.
#[tokio::test]
async fn a_pure_callback_has_no_chain() {
    let mut guest = Guest { imports: IMPORT_CALL.to_owned(), ..Guest::default() };
    // The error's number becomes the first byte of the payload, the result's the second.
    let observe = format!(
        "{} (i32.store8 (i32.const {ANSWER}) (i32.load8_u (i32.const {OUT})))
         (i32.store8 (i32.const {}) (i32.load8_u (i32.const {})))",
        call(None, 4),
        ANSWER + 1,
        OUT + 4
    );
    let sign = result(&[0, SCRATCH + 12, 1, KEY, 1, ANSWER, 2, DIGEST, 32, ANSWER, 0]);
    guest.body("on-submit-task-to-leader", &format!("{observe} {sign}"));
    let process = result(&[0, 7, ANSWER, 2, DIGEST, 32]);
    guest.body("on-leader-process-task-response", &format!("{observe} {process}"));
    let plugin = load(&guest).await.unwrap();
    let items = plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap();
    assert_eq!(items[0].payload[..], ACCESS_DENIED);
    let counts = plugin.on_leader_process_task_response(&task(), &crate::fixtures::peer()).await.unwrap();
    assert_eq!(counts.key.as_bytes(), ACCESS_DENIED);
    assert_eq!(plugin.counters().chain_reads, 0);
}

#[tokio::test]
async fn chain_reads_of_a_call_are_capped() {
    // 70 reads; the answer is how many gave something.
    let body = format!(
        "(local $i i32) (local $given i32)
         (loop $l {} (local.set $given (i32.add (local.get $given) (i32.eqz (i32.load8_u (i32.const {OUT})))))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $i) (i32.const 70))))
         (i32.store (i32.const {ANSWER}) (local.get $given)) {}",
        call(None, 4),
        result(&[0, SCRATCH + 12, 1, ANSWER, 4])
    );
    let mut guest = Guest::with("on-task-request", &body);
    guest.imports = IMPORT_CALL.to_owned();
    let plugin = load(&guest).await.unwrap();
    for _ in 0..2 {
        let answers = plugin.on_task_request(&task(), chain()).await.unwrap();
        assert_eq!(answers[0][..], [64, 0, 0, 0]);
    }
    assert_eq!(plugin.counters().chain_reads, 128);
}

/// A chain that gives one answer to every call, or none at all.
struct Fixed(Mutex<Option<Result<Bytes, ChainReadError>>>, Mutex<Option<oneshot::Sender<()>>>);

struct TellOnDrop(Option<oneshot::Sender<()>>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(());
        }
    }
}

#[async_trait]
impl ChainReader for Fixed {
    async fn call(&self, _to: Address, _data: Bytes, _at: BlockRef) -> Result<Bytes, ChainReadError> {
        let _tell = TellOnDrop(self.1.lock().take());
        let answer = self.0.lock().clone();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn logs(&self, _: Address, _: &[B256], _: u64, _: u64, _: BlockRef) -> Result<Vec<EventLog>, ChainReadError> {
        Ok(vec![])
    }

    async fn header(&self, _: Option<u64>, bound: BlockRef) -> Result<Header, ChainReadError> {
        Ok(Header { block: bound, timestamp: 0 })
    }

    async fn at_number(&self, _: u64, bound: BlockRef) -> Result<BlockRef, ChainReadError> {
        Ok(bound)
    }
}

fn fixed(answer: Result<Bytes, ChainReadError>) -> Arc<dyn ChainReader> {
    Arc::new(Fixed(Mutex::new(Some(answer)), Mutex::default()))
}

#[tokio::test]
async fn a_readers_errors_keep_their_meaning() {
    let plugin: Plugin = load(&caller(None, 4)).await.unwrap();
    for (error, number) in [
        (ChainReadError::Reverted(Bytes::from_static(b"no")), 1),
        (ChainReadError::UnknownBlock, 2),
        (ChainReadError::InvalidArgument("x".into()), 3),
        (ChainReadError::Unavailable("x".into()), 4),
        (ChainReadError::Other("x".into()), 5),
    ] {
        let answers = plugin.on_task_request(&task(), fixed(Err(error))).await.unwrap();
        assert_eq!(answers[0][..], [1, number]);
    }
    let huge = fixed(Ok(vec![0; 1024 * 1024 + 1].into()));
    assert_eq!(plugin.on_task_request(&task(), huge).await.unwrap()[0][..], [1, 5], "too large to hand over");
}

#[tokio::test]
async fn a_read_that_never_ends_ends_with_the_deadline_and_is_dropped() {
    let options = HostOptions { call_deadline: Duration::from_millis(100), ..options() };
    let host = Host::new(options, &Env::real()).unwrap();
    let plugin = host.load(caller(None, 4).bundle(), &Grants::all()).await.unwrap();
    let (tell, told) = oneshot::channel();
    let reader = Arc::new(Fixed(Mutex::default(), Mutex::new(Some(tell))));
    assert_eq!(plugin.on_task_request(&task(), reader).await, Err(CallError::Deadline));
    told.await.unwrap();
}

/// The reader's runtime is the caller's: a reader that needs tokio's I/O or timers finds them.
#[tokio::test]
async fn reads_run_on_the_callers_runtime() {
    struct Where(Mutex<Option<tokio::runtime::Id>>);
    #[async_trait]
    impl ChainReader for Where {
        async fn call(&self, _: Address, _: Bytes, _: BlockRef) -> Result<Bytes, ChainReadError> {
            *self.0.lock() = Some(tokio::runtime::Handle::current().id());
            Ok(Bytes::from_static(&[1]))
        }
        async fn logs(
            &self,
            _: Address,
            _: &[B256],
            _: u64,
            _: u64,
            _: BlockRef,
        ) -> Result<Vec<EventLog>, ChainReadError> {
            Ok(vec![])
        }
        async fn header(&self, _: Option<u64>, bound: BlockRef) -> Result<Header, ChainReadError> {
            Ok(Header { block: bound, timestamp: 0 })
        }
        async fn at_number(&self, _: u64, bound: BlockRef) -> Result<BlockRef, ChainReadError> {
            Ok(bound)
        }
    }
    let plugin = load(&caller(None, 4)).await.unwrap();
    let reader = Arc::new(Where(Mutex::default()));
    plugin.on_task_request(&task(), reader.clone()).await.unwrap();
    assert_eq!(*reader.0.lock(), Some(tokio::runtime::Handle::current().id()));
}
