//! Ceasing to take part without leaving others to find out.

use std::time::Duration;

use crate::avs::AvsHandle;

impl AvsHandle {
    /// Prepares the AVS for being stopped here: leadership goes to another voter, if one lives, and what this node
    /// aggregates is brought to its end for as long as `limit` lets it. What is left then goes to another member once the
    /// leader marks this one as down, and announced transactions with it.
    pub async fn retire(&self, limit: Duration) {
        let context = &self.context;
        let deadline = context.env.clock.monotonic() + limit;
        let mut changes = self.changes();
        while context.env.clock.monotonic() < deadline {
            changes.borrow_and_update();
            let leads_on = self.leads() && !context.group.hand_on().await && context.group.successors().is_empty();
            let node = context.identity.node;
            let busy = self.read(|state| state.live_tasks().any(|task| task.aggregator == node));
            if !busy && (leads_on || !self.leads()) {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = context.env.clock.sleep(context.patience.tick) => {}
                () = context.stop.cancelled() => return,
            }
        }
        if self.leads() {
            context.group.hand_on().await;
        }
    }
}
