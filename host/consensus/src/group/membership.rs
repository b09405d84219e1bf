//! Changing who belongs to the group. Only on the leader, one change at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eigenshift_types::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::{ClientWriteResponse, Precondition};
use openraft::{ChangeMembers, Instant};
use tokio::sync::MutexGuard;

use super::Group;
use crate::error::MembershipError;
use crate::peers::{MAX_URL_BYTES, Peer};
use crate::raft::{Member, Metrics, Types};
use crate::transport::Lane;
use crate::transport::rpc::{Answer, Call};
use crate::within::within;

/// A learner this close to the end of the leader's log may become a voter.
const SMALL_LAG: u64 = 64;
/// The least time that a member has to answer a ping.
const PING_LIMIT: Duration = Duration::from_millis(200);
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

type Changed = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>;

/// How far a member is, as its leader sees it.
pub(super) struct Standing {
    pub(super) behind: u64,
    pub(super) silent_for: Option<Duration>,
}

pub(super) fn standing(metrics: &Metrics, node: NodeId) -> Standing {
    let matched = metrics.replication.as_ref().and_then(|all| all.get(&node.0).copied().flatten());
    let next = |index: Option<u64>| index.map_or(0, |index| index.saturating_add(1));
    let behind = next(metrics.last_log_index).saturating_sub(next(matched.map(|id| id.index)));
    let acked = metrics.heartbeat.as_ref().and_then(|all| all.get(&node.0).copied().flatten());
    Standing { behind, silent_for: acked.map(|acked| acked.elapsed()) }
}

impl Group {
    /// Takes a node in as a learner: it gets the log and does not vote. Its id is new: ids are never reused.
    ///
    /// # Errors
    /// [`MembershipError`] says why not, and what to do.
    pub async fn add_learner(&self, peer: Peer) -> Result<(), MembershipError> {
        if peer.raft_url.is_empty() || peer.raft_url.len() > MAX_URL_BYTES {
            return Err(MembershipError::Invalid(format!("a URL has 1 to {MAX_URL_BYTES} bytes")));
        }
        let (_turn, metrics) = self.begin_change().await?;
        if metrics.membership_config.get_node(&peer.node.0).is_some() {
            return Err(MembershipError::AlreadyMember(peer.node));
        }
        let member = Member { raft_url: peer.raft_url, key: peer.key };
        let changes = ChangeMembers::AddNodes(BTreeMap::from([(peer.node.0, member)]));
        self.change(changes, true, &metrics).await
    }

