//! The pure state machine: shares, verdicts and time go in; answers and events come out.
//!
//! A share passes thrice: [`Core::precheck`] says whether its signature is worth decoding, [`Core::admit_decoded`]
//! whether it must be verified, and [`Core::count`] takes the verdict. What lies between is the caller's. Time is any monotonic clock's; the caller calls [`Core::tick`] when
//! [`Core::next_deadline`] has come.

mod key;
mod task;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use eigenshift_bls::{Curve, PublicKey, Signature};
use eigenshift_types::{B256, Bytes, OperatorId, ResponseKey, TaskIndex};

use crate::{Accepted, Error, Event, KeyProgress, Share, ShareError, TaskAggregation};
use task::Task;

/// Wrong signatures of one operator that are looked at, per task: each costs pairings.
pub const INCORRECT_LIMIT: u32 = 8;

/// A share whose signature is to be verified.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The task.
    pub task: TaskIndex,
    /// Which opening of the task: a verdict that comes after it was closed and opened again counts for nothing.
    pub(crate) generation: u64,
    /// Position of the signer in the set.
    pub position: usize,
    /// The signer.
    pub operator: OperatorId,
    /// What the answer is about.
    pub key: ResponseKey,
    /// `K`.
    pub payload: Bytes,
    /// What was sent beside it.
    pub extension: Bytes,
    /// What was signed.
    pub digest: B256,
    /// The signer's key.
    pub public_key: PublicKey,
    /// The signature.
    pub signature: Signature,
    /// How often the signature is added in a certificate.
    pub weight: u64,
    /// The operator's first answer, if it was over another digest and is not verified alone: with this one, evidence.
    pub first: Option<(B256, Signature)>,
}

/// Verdicts over a ticket's signatures, each verified alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Over the ticket's own.
    pub valid: bool,
    /// Over that of [`Ticket::first`], if there is one.
    pub first: Option<bool>,
}

impl From<bool> for Verdict {
    fn from(valid: bool) -> Self {
        Self { valid, first: None }
    }
}

impl Ticket {
    /// The triple that [`verify_each`](eigenshift_bls::any::verify_each) takes.
    #[must_use]
    pub fn item(&self) -> (PublicKey, B256, Signature) {
        (self.public_key, self.digest, self.signature)
    }

    /// The triple of the operator's first answer, if it is to be verified too.
    #[must_use]
    pub fn first_item(&self) -> Option<(PublicKey, B256, Signature)> {
        self.first.map(|(digest, signature)| (self.public_key, digest, signature))
    }

    /// Whether both stand for the same signature by the same operator in the same opening of the task.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.task, self.generation, self.position, &self.key)
            == (other.task, other.generation, other.position, &other.key)
            && (self.digest, self.signature) == (other.digest, other.signature)
    }

    /// What tickets of one sum have in common: their signatures are added with the same weight in the same certificate.
    #[must_use]
    pub fn sum_id(&self) -> (TaskIndex, u64, &ResponseKey, B256, u64) {
        (self.task, self.generation, &self.key, self.digest, self.weight)
    }
}

/// What a share needs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the very same one counts already.
    Known(Accepted),
    /// Its signature decoded, as a point of this curve.
    Decode(Curve),
}

/// What a share needs.
#[derive(Clone, Debug)]
pub enum Admission {
    /// Nothing: the answer is known.
    Known(Accepted),
    /// Its signature must be verified.
    Verify(Box<Ticket>),
}

/// The state machine.
///
/// Invariants: a key that is certified never leaves that stage while its task is open; `deadlines` and `blocks` hold
/// exactly what the open tasks wait for.
#[derive(Debug)]
pub struct Core {
    max_open_tasks: usize,
    generation: u64,
    tasks: BTreeMap<TaskIndex, Task>,
    /// Newest block that was told of.
    block: u64,
    /// Tasks that expired, with the time at which they are forgotten, oldest first.
    expired: VecDeque<(Duration, TaskIndex)>,
    /// Right answers that are wanted of an operator before it is trusted again, over all tasks. Never zero.
    incorrect: BTreeMap<OperatorId, u32>,
    /// When each task wants to be looked at.
    deadlines: BTreeSet<(Duration, TaskIndex)>,
    /// With which block tasks expire.
    blocks: BTreeSet<(u64, TaskIndex)>,
}

/// How long an expired task is remembered as such. Then it is not known any more.
pub const REMEMBERED: Duration = Duration::from_secs(600);

