//! One response key of a task: its groups of equal digests, and who won.

use std::collections::BTreeMap;
use std::time::Duration;

use eigenshift_bls::Signature;
use eigenshift_types::{B256, Bytes, ResponseKey, Stake};

use super::Ticket;
use crate::operators::Operator;
use crate::{Answer, KeyProgress, KeyStage, TaskQuorums};

/// The first verified answer of an operator: the one that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed {
    pub(super) digest: B256,
    pub(super) signature: Signature,
    /// Whether it was verified alone. What was verified as part of a sum counts for certificates, never as evidence.
    pub(super) alone: bool,
    /// Evidence of a second digest was given out.
    pub(super) equivocated: bool,
}

#[derive(Debug)]
struct Group {
    /// Of the first share that was counted.
    payload: Bytes,
    extension: Bytes,
    /// What has signed in each of the task's quorums.
    stakes: Vec<Stake>,
    signers: usize,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Collecting,
    Window { winner: B256, until: Duration },
    Certified { digest: B256 },
}

/// Invariant: every operator is in one group at most, so there are no more groups than operators.
#[derive(Debug)]
pub(super) struct Key {
    stage: Stage,
    shares: BTreeMap<usize, Signed>,
    groups: BTreeMap<B256, Group>,
}

impl Key {
    pub(super) fn collecting() -> Self {
        Self { stage: Stage::Collecting, shares: BTreeMap::new(), groups: BTreeMap::new() }
    }

    pub(super) fn certified(digest: B256) -> Self {
        Self { stage: Stage::Certified { digest }, ..Self::collecting() }
    }

    pub(super) fn signed_by(&self, position: usize) -> Option<Signed> {
        self.shares.get(&position).copied()
    }

    /// What won, once the key is certified.
    pub(super) fn certified_digest(&self) -> Option<B256> {
        match self.stage {
            Stage::Certified { digest } => Some(digest),
            Stage::Collecting | Stage::Window { .. } => None,
        }
    }

    /// End of the window and the winner, while the key is in its window.
    pub(super) fn in_window(&self) -> Option<(Duration, B256)> {
        match self.stage {
            Stage::Window { winner, until } => Some((until, winner)),
            Stage::Collecting | Stage::Certified { .. } => None,
        }
    }

    /// How many operators have answered, whatever they answered.
    pub(super) fn answers(&self) -> usize {
        self.shares.len()
    }

    /// Adds the valid share of an operator that has none yet.
    pub(super) fn add(&mut self, ticket: &Ticket, operator: &Operator, quorums: &TaskQuorums, alone: bool) {
        let signed = Signed { digest: ticket.digest, signature: ticket.signature, alone, equivocated: false };
        self.shares.insert(ticket.position, signed);
        let group = self.groups.entry(ticket.digest).or_insert_with(|| Group {
            payload: ticket.payload.clone(),
            extension: ticket.extension.clone(),
            stakes: vec![Stake::default(); quorums.count()],
            signers: 0,
        });
        group.signers += 1;
        quorums.add(&mut group.stakes, operator);
    }

    /// Whether the digest has its quorums, the first to have them.
    pub(super) fn is_first_with_quorums(&self, digest: B256, quorums: &TaskQuorums) -> bool {
        let group = self.groups.get(&digest).filter(|_| matches!(self.stage, Stage::Collecting));
        group.is_some_and(|group| quorums.unreached(&group.stakes).is_none())
    }

    /// How many have signed a digest.
    pub(super) fn signers(&self, digest: B256) -> usize {
        self.groups.get(&digest).map_or(0, |group| group.signers)
    }

    /// The operator's first answer is verified alone now: wrong ones are no evidence, and none is given out again.
    pub(super) fn judge_first(&mut self, position: usize, valid: bool) {
        if let Some(first) = self.shares.get_mut(&position) {
            first.alone = valid;
            first.equivocated = true;
        }
    }

    /// A counted answer as evidence has it.
    pub(super) fn answer(&self, signed: &Signed) -> Option<Answer> {
        self.groups.get(&signed.digest).map(|group| Answer {
            digest: signed.digest,
            signature: signed.signature.encode(),
            payload: group.payload.clone(),
            extension: group.extension.clone(),
        })
    }

    pub(super) fn begin_window(&mut self, winner: B256, until: Duration) {
        self.stage = Stage::Window { winner, until };
    }

    /// Nothing more is collected. What operators signed stays known, for duplicates and evidence.
    pub(super) fn end(&mut self, digest: B256) {
        self.stage = Stage::Certified { digest };
    }

    /// The winner's payload and signatures by position; the key is certified from here on.
    pub(super) fn take_winner(&mut self, winner: B256) -> (Bytes, BTreeMap<usize, Signature>) {
        let payload = self.groups.get(&winner).map(|group| group.payload.clone()).unwrap_or_default();
        self.end(winner);
        let of_winner = self.shares.iter().filter(|(_, signed)| signed.digest == winner);
        (payload, of_winner.map(|(position, signed)| (*position, signed.signature)).collect())
    }

    pub(super) fn progress(&self, key: ResponseKey, quorums: &TaskQuorums) -> KeyProgress {
        let (stage, digest) = match self.stage {
            Stage::Collecting => (KeyStage::Collecting, self.leading(quorums)),
            Stage::Window { winner, .. } => (KeyStage::Window, winner),
            Stage::Certified { digest } => (KeyStage::Certified, digest),
        };
        let group = self.groups.get(&digest);
        let none = vec![Stake::default(); quorums.count()];
        KeyProgress {
            key,
            stage,
            digest,
            signers: group.map_or(0, |group| group.signers),
            percent: quorums.percent(group.map_or(&none, |group| &group.stakes)),
        }
    }

    /// The digest that is nearest to its quorums, judged by the quorum that it is farthest from.
    fn leading(&self, quorums: &TaskQuorums) -> B256 {
        let rank = |group: &Group| (quorums.percent(&group.stakes).into_iter().min(), group.signers);
        self.groups.iter().max_by_key(|(_, group)| rank(group)).map(|(digest, _)| *digest).unwrap_or_default()
    }
}
