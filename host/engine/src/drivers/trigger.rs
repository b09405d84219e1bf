//! Makes tasks of triggers: at the leader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eigenshift_chain::{Log, LogFilter, TransactionRequest};
use eigenshift_ledger::command::{Command, CreateTask};
use eigenshift_ledger::{Accepted, State, TriggerId};
use eigenshift_plugin::{CallError, EventFilter, EventLog, NewTask, Plan, Trigger};
use eigenshift_types::{B256, BlockRef, Bytes, TaskIndex, TaskSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use crate::callbacks::{Callbacks, caught};
use crate::context::Context;
use crate::drivers::plan;
use crate::drivers::transactions::confirmed_number;
use crate::ledger::CommandError;

/// A timer of this node's configuration: it fires at the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its name; the plugin sees it.
    pub name: String,
    /// How often.
    pub every: Duration,
}

/// What became of a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Triggered {
    /// A task.
    Task {
        /// Its number.
        index: TaskIndex,
    },
    /// A transaction that will create one on chain; the task follows when it is confirmed.
    Planned {
        /// Its hash.
        tx: B256,
    },
    /// Nothing: the plugin's reason.
    Ignored {
        /// For people.
        reason: String,
    },
    /// The same trigger has made its task or plan before.
    Used,
}

/// Why a trigger made nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// Not the leader.
    #[error("this node does not lead; send it to the leader")]
    NotLeader,
    /// No room for a long time.
    #[error(
        "no task could be created within {0:?}: too many are open, or a hand-over is due; try again with the same key"
    )]
    NoRoom(Duration),
    /// The plugin.
    #[error("the plugin makes no task of it: {0}")]
    Plugin(CallError),
    /// The chain or the ledger.
    #[error("not now: {0}; try again with the same key")]
    NotNow(String),
    /// Unusable.
    #[error("unusable: {0}")]
    Invalid(&'static str),
}

impl TriggerError {
    /// Short machine-readable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotLeader => "not-leader",
            Self::NoRoom(_) => "no-room",
            Self::Plugin(error) => error.code(),
            Self::NotNow(_) => "not-now",
            Self::Invalid(_) => "invalid-trigger",
        }
    }
}

/// How long a request waits for room.
const ROOM: Duration = Duration::from_secs(30);

/// The pause after somebody else took the room.
const CROWDED: Duration = Duration::from_millis(5);

/// The ledger's codes for what changes by itself: no room, or another bundle since the logic was asked.
const FULL: [&str; 3] = ["too-many-open-tasks", "hand-over-due", "wrong-bundle"];

/// The ledger's code for whoever does not lead.
const NOT_LEADER: &str = "not-leader";

/// Requests under way at once; more wait in the callers.
const CONCURRENT: usize = 64;

/// A timer's next slot is waited for in steps of this: the clock may be set meanwhile.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// Blocks per query for logs.
const LOG_RANGE: u64 = 500;

/// Makes tasks. Cheap to clone.
#[derive(Clone)]
pub struct Triggers {
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    /// One above the highest index this process proposed, so that concurrent requests do not propose the same one.
    next_index: Arc<AtomicU32>,
}

fn has_room(state: &State) -> bool {
    let most = state.settings.as_ref().map_or(0, |settings| settings.max_open_tasks as usize);
    !state.rotation.is_moving() && state.live_tasks().count() < most
}

