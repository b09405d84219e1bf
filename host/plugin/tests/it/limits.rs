//! Each limit, broken by a component.

use std::time::Duration;

use eigenshift_env::Env;
use eigenshift_plugin::{CallError, Grants, Host, HostOptions, LoadError, Plugin};
use eigenshift_types::Bytes;

use crate::fixtures::{chain, load, options, task};
use crate::guest::{Guest, IMPORT_LOG, SCRATCH, manifest, result};

const FOREVER: &str = "(loop $l (br $l)) unreachable";

/// Grows memory by a page until refused; the answer is the size reached, in pages, as four bytes.
const GROW_ALL: &str = "(block $full (loop $more
    (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $more)))
    (i32.store (i32.const 2048) (memory.size))";

async fn request(plugin: &Plugin) -> Result<Vec<Bytes>, CallError> {
    plugin.on_task_request(&task(), chain()).await
}

async fn failing(guest: Guest) -> CallError {
    request(&load(&guest).await.unwrap()).await.unwrap_err()
}

fn answer() -> String {
    result(&[0, SCRATCH + 12, 1, 2048, 4])
}

fn number(answers: &[Bytes]) -> u32 {
    u32::from_le_bytes(answers[0][..].try_into().unwrap())
}

#[tokio::test]
async fn an_endless_loop_ends_with_its_fuel() {
    let plugin = load(&Guest::with("on-task-request", FOREVER).limits("fuel = 10_000_000")).await.unwrap();
    assert_eq!(request(&plugin).await, Err(CallError::OutOfFuel));
    let counters = plugin.counters();
    assert_eq!((counters.calls, counters.failed), (2, 1), "describe counts");
    assert!(counters.fuel >= 10_000_000, "{counters:?}");
}

#[tokio::test]
async fn equal_calls_use_equal_fuel_and_half_of_it_is_too_little() {
    let body = format!(
        "(local $i i32) (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1)))
         (br_if $l (i32.lt_u (local.get $i) (i32.const 5000)))) {}",
        answer()
    );
    let plugin = load(&Guest::with("on-task-request", &body)).await.unwrap();
    let before = plugin.counters().fuel;
    request(&plugin).await.unwrap();
    let used = plugin.counters().fuel - before;
    request(&plugin).await.unwrap();
    assert_eq!(plugin.counters().fuel - before, 2 * used, "equal calls use equal fuel");
    let enough = load(&Guest::with("on-task-request", &body).limits(&format!("fuel = {used}"))).await.unwrap();
    request(&enough).await.unwrap();
    let short = Guest::with("on-task-request", &body).limits(&format!("fuel = {}", used / 2));
    assert_eq!(failing(short).await, CallError::OutOfFuel);
}

#[tokio::test]
async fn an_endless_loop_with_fuel_to_burn_ends_with_the_deadline() {
    let options = HostOptions { call_deadline: Duration::from_millis(100), ..options() };
    let host = Host::new(options, &Env::real()).unwrap();
    let guest = Guest::with("on-task-request", FOREVER).limits("fuel = 100_000_000_000");
    let plugin = host.load(guest.bundle(), &Grants::all()).await.unwrap();
    assert_eq!(request(&plugin).await, Err(CallError::Deadline));
}

#[tokio::test]
async fn a_memory_bomb_stops_at_the_limit() {
    let limits = "memory-bytes = 1_048_576";
    let polite =
        load(&Guest::with("on-task-request", &format!("{GROW_ALL} {}", answer())).limits(limits)).await.unwrap();
    assert_eq!(number(&request(&polite).await.unwrap()), 16, "a guest that copes gets 16 pages, everywhere");
    let rude = Guest::with("on-task-request", &format!("{GROW_ALL} unreachable")).limits(limits);
    assert_eq!(failing(rude).await, CallError::Memory);
    // Three pages to begin with, one allowed: dies at load already.
    let error = load(&Guest::default().limits("memory-bytes = 65_536")).await.unwrap_err();
    assert_eq!(error, LoadError::Describe(CallError::Memory));
}

#[tokio::test]
async fn memories_are_summed() {
    let mut guest =
        Guest::with("on-task-request", &format!("{GROW_ALL} {}", answer())).limits("memory-bytes = 1_048_576");
    guest.beside.push("(module (memory 10))".to_owned());
    let plugin = load(&guest).await.unwrap();
    assert_eq!(number(&request(&plugin).await.unwrap()), 6, "of 16 pages the other memory holds 10");
    guest.beside.push("(module (memory 1))".to_owned());
    let error = load(&guest).await.unwrap_err();
    assert_eq!(error.code(), "component-too-complex", "more memories than a slot has: {error}");
    guest.beside = vec!["(module (memory 14))".to_owned()];
    assert_eq!(load(&guest).await.unwrap_err(), LoadError::Describe(CallError::Memory));
}

#[tokio::test]
async fn many_instances_are_refused() {
    let guest = Guest { beside: vec!["(module)".to_owned(); 64], ..Guest::default() };
    let error = load(&guest).await.unwrap_err();
    assert_eq!(error.code(), "component-too-complex", "{error}");
}

