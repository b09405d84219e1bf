//! Components that cost more to compile than to send, counted and refused before anything is compiled.

use std::collections::BTreeSet;

use eigenshift_plugin::capability::Verdict;
use eigenshift_plugin::inspect::{Limit, inspect};
use eigenshift_plugin::{Bundle, Grants, Import, LoadError, Manifest};

use crate::fixtures::host;
use crate::guest::{Guest, IMPORT_CALL, IMPORT_LOG, LIFECYCLE, leb, manifest};

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap_or_else(|error| panic!("{error}"))
}

fn module(text: &str) -> Vec<u8> {
    component(&format!("(core module {text})"))
}

fn times(count: u64, text: impl Fn(u64) -> String) -> String {
    (0..count).map(text).collect()
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [vec![id], leb(body.len()), body.to_vec()].concat()
}

/// A component of one section of component types, which the text format would refuse or take too long over.
fn types(count: usize, body: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0".to_vec(), section(7, &[leb(count), body.to_vec()].concat())].concat()
}

/// Instance types within instance types; each is three bytes.
fn nested_types(levels: usize) -> Vec<u8> {
    let mut body = [0x42, 1, 1].repeat(levels);
    body.extend([0x42, 0]);
    types(1, &body)
}

/// For each limit, what breaks it, and what it tries.
fn attacks() -> Vec<(Limit, Vec<u8>)> {
    let over = |limit: Limit| limit.max() + 1;
    let one = |limit: Limit, text: &str| module(&text.repeat(usize::try_from(over(limit)).unwrap()));
    // Doubles at every level: 2^40 strings.
    let tuples = times(40, |i| match i {
        0 => "(type $t0 (tuple string string))".to_owned(),
        _ => format!("(type $t{i} (tuple $t{p} $t{p}))", p = i - 1),
    });
    let lists = times(40, |i| match i {
        0 => "(type $t0 (list u8))".to_owned(),
        _ => format!("(type $t{i} (list $t{}))", i - 1),
    });
    // Each instantiates the one before twice: 2^20 instances of an empty component.
    let doubling = times(20, |i| match i {
        0 => "(component $c0)".to_owned(),
        _ => format!(
            "(component $c{i} (alias outer 1 $c{p} (component $c)) (instance (instantiate $c)) (instance (instantiate $c)))",
            p = i - 1
        ),
    });
    // The same with core modules inside: more memories than a machine has.
    let core_doubling = times(8, |i| match i {
        0 => "(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))".to_owned(),
        _ => format!(
            "(component $c{i} (alias outer 1 $c{p} (component $c)) (instance (instantiate $c)) (instance (instantiate $c)))",
            p = i - 1
        ),
    });
    let nested = |levels: usize| format!("{}{}", "(component ".repeat(levels), ")".repeat(levels));
    let instructions = |count: usize| format!("(func {})", "(drop (i32.const 1))".repeat(count));
    vec![
        (Limit::ComponentNesting, component(&nested(4))),
        (Limit::Components, component(&"(component)".repeat(64))),
        (Limit::ComponentInstances, component(&format!("{doubling} (instance (instantiate $c19))"))),
        (Limit::ForeignComponents, component("(import \"c\" (component))")),
        (
            Limit::ForeignComponents,
            component("(import \"i\" (instance $i (export \"c\" (component)))) (alias export $i \"c\" (component))"),
        ),
        (Limit::CoreModules, component(&"(core module)".repeat(65))),
        (
            Limit::CoreInstances,
            component(&format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(65))),
        ),
        (Limit::CoreInstances, component(&format!("{core_doubling} (instance (instantiate $c7))"))),
        (Limit::CoreTypes, one(Limit::CoreTypes, "(type (func))")),
        (Limit::CoreFunctions, one(Limit::CoreFunctions, "(func)")),
        (Limit::FunctionBytes, module(&instructions(400_000))),
        (Limit::FunctionLocals, module(&format!("(func (local {}))", "i64 ".repeat(10_001)))),
        // Many locals and many instructions in one function: minutes and gigabytes in a register allocator.
        (
            Limit::FunctionWeight,
            module(&format!("(func (local {}) {})", "i64 ".repeat(10_000), "(drop (i32.const 1))".repeat(100_000))),
        ),
        (Limit::Globals, one(Limit::Globals, "(global i32 (i32.const 0))")),
        (Limit::Memories, component(&"(core module (memory 1))".repeat(3))),
        (Limit::Memories, module(&"(memory 1)".repeat(20))),
        (Limit::Tables, module(&"(table 1 funcref)".repeat(5))),
        // 50,001 segments of one byte: a megabyte that is copied piece by piece at every instantiation.
        (Limit::DataSegments, module(&format!("(memory 1) {}", "(data (i32.const 0) \"x\")".repeat(50_001)))),
        (
            Limit::ElementSegments,
            module(&format!("(table 1 funcref) (func $f) {}", "(elem (i32.const 0) $f)".repeat(10_001))),
        ),
        (Limit::Imports, module(&times(10_001, |i| format!("(import \"a\" \"{i}\" (func))")))),
        (Limit::Exports, module(&format!("(func $f) {}", times(100_001, |i| format!("(export \"{i}\" (func $f))"))))),
        (Limit::Types, component(&"(type (list u8))".repeat(10_001))),
        (Limit::Types, component(&format!("(type (instance {}))", "(type (list u8))".repeat(10_001)))),
        (Limit::TypeNesting, nested_types(9)),
        // Three megabytes; three kilobytes already overflow the stack of whoever reads them by recursion.
        (Limit::TypeNesting, nested_types(1_000_000)),
        (Limit::TypeDepth, component(&lists)),
        (Limit::TypeParts, component(&tuples)),
        (
            Limit::CanonicalFunctions,
            component(&format!("(import \"f\" (func $f)) {}", "(core func (canon lower (func $f)))".repeat(10_001))),
        ),
        (
            Limit::Aliases,
            component(&format!(
                "(import \"i\" (instance $i (export \"f\" (func)))) {}",
                "(alias export $i \"f\" (func))".repeat(50_001)
            )),
        ),
    ]
}

