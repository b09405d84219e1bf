//! The async shell around [`Core`](crate::core::Core).
//!
//! Shares wait in one queue; a driver takes as many as fit a batch, verifies them on the pool while others queue up, and
//! gives the verdicts to the core. A lone share is verified at once; under load batches grow by themselves. A batch may
//! mix tasks: shares over the same digest share a pairing.

mod queue;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::{Curve, DecodeError, Signature};
use eigenshift_env::{Clock, Env, Pool};
use eigenshift_types::{B256, Bytes, ResponseKey, TaskIndex};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::batch::{self, Verified};
use crate::core::{Admission, Core, Ticket};
use crate::prepared::PreparedKeys;
use crate::{Accepted, Error, Event, KeyProgress, Share, ShareError, TaskAggregation};
use queue::{Line, Queue, Waiter};

/// Bounds of a service. A bound of zero counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tasks collected for at a time.
    pub max_open_tasks: usize,
    /// Shares verified in one go. The larger, the cheaper each; but one wrong share holds up more others for the few
    /// checks that find it.
    pub max_batch: usize,
    /// Shares that may wait for their verdict; beyond, callers are told [`ShareError::Busy`].
    pub max_waiting: usize,
    /// Batches verified side by side: the pool's threads are a good choice.
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_open_tasks: 256, max_batch: 256, max_waiting: 8192, concurrency: 2 }
    }
}

/// Starts the service.
#[derive(Debug)]
pub struct Service;

impl Service {
    /// Starts a service on the current runtime. It ends when the last handle is dropped; shares that wait then are
    /// answered [`ShareError::Closed`].
    #[must_use]
    pub fn start(options: Options, env: &Env, pool: Pool) -> (Handle, Events) {
        let (events, receiver) = mpsc::unbounded_channel();
        let state = State {
            core: Core::new(options.max_open_tasks.max(1)),
            queue: Queue::new(options.max_waiting.max(1)),
            events,
            closed: false,
        };
        let clock = Arc::clone(&env.clock);
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Notify::new(), clock, pool });
        let driver = Driver { shared: Arc::clone(&shared), options, keys: Arc::default() };
        // The driver ends by itself when the handles are gone.
        drop(env.spawn(driver.run()));
        (Handle(Arc::new(Alive(shared))), Events(receiver))
    }
}

struct State {
    core: Core,
    queue: Queue,
    events: mpsc::UnboundedSender<Event>,
    closed: bool,
}

impl State {
    fn emit(&self, events: Vec<Event>) {
        for event in events {
            // Unbounded, because a consumer that stalls must not hold up signatures, and small: there are at most a few
            // events for each key that operators with stake answered for. Nobody listening is no fault.
            let _ = self.events.send(event);
        }
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Notify,
    clock: Arc<dyn Clock>,
    pool: Pool,
}

/// Ends the driver with the last handle.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.0.wake.notify_one();
    }
}

/// What feeds the service. Cheap to clone. No call but [`Handle::submit`] waits for anything.
#[derive(Clone)]
pub struct Handle(Arc<Alive>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle(..)")
    }
}

impl Handle {
    /// Begins to collect for a task.
    ///
    /// # Errors
    /// [`Error`]: quorums that do not fit the set, no keys, open already, or too many open.
    pub fn open(&self, task: TaskAggregation) -> Result<(), Error> {
        let now = self.0.0.clock.monotonic();
        self.0.0.state.lock().core.open(task, now)?;
        // Its end may be the next thing to wait for.
        self.0.0.wake.notify_one();
        Ok(())
    }

    /// Whether a task is open: what is not may be parked.
    #[must_use]
    pub fn is_open(&self, task: TaskIndex) -> bool {
        self.0.0.state.lock().core.is_open(task)
    }

    /// Gives in a share and waits for what becomes of it. A caller that goes away harms nobody: its share is verified and
    /// counted all the same.
    ///
    /// # Errors
    /// [`ShareError`] says why it does not count, and what to do.
    pub async fn submit(&self, share: Share) -> Result<Accepted, ShareError> {
        let curve = self.0.0.state.lock().core.precheck(&share)?;
        let signature = match self.decode(curve, share.signature.clone()).await? {
            Ok(signature) => signature,
            Err(error) => {
                self.0.0.state.lock().core.malformed(&share);
                return Err(error.into());
            }
        };
        let answer = {
            let mut state = self.0.0.state.lock();
            match state.core.admit_decoded(&share, signature)? {
                Admission::Known(accepted) => return Ok(accepted),
                Admission::Verify(ticket) => {
                    let suspect = state.core.is_suspect(ticket.operator);
                    state.queue.push(*ticket, if suspect { Line::Suspect } else { Line::Trusted })?
                }
            }
        };
        self.0.0.wake.notify_one();
        answer.await.unwrap_or(Err(ShareError::Closed))
    }

    /// Decodes a signature: of BN254 here, where it takes a microsecond; of BLS12-381, whose subgroup check takes a hundred,
    /// on the pool.
    async fn decode(&self, curve: Curve, bytes: Bytes) -> Result<Result<Signature, DecodeError>, ShareError> {
        match curve {
            Curve::Bn254 => Ok(Signature::decode(curve, &bytes)),
            Curve::Bls12381 => {
                let decoded = self.0.0.pool.run(move || Signature::decode(curve, &bytes)).await;
                decoded.map_err(|_| ShareError::Closed)
            }
        }
    }

