//! Leaving an AVS's cluster for good.

use std::time::Duration;

use eigenshift_consensus::Group;
use eigenshift_engine::ledger::{CommandError, Ledger, Replica};
use eigenshift_ledger::Command;
use eigenshift_types::AvsId;

use crate::error::NodeError;
use crate::identity::Record;
use crate::launch::Opened;
use crate::node::Inner;

/// How long the cluster may take.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// What the members read in the log.
const REASON: &str = "its operator removed the AVS from the host";

impl Inner {
    /// Has the cluster take this node out, unless `force` leaves it out of this, and erases what is no longer needed. Again is
    /// fine, wherever it was broken off.
    pub async fn leave(&self, avs: &AvsId, force: bool) -> Result<(), NodeError> {
        let record = self.read_record(avs).await?;
        let Some(record) = record else { return self.erase(avs, None).await };
        if !record.removed {
            if !force {
                self.resign(avs, &record).await?;
            }
            // Before anything is erased: from now on this node never starts as a member again.
            self.write_record(avs, &Record { removed: true, ..record.clone() }).await?;
        }
        self.erase(avs, Some(record)).await
    }

    /// Takes part in the group alone, without logic and without signing, until the cluster has let go of this node.
    async fn resign(&self, avs: &AvsId, record: &Record) -> Result<(), NodeError> {
        let replica = Replica::default();
        let group = self.start_group(record, &replica).await?;
        let ids = (record.node, record.cluster, record.epoch);
        let ledger = Ledger::new(replica.clone(), group.clone(), self.env.clone(), self.key.clone(), ids);
        let mut last = "nobody leads at the moment".to_owned();
        let resigned = tokio::select! {
            resigned = self.until_removed(record, &group, &replica, &ledger, &mut last) => resigned,
            () = self.env.clock.sleep(LIMIT) => Err(None),
            () = self.stop.cancelled() => Err(Some(NodeError::Stopping)),
        };
        self.close(avs, Opened::of(group)).await;
        resigned.map_err(|error| error.unwrap_or(NodeError::NotLeft(last)))
    }

    async fn until_removed(
        &self,
        record: &Record,
        group: &Group,
        replica: &Replica,
        ledger: &Ledger,
        last: &mut String,
    ) -> Result<(), Option<NodeError>> {
        let mut removed = group.removed();
        // A leader whose term is confirmed knows the newest members.
        let mut asked = false;
        loop {
            let leadership = *group.leadership().borrow();
            match leadership.leader {
                Some(leader) if leader == record.node => {
                    let alone = leadership.ready && replica.read(|state| state.members.len() <= 1);
                    if alone {
                        return Err(Some(NodeError::LastMember));
                    }
                    if !group.hand_on().await {
                        *last = "this node leads, and no other voter takes over".to_owned();
                    }
                }
                Some(_) if !asked => {
                    let command = Command::RemoveOperator { node: record.node, reason: REASON.to_owned() };
                    match ledger.propose(&command).await {
                        Ok(_) => asked = true,
                        Err(CommandError::Refused { code, .. }) if code == "unknown-member" => asked = true,
                        Err(error) => *last = error.to_string(),
                    }
                }
                Some(_) => *last = "the leader has not taken it out of the voters yet".to_owned(),
                None => {}
            }
            tokio::select! {
                changed = removed.wait_for(|removed| *removed) => if changed.is_ok() { return Ok(()) },
                () = self.env.clock.sleep(PAUSE) => {}
            }
        }
    }
}
