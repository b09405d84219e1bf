//! The attacks.

use std::time::Duration;

use eigenshift_plugin::Bundle;
use wit_component::StringEncoding;

use crate::guest::{
    ANSWER, Guest, IMPORT_CALL, IMPORT_CONFIG_GET, IMPORT_HEADER, IMPORT_KEYVALUE, IMPORT_LOG, IMPORT_LOGS,
    IMPORT_SECRETS, KEYVALUE, SCRATCH, SECRETS, beside, bomb, manifest, result, wit_text,
};

/// How a call ends that the host has nothing against.
pub const FINE: &str = "fine";

pub struct Attack {
    pub name: &'static str,
    pub tries: &'static str,
    pub bundle: Bundle,
    /// The code that it ends with; of a bundle whose `describe` fails, that one's after a slash.
    pub ends: &'static str,
    /// The longest that one attempt may take, on a slow machine.
    pub within: Duration,
    /// What the answers of an attack that ends fine must be, or it succeeded.
    pub answers: Option<&'static [u8]>,
}

fn attack(name: &'static str, tries: &'static str, bundle: Bundle, ends: &'static str) -> Attack {
    Attack { name, tries, bundle, ends, within: Duration::from_secs(120), answers: None }
}

/// A guest that does this when it is asked.
fn asked(body: &str) -> Guest {
    Guest::with("on-task-request", body)
}

/// Ends with the four bytes at [`ANSWER`].
fn answer() -> String {
    result(&[0, SCRATCH + 12, 1, ANSWER, 4])
}

const FOREVER: &str = "(loop $l (br $l)) unreachable";

fn forever(body: &str) -> String {
    format!("(loop $l {body} (br $l)) unreachable")
}

/// With an import, and a list of 48 MiB at 131072 that it can name.
fn with_large_list(import: &str, call: &str) -> Bundle {
    importing(import, &format!("(drop (memory.grow (i32.const 800))) {call} unreachable"))
}

/// With imports, whose interfaces the world is told to import if it does not by itself.
fn importing(imports: &str, body: &str) -> Bundle {
    let mut guest = asked(body);
    guest.imports = imports.to_owned();
    for interface in ["wasi:config/store@0.2.0-rc.1", KEYVALUE, SECRETS] {
        if imports.contains(interface) {
            guest.world.push_str(&format!("import {interface};"));
        }
    }
    guest.bundle()
}

fn extra(mut guest: Guest, extra: &str) -> Guest {
    guest.extra = extra.to_owned();
    guest
}

fn bytes(component: impl Into<Vec<u8>>) -> Bundle {
    Bundle::new(component.into(), Guest::default().manifest)
}

fn text(component: &str) -> Bundle {
    bytes(wat::parse_str(format!("(component {component})")).unwrap())
}

fn time() -> Vec<Attack> {
    let burning = "fuel = 100_000_000_000";
    let start = |body: &str| extra(Guest::default(), &format!("(func $first {body}) (start $first)"));
    let deep = "(func $deep (param i32) (result i32)
        (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))";
    let fill = forever("(memory.fill (i32.const 131072) (i32.const 7) (i32.const 50000000))");
    vec![
        attack(
            "loop",
            "to compute for ever",
            asked(FOREVER).limits("fuel = 10_000_000").bundle(),
            "plugin-out-of-fuel",
        ),
        attack("slow loop", "the same with fuel to burn", asked(FOREVER).limits(burning).bundle(), "plugin-deadline"),
        attack(
            "loop in start",
            "to compute before any limit is set",
            start("(loop $l (br $l))").limits("fuel = 10_000_000").bundle(),
            "describe-failed/plugin-out-of-fuel",
        ),
        attack(
            "trap in start",
            "to die while it is made",
            start("unreachable").bundle(),
            "describe-failed/plugin-trap",
        ),
        attack(
            "recursion",
            "to overflow the host's stack",
            extra(asked("(drop (call $deep (i32.const 0))) unreachable"), deep).bundle(),
            "plugin-trap",
        ),
        attack(
            "bulk operations",
            "to run where nothing interrupts it",
            asked(&format!("(drop (memory.grow (i32.const 800))) {fill}")).limits(burning).bundle(),
            "plugin-deadline",
        ),
    ]
}

