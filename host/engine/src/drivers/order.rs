//! The AVS's own order of duty: what it is asked with, and whether a choice was its own.

use eigenshift_ledger::rotation::Choice;
use eigenshift_plugin::{CallError, Candidate};
use eigenshift_types::{OperatorId, OperatorSet, U256};

use crate::callbacks::{Rotation, caught};

/// Candidates with their stakes of an operator set; those that the set does not know are left out.
pub(crate) fn candidates(operators: &[OperatorId], set: &OperatorSet) -> Vec<Candidate> {
    let candidate = |operator: &OperatorId| {
        let record = set.operators.get(set.position(*operator)?)?;
        let stakes = record.stakes.iter().map(|stake| U256::from(stake.get())).collect();
        Some(Candidate { operator_id: *operator, stakes })
    };
    operators.iter().filter_map(candidate).collect()
}

/// Whether the logic makes the same choice again.
pub(crate) async fn agrees(rotation: &dyn Rotation, choice: &Choice, set: &OperatorSet) -> Result<bool, CallError> {
    let candidates = candidates(&choice.candidates, set);
    let at = caught(rotation.next(&candidates, choice.last, choice.seed)).await?;
    Ok(candidates.get(at).is_some_and(|candidate| candidate.operator_id == choice.chosen))
}
