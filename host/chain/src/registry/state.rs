//! What a registry answers, whatever its curve.

use alloy_primitives::{Address, B256, Bytes, aliases::U96, keccak256};
use eigenshift_types::{BlockRef, OperatorId, OperatorRecord, OperatorSet, QuorumRecord, Stake};

use super::MAX_OPERATORS;
use crate::Error;

/// `operatorState`, with points in this crate's encodings.
#[derive(Clone)]
pub(super) struct State {
    pub(super) operators: Vec<Operator>,
    pub(super) total_stakes: Vec<U96>,
    pub(super) apks: Vec<Bytes>,
}

/// One of its operators.
#[derive(Clone)]
pub(super) struct Operator {
    pub(super) address: Address,
    pub(super) id: B256,
    pub(super) g1: Bytes,
    pub(super) g2: Bytes,
    pub(super) stakes: Vec<U96>,
}

pub(super) fn wrong(what: impl std::fmt::Display) -> Error {
    Error::malformed(format_args!("operatorState: {what}"))
}

fn stake(value: U96) -> Result<Stake, Error> {
    Stake::new(value.to::<u128>()).ok_or_else(|| wrong("a stake above 2^96 - 1"))
}

impl State {
    /// Refuses answers that are too long to be looked at.
    pub(super) fn check_size(operators: usize) -> Result<(), Error> {
        if operators > MAX_OPERATORS {
            return Err(Error::TooLarge { max: MAX_OPERATORS, unit: "operators" });
        }
        Ok(())
    }

    /// The set of these quorums at this block, if the answer does not contradict itself.
    pub(super) fn into_set(self, quorums: &[u8], at: BlockRef) -> Result<OperatorSet, Error> {
        Self::check_size(self.operators.len())?;
        if self.total_stakes.len() != quorums.len() || self.apks.len() != quorums.len() {
            return Err(wrong("not one total and one aggregate key per quorum"));
        }
        let operators = self
            .operators
            .into_iter()
            .map(|operator| operator.into_record(quorums.len()))
            .collect::<Result<Vec<_>, _>>()?;
        if !operators.is_sorted_by(|a, b| a.id < b.id) {
            return Err(wrong("operators that do not ascend by id"));
        }

        let mut records = Vec::with_capacity(quorums.len());
        for (position, ((number, total), apk)) in quorums.iter().zip(self.total_stakes).zip(self.apks).enumerate() {
            let total_stake = stake(total)?;
            let sum = operators.iter().try_fold(Stake::default(), |sum, operator| {
                operator.stakes.get(position).and_then(|stake| sum.checked_add(*stake))
            });
            if sum != Some(total_stake) {
                return Err(wrong("a total stake that is not the sum of the operators'"));
            }
            records.push(QuorumRecord { number: *number, total_stake, aggregate_g1: apk });
        }
        let mut set = OperatorSet { digest: B256::ZERO, block: at, quorums: records, operators };
        set.digest = set.compute_digest();
        Ok(set)
    }
}

impl Operator {
    fn into_record(self, quorums: usize) -> Result<OperatorRecord, Error> {
        let wrong = |what| wrong(format_args!("operator {}: {what}", self.address));
        if self.stakes.len() != quorums {
            return Err(wrong("not one stake per quorum"));
        }
        if keccak256(&self.g1) != self.id {
            return Err(wrong("an id that is not the hash of the key"));
        }
        let stakes = self.stakes.iter().map(|value| stake(*value)).collect::<Result<Vec<_>, _>>()?;
        Ok(OperatorRecord { id: OperatorId(self.id), address: self.address, g1: self.g1, g2: self.g2, stakes })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn operator(number: u8, stakes: &[u64]) -> Operator {
        let g1 = Bytes::from(vec![number; 64]);
        Operator {
            address: Address::with_last_byte(number),
            id: keccak256(&g1),
            g1,
            g2: vec![number; 128].into(),
            stakes: stakes.iter().map(|stake| U96::from(*stake)).collect(),
        }
    }

    fn state() -> State {
        let mut operators = vec![operator(1, &[5, 0]), operator(2, &[7, 1])];
        operators.sort_by_key(|operator| operator.id);
        let apk = Bytes::from(vec![8; 64]);
        State { operators, total_stakes: vec![U96::from(12), U96::from(1)], apks: vec![apk.clone(), apk] }
    }

    fn built(state: State) -> Result<OperatorSet, Error> {
        state.into_set(&[0, 3], BlockRef { number: 4, hash: B256::repeat_byte(9) })
    }

    #[test]
    fn a_set_carries_its_digest_and_what_was_answered() {
        let (set, state) = (built(state()).unwrap(), state());
        assert_eq!(set.digest, set.compute_digest());
        assert_eq!(set.block.number, 4);
        assert_eq!(set.quorums[1].number, 3);
        assert_eq!(set.quorums[1].aggregate_g1, state.apks[1]);
        assert_eq!(set.operators[0].id.0, state.operators[0].id);
        assert_eq!((&set.operators[0].g1, &set.operators[0].g2), (&state.operators[0].g1, &state.operators[0].g2));
    }

    #[test]
    fn a_state_that_contradicts_itself_is_refused() {
        type Damage = fn(&mut State);
        let cases: [(&str, Damage); 7] = [
            ("wrong order", |state| state.operators.reverse()),
            ("twice the same", |state| state.operators[1] = state.operators[0].clone()),
            ("total too high", |state| state.total_stakes[0] = U96::from(13)),
            ("a total is missing", |state| {
                state.total_stakes.pop();
            }),
            ("an aggregate key too many", |state| state.apks.push(state.apks[0].clone())),
            ("a stake is missing", |state| {
                state.operators[0].stakes.pop();
            }),
            ("a foreign id", |state| state.operators[1].id = B256::repeat_byte(0xff)),
        ];
        for (name, damage) in cases {
            let mut state = state();
            damage(&mut state);
            assert!(matches!(built(state), Err(Error::Malformed(_))), "{name}");
        }
        let mut many = state();
        many.operators = vec![operator(1, &[1, 1]); MAX_OPERATORS + 1];
        assert_eq!(built(many), Err(Error::TooLarge { max: MAX_OPERATORS, unit: "operators" }));
    }
}