impl Triggers {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, slots: Arc::new(Semaphore::new(CONCURRENT)), next_index: Arc::default() }
    }

    /// Makes a task of an administrator's request; `key` makes it safe to ask again.
    ///
    /// # Errors
    /// [`TriggerError`].
    pub async fn request(&self, key: String, payload: Bytes) -> Result<Triggered, TriggerError> {
        let id = TriggerId::Request { key };
        let _slot = self.slots.acquire().await.map_err(|_| TriggerError::NotLeader)?;
        let trigger = Trigger::Request(payload);
        let deadline = self.context.env.clock.monotonic() + ROOM;
        loop {
            let left = deadline.saturating_sub(self.context.env.clock.monotonic());
            match self.fire(&id, &trigger, None, left).await {
                // Others took the room that there was.
                Err(TriggerError::NoRoom(_)) if !left.is_zero() => self.context.env.clock.sleep(CROWDED).await,
                done => return done,
            }
        }
    }

    async fn room(&self, patience: Duration) -> Result<(), TriggerError> {
        let mut changes = self.context.ledger.changes();
        let deadline = self.context.env.clock.monotonic() + patience;
        loop {
            changes.borrow_and_update();
            if !self.context.leads() {
                return Err(TriggerError::NotLeader);
            }
            if self.context.ledger.read(has_room) {
                return Ok(());
            }
            let left = deadline.saturating_sub(self.context.env.clock.monotonic());
            if left.is_zero() {
                return Err(TriggerError::NoRoom(patience));
            }
            // Leadership may be lost without a change here.
            let wait = left.min(self.context.patience.tick);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Err(TriggerError::NotLeader) },
                () = self.context.env.clock.sleep(wait) => {}
                () = self.context.stop.cancelled() => return Err(TriggerError::NotLeader),
            }
        }
    }

    /// `at` is the block of an event; other triggers are worked at the reference block.
    async fn fire(
        &self,
        id: &TriggerId,
        trigger: &Trigger,
        at: Option<BlockRef>,
        patience: Duration,
    ) -> Result<Triggered, TriggerError> {
        self.room(patience).await?;
        if self.context.ledger.read(|state| state.is_used(id)) {
            return Ok(Triggered::Used);
        }
        let block = match at {
            Some(block) => block,
            None => self.reference_block().await?,
        };
        let logic = self.context.active_logic();
        let logic = logic.ok_or_else(|| TriggerError::NotNow("the active bundle is not loaded here yet".to_owned()))?;
        let plan = match (logic.source(), trigger) {
            (Some(source), _) => caught(source.on_trigger(block, trigger)).await.map_err(TriggerError::Plugin)?,
            (None, Trigger::Request(payload)) => {
                Plan::Create(NewTask { index: None, request: payload.clone(), keys_expected: 1 })
            }
            (None, _) => {
                return Err(TriggerError::Invalid("the bundle has no task-source, so only requests make tasks"));
            }
        };
        match plan {
            Plan::Create(task) => self.create(id, task, block, logic.as_ref()).await,
            Plan::Transact(transaction) => {
                let mut request = TransactionRequest::call(transaction.to, transaction.data);
                request.value = transaction.value;
                if !request.value.is_zero() {
                    return Err(TriggerError::Invalid("a transaction that creates a task carries no value"));
                }
                let flight = plan::announce(&self.context, id, request, None).await.map_err(TriggerError::NotNow)?;
                Ok(Triggered::Planned { tx: flight.signed.hash })
            }
            Plan::Ignore(reason) => Ok(Triggered::Ignored { reason }),
        }
    }

    async fn reference_block(&self) -> Result<BlockRef, TriggerError> {
        let lag =
            self.context.ledger.read(|state| state.settings.as_ref().map_or(0, |settings| settings.reference_lag));
        let not_now = |error: eigenshift_chain::Error| TriggerError::NotNow(error.to_string());
        let head = self.context.chain.head().await.map_err(not_now)?;
        if lag == 0 {
            return Ok(head.block);
        }
        let number = head.block.number.saturating_sub(lag);
        let header = self.context.chain.header_by_number(number).await.map_err(not_now)?;
        header.map(|header| header.block).ok_or_else(|| TriggerError::NotNow(format!("block {number} is not known")))
    }

    async fn create(
        &self,
        id: &TriggerId,
        task: NewTask,
        block: BlockRef,
        logic: &dyn Callbacks,
    ) -> Result<Triggered, TriggerError> {
        let context = &self.context;
        let not_now = |error: eigenshift_chain::Error| TriggerError::NotNow(error.to_string());
        let header = context.chain.header_by_hash(block.hash).await.map_err(not_now)?;
        let header = header.ok_or_else(|| TriggerError::NotNow(format!("block {block} is not known")))?;
        let settings = context.ledger.read(|state| state.settings.clone()).ok_or(TriggerError::NotLeader)?;
        let set = context
            .sets
            .at(settings.registry, settings.curve, &settings.quorums.numbers, block)
            .await
            .map_err(not_now)?;
        if !context.ledger.read(|state| state.sets.contains_key(&set.digest)) {
            let command = Command::OperatorSet(Box::new(set.as_ref().clone()));
            context.ledger.propose(&command).await.map_err(|error| TriggerError::NotNow(error.to_string()))?;
        }
        let index = task.index.unwrap_or_else(|| {
            let logged = context.ledger.read(|state| state.next_index);
            self.next_index.fetch_max(logged, Ordering::SeqCst);
            self.next_index.fetch_add(1, Ordering::SeqCst)
        });
        let spec = TaskSpec {
            index,
            request: task.request,
            keys_expected: task.keys_expected,
            quorums: settings.quorums,
            set_digest: set.digest,
            reference_block: block,
            reference_time: header.timestamp,
            bundle_digest: logic.bundle_digest(),
        };
        let create = CreateTask { trigger: id.clone(), spec, submits: logic.submits() };
        match context.ledger.propose(&Command::CreateTask(Box::new(create))).await {
            Ok(Some(Accepted::Task { index, .. })) => Ok(Triggered::Task { index }),
            Ok(_) => {
                let made = context
                    .ledger
                    .read(|state| state.tasks.values().find(|task| task.trigger == *id).map(|task| task.spec.index));
                made.map(|index| Triggered::Task { index })
                    .ok_or_else(|| TriggerError::NotNow("its fate is not known yet".to_owned()))
            }
            Err(CommandError::Refused { code, .. }) if FULL.contains(&code.as_str()) => Err(TriggerError::NoRoom(ROOM)),
            // It led when it began.
            Err(CommandError::Refused { code, .. }) if code == NOT_LEADER => Err(TriggerError::NotLeader),
            Err(error) => Err(TriggerError::NotNow(error.to_string())),
        }
    }
}

