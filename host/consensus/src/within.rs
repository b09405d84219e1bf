//! Time limits that go through the environment's clock.

use std::future::Future;
use std::time::Duration;

use eigenshift_env::Env;

/// The result, or none when it took longer.
pub(crate) async fn within<T>(env: &Env, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = env.clock.sleep(limit) => None,
    }
}
