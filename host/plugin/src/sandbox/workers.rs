//! The threads that guests run on, and the ticker that makes them share.
//!
//! Guests never run on the caller's runtime: one that computes for long would hold its I/O up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eigenshift_env::Env;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use tokio::sync::{mpsc, oneshot};
use wasmtime::Engine;

/// How long a guest runs before it lets others have the thread.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The thread is gone, or the work panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a guest thread ended or panicked")]
pub(crate) struct WorkerLost;

struct Worker {
    jobs: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
    /// Calls that it has not finished.
    load: Arc<AtomicUsize>,
}

/// Gives the place back however the work ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A fixed number of threads with a single-threaded runtime each; they end when this is dropped.
///
/// The queues need no bound of their own: call slots are taken before work comes here.
pub(crate) struct Workers(Vec<Worker>);

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}

impl Workers {
    pub(crate) fn start(env: &Env, count: usize) -> io::Result<Self> {
        let mut workers = Vec::with_capacity(count);
        for number in 0..count.max(1) {
            let (jobs, mut queue) = mpsc::unbounded_channel::<BoxFuture<'static, ()>>();
            let runtime = runtime()?;
            let body = move || {
                runtime.block_on(async move {
                    while let Some(job) = queue.recv().await {
                        tokio::spawn(job);
                    }
                });
            };
            env.threads.spawn(&format!("guest-{number}"), Box::new(body))?;
            workers.push(Worker { jobs, load: Arc::default() });
        }
        Ok(Self(workers))
    }

    /// Does the work on the least loaded thread. The work is dropped when this is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, WorkerLost> {
        let worker = self.0.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed)).ok_or(WorkerLost)?;
        worker.load.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&worker.load));
        let (mut reply, result) = oneshot::channel();
        let job = async move {
            let _counted = counted;
            let done = {
                let gone = std::pin::pin!(reply.closed());
                match select(Box::pin(work), gone).await {
                    Either::Left((done, _)) => Some(done),
                    Either::Right(_) => None,
                }
            };
            if let Some(done) = done {
                // Whoever asked may have gone in this moment.
                let _ = reply.send(done);
            }
        };
        worker.jobs.send(job.boxed()).map_err(|_| WorkerLost)?;
        result.await.map_err(|_| WorkerLost)
    }
}

/// Raises the engine's epoch every [`TICK`] until the engine is gone.
pub(crate) fn start_ticker(env: &Env, engine: &Engine) -> io::Result<()> {
    // A thread of its own: were it a guest thread, a guest that computes would stop the clock that interrupts it.
    let (engine, clock, runtime) = (engine.weak(), Arc::clone(&env.clock), runtime()?);
    let body = move || {
        runtime.block_on(async move {
            loop {
                clock.sleep(TICK).await;
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        });
    };
    env.threads.spawn("guest-epoch", Box::new(body))
}
