//! The threads that guests run on, and the epoch ticker that makes them share.
//!
//! Guests never run on the caller's runtime: one that computes for long would hold its I/O up. A call begins on one of
//! the fast threads, where a usual one ends, however often it waits for what it reads. One that computes for longer than a
//! quantum goes on with the slow threads, which have the lowest priority of the machine and pause together now and then.
//! After two such calls its tenant's next ones begin there: else one call after the other would each have its first quantum
//! at everybody else's expense. In both, tenants take turns.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use eigenshift_env::{self as env, Env};
use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};
use wasmtime::Engine;

use super::gate::TenantId;
use super::member::{Member, Speed};

/// How often the epoch is raised; a quantum is one to two of these.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Processor time that a call has on the fast threads, over all its turns there.
const FAST: Duration = Duration::from_millis(1);

/// Ticks that the ticker goes on for when no call runs: calls that come one after the other need not wake it.
const LINGER: u32 = 100;

/// The thread is gone, or the work panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a guest thread ended or panicked")]
pub(crate) struct WorkerLost;

/// What became of a call.
pub(crate) enum Outcome<T> {
    /// It ended.
    Done(T),
    /// Its time was up; it is gone.
    Late,
}

/// Processor time of guest threads, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Of calls: instances made and dropped included.
    pub calls: AtomicU64,
    /// Around them: threads that wake up for one, take it up and hand its answer over.
    pub around: AtomicU64,
}