#[test]
fn every_limit_is_broken_by_an_attack_and_named() {
    let mut broken = BTreeSet::new();
    for (expected, bytes) in attacks() {
        match inspect(&bytes) {
            Err(LoadError::TooComplex { limit, found, max }) => {
                assert_eq!((limit, max), (expected, expected.max()));
                assert!(found > max, "{limit}: {found}");
            }
            other => panic!("{expected}: {other:?}"),
        }
        broken.insert(expected);
    }
    assert_eq!(broken, BTreeSet::from(Limit::ALL), "a limit without an attack");
}

#[test]
fn what_is_at_its_limit_is_taken() {
    let fine = [
        (Limit::ComponentNesting, component(&format!("{}{}", "(component ".repeat(3), ")".repeat(3)))),
        (Limit::Components, component(&"(component)".repeat(63))),
        (Limit::CoreModules, component(&"(core module)".repeat(64))),
        (
            Limit::CoreInstances,
            component(&format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(64))),
        ),
        (Limit::FunctionLocals, module(&format!("(func (local {}))", "i64 ".repeat(10_000)))),
        (Limit::Memories, component(&"(core module (memory 1))".repeat(2))),
        (Limit::TypeNesting, nested_types(7)),
    ];
    for (limit, bytes) in fine {
        let report = inspect(&bytes).unwrap_or_else(|error| panic!("{limit}: {error}"));
        assert_eq!(report.count(limit), limit.max(), "{limit}");
    }
}

#[tokio::test]
async fn a_bomb_is_refused_at_load_with_its_code() {
    let host = host();
    for (limit, bytes) in attacks() {
        let error = host.load(Bundle::new(bytes, Guest::default().manifest), &Grants::all()).await.unwrap_err();
        assert_eq!(error.code(), "component-too-complex", "{limit}: {error}");
        assert!(error.to_string().contains(limit.as_str()), "{error}");
    }
    host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
}

