//! `wasi:http` from inside the sandbox: whose requests are sent, and what a guest reads of the answer. The network is in
//! memory: nothing is ever dialled.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use eigenshift_env::{Env, Listener, Net, Stream};
use eigenshift_plugin::{Answers, CallError, Grants, Host, HttpPolicy, Import, LoadError, Plugin, Task, TenantOptions};
use eigenshift_types::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::asking::{OUT, ask, asking, listed};
use crate::fixtures::{chain, options, peer, task};
use crate::guest::{Guest, SCRATCH, manifest, result};

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

/// Cases of the error, as the guest gives them.
const PROHIBITED: &[u8] = b"E";
const LIMIT: &[u8] = b"L";
const DENIED: &[u8] = b"P";
const TOO_LARGE: &[u8] = b"]";

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

/// Answers one URL, and notes what else it hears.
#[derive(Debug, Default)]
struct Recorded(Mutex<Vec<String>>);

impl Answers for Recorded {
    fn answer(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        self.0.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        (request.uri() == "http://api.example.org/p?q").then(|| Response::new(Bytes::from_static(b"recorded")))
    }

    fn denied(&self, why: &str) {
        self.0.lock().unwrap().push(why.to_owned());
    }
}

#[tokio::test]
async fn recorded_answers_come_instead_of_the_network_s_and_under_the_same_rules() {
    /// As the guest gives it.
    const REFUSED: &[u8] = b"G";
    let net = Echo::default();
    for (authority, more, answer, noted) in [
        ("api.example.org", "", &b"recorded"[..], "GET http://api.example.org/p?q"),
        ("API.example.org:80", "", b"recorded", "GET http://api.example.org/p?q"),
        // No address is looked up, so none is blocked.
        ("inside.example.org", "", REFUSED, "GET http://inside.example.org/p?q"),
        ("evil.example.org", "", DENIED, "http://evil.example.org:80 is not on the allow-list"),
        ("api.example.org", "response-bytes = 7", TOO_LARGE, "GET http://api.example.org/p?q"),
    ] {
        let recorded = Arc::new(Recorded::default());
        let answers = Some(Arc::clone(&recorded) as Arc<dyn Answers>);
        let mut guest = asking(authority);
        guest.manifest = listed(more);
        let plugin = load(&guest, &net, HttpPolicy { answers, ..HttpPolicy::default() }).await.unwrap();
        assert_eq!(requested(&plugin).await, answer, "{authority} {more}");
        let heard = recorded.0.lock().unwrap().clone();
        assert!(heard.len() == 1 && heard[0].starts_with(noted), "{heard:?}");
    }
    assert!(net.0.lock().unwrap().is_empty());
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
