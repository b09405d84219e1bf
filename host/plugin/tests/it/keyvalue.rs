//! `wasi:keyvalue` from inside the sandbox: who reaches the store, from where, and how much of it.

use eigenshift_env::{Env, Pool};
use eigenshift_plugin::{
    CallError, Candidate, Grants, Host, Import, KeyValueStore, LoadError, NewTask, Plan, Plugin, Tenant, TenantOptions,
    Trigger,
};
use eigenshift_types::{B256, OperatorId, U256};

use crate::fixtures::{BLOCK, chain, host, peer, service, task};
use crate::guest::{
    ANSWER, ATOMICS, DIGEST, Guest, IMPORT_ATOMICS, IMPORT_KEYVALUE, KEY, KEYVALUE, ROTATION, SCRATCH, SOURCE,
    manifest, result,
};

mod store;

/// Where imports put their results.
const OUT: u32 = 8192;
/// Where the texts that bodies use lie: `count`, then `first`.
const NAME: (u32, usize) = (9000, 5);
const FIRST: (u32, usize) = (9005, 5);

pub fn open(dir: &tempfile::TempDir, name: &str) -> KeyValueStore {
    let env = Env::real();
    let pool: Pool = env.threads.pool("kv", 2, 16).unwrap();
    KeyValueStore::open(&env, &dir.path().join(name), pool, 1024 * 1024).unwrap()
}

fn tenant(host: &Host, store: &KeyValueStore) -> Tenant {
    host.tenant_with(TenantOptions { keyvalue: Some(store.clone()), ..TenantOptions::default() })
}

/// A guest that imports the store and does `body` in `on-task-request`. Locals: `$b` a bucket, `$i`.
fn guest(body: &str) -> Guest {
    let mut guest = Guest { imports: format!("{IMPORT_KEYVALUE}{IMPORT_ATOMICS}"), ..Guest::default() };
    guest.extra = format!("(data (i32.const {}) \"countfirst\")", NAME.0);
    guest.world.push_str(&format!("import {KEYVALUE}; import {ATOMICS};"));
    guest.body("on-task-request", &format!("(local $b i32) (local $i i32) {body}"));
    guest.manifest = manifest("imports = [\"keyvalue\"]", "");
    guest
}

/// Opens the bucket into `$b`; what it got stays in `OUT`.
fn opened() -> String {
    format!(
        "(call $kv_open (i32.const 0) (i32.const 0) (i32.const {OUT})) (local.set $b (i32.load (i32.const {})))",
        OUT + 4
    )
}

fn set(value: (u32, usize)) -> String {
    format!(
        "(call $kv_set (local.get $b) (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {OUT}))",
        NAME.0, NAME.1, value.0, value.1
    )
}

fn get() -> String {
    format!("(call $kv_get (local.get $b) (i32.const {}) (i32.const {}) (i32.const {OUT}))", NAME.0, NAME.1)
}

/// Answers with the text whose place is in the third and fourth word of `OUT`: a value or an error's.
fn answer_text() -> String {
    format!(
        "(i32.store (i32.const {}) (i32.load (i32.const {}))) (i32.store (i32.const {}) (i32.load (i32.const {}))) {}",
        SCRATCH + 12,
        OUT + 8,
        SCRATCH + 16,
        OUT + 12,
        result(&[0, SCRATCH + 12, 1])
    )
}

async fn load(guest: &Guest, host: &Host, tenant: &Tenant) -> Result<Plugin, LoadError> {
    host.load_for(tenant, guest.bundle(), &Grants::all()).await
}

async fn requested(plugin: &Plugin) -> String {
    let answers = plugin.on_task_request(&task(), chain()).await.unwrap();
    String::from_utf8(answers[0].to_vec()).unwrap()
}

