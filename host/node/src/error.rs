//! Why a node, or an AVS on it, does not run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use eigenshift_engine::avs::StartError;
use eigenshift_types::{AvsId, NodeId};

/// Why a node, or an AVS on it, does not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process has it.
    #[error("the data directory {0} is in use by another process; stop that one, or give this one its own directory")]
    InUse(PathBuf),
    /// Cannot be used.
    #[error("{path}: {why}; nothing was overwritten: mend or restore the file, or rejoin with an empty data directory", path = path.display())]
    Directory {
        /// What.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Removed.
    #[error(
        "node {node} was removed from the cluster; to come back, remove the AVS here and add it again, or join with an empty data directory"
    )]
    Removed {
        /// Its id.
        node: NodeId,
    },
    /// Another AVS under the same name.
    #[error(
        "the data directory holds another AVS under this name (chain, service manager or name differ); use another directory"
    )]
    OtherRecord,
    /// A listener.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// Admin off loopback.
    #[error("the admin listener is for loopback only, {0} is not")]
    AdminOffLoopback(SocketAddr),
    /// Raft.
    #[error("consensus: {0}")]
    Consensus(#[from] eigenshift_consensus::Error),
    /// The plugin host.
    #[error("the plugin host does not start: {0}")]
    PluginHost(#[from] eigenshift_plugin::HostError),
    /// The plugin.
    #[error("the plugin is refused: {0}")]
    Plugin(#[from] eigenshift_plugin::LoadError),
    /// What the plugin keeps.
    #[error("what the plugin keeps, {path}: {source}", path = path.display())]
    Keyvalue {
        /// The file.
        path: PathBuf,
        /// Why.
        source: eigenshift_plugin::KeyValueError,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The chain.
    #[error("the chain: {0}")]
    Chain(String),
    /// The settings.
    #[error("the cluster settings are not usable: {0}")]
    Settings(&'static str),
    /// A join that did not go through.
    #[error("{0}")]
    Join(String),
    /// The cluster is another AVS's.
    #[error(
        "{url} serves another AVS, chain or service manager under this name; check the join list and the contract's address"
    )]
    OtherService {
        /// Where.
        url: String,
    },
    /// A member that no operator vouches for.
    #[error(
        "{url} names member {node}, whose key no registered operator signed; do not trust that node: use another one to join"
    )]
    UntrustedMember {
        /// Where.
        url: String,
        /// Who.
        node: NodeId,
    },
    /// Threads.
    #[error("no thread could be started: {0}")]
    Threads(std::io::Error),
    /// Known already.
    #[error("this node has an AVS of that name already; resume it if it does not run")]
    Duplicate,
    /// No such AVS.
    #[error("this node has no AVS {0}; `eigenshift avs list` shows those that it has")]
    Unknown(AvsId),
    /// No such section.
    #[error(
        "the node's configuration has no AVS {0}; add its [[avs]] section to the file that the node was started with"
    )]
    NotConfigured(AvsId),
    /// The configuration, or a file that it names.
    #[error("{0}")]
    Configuration(String),
    /// One operation at a time.
    #[error("another operation on this AVS is under way; try again when it has ended")]
    Busy,
    /// Neither paused nor failed.
    #[error("the AVS is {0}; pause it first")]
    NotPaused(&'static str),
    /// It was paused.
    #[error("the AVS is paused; `eigenshift avs resume` starts it again")]
    Paused,
    /// Its start was called off.
    #[error("the start was called off")]
    Cancelled,
    /// The host.
    #[error("the node is stopping")]
    Stopping,
    /// Two AVSs with one key.
    #[error(
        "AVS {other} on this node has the same BLS key: what is signed for one could count for the other; give each its own key, or say share-bls-key = true for both"
    )]
    SharedKey {
        /// The other one.
        other: AvsId,
    },
    /// It was removed from this host by its operator.
    #[error("the AVS was removed from this host; `eigenshift avs add` joins its cluster anew")]
    Left,
    /// It would found a second cluster.
    #[error(
        "this host was in a cluster of this AVS before: give join = [...] with its members instead of bootstrap = true; for a new cluster move the AVS's folder away, and with it what was signed"
    )]
    FoundedBefore,
    /// Nobody else is in the cluster.
    #[error("this node is its cluster's last member, which ends with it: remove it with --force if that is meant")]
    LastMember,
    /// The cluster does not let go.
    #[error("the cluster has not let go of this node: {0}; nothing was removed: try again, or leave it with --force")]
    NotLeft(String),
    /// The ledger.
    #[error("{0}")]
    Halted(String),
    /// The group.
    #[error("the group stopped on this node: {0}")]
    GroupStopped(String),
}

impl NodeError {
    /// Short machine-readable code; stable.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "in-use",
            Self::Directory { .. } => "data-directory",
            Self::Removed { .. } => "removed",
            Self::OtherRecord => "other-record",
            Self::Listen { .. } => "listen",
            Self::AdminOffLoopback(_) => "admin-off-loopback",
            Self::Consensus(_) => "consensus",
            Self::PluginHost(_) => "plugin-host",
            Self::Plugin(_) => "plugin-refused",
            Self::Keyvalue { source, .. } => source.code(),
            Self::Engine(StartError::Guard(_)) => "signing-guard",
            Self::Engine(StartError::Evidence(_)) => "evidence",
            Self::Engine(StartError::Closed) => "stopping",
            Self::Chain(_) => "chain",
            Self::Settings(_) => "settings",
            Self::Join(_) => "join",
            Self::OtherService { .. } => "other-service",
            Self::UntrustedMember { .. } => "untrusted-member",
            Self::Threads(_) => "threads",
            Self::Duplicate => "already-here",
            Self::Unknown(_) => "unknown-avs",
            Self::NotConfigured(_) => "not-configured",
            Self::Configuration(_) => "configuration",
            Self::Busy => "operation-under-way",
            Self::NotPaused(_) => "not-paused",
            Self::Paused => "paused",
            Self::Cancelled => "called-off",
            Self::Stopping => "stopping",
            Self::SharedKey { .. } => "shared-bls-key",
            Self::Left => "left",
            Self::FoundedBefore => "founded-before",
            Self::LastMember => "last-member",
            Self::NotLeft(_) => "not-left",
            Self::Halted(_) => "halted",
            Self::GroupStopped(_) => "group-stopped",
        }
    }

    /// The HTTP status with which the admin listener answers it.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Unknown(_) | Self::NotConfigured(_) => 404,
            Self::Duplicate | Self::Busy | Self::NotPaused(_) | Self::LastMember => 409,
            Self::Configuration(_) | Self::SharedKey { .. } => 422,
            Self::Stopping | Self::NotLeft(_) => 503,
            _ => 500,
        }
    }
}

pub(crate) fn directory_error(path: &Path, error: &dyn std::fmt::Display) -> NodeError {
    NodeError::Directory { path: path.to_owned(), why: error.to_string() }
}
