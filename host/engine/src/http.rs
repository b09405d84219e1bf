//! Posts JSON to other operators' public listeners.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use eigenshift_env::{Env, Stream};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{self, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::Service;

/// Why a post has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The URL is not one that can be posted to.
    #[error("{0:?} is no http:// URL with a host; the operator's published URL is wrong")]
    Url(String),
    /// Nobody answered.
    #[error("{url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// For people.
        why: String,
    },
    /// Nobody answered in time.
    #[error("{url} did not answer within {timeout:?}")]
    Timeout {
        /// Where.
        url: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The answer was a refusal.
    #[error("{status} {code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The code in its body.
        code: String,
        /// For people.
        message: String,
    },
    /// The answer cannot be read.
    #[error("{url} answered with something else than was asked for")]
    Answer {
        /// Where.
        url: String,
    },
}

#[derive(serde::Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
}

const MAX_ANSWER: usize = 4 * 1024 * 1024;
const MAX_TEXT: usize = 512;

fn shortened(mut text: String) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Posts JSON over kept connections. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    env: Env,
    client: Client<Connector, Full<Bytes>>,
}

/// Kept to each host for all AVSs together.
const IDLE_PER_HOST: usize = 16;

impl HttpClient {
    /// A client over the environment's network.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(Connector(env.clone()));
        Self { env: env.clone(), client }
    }

    /// Posts `body` as JSON to `base` + `path` and reads the JSON answer: at most 4 MiB, within `timeout`. No redirect
    /// is followed.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn post<A: DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<A, PostError> {
        self.post_with(base, path, &[], body, timeout).await
    }

    /// As [`HttpClient::post`], with further headers.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn post_with<A: DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<A, PostError> {
        let url = url(base, path);
        let body = serde_json::to_vec(body).map_err(|_| PostError::Url(url.clone()))?;
        let request = request(&url, Method::POST, headers, body.into())?;
        self.within(timeout, url, request).await
    }

    /// Posts bytes to `base` + `path` and reads the JSON answer, as [`HttpClient::post_with`] does.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn post_bytes<A: DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        timeout: Duration,
    ) -> Result<A, PostError> {
        let url = url(base, path);
        let request = request(&url, Method::POST, headers, body)?;
        self.within(timeout, url, request).await
    }

    /// Reads the JSON at `base` + `path`: at most 4 MiB, within `timeout`.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn get<A: DeserializeOwned>(&self, base: &str, path: &str, timeout: Duration) -> Result<A, PostError> {
        self.get_with(base, path, &[], timeout).await
    }

    /// As [`HttpClient::get`], with further headers.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn get_with<A: DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<A, PostError> {
        let url = url(base, path);
        let request = request(&url, Method::GET, headers, Bytes::new())?;
        self.within(timeout, url, request).await
    }

    async fn within<A: DeserializeOwned>(
        &self,
        timeout: Duration,
        url: String,
        request: Request<Full<Bytes>>,
    ) -> Result<A, PostError> {
        tokio::select! {
            answer = self.exchange(&url, request) => answer,
            () = self.env.clock.sleep(timeout) => Err(PostError::Timeout { url: url.clone(), timeout }),
        }
    }

    async fn exchange<A: DeserializeOwned>(&self, url: &str, request: Request<Full<Bytes>>) -> Result<A, PostError> {
        let unreachable = |why: String| PostError::Unreachable { url: url.to_owned(), why };
        let answer = self.client.request(request).await.map_err(|error| unreachable(with_cause(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let bytes = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        if !status.is_success() {
            let said: ErrorBody = serde_json::from_slice(&bytes).unwrap_or_else(|_| ErrorBody {
                code: "unknown".to_owned(),
                message: "the answer holds no reason".to_owned(),
            });
            let ErrorBody { code, message } = said;
            return Err(PostError::Refused {
                status: status.as_u16(),
                code: shortened(code),
                message: shortened(message),
            });
        }
        serde_json::from_slice(&bytes).map_err(|_| PostError::Answer { url: url.to_owned() })
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_cause(cause)),
        None => error.to_string(),
    }
}

fn url(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

fn request(
    url: &str,
    method: Method,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, PostError> {
    let invalid = || PostError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| invalid())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(invalid());
    }
    let mut request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).map_err(|_| invalid())
}

#[derive(Clone)]
struct Connector(Env);

/// A stream of the environment as hyper takes it.
struct Connected(TokioIo<Box<dyn Stream>>);

impl Service<Uri> for Connector {
    type Response = Connected;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Connected>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let authority = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        let connecting = self.0.net.connect(&authority);
        async move { Ok(Connected(TokioIo::new(connecting.await?))) }.boxed()
    }
}

impl Connection for Connected {
    fn connected(&self) -> connect::Connected {
        connect::Connected::new()
    }
}

impl Read for Connected {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Connected {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
