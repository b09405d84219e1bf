//! Both listeners of a running node: paths, methods, the admin token, idempotency keys.

use eigenshift_node::identity;
use eigenshift_types::Outcome;
use serde_json::json;

use crate::cluster::{Cluster, Plan};
use crate::http::{Answer, ask};

async fn alone() -> (Cluster, String, String) {
    let cluster = Cluster::start(Plan { admin: true, ..Plan::of(1) }).await;
    let admin = format!("http://{}", cluster.node(0).admin_addr().unwrap());
    let token = identity::admin_token(&cluster.env, &cluster.operators[0].directory).unwrap().to_string();
    (cluster, admin, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_methods_and_names_are_refused_with_codes() {
    let (cluster, admin, token) = alone().await;
    let public = cluster.http_url(0);
    let authorized = format!("Bearer {token}");
    let headers = [("authorization", authorized.as_str())];
    let own = |rest: &str| cluster.path(rest);
    let cases: Vec<(&str, &str, String, u16, &str)> = vec![
        (&public, "GET", "/".into(), 404, "unknown-path"),
        (&public, "GET", "/v2/health".into(), 404, "unknown-path"),
        (&public, "GET", own("join/challenge/x"), 404, "unknown-path"),
        (&public, "POST", own("rotate"), 404, "unknown-path"),
        (&public, "DELETE", "/v1/health".into(), 405, "wrong-method"),
        (&public, "GET", own("join"), 405, "wrong-method"),
        (&public, "POST", own("tasks"), 405, "wrong-method"),
        (&public, "GET", own("responses"), 405, "wrong-method"),
        (&public, "GET", "/v1/avs/nobody/status".into(), 404, "unknown-avs"),
        (&public, "POST", "/v1/avs/NO!/join".into(), 404, "unknown-avs"),
        (&public, "GET", own("tasks/9"), 404, "unknown-task"),
        (&public, "GET", own("tasks/many"), 400, "malformed"),
        (&public, "GET", own("tasks/-1"), 400, "malformed"),
        (&public, "GET", own("tasks?limit=x"), 400, "malformed"),
        (&public, "GET", own("tasks?colour=red"), 400, "malformed"),
        (&admin, "GET", "/".into(), 404, "unknown-path"),
        (&admin, "GET", own("rotate"), 405, "wrong-method"),
        (&admin, "POST", "/v1/avs/nobody/rotate".into(), 404, "unknown-avs"),
    ];
    for (base, method, path, status, code) in cases {
        let answer = ask(&cluster.env, base, method, &path, &headers, b"").await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{method} {path}");
    }
    let health = ask(&cluster.env, &public, "GET", "/v1/health", &[], b"").await;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("ok")));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_answers_only_to_its_token() {
    let (cluster, admin, token) = alone().await;
    let path = cluster.path("tasks");
    let body = br#"{"payload":"0x01"}"#;
    let wrong = format!("Bearer {}", "0".repeat(token.len()));
    let cut = format!("Bearer {}", &token[..token.len() - 1]);
    let basic = format!("Basic {token}");
    for given in [None, Some(wrong.as_str()), Some(cut.as_str()), Some(basic.as_str()), Some(token.as_str()), Some("")]
    {
        let mut headers = vec![("idempotency-key", "k")];
        headers.extend(given.map(|given| ("authorization", given)));
        for (method, path) in [("POST", path.as_str()), ("GET", "/v1/avs"), ("GET", "/nowhere")] {
            let answer = ask(&cluster.env, &admin, method, path, &headers, body).await;
            assert_eq!(answer.refusal(), (401, "unauthorized".to_owned()), "{given:?} {method} {path}");
        }
    }
    assert_eq!(cluster.handle(0).read(|state| state.tasks.len()), 0);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_makes_one_task() {
    let (cluster, admin, token) = alone().await;
    let authorized = format!("Bearer {token}");
    let path = cluster.path("tasks");
    let create = async |key: Option<&str>, body: &[u8]| -> Answer {
        let mut headers = vec![("authorization", authorized.as_str())];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        ask(&cluster.env, &admin, "POST", &path, &headers, body).await
    };
    let body = br#"{"payload":"0x0102"}"#.as_slice();
    let long = "k".repeat(129);
    for key in [None, Some(""), Some(long.as_str())] {
        assert_eq!(create(key, body).await.refusal(), (400, "no-idempotency-key".to_owned()), "{key:?}");
    }
    for bad in [b"".as_slice(), b"{}", br#"{"payload":"0xzz"}"#, br#"{"payload":"0x01","more":1}"#] {
        assert_eq!(create(Some("key"), bad).await.refusal(), (400, "malformed".to_owned()));
    }
    let large = format!(r#"{{"payload":"0x{}"}}"#, "00".repeat(300 * 1024));
    assert_eq!(create(Some("key"), large.as_bytes()).await.refusal(), (413, "too-large".to_owned()));

    let first = create(Some("key"), body).await;
    assert_eq!((first.status, &first.body["outcome"]), (200, &json!("task")), "{first:?}");
    let index = u32::try_from(first.body["index"].as_u64().unwrap()).unwrap();
    // While it is open or after it has ended, with the same or another payload: the key is used.
    for payload in [body, br#"{"payload":"0x03"}"#] {
        let again = create(Some("key"), payload).await;
        assert_eq!((again.status, &again.body["outcome"]), (200, &json!("used")), "{again:?}");
    }
    assert_eq!(cluster.ended(index).await.1, Outcome::Done);
    assert_eq!(cluster.handle(0).read(|state| state.tasks.len()), 1);
    // All at once.
    let (a, b, c) = tokio::join!(create(Some("other"), body), create(Some("other"), body), create(Some("other"), body));
    let made = [&a, &b, &c].iter().filter(|answer| answer.body["outcome"] == json!("task")).count();
    assert!(made >= 1, "{a:?} {b:?} {c:?}");
    assert_eq!(cluster.handle(0).read(|state| state.tasks.len()), 2);
    cluster.end().await;
}
