//! What is written to disk and sent between nodes: our own structures, so that neither follows openraft's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use eigenshift_types::{NodeId, NodePublicKey};
use serde::{Deserialize, Serialize};

use crate::machine::{Entry, Payload};
use crate::peers::{MAX_URL_BYTES, Peer};
use crate::raft::{Command, LeaderId, LogEntry, LogId, LogPayload, Member, Membership, StoredMembership, Vote};

/// Version of the records on disk.
pub(crate) const DISK_VERSION: u8 = 1;

/// A record that no version of this software writes.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) index: u64,
}

impl From<LogId> for LogIdRecord {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        Self::new(LeaderId { term: record.term, node_id: record.node }, record.index)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) committed: bool,
}

impl From<Vote> for VoteRecord {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        Self { leader_id: LeaderId { term: record.term, node_id: record.node }, committed: record.committed }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberRecord {
    pub(crate) url: String,
    pub(crate) key: NodePublicKey,
}

/// Voters (two sets while they change) and everybody's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    pub(crate) configs: Vec<BTreeSet<u64>>,
    pub(crate) nodes: BTreeMap<u64, MemberRecord>,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        let member = |node: &Member| MemberRecord { url: node.raft_url.clone(), key: node.key };
        Self {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, member(node))).collect(),
        }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = Invalid;

    fn try_from(record: MembershipRecord) -> Result<Self, Invalid> {
        if record.nodes.values().any(|node| node.url.len() > MAX_URL_BYTES) {
            return Err(Invalid("a member's URL is too long".into()));
        }
        let nodes: BTreeMap<u64, Member> =
            record.nodes.into_iter().map(|(id, node)| (id, Member { raft_url: node.url, key: node.key })).collect();
        Self::new(record.configs, nodes).map_err(|error| Invalid(format!("no membership: {error}")))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PayloadRecord {
    Blank,
    Command(Bytes),
    Membership(MembershipRecord),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryRecord {
    pub(crate) id: LogIdRecord,
    pub(crate) payload: PayloadRecord,
}

impl From<&LogEntry> for EntryRecord {
    fn from(entry: &LogEntry) -> Self {
        let payload = match &entry.payload {
            LogPayload::Blank => PayloadRecord::Blank,
            LogPayload::Normal(command) => PayloadRecord::Command(command.0.clone()),
            LogPayload::Membership(membership) => PayloadRecord::Membership(membership.into()),
        };
        Self { id: entry.log_id.into(), payload }
    }
}

impl EntryRecord {
    pub(crate) fn into_entry(self) -> Result<LogEntry, Invalid> {
        let payload = match self.payload {
            PayloadRecord::Blank => LogPayload::Blank,
            PayloadRecord::Command(bytes) => LogPayload::Normal(Command(bytes)),
            PayloadRecord::Membership(membership) => LogPayload::Membership(membership.try_into()?),
        };
        Ok(LogEntry { log_id: self.id.into(), payload })
    }
}

/// A membership and the entry that set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMembershipRecord {
    pub(crate) at: Option<LogIdRecord>,
    pub(crate) membership: MembershipRecord,
}

impl From<&StoredMembership> for StoredMembershipRecord {
    fn from(stored: &StoredMembership) -> Self {
        Self { at: stored.log_id().map(Into::into), membership: stored.membership().into() }
    }
}

impl TryFrom<StoredMembershipRecord> for StoredMembership {
    type Error = Invalid;

    fn try_from(record: StoredMembershipRecord) -> Result<Self, Invalid> {
        Ok(Self::new(record.at.map(Into::into), record.membership.try_into()?))
    }
}

/// What the state machine sees of an entry.
pub(crate) fn outward(entry: &LogEntry) -> Entry {
    let payload = match &entry.payload {
        LogPayload::Blank => Payload::Blank,
        LogPayload::Normal(command) => Payload::Command(command.0.clone()),
        LogPayload::Membership(membership) => Payload::Membership {
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
        },
    };
    let leader = entry.log_id.leader_id;
    Entry { index: entry.log_id.index, term: leader.term, leader: NodeId(leader.node_id), payload }
}

/// The members that a membership names.
pub(crate) fn peers(membership: &Membership) -> Vec<Peer> {
    membership
        .nodes()
        .map(|(id, node)| Peer { node: NodeId(*id), raft_url: node.raft_url.clone(), key: node.key })
        .collect()
}
