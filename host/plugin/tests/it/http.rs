//! `wasi:http` from inside the sandbox: whose requests are sent, and what a guest reads of the answer. The network is in
//! memory: nothing is ever dialled.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use eigenshift_env::{Env, Listener, Net, Stream};
use eigenshift_plugin::{CallError, Grants, Host, HttpPolicy, Import, LoadError, Plugin, Task, TenantOptions};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixtures::{chain, options, peer, task};
use crate::guest::{ANSWER, DIGEST, Guest, KEY, SCRATCH, manifest, result};

const OUT: u32 = 8192;

/// Looks up to a public address, dials into memory, answers with what it was asked.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Vec<String>>>);

impl Net for Echo {
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        panic!("{authority} is dialled by its name");
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let inside = host.starts_with("inside");
        let address = if inside { [127, 0, 0, 1] } else { [93, 184, 216, 34] };
        std::future::ready(Ok(vec![SocketAddr::new(address.into(), port)])).boxed()
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (near, mut far) = tokio::io::duplex(1024);
        let heads = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(far.read_u8().await.unwrap());
            }
            heads.lock().unwrap().push(format!("{address} {}", String::from_utf8(head).unwrap()));
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer").await.unwrap();
        });
        std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)).boxed()
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        panic!("nobody listens");
    }
}

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
fn ask(authority: &str) -> String {
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

/// Cases of the error, as the guest gives them.
const PROHIBITED: &[u8] = b"E";
const LIMIT: &[u8] = b"L";
const DENIED: &[u8] = b"P";

fn asking(authority: &str) -> Guest {
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

fn listed(more: &str) -> String {
    let section = format!("[http]\nallow = [\"http://api.example.org\", \"http://inside.example.org\"]\n{more}");
    manifest("imports = [\"http\"]", &section)
}

async fn load(guest: &Guest, net: &Echo, policy: HttpPolicy) -> Result<Plugin, LoadError> {
    let env = Env { net: Arc::new(net.clone()), ..Env::real() };
    let host = Host::new(options(), &env).unwrap();
    let tenant = host.tenant_with(TenantOptions { http: policy, ..TenantOptions::default() });
    host.load_for(&tenant, guest.bundle(), &Grants::all()).await
}

async fn requested(plugin: &Plugin) -> Vec<u8> {
    plugin.on_task_request(&task(), chain()).await.unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_guest_reads_the_answer_of_a_host_that_both_lists_have() {
    let net = Echo::default();
    let plugin = load(&asking("api.example.org"), &net, HttpPolicy::default()).await.unwrap();
    assert_eq!(requested(&plugin).await, b"answer");
    let heads = net.0.lock().unwrap().clone();
    assert_eq!(heads.len(), 1, "at load nothing is sent");
    assert!(heads[0].starts_with("93.184.216.34:80 GET /p?q HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("host: api.example.org\r\n"), "{heads:?}");
    assert_eq!((plugin.counters().http_requests, plugin.counters().http_refused), (1, 0));
}

#[tokio::test]
async fn whoever_may_not_ask_is_denied_and_nothing_is_dialled() {
    let net = Echo::default();
    for (authority, case) in [
        ("evil.example.org", DENIED),
        ("api.example.org:81", DENIED),
        ("inside.example.org", PROHIBITED),
        ("127.0.0.1", DENIED),
    ] {
        let plugin = load(&asking(authority), &net, HttpPolicy::default()).await.unwrap();
        assert_eq!(requested(&plugin).await, case, "{authority}");
        assert_eq!((plugin.counters().http_requests, plugin.counters().http_refused), (1, 1), "{authority}");
    }
    let narrow = HttpPolicy { allow: Some(Vec::new()), ..HttpPolicy::default() };
    assert_eq!(requested(&load(&asking("api.example.org"), &net, narrow).await.unwrap()).await, DENIED);

    // The pure callbacks, and a bundle whose manifest does not list it.
    let plugin = load(&asking("api.example.org"), &net, HttpPolicy::default()).await.unwrap();
    assert_eq!(plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap()[0].payload[..], *DENIED);
    let counted = plugin.on_leader_process_task_response(&task(), &peer()).await.unwrap();
    assert_eq!(counted.key.as_bytes()[..], *DENIED);
    let mut silent = asking("api.example.org");
    silent.manifest = manifest("", "");
    assert_eq!(requested(&load(&silent, &net, HttpPolicy::default()).await.unwrap()).await, DENIED);
    assert!(net.0.lock().unwrap().is_empty());

    let env = Env { net: Arc::new(net.clone()), ..Env::real() };
    let log: Grants = [Import::Log].into_iter().collect();
    let error = Host::new(options(), &env).unwrap().load(asking("api.example.org").bundle(), &log).await.unwrap_err();
    assert_eq!(error, LoadError::ImportNotGranted { import: Import::Http });
}

#[tokio::test]
async fn a_call_has_so_many_requests_and_no_more() {
    let net = Echo::default();
    let twice = asking("api.example.org");
    let body = &twice.bodies["eigenshift:avs/task-lifecycle@0.1.0#on-task-request"];
    // The same once more, without its locals.
    let again = body.split_once("(local.set $r").map(|(_, rest)| format!("(local.set $r{rest}")).unwrap();
    let again = again.replace("$done", "$again");
    let first = ask("api.example.org");
    let mut guest = twice.clone();
    guest.body("on-task-request", &format!("{first} {again}"));
    guest.manifest = listed("requests-per-call = 1");
    let plugin = load(&guest, &net, HttpPolicy::default()).await.unwrap();
    assert_eq!(requested(&plugin).await, LIMIT);
    assert_eq!(net.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_that_fails_in_a_kept_instance_and_is_run_again_has_its_requests_once() {
    let net = Echo::default();
    let mut guest = asking("api.example.org");
    let body = guest.bodies["eigenshift:avs/task-lifecycle@0.1.0#on-task-request"].clone();
    let (locals, asks) = body.split_once("(local.set $r").unwrap();
    // The first task only marks the instance. Whoever asks in a marked one fails.
    let mark = format!("(global.set $marked (i32.const 1)) (return {})", result(&[0, SCRATCH, 0]));
    let fails = "(if (global.get $marked) (then unreachable))";
    let asks = asks.replacen("(block $done", &format!("{fails} (block $done"), 1);
    guest.body(
        "on-task-request",
        &format!("{locals} (if (i32.eq (local.get 0) (i32.const 7)) (then {mark})) (local.set $r{asks}"),
    );
    guest.extra.push_str("(global $marked (mut i32) (i32.const 0))");
    guest.manifest = listed("requests-per-call = 1\n[runtime]\nreuse-calls = 100");
    let plugin = load(&guest, &net, HttpPolicy::default()).await.unwrap();
    plugin.on_task_request(&task(), chain()).await.unwrap();
    let second = Task { index: 8, ..task() };
    assert_eq!(plugin.on_task_request(&second, chain()).await.unwrap()[0], *LIMIT);
    assert_eq!(plugin.counters().http_requests, 1);
}

#[tokio::test]
async fn fields_that_are_this_hosts_or_two_lines_are_refused_where_they_are_set() {
    let append = |name: &str, value: &str| {
        format!(
            "(call $append (call $fields) (i32.const 9200) (i32.const {}) (i32.const 9300) (i32.const {}) (i32.const {OUT}))
             (i32.store8 (i32.const 9900) (i32.add (i32.const 48) (i32.load8_u (i32.const {OUT})))) {}",
            name.len(),
            value.len(),
            result(&[0, SCRATCH + 12, 1, 9900, 1])
        )
    };
    for (name, value, refused) in [
        ("x-own", "fine", b"0"),
        ("host", "evil.org", b"1"),
        ("Host", "evil.org", b"1"),
        ("te", "trailers", b"1"),
        ("transfer-encoding", "chunked", b"1"),
        ("x-own", "a\\0d\\0aHost: evil.org", b"1"),
        ("x\\0d\\0ay", "z", b"1"),
        ("x-own", "a\\00b", b"1"),
    ] {
        let mut guest = asking("api.example.org");
        let len = |text: &str| text.to_owned().replace("\\0d\\0a", "..").replace("\\00", ".");
        guest.extra.push_str(&format!("(data (i32.const 9200) \"{name}\") (data (i32.const 9300) \"{value}\")"));
        guest.body("on-task-request", &append(&len(name), &len(value)));
        let plugin = load(&guest, &Echo::default(), HttpPolicy::default()).await.unwrap();
        assert_eq!(requested(&plugin).await, refused, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_guest_that_stops_waiting_for_an_answer_is_cut_off_at_its_deadline() {
    #[derive(Clone)]
    struct Silent(Arc<Mutex<Vec<tokio::io::DuplexStream>>>);
    impl Net for Silent {
        fn connect(&self, _: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
            panic!("dialled by name");
        }
        fn resolve(&self, _: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            std::future::ready(Ok(vec![SocketAddr::new([93, 184, 216, 34].into(), port)])).boxed()
        }
        fn dial(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
            let (near, far) = tokio::io::duplex(1024);
            self.0.lock().unwrap().push(far);
            std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)).boxed()
        }
        fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
            panic!("nobody listens");
        }
    }
    let net = Silent(Arc::default());
    let env = Env { net: Arc::new(net.clone()), ..Env::real() };
    let options = eigenshift_plugin::HostOptions { call_deadline: std::time::Duration::from_millis(300), ..options() };
    let host = Host::new(options, &env).unwrap();
    let plugin = host.load(asking("api.example.org").bundle(), &Grants::all()).await.unwrap();
    let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
    assert_eq!(error, CallError::Deadline);
    // Its connection is closed with it.
    let mut far = net.0.lock().unwrap().pop().unwrap();
    let read = async { while far.read_u8().await.is_ok() {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), read).await.unwrap();
}
