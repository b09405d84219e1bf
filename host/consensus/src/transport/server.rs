//! The listener: who may speak, and how much.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_env::{Env, Listener, Stream};
use eigenshift_types::{NodePublicKey, frame};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::Routes;
use super::rpc::Refusal;
use super::rpc::{MAX_BODY_BYTES, PATH, Reply, Request, WIRE_VERSION, code};
use super::tls;
use crate::within::within;

/// All connections together, those in the handshake too.
const MAX_CONNECTIONS: usize = 512;
/// Strangers reach no further than the handshake, so they can hold up only this many at once.
const MAX_HANDSHAKES: usize = 64;
/// A peer needs one for each lane; more are there for reconnecting.
const MAX_CONNECTIONS_PER_PEER: usize = 16;
const MAX_STREAMS: u32 = 64;
const MAX_HEADERS_BYTES: u32 = 16 << 10;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Longer than any caller waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_LIMIT: Duration = Duration::from_secs(5);
/// After accepting failed, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Server {
    pub(super) env: Env,
    pub(super) routes: Arc<Routes>,
    /// None in insecure mode.
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) stop: watch::Receiver<bool>,
    connections: Arc<Semaphore>,
    handshakes: Semaphore,
    per_peer: Mutex<BTreeMap<NodePublicKey, usize>>,
}

/// Counts a peer's connection until it ends.
struct Seat<'a> {
    server: &'a Server,
    key: NodePublicKey,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut seats = self.server.per_peer.lock();
        if let Some(taken) = seats.get_mut(&self.key) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.key);
            }
        }
    }
}

impl Server {
    pub(super) fn new(env: Env, routes: Arc<Routes>, tls: Option<TlsAcceptor>, stop: watch::Receiver<bool>) -> Self {
        Self {
            env,
            routes,
            tls,
            stop,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            handshakes: Semaphore::new(MAX_HANDSHAKES),
            per_peer: Mutex::default(),
        }
    }

    /// Serves until it is stopped; then the listener and every connection are closed.
    pub(super) async fn run(self: Arc<Self>, listener: Box<dyn Listener>) {
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Without room the stream is dropped, which closes it.
                    let Ok(room) = Arc::clone(&self.connections).try_acquire_owned() else { continue };
                    let server = Arc::clone(&self);
                    self.env.spawn(async move {
                        let mut stop = server.stop.clone();
                        tokio::select! {
                            biased;
                            _ = stop.wait_for(|stop| *stop) => {}
                            ended = server.serve(stream) => {
                                if let Err(why) = ended {
                                    tracing::debug!(%peer, %why, "a connection ended");
                                }
                            }
                        }
                        drop(room);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.env.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: &Arc<Self>, stream: Box<dyn Stream>) -> Result<(), String> {
        let Some(acceptor) = &self.tls else { return self.speak(stream, None).await };
        let handshake = async {
            let _turn = self.handshakes.acquire().await.map_err(|error| error.to_string())?;
            acceptor.accept(stream).await.map_err(|error| error.to_string())
        };
        let stream = within(&self.env, HANDSHAKE_LIMIT, handshake).await.ok_or("the handshake took too long")??;
        let key = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(tls::key_of);
        let key = key.ok_or("the peer has no key")?;
        {
            let mut seats = self.per_peer.lock();
            let taken = seats.entry(key).or_default();
            if *taken >= MAX_CONNECTIONS_PER_PEER {
                return Err(format!("{key} has {taken} connections already"));
            }
            *taken += 1;
        }
        let _seat = Seat { server: self, key };
        self.speak(Box::new(stream), Some(key)).await
    }

    async fn speak(self: &Arc<Self>, stream: Box<dyn Stream>, key: Option<NodePublicKey>) -> Result<(), String> {
        let service = service_fn(|request| {
            let server = Arc::clone(self);
            async move { Ok::<_, Infallible>(server.respond(key, request).await) }
        });
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_LIMIT)
            .serve_connection(TokioIo::new(stream), service)
            .await
            .map_err(|error| error.to_string())
    }

    async fn respond(
        &self,
        key: Option<NodePublicKey>,
        request: hyper::Request<Incoming>,
    ) -> hyper::Response<Full<Bytes>> {
        let (status, reply) = match self.reply(key, request).await {
            Ok(reply) => (StatusCode::OK, reply),
            Err((status, why)) => (status, Err(Refusal::new(code::MALFORMED, why))),
        };
        let mut response = hyper::Response::new(Full::new(Bytes::from(frame::encode(WIRE_VERSION, &reply))));
        *response.status_mut() = status;
        response
    }

    async fn reply(
        &self,
        key: Option<NodePublicKey>,
        request: hyper::Request<Incoming>,
    ) -> Result<Reply, (StatusCode, String)> {
        if request.uri().path() != PATH {
            return Err((StatusCode::NOT_FOUND, format!("only {PATH} is served")));
        }
        if request.method() != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "only POST is served".into()));
        }
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let body = match within(&self.env, BODY_LIMIT, body).await {
            None => return Err((StatusCode::REQUEST_TIMEOUT, "the body took too long".into())),
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("at most {MAX_BODY_BYTES} bytes are taken")));
            }
            Some(Err(error)) => return Err((StatusCode::BAD_REQUEST, error.to_string())),
            Some(Ok(body)) => body.to_bytes(),
        };
        let request: Request = frame::decode(WIRE_VERSION, &body, MAX_BODY_BYTES)
            .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        drop(body);
        let endpoint = match self.routes.admit(key.as_ref(), &request) {
            Ok(endpoint) => endpoint,
            Err(refusal) => {
                tracing::debug!(from = %request.from, code = refusal.code, "a request is refused");
                return Ok(Err(refusal));
            }
        };
        let answer = within(&self.env, ANSWER_LIMIT, endpoint.handle(request.from, request.call)).await;
        Ok(answer.unwrap_or_else(|| Err(Refusal::new(code::STOPPED, "the group did not answer in time"))))
    }
}
