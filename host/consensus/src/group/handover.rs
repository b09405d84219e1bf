//! Handing leadership to a chosen voter.
//!
//! openraft's transfer is a request, not a result: once it is sent, the leader takes no writes until somebody is elected.
//! So everything that can be known is checked before, and the result is waited for.

use std::time::Duration;

use eigenshift_types::NodeId;
use tokio::sync::watch;

use super::Group;
use super::membership::{settled, standing};
use crate::error::HandOverError;
use crate::raft::Metrics;

/// Lets proposals go on, whatever happens.
struct Paused<'a>(&'a watch::Sender<bool>);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Group {
    /// Hands leadership to another voter, which must be alive and have the whole log. Proposals wait meanwhile.
    ///
    /// # Errors
    /// [`HandOverError`]: up to `Lagging` and `InFlight` nothing was tried and this node leads on; after `Elsewhere` and
    /// `TimedOut` it may not.
    pub async fn hand_over(&self, to: NodeId) -> Result<(), HandOverError> {
        let Ok(_turn) = self.0.changes.try_lock() else { return Err(HandOverError::InFlight) };
        let metrics = self.settles().await;
        if !metrics.state.is_leader() {
            return Err(HandOverError::NotLeader);
        }
        if !settled(&metrics) {
            return Err(HandOverError::InFlight);
        }
        let is_voter = metrics.membership_config.voter_ids().any(|voter| voter == to.0);
        if to == self.0.node || !is_voter {
            return Err(HandOverError::NotVoter(to));
        }
        // The last sign of life may be from just before it died, so it is asked for one more.
        if !self.wait_fresh(to).await || !self.answers(to).await {
            return Err(HandOverError::Unreachable { node: to, silent_for: standing(&self.metrics(), to).silent_for });
        }
        self.0.paused.send_replace(true);
        let _paused = Paused(&self.0.paused);
        self.wait_whole_log(to).await?;
        self.0.raft.trigger().transfer_leader(to.0).await.map_err(|_| HandOverError::Stopped)?;
        self.wait_elected(to).await
    }

    /// Other voters that answered this leader lately, those that did last first.
    #[must_use]
    pub fn successors(&self) -> Vec<NodeId> {
        let lately = self.0.timing.election_max * 2;
        let health = self.health();
        let others = health.members.iter().filter(|(node, peer)| peer.voter && **node != self.0.node);
        let mut others: Vec<(Duration, NodeId)> = others
            .filter_map(|(node, peer)| Some((peer.silent_for?, *node)))
            .filter(|(silent_for, _)| *silent_for <= lately)
            .collect();
        others.sort();
        others.into_iter().map(|(_, node)| node).collect()
    }

    /// Hands leadership to whichever of [`Group::successors`] takes it. Whether somebody else leads, or may, afterwards.
    pub async fn hand_on(&self) -> bool {
        for to in self.successors() {
            match self.hand_over(to).await {
                Ok(()) | Err(HandOverError::NotLeader | HandOverError::Elsewhere(_)) => return true,
                Err(error) => tracing::info!("leadership not handed to node {to}: {error}"),
            }
        }
        false
    }

    /// Waits briefly until the target has every entry; nothing new is proposed meanwhile.
    async fn wait_whole_log(&self, to: NodeId) -> Result<(), HandOverError> {
        let whole = |metrics: &Metrics| standing(metrics, to).behind == 0 || !metrics.state.is_leader();
        let waited =
            self.0.raft.wait(Some(self.0.timing.election_min)).metrics(whole, "the target has the whole log").await;
        match waited {
            Ok(metrics) if metrics.state.is_leader() => Ok(()),
            Ok(_) => Err(HandOverError::NotLeader),
            Err(_) => Err(HandOverError::Lagging { node: to, behind: standing(&self.metrics(), to).behind }),
        }
    }

    /// The lease (one longest election timeout) and one election.
    async fn wait_elected(&self, to: NodeId) -> Result<(), HandOverError> {
        let own = self.0.node.0;
        let elected = |metrics: &Metrics| metrics.current_leader.is_some_and(|leader| leader != own);
        let limit = self.0.timing.election_max * 2;
        match self.0.raft.wait(Some(limit)).metrics(elected, "the target leads").await {
            Ok(metrics) if metrics.current_leader == Some(to.0) => Ok(()),
            Ok(metrics) => Err(HandOverError::Elsewhere(NodeId(metrics.current_leader.unwrap_or_default()))),
            Err(_) => Err(HandOverError::TimedOut(to)),
        }
    }
}