#[tokio::test]
async fn what_a_plugin_keeps_is_there_for_its_successor_and_for_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (host, stores) = (host(), [open(&dir, "a"), open(&dir, "b")]);
    let [own, other] = [tenant(&host, &stores[0]), tenant(&host, &stores[1])];
    let writer = guest(&format!("{}{}{}", opened(), set(FIRST), result(&[0, SCRATCH + 12, 1, ANSWER, 4])));
    let reader = guest(&format!("{}{}{}", opened(), get(), answer_text()));
    let plugin = load(&writer, &host, &own).await.unwrap();
    plugin.on_task_request(&task(), chain()).await.unwrap();
    assert_eq!(plugin.counters().keyvalue_operations, 2, "open and set");

    let successor = load(&reader, &host, &own).await.unwrap();
    assert_eq!(requested(&successor).await, "first");
    let neighbour = load(&reader, &host, &other).await.unwrap();
    assert_eq!(requested(&neighbour).await, "", "another AVS has its own");

    // A version that runs in the shadow of the active one.
    let shadow = host.tenant_with(TenantOptions { keyvalue: Some(stores[0].read_only()), ..TenantOptions::default() });
    assert_eq!(requested(&load(&reader, &host, &shadow).await.unwrap()).await, "first");
    let refused = guest(&format!("{}{}{}", opened(), set(NAME), answer_text()));
    let said = requested(&load(&refused, &host, &shadow).await.unwrap()).await;
    assert!(said.starts_with("keyvalue-read-only"), "{said}");

    // Over a restart.
    stores[0].close();
    assert!(requested(&successor).await.starts_with("keyvalue-closed"));
    let again = open(&dir, "a");
    assert_eq!(requested(&load(&reader, &host, &tenant(&host, &again)).await.unwrap()).await, "first");
}

/// Opens the bucket and leaves one byte at 9100: `g`, or `d` and the case of the error.
const MARK: u32 = 9100;
fn marked() -> String {
    format!(
        "(call $kv_open (i32.const 0) (i32.const 0) (i32.const {OUT}))
         (i32.store8 (i32.const {MARK}) (select
           (i32.add (i32.const 48) (i32.load8_u (i32.const {})))
           (i32.const 103)
           (i32.load8_u (i32.const {OUT}))))",
        OUT + 4
    )
}

/// Every callback says whether it could open the bucket: `g`, or the number of the error's case.
fn marking() -> Guest {
    let s = SCRATCH;
    let mut guest = guest(&format!("{} {}", marked(), result(&[0, s + 12, 1, MARK, 1])));
    guest.body("describe", &format!("{} {}", marked(), result(&[MARK, 1, MARK, 1, MARK, 1])));
    let signed = result(&[0, s + 12, 1, KEY, 1, MARK, 1, DIGEST, 32, ANSWER, 0]);
    guest.body("on-submit-task-to-leader", &format!("{} {signed}", marked()));
    guest.body("on-leader-process-task-response", &format!("{} {}", marked(), result(&[0, 7, MARK, 1, DIGEST, 32])));
    let planned = result(&[0, 0, 1, 42, MARK, 1, 1]);
    guest.export(SOURCE, &[("event-filters", result(&[0, 0])), ("on-trigger", format!("{} {planned}", marked()))]);
    let next = format!("{} (i32.eq (i32.load8_u (i32.const {MARK})) (i32.const 103))", marked());
    guest.export(ROTATION, &[("next", next)]);
    guest
}

