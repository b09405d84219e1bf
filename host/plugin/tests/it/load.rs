use std::time::Duration;

use eigenshift_env::Env;
use eigenshift_plugin::{
    Bundle, CallError, CompileLimits, Grants, Host, HostError, HostOptions, Import, LoadError, Origin,
};

use crate::fixtures::{host, load, options};
use crate::guest::{ANSWER, Guest, IMPORT_CALL, LIFECYCLE, SOURCE, manifest, result, wit_text};

async fn refusal(bytes: impl Into<Vec<u8>>) -> LoadError {
    host().load(Bundle::new(bytes.into(), Guest::default().manifest), &Grants::all()).await.unwrap_err()
}

#[tokio::test]
async fn a_good_component_says_what_it_is() {
    let plugin = load(&Guest::default()).await.unwrap();
    assert_eq!(plugin.descriptor().name, "probe");
    assert_eq!(plugin.descriptor().version, "1.0");
    assert_eq!(plugin.descriptor().schema, "none");
    assert_eq!(plugin.origin(), Origin::Compiled);
    assert_eq!(plugin.digest(), Guest::default().bundle().digest());
    assert!(!plugin.has_task_source() && !plugin.has_task_submission());
    assert!(!plugin.has_rotation() && !plugin.has_operator_directory());
}

#[tokio::test]
async fn what_is_no_component_is_refused_by_its_kind() {
    assert_eq!(refusal(*b"").await, LoadError::NotWasm);
    assert_eq!(refusal(*b"\0asm").await, LoadError::NotWasm);
    assert_eq!(refusal(*b"#!/bin/sh\necho").await, LoadError::NotWasm);
    assert_eq!(refusal(Guest::default().core()).await, LoadError::CoreModule);
    let engine = wasmtime::Engine::default();
    let precompiled = engine.precompile_component(&Guest::default().component()).unwrap();
    assert_eq!(refusal(precompiled).await, LoadError::Precompiled);
}

#[tokio::test]
async fn a_torn_component_is_refused_wherever_it_is_torn() {
    let whole = Guest::default().component();
    for len in (8..whole.len()).step_by(whole.len() / 20) {
        let error = refusal(&whole[..len]).await;
        // Torn between two sections it is a component still, with nothing in it.
        assert!(matches!(error, LoadError::Malformed(_) | LoadError::MissingExport { .. }), "{len}: {error}");
    }
}

#[tokio::test]
async fn an_oversized_component_is_refused_before_it_is_compiled() {
    let component = Guest::default().component();
    let len = component.len();
    let host = Host::new(HostOptions { max_component_bytes: len - 1, ..options() }, &Env::real()).unwrap();
    let error = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap_err();
    assert_eq!(error, LoadError::TooLarge { len, max: len - 1 });
}

#[tokio::test]
async fn a_manifest_that_asks_for_more_than_the_operator_gives_is_refused() {
    let host =
        Host::new(HostOptions { max_fuel: 50_000, max_memory_bytes: 1 << 20, ..options() }, &Env::real()).unwrap();
    let error = host.load(Guest::default().limits("fuel = 60_000").bundle(), &Grants::all()).await.unwrap_err();
    assert_eq!(error, LoadError::LimitNotGranted { limit: "fuel", wanted: 60_000, granted: 50_000 });
    let guest = Guest::default().limits("fuel = 20_000\nmemory-bytes = 2_097_152");
    let error = host.load(guest.bundle(), &Grants::all()).await.unwrap_err();
    assert_eq!(error, LoadError::LimitNotGranted { limit: "memory-bytes", wanted: 1 << 21, granted: 1 << 20 });
    let error = host.load(Bundle::new(Guest::default().component(), "name = 1"), &Grants::all()).await.unwrap_err();
    assert_eq!(error.code(), "manifest-value");
}

fn calls_the_chain() -> Guest {
    let mut guest = Guest { imports: IMPORT_CALL.to_owned(), ..Guest::default() };
    guest.body(
        "on-task-request",
        "(call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0)) unreachable",
    );
    guest
}

#[tokio::test]
async fn what_the_manifest_lists_and_the_operator_withholds_is_refused_by_name() {
    let log: Grants = [Import::Log].into_iter().collect();
    for guest in [calls_the_chain(), Guest::default()] {
        // Whether the component imports it or not: the manifest says that it is needed.
        let error = host().load(guest.bundle(), &log).await.unwrap_err();
        assert_eq!(error, LoadError::ImportNotGranted { import: Import::Chain });
        assert_eq!(error.code(), "import-not-granted");
        assert!(error.to_string().contains("`chain`"), "{error}");
    }
}

#[tokio::test]
async fn triggers_that_nothing_makes_tasks_of_are_refused() {
    let triggers = "[[trigger]]\ntype = \"timer\"\nname = \"a\"\nevery = \"1s\"";
    let mut guest = Guest { manifest: manifest("", triggers), ..Guest::default() };
    let error = load(&guest).await.unwrap_err();
    assert_eq!((&error, error.code()), (&LoadError::TriggerWithoutSource, "trigger-without-source"));
    guest.export(SOURCE, &[("event-filters", result(&[0, 0, 0])), ("on-trigger", result(&[0, 2, ANSWER, 0]))]);
    load(&guest).await.unwrap();
}

#[tokio::test]
async fn what_the_manifest_does_not_list_needs_no_grant() {
    let mut guest = calls_the_chain();
    guest.manifest = manifest("", "");
    host().load(guest.bundle(), &Grants::none()).await.unwrap();
}