/// Right answers that make up for a wrong one.
const SUSPICION: u32 = 8;

/// Operators whose wrong signatures are remembered: above it, one with the fewest is forgotten.
const MAX_SUSPECTS: usize = 4096;

impl Core {
    /// An empty one.
    #[must_use]
    pub fn new(max_open_tasks: usize) -> Self {
        Self {
            max_open_tasks,
            generation: 0,
            tasks: BTreeMap::new(),
            block: 0,
            expired: VecDeque::new(),
            incorrect: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            blocks: BTreeSet::new(),
        }
    }

    /// Begins to collect for a task, at `now`.
    ///
    /// # Errors
    /// [`Error`]: quorums that do not fit the set, no keys, open already, or too many open.
    pub fn open(&mut self, task: TaskAggregation, now: Duration) -> Result<(), Error> {
        if self.tasks.contains_key(&task.task) {
            return Err(Error::AlreadyOpen { task: task.task });
        }
        if self.tasks.len() >= self.max_open_tasks {
            return Err(Error::TooManyTasks { max: self.max_open_tasks });
        }
        self.generation += 1;
        let index = task.task;
        let task = Task::new(task, self.generation, now)?;
        self.blocks.extend(task.end_block().map(|block| (block, index)));
        self.tasks.insert(index, task);
        self.schedule(index, None);
        Ok(())
    }

    /// Whether a task is open.
    #[must_use]
    pub fn is_open(&self, task: TaskIndex) -> bool {
        self.tasks.contains_key(&task)
    }

    /// The checks of a share before its signature is decoded.
    ///
    /// # Errors
    /// [`ShareError`]: the task, the operator, or too many wrong signatures before.
    pub fn precheck(&self, share: &Share) -> Result<Next, ShareError> {
        self.tasks.get(&share.task).ok_or_else(|| self.unknown(share.task))?.precheck(share)
    }

    /// The checks of a share, its signature decoded on the calling thread.
    ///
    /// # Errors
    /// [`ShareError`]; all but its pairing are found here.
    pub fn admit(&self, share: &Share) -> Result<Admission, ShareError> {
        match self.precheck(share)? {
            Next::Known(accepted) => Ok(Admission::Known(accepted)),
            Next::Decode(curve) => self.admit_decoded(share, Signature::decode(curve, &share.signature)?),
        }
    }

    /// The checks of a share whose signature was decoded.
    ///
    /// # Errors
    /// [`ShareError`]; all but its pairing are found here.
    pub fn admit_decoded(&self, share: &Share, signature: Signature) -> Result<Admission, ShareError> {
        self.tasks.get(&share.task).ok_or_else(|| self.unknown(share.task))?.admit(share, signature)
    }

    /// What an operator sent is no signature at all: counted as a wrong one.
    pub fn malformed(&mut self, share: &Share) {
        if let Some(task) = self.tasks.get_mut(&share.task) {
            task.incorrect(share.operator);
            self.suspect(share.operator);
        }
    }

    fn unknown(&self, task: TaskIndex) -> ShareError {
        let expired = self.expired.iter().any(|(_, expired)| *expired == task);
        if expired { ShareError::Expired(task) } else { ShareError::NotOpen(task) }
    }

    /// Whether an operator sent a wrong signature lately, and not many right ones since: what it sends is better not
    /// verified together with others'.
    #[must_use]
    pub fn is_suspect(&self, operator: OperatorId) -> bool {
        self.incorrect.contains_key(&operator)
    }

    fn suspect(&mut self, operator: OperatorId) {
        if self.incorrect.len() >= MAX_SUSPECTS && !self.incorrect.contains_key(&operator) {
            let least = self.incorrect.iter().min_by_key(|(_, count)| **count).map(|(operator, _)| *operator);
            least.map(|least| self.incorrect.remove(&least));
        }
        let count = self.incorrect.entry(operator).or_default();
        *count = count.saturating_add(SUSPICION);
    }

