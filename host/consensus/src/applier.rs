//! What stands between openraft and the state machine: applied entries, snapshots, and what memberships mean to this host.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use eigenshift_types::{AvsId, NodeId};
use futures::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use crate::machine::{Entry, Machine};
use crate::peers::PeerBook;
use crate::raft::{LogEntry, LogId, LogPayload, Membership, Reply, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::record::{outward, peers};
use crate::store::{Held, SnapshotFile, Store};

/// Entries and bytes that go to the state machine at once.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 4 << 20;

/// What applying tells the rest of the group.
pub(crate) struct Notices {
    pub(crate) applied: watch::Sender<Option<u64>>,
    /// Goes to true when this node was a member and a committed membership leaves it out.
    pub(crate) removed: Arc<watch::Sender<bool>>,
    pub(crate) voters: watch::Sender<Vec<NodeId>>,
}

pub(crate) struct Applier {
    pub(crate) machine: Machine,
    pub(crate) store: Store,
    pub(crate) group: AvsId,
    pub(crate) node: u64,
    pub(crate) book: PeerBook,
    pub(crate) notices: Notices,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) was_member: bool,
    pub(crate) held: Arc<Held>,
}

impl Applier {
    fn note(&mut self, at: u64, membership: &Membership) {
        if membership.get_node(&self.node).is_some() {
            self.was_member = true;
        } else if self.was_member {
            self.notices.removed.send_replace(true);
        }
        self.book.set(at, peers(membership));
        self.notices.voters.send_replace(membership.voter_ids().map(NodeId).collect());
    }

    async fn apply_batch(&mut self, batch: &mut Batch) -> io::Result<()> {
        let Some(last) = batch.last else { return Ok(()) };
        let replies = self.machine.apply(std::mem::take(&mut batch.entries)).await?;
        self.applied = Some(last);
        for (at, membership) in batch.memberships.drain(..) {
            self.note(at.index, &membership);
            self.membership = StoredMembership::new(Some(at), membership);
        }
        self.notices.applied.send_replace(Some(last.index));
        for (responder, reply) in batch.responders.drain(..).zip(replies) {
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
        }
        *batch = Batch::default();
        Ok(())
    }
}

#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    responders: Vec<Option<ApplyResponder<Types>>>,
    memberships: Vec<(LogId, Membership)>,
    bytes: usize,
    last: Option<LogId>,
}

impl Batch {
    fn push(&mut self, entry: &LogEntry, responder: Option<ApplyResponder<Types>>) {
        match &entry.payload {
            LogPayload::Blank => {}
            LogPayload::Normal(command) => self.bytes += command.0.len(),
            LogPayload::Membership(membership) => self.memberships.push((entry.log_id(), membership.clone())),
        }
        self.entries.push(outward(entry));
        self.responders.push(responder);
        self.last = Some(entry.log_id());
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }
}

/// The state as of the moment it was asked for; written to disk beside the applying.
pub(crate) struct Builder {
    store: Store,
    group: AvsId,
    meta: SnapshotMeta,
    body: Option<io::Result<Bytes>>,
    /// The group counts as open until this has written what it writes.
    _held: Arc<Held>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let body = self.body.take().ok_or_else(|| io::Error::other("the snapshot was built already"))??;
        self.store.save_snapshot(&self.group, SnapshotFile::new(&self.meta, body.clone())).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: body })
    }
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut entries = pin!(entries);
        let mut batch = Batch::default();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            batch.push(&entry, responder);
            if batch.is_full() {
                self.apply_batch(&mut batch).await?;
            }
        }
        self.apply_batch(&mut batch).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let body = self.machine.snapshot().await.map(Bytes::from);
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        Builder {
            store: self.store.clone(),
            group: self.group.clone(),
            meta,
            body: Some(body),
            _held: Arc::clone(&self.held),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, body: Bytes) -> Result<(), io::Error> {
        // First the machine, which checks it: a snapshot that it refuses must not replace the one on disk.
        self.machine.restore(body.clone()).await?;
        let on_disk = self.store.snapshot(&self.group).await?;
        if on_disk.is_none_or(|file| file.last.map(LogId::from) != meta.last_log_id) {
            self.store.save_snapshot(&self.group, SnapshotFile::new(meta, body)).await?;
        }
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        if let Some(at) = *meta.last_membership.log_id() {
            self.note(at.index, meta.last_membership.membership());
        }
        self.notices.applied.send_replace(meta.last_log_id.map(|id| id.index));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some(file) = self.store.snapshot(&self.group).await? else { return Ok(None) };
        let meta = file.meta().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(Some(Snapshot { meta, snapshot: file.body }))
    }
}
