//! Threads for work that would block the runtime: curve arithmetic, compiling, fsync, guests.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// A piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Starts threads.
pub trait Threads: Send + Sync {
    /// Runs `body` on a thread of its own until it returns.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    fn spawn(&self, name: &str, body: Job) -> io::Result<()>;

    /// As [`Threads::spawn`], for work that may wait for everything else: with the lowest priority, where there are
    /// priorities.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    fn spawn_background(&self, name: &str, body: Job) -> io::Result<()> {
        self.spawn(name, body)
    }

    /// Called by a background thread between pieces of work that take a millisecond or two: pauses it when it is time for all
    /// of them to pause.
    ///
    /// They do so at the same times, so that cores are idle now and then whatever there is to do. While a process keeps all
    /// of them busy, some schedulers let everything that is not of its session wait, be its priority as it may: other
    /// programs, and the kernel's own workers, without which no fsync ends. Measured on Linux 6.18, with six such threads on
    /// two cores: up to 13 seconds without pauses, 15 milliseconds with them.
    fn rest(&self) {}

    /// Processor time that the calling thread has used; zero where that is not measured.
    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Makes a pool of `threads` threads with room for `queue` waiting jobs.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    fn pool(&self, name: &str, threads: usize, queue: usize) -> io::Result<Pool>;
}

/// The pool's threads are gone: the host is shutting down, or a job panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work was dropped: its thread ended (the host is shutting down, or the work panicked)")]
pub struct PoolClosed;

/// A bounded pool of threads. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Pool(Inner);

#[derive(Clone)]
enum Inner {
    Queue(mpsc::Sender<Job>),
    Inline,
}

impl Pool {
    /// A pool that takes its jobs from the other end of `queue`.
    #[must_use]
    pub fn over(queue: mpsc::Sender<Job>) -> Self {
        Self(Inner::Queue(queue))
    }

    /// A pool that does each job on the spot.
    #[must_use]
    pub fn inline() -> Self {
        Self(Inner::Inline)
    }

    /// Does the work on one of the pool's threads, in the caller's tracing span. Waits while the queue is full. If the
    /// caller goes away, work that has begun ends and its result is dropped.
    ///
    /// # Errors
    /// [`PoolClosed`] when the work panicked or the pool's threads are gone.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolClosed> {
        match &self.0 {
            Inner::Inline => Ok(work()),
            Inner::Queue(queue) => {
                let (reply, result) = oneshot::channel();
                let span = tracing::Span::current();
                let job: Job = Box::new(move || {
                    if !reply.is_closed() {
                        // The caller may go away meanwhile; then nobody wants the result.
                        let _ = reply.send(span.in_scope(work));
                    }
                });
                queue.send(job).await.map_err(|_| PoolClosed)?;
                result.await.map_err(|_| PoolClosed)
            }
        }
    }
}
