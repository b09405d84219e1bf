//! Time.

use std::time::Duration;

use futures::future::BoxFuture;

/// Wall and monotonic time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970. May jump; nothing that must not go back is measured with it.
    fn unix_ms(&self) -> u64;

    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}