/// Watches contract events and timers: at the leader.
pub(crate) async fn run(context: Arc<Context>, triggers: Triggers, timers: Vec<Timer>) {
    let mut heads = context.chain.heads();
    let mut changes = context.ledger.changes();
    let mut events = Events::default();
    loop {
        let Some(term) = context.wait_to_lead().await else { return };
        if events.term != term {
            events = Events { term, ..Events::default() };
        }
        heads.mark_unchanged();
        let bundle = context.ledger.read(|state| state.bundle);
        let scanned = events.scan(&context, &triggers).await.unwrap_or_else(|why| {
            context.counters.count("event-scan", "retried");
            tracing::debug!(avs = %context.service.avs, "events: {why}");
            false
        });
        let mut again = (!scanned).then_some(context.patience.tick);
        for timer in &all_timers(&context, &timers) {
            let next = fire_timer(&context, &triggers, timer).await;
            again = Some(again.map_or(next, |again| again.min(next)));
        }
        tokio::select! {
            changed = heads.changed(), if events.wants_blocks() => if changed.is_err() { return },
            moved = another_bundle(&context, &mut changes, bundle) => if moved.is_none() { return },
            () = context.env.clock.sleep(again.unwrap_or_default()), if again.is_some() => {}
            () = context.stop.cancelled() => return,
        }
    }
}

/// The timers of the active logic, which are the same on every node, and this node's own; of two with one name, the first.
fn all_timers(context: &Context, own: &[Timer]) -> Vec<Timer> {
    let logic = context.active_logic();
    let mut timers = logic.as_ref().and_then(|logic| logic.source()).map(|source| source.timers()).unwrap_or_default();
    let agreed: BTreeSet<String> = timers.iter().map(|timer| timer.name.clone()).collect();
    timers.extend(own.iter().filter(|timer| !agreed.contains(&timer.name)).cloned());
    timers
}

/// Waits until another bundle is the active one; none when nothing is applied any more.
async fn another_bundle(context: &Context, changes: &mut watch::Receiver<u64>, known: B256) -> Option<()> {
    while context.ledger.read(|state| state.bundle) == known {
        changes.changed().await.ok()?;
    }
    Some(())
}

