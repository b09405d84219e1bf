//! The listeners' routes without an AVS behind them. With one they are tested in `eigenshift-node`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use eigenshift_api::admin::{self, Token};
use eigenshift_api::avss::{AvsEntry, Phase, Standing};
use eigenshift_api::error::ErrorBody;
use eigenshift_api::hosting::Hosting;
use eigenshift_api::logs::Page;
use eigenshift_api::public::Health;
use eigenshift_api::{ApiError, Avss, Logs, public};
use eigenshift_env::Env;
use eigenshift_types::AvsId;
use http::{Request, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::ServiceExt;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn public_router() -> Router {
    public::router(Env::real(), Avss::default())
}

/// A node that does as it is told, and writes it down.
#[derive(Default)]
struct Obedient(Mutex<Vec<String>>);

impl Obedient {
    fn told(&self, what: &str, avs: &AvsId) -> Result<(), ApiError> {
        self.0.lock().push(format!("{what} {avs}"));
        if avs.as_str() == "busy" { Err(ApiError::new(409, "operation-under-way", "wait")) } else { Ok(()) }
    }
}

#[async_trait]
impl Hosting for Obedient {
    async fn add(&self, avs: &AvsId) -> Result<(), ApiError> {
        self.told("add", avs)
    }
    async fn pause(&self, avs: &AvsId) -> Result<(), ApiError> {
        self.told("pause", avs)
    }
    async fn resume(&self, avs: &AvsId) -> Result<(), ApiError> {
        self.told("resume", avs)
    }
    async fn remove(&self, avs: &AvsId, force: bool) -> Result<(), ApiError> {
        self.told(if force { "force" } else { "remove" }, avs)
    }
}

fn admin_over(avss: Avss, logs: Logs, hosting: Arc<Obedient>) -> Router {
    admin::router(Env::real(), avss, logs, hosting, Token::new(TOKEN.to_owned()).unwrap())
}

fn admin_router() -> Router {
    admin_over(Avss::default(), Logs::default(), Arc::default())
}

async fn ask(router: Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn refusal(router: Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (status, body) = ask(router, method, path, headers).await;
    let body: ErrorBody = serde_json::from_slice(&body).unwrap();
    assert!(!body.message.is_empty());
    (status, body.code)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn unknown_paths_are_refused_with_a_code() {
    for path in ["/", "/v1", "/v1/avs/", "/v1/avs/a/b/c/d", "/v1/../etc", "/metrics/x"] {
        assert_eq!(refusal(public_router(), "GET", path, &[]).await, refused(404, "unknown-path"), "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_are_refused_with_a_code() {
    for (method, path) in [
        ("POST", "/v1/health"),
        ("PUT", "/v1/avs"),
        ("DELETE", "/v1/avs/a/tasks/1"),
        ("GET", "/v1/avs/a/join"),
        ("GET", "/v1/avs/a/join/challenge"),
        ("PATCH", "/v1/avs/a/responses"),
        ("POST", "/metrics"),
    ] {
        let found = refusal(public_router(), method, path, &[]).await;
        assert_eq!(found, refused(405, "wrong-method"), "{method} {path}");
    }
}

#[tokio::test]
async fn an_avs_that_is_not_here_is_unknown_whatever_its_name() {
    let long = format!("/v1/avs/{}/status", "a".repeat(65));
    for path in ["/v1/avs/absent/status", "/v1/avs/ABSENT/tasks", "/v1/avs/%00/certificates", &long] {
        assert_eq!(refusal(public_router(), "GET", path, &[]).await, refused(404, "unknown-avs"), "{path}");
    }
    for path in ["/v1/avs/absent/join", "/v1/avs/absent/join/challenge", "/v1/avs/absent/responses"] {
        assert_eq!(refusal(public_router(), "POST", path, &[]).await, refused(404, "unknown-avs"), "{path}");
    }
}

#[tokio::test]
async fn paths_that_are_no_text_and_indices_that_are_no_numbers_are_malformed() {
    for path in ["/v1/avs/%ff/status", "/v1/avs/a/tasks/x", "/v1/avs/a/tasks/4294967296"] {
        assert_eq!(refusal(public_router(), "GET", path, &[]).await, refused(400, "malformed"), "{path}");
    }
}

#[tokio::test]
async fn a_node_without_avss_is_healthy_and_lists_none() {
    let (status, body) = ask(public_router(), "GET", "/v1/health", &[]).await;
    let health: Health = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, health.status.as_str(), health.degraded.len()), (200, "ok", 0));
    assert_eq!(ask(public_router(), "GET", "/v1/avs", &[]).await, (200, b"[]".to_vec()));
}

#[tokio::test]
async fn nothing_of_the_admin_listener_answers_without_the_token() {
    let auth = header::AUTHORIZATION.as_str();
    let right = format!("Bearer {TOKEN}");
    let (short, lower) = (&right[..right.len() - 1], right.replace("Bearer", "bearer"));
    for (method, path) in [("GET", "/v1/avs"), ("POST", "/v1/avs/a/tasks"), ("GET", "/nowhere"), ("PUT", "/v1/avs")] {
        for headers in
            [&[][..], &[(auth, "")], &[(auth, "Bearer ")], &[(auth, TOKEN)], &[(auth, short)], &[(auth, &*lower)]]
        {
            let found = refusal(admin_router(), method, path, headers).await;
            assert_eq!(found, refused(401, "unauthorized"), "{method} {path} {headers:?}");
        }
    }
    assert_eq!(ask(admin_router(), "GET", "/v1/avs", &[(auth, &right)]).await, (200, b"[]".to_vec()));
    assert_eq!(refusal(admin_router(), "GET", "/nowhere", &[(auth, &right)]).await, refused(404, "unknown-path"));
    assert_eq!(refusal(admin_router(), "PUT", "/v1/avs", &[(auth, &right)]).await, refused(405, "wrong-method"));
    let absent = refusal(admin_router(), "POST", "/v1/avs/absent/rotate", &[(auth, &right)]).await;
    assert_eq!(absent, refused(404, "unknown-avs"));
}

fn failed(code: &str) -> Standing {
    Standing::Failed(ErrorBody { code: code.to_owned(), message: "why".to_owned() })
}

/// One AVS of each kind that does not answer.
fn standings() -> Avss {
    let avss = Avss::default();
    for (avs, standing) in [
        ("failed", failed("plugin-refused")),
        ("paused", Standing::Paused),
        ("starting", Standing::Starting),
        ("stopping", Standing::Stopping(None)),
    ] {
        avss.set(&avs.parse().unwrap(), standing);
    }
    avss
}

#[tokio::test]
async fn an_avs_that_does_not_run_is_not_unknown_and_only_what_should_run_makes_a_node_degraded() {
    let router = || public::router(Env::real(), standings());
    for avs in ["failed", "paused", "starting", "stopping"] {
        let path = format!("/v1/avs/{avs}/status");
        assert_eq!(refusal(router(), "GET", &path, &[]).await, refused(503, "avs-not-running"), "{avs}");
    }
    let (status, body) = ask(router(), "GET", "/v1/health", &[]).await;
    let health: Health = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, health.degraded), (503, vec!["failed".to_owned(), "starting".to_owned()]));
    assert_eq!(ask(router(), "GET", "/v1/avs", &[]).await, (200, b"[]".to_vec()), "none answers");
}

#[tokio::test]
async fn metrics_have_the_avss_of_the_node_and_those_that_were_removed_are_gone() {
    let avss = standings();
    let text =
        async || String::from_utf8(ask(public::router(Env::real(), avss.clone()), "GET", "/metrics", &[]).await.1);
    let all = text().await.unwrap();
    assert!(all.contains("eigenshift_avs_phase{avs=\"failed\",phase=\"failed\"} 1\n"), "{all}");
    assert_eq!(all.lines().count(), 4, "one line each: {all}");
    avss.remove(&"failed".parse().unwrap());
    let rest = text().await.unwrap();
    assert!(!rest.contains("avs=\"failed\"") && rest.lines().count() == 3, "{rest}");
}

#[tokio::test]
async fn the_administrator_sees_why_and_commands_by_name_alone() {
    let right = format!("Bearer {TOKEN}");
    let headers = [(header::AUTHORIZATION.as_str(), right.as_str())];
    let (hosting, logs) = (Arc::<Obedient>::default(), Logs::default());
    logs.open(&"a".parse().unwrap());
    logs.write("a", "first".to_owned());
    let router = || admin_over(standings(), logs.clone(), Arc::clone(&hosting));
    let (status, body) = ask(router(), "GET", "/v1/avs", &headers).await;
    let entries: Vec<AvsEntry> = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, entries.len()), (200, 4));
    assert_eq!(entries[0].failure.as_ref().unwrap().code, "plugin-refused");
    assert_eq!((entries[1].phase, &entries[1].failure), (Phase::Paused, &None));
    for path in ["a/add", "a/pause", "a/resume", "a/remove", "a/remove?force=false", "a/remove?force=true"] {
        assert_eq!(ask(router(), "POST", &format!("/v1/avs/{path}"), &headers).await.0, 200, "{path}");
    }
    assert_eq!(hosting.0.lock().join(", "), "add a, pause a, resume a, remove a, remove a, force a");
    assert_eq!(refusal(router(), "POST", "/v1/avs/busy/pause", &headers).await, refused(409, "operation-under-way"));
    for path in ["..%2Fetc/add", "A/pause", "a/remove?force=maybe", "a/remove?config=x", "%ff/resume"] {
        let found = refusal(router(), "POST", &format!("/v1/avs/{path}"), &headers).await;
        assert_eq!(found, refused(400, "malformed"), "{path}");
    }
    let (status, body) = ask(router(), "GET", "/v1/avs/a/logs?after=0", &headers).await;
    let page: Page = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, page.lines[0].text.as_str(), page.lost), (200, "first", 0));
    assert_eq!(refusal(router(), "GET", "/v1/avs/b/logs", &headers).await, refused(404, "unknown-avs"));
    assert_eq!(refusal(router(), "GET", "/v1/avs/a/logs?after=-1", &headers).await, refused(400, "malformed"));
    for path in ["/v1/avs/a/add", "/v1/avs/a/logs"] {
        assert_eq!(refusal(public_router(), "POST", path, &headers).await, refused(404, "unknown-path"), "{path}");
    }
}

#[test]
fn a_token_has_at_least_32_characters() {
    assert!(Token::new(TOKEN.to_owned()).is_some());
    assert!(Token::new(TOKEN[1..].to_owned()).is_none());
    assert!(Token::new(String::new()).is_none());
}

#[test]
fn the_admin_listener_stays_on_loopback() {
    let listens = |address: &str| admin::may_listen(address.parse::<SocketAddr>().unwrap());
    assert!(listens("127.0.0.1:1") && listens("127.8.8.8:0") && listens("[::1]:1"));
    assert!(!listens("0.0.0.0:1") && !listens("[::]:1") && !listens("192.168.0.1:1") && !listens("8.8.8.8:1"));
}