thread_local! {
    /// Processor time of this thread that is accounted for.
    static ACCOUNTED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Ready work of one kind of threads, by tenant.
#[derive(Default)]
struct Lane {
    turns: VecDeque<TenantId>,
    ready: BTreeMap<TenantId, VecDeque<Arc<Job>>>,
}

impl Lane {
    fn push(&mut self, job: Arc<Job>) {
        let tenant = job.tenant.id;
        let own = self.ready.entry(tenant).or_default();
        if own.is_empty() {
            self.turns.push_back(tenant);
        }
        own.push_back(job);
    }

    fn pop(&mut self) -> Option<Arc<Job>> {
        let tenant = self.turns.pop_front()?;
        let own = self.ready.get_mut(&tenant)?;
        let job = own.pop_front();
        if own.is_empty() {
            self.ready.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        job
    }
}

struct Threads {
    lane: Mutex<Lane>,
    work: Condvar,
}

struct Shared {
    fast: Threads,
    slow: Threads,
    stopping: AtomicBool,
    /// Calls that have not ended.
    active: AtomicUsize,
    /// Whether the ticker sleeps until a call comes.
    asleep: AtomicBool,
    wake: Notify,
    threads: Arc<dyn env::Threads>,
    /// Ends of the calls that did not end in their first turn, soonest first.
    ends: Mutex<BinaryHeap<Reverse<End>>>,
}

/// When a call's time is up.
struct End(Duration, Weak<Job>);

impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for End {}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for End {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// Whether a job's future is still wanted.
trait Wanted: Send + Sync {
    /// Whether the caller still waits.
    fn is_wanted(&self) -> bool;
    /// Tells the caller that the time was up.
    fn late(&self);
    /// Tells a caller who has got no answer that there will be none.
    fn lost(&self);
}

struct Answer<T>(Mutex<Option<oneshot::Sender<Outcome<T>>>>);

impl<T: Send> Wanted for Answer<T> {
    fn is_wanted(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|answer| !answer.is_closed())
    }

    fn late(&self) {
        if let Some(answer) = self.0.lock().take() {
            // Whoever asked may have gone in this moment.
            let _ = answer.send(Outcome::Late);
        }
    }

    fn lost(&self) {
        drop(self.0.lock().take());
    }
}

struct Job {
    shared: Arc<Shared>,
    tenant: Arc<Member>,
    end: Duration,
    /// What the plugin's calls have used.
    cpu: Arc<Used>,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    answer: Arc<dyn Wanted>,
    /// One of [`IDLE`], [`QUEUED`], [`RUNNING`], [`AGAIN`].
    turn: AtomicU8,
    late: AtomicBool,
    /// Written by whoever runs it.
    progress: Mutex<Progress>,
}

/// It waits for something.
const IDLE: u8 = 0;
/// It is in a lane: one wake-up is enough.
const QUEUED: u8 = 1;
/// It has a thread.
const RUNNING: u8 = 2;
/// The same, and it was woken meanwhile.
const AGAIN: u8 = 3;

struct Progress {
    speed: Speed,
    /// Whether it has had its first turn.
    begun: bool,
    /// Processor time so far.
    used: Duration,
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let woken = |turn| match turn {
            IDLE => Some(QUEUED),
            RUNNING => Some(AGAIN),
            _ => None,
        };
        if self.turn.fetch_update(Ordering::AcqRel, Ordering::Acquire, woken) == Ok(IDLE) {
            self.queue();
        } else if self.shared.stopping.load(Ordering::Acquire) {
            self.forsake();
        }
    }
}

impl Job {
    /// Drops what nobody will run. If it runs at this moment, its thread sees that when it yields; to wait for that would be
    /// for ever if it were what makes it yield.
    fn forsake(&self) {
        if let Some(mut place) = self.future.try_lock()
            && place.take().is_some()
        {
            self.shared.active.fetch_sub(1, Ordering::Release);
            self.answer.lost();
        }
    }

    /// Puts it into its lane; nobody would find it there when the executor has stopped.
    fn queue(self: Arc<Self>) {
        let shared = Arc::clone(&self.shared);
        let speed = self.progress.lock().speed;
        if let Err(left) = shared.threads(speed).push(self, &shared.stopping) {
            left.forsake();
        }
    }

    /// Runs until the guest yields, waits or ends.
    fn run(self: Arc<Self>) {
        self.turn.store(RUNNING, Ordering::Release);
        let goes_on = self.poll();
        if goes_on && self.turn.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.turn.store(QUEUED, Ordering::Release);
            self.queue();
        }
    }

    /// Whether it is to have another turn when it is woken.
    fn poll(self: &Arc<Self>) -> bool {
        let mut place = self.future.lock();
        let Some(future) = place.as_mut() else { return false };
        let over = self.late.load(Ordering::Acquire);
        if over || !self.answer.is_wanted() {
            *place = None;
            self.shared.active.fetch_sub(1, Ordering::Relaxed);
            if over {
                self.answer.late();
            }
            return false;
        }
        self.shared.account(&self.cpu.around);
        let waker = Waker::from(Arc::clone(self));
        let accounted = ACCOUNTED.get();
        // A host function that panics ends its call, not the thread; the caller is told by the dropped answer.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        let goes_on = matches!(polled, Ok(Poll::Pending)) && !self.shared.stopping.load(Ordering::Acquire);
        if goes_on {
            self.shared.account(&self.cpu.calls);
        } else {
            *place = None;
            self.shared.account(&self.cpu.around);
            self.shared.active.fetch_sub(1, Ordering::Relaxed);
            self.answer.lost();
        }
        let used = ACCOUNTED.get().saturating_sub(accounted);
        let mut progress = self.progress.lock();
        if goes_on && !std::mem::replace(&mut progress.begun, true) {
            self.shared.ends.lock().push(Reverse(End(self.end, Arc::downgrade(self))));
        }
        let before = progress.used;
        progress.used = before.saturating_add(used);
        if before < FAST && progress.used >= FAST {
            progress.speed = Speed::Slow;
            self.tenant.took_long();
        }
        goes_on
    }
}

impl Threads {
    fn new() -> Self {
        Self { lane: Mutex::default(), work: Condvar::new() }
    }

    /// Gives the job back when nobody would take it any more.
    fn push(&self, job: Arc<Job>, stopping: &AtomicBool) -> Result<(), Arc<Job>> {
        let mut lane = self.lane.lock();
        // Under the lock: what is in the lane when the executor stops, it drops.
        if stopping.load(Ordering::Acquire) {
            return Err(job);
        }
        lane.push(job);
        drop(lane);
        self.work.notify_one();
        Ok(())
    }

    /// Works until the executor stops; `between` is what a thread does before each turn.
    fn serve(&self, stopping: &AtomicBool, between: impl Fn()) {
        loop {
            between();
            let job = {
                let mut lane = self.lane.lock();
                loop {
                    if stopping.load(Ordering::Acquire) {
                        return;
                    }
                    match lane.pop() {
                        Some(job) => break job,
                        None => self.work.wait(&mut lane),
                    }
                }
            };
            job.run();
        }
    }
}

