//! The listeners' routes without an AVS behind them. With one they are tested in `eigenshift-node`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use eigenshift_api::admin::{self, Token};
use eigenshift_api::error::ErrorBody;
use eigenshift_api::public::Health;
use eigenshift_api::{Avss, public};
use eigenshift_env::Env;
use http::{Request, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn public_router() -> Router {
    public::router(Env::real(), Avss::default())
}

fn admin_router() -> Router {
    admin::router(Env::real(), Avss::default(), Token::new(TOKEN.to_owned()).unwrap())
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
