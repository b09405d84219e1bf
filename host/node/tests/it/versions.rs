//! Plugins for swapping: versions that answer differently, so that an answer says which one gave it.

use eigenshift_plugin::Bundle;
use eigenshift_types::{B256, Bytes};

#[path = "../../../plugin/tests/it/guest.rs"]
#[allow(dead_code, reason = "the plugin host's tests use the rest")]
mod guest;

use guest::{
    ANSWER, ATOMICS, DIGEST, Guest, IMPORT_CONFIG_GET, IMPORT_KEYVALUE, KEY, KEYVALUE, SCRATCH, manifest, result,
};

/// What a version answers with.
pub fn answer(number: u8) -> Bytes {
    [number; 4].into()
}

/// What a version has signed.
pub fn digest(number: u8) -> B256 {
    B256::repeat_byte(number)
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// A version with its own answer. `functions` of 4 KiB each are compiled with it.
pub fn version(number: u8, functions: usize) -> Bundle {
    let (answer, digest) = (answer(number), digest(number));
    let extra = format!(
        r#"(data (i32.const {ANSWER}) "{}") (data (i32.const {DIGEST}) "{}")"#,
        escaped(&answer),
        escaped(digest.as_slice())
    );
    let guest = Guest { extra, ..Guest::default() };
    let component = guest.component();
    let component = if functions == 0 { component } else { guest::beside(component, &guest::bomb(functions, 4096)) };
    Bundle::new(component, guest.manifest)
}

/// As [`version`] 0, under another manifest: another bundle with the same answers.
pub fn same(number: u8) -> Bundle {
    let component = version(0, 0).component().clone();
    Bundle::new(component, manifest("imports = []", &format!("fuel = {}", 100_000_000 + u32::from(number))))
}

/// Where imports put their results, and a zeroed place for a digest.
const OUT: u32 = 8192;
const PADDED: u32 = 10_000;
/// `kept`: what the store has the text under.
const NAME: u32 = 9000;

/// Has the one answer signed as it is, and under its key counted: the digest is the text, filled up with zeros.
fn signing_what_it_says(guest: &mut Guest) {
    // The only answer: its place and length are the first two words that the list's pointer leads to.
    let padded = "(memory.copy (i32.const 10000) (i32.load (local.get 12)) (i32.load offset=4 (local.get 12)))";
    let signed = result(&[0, SCRATCH + 12, 1, KEY, 1, 0, 0, PADDED, 32, ANSWER, 0]);
    guest.body(
        "on-submit-task-to-leader",
        &format!(
            "{padded} {signed}
             (i32.store (i32.const {}) (i32.load (local.get 12)))
             (i32.store (i32.const {}) (i32.load offset=4 (local.get 12)))",
            SCRATCH + 20,
            SCRATCH + 24
        ),
    );
    // Arguments in memory: the task's 64 bytes, then the operator's id, the payload, the extension.
    let padded =
        "(memory.copy (i32.const 10000) (i32.load offset=72 (local.get 0)) (i32.load offset=76 (local.get 0)))";
    let counted = result(&[0, 0, KEY, 1, PADDED, 32]);
    guest.body(
        "on-leader-process-task-response",
        &format!("{padded} {counted} (i32.store (i32.const {}) (i32.load (local.get 0)))", SCRATCH + 4),
    );
}

/// Of these, each version keeps the first request it ever gets, unless one of them kept one before, and answers with what
/// is kept.
pub fn keeper(number: u8) -> Bundle {
    keeping(number, false)
}

/// As [`keeper`], but each request is kept over what was there.
pub fn scribbler(number: u8) -> Bundle {
    keeping(number, true)
}

fn keeping(number: u8, always: bool) -> Bundle {
    let mut guest = Guest { imports: IMPORT_KEYVALUE.to_owned(), ..Guest::default() };
    guest.extra = format!("(data (i32.const {NAME}) \"kept\")");
    guest.world.push_str(&format!("import {KEYVALUE}; import {ATOMICS};"));
    let (first, length) = (SCRATCH + 12, SCRATCH + 16);
    let answered = result(&[0, first, 1]);
    guest.body(
        "on-task-request",
        &format!(
            "(local $b i32) (local $found i32)
             (call $kv_open (i32.const 0) (i32.const 0) (i32.const {OUT}))
             (local.set $b (i32.load (i32.const {opened})))
             (call $kv_get (local.get $b) (i32.const {NAME}) (i32.const 4) (i32.const {OUT}))
             (local.set $found (i32.load8_u (i32.const {opened})))
             (if (local.get $found)
               (then
                 (i32.store (i32.const {first}) (i32.load (i32.const {text})))
                 (i32.store (i32.const {length}) (i32.load (i32.const {text_length}))))
               (else
                 (i32.store (i32.const {first}) (local.get 1))
                 (i32.store (i32.const {length}) (local.get 2))))
             (if (i32.or (i32.eqz (local.get $found)) (i32.const {always}))
               (then (call $kv_set
                 (local.get $b) (i32.const {NAME}) (i32.const 4) (local.get 1) (local.get 2) (i32.const {OUT}))))
             {answered}",
            always = u8::from(always),
            opened = OUT + 4,
            text = OUT + 8,
            text_length = OUT + 12,
        ),
    );
    signing_what_it_says(&mut guest);
    let manifest = manifest("imports = [\"keyvalue\"]", &format!("fuel = {}", 100_000_000 + u32::from(number)));
    Bundle::new(guest.component(), manifest)
}

/// Answers with what its operator set as `answer`, which is 8 characters long.
pub fn opinion() -> Bundle {
    let mut guest = Guest { imports: IMPORT_CONFIG_GET.to_owned(), ..Guest::default() };
    guest.extra = format!("(data (i32.const {NAME}) \"answer\")");
    guest.world.push_str("import wasi:config/store@0.2.0-rc.1;");
    // An optional text in a result: the text's place and length are its third and fourth word.
    let (text, length) = (OUT + 8, OUT + 12);
    guest.body(
        "on-task-request",
        &format!(
            "(call $config_get (i32.const {NAME}) (i32.const 6) (i32.const {OUT}))
             (i32.store (i32.const {}) (i32.load (i32.const {text})))
             (i32.store (i32.const {}) (i32.load (i32.const {length})))
             {}",
            SCRATCH + 12,
            SCRATCH + 16,
            result(&[0, SCRATCH + 12, 1])
        ),
    );
    signing_what_it_says(&mut guest);
    Bundle::new(guest.component(), configurable())
}

/// Version 0 of those that answer with their number, under a manifest by which operators may set an `answer`.
pub fn settable() -> Bundle {
    let bundle = version(0, 0);
    Bundle::new(bundle.component().clone(), configurable())
}

fn configurable() -> String {
    manifest("imports = [\"config\"]", "[config.answer]\ntype = \"string\"\ndefault = \"as usual\"")
}
