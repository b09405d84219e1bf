//! Which node of which cluster this is, on disk.

use std::path::{Path, PathBuf};

use eigenshift_consensus::Peer;
use eigenshift_engine::Identity;
use eigenshift_env::Env;
use eigenshift_types::{ClusterId, Epoch, NodeId, NodeKey, Service, frame};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::NodeError;

const VERSION: u8 = 1;
const MAX_RECORD: u64 = 1024 * 1024;

/// How a node of an AVS came to be, and whether it still is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The AVS: another one under the same name is refused.
    pub service: Service,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The node.
    pub node: NodeId,
    /// Whether this node founded the cluster: it sees to it that the ledger begins.
    pub founder: bool,
    /// Whether the signing guard has been made: from then on it must be there.
    pub guarded: bool,
    /// Whether the cluster removed this node: it does not start again.
    pub removed: bool,
    /// Members known at joining.
    pub peers: Vec<Peer>,
    /// Whether this host holds nothing more of the cluster than this record and the guard: the operator may join again.
    #[serde(default)]
    pub erased: bool,
    /// Who this operator's node on this host was before.
    #[serde(default)]
    pub predecessor: Option<Predecessor>,
}

/// A node that is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its id.
    pub node: NodeId,
    /// Whether its signing guard had been made.
    pub guarded: bool,
}

impl Record {
    /// The part that does not change.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        Identity { node: self.node, cluster: self.cluster, epoch: self.epoch }
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("identity")
}

fn io(path: &Path, error: &dyn std::fmt::Display) -> NodeError {
    NodeError::Directory { path: path.to_owned(), why: error.to_string() }
}

/// Reads an AVS's record; none if there is none yet.
///
/// # Errors
/// [`NodeError::Directory`] when it is there and cannot be read.
pub fn read(env: &Env, directory: &Path) -> Result<Option<Record>, NodeError> {
    let path = path(directory);
    let Some(bytes) = env.disk.read(&path, MAX_RECORD).map_err(|error| io(&path, &error))? else { return Ok(None) };
    frame::decode(VERSION, &bytes, usize::MAX).map(Some).map_err(|error| io(&path, &error))
}

/// Writes an AVS's record, durably.
///
/// # Errors
/// [`NodeError::Directory`].
pub fn write(env: &Env, directory: &Path, record: &Record) -> Result<(), NodeError> {
    let path = path(directory);
    env.disk.create_dir_all(directory).map_err(|error| io(directory, &error))?;
    env.disk.write_atomic(&path, &frame::encode(VERSION, record)).map_err(|error| io(&path, &error))
}

/// The node's key, made at the first start.
///
/// # Errors
/// [`NodeError::Directory`] when the file is there and is no key, or cannot be written.
pub fn node_key(env: &Env, directory: &Path) -> Result<NodeKey, NodeError> {
    let path = directory.join("node.key");
    let known = env.disk.read(&path, 64).map_err(|error| io(&path, &error))?.map(Zeroizing::new);
    if let Some(bytes) = known {
        let seed: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| io(&path, &"it does not hold 32 bytes"))?;
        return Ok(NodeKey::from_seed(seed));
    }
    let seed = Zeroizing::new(env.random_32());
    env.disk.write_atomic(&path, seed.as_slice()).map_err(|error| io(&path, &error))?;
    Ok(NodeKey::from_seed(&seed))
}

/// The admin token, made at the first start: 64 hexadecimal digits.
///
/// # Errors
/// [`NodeError::Directory`] when the file cannot be read or written.
pub fn admin_token(env: &Env, directory: &Path) -> Result<Zeroizing<String>, NodeError> {
    let path = directory.join("admin.token");
    let known = env.disk.read(&path, 1024).map_err(|error| io(&path, &error))?.map(Zeroizing::new);
    if let Some(bytes) = known {
        let text = std::str::from_utf8(&bytes).map_err(|error| io(&path, &error))?;
        return Ok(Zeroizing::new(text.trim().to_owned()));
    }
    let token = Zeroizing::new(hex::encode(*Zeroizing::new(env.random_32())));
    env.disk.write_atomic(&path, token.as_bytes()).map_err(|error| io(&path, &error))?;
    Ok(token)
}
