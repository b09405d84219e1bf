//! Guests that send requests to other hosts.

use crate::guest::{ANSWER, DIGEST, Guest, KEY, SCRATCH, manifest, result};

/// Where results of the interface lie.
pub const OUT: u32 = 8192;

const IMPORTS: &str = r#"
    (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.0" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
      (func $path (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
      (func $scheme (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
      (func $authority (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $handle (param i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
      (func $subscribe (param i32) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get" (func $get (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-response.consume" (func $consume (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $stream (param i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))"#;

/// Asks for `http://AUTHORITY/p?q`; leaves the place of the answer's bytes in `$at` and `$len`, or of a byte: `A` and on for
/// the error's case.
pub fn ask(authority: &str) -> String {
    let len = authority.len();
    format!(
        "(local $r i32) (local $f i32) (local $at i32) (local $len i32)
         (local.set $r (call $request (call $fields)))
         (drop (call $scheme (local.get $r) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
         (drop (call $path (local.get $r) (i32.const 1) (i32.const 9000) (i32.const 4)))
         (drop (call $authority (local.get $r) (i32.const 1) (i32.const 9010) (i32.const {len})))
         (call $handle (local.get $r) (i32.const 0) (i32.const 0) (i32.const {OUT}))
         (block $done
           (if (i32.load8_u (i32.const {OUT}))
             (then {at_8} (br $done)))
           (local.set $f (i32.load (i32.const {})))
           (call $block (call $subscribe (local.get $f)))
           (call $get (local.get $f) (i32.const {OUT}))
           (if (i32.load8_u (i32.const {}))
             (then {at_24} (br $done)))
           (call $consume (i32.load (i32.const {})) (i32.const {OUT}))
           (call $stream (i32.load (i32.const {})) (i32.const {OUT}))
           (call $read (i32.load (i32.const {})) (i64.const 100) (i32.const {OUT}))
           (local.set $at (i32.load (i32.const {}))) (local.set $len (i32.load (i32.const {}))))",
        OUT + 8,
        OUT + 16,
        OUT + 24,
        OUT + 4,
        OUT + 4,
        OUT + 4,
        OUT + 8,
        at_8 = case(OUT + 8),
        at_24 = case(OUT + 24),
    )
}

fn case(at: u32) -> String {
    format!(
        "(i32.store8 (i32.const 9900) (i32.add (i32.const 65) (i32.load8_u (i32.const {at}))))
         (local.set $at (i32.const 9900)) (local.set $len (i32.const 1))"
    )
}

fn put(at: u32) -> String {
    format!("(i32.store (i32.const {at}) (local.get $at)) (i32.store (i32.const {}) (local.get $len))", at + 4)
}

/// Asks for `http://AUTHORITY/p?q` in every callback, and answers with what it was answered.
pub fn asking(authority: &str) -> Guest {
    let s = SCRATCH;
    let body = format!("{} {} {}", ask(authority), result(&[0, s + 12, 1, 0, 0]), put(s + 12));
    let mut guest = Guest::with("on-task-request", &body);
    let signed = result(&[0, s + 12, 1, KEY, 1, 0, 0, DIGEST, 32, ANSWER, 0]);
    guest.body("on-submit-task-to-leader", &format!("{} {signed} {}", ask(authority), put(s + 20)));
    let counted = result(&[0, 7, 0, 0, DIGEST, 32]);
    guest.body("on-leader-process-task-response", &format!("{} {counted} {}", ask(authority), put(s + 8)));
    guest.imports = IMPORTS.to_owned();
    guest.extra = format!("(data (i32.const 9000) \"/p?q\") (data (i32.const 9010) \"{authority}\")");
    guest.world.push_str(
        "import wasi:http/types@0.2.0; import wasi:http/outgoing-handler@0.2.0; import wasi:io/poll@0.2.0;
         import wasi:io/streams@0.2.0;",
    );
    guest.manifest = listed("");
    guest
}

/// A manifest with these keys in its `[http]`.
pub fn listed(more: &str) -> String {
    let section = format!("[http]\nallow = [\"http://api.example.org\", \"http://inside.example.org\"]\n{more}");
    manifest("imports = [\"http\"]", &section)
}
