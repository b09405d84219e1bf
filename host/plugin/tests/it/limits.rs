//! Where exactly each limit is. That it holds against those who try to break it, is for `attacks`.

use eigenshift_plugin::{CallError, LoadError, Plugin};
use eigenshift_types::Bytes;

use crate::fixtures::{chain, load, task};
use crate::guest::{Guest, IMPORT_CONFIG_GET, IMPORT_KEYVALUE, IMPORT_LOG, IMPORT_SECRETS, SCRATCH, manifest, result};

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
async fn a_guest_gets_as_much_memory_as_its_manifest_says_and_no_more() {
    let limits = "memory-bytes = 1_048_576";
    let polite =
        load(&Guest::with("on-task-request", &format!("{GROW_ALL} {}", answer())).limits(limits)).await.unwrap();
    polite.take_memory_peak();
    assert_eq!(number(&request(&polite).await.unwrap()), 16, "a guest that copes gets 16 pages, everywhere");
    assert_eq!((polite.take_memory_peak(), polite.take_memory_peak()), (1_048_576, 0), "it is seen, once");
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
}

#[tokio::test]
async fn tables_count_as_memory() {
    // Three pages are the memory's; the fourth is for 8,192 pointers, and a table of 8,193 is too much.
    let guest = |elements: u32| Guest { extra: format!("(table {elements} funcref)"), ..Guest::default() };
    load(&guest(8192).limits("memory-bytes = 262_144")).await.unwrap();
    let error = load(&guest(8193).limits("memory-bytes = 262_144")).await.unwrap_err();
    assert_eq!(error, LoadError::Describe(CallError::Memory));
}

#[tokio::test]
async fn a_guest_gets_as_much_table_as_its_manifest_says_and_a_slot_has() {
    let grow = "(block $full (loop $more
        (br_if $full (i32.eq (table.grow $t (ref.null func) (i32.const 64)) (i32.const -1))) (br $more)))";
    let size = format!("(i32.store (i32.const 2048) (table.size $t)) {}", answer());
    let mut guest = Guest::with("on-task-request", &format!("{grow} {size}")).limits("memory-bytes = 262_144");
    guest.extra = "(table $t 0 funcref)".to_owned();
    let plugin = load(&guest).await.unwrap();
    assert_eq!(number(&request(&plugin).await.unwrap()), 8192);
    // Whatever memory is left: a slot's table has no more, on any operator.
    let plugin = load(&guest.limits("memory-bytes = 16_777_216")).await.unwrap();
    assert_eq!(number(&request(&plugin).await.unwrap()), 19_968, "of 20,000, by 64 at a time");
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
async fn a_call_may_use_its_imports_so_often_and_no_more() {
    let guest = |times: u32| {
        let body = format!(
            "(local $i i32) (loop $l (call $emit (i32.const 2) (i32.const 1024) (i32.const 5))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $l (i32.lt_u (local.get $i) (i32.const {times})))) {}",
            answer()
        );
        let mut guest = Guest::with("on-task-request", &body);
        guest.imports = IMPORT_LOG.to_owned();
        guest
    };
    let plugin = load(&guest(65_536)).await.unwrap();
    request(&plugin).await.unwrap();
    request(&plugin).await.expect("of each call");
    let error = failing(guest(65_537)).await;
    assert_eq!(error, CallError::HostCalls { max: 65_536 });
    assert_eq!(error.code(), "plugin-host-calls");
}

#[tokio::test]
async fn imports_that_are_denied_count_too() {
    let forever = |call: &str| format!("(loop $l (call {call}) (br $l)) unreachable");
    for (imports, world, call) in [
        (
            IMPORT_CONFIG_GET,
            "import wasi:config/store@0.2.0-rc.1;",
            "$config_get (i32.const 2048) (i32.const 1) (i32.const 8192)",
        ),
        (
            IMPORT_KEYVALUE,
            "import wasi:keyvalue/store@0.2.0-draft2;",
            "$kv_open (i32.const 2048) (i32.const 0) (i32.const 8192)",
        ),
        (
            IMPORT_SECRETS,
            "import eigenshift:secrets/store@0.1.0;",
            "$secret_open (i32.const 2048) (i32.const 1) (i32.const 8192)",
        ),
    ] {
        let mut guest = Guest::with("on-task-request", &forever(call));
        guest.imports = imports.to_owned();
        guest.world.push_str(world);
        assert_eq!(failing(guest).await, CallError::HostCalls { max: 65_536 }, "{call}");
    }
}
