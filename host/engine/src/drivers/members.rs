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
        if context.wait_to_lead().await.is_none() {
            return;
        }
        changes.borrow_and_update();
        let due = due(&context);
        // Both sides change with the log; what Raft says of its members may be a moment older than what is applied.
        let again = if due.is_empty() { context.patience.down_after } else { context.patience.tick };
        for change in due {
            let result = match change {
                Change::Add(peer) => context.group.add_learner(peer).await,
                Change::Promote(node) => context.group.promote(node).await,
                Change::Remove(node) => context.group.remove(node).await,
            };
            match result {
                Ok(()) => context.counters.count("membership", "changed"),
                // Looked at again soon.
                Err(
                    MembershipError::NotCaughtUp { .. } | MembershipError::ChangeInFlight | MembershipError::Uncertain,
                ) => {}
                Err(error) => {
                    context.counters.count("membership", "refused");
                    tracing::warn!(avs = %context.service.avs, "members: {error}");
                }
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.env.clock.sleep(again) => {}
            () = context.stop.cancelled() => return,
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