fn memory() -> Vec<Attack> {
    let small = "memory-bytes = 1_048_576";
    // A page at a time until it is refused.
    let all = "(block $full (loop $more
        (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $more)))";
    let tables = "(block $full (loop $more
        (br_if $full (i32.eq (table.grow $t (ref.null func) (i32.const 64)) (i32.const -1))) (br $more))) unreachable";
    let touching = "(local $at i32)
        (drop (memory.grow (i32.const 1000)))
        (loop $l (i32.store8 (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br $l)) unreachable";
    // Grows by one page, then asks for more than any memory has; how large it became is the answer.
    let overflowing = format!(
        "(local $i i32)
        (loop $l (drop (memory.grow (i32.const 1))) (drop (memory.grow (i32.const 65535)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $i) (i32.const 100))))
        (i32.store (i32.const {ANSWER}) (memory.size)) {}",
        answer()
    );
    // 2,000 answers of the same 64 KiB: 128 MiB for the host out of 16 KiB.
    let aliased = format!(
        "(local $i i32) (loop $l
        (i32.store (i32.add (i32.const 8192) (i32.mul (local.get $i) (i32.const 8))) (i32.const 65536))
        (i32.store (i32.add (i32.const 8196) (i32.mul (local.get $i) (i32.const 8))) (i32.const 65536))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 2000)))) {}",
        result(&[0, 8192, 2000])
    );
    let with = |modules: &[&str]| {
        let beside = modules.iter().map(|module| (*module).to_owned()).collect();
        Guest { beside, ..Guest::default() }
    };
    vec![
        attack(
            "memory bomb",
            "to take all memory",
            asked(&format!("{all} unreachable")).limits(small).bundle(),
            "plugin-memory",
        ),
        attack("touching", "to make all of it real", asked(touching).bundle(), "plugin-trap"),
        Attack {
            answers: Some(&[16, 0, 0, 0]),
            ..attack(
                "growth that overflows",
                "to have failed growth counted as given back",
                asked(&overflowing).limits(small).bundle(),
                FINE,
            )
        },
        attack(
            "table bomb",
            "to take all memory with tables",
            extra(asked(tables).limits("memory-bytes = 262_144"), "(table $t 0 funcref)").bundle(),
            "plugin-memory",
        ),
        attack(
            "huge table",
            "to be given one at the start",
            extra(Guest::default(), "(table 1000000 funcref)").bundle(),
            "compile-failed",
        ),
        attack(
            "memories",
            "to have each memory limited by itself",
            with(&["(module (memory 14))"]).limits(small).bundle(),
            "describe-failed/plugin-memory",
        ),
        attack(
            "many memories",
            "to have more than a slot",
            with(&["(module (memory 1))"; 2]).bundle(),
            "component-too-complex",
        ),
        attack("many instances", "to fill the pool", with(&["(module)"; 64]).bundle(), "component-too-complex"),
        attack(
            "many tables",
            "to fill the pool with tables",
            extra(Guest::default(), &"(table 1 funcref)".repeat(5)).bundle(),
            "component-too-complex",
        ),
        attack("aliased list", "to fill the host's own memory", asked(&aliased).bundle(), "plugin-bad-output"),
    ]
}

