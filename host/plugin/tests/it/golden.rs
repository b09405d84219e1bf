//! Tasks with known answers.

use eigenshift_plugin::{CallError, GoldenError, LoadError};
use eigenshift_types::B256;

use crate::fixtures::load;
use crate::guest::{ADDRESS, ANSWER, Guest, IMPORT_CALL, KEY, SCRATCH, manifest, result};

/// A golden task whose digest is 32 times this byte.
fn golden(index: u32, request: &str, byte: &str) -> String {
    format!("[[golden]]\nindex = {index}\nrequest = \"{request}\"\ndigest = \"0x{}\"\n", byte.repeat(32))
}

fn guest(golden: &str) -> Guest {
    Guest { manifest: manifest("imports = [\"chain\", \"log\"]", golden), ..Guest::default() }
}

#[tokio::test]
async fn a_bundle_that_gets_its_golden_tasks_right_is_loaded() {
    let two = golden(0, "0x", "11") + &golden(1, "0x0102", "11");
    let plugin = load(&guest(&two)).await.unwrap();
    assert_eq!(plugin.counters().calls, 5, "describe, and two callbacks for each");
}

#[tokio::test]
async fn a_bundle_that_gets_one_wrong_is_refused_and_the_task_named() {
    let two = golden(0, "0x", "11") + &golden(1, "0x0102", "12");
    let error = load(&guest(&two)).await.unwrap_err();
    let why = GoldenError::Digest { expected: B256::repeat_byte(0x12), found: 1 };
    assert_eq!(error, LoadError::Golden { number: 1, why });
    assert_eq!(error.code(), "golden-failed");
}

#[tokio::test]
async fn index_and_request_reach_the_plugin() {
    // The digest is 32 bytes from where the index says; traps on a request of another length than two.
    let mut guest = guest(&golden(2080, "0x0102", "11"));
    let answer = result(&[0, SCRATCH + 12, 1, ANSWER, 4]);
    guest.body("on-task-request", &format!("(if (i32.ne (local.get 2) (i32.const 2)) (then unreachable)) {answer}"));
    let signed = result(&[0, SCRATCH + 12, 1, KEY, 1, ANSWER, 4, 0, 32, ANSWER, 0]);
    guest.body("on-submit-task-to-leader", &format!("{signed} (i32.store (i32.const {}) (local.get 0))", SCRATCH + 28));
    load(&guest).await.unwrap();
    guest.manifest = manifest("imports = [\"chain\", \"log\"]", &golden(2081, "0x0102", "11"));
    assert_eq!(load(&guest).await.unwrap_err().code(), "golden-failed");
    guest.manifest = manifest("imports = [\"chain\", \"log\"]", &golden(2080, "0x01", "11"));
    let error = load(&guest).await.unwrap_err();
    assert!(matches!(&error, LoadError::Golden { number: 0, why: GoldenError::Call(CallError::Trap(_)) }), "{error}");
}

#[tokio::test]
async fn golden_tasks_read_no_chain() {
    // Traps unless the call is answered with the error 0, access-denied.
    let mut guest = guest(&golden(0, "0x", "11"));
    guest.imports = IMPORT_CALL.to_owned();
    let body = format!(
        "(call $call (i32.const {ADDRESS}) (i32.const 20) (i32.const {ANSWER}) (i32.const 4)
           (i32.const 0) (i64.const 0) (i32.const 8192))
         (if (i32.ne (i32.load (i32.const 8192)) (i32.const 1)) (then unreachable))
         (if (i32.load8_u (i32.const 8196)) (then unreachable)) {}",
        result(&[0, SCRATCH + 12, 1, ANSWER, 4])
    );
    guest.body("on-task-request", &body);
    load(&guest).await.unwrap();
}
