//! `wasi:config/store` from inside the sandbox: which values which callback sees.

use std::collections::BTreeMap;

use eigenshift_plugin::capability::Verdict;
use eigenshift_plugin::inspect::inspect;
use eigenshift_plugin::{Grants, Import, LoadError, Manifest, NewTask, Plan, Plugin, Trigger};

use crate::fixtures::{BLOCK, chain, host, peer, service, task};
use crate::guest::{
    ANSWER, DIGEST, Guest, IMPORT_CONFIG_ALL, IMPORT_CONFIG_GET, KEY, SCRATCH, SOURCE, manifest, result,
};

const STORE: &str = "wasi:config/store@0.2.0-rc.1";
/// Where the import puts its result: for a value and for an error the text's place is in the third and fourth word.
const OUT: u32 = 8192;
/// Where the key that is asked for lies, and its length.
const ASKED: (u32, usize) = (9000, 6);

const DECLARED: &str = r#"
[config.region]
type = "string"
default = "eu"

[config.access]
type = "string"

[config.depth]
type = "integer"
default = 3
"#;

fn imports() -> String {
    "imports = [\"config\"]".to_owned()
}

/// Asks for `region`, then has the text's place in the locals `$at` and `$len`; both 0 without a value.
fn ask() -> String {
    format!(
        "(local $at i32) (local $len i32)
         (call $config_get (i32.const {at}) (i32.const {len}) (i32.const {OUT}))
         (if (i32.or (i32.load8_u (i32.const {OUT})) (i32.load8_u (i32.const {inner})))
           (then (local.set $at (i32.load (i32.const {text}))) (local.set $len (i32.load (i32.const {length})))))",
        at = ASKED.0,
        len = ASKED.1,
        inner = OUT + 4,
        text = OUT + 8,
        length = OUT + 12,
    )
}

/// Puts the text's place into two words.
fn put(at: u32) -> String {
    format!("(i32.store (i32.const {at}) (local.get $at)) (i32.store (i32.const {}) (local.get $len))", at + 4)
}

/// Every callback says what it finds under `region`.
fn asking() -> Guest {
    let mut guest = Guest { imports: IMPORT_CONFIG_GET.to_owned(), ..Guest::default() };
    guest.extra = format!("(data (i32.const {}) \"region\")", ASKED.0);
    guest.world.push_str(&format!("import {STORE};"));
    let s = SCRATCH;
    guest.body("describe", &format!("{} {} (i32.const 16)", ask(), put(16)));
    let answer = result(&[0, s + 12, 1, 0, 0]);
    guest.body("on-task-request", &format!("{} {answer} {}", ask(), put(s + 12)));
    let signed = result(&[0, s + 12, 1, KEY, 1, 0, 0, DIGEST, 32, ANSWER, 0]);
    guest.body("on-submit-task-to-leader", &format!("{} {signed} {}", ask(), put(s + 20)));
    let counted = result(&[0, 7, 0, 0, DIGEST, 32]);
    guest.body("on-leader-process-task-response", &format!("{} {counted} {}", ask(), put(s + 8)));
    let planned = result(&[0, 0, 1, 42, 0, 0, 1]);
    guest.export(
        SOURCE,
        &[("event-filters", result(&[0, 0])), ("on-trigger", format!("{} {planned} {}", ask(), put(s + 16)))],
    );
    guest.manifest = manifest(&imports(), DECLARED);
    guest
}

fn grants(set: &[(&str, &str)]) -> Grants {
    let config: BTreeMap<_, _> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Grants { config, ..Grants::all() }
}

async fn load(guest: &Guest, set: &[(&str, &str)]) -> Result<Plugin, LoadError> {
    host().load(guest.bundle(), &grants(set)).await
}

async fn requested(plugin: &Plugin) -> Vec<u8> {
    plugin.on_task_request(&task(), chain()).await.unwrap()[0].to_vec()
}

async fn signed(plugin: &Plugin) -> Vec<u8> {
    plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap()[0].payload.to_vec()
}

async fn counted(plugin: &Plugin) -> Vec<u8> {
    plugin.on_leader_process_task_response(&task(), &peer()).await.unwrap().key.as_bytes().to_vec()
}

#[tokio::test]
async fn the_operators_value_is_seen_where_operators_may_differ_and_nowhere_else() {
    let plugin = load(&asking(), &[("region", "us"), ("access", "x")]).await.unwrap();
    assert_eq!(requested(&plugin).await, b"us");
    let planned = plugin.on_trigger(&service(), BLOCK, &Trigger::Request([1].into()), chain()).await.unwrap();
    assert!(matches!(&planned, Plan::Create(NewTask { request, .. }) if request[..] == *b"us"), "{planned:?}");
    assert_eq!(signed(&plugin).await, b"eu", "pure: the same on every operator");
    assert_eq!(counted(&plugin).await, b"eu");
    assert!(plugin.descriptor().name.starts_with("access-denied"), "{}", plugin.descriptor().name);
}

#[tokio::test]
async fn what_has_no_default_is_not_there_in_the_pure_callbacks() {
    let mut guest = asking();
    guest.extra = format!("(data (i32.const {}) \"access\")", ASKED.0);
    let plugin = load(&guest, &[("access", "by-key")]).await.unwrap();
    assert_eq!(requested(&plugin).await, b"by-key");
    assert_eq!(signed(&plugin).await, b"");
}

