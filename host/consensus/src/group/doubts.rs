//! When something suggests that the members are not who this node thinks, ask them.
//!
//! A node that was removed never gets the entry that says so, and a node that was away while the members changed may not
//! know the key of the leader that now calls it. Both are settled by more than half of the other voters it knows: no single
//! member can talk a node out of the cluster or strangers into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_env::Env;
use futures::future::join_all;
use tokio::sync::watch;

use crate::network::Caller;
use crate::peers::{Peer, PeerBook};
use crate::raft::Member;
use crate::transport::rpc::{Answer, Call, code};
use crate::transport::{CallError, Lane};
use eigenshift_types::NodeId;

const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// How often an open question is asked again: a node is told that it was removed before everybody has heard of it.
const ATTEMPTS: u32 = 20;

pub(super) struct Doubts {
    pub(super) env: Env,
    pub(super) caller: Arc<Caller>,
    pub(super) book: PeerBook,
    pub(super) voters: watch::Receiver<Vec<NodeId>>,
    pub(super) removed: Arc<watch::Sender<bool>>,
    /// Between two rounds, however often somebody rings: strangers can ring.
    pub(super) pause: Duration,
}

/// What the others said.
#[derive(Default)]
struct Said {
    asked: usize,
    removed: usize,
    members: BTreeMap<(u64, Vec<Peer>), usize>,
}

impl Doubts {
    pub(super) async fn settle(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.rounds() => {}
        }
    }

    async fn rounds(&self) {
        loop {
            self.caller.doubts.notified().await;
            for _ in 0..ATTEMPTS {
                let said = self.ask_around().await;
                let settled = self.conclude(&said);
                self.env.clock.sleep(self.pause).await;
                if settled || said.removed == 0 {
                    break;
                }
            }
        }
    }

    async fn ask_around(&self) -> Said {
        let own = self.caller.identity.node;
        let voters = self.voters.borrow().clone();
        let mut others = self.book.members();
        others.retain(|peer| peer.node != own && (voters.is_empty() || voters.contains(&peer.node)));
        let answers = join_all(others.iter().map(|peer| {
            let member = Member { raft_url: peer.raft_url.clone(), key: peer.key };
            async move { self.caller.call(peer.node, &member, Lane::Host, Call::Probe, PROBE_LIMIT).await }
        }))
        .await;
        let mut said = Said { asked: others.len(), ..Said::default() };
        for answer in answers {
            match answer {
                Ok(Answer::Probe { as_of: Some(as_of), members }) => {
                    *said.members.entry((as_of, members)).or_default() += 1
                }
                Err(CallError::Refused(refusal)) if refusal.code == code::REMOVED => said.removed += 1,
                _ => {}
            }
        }
        said
    }

    /// Whether the question is settled.
    fn conclude(&self, said: &Said) -> bool {
        let enough = |votes: usize| votes * 2 > said.asked;
        if enough(said.removed) {
            tracing::warn!(group = %self.caller.group, node = %self.caller.identity.node, "this node was removed from its cluster");
            self.removed.send_replace(true);
            return true;
        }
        let agreed = said.members.iter().find(|(_, votes)| enough(**votes));
        if let Some(((as_of, members), _)) = agreed {
            self.book.set(*as_of, members.clone());
        }
        agreed.is_some()
    }
}