#[tokio::test]
async fn only_the_callback_where_operators_may_differ_reaches_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (host, store) = (host(), open(&dir, "a"));
    let plugin = load(&marking(), &host, &tenant(&host, &store)).await.unwrap();
    // The error's second case: access-denied.
    assert_eq!(requested(&plugin).await, "g");
    assert_eq!(plugin.descriptor().name, "1");
    assert_eq!(plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap()[0].payload[..], *b"1");
    let counted = plugin.on_leader_process_task_response(&task(), &peer()).await.unwrap();
    assert_eq!(counted.key.as_bytes()[..], *b"1");
    let planned = plugin.on_trigger(&service(), BLOCK, &Trigger::Request([1].into()), chain()).await.unwrap();
    assert!(matches!(&planned, Plan::Create(NewTask { request, .. }) if request[..] == *b"1"), "{planned:?}");
    let candidate = |byte| Candidate { operator_id: OperatorId(B256::repeat_byte(byte)), stakes: vec![U256::from(1)] };
    assert_eq!(plugin.next(&[candidate(1), candidate(2)], None, B256::ZERO).await.unwrap(), 0, "not opened");

    // Without the manifest's word it is loaded, and denied everywhere.
    let mut silent = marking();
    silent.manifest = manifest("", "");
    let plugin = host.load_for(&tenant(&host, &store), silent.bundle(), &Grants::none()).await.unwrap();
    assert_eq!(requested(&plugin).await, "1");
    assert_eq!(plugin.counters().keyvalue_operations, 0);
}

#[tokio::test]
async fn a_bundle_that_needs_a_store_is_refused_where_there_is_none() {
    let error = host().load(marking().bundle(), &Grants::all()).await.unwrap_err();
    assert_eq!((&error, error.code()), (&LoadError::NoStore, "keyvalue-no-store"));
    let error = host().load(marking().bundle(), &Grants::none()).await.unwrap_err();
    assert_eq!(error, LoadError::ImportNotGranted { import: Import::Keyvalue });
}

#[tokio::test]
async fn another_buckets_name_is_no_way_into_another_store() {
    let dir = tempfile::tempdir().unwrap();
    let (host, store) = (host(), open(&dir, "a"));
    let body = format!(
        "(call $kv_open (i32.const {}) (i32.const {}) (i32.const {OUT}))
         (i32.store8 (i32.const {MARK}) (i32.add (i32.const 48) (i32.load8_u (i32.const {})))) {}",
        NAME.0,
        NAME.1,
        OUT + 4,
        result(&[0, SCRATCH + 12, 1, MARK, 1])
    );
    let plugin = load(&guest(&body), &host, &tenant(&host, &store)).await.unwrap();
    assert_eq!(requested(&plugin).await, "0", "no-such-store");
}

/// Does something many times, then answers with the error that it ended with.
fn repeated(times: u32, what: &str) -> String {
    format!(
        "(loop $l {what} (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $l (i32.and (i32.lt_u (local.get $i) (i32.const {times})) (i32.eqz (i32.load8_u (i32.const {OUT}))))))
         {}",
        answer_text()
    )
}

#[tokio::test]
async fn operations_handles_and_sizes_of_a_call_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (host, store) = (host(), open(&dir, "a"));
    let tenant = tenant(&host, &store);
    let with = |body: String, section: &str| {
        let mut guest = guest(&body);
        guest.manifest = manifest("imports = [\"keyvalue\"]", &format!("[keyvalue]\n{section}"));
        guest
    };
    let said = async |guest: Guest| requested(&load(&guest, &host, &tenant).await.unwrap()).await;

    let text = said(with(format!("{}{}", opened(), repeated(9, &get())), "operations-per-call = 5")).await;
    assert!(text.starts_with("keyvalue-quota-operations"), "{text}");
    let open_only = "(call $kv_open (i32.const 0) (i32.const 0) (i32.const 8192))";
    let text = said(with(repeated(2000, open_only), "operations-per-call = 10000")).await;
    assert!(text.starts_with("keyvalue-quota-handles"), "{text}");
    let text = said(with(format!("{}{}{}", opened(), set((0, 100)), answer_text()), "value-bytes = 99")).await;
    assert!(text.starts_with("keyvalue-value-too-large"), "{text}");
    let text =
        said(with(format!("{}{}{}", opened(), set((0, 5000)), answer_text()), "bytes = 4096\nvalue-bytes = 4096"));
    assert!(text.await.starts_with("keyvalue-value-too-large"));
    let text =
        said(with(format!("{}{}{}", opened(), set((0, 4096)), answer_text()), "bytes = 4096\nvalue-bytes = 4096"));
    assert!(text.await.starts_with("keyvalue-quota-bytes"), "the key counts");
    assert_eq!(store.usage().await.unwrap().bytes, 0);

    // A value that only its length makes large: the host copies no more than a call may have copied.
    let grown = "(drop (memory.grow (i32.const 160)))";
    let large = guest(&format!("{grown}{}{} unreachable", opened(), set((0, 10_000_000))));
    let plugin = load(&large, &host, &tenant).await.unwrap();
    let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
    assert!(matches!(error, CallError::BadOutput(_) | CallError::Trap(_)), "{error:?}");
}

