//! JSON-RPC over HTTP with bounds: answer size, time, requests at once.

use std::sync::Arc;
use std::task;
use std::time::Duration;

use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket, RpcError};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use eigenshift_env::Clock;
use futures::future::{Either, select};
use reqwest::{Certificate, Client, Url};
use tokio::sync::Semaphore;
use tower::Service;

use super::EthereumOptions;
use crate::Error;
use crate::error::shortened;

/// Why no JSON-RPC answer came back. Never contains the URL's path, which may hold an access key.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("an answer of more than {0} bytes")]
    Long(usize),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("{0}")]
    Connection(String),
}

#[derive(Clone)]
pub(super) struct BoundedHttp(Arc<Inner>);

struct Inner {
    client: Client,
    url: Url,
    max_bytes: usize,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    /// Held for the whole of a request, body included.
    slots: Semaphore,
}

impl BoundedHttp {
    pub(super) fn new(url: &str, options: &EthereumOptions, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let url = Url::parse(url).map_err(|error| Error::InvalidInput(format!("the endpoint's URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(Error::InvalidInput("the endpoint's URL is http://host:port/.. or https://host/..".to_owned()));
        }
        let client = client(&url, options.extra_roots_pem.as_deref())?;
        Ok(Self(Arc::new(Inner {
            client,
            url,
            max_bytes: options.max_response_bytes,
            timeout: options.request_timeout,
            clock,
            slots: Semaphore::new(options.max_in_flight.max(1)),
        })))
    }
}

fn client(url: &Url, extra_roots_pem: Option<&str>) -> Result<Client, Error> {
    // reqwest takes its TLS provider from the process; an error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let extra = match extra_roots_pem {
        Some(pem) => Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| Error::InvalidInput(format!("extra_roots_pem: {error}")))?,
        None => Vec::new(),
    };
    let builder = Client::builder()
        // An endpoint that redirects could send a node's requests into its own network.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_version_min(reqwest::tls::Version::TLS_1_2);
    let builder = if url.scheme() == "https" {
        builder.tls_certs_merge(extra)
    } else {
        // Without TLS no roots are needed, and a machine without any must not fail for it.
        builder.tls_certs_only(extra)
    };
    builder.build().map_err(|error| Error::InvalidInput(format!("TLS set-up: {}", causes(&error))))
}

/// An error with its causes: reqwest's own text stops at "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    shortened(&text)
}

impl Inner {
    async fn request(&self, packet: &RequestPacket) -> Result<ResponsePacket, TransportError> {
        let lost = |error: reqwest::Error| custom(Failure::Connection(causes(&error.without_url())));
        let _slot = self.slots.acquire().await.map_err(|_| TransportErrorKind::backend_gone())?;
        let mut response = self.client.post(self.url.clone()).json(packet).send().await.map_err(lost)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len().saturating_add(chunk.len()) > self.max_bytes {
                return Err(custom(Failure::Long(self.max_bytes)));
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status();
        match serde_json::from_slice(&body) {
            Ok(answer) if !is_busy(status.as_u16()) => Ok(answer),
            Err(error) if status.is_success() => Err(RpcError::DeserError { err: error, text: String::new() }),
            _ => Err(custom(Failure::Status(status.as_u16()))),
        }
    }
}

/// Too many requests, or the server's own trouble: what a pause may cure, whatever the body says.
const fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
}

fn custom(failure: Failure) -> TransportError {
    TransportErrorKind::custom(failure)
}

impl Service<RequestPacket> for BoundedHttp {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), TransportError>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let late = inner.clock.sleep(inner.timeout);
            match select(Box::pin(inner.request(&packet)), late).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(custom(Failure::Late(inner.timeout))),
            }
        })
    }
}

/// Says what a failed exchange means. JSON-RPC errors with revert data are the caller's to recognise before.
pub(super) fn exchange_error(kind: TransportErrorKind) -> Error {
    let source = match kind {
        TransportErrorKind::Custom(source) => source,
        other => return Error::Unavailable(shortened(&other.to_string())),
    };
    match source.downcast::<Failure>() {
        Ok(failure) => match *failure {
            Failure::Late(_) => Error::Timeout { what: "the endpoint's answer" },
            Failure::Long(max) => Error::TooLarge { max, unit: "bytes" },
            Failure::Status(status) if is_busy(status) => Error::Unavailable(format!("HTTP status {status}")),
            Failure::Status(status) => Error::refused(status.into(), "HTTP status; check the URL and its access key"),
            Failure::Connection(why) => Error::Unavailable(why),
        },
        Err(other) => Error::Unavailable(shortened(&other.to_string())),
    }
}