impl Shared {
    fn threads(&self, speed: Speed) -> &Threads {
        match speed {
            Speed::Fast => &self.fast,
            Speed::Slow => &self.slow,
        }
    }

    /// Adds what this thread has used since it last did so.
    fn account(&self, cpu: &AtomicU64) {
        let now = self.threads.cpu_time();
        let used = now.saturating_sub(ACCOUNTED.replace(now));
        cpu.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Ends the calls whose time is up.
    fn end_late(&self, now: Duration) {
        let mut late = Vec::new();
        {
            let mut ends = self.ends.lock();
            while ends.peek().is_some_and(|Reverse(End(end, _))| *end <= now) {
                late.extend(ends.pop().and_then(|Reverse(End(_, job))| job.upgrade()));
            }
        }
        for job in late {
            job.late.store(true, Ordering::Release);
            job.wake();
        }
    }
}

/// A fixed number of threads of each kind; they end when this is dropped.
///
/// The lanes need no bound of their own: places for calls are taken before work comes here.
pub(crate) struct Executor(Arc<Shared>);

impl Drop for Executor {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::Release);
        for threads in [&self.0.fast, &self.0.slow] {
            // Under the lock, so that no thread is between looking and waiting. What is left is dropped with its caller
            // told so.
            let left = std::mem::take(&mut *threads.lane.lock());
            threads.work.notify_all();
            for job in left.ready.into_values().flatten() {
                job.forsake();
            }
        }
        self.0.wake.notify_one();
    }
}

impl Executor {
    /// Starts `count` threads of each kind, and the ticker of an engine.
    pub(crate) fn start(env: &Env, engine: &Engine, count: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            fast: Threads::new(),
            slow: Threads::new(),
            stopping: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            wake: Notify::new(),
            threads: Arc::clone(&env.threads),
            ends: Mutex::default(),
        });
        let executor = Self(Arc::clone(&shared));
        for number in 0..count.max(1) {
            let fast = Arc::clone(&shared);
            env.threads.spawn(&format!("guest-{number}"), Box::new(move || fast.fast.serve(&fast.stopping, || ())))?;
            let slow = Arc::clone(&shared);
            let body = Box::new(move || slow.slow.serve(&slow.stopping, || slow.threads.rest()));
            env.threads.spawn_background(&format!("guest-slow-{number}"), body)?;
        }
        start_ticker(env, engine, shared)?;
        Ok(executor)
    }

    /// Does a tenant's work, which ends by itself or when the clock says `end`. It is dropped when the caller goes away.
    /// `cpu` counts what it uses.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tenant: &Arc<Member>,
        end: Duration,
        cpu: &Arc<Used>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Outcome<T>, WorkerLost> {
        let (reply, result) = oneshot::channel();
        let answer = Arc::new(Answer(Mutex::new(Some(reply))));
        let told = Arc::clone(&answer);
        let (shared, used) = (Arc::clone(&self.0), Arc::clone(cpu));
        let future = Box::pin(async move {
            let done = work.await;
            // Before the answer: whoever has it sees what it cost.
            shared.account(&used.calls);
            if let Some(answer) = told.0.lock().take() {
                // Whoever asked may have gone in this moment.
                let _ = answer.send(Outcome::Done(done));
            }
        });
        self.0.active.fetch_add(1, Ordering::SeqCst);
        if self.0.asleep.swap(false, Ordering::SeqCst) {
            self.0.wake.notify_one();
        }
        let speed = tenant.first_speed();
        let job = Arc::new(Job {
            shared: Arc::clone(&self.0),
            tenant: Arc::clone(tenant),
            end,
            cpu: Arc::clone(cpu),
            future: Mutex::new(Some(future)),
            answer,
            turn: AtomicU8::new(QUEUED),
            late: AtomicBool::new(false),
            progress: Mutex::new(Progress { speed, begun: false, used: Duration::ZERO }),
        });
        Arc::clone(&job).queue();
        let mut abandon = Abandon(Some(job));
        let outcome = result.await.map_err(|_| WorkerLost);
        abandon.0 = None;
        outcome
    }
}

/// Wakes a job whose caller went away, so that it is dropped though nothing else would wake it.
struct Abandon(Option<Arc<Job>>);

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            job.wake();
        }
    }
}

