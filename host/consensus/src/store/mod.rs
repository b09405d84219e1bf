//! The durable store that all groups of a host share.

mod load;
mod log;
mod snapshots;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eigenshift_env::{Env, Pool};
use eigenshift_types::AvsId;
use parking_lot::Mutex;
use redb::TableDefinition;
use tokio::sync::{mpsc, watch};

use crate::error::Error;
pub(crate) use load::Identity;
pub(crate) use log::Held;
pub use snapshots::MAX_SNAPSHOT_BYTES;
pub(crate) use snapshots::SnapshotFile;
use writer::Op;

/// (group, index) -> framed [`crate::record::EntryRecord`].
pub(crate) const LOG: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("log");
/// (group, what) -> framed record.
pub(crate) const META: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("meta");

pub(crate) mod key {
    //! What [`super::META`] holds of a group.
    pub(crate) const VOTE: &str = "vote";
    pub(crate) const COMMITTED: &str = "committed";
    pub(crate) const PURGED: &str = "purged";
    pub(crate) const IDENTITY: &str = "identity";
    pub(crate) const ALL: [&str; 4] = [VOTE, COMMITTED, PURGED, IDENTITY];
}

/// Room in the writer's queue; a full queue makes the groups wait, not the runtime's threads.
const QUEUE: usize = 1024;
const READERS: usize = 2;
/// Pages of the database in memory: what is written and read is mostly the end of each log, which the groups have.
const CACHE_BYTES: usize = 16 << 20;

/// `raft.redb` and the snapshots of all groups of a host. Cheap to clone; clones share it.
///
/// One thread writes: it takes what the groups have handed in, in turn, makes it durable with one commit, and only then
/// tells them. The caller holds the directory's lock: a second store on the same directory would destroy the log.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    // Dropped before `queue`, so that the writer, which ends with the queue, holds the last reference to the database.
    db: Arc<redb::Database>,
    queue: mpsc::Sender<Op>,
    env: Env,
    snapshots: PathBuf,
    pool: Pool,
    open_groups: watch::Sender<BTreeSet<AvsId>>,
    /// Groups that were open since the store was: what they handed in last may still wait for the writer.
    known_groups: Mutex<BTreeSet<AvsId>>,
    poisoned: watch::Receiver<Option<String>>,
    closed: watch::Receiver<bool>,
}

impl Store {
    /// Opens the store in a directory, making it if it is not there. Blocks: it belongs at start-up.
    ///
    /// # Errors
    /// [`Error::Open`] when `raft.redb` is no database, is corrupt or cannot be read; [`Error::Io`] when the directory
    /// cannot be used or no thread can be started.
    pub fn open(env: &Env, directory: &Path) -> Result<Self, Error> {
        let snapshots = directory.join("snapshots");
        env.disk.create_dir_all(&snapshots)?;
        let path = directory.join("raft.redb");
        let db = eigenshift_env::database::open_with_cache(env.disk.as_ref(), &path, CACHE_BYTES)
            .map_err(redb::Error::from)
            .and_then(|db| create_tables(&db).map(|()| db))
            .map_err(|source| Error::Open { path, source })?;
        let db = Arc::new(db);
        let (queue, ops) = mpsc::channel(QUEUE);
        let (poison, poisoned) = watch::channel(None);
        let (ended, closed) = watch::channel(false);
        let written = Arc::clone(&db);
        env.threads.spawn("raft-writer", Box::new(move || writer::run(written, ops, &poison, &ended)))?;
        let pool = env.threads.pool("raft-reader", READERS, QUEUE)?;
        Ok(Self(Arc::new(Inner {
            db,
            queue,
            env: env.clone(),
            snapshots,
            pool,
            open_groups: watch::Sender::default(),
            known_groups: Mutex::default(),
            poisoned,
            closed,
        })))
    }

    /// Why the store can no longer be written, once that has happened. The host ends the process then: after a failed
    /// fsync nothing is known about what is on disk, and only a restart reads it afresh.
    #[must_use]
    pub fn poisoned(&self) -> watch::Receiver<Option<String>> {
        self.0.poisoned.clone()
    }

    /// Waits until nothing of a group is open any more, some moments after [`crate::Group::shutdown`]: only then may it be
    /// started again.
    pub async fn released(&self, group: &AvsId) {
        let mut open = self.0.open_groups.subscribe();
        // This handle keeps the sender.
        let _ = open.wait_for(|open| !open.contains(group)).await;
    }

    /// Erases a group's log, vote and snapshots, durably. What the node agreed to in it is then known to nobody here: the
    /// node must not come back to that cluster under the same id.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when the group is open; [`Error::Io`] when the disk fails, and then part of it may be gone.
    pub async fn forget(&self, group: &AvsId) -> Result<(), Error> {
        let _held = Held::take(self, group)?;
        self.remove_snapshots(group).await?;
        log::forget(self, group).await?;
        Ok(())
    }

    /// Gives this handle back and waits until the files are closed, which is when every group on it has stopped.
    pub async fn close(self) {
        let mut closed = self.0.closed.clone();
        drop(self);
        // An error means that the writer's thread is gone, which closed the files too.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

fn create_tables(db: &redb::Database) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(META)?;
    transaction.commit()?;
    Ok(())
}