#[tokio::test]
async fn a_key_that_is_not_declared_has_no_value() {
    let mut guest = asking();
    guest.extra = format!("(data (i32.const {}) \"REGION\")", ASKED.0);
    let plugin = load(&guest, &[("access", "x")]).await.unwrap();
    assert_eq!(requested(&plugin).await, b"");
}

#[tokio::test]
async fn without_the_manifests_word_every_read_is_denied() {
    let mut guest = asking();
    guest.manifest = manifest("", "");
    let plugin = host().load(guest.bundle(), &Grants::none()).await.unwrap();
    assert!(requested(&plugin).await.starts_with(b"access-denied"));
    assert!(signed(&plugin).await.starts_with(b"access-denied"));
    // With the manifest's word and not the operator's, the bundle is not loaded.
    let guest = asking();
    let error = host().load(guest.bundle(), &[Import::Log].into_iter().collect()).await.unwrap_err();
    assert_eq!(error, LoadError::ImportNotGranted { import: Import::Config });
}

#[tokio::test]
async fn all_values_come_in_the_order_of_their_keys() {
    let mut guest = asking();
    guest.imports.push_str(IMPORT_CONFIG_ALL);
    // Three pairs of four words at the list's address; the answers are the keys.
    let key = |number: u32| {
        let (from, to) = (16 * number, SCRATCH + 12 + 8 * number);
        format!(
            "(i32.store (i32.const {to}) (i32.load offset={from} (local.get $list)))
             (i32.store (i32.const {}) (i32.load offset={} (local.get $list)))",
            to + 4,
            from + 4
        )
    };
    let body = format!(
        "(local $list i32) (call $config_all (i32.const {OUT})) (local.set $list (i32.load (i32.const {at})))
         {keys} (i32.store (i32.const {count}) (i32.load (i32.const {len}))) {head}",
        at = OUT + 4,
        keys = [0, 1, 2].map(key).join(" "),
        count = SCRATCH + 8,
        len = OUT + 8,
        head = result(&[0, SCRATCH + 12]),
    );
    guest.body("on-task-request", &body);
    guest.manifest = manifest(&imports(), &format!("keys-per-task = 3\n{DECLARED}"));
    let plugin = load(&guest, &[("access", "x")]).await.unwrap();
    let keys = plugin.on_task_request(&task(), chain()).await.unwrap();
    assert_eq!(keys, [&b"access"[..], b"depth", b"region"].map(eigenshift_types::Bytes::from_static));
}

#[tokio::test]
async fn reads_are_bounded() {
    let mut guest = asking();
    let body = format!(
        "(local $i i32) {} (loop $l (call $config_get (i32.const {}) (i32.const 6) (i32.const {OUT}))
         (local.set $i (i32.add (local.get $i) (i32.const 1)))
         (br_if $l (i32.lt_u (local.get $i) (i32.const 256))))
         (local.set $at (i32.load (i32.const {}))) (local.set $len (i32.load (i32.const {}))) {} {}",
        ask(),
        ASKED.0,
        OUT + 8,
        OUT + 12,
        result(&[0, SCRATCH + 12, 1, 0, 0]),
        put(SCRATCH + 12),
    );
    guest.body("on-task-request", &body);
    let plugin = load(&guest, &[("access", "x")]).await.unwrap();
    assert!(requested(&plugin).await.starts_with(b"quota"));
}

#[tokio::test]
async fn what_the_operator_sets_is_held_against_what_is_declared() {
    let long = "x".repeat(4097);
    for (set, key) in [
        (&[][..], "access"),
        (&[("access", "x"), ("acess", "y")], "acess"),
        (&[("access", "x"), ("depth", "deep")], "depth"),
        (&[("access", "x"), ("depth", "")], "depth"),
        (&[("access", "x"), ("depth", "9223372036854775808")], "depth"),
        (&[("access", "a\nb")], "access"),
        (&[("access", long.as_str())], "access"),
    ] {
        let error = load(&asking(), set).await.unwrap_err();
        assert!(matches!(&error, LoadError::Config { key: found, .. } if found == key), "{error}");
        assert_eq!(error.code(), "config-invalid");
    }
    let mut guest = asking();
    guest.manifest = manifest(&imports(), "[config.region]\ntype = \"boolean\"");
    for (value, good) in [("true", true), ("false", true), ("yes", false), ("TRUE", false)] {
        assert_eq!(load(&guest, &[("region", value)]).await.is_ok(), good, "{value}");
    }
    // One notation of a number, whatever was typed.
    guest.manifest = manifest(&imports(), "[config.region]\ntype = \"integer\"");
    assert_eq!(requested(&load(&guest, &[("region", "+007")]).await.unwrap()).await, b"7");
}

#[test]
fn inspecting_tells_the_version_apart() {
    let report = inspect(&asking().component()).unwrap();
    let manifest = Manifest::parse(&asking().manifest).unwrap();
    let verdicts = report.verdicts(&manifest, &Grants::all());
    let store = verdicts.iter().find(|(import, _)| import.name == STORE).unwrap();
    assert_eq!(store.0.functions, ["get"]);
    assert_eq!(store.1, Verdict::Granted(Import::Config));

    let other = wat::parse_str("(component (import \"wasi:config/store@0.2.0-draft\" (instance)))").unwrap();
    let verdicts = inspect(&other).unwrap();
    let verdicts = verdicts.verdicts(&manifest, &Grants::all());
    assert_eq!(verdicts[0].1, Verdict::OtherTrack { expected: STORE.to_owned() });
}
