//! Makes Raft's members those of the ledger: at the leader, one change at a time.

use std::sync::Arc;

use eigenshift_consensus::{MembershipError, Peer};
use eigenshift_types::NodeId;

use crate::context::Context;

/// What is to be changed next.
enum Change {
    Add(Peer),
    Promote(NodeId),
    Remove(NodeId),
}

pub(crate) async fn run(context: Arc<Context>) {
    let mut changes = context.ledger.changes();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.env.clock.sleep(context.patience.tick) => {}
            () = context.stop.cancelled() => return,
        }
        if !context.leads() {
            continue;
        }
        for change in due(&context) {
            let result = match change {
                Change::Add(peer) => context.group.add_learner(peer).await,
                Change::Promote(node) => context.group.promote(node).await,
                Change::Remove(node) => context.group.remove(node).await,
            };
            match result {
                Ok(()) => context.counters.count("membership", "changed"),
                // Looked at again with the next tick.
                Err(
                    MembershipError::NotCaughtUp { .. } | MembershipError::ChangeInFlight | MembershipError::Uncertain,
                ) => {}
                Err(error) => {
                    context.counters.count("membership", "refused");
                    tracing::warn!(avs = %context.service.avs, "members: {error}");
                }
            }
        }
    }
}

fn due(context: &Context) -> Vec<Change> {
    let raft = context.group.health().members;
    context.ledger.read(|state| {
        let most = state.settings.as_ref().map_or(1, |settings| settings.max_voters as usize);
        let mut changes = Vec::new();
        for (node, member) in &state.members {
            if !raft.contains_key(node) {
                let peer = Peer { node: *node, raft_url: member.join.join.raft_url.clone(), key: *member.key() };
                changes.push(Change::Add(peer));
            }
        }
        let voters = raft.values().filter(|peer| peer.voter).count();
        let learner =
            raft.iter().find(|(node, peer)| !peer.voter && state.members.get(node).is_some_and(|member| !member.down));
        if let Some((node, _)) = learner.filter(|_| voters < most) {
            changes.push(Change::Promote(*node));
        }
        // Before the bootstrap is applied the ledger knows nobody.
        let gone = raft.keys().filter(|node| !state.members.is_empty() && !state.members.contains_key(node));
        changes.extend(gone.map(|node| Change::Remove(*node)));
        changes
    })
}