fn imports() -> Vec<Attack> {
    let emit = "(call $emit (i32.const 2) (i32.const 1024) (i32.const 5))";
    let emit_one = format!("(call $emit (i32.const 2) (i32.const {ANSWER}) (i32.const 1))");
    let header = "(call $header (i32.const 0) (i64.const 0) (i32.const 8192))";
    let large = "(i32.const 131072) (i32.const 48000000)";
    let here = "(i32.const 2112) (i32.const 20)";
    let utf16 = || {
        let mut guest = asked(&format!("(i32.store16 (i32.const {ANSWER}) (i32.const 0xd800)) {emit_one} unreachable"));
        guest.body("describe", &result(&[1024, 0, 1024, 0, 1024, 0]));
        guest.imports = IMPORT_LOG.to_owned();
        guest.encoding = StringEncoding::UTF16;
        guest.bundle()
    };
    let denied = |call: &str| forever(&format!("({call})"));
    // 100,000 topics that are all the same 60,000 bytes.
    let topics = format!(
        "(local $at i32) (local.set $at (i32.const 131072)) (drop (memory.grow (i32.const 20)))
        (loop $l (i32.store (local.get $at) (i32.const 2080)) (i32.store offset=4 (local.get $at) (i32.const 60000))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (br_if $l (i32.lt_u (local.get $at) (i32.const 931072))))
        (call $logs {here} (i32.const 131072) (i32.const 100000) (i64.const 1) (i64.const 2) (i32.const 8192))"
    );
    let utf8 = "(i32.store8 (i32.const 1024) (i32.const 0xff))";
    vec![
        attack("flood of lines", "to fill the disk", importing(IMPORT_LOG, &forever(emit)), "plugin-host-calls"),
        attack(
            "flood of reads",
            "to keep the endpoint busy",
            importing(IMPORT_HEADER, &forever(header)),
            "plugin-host-calls",
        ),
        attack(
            "large line",
            "to have 48 MB copied",
            with_large_list(IMPORT_LOG, &format!("(call $emit (i32.const 2) {large})")),
            "plugin-bad-output",
        ),
        attack(
            "large calldata",
            "the same with a chain read",
            with_large_list(
                IMPORT_CALL,
                &format!("(call $call {here} {large} (i32.const 0) (i64.const 0) (i32.const 8192))"),
            ),
            "plugin-bad-output",
        ),
        attack(
            "large address",
            "the same with what must have 20 bytes",
            with_large_list(
                IMPORT_CALL,
                &format!(
                    "(call $call {large} (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 8192))"
                ),
            ),
            "plugin-bad-output",
        ),
        attack(
            "aliased topics",
            "to have the same bytes copied over and over",
            importing(IMPORT_LOGS, &format!("{topics} unreachable")),
            "plugin-bad-output",
        ),
        attack(
            "large key",
            "the same with the configuration",
            with_large_list(IMPORT_CONFIG_GET, &format!("(call $config_get {large} (i32.const 8192))")),
            "plugin-bad-output",
        ),
        attack(
            "large store",
            "the same with its store",
            with_large_list(IMPORT_KEYVALUE, &format!("(call $kv_open {large} (i32.const 8192))")),
            "plugin-bad-output",
        ),
        attack(
            "large secret",
            "the same with a secret's name",
            with_large_list(IMPORT_SECRETS, &format!("(call $secret_open {large} (i32.const 8192))")),
            "plugin-bad-output",
        ),
        attack(
            "flood of denials",
            "to keep the host busy with what it may not do",
            importing(IMPORT_KEYVALUE, &denied("call $kv_open (i32.const 2048) (i32.const 0) (i32.const 8192)")),
            "plugin-host-calls",
        ),
        attack(
            "no handle",
            "to use what it never opened",
            importing(
                IMPORT_KEYVALUE,
                "(call $kv_get (i32.const 77) (i32.const 2064) (i32.const 1) (i32.const 8192)) unreachable",
            ),
            "plugin-bad-output",
        ),
        attack(
            "handle dropped",
            "to drop what it never opened",
            importing(IMPORT_KEYVALUE, "(call $kv_drop (i32.const 77)) unreachable"),
            "plugin-bad-output",
        ),
        attack("half a character", "to have bytes printed that are no text in UTF-16", utf16(), "plugin-bad-output"),
        attack(
            "no text",
            "to have bytes printed that are no text",
            importing(IMPORT_LOG, &format!("{utf8} {emit} unreachable")),
            "plugin-bad-output",
        ),
        attack(
            "line from nowhere",
            "to have the host read beyond the memory",
            importing(IMPORT_LOG, "(call $emit (i32.const 2) (i32.const -16) (i32.const 1000)) unreachable"),
            "plugin-bad-output",
        ),
    ]
}

fn compiling() -> Vec<Attack> {
    let doubling: String = (0..40)
        .map(|i| match i {
            0 => "(type $t0 (tuple string string))".to_owned(),
            _ => format!("(type $t{i} (tuple $t{p} $t{p}))", p = i - 1),
        })
        .collect();
    let nesting: String = (0..2000)
        .map(|i| match i {
            0 => "(type $t0 (list u8))".to_owned(),
            _ => format!("(type $t{i} (list $t{}))", i - 1),
        })
        .collect();
    let heavy =
        format!("(core module (func (local {}) {}))", "i32 ".repeat(9000), "(drop (i32.const 1))".repeat(30_000));
    let guest = Guest::default();
    let large = Bundle::new(beside(guest.component(), &bomb(12, 1_000_000)), guest.manifest);
    vec![
        attack("type bomb", "to have 2^40 types written out", text(&doubling), "component-too-complex"),
        attack("nested types", "to overflow the validator's stack", text(&nesting), "component-too-complex"),
        attack("heavy function", "to keep the register allocator busy", text(&heavy), "component-too-complex"),
        attack("compile bomb", "to keep the compiler busy within every bound", large, "compile-too-slow"),
    ]
}