#[tokio::test]
async fn a_swap_with_an_old_handle_fails_and_gives_one_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let (host, store) = (host(), open(&dir, "a"));
    let tenant = tenant(&host, &store);
    let look = format!(
        "(call $cas_new (local.get $b) (i32.const {}) (i32.const {}) (i32.const {OUT}))
         (local.set $i (i32.load (i32.const {})))",
        NAME.0,
        NAME.1,
        OUT + 4
    );
    let swap = |value: (u32, usize)| {
        format!("(call $cas_swap (local.get $i) (i32.const {}) (i32.const {}) (i32.const {OUT}))", value.0, value.1)
    };
    // Looks, is overtaken by its own set, fails with the third case's handle, and succeeds with that.
    let body = format!(
        "{}{look}{}{}
         (if (i32.eqz (i32.load8_u (i32.const {OUT}))) (then unreachable))
         (if (i32.ne (i32.load8_u (i32.const {})) (i32.const 1)) (then unreachable))
         (local.set $i (i32.load (i32.const {})))
         {} (if (i32.load8_u (i32.const {OUT})) (then unreachable)) {}{}",
        opened(),
        set(NAME),
        swap(FIRST),
        OUT + 4,
        OUT + 8,
        swap(FIRST),
        get(),
        answer_text()
    );
    assert_eq!(requested(&load(&guest(&body), &host, &tenant).await.unwrap()).await, "first");

    // A handle that was swapped away, or dropped, is none.
    for again in [swap(NAME), "(call $cas_drop (local.get $i))".to_owned()] {
        let body = format!("{}{look}{}{again} unreachable", opened(), swap(NAME));
        let plugin = load(&guest(&body), &host, &tenant).await.unwrap();
        let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
        assert!(error.to_string().contains("handle"), "{error}");
    }
    let body = format!("{}(call $kv_drop (local.get $b)){} unreachable", opened(), get());
    let plugin = load(&guest(&body), &host, &tenant).await.unwrap();
    let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
    assert!(error.to_string().contains("handle"), "{error}");
}

#[tokio::test]
async fn a_call_that_fails_in_a_kept_instance_and_is_run_again_has_its_operations_once() {
    let (dir, host) = (tempfile::tempdir().unwrap(), host());
    let store = open(&dir, "kv");
    let mut guest = guest(&format!(
        "(global.set $asked (i32.add (global.get $asked) (i32.const 1))) {} {}
         (if (i32.eq (global.get $asked) (i32.const 2)) (then unreachable)) {}",
        opened(),
        set(FIRST),
        result(&[0, SCRATCH, 0])
    ));
    guest.extra.push_str("(global $asked (mut i32) (i32.const 0))");
    let limits = "[keyvalue]\noperations-per-call = 3\n[runtime]\nreuse-calls = 100";
    guest.manifest = manifest("imports = [\"keyvalue\"]", limits);
    let plugin = load(&guest, &host, &tenant(&host, &store)).await.unwrap();
    for operations in [2, 5] {
        plugin.on_task_request(&task(), chain()).await.unwrap();
        assert_eq!(plugin.counters().keyvalue_operations, operations);
    }
}
