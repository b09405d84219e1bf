//! Shares that wait for their verdict.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use eigenshift_types::{ResponseKey, TaskIndex};
use tokio::sync::oneshot;

use crate::core::Ticket;
use crate::{Accepted, ShareError};

/// Where an answer goes.
pub(super) type Waiter = oneshot::Sender<Result<Accepted, ShareError>>;

/// Callers that may wait for the same share: an operator that retries needs few.
const MAX_WAITERS: usize = 8;

/// One slot for each operator and key of an opening of a task: an operator cannot fill the queue, and its retries cost no
/// second check.
type Slot = (TaskIndex, u64, ResponseKey, usize);

struct Waiting {
    ticket: Ticket,
    waiters: Vec<Waiter>,
    taken: bool,
}

/// Shares of one operator that may wait for one task: keys are what payloads say, so there is no end to them.
const MAX_PER_OPERATOR: usize = 32;

/// Which line a share waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Those of operators that sent nothing wrong lately.
    Trusted,
    /// Those of operators that did: verified apart from the others', and after them.
    Suspect,
}

/// Slots by task, taken task by task in turn: one task's crowd does not make the others wait.
///
/// Invariant: `turns` names each task of `slots` once, and no list is empty.
#[derive(Default)]
struct Rounds {
    turns: VecDeque<TaskIndex>,
    slots: BTreeMap<TaskIndex, VecDeque<Slot>>,
}

impl Rounds {
    fn push(&mut self, slot: Slot) {
        let task = slot.0;
        let own = self.slots.entry(task).or_default();
        if own.is_empty() {
            self.turns.push_back(task);
        }
        own.push_back(slot);
    }

    /// The oldest of the task whose turn it is, and of the next ones while there is room. A task with more goes to the
    /// end.
    fn take(&mut self, max: usize) -> Vec<Slot> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(task) = self.turns.pop_front()
        {
            let Entry::Occupied(mut own) = self.slots.entry(task) else { continue };
            let count = own.get().len().min(max - taken.len());
            taken.extend(own.get_mut().drain(..count));
            if own.get().is_empty() {
                own.remove();
            } else {
                self.turns.push_back(task);
            }
        }
        taken
    }

    fn forget(&mut self, task: TaskIndex) {
        if self.slots.remove(&task).is_some() {
            self.turns.retain(|turn| *turn != task);
        }
    }
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) shares: usize,
    /// Of payloads and keys.
    pub(super) bytes: usize,
}

/// Invariant: `trusted` and `suspect` hold slots that are in `waiting` and were not taken yet; what was taken stays in
/// `waiting` until it is removed with its verdict. `operators` and `bytes` count what is in `waiting`.
pub(super) struct Queue {
    room: Room,
    waiting: BTreeMap<Slot, Waiting>,
    trusted: Rounds,
    suspect: Rounds,
    operators: BTreeMap<(TaskIndex, usize), usize>,
    bytes: usize,
}

fn slot(ticket: &Ticket) -> Slot {
    (ticket.task, ticket.generation, ticket.key.clone(), ticket.position)
}

fn size(ticket: &Ticket) -> usize {
    ticket.payload.len() + ticket.key.as_bytes().len()
}

impl Queue {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            waiting: BTreeMap::new(),
            trusted: Rounds::default(),
            suspect: Rounds::default(),
            operators: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether something waits in a line to be taken.
    pub(super) fn waits(&self, line: Line) -> bool {
        let rounds = match line {
            Line::Trusted => &self.trusted,
            Line::Suspect => &self.suspect,
        };
        !rounds.turns.is_empty()
    }