#[test]
fn bombs_that_the_validator_knows_are_refused_too() {
    // 2^40 strings again, all within the declarations of one type.
    let tuples = times(40, |i| match i {
        0 => "(type $t0 (tuple string string))".to_owned(),
        _ => format!("(type $t{i} (tuple $t{p} $t{p}))", p = i - 1),
    });
    let error = inspect(&component(&format!("(type (instance {tuples}))"))).unwrap_err();
    assert_eq!(error.code(), "component-malformed", "{error}");
}

#[test]
fn lies_about_counts_are_refused() {
    // A section that promises four thousand million types, and one with bytes after its last type.
    let error = inspect(&types(u32::MAX as usize, &[0x73])).unwrap_err();
    assert_eq!(error.code(), "component-malformed", "{error}");
    let error = inspect(&types(1, &[0x73, 0x73])).unwrap_err();
    assert_eq!(error.code(), "component-malformed", "{error}");
    let error = inspect(&types(1, &[0x42, 0xff, 0xff, 0xff, 0xff, 0x0f, 1])).unwrap_err();
    assert_eq!(error.code(), "component-malformed", "{error}");
}

#[test]
fn damaged_components_are_refused_or_counted_and_never_worse() {
    let whole = Guest { imports: IMPORT_CALL.to_owned(), ..Guest::default() }.component();
    let mut state: u64 = 1;
    let mut next = |below: usize| {
        // Knuth's multiplier: any sequence will do, as long as it is the same each time.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..5_000 {
        let mut bytes = whole.clone();
        for _ in 0..=next(4) {
            let at = 8 + next(bytes.len() - 8);
            bytes[at] = u8::try_from(next(256)).unwrap();
        }
        bytes.truncate(whole.len() - next(8) * next(40));
        if let Err(error) = inspect(&bytes) {
            assert!(matches!(error, LoadError::Malformed(_) | LoadError::TooComplex { .. }), "{error}");
        }
    }
}

#[test]
fn a_report_says_what_is_in_a_component() {
    let guest = Guest { imports: format!("{IMPORT_CALL}{IMPORT_LOG}"), ..Guest::default() };
    let report = inspect(&guest.component()).unwrap();
    let named: Vec<_> =
        report.imports.iter().map(|import| (import.name.as_str(), import.functions.join(" "))).collect();
    assert_eq!(
        named,
        [
            ("eigenshift:avs/types@0.1.0", String::new()),
            ("eigenshift:avs/chain@0.1.0", "call".to_owned()),
            ("eigenshift:avs/log@0.1.0", "emit".to_owned()),
        ]
    );
    assert_eq!(report.exports.len(), 1);
    assert_eq!(report.exports[0].name, LIFECYCLE);
    assert_eq!(report.exports[0].functions.len(), 4);
    assert_eq!(report.bytes, guest.component().len());
    assert_eq!(report.count(Limit::Memories), 1);
    assert_eq!(report.count(Limit::CoreFunctions), 7, "the guest's five and two that `wit-component` adds");
    let text = report.to_string();
    assert!(text.contains("core-functions 7 of 100000\n"), "{text}");
    assert!(text.contains("import eigenshift:avs/chain@0.1.0 call\n"), "{text}");
}

#[test]
fn a_report_says_what_would_be_granted_and_refused() {
    let guest = Guest { imports: format!("{IMPORT_CALL}{IMPORT_LOG}"), ..Guest::default() };
    let report = inspect(&guest.component()).unwrap();
    let verdicts = |imports: &str, grants: &[Import]| {
        let manifest = Manifest::parse(&manifest(imports, "")).unwrap();
        let verdicts = report.verdicts(&manifest, &grants.iter().copied().collect());
        verdicts.into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>()
    };
    let (chain, log) = (Import::Chain, Import::Log);
    assert_eq!(
        verdicts("imports = [\"chain\", \"log\"]", &[chain, log]),
        [Verdict::Types, Verdict::Granted(chain), Verdict::Granted(log)]
    );
    assert_eq!(
        verdicts("imports = [\"chain\"]", &[log]),
        [Verdict::Types, Verdict::NotGranted(chain), Verdict::NotListed(log)]
    );
}