/// Raises the engine's epoch every [`TICK`] while calls run, until the executor is gone and the last call with it.
fn start_ticker(env: &Env, engine: &Engine, shared: Arc<Shared>) -> io::Result<()> {
    // A thread of its own: were it a guest thread, a guest that computes would stop the clock that interrupts it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (engine, clock) = (engine.weak(), Arc::clone(&env.clock));
    let body = move || {
        runtime.block_on(async move {
            let mut idle = 0;
            // As long as a guest computes, or it would never see that it is to stop.
            while !shared.stopping.load(Ordering::Acquire) || shared.active.load(Ordering::Acquire) > 0 {
                if idle >= LINGER {
                    shared.asleep.store(true, Ordering::SeqCst);
                    // A call that came before the line above wakes nobody.
                    if shared.active.load(Ordering::SeqCst) == 0 {
                        shared.wake.notified().await;
                    }
                    shared.asleep.store(false, Ordering::Release);
                    idle = 0;
                }
                clock.sleep(TICK).await;
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
                shared.end_late(clock.monotonic());
                idle = if shared.active.load(Ordering::Acquire) == 0 { idle + 1 } else { 0 };
            }
        });
    };
    env.threads.spawn("guest-epoch", Box::new(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use eigenshift_env::real::OsThreads;

    use super::*;

    /// Computes for so long without waiting.
    async fn compute(time: Duration) {
        let begun = Env::real().threads.cpu_time();
        while Env::real().threads.cpu_time().saturating_sub(begun) < time {}
    }

    #[tokio::test]
    async fn a_call_that_computes_for_long_is_noted_and_a_short_one_is_not() {
        let executor = Executor::start(&Env::real(), &Engine::default(), 1).unwrap();
        let tenant = Arc::new(Member::new(TenantId(1)));
        let end = Env::real().clock.monotonic() + Duration::from_secs(300);
        let run = async |time| executor.run(&tenant, end, &Arc::default(), compute(time)).await.is_ok();
        assert!(run(Duration::ZERO).await);
        assert!(run(FAST).await);
        // The answer comes a moment before the account is made up.
        while !tenant.noted().0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(tenant.noted(), (true, 0), "one alone");
    }

    /// The system's threads, which note who would pause instead of doing so.
    #[derive(Default)]
    struct Noting(Mutex<Vec<Option<String>>>);

    impl env::Threads for Noting {
        fn spawn(&self, name: &str, body: env::threads::Job) -> io::Result<()> {
            OsThreads.spawn(name, body)
        }

        fn rest(&self) {
            self.0.lock().push(std::thread::current().name().map(str::to_owned));
        }

        fn pool(&self, name: &str, threads: usize, queue: usize) -> io::Result<env::Pool> {
            OsThreads.pool(name, threads, queue)
        }
    }

    #[tokio::test]
    async fn slow_threads_pause_between_turns_and_fast_ones_never() {
        let noting = Arc::new(Noting::default());
        let env = Env { threads: Arc::clone(&noting) as Arc<dyn env::Threads>, ..Env::real() };
        let executor = Executor::start(&env, &Engine::default(), 1).unwrap();
        let end = env.clock.monotonic() + Duration::from_secs(300);
        const TURNS: usize = 5;
        for tenant in [Member::kept_slow(TenantId(1)), Member::new(TenantId(2))] {
            let work = async {
                for _ in 1..TURNS {
                    tokio::task::yield_now().await;
                }
            };
            assert!(executor.run(&Arc::new(tenant), end, &Arc::default(), work).await.is_ok());
        }
        let rested = noting.0.lock();
        assert!(rested.len() >= TURNS, "{rested:?}");
        assert!(rested.iter().all(|name| name.as_deref() == Some("guest-slow-0")), "{rested:?}");
    }

    #[tokio::test]
    async fn whoever_waits_for_a_call_that_panics_is_told() {
        let executor = Executor::start(&Env::real(), &Engine::default(), 1).unwrap();
        let tenant = Arc::new(Member::new(TenantId(1)));
        let end = Env::real().clock.monotonic() + Duration::from_secs(300);
        let cpu = Arc::default();
        #[allow(clippy::panic, reason = "that is what is tested")]
        let panics = async { panic!("on purpose") };
        assert!(executor.run(&tenant, end, &cpu, panics).await.is_err());
        let ends: Outcome<u8> = executor.run(&tenant, end, &cpu, async { 7 }).await.unwrap();
        assert!(matches!(ends, Outcome::Done(7)), "the thread is still there");
    }
}
