//! The signing guard: two different digests are never signed for one task and key.
//!
//! Before a signed response leaves this node it is stored here, durably. From then on that response is what is sent for
//! its key, whatever the plugin would say if it were asked again. The file belongs to one node id: a copy under another
//! one would not know what the first has signed since.

use std::path::Path;
use std::sync::Arc;

use eigenshift_env::{Env, database};
use eigenshift_types::{B256, Bytes, NodeId, NodePublicKey, ResponseKey, Service, TaskIndex, frame};
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

const SIGNED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("signed");
const OWNER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("owner");
const VERSION: u8 = 1;
const MAX_RECORD: usize = 1024 * 1024;
/// Pages in memory: each task's records are written and read once.
const CACHE_BYTES: usize = 256 * 1024;

/// Why the guard lets nothing be signed.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The file cannot be used.
    #[error(
        "the signing guard cannot be opened: {0}; without it nothing may be signed: rejoin with an empty data directory"
    )]
    Open(#[from] redb::DatabaseError),
    /// The file cannot be read or written.
    #[error("the signing guard cannot be used: {0}; nothing is signed until the node is started again on a sound disk")]
    Storage(String),
    /// A record is not what was written.
    #[error("a record of the signing guard is corrupt: {0}; rejoin with an empty data directory")]
    Corrupt(#[from] frame::FrameError),
    /// The file belongs to another node.
    #[error(
        "the signing guard belongs to node {found} with its key, this is node {expected}, or its node.key is another one: a data directory is never copied or mixed; rejoin with an empty one"
    )]
    OtherNode {
        /// Whom it belongs to.
        found: NodeId,
        /// Who opens it.
        expected: NodeId,
    },
    /// No file, though this node has been a member.
    #[error(
        "the signing guard is missing though this node is a member: what it signed is unknown; rejoin with an empty data directory"
    )]
    Missing,
    /// Another digest was signed for the key.
    #[error("digest {signed} was signed for this task and key before; {asked} is refused")]
    Equivocation {
        /// What was signed.
        signed: B256,
        /// What was asked for.
        asked: B256,
    },
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Closed,
}

fn storage(error: impl std::fmt::Display) -> GuardError {
    GuardError::Storage(error.to_string())
}

fn exists(env: &Env, path: &Path) -> bool {
    path.parent().is_some_and(|parent| {
        env.disk.list(parent).is_ok_and(|entries| entries.iter().any(|entry| entry.file_name() == path.file_name()))
    })
}

/// A signed response as it is kept and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What it is about.
    pub key: ResponseKey,
    /// `K`.
    pub payload: Bytes,
    /// What was signed.
    pub digest: B256,
    /// Extension of `S`.
    pub extension: Bytes,
    /// The BLS signature.
    pub signature: Bytes,
}

/// Which incarnation of a node a guard belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Node id.
    pub node: NodeId,
    /// Node key.
    pub key: NodePublicKey,
}

/// The guard of one AVS on one node. Cheap to clone. Its calls block for an fsync: they run on a pool.
#[derive(Clone)]
pub struct Guard {
    database: Arc<RwLock<Option<Database>>>,
    service: Service,
}

impl Guard {
    /// Opens the guard of `owner`. `fresh` is true only when the node has just become a member: then, and only then, the
    /// file is made.
    ///
    /// # Errors
    /// [`GuardError`]: the node must not sign.
    pub fn open(env: &Env, path: &Path, owner: Owner, service: Service, fresh: bool) -> Result<Self, GuardError> {
        if !exists(env, path) && !fresh {
            return Err(GuardError::Missing);
        }
        let database = database::open_with_cache(env.disk.as_ref(), path, CACHE_BYTES)?;
        let write = database.begin_write().map_err(storage)?;
        {
            write.open_table(SIGNED).map_err(storage)?;
            let mut owners = write.open_table(OWNER).map_err(storage)?;
            let found = owners.get("owner").map_err(storage)?.map(|record| record.value().to_vec());
            match found {
                Some(bytes) => {
                    let found: Owner = frame::decode(VERSION, &bytes, MAX_RECORD)?;
                    if found != owner {
                        return Err(GuardError::OtherNode { found: found.node, expected: owner.node });
                    }
                }
                None if fresh => {
                    owners.insert("owner", frame::encode(VERSION, &owner).as_slice()).map_err(storage)?;
                }
                None => return Err(GuardError::Missing),
            }
        }
        write.commit().map_err(storage)?;
        Ok(Self { database: Arc::new(RwLock::new(Some(database))), service })
    }

