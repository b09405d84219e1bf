//! What operators and drivers want to know about a group.

use std::collections::BTreeMap;
use std::time::Duration;

use eigenshift_types::NodeId;
use openraft::{Instant, ServerState};

use super::Group;
use super::membership::standing;

/// What this node is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows without a vote, or is not yet a member.
    Learner,
    /// It follows and votes.
    Follower,
    /// It asks to lead.
    Candidate,
    /// It leads.
    Leader,
    /// The group is stopped here.
    Stopped,
}

/// A group's state, seen from this node. Indices are none while there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What this node is.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The end of the log.
    pub last_log: Option<u64>,
    /// Up to where it is known to be committed.
    pub committed: Option<u64>,
    /// Up to where it is applied.
    pub applied: Option<u64>,
    /// Up to where the newest snapshot reaches.
    pub snapshot: Option<u64>,
    /// Up to where the log was cut off.
    pub purged: Option<u64>,
    /// When a quorum last acknowledged this leader; none on others.
    pub quorum_silent_for: Option<Duration>,
    /// Every member, this node too.
    pub members: BTreeMap<NodeId, PeerHealth>,
    /// Why the group stopped, if an error stopped it.
    pub stopped: Option<String>,
}

/// A member, seen from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHealth {
    /// Whether it votes.
    pub voter: bool,
    /// How long ago it last acknowledged something; none if never, or if this node does not lead.
    pub silent_for: Option<Duration>,
    /// Up to where it has the log; none if nothing, or if this node does not lead.
    pub matched: Option<u64>,
}

impl Group {
    /// The group's state, now.
    #[must_use]
    pub fn health(&self) -> Health {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, _)| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id).copied().flatten());
            let silent_for = standing(&metrics, NodeId(*id)).silent_for;
            let health = PeerHealth { voter: voters.contains(id), silent_for, matched: matched.map(|id| id.index) };
            (NodeId(*id), health)
        });
        Health {
            role: match metrics.state {
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopped,
            },
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.map(|id| id.index),
            applied: metrics.last_applied.map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            quorum_silent_for: metrics.last_quorum_acked.map(|acked| acked.elapsed()),
            members: members.collect(),
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }
}
