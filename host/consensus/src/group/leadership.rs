//! Who leads, and whether this node may act on leading.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use eigenshift_env::Env;
use eigenshift_types::NodeId;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::raft::Raft;
use crate::within::within;

/// Who leads, as far as this node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The current term.
    pub term: u64,
    /// The leader of that term, once it is known.
    pub leader: Option<NodeId>,
    /// Whether this node leads, has confirmed that with a quorum, and has applied everything that was committed before.
    /// Duties begin only now: before, it could act on an old state. A deposed leader learns of it late: what must not
    /// happen twice is fenced by the log, or confirmed by [`crate::Group::confirm_leadership`] first.
    pub ready: bool,
}

fn look(raft: &Raft) -> Leadership {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    Leadership { term: metrics.vote.leader_id.term, leader: metrics.current_leader.map(NodeId), ready: false }
}

/// Confirms by ReadIndex that this node leads, and waits until it has applied up to there.
pub(super) async fn confirm(raft: &Raft) -> bool {
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await.is_ok()
}

type Confirming = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What follows the leadership.
pub(super) struct Following {
    pub(super) raft: Raft,
    pub(super) env: Env,
    pub(super) node: NodeId,
    /// Between two attempts to confirm.
    pub(super) pause: Duration,
    /// For one attempt.
    pub(super) limit: Duration,
    pub(super) tell: watch::Sender<Leadership>,
    pub(super) stopping: watch::Sender<Option<String>>,
}

impl Following {
    fn confirming(&self) -> Confirming {
        let (raft, env, limit, pause) = (self.raft.clone(), self.env.clone(), self.limit, self.pause);
        Box::pin(async move {
            let confirmed = within(&env, limit, confirm(&raft)).await.unwrap_or(false);
            if !confirmed {
                env.clock.sleep(pause).await;
            }
            confirmed
        })
    }

    /// Runs until the group stops, and says why if it was not told to.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.follow() => {}
        }
        let told = *stop.borrow();
        let term = self.tell.borrow().term;
        self.tell.send_replace(Leadership { term, leader: None, ready: false });
        let why = self.raft.metrics().borrow_watched().running_state.as_ref().err().map(ToString::to_string);
        if !told {
            let why = why.unwrap_or_else(|| "its task ended".to_owned());
            tracing::error!(node = %self.node, %why, "the group stopped");
            self.stopping.send_replace(Some(why));
        }
    }

    /// Ends when the group does.
    async fn follow(&self) {
        let mut changes = self.raft.server_metrics();
        let mut pending: Option<Confirming> = None;
        let mut current = Leadership::default();
        loop {
            let seen = look(&self.raft);
            if (seen.term, seen.leader) != (current.term, current.leader) {
                current = seen;
                self.tell.send_replace(current);
                pending = (current.leader == Some(self.node)).then(|| self.confirming());
            }
            let confirmed = async {
                match &mut pending {
                    Some(pending) => pending.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                confirmed = confirmed => {
                    // Leadership may have gone while it was being confirmed; then the next round sees it.
                    let seen = look(&self.raft);
                    let same = (seen.term, seen.leader) == (current.term, current.leader);
                    pending = (same && !confirmed).then(|| self.confirming());
                    if same && confirmed {
                        current.ready = true;
                        self.tell.send_replace(current);
                    }
                }
            }
        }
    }
}