#[tokio::test]
async fn an_unknown_import_is_refused_by_name() {
    let wit = format!("{} interface secrets {{ reveal: func() -> u32; }}", wit_text());
    let mut guest = Guest { wit: Some(wit), ..Guest::default() };
    guest.world.push_str("import eigenshift:avs/secrets@0.1.0;");
    guest.imports = r#"(import "eigenshift:avs/secrets@0.1.0" "reveal" (func $reveal (result i32)))"#.to_owned();
    guest.body("describe", "(drop (call $reveal)) (i32.const 16)");
    let name = "eigenshift:avs/secrets@0.1.0".to_owned();
    assert_eq!(load(&guest).await.unwrap_err(), LoadError::UnknownImport { name });

    guest.wit = None;
    guest.world = format!("import files: interface {{ open: func() -> u32; }} export {LIFECYCLE};");
    guest.imports = r#"(import "files" "open" (func $reveal (result i32)))"#.to_owned();
    assert_eq!(load(&guest).await.unwrap_err(), LoadError::UnknownImport { name: "files".to_owned() });
}

#[tokio::test]
async fn a_missing_export_is_refused_by_name() {
    let mut guest = Guest { world: String::new(), ..Guest::default() };
    guest.bodies.clear();
    assert_eq!(load(&guest).await.unwrap_err(), LoadError::MissingExport { name: LIFECYCLE.to_owned() });

    let mut guest = Guest::default();
    let (before, after) = wit_text()
        .split_once("    describe: func() -> descriptor;")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    guest.wit = Some(before + after.as_str());
    guest.bodies.remove(&format!("{LIFECYCLE}#describe"));
    let name = format!("{LIFECYCLE}#describe");
    assert_eq!(load(&guest).await.unwrap_err(), LoadError::MissingExport { name });
}

#[tokio::test]
async fn another_track_or_other_types_are_told_apart() {
    let mut guest = Guest::default();
    guest.wit = Some(wit_text().replace("0.1.0", "0.2.0"));
    guest.world = "export eigenshift:avs/task-lifecycle@0.2.0;".to_owned();
    guest.bodies = guest.bodies.into_iter().map(|(name, body)| (name.replace("0.1.0", "0.2.0"), body)).collect();
    let error = load(&guest).await.unwrap_err();
    assert!(matches!(&error, LoadError::OtherTrack { found, .. } if found.ends_with("@0.2.0")), "{error}");

    let mut guest = Guest::default();
    let text = wit_text();
    assert!(text.contains("schema: string,"));
    guest.wit = Some(text.replace("schema: string,", "schema: string, more: u32,"));
    let error = load(&guest).await.unwrap_err();
    assert_eq!(error.code(), "types-differ", "{error}");
}

#[tokio::test]
async fn a_describe_that_fails_refuses_the_bundle_and_says_how() {
    let error = load(&Guest::with("describe", "unreachable")).await.unwrap_err();
    assert!(matches!(&error, LoadError::Describe(CallError::Trap(text)) if text.contains("unreachable")), "{error}");
    // A name that is not UTF-8.
    let body = "(i32.store8 (i32.const 1024) (i32.const 0xff)) (i32.const 16)";
    let error = load(&Guest::with("describe", body)).await.unwrap_err();
    assert!(matches!(&error, LoadError::Describe(CallError::BadOutput(_))), "{error}");
    // Runs before any export does.
    let guest = Guest { extra: "(func $forever (loop $l (br $l))) (start $forever)".to_owned(), ..Guest::default() };
    let error = load(&guest.limits("fuel = 1_000_000")).await.unwrap_err();
    assert_eq!(error, LoadError::Describe(CallError::OutOfFuel));
}

#[test]
fn options_out_of_bounds_are_named() {
    let refused = |options: HostOptions| match Host::new(options, &Env::real()).unwrap_err() {
        HostError::Option { option, .. } => option,
        other => panic!("{other}"),
    };
    assert_eq!(refused(HostOptions { call_slots: 0, ..options() }), "call_slots");
    assert_eq!(refused(HostOptions { slots_per_plugin: 0, ..options() }), "slots_per_plugin");
    assert_eq!(refused(HostOptions { guest_threads: 0, ..options() }), "guest_threads");
    assert_eq!(refused(HostOptions { compile_threads: 0, ..options() }), "compile_threads");
    assert_eq!(refused(HostOptions { call_deadline: Duration::ZERO, ..options() }), "call_deadline");
    assert_eq!(refused(HostOptions { max_memory_bytes: u64::MAX, ..options() }), "max_memory_bytes");
    assert_eq!(refused(HostOptions { memory_bytes_per_plugin: 1, ..options() }), "memory_bytes_per_plugin");
    assert_eq!(refused(HostOptions { guest_memory_bytes: 1, ..options() }), "guest_memory_bytes");
    for (compile_limits, option) in [
        (CompileLimits { time: Duration::ZERO, ..CompileLimits::default() }, "compile_limits.time"),
        (CompileLimits { cpu: Duration::ZERO, ..CompileLimits::default() }, "compile_limits.cpu"),
        (CompileLimits { memory_bytes: 1, ..CompileLimits::default() }, "compile_limits.memory_bytes"),
    ] {
        assert_eq!(refused(HostOptions { compile_limits, ..options() }), option);
    }
}
