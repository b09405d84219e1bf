//! One exchange: resolve once, check, dial what was checked, send, give the answer back as it is.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_env::Stream;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody};

use super::tls::server_name;
use super::wire::{Cut, Inbound, Metered, Outbound, Why};
use super::{Answers, Client, Limits};
use crate::capability::egress::{Denied, Host, Scheme, Target, filter};

/// Fields of a request's head, and bytes of them.
const MAX_HEADERS: usize = 64;
pub(super) const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The same of a response's.
const MAX_RESPONSE_HEADERS: usize = 100;
const MAX_RESPONSE_HEAD_BYTES: usize = 64 * 1024;
/// Addresses of a look-up that are looked at.
const MAX_RESOLVED: usize = 64;
/// Addresses that are tried, and how long each.
const MAX_DIALLED: usize = 3;
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request was not answered: the operator is told why it was denied, the guest gets the interface's error.
#[derive(Debug)]
pub(super) enum Failed {
    Denied(Denied),
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Denied> for Failed {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// A denial in the interface's words.
pub(super) fn in_wasi(denied: &Denied) -> Error {
    match denied {
        Denied::Method(_) | Denied::ReadsOnly(_) => Error::HttpRequestMethodInvalid,
        Denied::Url(_) | Denied::Scheme(_) | Denied::UserInfo | Denied::Host { .. } | Denied::Port(_) => {
            Error::HttpRequestUriInvalid
        }
        Denied::NotAllowed(_) => Error::HttpRequestDenied,
        Denied::AddressBlocked { .. } => Error::DestinationIpProhibited,
        Denied::NoAddress(_) => Error::DnsError { rcode: None, info_code: None },
    }
}

/// Fields that concern one connection, or that say whom the request is for: this host sets them.
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || [header::TE, header::TRAILER, header::EXPECT].contains(name)
}

/// An answer, and the connection that its body comes over: it is to be driven until it ends.
pub(super) struct Answered {
    pub response: Response<WasiBody>,
    pub connection: BoxFuture<'static, Result<(), Error>>,
}

/// One request with what it needs.
pub(super) struct Exchange {
    pub target: Target,
    pub request: Request<WasiBody>,
    pub options: RequestOptions,
    pub limits: Arc<Limits>,
    /// Requests of the call.
    pub call_slots: Arc<Semaphore>,
}

fn check_head(headers: &HeaderMap, limits: &Limits) -> Result<(), Error> {
    let size = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 4;
    let bytes: usize = headers.iter().map(|(name, value)| size(name, value)).sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Error::HttpRequestHeaderSectionSize(u32::try_from(bytes).ok()));
    }
    if let Some(name) = headers.keys().find(|name| is_forbidden(name)) {
        let field_name = Some(name.as_str().to_owned());
        return Err(Error::HttpRequestHeaderSize { field_name, field_size: None });
    }
    match announced(headers) {
        Some(bytes) if bytes > limits.request_bytes => Err(Error::HttpRequestBodySize(Some(bytes))),
        _ => Ok(()),
    }
}

/// How long a body is said to be.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn tls_error(error: &std::io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        _ => Error::TlsProtocolError,
    }
}

impl Client {
    /// Sends a request that was decided upon. The deadline covers all of it, to the body's last byte.
    pub(super) async fn send(&self, exchange: Exchange) -> Result<Answered, Failed> {
        check_head(exchange.request.headers(), &exchange.limits)?;
        let cut = Arc::new(Cut::default());
        let deadline = self.clock.sleep(exchange.limits.timeout);
        let work = pin!(self.exchange(exchange, Arc::clone(&cut)));
        match select(work, deadline).await {
            Either::Right(_) => Err(Error::HttpResponseTimeout.into()),
            Either::Left((answered, deadline)) => {
                let Answered { response, connection } = answered?;
                let connection = async move {
                    if let Either::Right(_) = select(connection, deadline).await {
                        cut.set(Why::Late);
                    }
                    Ok(())
                };
                Ok(Answered { response, connection: connection.boxed() })
            }
        }
    }

    async fn exchange(&self, exchange: Exchange, cut: Arc<Cut>) -> Result<Answered, Failed> {
        let Exchange { target, request, options, limits, call_slots } = exchange;
        let places = (place(&call_slots).await?, place(&self.slots).await?);
        if let Some(answers) = &self.policy.answers {
            return Ok(recorded(answers.as_ref(), &target, request, &limits, cut).await?);
        }
        let connecting = self.connect(&target, &limits, &cut);
        let stream = match options.connect_timeout {
            None => connecting.await?,
            Some(most) => match select(pin!(connecting), self.clock.sleep(most)).await {
                Either::Left((stream, _)) => stream?,
                Either::Right(_) => return Err(Error::ConnectionTimeout.into()),
            },
        };
        let answering = converse(stream, to_origin(&target, request)?, &limits, &cut, places);
        match options.first_byte_timeout {
            None => Ok(answering.await?),
            Some(most) => match select(pin!(answering), self.clock.sleep(most)).await {
                Either::Left((answered, _)) => Ok(answered?),
                Either::Right(_) => Err(Error::ConnectionReadTimeout.into()),
            },
        }
    }

