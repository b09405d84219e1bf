//! Snapshots: one file each, replaced whole.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eigenshift_types::{AvsId, frame};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::raft::SnapshotMeta;
use crate::record::{DISK_VERSION, Invalid, LogIdRecord, StoredMembershipRecord};

/// The largest snapshot of a state machine, in bytes.
pub const MAX_SNAPSHOT_BYTES: usize = 64 << 20;
/// Room for what a file says besides.
const MAX_FILE: usize = MAX_SNAPSHOT_BYTES + (1 << 20);

/// What a snapshot file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotFile {
    pub(crate) last: Option<LogIdRecord>,
    pub(crate) membership: StoredMembershipRecord,
    pub(crate) body: Bytes,
}

impl SnapshotFile {
    pub(crate) fn new(meta: &SnapshotMeta, body: Bytes) -> Self {
        Self { last: meta.last_log_id.map(Into::into), membership: (&meta.last_membership).into(), body }
    }

    pub(crate) fn meta(&self) -> Result<SnapshotMeta, Invalid> {
        Ok(SnapshotMeta {
            last_log_id: self.last.map(Into::into),
            last_membership: self.membership.clone().try_into()?,
        })
    }

    fn index(&self) -> u64 {
        self.last.map_or(0, |last| last.index)
    }
}

/// The snapshots of a group in a directory, newest first: `snap-<group>-<index>`.
fn files(store: &Store, group: &AvsId) -> io::Result<Vec<(u64, PathBuf)>> {
    let index = |path: &Path| {
        let (name, index) = path.file_name()?.to_str()?.rsplit_once('-')?;
        (name.strip_prefix("snap-")? == group.as_str()).then(|| index.parse().ok())?
    };
    let paths = store.0.env.disk.list(&store.0.snapshots)?;
    let mut found: Vec<_> = paths.into_iter().filter_map(|path| Some((index(&path)?, path))).collect();
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

fn newest(store: &Store, group: &AvsId) -> io::Result<Option<SnapshotFile>> {
    let Some((_, path)) = files(store, group)?.into_iter().next() else { return Ok(None) };
    let Some(bytes) = store.0.env.disk.read(&path, MAX_FILE as u64)? else { return Ok(None) };
    let decoded = frame::decode(DISK_VERSION, &bytes, MAX_FILE);
    decoded
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

fn save(store: &Store, group: &AvsId, file: &SnapshotFile) -> io::Result<()> {
    if file.body.len() > MAX_SNAPSHOT_BYTES {
        let why = format!("a snapshot of {} bytes; at most {MAX_SNAPSHOT_BYTES} are kept", file.body.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let path = store.0.snapshots.join(format!("snap-{group}-{}", file.index()));
    store.0.env.disk.write_atomic(&path, &frame::encode(DISK_VERSION, file))?;
    for (index, old) in files(store, group)? {
        if index < file.index() {
            store.0.env.disk.remove(&old)?;
        }
    }
    Ok(())
}

impl Store {
    /// The newest snapshot of a group.
    pub(crate) async fn snapshot(&self, group: &AvsId) -> io::Result<Option<SnapshotFile>> {
        let (store, group) = (self.clone(), group.clone());
        self.0.pool.run(move || newest(&store, &group)).await.map_err(io::Error::other)?
    }

    /// Removes all snapshots of a group.
    pub(super) async fn remove_snapshots(&self, group: &AvsId) -> io::Result<()> {
        let (store, group) = (self.clone(), group.clone());
        let removing = move || files(&store, &group)?.iter().try_for_each(|(_, path)| store.0.env.disk.remove(path));
        self.0.pool.run(removing).await.map_err(io::Error::other)?
    }

    /// Makes a snapshot durable and removes older ones.
    pub(crate) async fn save_snapshot(&self, group: &AvsId, file: SnapshotFile) -> io::Result<()> {
        let (store, group) = (self.clone(), group.clone());
        self.0.pool.run(move || save(&store, &group, &file)).await.map_err(io::Error::other)?
    }
}
