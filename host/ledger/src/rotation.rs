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
    /// Under the plugin's own order: the duty is to move, and the leader has yet to log where the plugin sends it.
    pub undecided: Option<B256>,
    /// The newest such choice, with what it was made from, so that members can make it again.
    pub choice: Option<Choice>,
}

impl Rotation {
    /// Whether the duty is about to move: no task begins meanwhile.
    #[must_use]
    pub const fn is_moving(&self) -> bool {
        self.due.is_some() || self.undecided.is_some()
    }
}

/// A choice of the plugin's own order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Who could be chosen, ascending.
    pub candidates: Vec<OperatorId>,
    /// The bundle whose order it is.
    pub bundle: B256,
    /// Digest of the operator set that their stakes are from.
    pub set_digest: B256,
    /// Who had the duty.
    pub last: Option<OperatorId>,
    /// A block hash.
    pub seed: B256,
    /// Who was chosen, says the leader.
    pub chosen: OperatorId,
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

/// Who of the ring is next after `last`; none if the ring is empty. `seed` is a block hash. The plugin's own order is not
/// known here: round-robin stands in for it where nobody can be asked.
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
        (Order::RoundRobin | Order::Plugin, None) => ring.first().copied(),
        (Order::RoundRobin | Order::Plugin, Some(last)) => after(last),
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
