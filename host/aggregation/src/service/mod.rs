//! The async shell around [`Core`](crate::core::Core).
//!
//! Shares wait by task; a driver takes as many as fit a batch, the tasks in turn, verifies them on the pool while others
//! queue up, and gives the verdicts to the core. A lone share is verified at once; under load batches grow by themselves.
//! A batch may mix tasks: shares over the same digest share a pairing. Right sums are counted before anybody looks for
//! the wrong shares of the others.

mod queue;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::{Curve, DecodeError, Signature};
use eigenshift_env::{Env, Pool};
use eigenshift_types::{B256, OperatorId, ResponseKey, TaskIndex};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::batch::{self, Sums};
use crate::core::{Admission, Core, Next, Ticket, Verdict};
use crate::prepared::PreparedKeys;
use crate::{Accepted, Error, Event, KeyProgress, Share, ShareError, TaskAggregation};
use queue::{Line, Queue, Room, Waiter};

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
    /// Bytes of their payloads and keys; beyond, the same.
    pub max_waiting_bytes: usize,
    /// Batches verified side by side: the pool's threads are a good choice.
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_open_tasks: 256, max_batch: 256, max_waiting: 8192, max_waiting_bytes: 32 << 20, concurrency: 2 }
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
            queue: Queue::new(Room { shares: options.max_waiting.max(1), bytes: options.max_waiting_bytes.max(1) }),
            decoding: BTreeMap::new(),
            events,
            closed: false,
        };
        let env = env.clone();
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Notify::new(), env, pool });
        let driver = Driver { shared: Arc::clone(&shared), options, keys: Arc::default() };
        // The driver ends by itself when the handles are gone.
        drop(driver.shared.env.clone().spawn(driver.run()));
        (Handle(Arc::new(Alive(shared))), Events(receiver))
    }
}

