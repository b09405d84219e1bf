//! What nodes say to each other.

use bytes::Bytes;
use eigenshift_types::{AvsId, ClusterId, Epoch, NodeId};
use serde::{Deserialize, Serialize};

use crate::peers::Peer;
use crate::record::{EntryRecord, LogIdRecord, StoredMembershipRecord, VoteRecord};

/// Version of the wire; part of the path too.
pub(crate) const WIRE_VERSION: u8 = 1;
pub(crate) const PATH: &str = "/raft/1";
/// The largest body, of a request and of an answer, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 8 << 20;
/// Bytes of a snapshot in one request.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

pub(crate) mod code {
    //! Codes of refusals.
    pub(crate) const WRONG_CLUSTER: &str = "wrong-cluster";
    pub(crate) const WRONG_EPOCH: &str = "wrong-epoch";
    pub(crate) const UNKNOWN_GROUP: &str = "unknown-group";
    pub(crate) const WRONG_RECEIVER: &str = "wrong-receiver";
    pub(crate) const WRONG_SENDER: &str = "wrong-sender";
    pub(crate) const STRANGER: &str = "stranger";
    pub(crate) const REMOVED: &str = "removed";
    pub(crate) const MALFORMED: &str = "malformed";
    pub(crate) const STOPPED: &str = "stopped";
    pub(crate) const NO_HANDLER: &str = "no-handler";
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) cluster: ClusterId,
    pub(crate) epoch: Epoch,
    pub(crate) group: AvsId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) call: Call,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    Append(AppendCall),
    Vote(VoteCall),
    PreVote(VoteCall),
    Transfer {
        from: VoteRecord,
        to: u64,
        last: Option<LogIdRecord>,
    },
    Snapshot(ChunkCall),
    /// A command, from a member to the leader.
    Propose(Bytes),
    /// A question of the host.
    Ask {
        kind: String,
        body: Bytes,
    },
    /// Am I a member, and who are the others?
    Probe,
    /// From the leader to a node it has removed, which may not hear it otherwise.
    Goodbye,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AppendCall {
    pub(crate) vote: VoteRecord,
    pub(crate) prev: Option<LogIdRecord>,
    pub(crate) entries: Vec<EntryRecord>,
    pub(crate) commit: Option<LogIdRecord>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VoteCall {
    pub(crate) vote: VoteRecord,
    pub(crate) last: Option<LogIdRecord>,
    pub(crate) transfer: bool,
}

/// A part of a snapshot; parts come in order, the last one completes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChunkCall {
    pub(crate) vote: VoteRecord,
    pub(crate) last: Option<LogIdRecord>,
    pub(crate) membership: StoredMembershipRecord,
    pub(crate) offset: u64,
    pub(crate) total: u64,
    /// CRC-32 of the whole.
    pub(crate) checksum: u32,
    pub(crate) bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendAnswer),
    Vote {
        vote: VoteRecord,
        granted: bool,
        last: Option<LogIdRecord>,
    },
    Transfer(TransferAnswer),
    /// More of the snapshot, please.
    More,
    Snapshot(VoteRecord),
    Propose(ProposeAnswer),
    Ask(Bytes),
    Probe {
        as_of: Option<u64>,
        members: Vec<Peer>,
    },
    Goodbye,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppendAnswer {
    Success,
    Partial(Option<LogIdRecord>),
    Conflict,
    HigherVote(VoteRecord),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransferAnswer {
    Accepted,
    VoteChanged { expected: VoteRecord, actual: VoteRecord },
    LogNotFlushed { expected: Option<LogIdRecord>, actual: Option<LogIdRecord> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProposeAnswer {
    Applied { index: u64, reply: Bytes },
    NotLeader { leader: Option<NodeId> },
    Uncertain,
    Stopped,
    TooLarge,
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

pub(crate) type Reply = Result<Answer, Refusal>;
