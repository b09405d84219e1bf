//! The types openraft is used with. They stay inside the crate.

use std::fmt;

use bytes::Bytes;
use eigenshift_types::NodePublicKey;
use openraft::type_config::alias;
use serde::{Deserialize, Serialize};

/// A command on its way through openraft.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A reply of the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply(pub(crate) Bytes);

/// How a member is reached and recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) raft_url: String,
    pub(crate) key: NodePublicKey,
}

openraft::declare_raft_types!(
    /// `leader_id_adv` is openraft's default: a log id names the leader, which the ledger's rules need.
    pub(crate) Types:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
);

pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type LeaderId = alias::LeaderIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type LogEntry = alias::EntryOf<Types>;
pub(crate) type LogPayload = alias::PayloadOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = alias::SnapshotOf<Types, Bytes>;
pub(crate) type Raft = openraft::Raft<Types, crate::applier::Applier>;
pub(crate) type Metrics = openraft::RaftMetrics<Types>;
