//! One open task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::bn254::G1;
use eigenshift_types::{B256, Bitmap, Bytes, Certificate, ResponseKey, TaskIndex};

use super::key::{Counted, Key};
use super::{Admission, INCORRECT_LIMIT, Ticket};
use crate::{
    Accepted, Error, Event, Evidence, KeyProgress, Operators, Share, ShareError, TaskAggregation, TaskQuorums,
};

#[derive(Debug)]
pub(super) struct Task {
    index: TaskIndex,
    generation: u64,
    operators: Arc<Operators>,
    quorums: TaskQuorums,
    window: Duration,
    max_keys: usize,
    /// Signers whose shares could count: how many there are decides when waiting is of no more use.
    eligible: usize,
    keys: BTreeMap<ResponseKey, Key>,
    /// Ends of windows, soonest first.
    windows: BTreeSet<(Duration, ResponseKey)>,
    /// Keys that each operator has answered for.
    answered: BTreeMap<usize, usize>,
    /// Wrong signatures of each operator.
    incorrect: BTreeMap<usize, u32>,
}

impl Task {
    pub(super) fn new(task: TaskAggregation, generation: u64) -> Result<Self, Error> {
        if task.max_keys == 0 {
            return Err(Error::NoKeys);
        }
        let quorums = TaskQuorums::resolve(&task.operators, &task.quorums)?;
        let eligible = task.operators.all().iter().filter(|operator| quorums.multiplicity(operator) > 0).count();
        Ok(Self {
            index: task.task,
            generation,
            operators: task.operators,
            quorums,
            window: task.window,
            max_keys: task.max_keys,
            eligible,
            keys: task.certified.into_iter().map(|(key, digest)| (key, Key::certified(digest))).collect(),
            windows: BTreeSet::new(),
            answered: BTreeMap::new(),
            incorrect: BTreeMap::new(),
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn admit(&self, share: &Share) -> Result<Admission, ShareError> {
        let position = self.operators.position(share.operator).ok_or(ShareError::UnknownOperator(share.operator))?;
        let operator = self.operators.get(position).ok_or(ShareError::UnknownOperator(share.operator))?;
        if self.quorums.multiplicity(operator) == 0 {
            return Err(ShareError::NoStake(share.operator));
        }
        let signature = G1::decode(&share.signature)?;
        if let Some(answer) = self.known(position, &share.key, share.digest, signature) {
            return answer.map(Admission::Known);
        }
        if self.incorrect.get(&position).is_some_and(|count| *count >= INCORRECT_LIMIT) {
            return Err(ShareError::TooManyIncorrect { limit: INCORRECT_LIMIT });
        }
        Ok(Admission::Verify(Box::new(Ticket {
            task: self.index,
            generation: self.generation,
            position,
            key: share.key.clone(),
            payload: share.payload.clone(),
            digest: share.digest,
            public_key: operator.g2,
            signature,
        })))
    }

    /// The answer to a share that needs no verification, or needs none any more.
    fn known(
        &self,
        position: usize,
        key: &ResponseKey,
        digest: B256,
        signature: G1,
    ) -> Option<Result<Accepted, ShareError>> {
        let known = self.keys.get(key);
        match known.and_then(|key| key.signed_by(position)) {
            Some(first) if first.digest == digest => {
                // An operator has one signature per digest: another point is wrong without any pairing.
                let same = first.signature == signature;
                Some(if same { Ok(Accepted::Duplicate) } else { Err(ShareError::Incorrect) })
            }
            Some(first) if first.equivocated => Some(Err(ShareError::Equivocation { first: first.digest })),
            // Verified for the evidence's sake, even when the key is certified.
            Some(_) => None,
            None if known.is_some_and(Key::is_certified) => Some(Ok(Accepted::AlreadyCertified)),
            None if self.answered.get(&position).is_some_and(|count| *count >= self.max_keys) => {
                Some(Err(ShareError::TooManyKeys { max: self.max_keys }))
            }
            None => None,
        }
    }

    pub(super) fn count(
        &mut self,
        ticket: &Ticket,
        valid: bool,
        now: Duration,
        events: &mut Vec<Event>,
    ) -> Result<Accepted, ShareError> {
        if !valid {
            let count = self.incorrect.entry(ticket.position).or_default();
            *count = count.saturating_add(1);
            return Err(ShareError::Incorrect);
        }
        // Things may have changed since it was admitted.
        if let Some(answer) = self.known(ticket.position, &ticket.key, ticket.digest, ticket.signature) {
            return answer;
        }
        let Some(operator) = self.operators.get(ticket.position) else {
            return Err(ShareError::Incorrect);
        };
        let key = self.keys.entry(ticket.key.clone()).or_insert_with(Key::collecting);
        match key.count(ticket, operator, &self.quorums) {
            Counted::Second { first } => {
                events.push(Event::Equivocation(Evidence {
                    task: self.index,
                    key: ticket.key.clone(),
                    operator: operator.id,
                    first: (first.digest, encoded(first.signature)),
                    second: (ticket.digest, encoded(ticket.signature)),
                }));
                return Err(ShareError::Equivocation { first: first.digest });
            }
            Counted::Reached if !self.window.is_zero() => {
                let until = now.saturating_add(self.window);
                key.begin_window(ticket.digest, until);
                self.windows.insert((until, ticket.key.clone()));
            }
            Counted::Reached => key.begin_window(ticket.digest, now),
            Counted::Added => {}
        }
        *self.answered.entry(ticket.position).or_default() += 1;
        // Nobody is left who could add to the winner, or there is no window to wait for.
        if key.in_window().is_some() && (self.window.is_zero() || key.answers() >= self.eligible) {
            self.certify(&ticket.key, events);
        }
        Ok(Accepted::Counted)
    }

    pub(super) fn tick(&mut self, now: Duration, events: &mut Vec<Event>) {
        while let Some((_, key)) = self.windows.first().filter(|(until, _)| *until <= now).cloned() {
            self.certify(&key, events);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.windows.first().map(|(until, _)| *until)
    }

    pub(super) fn mark_certified(&mut self, key: &ResponseKey, digest: B256) {
        let state = self.keys.entry(key.clone()).or_insert_with(Key::collecting);
        if let Some((until, _)) = state.in_window() {
            self.windows.remove(&(until, key.clone()));
        }
        state.end(digest);
    }

    pub(super) fn close(&mut self, events: &mut Vec<Event>) {
        let keys: Vec<ResponseKey> = self.keys.keys().cloned().collect();
        for key in keys {
            let Some(state) = self.keys.get(&key) else {
                continue;
            };
            if state.in_window().is_some() {
                self.certify(&key, events);
            } else if !state.is_certified() {
                events.push(Event::Expired { task: self.index, key });
            }
        }
    }

    pub(super) fn progress(&self) -> Vec<KeyProgress> {
        self.keys.iter().map(|(key, state)| state.progress(key.clone(), &self.quorums)).collect()
    }

    /// Makes the certificate of a key in its window. A key that is in none is left as it is.
    fn certify(&mut self, key: &ResponseKey, events: &mut Vec<Event>) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        let Some((until, digest)) = state.in_window() else {
            return;
        };
        self.windows.remove(&(until, key.clone()));
        let (payload, signatures) = state.take_winner(digest);
        let weighted = signatures.iter().filter_map(|(position, signature)| {
            self.operators.get(*position).map(|operator| (*signature, self.quorums.multiplicity(operator)))
        });
        events.push(Event::Certified(Certificate {
            task: self.index,
            key: key.clone(),
            payload,
            digest,
            signers: Bitmap::from_fn(self.operators.len(), |position| signatures.contains_key(&position)),
            signature: encoded(G1::weighted_sum(weighted)),
        }));
    }
}

fn encoded(point: G1) -> Bytes {
    Bytes::copy_from_slice(&point.encode())
}