/// Fires the timer if it is time, and says after how long it is to be looked at again.
async fn fire_timer(context: &Context, triggers: &Triggers, timer: &Timer) -> Duration {
    let every = u64::try_from(timer.every.as_millis()).unwrap_or(u64::MAX).max(1);
    let now = context.env.clock.unix_ms();
    let slot = now / every;
    let next = Duration::from_millis(every - now % every).min(CLOCK_STEP);
    let id = TriggerId::Timer { name: timer.name.clone(), slot };
    let (used, room) = context.ledger.read(|state| (state.is_used(&id), has_room(state)));
    if used {
        return next;
    }
    if !room {
        return context.patience.tick;
    }
    let trigger = Trigger::Timer { name: timer.name.clone(), slot };
    match triggers.fire(&id, &trigger, None, Duration::ZERO).await {
        Ok(_) => next,
        Err(error) => {
            context.counters.count("timer", error.code());
            tracing::debug!(avs = %context.service.avs, timer = timer.name, "timer: {error}");
            context.patience.tick
        }
    }
}

/// Where the leader is in the chain's events.
#[derive(Default)]
struct Events {
    /// In which this node leads.
    term: u64,
    /// Of the bundle with this digest.
    filters: Option<(B256, Vec<EventFilter>)>,
    /// First block that is not looked through yet.
    cursor: Option<u64>,
    /// Events of the cursor's block that the plugin ignores.
    ignored: BTreeSet<(B256, u32)>,
}

impl Events {
    fn wants_blocks(&self) -> bool {
        self.filters.as_ref().is_some_and(|(_, filters)| !filters.is_empty())
    }

    /// Whether all is looked through that there is so far: until the next block, or the next bundle, nothing more comes.
    async fn scan(&mut self, context: &Context, triggers: &Triggers) -> Result<bool, String> {
        let known = self.filters.take();
        let logic = context.active_logic().ok_or("the active bundle is not loaded here yet")?;
        let Some(source) = logic.source() else { return Ok(true) };
        let digest = logic.bundle_digest();
        let filters = match known.filter(|(of, _)| *of == digest) {
            Some((_, filters)) => filters,
            None => caught(source.event_filters()).await.map_err(|error| error.to_string())?,
        };
        self.filters = Some((digest, filters.clone()));
        if filters.is_empty() {
            return Ok(true);
        }
        let start = *self.cursor.get_or_insert_with(|| context.ledger.read(|state| state.event_block));
        let newest = confirmed_number(context).await.map_err(|error| error.to_string())?;
        let Some(newest) = newest.filter(|newest| *newest >= start) else { return Ok(true) };
        let end = newest.min(start.saturating_add(LOG_RANGE - 1));
        let mut logs: Vec<Log> = Vec::new();
        for filter in filters {
            let filter = LogFilter { address: filter.address, topics0: filter.topics0, from: start, to: end };
            logs.extend(context.chain.logs(&filter).await.map_err(|error| error.to_string())?);
        }
        logs.sort_by_key(|log| (log.block.number, log.index));
        for log in logs {
            self.handle(context, triggers, log).await?;
        }
        self.cursor = Some(end.saturating_add(1));
        self.ignored.clear();
        Ok(end == newest)
    }

    async fn handle(&mut self, context: &Context, triggers: &Triggers, log: Log) -> Result<(), String> {
        let seen = (log.block.hash, log.index);
        let id = TriggerId::Event {
            chain_id: context.service.chain_id,
            block_hash: log.block.hash,
            tx: log.tx,
            log_index: log.index,
        };
        if self.ignored.contains(&seen) || context.ledger.read(|state| state.is_used(&id)) {
            return Ok(());
        }
        let block = log.block;
        let event = EventLog {
            address: log.address,
            topics: log.topics,
            data: log.data,
            block,
            transaction_hash: log.tx,
            log_index: log.index,
        };
        match triggers.fire(&id, &Trigger::Event(event), Some(block), Duration::ZERO).await {
            Ok(Triggered::Ignored { reason }) => {
                tracing::debug!(avs = %context.service.avs, %block, "event ignored: {reason}");
                self.ignored.insert(seen);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(TriggerError::Plugin(
                error @ (CallError::InvalidTrigger(_)
                | CallError::BadOutput(_)
                | CallError::OutOfFuel
                | CallError::HostCalls { .. }),
            )) => {
                context.counters.count("event-dropped", error.code());
                tracing::warn!(avs = %context.service.avs, %block, "event dropped: {error}");
                self.ignored.insert(seen);
                Ok(())
            }
            // The same event is looked at again: the cursor has not moved.
            Err(error) => Err(error.to_string()),
        }
    }
}
