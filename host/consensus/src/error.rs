//! What can go wrong.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use eigenshift_types::{AvsId, NodeId};

/// Why a store, a transport or a group does not start or was stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no database, is corrupt or cannot be read. Nothing was overwritten.
    #[error(
        "the Raft store {path} cannot be opened: {source}; restore the disk, or remove this node and join again with a fresh directory"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: redb::Error,
    },
    /// The open database cannot be read: it is corrupt, or the disk failed. Nothing was overwritten.
    #[error(
        "the Raft store cannot be used: {0}; restore the disk, or remove this node and join again with a fresh directory"
    )]
    Database(#[from] redb::Error),
    /// The file system refused.
    #[error("the Raft store's files cannot be used: {0}")]
    Io(#[from] io::Error),
    /// A record is torn, rotten or missing. Nothing was overwritten.
    #[error(
        "the log of {group} is corrupt: {what}; remove this node from the cluster and join again with a fresh directory"
    )]
    Corrupt {
        /// Whose log.
        group: AvsId,
        /// Which record, and what is wrong with it.
        what: String,
    },
    /// The directory belongs to another cluster, epoch or node id.
    #[error("the log of {group} belongs to {found}, not to {expected}; use the directory that belongs to this node")]
    OtherIdentity {
        /// Whose log.
        group: AvsId,
        /// What the store says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The group runs already on this store or transport.
    #[error("the group {0} already runs here; stop it first")]
    AlreadyRunning(AvsId),
    /// The group has a log already; it is bootstrapped once.
    #[error("the group already has a log; start it without bootstrapping")]
    AlreadyInitialized,
    /// A setting makes no sense.
    #[error("setting {setting}: {why}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong, and what is right.
        why: String,
    },
    /// Plain text was asked for on an address that others can reach.
    #[error("plain text is only for loopback, and {0} is not; use the node key's TLS")]
    PlainTextOffLoopback(SocketAddr),
    /// The node key makes no TLS certificate.
    #[error("no TLS from this node key: {0}")]
    Tls(String),
    /// The group stopped after an error of its store or state machine.
    #[error("the group stopped: {0}")]
    Stopped(String),
}

/// Why a proposal was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead, or has lost touch with its followers; nothing was proposed. Ask the leader, or wait for one.
    #[error("this node does not lead the group (leader: {leader:?})")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// The leader could not be reached; nothing was proposed.
    #[error("the leader {leader} cannot be reached: {why}")]
    Unreachable {
        /// Who was asked.
        leader: NodeId,
        /// What went wrong.
        why: String,
    },
    /// No answer in time: it may still be committed. Propose again only what the state machine takes once.
    #[error("not known whether the proposal was committed")]
    Uncertain,
    /// The group is stopped on this node, or on the leader.
    #[error("the group is stopped")]
    Stopped,
    /// Larger than [`crate::MAX_COMMAND_BYTES`].
    #[error("a command of {bytes} bytes; at most 1 MiB is taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Only the leader changes members.
    #[error("this node does not lead the group (leader: {leader:?})")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Another change has not ended. Try again later.
    #[error("another change of members is going on; try again when it has ended")]
    ChangeInFlight,
    /// A learner is not yet as far as the leader, or has not answered lately. Try again later.
    #[error("node {node} has not caught up: {behind} entries behind, last heard of {silent_for:?} ago")]
    NotCaughtUp {
        /// Who.
        node: NodeId,
        /// How many entries it lacks.
        behind: u64,
        /// How long ago it acknowledged something; none if never.
        silent_for: Option<Duration>,
    },
    /// No such member.
    #[error("node {0} is no member")]
    Unknown(NodeId),
    /// The id is taken; ids are never reused.
    #[error("node {0} is a member already")]
    AlreadyMember(NodeId),
    /// The only voter cannot be removed.
    #[error("node {0} is the only voter")]
    LastVoter(NodeId),
    /// The peer's URL is empty or too long, or the change is not a valid one.
    #[error("not a valid change: {0}")]
    Invalid(String),
    /// No answer in time: the change may still be committed. Look at the members before trying again.
    #[error("not known whether the change was committed")]
    Uncertain,
    /// The group is stopped on this node.
    #[error("the group is stopped")]
    Stopped,
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// Only the leader hands over.
    #[error("this node does not lead the group")]
    NotLeader,
    /// The target does not vote, or is this node, or is the only voter.
    #[error("node {0} is no other voter")]
    NotVoter(NodeId),
    /// The target has not answered lately; nothing was tried.
    #[error("node {node} has not answered for {silent_for:?}")]
    Unreachable {
        /// Who.
        node: NodeId,
        /// Since when; none if it never answered this leader.
        silent_for: Option<Duration>,
    },
    /// The target does not have the whole log; nothing was tried.
    #[error("node {node} lacks {behind} entries")]
    Lagging {
        /// Who.
        node: NodeId,
        /// How many entries.
        behind: u64,
    },
    /// Another hand-over or a change of members is going on. Try again later.
    #[error("another hand-over or change of members is going on")]
    InFlight,
    /// Somebody else was elected instead.
    #[error("node {0} was elected instead")]
    Elsewhere(NodeId),
    /// The target was asked and did not become leader in time. Leave it out for a while.
    #[error("node {0} was asked to lead and did not in time")]
    TimedOut(NodeId),
    /// The group is stopped on this node.
    #[error("the group is stopped")]
    Stopped,
}

/// Why a question to another member was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No member with this id is known.
    #[error("node {0} is no known member")]
    Unknown(NodeId),
    /// It could not be reached; it has not seen the question.
    #[error("node {node} cannot be reached: {why}")]
    Unreachable {
        /// Who.
        node: NodeId,
        /// What went wrong.
        why: String,
    },
    /// No answer, but it may have seen the question.
    #[error("no answer from node {node}: {why}")]
    NoAnswer {
        /// Who.
        node: NodeId,
        /// What went wrong.
        why: String,
    },
    /// It, or its transport, refused.
    #[error("node {node} refuses ({code}): {message}")]
    Refused {
        /// Who.
        node: NodeId,
        /// One of the transport's codes (`wrong-cluster`, `wrong-epoch`, `unknown-group`, `wrong-receiver`,
        /// `wrong-sender`, `stranger`, `removed`, `malformed`, `stopped`, `no-handler`) or one of the handler's.
        code: String,
        /// For people.
        message: String,
    },
    /// Larger than [`crate::MAX_ASK_BYTES`].
    #[error("a question of {bytes} bytes; at most 4 MiB are sent")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}
