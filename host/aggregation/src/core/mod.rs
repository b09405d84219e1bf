//! The pure state machine: shares, verdicts and time go in; answers and events come out.
//!
//! A share passes twice: [`Core::admit`] says whether its signature must be verified at all, and [`Core::count`] takes the
//! verdict. What lies between is the caller's. Time is any monotonic clock's; the caller calls [`Core::tick`] when
//! [`Core::next_deadline`] has come.

mod key;
mod task;

use std::collections::BTreeMap;
use std::time::Duration;

use eigenshift_bls::bn254::{G1, G2};
use eigenshift_types::{B256, Bytes, ResponseKey, TaskIndex};

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
    generation: u64,
    /// Position of the signer in the set.
    pub position: usize,
    /// What the answer is about.
    pub key: ResponseKey,
    /// `K`.
    pub payload: Bytes,
    /// What was signed.
    pub digest: B256,
    /// The signer's key.
    pub public_key: G2,
    /// The signature.
    pub signature: G1,
}

impl Ticket {
    /// The triple that [`verify_each`](eigenshift_bls::bn254::verify_each) takes.
    #[must_use]
    pub fn item(&self) -> (G2, B256, G1) {
        (self.public_key, self.digest, self.signature)
    }

    /// Whether both stand for the same signature by the same operator in the same opening of the task.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.task, self.generation, self.position, &self.key)
            == (other.task, other.generation, other.position, &other.key)
            && (self.digest, self.signature) == (other.digest, other.signature)
    }
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
/// Invariants: a key that is certified never leaves that stage while its task is open; `windows` holds exactly the keys
/// in their window.
#[derive(Debug)]
pub struct Core {
    max_open_tasks: usize,
    generation: u64,
    tasks: BTreeMap<TaskIndex, Task>,
}

impl Core {
    /// An empty one.
    #[must_use]
    pub fn new(max_open_tasks: usize) -> Self {
        Self { max_open_tasks, generation: 0, tasks: BTreeMap::new() }
    }

    /// Begins to collect for a task.
    ///
    /// # Errors
    /// [`Error`]: quorums that do not fit the set, no keys, open already, or too many open.
    pub fn open(&mut self, task: TaskAggregation) -> Result<(), Error> {
        if self.tasks.contains_key(&task.task) {
            return Err(Error::AlreadyOpen { task: task.task });
        }
        if self.tasks.len() >= self.max_open_tasks {
            return Err(Error::TooManyTasks { max: self.max_open_tasks });
        }
        self.generation += 1;
        self.tasks.insert(task.task, Task::new(task, self.generation)?);
        Ok(())
    }

    /// Whether a task is open.
    #[must_use]
    pub fn is_open(&self, task: TaskIndex) -> bool {
        self.tasks.contains_key(&task)
    }

    /// The cheap checks of a share.
    ///
    /// # Errors
    /// [`ShareError`]; all but its pairing are found here.
    pub fn admit(&self, share: &Share) -> Result<Admission, ShareError> {
        self.tasks.get(&share.task).ok_or(ShareError::NotOpen(share.task))?.admit(share)
    }

    /// Takes the verdict over a share. Windows that ended by `now` end first: what comes after them is late.
    pub fn count(&mut self, ticket: &Ticket, valid: bool, now: Duration) -> (Result<Accepted, ShareError>, Vec<Event>) {
        let mut events = self.tick(now);
        let open = self.tasks.get_mut(&ticket.task).filter(|task| task.generation() == ticket.generation);
        let Some(task) = open else {
            return (Err(ShareError::NotOpen(ticket.task)), events);
        };
        let answer = task.count(ticket, valid, now, &mut events);
        (answer, events)
    }

    /// Ends the windows whose time has come.
    pub fn tick(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        for task in self.tasks.values_mut() {
            task.tick(now, &mut events);
        }
        events
    }

    /// When [`Core::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.tasks.values().filter_map(Task::next_deadline).min()
    }

    /// The ledger holds a certificate for this key, perhaps another aggregator's: nothing more is collected, and no event
    /// comes.
    pub fn mark_certified(&mut self, task: TaskIndex, key: &ResponseKey, digest: B256) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.mark_certified(key, digest);
        }
    }

    /// Ends a task and forgets it. Keys in their window are certified with what they have; the others expire.
    pub fn close(&mut self, task: TaskIndex) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(mut task) = self.tasks.remove(&task) {
            task.close(&mut events);
        }
        events
    }

    /// How far each key of a task has come, ascending by key; none when the task is not open.
    #[must_use]
    pub fn progress(&self, task: TaskIndex) -> Option<Vec<KeyProgress>> {
        self.tasks.get(&task).map(Task::progress)
    }
}
