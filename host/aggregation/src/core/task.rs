//! One open task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::Signature;
use eigenshift_types::{B256, Bitmap, Certificate, OperatorId, ResponseKey, TaskIndex};

use super::key::{Key, Signed};
use super::{Admission, INCORRECT_LIMIT, Next, Ticket, Verdict};
use crate::operators::Operator;
use crate::{
    Accepted, Answer, Error, Event, Evidence, Expiry, KeyProgress, Operators, Policy, Share, ShareError,
    TaskAggregation, TaskQuorums,
};

#[derive(Debug)]
pub(super) struct Task {
    index: TaskIndex,
    generation: u64,
    operators: Arc<Operators>,
    quorums: TaskQuorums,
    policy: Policy,
    /// Time or block at which it ends by itself.
    ends: Option<End>,
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

#[derive(Clone, Copy, Debug)]
enum End {
    At(Duration),
    Block(u64),
}

impl Task {
    pub(super) fn new(task: TaskAggregation, generation: u64, now: Duration) -> Result<Self, Error> {
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
            policy: task.policy,
            ends: match task.expiry {
                Expiry::Never => None,
                Expiry::After(life) => Some(End::At(now.saturating_add(life))),
                Expiry::AtBlock(number) => Some(End::Block(number)),
            },
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

    /// Whether its time has come; that of its block, [`Task::end_block`] tells.
    pub(super) fn is_expired(&self, now: Duration) -> bool {
        matches!(self.ends, Some(End::At(end)) if end <= now)
    }

    pub(super) fn end_block(&self) -> Option<u64> {
        match self.ends {
            Some(End::Block(block)) => Some(block),
            Some(End::At(_)) | None => None,
        }
    }

    /// The checks before the signature is even decoded, which is curve arithmetic already.
    pub(super) fn precheck(&self, share: &Share) -> Result<Next, ShareError> {
        let (position, operator) = self.signer(share.operator)?;
        if self.quorums.multiplicity(operator) == 0 {
            return Err(ShareError::NoStake(operator.id));
        }
        // Whatever its sender sent meanwhile: what counts is acknowledged again.
        let counted = self.keys.get(&share.key).and_then(|key| key.signed_by(position));
        if counted.is_some_and(|own| own.digest == share.digest && own.signature.encode() == share.signature) {
            return Ok(Next::Known(Accepted::Duplicate));
        }
        if self.incorrect.get(&position).is_some_and(|count| *count >= INCORRECT_LIMIT) {
            return Err(ShareError::TooManyIncorrect { limit: INCORRECT_LIMIT });
        }
        Ok(Next::Decode(self.operators.curve()))
    }

    fn signer(&self, id: OperatorId) -> Result<(usize, &Operator), ShareError> {
        let position = self.operators.position(id);
        let signer = position.and_then(|position| Some((position, self.operators.get(position)?)));
        signer.ok_or(ShareError::UnknownOperator(id))
    }

    /// The operator sent what is no signature, or no right one.
    pub(super) fn incorrect(&mut self, operator: OperatorId) {
        if let Some(position) = self.operators.position(operator) {
            let count = self.incorrect.entry(position).or_default();
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn admit(&self, share: &Share, signature: Signature) -> Result<Admission, ShareError> {
        // Again: the task may be another opening than the one that was asked first.
        if let Next::Known(accepted) = self.precheck(share)? {
            return Ok(Admission::Known(accepted));
        }
        let (position, operator) = self.signer(share.operator)?;
        if let Some(answer) = self.known(position, &share.key, share.digest, signature) {
            return answer.map(Admission::Known);
        }
        let first = self.keys.get(&share.key).and_then(|key| key.signed_by(position));
        Ok(Admission::Verify(Box::new(Ticket {
            task: self.index,
            generation: self.generation,
            position,
            operator: operator.id,
            key: share.key.clone(),
            payload: share.payload.clone(),
            extension: share.extension.clone(),
            digest: share.digest,
            public_key: operator.public_key,
            signature,
            weight: self.quorums.multiplicity(operator),
            first: first.filter(|first| !first.alone).map(|first| (first.digest, first.signature)),
        })))
    }

    /// The answer to a share that needs no verification, or needs none any more.
    fn known(
        &self,
        position: usize,
        key: &ResponseKey,
        digest: B256,
        signature: Signature,
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
            None => self.without_share(position, known),
        }
    }

    fn without_share(&self, position: usize, known: Option<&Key>) -> Option<Result<Accepted, ShareError>> {
        match known.and_then(Key::certified_digest) {
            Some(digest) => Some(Ok(Accepted::AlreadyCertified { digest })),
            None if self.answered.get(&position).is_some_and(|count| *count >= self.max_keys) => {
                Some(Err(ShareError::TooManyKeys { max: self.max_keys }))
            }
            None => None,
        }
    }

    pub(super) fn count(
        &mut self,
        ticket: &Ticket,
        verdict: Verdict,
        now: Duration,
        events: &mut Vec<Event>,
    ) -> Result<Accepted, ShareError> {
        if !verdict.valid {
            self.incorrect(ticket.operator);
            return Err(ShareError::Incorrect);
        }
        // Things may have changed since it was admitted.
        if let Some(answer) = self.known(ticket.position, &ticket.key, ticket.digest, ticket.signature) {
            return answer;
        }
        let first = self.keys.get(&ticket.key).and_then(|key| key.signed_by(ticket.position));
        if let Some(first) = first {
            return Err(self.second(ticket, first, verdict.first, events));
        }
        self.add(ticket, true)?;
        self.settle(&ticket.key, ticket.digest, now, events);
        Ok(Accepted::Counted)
    }

    pub(super) fn count_sum(
        &mut self,
        tickets: &[Ticket],
        now: Duration,
        events: &mut Vec<Event>,
    ) -> Option<Vec<Result<Accepted, ShareError>>> {
        let first = tickets.first()?;
        let known = |ticket: &Ticket| self.known(ticket.position, &ticket.key, ticket.digest, ticket.signature);
        if let Some(answers) = tickets.iter().map(known).collect() {
            return Some(answers);
        }
        let mut positions = BTreeSet::new();
        let can_be_added = |ticket: &Ticket| {
            let has_none = self.keys.get(&ticket.key).is_none_or(|key| key.signed_by(ticket.position).is_none());
            has_none && known(ticket).is_none() && self.operators.get(ticket.position).is_some()
        };
        if !tickets.iter().all(|ticket| can_be_added(ticket) && positions.insert(ticket.position)) {
            return None;
        }
        let answers = tickets.iter().map(|ticket| self.add(ticket, false).map(|()| Accepted::Counted)).collect();
        // Only now: a certificate has all of the sum or nothing of it.
        self.settle(&first.key, first.digest, now, events);
        Some(answers)
    }

    /// An operator's second digest for a key is evidence, if its first answer is verified alone.
    fn second(
        &mut self,
        ticket: &Ticket,
        first: Signed,
        first_valid: Option<bool>,
        events: &mut Vec<Event>,
    ) -> ShareError {
        let valid = match first_valid {
            _ if first.alone => true,
            Some(valid) if ticket.first == Some((first.digest, first.signature)) => valid,
            // The first answer came while this one was on its way: with the next try both are verified.
            _ => return ShareError::Busy,
        };
        let answer = self.keys.get_mut(&ticket.key).and_then(|key| {
            key.judge_first(ticket.position, valid);
            key.answer(&first)
        });
        if let Some(first) = answer.filter(|_| valid) {
            events.push(Event::Equivocation(Evidence {
                task: self.index,
                key: ticket.key.clone(),
                operator: ticket.operator,
                curve: self.operators.curve(),
                public_key: ticket.public_key.encode(),
                first,
                second: Answer {
                    digest: ticket.digest,
                    signature: ticket.signature.encode(),
                    payload: ticket.payload.clone(),
                    extension: ticket.extension.clone(),
                },
            }));
        }
        ShareError::Equivocation { first: first.digest }
    }

    fn add(&mut self, ticket: &Ticket, alone: bool) -> Result<(), ShareError> {
        let operator = self.operators.get(ticket.position).ok_or(ShareError::UnknownOperator(ticket.operator))?;
        let key = self.keys.entry(ticket.key.clone()).or_insert_with(Key::collecting);
        key.add(ticket, operator, &self.quorums, alone);
        *self.answered.entry(ticket.position).or_default() += 1;
        Ok(())
    }

    /// Begins the key's window when the digest has its quorums, and ends it when there is nothing to wait for.
    fn settle(&mut self, name: &ResponseKey, digest: B256, now: Duration, events: &mut Vec<Event>) {
        let Some(key) = self.keys.get_mut(name) else { return };
        if key.is_first_with_quorums(digest, &self.quorums) {
            let until = match self.policy {
                Policy::AtQuorum => now,
                Policy::Wait { at_most, .. } => now.saturating_add(at_most),
            };
            key.begin_window(digest, until);
            self.windows.insert((until, name.clone()));
        }
        let Some((_, winner)) = key.in_window() else { return };
        let enough = match self.policy {
            Policy::AtQuorum => true,
            Policy::Wait { at_most, non_signers } => {
                at_most.is_zero()
                    || key.answers() >= self.eligible
                    || key.signers(winner).saturating_add(non_signers) >= self.eligible
            }
        };
        if enough {
            self.certify(name, events);
        }
    }

    pub(super) fn tick(&mut self, now: Duration, events: &mut Vec<Event>) {
        while let Some((_, key)) = self.windows.first().filter(|(until, _)| *until <= now).cloned() {
            self.certify(&key, events);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let window = self.windows.first().map(|(until, _)| *until);
        let end = match self.ends {
            Some(End::At(end)) => Some(end),
            Some(End::Block(_)) | None => None,
        };
        window.into_iter().chain(end).min()
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
            } else if state.certified_digest().is_none() {
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
            signature: Signature::weighted_sum(self.operators.curve(), weighted).encode(),
        }));
    }
}
