//! What the interface asks of this host: may this be sent, and if so, send it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use http::Request;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, Result, WasiBody, WasiHttpHooks};

use super::send::{Exchange, Failed, in_wasi, is_forbidden};
use super::{Client, Limits};
use crate::capability::egress::Denied;
use crate::capability::secrets::Redactor;
use crate::sandbox::call::Totals;

/// Bytes of a write to a request's body.
const CHUNK_BYTES: usize = 64 * 1024;

/// What one call may send.
#[derive(Clone)]
pub(crate) struct Access {
    pub client: Arc<Client>,
    pub limits: Arc<Limits>,
    /// Name of the bundle, for the operator.
    pub plugin: Arc<str>,
    pub redactor: Arc<Redactor>,
    pub totals: Arc<Totals>,
    /// Requests that it has sent.
    pub sent: u32,
}

/// The requests of one call; with no access every one is denied.
pub(crate) struct Hooks {
    access: Option<Access>,
    slots: Arc<Semaphore>,
}

impl Hooks {
    pub(crate) fn new(access: Option<Access>) -> Self {
        let slots = access.as_ref().map_or(0, |access| access.limits.concurrency as usize);
        Self { access, slots: Arc::new(Semaphore::new(slots)) }
    }

    /// How many requests the call has sent: an answer to one may still be on its way.
    pub(crate) fn sent(&self) -> u32 {
        self.access.as_ref().map_or(0, |access| access.sent)
    }
}

/// Tells the operator, in the log and in the counters, and the guest in the interface's words.
fn refuse(client: &Client, plugin: &str, redactor: &Redactor, totals: &Totals, denied: &Denied) -> Error {
    totals.http_refused.fetch_add(1, Ordering::Relaxed);
    let why = redactor.text(&denied.to_string());
    if let Some(answers) = &client.policy.answers {
        answers.denied(&why);
    }
    tracing::debug!(target: "eigenshift_plugin::egress", plugin, code = denied.code(), "request refused: {why}");
    in_wasi(denied)
}

/// What the interface takes: an answer and what drives its connection.
type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

fn answer(sent: Sent) -> Box<dyn Future<Output = Sent> + Send> {
    Box::new(std::future::ready(sent))
}

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn set_host_header(&mut self) -> bool {
        // It is set from what was decided upon, not from what the guest wrote.
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> wasmtime_wasi_http::p2::bindings::http::types::ErrorCode {
        // Its text may hold what a guest sent.
        wasmtime_wasi_http::p2::bindings::http::types::ErrorCode::HttpProtocolError
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let Some(access) = &mut self.access else { return answer(Err(Error::HttpRequestDenied)) };
        let Access { client, limits, plugin, redactor, totals, sent } = access;
        if *sent >= limits.requests_per_call {
            return answer(Err(Error::ConnectionLimitReached));
        }
        *sent += 1;
        totals.http_requests.fetch_add(1, Ordering::Relaxed);
        let target = match client.decide(limits, request.method().as_str(), &request.uri().to_string()) {
            Ok(target) => target,
            Err(denied) => return answer(Err(refuse(client, plugin, redactor, totals, &denied))),
        };
        let exchange = Exchange {
            target,
            request,
            options: options.unwrap_or_default(),
            limits: Arc::clone(limits),
            call_slots: Arc::clone(&self.slots),
        };
        let client = Arc::clone(client);
        let (plugin, redactor, totals) = (Arc::clone(plugin), Arc::clone(redactor), Arc::clone(totals));
        let sending = async move {
            match client.send(exchange).await {
                Ok(answered) => {
                    let connection: Box<dyn Future<Output = Result<()>> + Send> = Box::new(answered.connection);
                    Ok((answered.response, connection))
                }
                Err(Failed::Denied(denied)) => Err(refuse(&client, &plugin, &redactor, &totals, &denied)),
                Err(Failed::Error(error)) => Err(error),
            }
        };
        Box::new(sending.boxed())
    }
}