    /// The one look-up of a request, the check of every address it gave, and a stream to one of those.
    async fn connect(&self, target: &Target, limits: &Limits, cut: &Arc<Cut>) -> Result<Box<dyn Stream>, Failed> {
        let found = match &target.host {
            Host::Address(_) => Vec::new(),
            Host::Name(name) => {
                let place = place(&self.lookups).await?;
                let looking = self.net.resolve(name, target.port);
                let looking = tokio::spawn(async move {
                    let _place = place;
                    looking.await
                });
                let found = looking.await.ok().and_then(Result::ok);
                found.ok_or(Error::DnsError { rcode: None, info_code: None })?
            }
        };
        let found: Vec<IpAddr> = found.into_iter().map(|address| address.ip()).take(MAX_RESOLVED).collect();
        let checked = filter(target, &found, &self.policy.addresses)?;
        let mut stream = None;
        for address in checked.into_iter().take(MAX_DIALLED) {
            let dialled = select(self.net.dial(address), self.clock.sleep(DIAL_TIMEOUT)).await;
            if let Either::Left((Ok(dialled), _)) = dialled {
                stream = Some(dialled);
                break;
            }
        }
        let stream = stream.ok_or(Error::ConnectionRefused)?;
        let metered = Metered::new(stream, limits.request_bytes, limits.response_bytes, Arc::clone(cut));
        if target.scheme == Scheme::Http {
            return Ok(Box::new(metered));
        }
        let roots = self.policy.roots.as_ref().ok_or(Error::ConfigurationError)?;
        let name = server_name(&target.host).ok_or(Error::HttpRequestUriInvalid)?;
        let stream = TlsConnector::from(roots.config()).connect(name, metered).await;
        Ok(Box::new(stream.map_err(|error| cut.error().unwrap_or_else(|| tls_error(&error)))?))
    }
}

async fn place(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    Arc::clone(slots).acquire_owned().await.map_err(|_| Error::ConnectionLimitReached)
}

/// The request as a server reads it: only the path in its first line, the host as it was decided upon.
fn to_origin(target: &Target, mut request: Request<WasiBody>) -> Result<Request<WasiBody>, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(path).map_err(|_| Error::HttpRequestUriInvalid)?;
    let host = HeaderValue::try_from(target.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// What somebody else than the network says.
async fn recorded(
    answers: &dyn Answers,
    target: &Target,
    request: Request<WasiBody>,
    limits: &Limits,
    cut: Arc<Cut>,
) -> Result<Answered, Error> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = Uri::try_from(target.url(path)).map_err(|_| Error::HttpRequestUriInvalid)?;
    let body = Outbound::new(body, limits.request_bytes, cut).collect().await?.to_bytes();
    let response = answers.answer(&Request::from_parts(head, body.into())).ok_or(Error::ConnectionRefused)?;
    let bytes = response.body().len() as u64;
    if bytes > limits.response_bytes {
        return Err(Error::HttpResponseBodySize(Some(bytes)));
    }
    let response = response.map(|body| Full::new(body.0).map_err(|never| match never {}).boxed_unsync());
    Ok(Answered { response, connection: std::future::ready(Ok(())).boxed() })
}

type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

async fn converse(
    stream: Box<dyn Stream>,
    request: Request<WasiBody>,
    limits: &Limits,
    cut: &Arc<Cut>,
    places: Places,
) -> Result<Answered, Error> {
    let failed = |_: hyper::Error| cut.error().unwrap_or(Error::HttpProtocolError);
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_RESPONSE_HEADERS)
        .max_buf_size(MAX_RESPONSE_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let connection = async move {
        // Held as long as the connection is.
        let _places = places;
        // What went wrong shows where the bodies are read and written.
        let _ = connection.await;
        Ok(())
    };
    let mut connection: BoxFuture<'static, Result<(), Error>> = connection.boxed();
    let request = request.map(|body| Outbound::new(body, limits.request_bytes, Arc::clone(cut)));
    let (answered, connection) = match select(pin!(sender.send_request(request)), &mut connection).await {
        Either::Left((answered, _)) => (answered, connection),
        // The connection ended first: whether with an answer is known at once.
        Either::Right((_, sending)) => (sending.await, std::future::ready(Ok(())).boxed()),
    };
    let response = answered.map_err(failed)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::HttpUpgradeFailed);
    }
    if let Some(bytes) = announced(response.headers()).filter(|bytes| *bytes > limits.response_bytes) {
        return Err(Error::HttpResponseBodySize(Some(bytes)));
    }
    let response = response.map(|body| Inbound::new(body, limits.response_bytes, Arc::clone(cut)).boxed_unsync());
    Ok(Answered { response, connection })
}