    /// Makes a learner a voter, once it has caught up and answers.
    ///
    /// # Errors
    /// [`MembershipError`] says why not, and what to do.
    pub async fn promote(&self, node: NodeId) -> Result<(), MembershipError> {
        let (_turn, metrics) = self.begin_change().await?;
        if metrics.membership_config.get_node(&node.0).is_none() {
            return Err(MembershipError::Unknown(node));
        }
        if metrics.membership_config.voter_ids().any(|voter| voter == node.0) {
            return Err(MembershipError::AlreadyMember(node));
        }
        // A voter that is down could take the quorum with it: its last sign of life may be from just before it died.
        let fresh = self.wait_fresh(node).await && self.answers(node).await;
        let Standing { behind, silent_for } = standing(&self.metrics(), node);
        if !fresh || behind > SMALL_LAG {
            return Err(MembershipError::NotCaughtUp { node, behind, silent_for });
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node.0])), true, &metrics).await
    }

    /// Removes a member, which is told. A leader that removes itself hands over and stops leading.
    ///
    /// # Errors
    /// [`MembershipError`] says why not, and what to do.
    pub async fn remove(&self, node: NodeId) -> Result<(), MembershipError> {
        let (_turn, metrics) = self.begin_change().await?;
        let Some(member) = metrics.membership_config.get_node(&node.0).cloned() else {
            return Err(MembershipError::Unknown(node));
        };
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let ids = BTreeSet::from([node.0]);
        let changes = if !voters.contains(&node.0) {
            ChangeMembers::RemoveNodes(ids)
        } else if voters.len() > 1 {
            ChangeMembers::RemoveVoters(ids)
        } else {
            return Err(MembershipError::LastVoter(node));
        };
        self.change(changes, false, &metrics).await?;
        let caller = std::sync::Arc::clone(&self.0.caller);
        self.0.env.spawn(async move {
            // It may be down: then it is told when it calls.
            let _ = caller.call(node, &member, Lane::Host, Call::Goodbye, GOODBYE_LIMIT).await;
        });
        Ok(())
    }

    /// Whether this node leads and no change of members is going on. What it knows of its own last change may be a moment
    /// old, so it waits a little.
    pub(super) async fn settles(&self) -> Metrics {
        let settled = |metrics: &Metrics| settled(metrics) || !metrics.state.is_leader();
        let waited = self.0.raft.wait(Some(self.0.timing.heartbeat * 2)).metrics(settled, "no change of members").await;
        waited.unwrap_or_else(|_| self.metrics())
    }

    /// Whether a member answers, now.
    pub(super) async fn answers(&self, node: NodeId) -> bool {
        let Some(member) = self.member(node) else { return false };
        let limit = (self.0.timing.heartbeat * 2).max(PING_LIMIT);
        let answer = self.0.caller.call(node, &member, Lane::Pulse, Call::Probe, limit).await;
        matches!(answer, Ok(Answer::Probe { .. }))
    }

    async fn begin_change(&self) -> Result<(MutexGuard<'_, ()>, Metrics), MembershipError> {
        let turn = self.0.changes.try_lock().map_err(|_| MembershipError::ChangeInFlight)?;
        let metrics = self.settles().await;
        if !metrics.state.is_leader() {
            return Err(MembershipError::NotLeader { leader: metrics.current_leader.map(NodeId) });
        }
        if !settled(&metrics) {
            return Err(MembershipError::ChangeInFlight);
        }
        Ok((turn, metrics))
    }

    async fn change(
        &self,
        changes: ChangeMembers<u64, Member>,
        retain: bool,
        metrics: &Metrics,
    ) -> Result<(), MembershipError> {
        // Whoever led in between may have changed the members.
        let unchanged =
            Precondition::LastMembershipLogId { last_membership_log_id: *metrics.membership_config.log_id() };
        let change = self.0.raft.change_membership_if(changes, retain, [unchanged]);
        changed(within(&self.0.env, self.0.limit, change).await)
    }

    /// Waits a little for a sign of life from a member that is younger than two heartbeats.
    pub(super) async fn wait_fresh(&self, node: NodeId) -> bool {
        let heartbeat = self.0.timing.heartbeat;
        let fresh = |metrics: &Metrics| standing(metrics, node).silent_for.is_some_and(|age| age < heartbeat * 2);
        if fresh(&self.metrics()) {
            return true;
        }
        // It may fail only because the group stopped, which the wait sees too.
        let _ = self.0.raft.trigger().heartbeat().await;
        let mut metrics = self.0.raft.metrics();
        let wait = async {
            while !fresh(&metrics.borrow_watched()) {
                if metrics.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        within(&self.0.env, heartbeat * 3, wait).await.unwrap_or(false)
    }
}

/// Whether the members are those of a committed entry, and not between two sets of voters.
pub(super) fn settled(metrics: &Metrics) -> bool {
    metrics.membership_config == metrics.committed_membership_config
        && metrics.membership_config.get_joint_config().len() <= 1
}

fn changed(result: Option<Changed>) -> Result<(), MembershipError> {
    let error = match result {
        None => return Err(MembershipError::Uncertain),
        Some(Ok(_)) => return Ok(()),
        Some(Err(RaftError::Fatal(_))) => return Err(MembershipError::Stopped),
        Some(Err(RaftError::APIError(error))) => error,
    };
    Err(match error {
        ClientWriteError::ForwardToLeader(forward) => {
            MembershipError::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Uncertain,
        ClientWriteError::PreconditionFailed(_) => MembershipError::ChangeInFlight,
        ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ) => MembershipError::ChangeInFlight,
        ClientWriteError::ChangeMembershipError(other) => MembershipError::Invalid(other.to_string()),
    })
}
