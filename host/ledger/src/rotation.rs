//! Whose turn it is: computed in applying, so that no leader chooses.

use alloy_primitives::{B256, U256, keccak256};
use eigenshift_types::{NodeId, OperatorId, OperatorSet};
use serde::{Deserialize, Serialize};

use crate::settings::{Mode, Order};
use crate::state::State;

/// Where the rotation stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Operator that has or had the duty last.
    pub last: Option<OperatorId>,
    /// Tasks since the duty last moved.
    pub tasks: u32,
    /// Under leadership: the member to which leadership is to be handed. Due marks coalesce into this one.
    pub due: Option<NodeId>,
    /// Under assignment: the duty moves before the next task.
    pub advance: bool,
}

/// A member that may have the duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its operator.
    pub operator: OperatorId,
    /// Its node.
    pub node: NodeId,
    /// Its stake in the first quorum.
    pub stake: u128,
}

/// The ring under an operator set: eligible members that the set knows and that are not down, ascending by operator id.
#[must_use]
pub fn ring(state: &State, set: &OperatorSet, mode: Mode) -> Vec<Candidate> {
    let mut ring: Vec<Candidate> = state
        .members
        .iter()
        .filter(|(node, member)| !member.down && (mode == Mode::Assignment || state.voters.contains(node)))
        .filter_map(|(node, member)| {
            let record = set.by_address(member.operator())?;
            let stake = record.stakes.first().map_or(0, |stake| stake.get());
            Some(Candidate { operator: record.id, node: *node, stake })
        })
        .collect();
    ring.sort_by_key(|candidate| candidate.operator);
    ring
}

/// Who of the ring is next after `last`; none if the ring is empty. `seed` is a block hash.
#[must_use]
pub fn next(ring: &[Candidate], last: Option<OperatorId>, order: Order, seed: B256) -> Option<Candidate> {
    let after = |last: OperatorId| ring.iter().find(|candidate| candidate.operator > last).or(ring.first()).copied();
    let draw = |bound: u128| -> u128 {
        let last = last.map_or(B256::ZERO, |last| last.0);
        let hash = U256::from_be_bytes(keccak256([seed.0, last.0].concat()).0);
        // The bias of a 256-bit draw below 2^128 is less than 2^-128.
        (hash % U256::from(bound.max(1))).to::<u128>()
    };
    match (order, last) {
        (Order::RoundRobin, None) => ring.first().copied(),
        (Order::RoundRobin, Some(last)) => after(last),
        (Order::BlockHash, _) => {
            // Not the same one twice running, when there is another.
            let others: Vec<_> =
                ring.iter().filter(|candidate| ring.len() == 1 || Some(candidate.operator) != last).collect();
            let at = draw(others.len() as u128);
            others.get(usize::try_from(at).unwrap_or(0)).map(|candidate| **candidate)
        }
        (Order::Stake, _) => {
            let total: u128 = ring.iter().map(|candidate| candidate.stake).sum();
            let mut at = draw(total);
            for candidate in ring {
                if at < candidate.stake {
                    return Some(*candidate);
                }
                at -= candidate.stake;
            }
            ring.first().copied()
        }
    }
}
