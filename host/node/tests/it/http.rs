//! Requests as anybody could send them.

use eigenshift_env::Env;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::within;

/// A status, and what was said: `Null` when it is not JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// Status and code of a refusal, whose body is exactly `{code, message}`.
    pub fn refusal(&self) -> (u16, String) {
        let body = self.body.as_object().unwrap_or_else(|| panic!("no JSON object: {self:?}"));
        let keys: Vec<&str> = body.keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "message"], "{self:?}");
        assert!(self.status >= 400 && body["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        (self.status, body["code"].as_str().unwrap().to_owned())
    }
}

/// One request over a connection of its own.
pub async fn ask(env: &Env, base: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let (status, body) = exchange(env, base, method, path, headers, body).await;
    Answer { status, body: serde_json::from_str(&body).unwrap_or(Value::Null) }
}

/// What is at a path, as text.
pub async fn text(env: &Env, base: &str, path: &str) -> String {
    exchange(env, base, "GET", path, &[], b"").await.1
}

async fn exchange(
    env: &Env,
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let authority = base.strip_prefix("http://").unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let exchange = async {
        let mut stream = env.net.connect(authority).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses a large body may have closed by now; its answer is read all the same.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let answer = within("an answer over HTTP", exchange).await;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {text:?}")).parse().unwrap();
    (status, text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// Posts a value as JSON.
pub async fn post(env: &Env, base: &str, path: &str, value: &impl Serialize) -> Answer {
    ask(env, base, "POST", path, &[("content-type", "application/json")], &serde_json::to_vec(value).unwrap()).await
}