struct State {
    core: Core,
    queue: Queue,
    /// Shares of an operator whose signatures are being decoded on the pool.
    decoding: BTreeMap<OperatorId, usize>,
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
    env: Env,
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
        let now = self.0.0.env.clock.monotonic();
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
        let curve = match self.0.0.state.lock().core.precheck(&share)? {
            Next::Decode(curve) => curve,
            Next::Known(accepted) => return Ok(accepted),
        };
        match curve {
            // It takes a microsecond.
            Curve::Bn254 => self.give_in(&share, Signature::decode(curve, &share.signature)).await,
            // The subgroup check takes a hundred. The task goes on when the caller goes away.
            Curve::Bls12381 => {
                let handle = self.clone();
                let decoding = async move {
                    let place = Decoding::begin(&handle.0.0, share.operator)?;
                    let bytes = share.signature.clone();
                    let decoded = handle.0.0.pool.run(move || Signature::decode(curve, &bytes)).await;
                    drop(place);
                    let decoded = decoded.map_err(|_| ShareError::Closed)?;
                    handle.give_in(&share, decoded).await
                };
                self.0.0.env.spawn(decoding).await.unwrap_or(Err(ShareError::Closed))
            }
        }
    }

    async fn give_in(&self, share: &Share, signature: Result<Signature, DecodeError>) -> Result<Accepted, ShareError> {
        let signature = match signature {
            Ok(signature) => signature,
            Err(error) => {
                self.0.0.state.lock().core.malformed(share);
                return Err(error.into());
            }
        };
        let answer = {
            let mut state = self.0.0.state.lock();
            match state.core.admit_decoded(share, signature)? {
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
        reply_each(state.queue.purge(task), ShareError::NotOpen(task));
    }

    /// Tells of a new block: tasks that expire with it end.
    pub fn at_block(&self, number: u64) {
        let now = self.0.0.env.clock.monotonic();
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

/// Signatures of one operator that are decoded on the pool at a time: others' wait behind them.
const MAX_DECODING: usize = 4;

/// An operator's place among those.
struct Decoding<'a> {
    shared: &'a Shared,
    operator: OperatorId,
}

impl<'a> Decoding<'a> {
    fn begin(shared: &'a Shared, operator: OperatorId) -> Result<Self, ShareError> {
        let mut state = shared.state.lock();
        let own = state.decoding.entry(operator).or_default();
        if *own >= MAX_DECODING {
            return Err(ShareError::Busy);
        }
        *own += 1;
        drop(state);
        Ok(Self { shared, operator })
    }
}

impl Drop for Decoding<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Entry::Occupied(mut own) = state.decoding.entry(self.operator) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
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

/// Batches of others that may go before those of suspects: they come after the others, and still they come.
const BEFORE_SUSPECTS: u32 = 16;

/// Shares verified alone in one go: finding wrong ones among them takes long.
const ALONE_AT_A_TIME: usize = 64;

struct Driver {
    shared: Arc<Shared>,
    options: Options,
    keys: Arc<PreparedKeys>,
}

/// What is verified in one go.
enum Batch {
    /// Sums first.
    Fresh(Vec<Ticket>),
    /// What no sum proved.
    Rest(Vec<Ticket>),
    /// Suspects', each alone.
    Suspect(Vec<Ticket>),
}

/// What became of a batch: nothing when the pool dropped it.
struct Done {
    batch: Batch,
    verified: Option<Verified>,
}

#[derive(Default)]
struct Verified {
    sums: Sums,
    alone: Vec<(Ticket, Verdict)>,
}

impl Batch {
    fn tickets(&self) -> &[Ticket] {
        let (Self::Fresh(tickets) | Self::Rest(tickets) | Self::Suspect(tickets)) = self;
        tickets
    }

    async fn verify(self, pool: Pool, keys: Arc<PreparedKeys>) -> Done {
        let own = self.tickets().to_vec();
        let fresh = matches!(self, Self::Fresh(_));
        let work = move || {
            let sums = if fresh { batch::sums(own) } else { Sums { rest: own, ..Sums::default() } };
            // Right sums are not kept waiting for what is not.
            if sums.right.is_empty() {
                Verified { sums: Sums::default(), alone: batch::each(sums.rest, &keys) }
            } else {
                Verified { sums, ..Verified::default() }
            }
        };
        Done { verified: pool.run(work).await.ok(), batch: self }
    }
}

/// What is under way, and whose turn it is.
#[derive(Default)]
struct Turns {
    running: usize,
    suspects_run: bool,
    /// Proven by no sum: verified in turn with what is fresh.
    rest: VecDeque<Vec<Ticket>>,
    fresh_was_last: bool,
    since_suspects: u32,
}

impl Turns {
    /// The next batch for a free place, if there is one.
    fn next(&mut self, queue: &mut Queue, max: usize) -> Option<Batch> {
        let suspects = !self.suspects_run && queue.waits(Line::Suspect);
        let fresh = queue.waits(Line::Trusted);
        let idle = self.running == 0 && !fresh && self.rest.is_empty();
        let batch = if suspects && (idle || self.since_suspects >= BEFORE_SUSPECTS) {
            self.since_suspects = 0;
            self.suspects_run = true;
            Batch::Suspect(queue.take(Line::Suspect, max.min(SUSPECTS_AT_A_TIME))?)
        } else if !self.rest.is_empty() && (self.fresh_was_last || !fresh) {
            self.fresh_was_last = false;
            Batch::Rest(self.rest.pop_front()?)
        } else {
            self.fresh_was_last = true;
            Batch::Fresh(queue.take(Line::Trusted, max)?)
        };
        if suspects && !matches!(batch, Batch::Suspect(_)) {
            self.since_suspects += 1;
        }
        self.running += 1;
        Some(batch)
    }

    fn ended(&mut self, batch: &Batch) {
        self.running -= 1;
        if matches!(batch, Batch::Suspect(_)) {
            self.suspects_run = false;
        }
    }

    fn alone(&mut self, rest: &[Ticket]) {
        self.rest.extend(rest.chunks(ALONE_AT_A_TIME).map(<[Ticket]>::to_vec));
    }
}

impl Driver {
    async fn run(self) {
        let mut running = FuturesUnordered::new();
        let mut turns = Turns::default();
        loop {
            let now = self.shared.env.clock.monotonic();
            let Some((batches, deadline)) = self.step(now, &mut turns) else {
                return;
            };
            let verify = |batch: Batch| batch.verify(self.shared.pool.clone(), Arc::clone(&self.keys));
            running.extend(batches.into_iter().map(verify));
            let timer = async {
                match deadline {
                    Some(deadline) => self.shared.env.clock.sleep(deadline.saturating_sub(now)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                Some(done) = running.next() => self.finish(done, &mut turns),
                () = timer => {}
            }
        }
    }

    /// Ends windows and takes batches; with when to look again. None when the service has ended.
    fn step(&self, now: Duration, turns: &mut Turns) -> Option<(Vec<Batch>, Option<Duration>)> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return None;
        }
        let events = state.core.tick(now);
        state.emit(events);
        let free = self.options.concurrency.max(1).saturating_sub(turns.running);
        let max = self.options.max_batch.max(1);
        let batches = (0..free).map_while(|_| turns.next(&mut state.queue, max)).collect();
        Some((batches, state.core.next_deadline()))
    }

    /// Counts what is verified; what is to be verified alone gets its turn.
    fn finish(&self, done: Done, turns: &mut Turns) {
        turns.ended(&done.batch);
        let now = self.shared.env.clock.monotonic();
        let mut state = self.shared.state.lock();
        let Some(Verified { sums, alone }) = done.verified else {
            for ticket in done.batch.tickets() {
                reply(state.queue.remove(ticket), Err(ShareError::Closed));
            }
            return;
        };
        for tickets in sums.right {
            let (answers, events) = state.core.count_sum(&tickets, now);
            state.emit(events);
            match answers {
                Some(answers) => {
                    for (ticket, answer) in tickets.iter().zip(answers) {
                        reply(state.queue.remove(ticket), answer);
                    }
                }
                None => turns.alone(&tickets),
            }
        }
        turns.alone(&sums.rest);
        for (ticket, verdict) in alone {
            let (answer, events) = state.core.count(&ticket, verdict, now);
            state.emit(events);
            reply(state.queue.remove(&ticket), answer);
        }
    }
}

fn reply_each(waiters: Vec<Waiter>, error: ShareError) {
    for waiter in waiters {
        // A caller that went away wants no answer.
        let _: Result<(), _> = oneshot::Sender::send(waiter, Err(error));
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