    /// Lets a share wait, or its caller join those of the same share.
    pub(super) fn push(
        &mut self,
        ticket: Ticket,
        line: Line,
    ) -> Result<oneshot::Receiver<Result<Accepted, ShareError>>, ShareError> {
        let (waiter, answer) = oneshot::channel();
        let slot = slot(&ticket);
        if let Some(present) = self.waiting.get_mut(&slot) {
            if !present.ticket.is_same(&ticket) || present.waiters.len() >= MAX_WAITERS {
                return Err(ShareError::Busy);
            }
            present.waiters.push(waiter);
            return Ok(answer);
        }
        // Suspects leave room for the others.
        let part = if line == Line::Trusted { 1 } else { 2 };
        let size = size(&ticket);
        let full =
            self.waiting.len() >= self.room.shares / part || self.bytes.saturating_add(size) > self.room.bytes / part;
        let own = self.operators.entry((ticket.task, ticket.position)).or_default();
        if full || *own >= MAX_PER_OPERATOR {
            if *own == 0 {
                self.operators.remove(&(ticket.task, ticket.position));
            }
            return Err(ShareError::Busy);
        }
        *own += 1;
        self.bytes += size;
        self.line(line).push(slot.clone());
        self.waiting.insert(slot, Waiting { ticket, waiters: vec![waiter], taken: false });
        Ok(answer)
    }

    fn line(&mut self, line: Line) -> &mut Rounds {
        match line {
            Line::Trusted => &mut self.trusted,
            Line::Suspect => &mut self.suspect,
        }
    }

    /// The next shares of a line, as many as a batch holds; none when nothing waits to be taken.
    pub(super) fn take(&mut self, line: Line, max: usize) -> Option<Vec<Ticket>> {
        let slots = self.line(line).take(max);
        let ticket = |slot: &Slot| {
            let waiting = self.waiting.get_mut(slot)?;
            waiting.taken = true;
            Some(waiting.ticket.clone())
        };
        let batch: Vec<Ticket> = slots.iter().filter_map(ticket).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Takes out a share that has its verdict.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> Vec<Waiter> {
        self.take_out(&slot(ticket))
    }

    fn take_out(&mut self, slot: &Slot) -> Vec<Waiter> {
        let Some(waiting) = self.waiting.remove(slot) else { return Vec::new() };
        self.bytes = self.bytes.saturating_sub(size(&waiting.ticket));
        if let Entry::Occupied(mut own) = self.operators.entry((waiting.ticket.task, waiting.ticket.position)) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
        waiting.waiters
    }

    /// Takes out a task's shares that nobody verifies yet: whoever waits for them is told that it has ended.
    pub(super) fn purge(&mut self, task: TaskIndex) -> Vec<Waiter> {
        self.trusted.forget(task);
        self.suspect.forget(task);
        let of_task = self.waiting.iter().filter(|((owner, ..), waiting)| *owner == task && !waiting.taken);
        let slots: Vec<Slot> = of_task.map(|(slot, _)| slot.clone()).collect();
        slots.iter().flat_map(|slot| self.take_out(slot)).collect()
    }

    /// Forgets everything: callers are told that the service has ended.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.room);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn tasks_take_turns_and_a_short_one_leaves_its_room_to_the_next() {
        let mut rounds = Rounds::default();
        let slot = |task: TaskIndex, position: usize| (task, 1, ResponseKey::new(&b"k"[..]).unwrap(), position);
        for position in 0..10 {
            rounds.push(slot(1, position));
        }
        rounds.push(slot(2, 0));
        rounds.push(slot(3, 0));
        let taken = |rounds: &mut Rounds| -> Vec<(TaskIndex, usize)> {
            rounds.take(4).into_iter().map(|(task, _, _, position)| (task, position)).collect()
        };
        assert_eq!(taken(&mut rounds), [(1, 0), (1, 1), (1, 2), (1, 3)]);
        assert_eq!(taken(&mut rounds), [(2, 0), (3, 0), (1, 4), (1, 5)], "the crowd waits for its next turn");
        rounds.forget(1);
        assert_eq!(taken(&mut rounds), []);
        assert!(rounds.turns.is_empty() && rounds.slots.is_empty());
    }
}
