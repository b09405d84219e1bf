//! Reach the outside world through one replaceable seam.
//!
//! For every crate of the host: none of them reads a clock, starts a thread or a process, opens a file, dials or listens,
//! or draws randomness by itself. That is what lets the real code run in a seeded simulation.
//!
//! # Layout
//! - [`Env`]: the handle that is passed around; [`Env::real`] and [`Env::simulated`] make one.
//! - [`clock`], [`random`], [`threads`], [`processes`], [`disk`], [`net`]: a trait each, with what callers may rely on.
//! - [`confine`]: what a child process does to itself before it touches hostile input.
//! - [`database`]: a redb database over the disk of an [`Env`].
//! - [`real`], [`sim`]: the two implementations.
//!
//! # Guarantees
//! - [`disk::Disk::write_atomic`] returns after the bytes and the directory entry are durable; a crash leaves the old or
//!   the new file.
//! - A [`threads::Pool`] has a fixed number of threads and a bounded queue; a full queue makes callers wait, not the
//!   runtime's threads.
//! - [`Processes::run`] ends within the time it is given, and nothing of what it started is left running.
//! - The simulated environment is a function of its seed as long as its caller is single-threaded.
//!
//! # Not here
//! Sockets that third-party clients open by themselves: Ethereum endpoints are dialled by alloy.

pub mod clock;
pub mod confine;
pub mod database;
pub mod disk;
pub mod net;
pub mod processes;
pub mod random;
pub mod real;
pub mod sim;
pub mod threads;

use std::future::Future;
use std::sync::Arc;

pub use clock::Clock;
pub use disk::Disk;
pub use net::{Listener, Net, Stream};
pub use processes::Processes;
pub use random::Random;
pub use threads::{Pool, Threads};
use tracing::Instrument;

/// The outside world, as one node sees it. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness fit for keys.
    pub random: Arc<dyn Random>,
    /// Threads for work that would block the runtime.
    pub threads: Arc<dyn Threads>,
    /// Other programs.
    pub processes: Arc<dyn Processes>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Streams between hosts.
    pub net: Arc<dyn Net>,
}

impl Env {
    /// The operating system's clock, randomness, threads, processes, files and TCP.
    #[must_use]
    pub fn real() -> Self {
        Self {
            clock: Arc::new(real::SystemClock::new()),
            random: Arc::new(real::OsRandom),
            threads: Arc::new(real::OsThreads),
            processes: Arc::new(processes::OsProcesses),
            disk: Arc::new(real::FileSystem),
            net: Arc::new(real::Tcp),
        }
    }

    /// A world of its own in memory: tokio's clock (which tests may pause), seeded randomness, work done on the spot,
    /// no programs, files in memory, and streams between whoever shares `world`.
    #[must_use]
    pub fn simulated(world: &sim::World, seed: u64) -> Self {
        Self {
            clock: Arc::new(sim::TokioClock::new()),
            random: Arc::new(sim::SeededRandom::new(seed)),
            threads: Arc::new(sim::InlineThreads),
            processes: Arc::new(processes::Scripted::default()),
            disk: Arc::new(sim::MemoryDisk::default()),
            net: Arc::new(world.clone()),
        }
    }

    /// Starts an async task on the current runtime, in the caller's tracing span: what it logs is told apart by that.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(future.in_current_span())
    }

    /// Draws 32 random bytes.
    #[must_use]
    pub fn random_32(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        bytes
    }
}
