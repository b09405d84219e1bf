//! Shares that wait for their verdict.

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

/// Invariant: `order` holds slots that are in `waiting` and were not taken yet; what was taken stays in `waiting` until
/// it is removed with its verdict.
pub(super) struct Queue {
    max: usize,
    waiting: BTreeMap<Slot, Waiting>,
    order: VecDeque<Slot>,
}

fn slot(ticket: &Ticket) -> Slot {
    (ticket.task, ticket.key.clone(), ticket.position)
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        Self { max, waiting: BTreeMap::new(), order: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Lets a share wait, or its caller join those of the same share.
    pub(super) fn push(
        &mut self,
        ticket: Ticket,
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
        if self.waiting.len() >= self.max {
            return Err(ShareError::Busy);
        }
        self.order.push_back(slot.clone());
        self.waiting.insert(slot, Waiting { ticket, waiters: vec![waiter] });
        Ok(answer)
    }

    /// The oldest shares, as many as a batch holds; none when nothing waits to be taken.
    pub(super) fn take(&mut self, max: usize) -> Option<Vec<Ticket>> {
        let count = self.order.len().min(max);
        let slots = self.order.drain(..count);
        let batch: Vec<Ticket> =
            slots.filter_map(|slot| self.waiting.get(&slot).map(|waiting| waiting.ticket.clone())).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Takes out a share that has its verdict.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> Vec<Waiter> {
        self.waiting.remove(&slot(ticket)).map(|waiting| waiting.waiters).unwrap_or_default()
    }

    /// Forgets everything: callers are told that the service has ended.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.order.clear();
    }
}
