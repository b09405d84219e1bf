//! What a group finds on disk when it starts, checked record by record.

use std::sync::Arc;

use eigenshift_types::{AvsId, ClusterId, Epoch, NodeId, frame};
use openraft::entry::RaftEntry;
use redb::{Database, ReadableDatabase, ReadableTable, TableError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LOG, META, key};
use crate::error::Error;
use crate::raft::{LogEntry, LogId, Vote};
use crate::record::{DISK_VERSION, EntryRecord, LogIdRecord, VoteRecord};

/// Largest record in the database: a command, or a membership, and what surrounds it.
pub(super) const MAX_RECORD: usize = crate::MAX_COMMAND_BYTES + (64 << 10);

/// Whose log it is; written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) epoch: Epoch,
    pub(crate) node: NodeId,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} of cluster {} epoch {}", self.node, self.cluster, self.epoch)
    }
}

#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) identity: Option<Identity>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// The lowest index the log may hold.
    pub(super) first: u64,
    pub(super) last: Option<LogId>,
}

pub(super) fn entry(bytes: &[u8], index: u64) -> Result<LogEntry, String> {
    let record: EntryRecord =
        frame::decode(DISK_VERSION, bytes, MAX_RECORD).map_err(|error| format!("entry {index}: {error}"))?;
    if record.id.index != index {
        return Err(format!("entry {index} says that it is entry {}", record.id.index));
    }
    record.into_entry().map_err(|error| format!("entry {index}: {error}"))
}

/// Reads a group's records and checks every entry, so that a rotten log is found at the start and not when it is needed.
pub(super) fn load(db: &Arc<Database>, group: &AvsId) -> Result<Loaded, Error> {
    let corrupt = |what: String| Error::Corrupt { group: group.clone(), what };
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let meta = transaction.open_table(META).map_err(table)?;
    let loaded = Loaded {
        identity: record(&meta, group, key::IDENTITY)?,
        vote: record::<VoteRecord>(&meta, group, key::VOTE)?.map(Into::into),
        committed: record::<LogIdRecord>(&meta, group, key::COMMITTED)?.map(Into::into),
        purged: record::<LogIdRecord>(&meta, group, key::PURGED)?.map(Into::into),
        first: 0,
        last: None,
    };
    let log = transaction.open_table(LOG).map_err(table)?;
    let mut last = loaded.purged;
    let rows = log.range((group.as_str(), 0)..=(group.as_str(), u64::MAX)).map_err(redb::Error::from)?;
    let mut first = loaded.purged.map(|purged| purged.index.saturating_add(1));
    for row in rows {
        let (key, value) = row.map_err(redb::Error::from)?;
        let index = key.value().1;
        let expected = last.map_or(*first.get_or_insert(index), |last: LogId| last.index.saturating_add(1));
        if index != expected {
            return Err(corrupt(format!("entry {expected} is missing, entry {index} is there")));
        }
        last = Some(entry(value.value(), index).map_err(corrupt)?.log_id());
    }
    Ok(Loaded { first: first.unwrap_or(0), last, ..loaded })
}

fn table(error: TableError) -> Error {
    Error::Database(error.into())
}

fn record<T: DeserializeOwned>(
    meta: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    group: &AvsId,
    key: &str,
) -> Result<Option<T>, Error> {
    let Some(bytes) = meta.get((group.as_str(), key)).map_err(redb::Error::from)? else { return Ok(None) };
    let decoded = frame::decode(DISK_VERSION, bytes.value(), MAX_RECORD);
    decoded.map(Some).map_err(|error| Error::Corrupt { group: group.clone(), what: format!("{key}: {error}") })
}
