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

/// One slot for each operator and key of a task: an operator cannot fill the queue, and its retries cost no second check.
type Slot = (TaskIndex, ResponseKey, usize);

struct Waiting {
    ticket: Ticket,
    waiters: Vec<Waiter>,
}

/// Shares of one operator that may wait for one task: keys are what payloads say, so there is no end to them.
const MAX_PER_OPERATOR: usize = 32;

/// Which line a share waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Those of operators that sent nothing wrong.
    Trusted,
    /// Those of operators that did: verified apart from the others', and after them.
    Suspect,
}

/// Invariant: `trusted` and `suspect` hold slots that are in `waiting` and were not taken yet; what was taken stays in
/// `waiting` until it is removed with its verdict. `operators` counts what is in `waiting`.
pub(super) struct Queue {
    max: usize,
    waiting: BTreeMap<Slot, Waiting>,
    trusted: VecDeque<Slot>,
    suspect: VecDeque<Slot>,
    operators: BTreeMap<(TaskIndex, usize), usize>,
}

fn slot(ticket: &Ticket) -> Slot {
    (ticket.task, ticket.key.clone(), ticket.position)
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            waiting: BTreeMap::new(),
            trusted: VecDeque::new(),
            suspect: VecDeque::new(),
            operators: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
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
        let own = self.operators.entry((ticket.task, ticket.position)).or_default();
        // Suspects leave room for the others.
        let room = if line == Line::Trusted { self.max } else { self.max / 2 };
        if self.waiting.len() >= room || *own >= MAX_PER_OPERATOR {
            return Err(ShareError::Busy);
        }
        *own += 1;
        self.line(line).push_back(slot.clone());
        self.waiting.insert(slot, Waiting { ticket, waiters: vec![waiter] });
        Ok(answer)
    }

    fn line(&mut self, line: Line) -> &mut VecDeque<Slot> {
        match line {
            Line::Trusted => &mut self.trusted,
            Line::Suspect => &mut self.suspect,
        }
    }

    /// The oldest shares of a line, as many as a batch holds; none when nothing waits to be taken.
    pub(super) fn take(&mut self, line: Line, max: usize) -> Option<Vec<Ticket>> {
        let line = self.line(line);
        let count = line.len().min(max);
        let slots: Vec<Slot> = line.drain(..count).collect();
        let ticket = |slot: &Slot| self.waiting.get(slot).map(|waiting| waiting.ticket.clone());
        let batch: Vec<Ticket> = slots.iter().filter_map(ticket).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Takes out a share that has its verdict.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> Vec<Waiter> {
        let Some(waiting) = self.waiting.remove(&slot(ticket)) else { return Vec::new() };
        if let Entry::Occupied(mut own) = self.operators.entry((ticket.task, ticket.position)) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
        waiting.waiters
    }

    /// Forgets everything: callers are told that the service has ended.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.trusted.clear();
        self.suspect.clear();
        self.operators.clear();
    }
}