    /// Tells that the ledger holds a certificate for this key, perhaps another aggregator's: nothing more is collected for
    /// it, and no terminal event comes.
    pub fn mark_certified(&self, task: TaskIndex, key: &ResponseKey, digest: B256) {
        self.0.0.state.lock().core.mark_certified(task, key, digest);
    }

    /// Ends a task and forgets it: keys in their window are certified with what they have, the others expire. Shares that
    /// still wait are answered [`ShareError::NotOpen`]. Closing what is not open does nothing.
    pub fn close(&self, task: TaskIndex) {
        let mut state = self.0.0.state.lock();
        let events = state.core.close(task);
        state.emit(events);
    }

    /// Tells of a new block: tasks that expire with it end.
    pub fn at_block(&self, number: u64) {
        let now = self.0.0.clock.monotonic();
        let mut state = self.0.0.state.lock();
        let events = state.core.at_block(number, now);
        state.emit(events);
    }

    /// How far each key of a task has come; none when the task is not open.
    #[must_use]
    pub fn progress(&self, task: TaskIndex) -> Option<Vec<KeyProgress>> {
        self.0.0.state.lock().core.progress(task)
    }

    /// Shares that wait for their verdict now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.0.state.lock().queue.len()
    }
}

/// What happened, in order.
#[derive(Debug)]
pub struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    /// The next event; none when the service has ended. Cancelling the call loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// Shares of suspects that are verified in one go.
const SUSPECTS_AT_A_TIME: usize = 8;

struct Driver {
    shared: Arc<Shared>,
    options: Options,
    keys: Arc<PreparedKeys>,
}

/// Shares to be verified in one go.
struct Batch {
    tickets: Vec<Ticket>,
    sums: bool,
}

/// What became of a batch: none when the pool dropped it.
struct Done {
    tickets: Vec<Ticket>,
    verified: Option<Verified>,
}

impl Batch {
    fn of(tickets: Vec<Ticket>) -> Self {
        Self { tickets, sums: true }
    }

    async fn verify(self, pool: Pool, keys: Arc<PreparedKeys>) -> Done {
        let Self { tickets, sums } = self;
        let own = tickets.clone();
        let work = move || {
            if sums {
                batch::verify(own, &keys)
            } else {
                Verified { alone: batch::each(own, &keys), ..Verified::default() }
            }
        };
        Done { verified: pool.run(work).await.ok(), tickets }
    }
}

/// What the driver does next.
struct Step {
    batches: Vec<Batch>,
    deadline: Option<Duration>,
}

impl Driver {
    async fn run(self) {
        let mut running = FuturesUnordered::new();
        let mut again: Vec<Batch> = Vec::new();
        loop {
            let verify = |batch: Batch| batch.verify(self.shared.pool.clone(), Arc::clone(&self.keys));
            running.extend(again.drain(..).map(verify));
            let now = self.shared.clock.monotonic();
            let Some(step) = self.step(now, running.len()) else {
                return;
            };
            running.extend(step.batches.into_iter().map(verify));
            let timer = async {
                match step.deadline {
                    Some(deadline) => self.shared.clock.sleep(deadline.saturating_sub(now)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                Some(done) = running.next() => again.extend(self.finish(done)),
                () = timer => {}
            }
        }
    }

    /// Ends windows and takes batches. None when the service has ended.
    fn step(&self, now: Duration, running: usize) -> Option<Step> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return None;
        }
        let events = state.core.tick(now);
        state.emit(events);
        let free = self.options.concurrency.max(1).saturating_sub(running);
        let max = self.options.max_batch.max(1);
        let mut batches: Vec<Batch> =
            (0..free).map_while(|_| state.queue.take(Line::Trusted, max)).map(Batch::of).collect();
        // Suspects wait for the others, and never take more than one place; few at a time, so that the place is free again
        // soon.
        if batches.is_empty() && running == 0 {
            batches.extend(state.queue.take(Line::Suspect, max.min(SUSPECTS_AT_A_TIME)).map(Batch::of));
        }
        Some(Step { batches, deadline: state.core.next_deadline() })
    }

    /// Counts what is verified; what is to be verified alone comes back.
    fn finish(&self, done: Done) -> Option<Batch> {
        let now = self.shared.clock.monotonic();
        let mut state = self.shared.state.lock();
        let Some(Verified { sums, alone }) = done.verified else {
            for ticket in &done.tickets {
                reply(state.queue.remove(ticket), Err(ShareError::Closed));
            }
            return None;
        };
        let mut again = Vec::new();
        for tickets in sums {
            let (answers, events) = state.core.count_sum(&tickets, now);
            state.emit(events);
            match answers {
                Some(answers) => {
                    for (ticket, answer) in tickets.iter().zip(answers) {
                        reply(state.queue.remove(ticket), answer);
                    }
                }
                None => again.extend(tickets),
            }
        }
        for (ticket, verdict) in alone {
            let (answer, events) = state.core.count(&ticket, verdict, now);
            state.emit(events);
            reply(state.queue.remove(&ticket), answer);
        }
        (!again.is_empty()).then_some(Batch { tickets: again, sums: false })
    }
}

/// Answers everybody who gave in the same share: the first is told that it counts, the others that it does already.
fn reply(waiters: Vec<Waiter>, mut answer: Result<Accepted, ShareError>) {
    for waiter in waiters {
        // A caller that went away wants no answer.
        let _: Result<(), _> = oneshot::Sender::send(waiter, answer);
        if answer == Ok(Accepted::Counted) {
            answer = Ok(Accepted::Duplicate);
        }
    }
}