    /// A right answer makes up for a part of a wrong one: who was cut off once is not suspected for ever.
    fn trust(&mut self, operator: OperatorId) {
        if let Entry::Occupied(mut count) = self.incorrect.entry(operator) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Takes the verdict over a share. Windows that ended by `now` end first: what comes after them is late.
    pub fn count(
        &mut self,
        ticket: &Ticket,
        verdict: impl Into<Verdict>,
        now: Duration,
    ) -> (Result<Accepted, ShareError>, Vec<Event>) {
        let verdict = verdict.into();
        let mut events = self.tick(now);
        if !verdict.valid {
            self.suspect(ticket.operator);
        }
        let open = self.tasks.get_mut(&ticket.task).filter(|task| task.generation() == ticket.generation);
        let Some(task) = open else {
            return (Err(self.unknown(ticket.task)), events);
        };
        let before = task.next_deadline();
        let answer = task.count(ticket, verdict, now, &mut events);
        self.schedule(ticket.task, before);
        if answer.is_ok() {
            self.trust(ticket.operator);
        }
        (answer, events)
    }

    /// Counts shares of one [`Ticket::sum_id`] whose plain sum was verified, all or none: a sum says nothing of its parts.
    /// None when they cannot all be counted any more; then each is to be verified alone.
    pub fn count_sum(
        &mut self,
        tickets: &[Ticket],
        now: Duration,
    ) -> (Option<Vec<Result<Accepted, ShareError>>>, Vec<Event>) {
        let mut events = self.tick(now);
        let Some(first) = tickets.first() else { return (Some(Vec::new()), events) };
        if tickets.iter().any(|ticket| ticket.sum_id() != first.sum_id()) {
            return (None, events);
        }
        let open = self.tasks.get_mut(&first.task).filter(|task| task.generation() == first.generation);
        let Some(task) = open else {
            let error = self.unknown(first.task);
            return (Some(vec![Err(error); tickets.len()]), events);
        };
        let before = task.next_deadline();
        let answers = task.count_sum(tickets, now, &mut events);
        self.schedule(first.task, before);
        for ticket in answers.iter().flat_map(|_| tickets) {
            self.trust(ticket.operator);
        }
        (answers, events)
    }

    /// Ends the windows and tasks whose time has come, and forgets what ended long ago.
    pub fn tick(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((_, index)) = self.deadlines.first().filter(|(at, _)| *at <= now).copied() {
            let Some(task) = self.tasks.get_mut(&index) else { break };
            let before = task.next_deadline();
            task.tick(now, &mut events);
            let expired = task.is_expired(now);
            // Before it ends: the end takes out what stands there now.
            self.schedule(index, before);
            if expired {
                self.expire(index, now, &mut events);
            }
        }
        while let Some((_, index)) = self.blocks.first().filter(|(block, _)| *block <= self.block).copied() {
            self.expire(index, now, &mut events);
        }
        while self.expired.len() > self.max_open_tasks.saturating_mul(4)
            || self.expired.front().is_some_and(|(until, _)| *until <= now)
        {
            self.expired.pop_front();
        }
        events
    }

    fn expire(&mut self, index: TaskIndex, now: Duration, events: &mut Vec<Event>) {
        events.extend(self.close(index));
        events.push(Event::Ended { task: index });
        self.expired.push_back((now.saturating_add(REMEMBERED), index));
    }

    /// Keeps `deadlines` in step with a task that may have got another one than `before`.
    fn schedule(&mut self, index: TaskIndex, before: Option<Duration>) {
        let next = self.tasks.get(&index).and_then(Task::next_deadline);
        if next != before {
            before.map(|before| self.deadlines.remove(&(before, index)));
            self.deadlines.extend(next.map(|next| (next, index)));
        }
    }

    /// Tells of a new block: tasks that expire with it end. An older one than the newest told of changes nothing.
    pub fn at_block(&mut self, number: u64, now: Duration) -> Vec<Event> {
        self.block = self.block.max(number);
        self.tick(now)
    }

    /// When [`Core::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The ledger holds a certificate for this key, perhaps another aggregator's: nothing more is collected, and no event
    /// comes.
    pub fn mark_certified(&mut self, task: TaskIndex, key: &ResponseKey, digest: B256) {
        if let Some(open) = self.tasks.get_mut(&task) {
            let before = open.next_deadline();
            open.mark_certified(key, digest);
            self.schedule(task, before);
        }
    }

    /// Ends a task and forgets it. Keys in their window are certified with what they have; the others expire.
    pub fn close(&mut self, task: TaskIndex) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(mut open) = self.tasks.remove(&task) {
            self.schedule(task, open.next_deadline());
            open.end_block().map(|block| self.blocks.remove(&(block, task)));
            open.close(&mut events);
        }
        events
    }

    /// How far each key of a task has come, ascending by key; none when the task is not open.
    #[must_use]
    pub fn progress(&self, task: TaskIndex) -> Option<Vec<KeyProgress>> {
        self.tasks.get(&task).map(Task::progress)
    }
}
