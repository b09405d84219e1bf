//! Ways out that are none. The resolver says what each test wants; the connector only records and answers from memory, so
//! that nothing is ever dialled, even where the check under test is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: what fails here is to fail the test"
)]

mod limits;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_env::sim::TokioClock;
use eigenshift_env::{Listener, Net, Stream};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::send::{Exchange, Failed, in_wasi};
use super::{Client, HttpPolicy, Limits};
use crate::capability::egress::{Pattern, Policy, Rule};

type Serve = Arc<dyn Fn(DuplexStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// The network of a test: names lead where it says, whoever is dialled is `serve`.
#[derive(Clone)]
struct Recorder {
    /// Answers of the resolver, one after the other; the last one stays.
    answers: Arc<Mutex<Vec<Vec<&'static str>>>>,
    /// How long each look-up takes.
    thinks: Duration,
    looked_up: Arc<Mutex<Vec<String>>>,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
    serve: Serve,
}

const PUBLIC: &str = "93.184.216.34";

impl Recorder {
    fn new(serve: Serve) -> Self {
        let answers = Arc::new(Mutex::new(vec![vec![PUBLIC]]));
        Self { answers, thinks: Duration::ZERO, looked_up: Arc::default(), dialled: Arc::default(), serve }
    }

    fn leading_to(self, answers: &[&[&'static str]]) -> Self {
        *self.answers.lock() = answers.iter().map(|answer| answer.to_vec()).collect();
        self
    }

    fn dialled(&self) -> Vec<String> {
        self.dialled.lock().iter().map(ToString::to_string).collect()
    }
}

impl Net for Recorder {
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        panic!("{authority} is dialled by its name: it would be looked up again");
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.looked_up.lock().push(host.to_owned());
        let mut answers = self.answers.lock();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        let found = answer.into_iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
        let thinks = self.thinks;
        async move {
            tokio::time::sleep(thinks).await;
            Ok(found)
        }
        .boxed()
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        self.dialled.lock().push(address);
        let (near, far) = tokio::io::duplex(16 * 1024);
        tokio::spawn((self.serve)(far));
        std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)).boxed()
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        panic!("a client does not listen");
    }
}

/// Reads a request's head.
async fn head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers with these bytes and closes; keeps what it read.
fn replying(reply: &'static [u8]) -> (Serve, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let serve: Serve = Arc::new(move |mut stream| {
        let kept = Arc::clone(&kept);
        async move {
            let head = head(&mut stream).await;
            kept.lock().push(head);
            // Whoever asked may have gone.
            let _ = stream.write_all(reply).await;
        }
        .boxed()
    });
    (serve, seen)
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn limits() -> Limits {
    Limits {
        rules: rules(&["http://api.example.org", "http://api.example.org:8080", "https://api.example.org"]),
        request_bytes: 1000,
        response_bytes: 1000,
        timeout: Duration::from_secs(5),
        concurrency: 4,
        requests_per_call: 8,
    }
}

fn client(net: &Recorder, policy: HttpPolicy) -> Arc<Client> {
    Arc::new(Client::over(Arc::new(net.clone()), Arc::new(TokioClock::new()), policy))
}

