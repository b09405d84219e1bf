//! Takes connections, a bounded number of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use eigenshift_env::{Env, Listener};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 1024;

/// How long a request's head may take to arrive: a connection that says nothing gives its place back.
const HEAD: Duration = Duration::from_secs(30);

/// A pause after the listener fails to accept (no file descriptors, for example).
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `stop`; connections that are busy then are cut.
pub async fn serve(env: Env, listener: Box<dyn Listener>, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop.cancelled() => return,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                env.clock.sleep(PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        env.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(64 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // A peer that breaks off is its own affair.
                _ = connection => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}