fn strangers() -> Vec<Attack> {
    let track = || {
        let mut guest = Guest::default();
        guest.wit = Some(wit_text().replace("0.1.0", "0.2.0"));
        guest.world = "export eigenshift:avs/task-lifecycle@0.2.0;".to_owned();
        guest.bodies = guest.bodies.into_iter().map(|(name, body)| (name.replace("0.1.0", "0.2.0"), body)).collect();
        guest.bundle()
    };
    let import = |interface: &str| {
        let mut guest = importing_guest(interface);
        guest.manifest = manifest("", "");
        guest.bundle()
    };
    let core = |module: &str| bytes(beside(Guest::default().component(), &wat::parse_str(module).unwrap()));
    let engine = wasmtime::Engine::default();
    let machine_code = engine.precompile_component(&Guest::default().component()).unwrap();
    // Not-a-number that arithmetic makes has bits of the processor's own.
    let nan = format!(
        "(f32.store (i32.const {ANSWER}) (f32.div (f32.reinterpret_i32 (i32.load (i32.const {zero})))
            (f32.reinterpret_i32 (i32.load (i32.const {zero}))))) {}",
        answer(),
        zero = ANSWER + 8,
    );
    vec![
        attack("machine code", "to be run unchecked", bytes(machine_code), "component-precompiled"),
        attack("core module", "to be taken for a component", bytes(Guest::default().core()), "component-core-module"),
        attack("other world", "to be called by another track's rules", track(), "other-track"),
        attack("random", "to give each operator another answer", import("random"), "import-unknown"),
        attack("clock", "the same with the time", import("clocks"), "import-unknown"),
        attack("files", "to read the operator's keys", import("files"), "import-unknown"),
        Attack {
            answers: Some(&[0, 0, 0xc0, 0x7f]),
            ..attack("not a number", "to tell processors apart", asked(&nan).bundle(), FINE)
        },
        attack(
            "relaxed vectors",
            "the same with instructions that may differ",
            core("(module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))"),
            "compile-failed",
        ),
        attack("threads", "to race with itself", core("(module (memory 1 1 shared))"), "component-malformed"),
    ]
}

fn importing_guest(interface: &str) -> Guest {
    let mut guest = Guest::with("describe", "(drop (call $get)) (i32.const 16)");
    guest.world.push_str(&format!("import {interface}: interface {{ get: func() -> u32; }}"));
    guest.imports = format!("(import \"{interface}\" \"get\" (func $get (result i32)))");
    guest
}

fn leftovers() -> Vec<Attack> {
    // Counts words that are not zero in what it grows, then fills everything.
    let memory = format!(
        "(local $at i32) (local $found i32)
         (drop (memory.grow (i32.const 20)))
         (local.set $at (i32.const 200000))
         (loop $l
           (local.set $found (i32.add (local.get $found) (i64.ne (i64.load (local.get $at)) (i64.const 0))))
           (i64.store (local.get $at) (i64.const -1))
           (local.set $at (i32.add (local.get $at) (i32.const 8)))
           (br_if $l (i32.lt_u (local.get $at) (i32.const 1500000))))
         (i32.store (i32.const {ANSWER}) (local.get $found)) {}",
        answer()
    );
    let table = format!(
        "(local $at i32) (local $found i32)
         (loop $l
           (local.set $found
             (i32.add (local.get $found) (i32.eqz (ref.is_null (table.get $t (local.get $at))))))
           (table.set $t (local.get $at) (ref.func $any))
           (local.set $at (i32.add (local.get $at) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $at) (i32.const 5000))))
         (i32.store (i32.const {ANSWER}) (local.get $found)) {}",
        answer()
    );
    let nothing = |attack| Attack { answers: Some(&[0, 0, 0, 0]), ..attack };
    vec![
        nothing(attack("stale memory", "to read what another left in memory", asked(&memory).bundle(), FINE)),
        nothing(attack(
            "stale table",
            "to call what another left in a table",
            extra(asked(&table), "(table $t 5000 funcref) (func $any) (elem declare func $any)").bundle(),
            FINE,
        )),
    ]
}

/// All of them.
pub fn attacks() -> Vec<Attack> {
    [time(), memory(), imports(), compiling(), strangers(), leftovers()].into_iter().flatten().collect()
}