    /// Makes the guard of a node that is no member any more that of its successor on this host, with all that was signed. Once
    /// is enough; again is fine.
    ///
    /// # Errors
    /// [`GuardError`]: it is missing, or neither's; nothing has changed.
    pub fn pass_on(env: &Env, path: &Path, from: Owner, to: Owner) -> Result<(), GuardError> {
        if !exists(env, path) {
            return Err(GuardError::Missing);
        }
        let database = database::open(env.disk.as_ref(), path)?;
        let write = database.begin_write().map_err(storage)?;
        {
            let mut owners = write.open_table(OWNER).map_err(storage)?;
            let found = owners.get("owner").map_err(storage)?.map(|record| record.value().to_vec());
            let found: Owner = frame::decode(VERSION, &found.ok_or(GuardError::Missing)?, MAX_RECORD)?;
            if found != from && found != to {
                return Err(GuardError::OtherNode { found: found.node, expected: from.node });
            }
            owners.insert("owner", frame::encode(VERSION, &to).as_slice()).map_err(storage)?;
        }
        write.commit().map_err(storage)
    }

    /// Waits for the calls under way and closes the file, so that it may be opened again. Later calls of any clone are
    /// refused with [`GuardError::Closed`].
    pub fn close(&self) {
        drop(self.database.write().take());
    }

    /// Key of the records: chain id, service manager and task, then the response key, so that a task's records lie
    /// together.
    fn task_prefix(&self, task: TaskIndex) -> Vec<u8> {
        let mut key = self.service.chain_id.to_be_bytes().to_vec();
        key.extend_from_slice(self.service.service_manager.as_slice());
        key.extend_from_slice(&task.to_be_bytes());
        key
    }

    /// What was signed for a task, by key.
    ///
    /// # Errors
    /// [`GuardError`]: nothing is known, so nothing may be signed.
    pub fn signed(&self, task: TaskIndex) -> Result<Vec<Signed>, GuardError> {
        let database = self.database.read();
        let read = database.as_ref().ok_or(GuardError::Closed)?.begin_read().map_err(storage)?;
        let table = read.open_table(SIGNED).map_err(storage)?;
        let prefix = self.task_prefix(task);
        let mut found = Vec::new();
        for record in table.range(prefix.as_slice()..).map_err(storage)? {
            let (key, value) = record.map_err(storage)?;
            if !key.value().starts_with(&prefix) {
                break;
            }
            found.push(frame::decode(VERSION, value.value(), MAX_RECORD)?);
        }
        Ok(found)
    }

    /// Stores what is about to be sent for a task, all of it or nothing, durably. The same again is fine.
    ///
    /// # Errors
    /// [`GuardError::Equivocation`] when another digest was signed for one of the keys; the others as for reading.
    /// After an error nothing of `responses` may be sent.
    pub fn record(&self, task: TaskIndex, responses: &[Signed]) -> Result<(), GuardError> {
        let database = self.database.read();
        let write = database.as_ref().ok_or(GuardError::Closed)?.begin_write().map_err(storage)?;
        {
            let mut table = write.open_table(SIGNED).map_err(storage)?;
            for response in responses {
                let mut key = self.task_prefix(task);
                key.extend_from_slice(response.key.as_bytes());
                let known = table.get(key.as_slice()).map_err(storage)?.map(|record| record.value().to_vec());
                if let Some(known) = known {
                    let known: Signed = frame::decode(VERSION, &known, MAX_RECORD)?;
                    if known.digest != response.digest {
                        return Err(GuardError::Equivocation { signed: known.digest, asked: response.digest });
                    }
                    continue;
                }
                table.insert(key.as_slice(), frame::encode(VERSION, response).as_slice()).map_err(storage)?;
            }
        }
        write.commit().map_err(storage)
    }
}
