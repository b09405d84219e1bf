//! A task's quorums and thresholds, resolved against an operator set.

use eigenshift_types::{Quorums, Stake};

use crate::operators::Operator;
use crate::{Error, Operators};

#[derive(Clone, Copy, Debug)]
struct TaskQuorum {
    number: u8,
    /// Position in the set's quorums.
    index: usize,
    total: Stake,
    threshold: u8,
}

/// A task's quorums: in the operator set, with stake, strictly ascending, thresholds from 1 to 100.
#[derive(Clone, Debug)]
pub struct TaskQuorums(Vec<TaskQuorum>);

impl TaskQuorums {
    /// Checks a task's quorums against the set.
    ///
    /// # Errors
    /// [`Error`] names the first quorum that is wrong, and how.
    pub fn resolve(operators: &Operators, quorums: &Quorums) -> Result<Self, Error> {
        if quorums.numbers.is_empty() {
            return Err(Error::NoQuorum);
        }
        if quorums.numbers.len() != quorums.thresholds.len() {
            let (quorums, thresholds) = (quorums.numbers.len(), quorums.thresholds.len());
            return Err(Error::ThresholdCount { quorums, thresholds });
        }
        let mut resolved: Vec<TaskQuorum> = Vec::with_capacity(quorums.numbers.len());
        for (&number, &threshold) in quorums.numbers.iter().zip(&quorums.thresholds) {
            if resolved.last().is_some_and(|before| before.number >= number) {
                return Err(Error::QuorumOrder { quorum: number });
            }
            if !(1..=100).contains(&threshold) {
                return Err(Error::Threshold { quorum: number, threshold });
            }
            let index = operators.quorum_position(number).ok_or(Error::UnknownQuorum { quorum: number })?;
            let total = operators.quorums().get(index).map(|quorum| quorum.total).unwrap_or_default();
            if total == Stake::default() {
                return Err(Error::EmptyQuorum { quorum: number });
            }
            resolved.push(TaskQuorum { number, index, total, threshold });
        }
        Ok(Self(resolved))
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Positions of the quorums in the set's list.
    pub(crate) fn indices(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|quorum| quorum.index)
    }

    /// How many of the task's quorums an operator has stake in: how often its key and signature are added.
    #[must_use]
    pub fn multiplicity(&self, operator: &Operator) -> u64 {
        self.stakes_of(operator).filter(|stake| *stake != Stake::default()).count() as u64
    }

    /// An operator's stake in each of the task's quorums.
    pub(crate) fn stakes_of(&self, operator: &Operator) -> impl Iterator<Item = Stake> {
        self.indices().map(|index| operator.stakes.get(index).copied().unwrap_or_default())
    }

    /// Adds an operator's stakes to what has signed in each quorum. The set's totals fit, so parts of them do.
    pub(crate) fn add(&self, signed: &mut [Stake], operator: &Operator) {
        for (sum, stake) in signed.iter_mut().zip(self.stakes_of(operator)) {
            *sum = sum.checked_add(stake).unwrap_or(*sum);
        }
    }

    /// The first quorum whose threshold is not reached.
    pub(crate) fn unreached(&self, signed: &[Stake]) -> Option<Shortfall> {
        self.0.iter().zip(signed).find_map(|(quorum, &signed)| {
            (!signed.reaches(quorum.total, quorum.threshold)).then_some(Shortfall {
                quorum: quorum.number,
                signed,
                total: quorum.total,
                threshold: quorum.threshold,
            })
        })
    }

    /// What has signed in each quorum beside its total.
    pub(crate) fn with_totals(&self, signed: &[Stake]) -> Vec<(Stake, Stake)> {
        signed.iter().copied().zip(self.0.iter().map(|quorum| quorum.total)).collect()
    }

    /// What has signed in each quorum, in whole percent rounded down.
    pub(crate) fn percent(&self, signed: &[Stake]) -> Vec<u8> {
        let percent = |(signed, total): (Stake, Stake)| {
            u8::try_from((signed.get() * 100).checked_div(total.get()).unwrap_or_default()).unwrap_or(100)
        };
        self.with_totals(signed).into_iter().map(percent).collect()
    }
}

/// A quorum that is not reached.
pub(crate) struct Shortfall {
    pub(crate) quorum: u8,
    pub(crate) signed: Stake,
    pub(crate) total: Stake,
    pub(crate) threshold: u8,
}