#[tokio::test]
async fn tables_count_as_memory() {
    // Three pages are the memory's; the fourth is for 8,192 pointers, and a table of 8,193 is too much.
    let guest = |elements: u32| Guest { extra: format!("(table {elements} funcref)"), ..Guest::default() };
    load(&guest(8192).limits("memory-bytes = 262_144")).await.unwrap();
    let error = load(&guest(8193).limits("memory-bytes = 262_144")).await.unwrap_err();
    assert_eq!(error, LoadError::Describe(CallError::Memory));
    assert_eq!(load(&guest(1_000_000)).await.unwrap_err().code(), "compile-failed");
}

#[tokio::test]
async fn a_table_bomb_stops_at_the_limit() {
    let grow = "(block $full (loop $more
        (br_if $full (i32.eq (table.grow $t (ref.null func) (i32.const 64)) (i32.const -1))) (br $more)))";
    let guest = |end: &str| {
        let mut guest = Guest::with("on-task-request", &format!("{grow} {end}")).limits("memory-bytes = 262_144");
        guest.extra = "(table $t 0 funcref)".to_owned();
        guest
    };
    assert_eq!(failing(guest("unreachable")).await, CallError::Memory);
    let size = format!("(i32.store (i32.const 2048) (table.size $t)) {}", answer());
    let plugin = load(&guest(&size)).await.unwrap();
    assert_eq!(number(&request(&plugin).await.unwrap()), 8192);
}

#[tokio::test]
async fn deep_recursion_traps() {
    let mut guest = Guest::with("on-task-request", "(drop (call $deep (i32.const 0))) unreachable");
    guest.extra = "(func $deep (param i32) (result i32)
        (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))"
        .to_owned();
    let error = failing(guest).await;
    assert!(matches!(&error, CallError::Trap(text) if text.contains("call stack exhausted")), "{error}");
}

#[tokio::test]
async fn a_trap_is_named_and_the_next_call_works() {
    // Traps on the task's index; the third parameter is the request's length.
    let body = format!("(if (i32.eqz (local.get 2)) (then unreachable)) {}", answer());
    let plugin = load(&Guest::with("on-task-request", &body)).await.unwrap();
    let mut empty = task();
    empty.request = Bytes::new();
    let error = plugin.on_task_request(&empty, chain()).await.unwrap_err();
    assert!(matches!(&error, CallError::Trap(text) if text.contains("unreachable")), "{error}");
    assert_eq!(error.code(), "plugin-trap");
    request(&plugin).await.unwrap();
}

#[tokio::test]
async fn a_log_flood_is_cut_and_counted() {
    let body = format!(
        "(local $i i32) (loop $l (call $emit (i32.const 2) (i32.const 1024) (i32.const 5))
         (local.set $i (i32.add (local.get $i) (i32.const 1)))
         (br_if $l (i32.lt_u (local.get $i) (i32.const 1000)))) {}",
        answer()
    );
    let mut guest = Guest::with("on-task-request", &body);
    guest.imports = IMPORT_LOG.to_owned();
    let plugin = load(&guest).await.unwrap();
    request(&plugin).await.unwrap();
    let counters = plugin.counters();
    assert_eq!((counters.log_lines, counters.log_lines_dropped), (64, 936));
    request(&plugin).await.unwrap();
    assert_eq!(plugin.counters().log_lines, 128, "the cap is per call");
}

#[tokio::test]
async fn a_log_that_the_manifest_does_not_list_is_dropped_and_counted() {
    let body = format!("(call $emit (i32.const 2) (i32.const 1024) (i32.const 5)) {}", answer());
    let mut guest = Guest::with("on-task-request", &body);
    guest.imports = IMPORT_LOG.to_owned();
    guest.manifest = manifest("imports = [\"chain\"]", "");
    let plugin = load(&guest).await.unwrap();
    request(&plugin).await.unwrap();
    let counters = plugin.counters();
    assert_eq!((counters.log_lines, counters.log_lines_dropped), (0, 1));
}

#[tokio::test]
async fn describe_does_not_log() {
    let mut guest = Guest::with("describe", "(call $emit (i32.const 2) (i32.const 1024) (i32.const 5)) (i32.const 16)");
    guest.imports = IMPORT_LOG.to_owned();
    let counters = load(&guest).await.unwrap().counters();
    assert_eq!((counters.log_lines, counters.log_lines_dropped), (0, 1));
}

#[tokio::test]
async fn a_list_that_names_the_same_bytes_over_and_over_does_not_fill_the_host() {
    // 2,000 answers of the same 64 KiB: 128 MiB for the host out of 16 KiB.
    let body = "(local $i i32) (loop $l
        (i32.store (i32.add (i32.const 8192) (i32.mul (local.get $i) (i32.const 8))) (i32.const 65536))
        (i32.store (i32.add (i32.const 8196) (i32.mul (local.get $i) (i32.const 8))) (i32.const 65536))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 2000))))";
    let error = failing(Guest::with("on-task-request", &format!("{body} {}", result(&[0, 8192, 2000])))).await;
    assert!(matches!(error, CallError::BadOutput(_)), "{error}");
}