fn empty() -> WasiBody {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

fn get(url: &str) -> Request<WasiBody> {
    Request::get(url).body(empty()).unwrap()
}

type Answer = (StatusCode, HeaderMap, Vec<u8>);

/// Decides, sends, and reads all of the answer, as the hooks and a guest do.
async fn fetch(client: &Arc<Client>, limits: Limits, request: Request<WasiBody>) -> Result<Answer, Error> {
    let url = request.uri().to_string();
    let target = client.decide(&limits, request.method().as_str(), &url).map_err(|denied| in_wasi(&denied))?;
    let call_slots = Arc::new(Semaphore::new(limits.concurrency as usize));
    let options = RequestOptions::default();
    let exchange = Exchange { target, request, options, limits: Arc::new(limits), call_slots };
    let answered = client.send(exchange).await.map_err(|failed| match failed {
        Failed::Denied(denied) => in_wasi(&denied),
        Failed::Error(error) => error,
    })?;
    let driving = tokio::spawn(answered.connection);
    let (parts, body) = answered.response.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    driving.abort();
    Ok((parts.status, parts.headers, body))
}

#[tokio::test]
async fn a_request_goes_where_it_was_decided_with_the_host_that_was_decided() {
    let (serve, seen) = replying(HELLO);
    let net = Recorder::new(serve);
    let client = client(&net, HttpPolicy::default());
    let mut request = get("http://API.example.org:8080/v1?x=1");
    request.headers_mut().insert("accept", "text/plain".parse().unwrap());
    let (status, _, body) = fetch(&client, limits(), request).await.unwrap();
    assert_eq!((status, body.as_slice()), (StatusCode::OK, b"hello".as_slice()));
    let head = seen.lock()[0].to_lowercase();
    assert!(head.starts_with("get /v1?x=1 http/1.1\r\n"), "{head}");
    assert_eq!(head.matches("host:").count(), 1, "{head}");
    assert!(head.contains("host: api.example.org:8080\r\n"), "{head}");
    assert_eq!(*net.looked_up.lock(), ["api.example.org"], "once");
    assert_eq!(net.dialled(), ["93.184.216.34:8080"]);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_dialled_by_none_of_its_addresses() {
    for inside in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00::1",
        "fd00:ec2::254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
    ] {
        let net = Recorder::new(replying(HELLO).0).leading_to(&[&[inside]]);
        let error = fetch(&client(&net, HttpPolicy::default()), limits(), get("http://api.example.org/")).await;
        assert!(matches!(error, Err(Error::DestinationIpProhibited)), "{inside}: {error:?}");
        assert!(net.dialled().is_empty(), "{inside}");
    }
    // Beside a public one it is left out.
    let net = Recorder::new(replying(HELLO).0).leading_to(&[&["10.0.0.5", "127.0.0.1", PUBLIC, "::1"]]);
    fetch(&client(&net, HttpPolicy::default()), limits(), get("http://api.example.org/")).await.unwrap();
    assert_eq!(net.dialled(), ["93.184.216.34:80"]);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_asked_once_and_taken_at_its_word() {
    let net = Recorder::new(replying(HELLO).0).leading_to(&[&[PUBLIC], &["127.0.0.1"]]);
    let client = client(&net, HttpPolicy::default());
    fetch(&client, limits(), get("http://api.example.org/")).await.unwrap();
    let again = fetch(&client, limits(), get("http://api.example.org/")).await;
    assert!(matches!(again, Err(Error::DestinationIpProhibited)), "{again:?}");
    assert_eq!((net.dialled().len(), net.looked_up.lock().len()), (1, 2));
}

#[tokio::test]
async fn addresses_written_out_are_nothing_else_than_addresses() {
    let listed = [
        "http://127.0.0.1",
        "http://[::1]",
        "http://[::ffff:127.0.0.1]",
        "http://169.254.169.254",
        "http://10.1.2.3",
        "http://0.0.0.0",
    ];
    for address in listed {
        let net = Recorder::new(replying(HELLO).0);
        let limits = Limits { rules: rules(&listed), ..limits() };
        let error = fetch(&client(&net, HttpPolicy::default()), limits, get(address)).await;
        assert!(matches!(error, Err(Error::DestinationIpProhibited)), "{address}: {error:?}");
        assert!(net.dialled().is_empty() && net.looked_up.lock().is_empty(), "{address}");
    }
}

#[tokio::test]
async fn what_is_denied_by_its_url_is_not_even_looked_up() {
    let net = Recorder::new(replying(HELLO).0);
    let client = client(&net, HttpPolicy::default());
    for url in [
        "http://evil.org/",
        "http://api.example.org@evil.org/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://127.1/",
        "http://api.example.org.evil.org/",
        "http://api.example.org:81/",
        "https://api.example.org:8080/",
    ] {
        assert!(fetch(&client, limits(), get(url)).await.is_err(), "{url}");
    }
    for (method, url) in [("CONNECT", "http://api.example.org/"), ("TRACE", "http://api.example.org/")] {
        let request = Request::builder().method(method).uri(url).body(empty()).unwrap();
        let error = fetch(&client, limits(), request).await;
        assert!(matches!(error, Err(Error::HttpRequestMethodInvalid)), "{method}: {error:?}");
    }
    assert!(net.dialled().is_empty() && net.looked_up.lock().is_empty());
}

#[tokio::test]
async fn a_version_that_is_not_active_sends_only_what_changes_nothing() {
    let net = Recorder::new(replying(HELLO).0).leading_to(&[&["93.184.215.14"]]);
    let reads = client(&net, HttpPolicy { reads_only: true, ..HttpPolicy::default() });
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = Request::builder().method(method).uri("http://api.example.org/").body(empty()).unwrap();
        let error = fetch(&reads, limits(), request).await;
        assert!(matches!(error, Err(Error::HttpRequestMethodInvalid)), "{method}: {error:?}");
    }
    assert!(net.dialled().is_empty());
    fetch(&reads, limits(), get("http://api.example.org/")).await.unwrap();
    assert_eq!(net.dialled().len(), 1);
}

#[tokio::test]
async fn the_operators_list_narrows_and_its_exceptions_open_what_they_name() {
    let net = Recorder::new(replying(HELLO).0).leading_to(&[&["127.0.0.1"]]);
    let narrow = HttpPolicy { allow: Some(rules(&["http://api.example.org:8080"])), ..HttpPolicy::default() };
    let error = fetch(&client(&net, narrow), limits(), get("http://api.example.org/")).await;
    assert!(matches!(error, Err(Error::HttpRequestDenied)), "{error:?}");

    let host = crate::capability::egress::Host::Name("api.example.org".to_owned());
    let allow = vec![(Pattern::Exact(host), "127.0.0.1".parse().unwrap())];
    let open = HttpPolicy { addresses: Policy { allow }, ..HttpPolicy::default() };
    fetch(&client(&net, open.clone()), limits(), get("http://api.example.org/")).await.unwrap();
    assert_eq!(net.dialled(), ["127.0.0.1:80"]);
    let other = Recorder::new(replying(HELLO).0).leading_to(&[&["127.0.0.2"]]);
    assert!(fetch(&client(&other, open), limits(), get("http://api.example.org/")).await.is_err());
    assert!(other.dialled().is_empty());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_follows_it() {
    let (serve, _) = replying(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n");
    let net = Recorder::new(serve);
    let (status, headers, _) =
        fetch(&client(&net, HttpPolicy::default()), limits(), get("http://api.example.org/")).await.unwrap();
    assert_eq!((status, &headers["location"]), (StatusCode::FOUND, &"http://169.254.169.254/".parse().unwrap()));
    assert_eq!((net.dialled().len(), net.looked_up.lock().len()), (1, 1));
}

#[tokio::test]
async fn fields_of_the_connection_and_of_the_host_are_refused() {
    let net = Recorder::new(replying(HELLO).0);
    let client = client(&net, HttpPolicy::default());
    for name in [
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "http2-settings",
    ] {
        let mut request = get("http://api.example.org/");
        request.headers_mut().insert(name, "evil.org".parse().unwrap());
        assert!(fetch(&client, limits(), request).await.is_err(), "{name}");
    }
    for many in [65, 1000] {
        let mut request = get("http://api.example.org/");
        for number in 0..many {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            request.headers_mut().insert(name, "y".parse().unwrap());
        }
        let error = fetch(&client, limits(), request).await;
        assert!(matches!(error, Err(Error::HttpRequestHeaderSectionSize(_))), "{error:?}");
    }
    let mut request = get("http://api.example.org/");
    request.headers_mut().insert("x", "y".repeat(33 * 1024).parse().unwrap());
    assert!(fetch(&client, limits(), request).await.is_err());
    assert!(net.dialled().is_empty());
}

#[test]
fn addresses_of_the_tests_are_what_they_are_meant_to_be() {
    assert!(PUBLIC.parse::<IpAddr>().is_ok());
}
