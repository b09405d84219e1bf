//! Connections to other hosts: dialled when needed, shared by all groups, one per purpose.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_env::{Env, Stream};
use eigenshift_types::{NodePublicKey, frame};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

use super::rpc::{Answer, MAX_BODY_BYTES, PATH, Refusal, Reply, Request, WIRE_VERSION};
use super::tls::{self, Credentials};
use crate::raft::Member;
use crate::within::within;

/// Dialling, TLS and HTTP/2 together. Longer than any caller waits: a caller that gives up leaves the dial going on, so
/// that a slow network is connected to in the end.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// A connection whose other end is silently gone is given up after this and [`PING_LIMIT`].
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_LIMIT: Duration = Duration::from_secs(3);
/// Connections that are remembered; beyond it closed ones are forgotten.
const MAX_SLOTS: usize = 256;

/// What a connection is for: a snapshot or a long batch must not hold up a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Heartbeats, votes, hand-overs.
    Pulse,
    Log,
    Snapshot,
    /// Proposals and questions of the host.
    Host,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The other side has not seen it.
    #[error("unreachable: {0}")]
    Unreachable(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It may have been seen.
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("refused ({}): {}", .0.code, .0.message)]
    Refused(Refusal),
}

type Sender = SendRequest<Full<Bytes>>;
type Dial = Shared<BoxFuture<'static, Result<Sender, String>>>;
type SlotKey = (String, NodePublicKey, Lane);

/// The dialling half of a transport.
pub(super) struct Client {
    env: Env,
    /// None in insecure mode.
    credentials: Option<Arc<Credentials>>,
    slots: Mutex<BTreeMap<SlotKey, Dial>>,
}

impl Client {
    pub(super) fn new(env: Env, credentials: Option<Arc<Credentials>>) -> Self {
        Self { env, credentials, slots: Mutex::default() }
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn call(
        &self,
        to: &Member,
        lane: Lane,
        request: &Request,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let body = Bytes::from(frame::encode(WIRE_VERSION, request));
        if body.len() > MAX_BODY_BYTES {
            return Err(CallError::Unreachable(format!("a request of {} bytes is too large to send", body.len())));
        }
        let answer =
            within(&self.env, limit, self.exchange(to, lane, body)).await.ok_or(CallError::Timeout(limit))??;
        let reply: Reply = frame::decode(WIRE_VERSION, &answer, MAX_BODY_BYTES)
            .map_err(|error| CallError::Broken(format!("the answer does not decode: {error}")))?;
        reply.map_err(CallError::Refused)
    }

    async fn exchange(&self, to: &Member, lane: Lane, body: Bytes) -> Result<Bytes, CallError> {
        let mut sender = self.connection(to, lane).await?;
        let broken = |error: hyper::Error| CallError::Broken(error.to_string());
        let request = hyper::Request::post(format!("{}{PATH}", to.raft_url.trim_end_matches('/')))
            .body(Full::new(body))
            .map_err(|error| CallError::Unreachable(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let limited = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
        let answer = limited.map_err(|error| CallError::Broken(error.to_string()))?.to_bytes();
        if status.is_success() { Ok(answer) } else { Err(CallError::Broken(format!("HTTP {status}"))) }
    }

    /// A connection that takes requests: the one there is, or a new one.
    async fn connection(&self, to: &Member, lane: Lane) -> Result<Sender, CallError> {
        // Twice: the first may turn out to have closed.
        for _ in 0..2 {
            let mut sender = self.slot(to, lane).await.map_err(CallError::Unreachable)?;
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        Err(CallError::Unreachable("the connection closes at once".into()))
    }

    fn slot(&self, to: &Member, lane: Lane) -> Dial {
        let mut slots = self.slots.lock();
        let usable = |dial: &Dial| match dial.peek() {
            None => true,
            Some(Ok(sender)) => !sender.is_closed(),
            Some(Err(_)) => false,
        };
        if slots.len() >= MAX_SLOTS {
            slots.retain(|_, dial| usable(dial));
        }
        let key = (to.raft_url.clone(), to.key, lane);
        match slots.get(&key) {
            Some(dial) if usable(dial) => dial.clone(),
            _ => {
                let dial = self.dial(to.clone());
                slots.insert(key, dial.clone());
                dial
            }
        }
    }

    fn dial(&self, to: Member) -> Dial {
        let (env, credentials) = (self.env.clone(), self.credentials.clone());
        let dialling = {
            let env = env.clone();
            async move {
                match within(&env, DIAL_LIMIT, connect(&env, credentials.as_deref(), &to)).await {
                    Some(dialled) => dialled,
                    None => Err(format!("no connection within {DIAL_LIMIT:?}")),
                }
            }
        };
        let task = env.spawn(dialling);
        async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared()
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn connect(env: &Env, credentials: Option<&Credentials>, to: &Member) -> Result<Sender, String> {
    let uri: http::Uri = to.raft_url.parse().map_err(text)?;
    let authority = uri.authority().ok_or("the URL names no host")?.as_str().to_owned();
    let stream: Box<dyn Stream> = match (credentials, uri.scheme_str()) {
        (Some(credentials), Some("https")) => {
            let connector = TlsConnector::from(credentials.client(to.key).map_err(text)?);
            let name = tls::server_name().map_err(text)?;
            let plain = env.net.connect(&authority).await.map_err(text)?;
            Box::new(connector.connect(name, plain).await.map_err(text)?)
        }
        (None, Some("http")) if is_loopback(uri.host()) => env.net.connect(&authority).await.map_err(text)?,
        (Some(_), _) => return Err(format!("{} is not https", to.raft_url)),
        (None, _) => return Err(format!("{}: plain text is only for http:// on loopback", to.raft_url)),
    };
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(text)?;
    env.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a peer ended");
        }
    });
    Ok(sender)
}

fn is_loopback(host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.is_ok_and(|ip| ip.is_loopback())
}
