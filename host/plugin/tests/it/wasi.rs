//! WASI from inside the sandbox: nothing of the machine shows, and equal tasks see equal things.

use eigenshift_plugin::capability::Verdict;
use eigenshift_plugin::inspect::inspect;
use eigenshift_plugin::{CallError, Grants, Host, HostOptions, LoadError, Manifest, Plugin, Task};
use eigenshift_types::Bytes;

use crate::fixtures::{chain, host, load, options, task};
use crate::guest::{ANSWER, DIGEST, Guest, KEY, SCRATCH, manifest, result};
use crate::lines;

const OUT: u32 = 8192;

const IMPORTS: &str = r#"
    (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic (result i64)))
    (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
    (import "wasi:random/insecure-seed@0.2.0" "insecure-seed" (func $seed (param i32)))
    (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
    (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
    (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
    (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
      (func $write (param i32 i32 i32 i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;

const WORLD: &str = "
    import wasi:clocks/wall-clock@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; import wasi:random/random@0.2.0;
    import wasi:random/insecure-seed@0.2.0; import wasi:cli/environment@0.2.0; import wasi:filesystem/preopens@0.2.0;
    import wasi:cli/exit@0.2.0; import wasi:cli/stdout@0.2.0; import wasi:io/streams@0.2.0; import wasi:io/poll@0.2.0;";

/// A guest that imports it all and does `body` in `on-task-request`.
fn guest(body: &str) -> Guest {
    let mut guest = Guest::with("on-task-request", body);
    guest.imports = IMPORTS.to_owned();
    guest.world.push_str(WORLD);
    guest.extra = "(data (i32.const 9000) \"first line\\nsecond line\")".to_owned();
    guest
}

/// Answers with `len` bytes from `at`.
fn answer(at: u32, len: u32) -> String {
    result(&[0, SCRATCH + 12, 1, at, len])
}

/// Everything that could differ, at `OUT`: 8 bytes of time, 8 of the other clock, 16 of the seed, three lengths, the place
/// of 32 random bytes.
fn look() -> String {
    format!(
        "(call $wall (i32.const {OUT})) (i64.store (i32.const {}) (call $monotonic)) (call $seed (i32.const {}))
         (call $environment (i32.const 9500)) (i32.store (i32.const {}) (i32.load (i32.const 9504)))
         (call $arguments (i32.const 9500)) (i32.store (i32.const {}) (i32.load (i32.const 9504)))
         (call $directories (i32.const 9500)) (i32.store (i32.const {}) (i32.load (i32.const 9504)))
         (call $random (i64.const 32) (i32.const 9500))
         (memory.copy (i32.const {}) (i32.load (i32.const 9500)) (i32.const 32))",
        OUT + 8,
        OUT + 16,
        OUT + 32,
        OUT + 36,
        OUT + 40,
        OUT + 44
    )
}

const LOOKED: u32 = 76;

async fn looked(plugin: &Plugin, task: &Task) -> Bytes {
    plugin.on_task_request(task, chain()).await.unwrap()[0].clone()
}

#[tokio::test]
async fn what_a_call_sees_follows_from_its_task_and_nothing_else() {
    let mut guest = guest(&format!("{} {}", look(), answer(OUT, LOOKED)));
    let signed = result(&[0, SCRATCH + 12, 1, KEY, 1, OUT, LOOKED, DIGEST, 32, ANSWER, 0]);
    guest.body("on-submit-task-to-leader", &format!("{} {signed}", look()));
    let [one, other] = [load(&guest).await.unwrap(), load(&guest).await.unwrap()];
    let seen = looked(&one, &task()).await;
    assert_eq!(seen[..8], 1_700_000_000_u64.to_le_bytes());
    assert_eq!(seen[8..16], 1_700_000_000_000_000_000_u64.to_le_bytes());
    assert_eq!(seen[32..44], [0; 12], "no variables, arguments, directories");
    assert_ne!(seen[44..], [0; 32]);
    assert_eq!(looked(&other, &task()).await, seen, "on every operator");

    for task in [
        Task { index: 8, ..task() },
        Task { reference_time: 1, ..task() },
        Task { service: eigenshift_types::Service { chain_id: 1, ..task().service }, ..task() },
    ] {
        let another = looked(&one, &task).await;
        assert_ne!(another[16..32], seen[16..32]);
        assert_ne!(another[44..], seen[44..]);
    }
    let signed = one.on_submit_task_to_leader(&task(), &[]).await.unwrap()[0].payload.clone();
    assert_eq!(signed[..16], seen[..16], "the same clock");
    assert_ne!(signed[44..], seen[44..], "another callback, other bytes");
}

#[tokio::test]
async fn what_is_printed_goes_to_the_log_line_by_line_and_is_bounded() {
    lines::keep();
    let print = |at: u32, len: u32| {
        format!("(call $write (call $stdout) (i32.const {at}) (i32.const {len}) (i32.const {OUT}))")
    };
    let plugin = load(&guest(&format!("{}{}", print(9000, 22), answer(ANSWER, 4)))).await.unwrap();
    plugin.on_task_request(&task(), chain()).await.unwrap();
    assert_eq!(plugin.counters().log_lines, 2);
    assert!(lines::with("first line")[0].contains("probe") && lines::with("second line").len() == 1);

    let many = format!(
        "(local $i i32) (loop $l {} (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 500)))) {}",
        print(9000, 11),
        answer(ANSWER, 4)
    );
    let plugin = load(&guest(&many)).await.unwrap();
    plugin.on_task_request(&task(), chain()).await.unwrap();
    let counters = plugin.counters();
    assert_eq!((counters.log_lines, counters.log_lines_dropped), (64, 436));
    // Without the manifest's word there is no log.
    let mut silent = guest(&format!("{}{}", print(9000, 22), answer(ANSWER, 4)));
    silent.manifest = manifest("", "");
    let plugin = load(&silent).await.unwrap();
    plugin.on_task_request(&task(), chain()).await.unwrap();
    assert_eq!(plugin.counters().log_lines, 0);
}

#[tokio::test]
async fn leaving_is_a_trap_and_too_much_at_once_is_one_too() {
    let plugin = load(&guest("(call $exit (i32.const 1)) unreachable")).await.unwrap();
    let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
    assert!(matches!(&error, CallError::Trap(text) if text.contains("exit")), "{error:?}");
    for body in [
        "(call $random (i64.const 0x7fffffffffffffff) (i32.const 9500)) unreachable",
        "(loop $l (call $random (i64.const 1000) (i32.const 9500)) (br $l)) unreachable",
    ] {
        let error = load(&guest(body)).await.unwrap().on_task_request(&task(), chain()).await.unwrap_err();
        assert!(error.to_string().contains("random bytes"), "{error:?}");
    }
    // Handles without end.
    let body = "(loop $l (drop (call $stdout)) (br $l)) unreachable";
    let plugin = load(&guest(body)).await.unwrap();
    let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
    assert!(!matches!(error, CallError::OutOfFuel), "{error:?}");
}

#[tokio::test]
async fn sleeping_ends_at_the_deadline_and_short_sleeps_end_by_themselves() {
    let plugin = load(&guest(&format!("(call $block (call $after (i64.const 1000000))) {}", answer(ANSWER, 4)))).await;
    plugin.unwrap().on_task_request(&task(), chain()).await.unwrap();
    let options = HostOptions { call_deadline: std::time::Duration::from_millis(200), ..options() };
    let host = Host::new(options, &eigenshift_env::Env::real()).unwrap();
    let sleeper = guest("(call $block (call $after (i64.const 0x7fffffffffffffff))) unreachable");
    let plugin = host.load(sleeper.bundle(), &Grants::all()).await.unwrap();
    let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
    assert_eq!(error, CallError::Deadline);
}

#[tokio::test]
async fn there_are_no_sockets() {
    let mut guest = Guest::with("on-task-request", &format!("(drop (call $network)) {}", answer(ANSWER, 4)));
    guest.imports =
        r#"(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))"#.to_owned();
    guest.world.push_str("import wasi:sockets/instance-network@0.2.0;");
    let error = host().load(guest.bundle(), &Grants::all()).await.unwrap_err();
    assert_eq!(error, LoadError::UnknownImport { name: "wasi:sockets/instance-network@0.2.0".to_owned() });
}

#[test]
fn inspecting_says_what_it_is() {
    let component = guest(&format!("{} {}", look(), answer(OUT, LOOKED))).component();
    let manifest = Manifest::parse(&manifest("", "")).unwrap();
    let report = inspect(&component).unwrap();
    let verdicts = report.verdicts(&manifest, &Grants::none());
    let clock = verdicts.iter().find(|(import, _)| import.name == "wasi:clocks/wall-clock@0.2.0").unwrap();
    assert_eq!(clock.1, Verdict::Closed);
    let other = wat::parse_str("(component (import \"wasi:clocks/wall-clock@0.3.0\" (instance)))").unwrap();
    let report = inspect(&other).unwrap();
    assert!(matches!(report.verdicts(&manifest, &Grants::none())[0].1, Verdict::OtherTrack { .. }));
}
