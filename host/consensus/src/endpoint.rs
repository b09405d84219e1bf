//! A group as the other hosts see it: what it does with an admitted request.

use std::sync::Arc;

use bytes::Bytes;
use eigenshift_types::{AvsId, NodeId};
use futures::future::BoxFuture;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, VoteRequest,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::error::ProposeError;
use crate::group::Proposer;
use crate::peers::PeerBook;
use crate::raft::{Raft, Snapshot, SnapshotMeta, Types};
use crate::record::{LogIdRecord, PayloadRecord, VoteRecord};
use crate::store::{Identity, MAX_SNAPSHOT_BYTES};
use crate::transport::rpc::{
    Answer, AppendAnswer, AppendCall, CHUNK_BYTES, Call, ChunkCall, ProposeAnswer, Refusal, Reply, TransferAnswer,
    VoteCall, code,
};

/// A handler's refusal of a question, passed on to who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskRefusal {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Answers the questions of other members: who asks (proven), the kind, and the body.
pub type AskHandler = Arc<dyn Fn(NodeId, String, Bytes) -> BoxFuture<'static, Result<Bytes, AskRefusal>> + Send + Sync>;

/// A snapshot of which parts are still to come.
struct Arriving {
    from: NodeId,
    last: Option<LogIdRecord>,
    total: u64,
    checksum: u32,
    bytes: Vec<u8>,
}

pub(crate) struct Endpoint {
    pub(crate) group: AvsId,
    pub(crate) identity: Identity,
    pub(crate) book: PeerBook,
    /// Rung when something suggests that the members are not who this node thinks.
    pub(crate) doubts: Arc<Notify>,
    raft: Raft,
    proposer: Proposer,
    ask: RwLock<Option<AskHandler>>,
    arriving: Mutex<Option<Arriving>>,
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(code::MALFORMED, why)
}

fn stopped(fatal: impl std::fmt::Display) -> Refusal {
    Refusal::new(code::STOPPED, fatal.to_string())
}

/// A vote speaks for the node it names, and only that node may send it.
fn speaks_for(vote: VoteRecord, from: NodeId) -> Result<(), Refusal> {
    if vote.node == from.0 { Ok(()) } else { Err(Refusal::new(code::WRONG_SENDER, "a vote for another node")) }
}

impl Endpoint {
    pub(crate) fn new(
        group: AvsId,
        identity: Identity,
        book: PeerBook,
        doubts: Arc<Notify>,
        raft: Raft,
        proposer: Proposer,
    ) -> Self {
        let (ask, arriving) = (RwLock::default(), Mutex::default());
        Self { group, identity, book, doubts, raft, proposer, ask, arriving }
    }

    pub(crate) fn answer_with(&self, handler: AskHandler) {
        *self.ask.write() = Some(handler);
    }

    pub(crate) async fn handle(&self, from: NodeId, call: Call) -> Reply {
        match call {
            Call::Append(call) => self.append(from, call).await,
            Call::Vote(call) => {
                let response = self.raft.vote(vote_request(from, call)?).await.map_err(stopped)?;
                Ok(Answer::Vote {
                    vote: response.vote.into(),
                    granted: response.vote_granted,
                    last: response.last_log_id.map(Into::into),
                })
            }
            Call::PreVote(call) => {
                let response = self.raft.pre_vote(vote_request(from, call)?).await.map_err(stopped)?;
                Ok(Answer::Vote {
                    vote: response.vote.into(),
                    granted: response.vote_granted,
                    last: response.last_log_id.map(Into::into),
                })
            }
            Call::Transfer { from: vote, to, last } => self.transfer(from, vote, to, last).await,
            Call::Snapshot(chunk) => self.snapshot(from, chunk).await,
            Call::Propose(command) => Ok(Answer::Propose(match self.proposer.propose(command).await {
                Ok(applied) => ProposeAnswer::Applied { index: applied.index, reply: applied.reply },
                Err(ProposeError::NotLeader { leader }) => ProposeAnswer::NotLeader { leader },
                Err(ProposeError::Uncertain) => ProposeAnswer::Uncertain,
                Err(ProposeError::TooLarge { .. }) => ProposeAnswer::TooLarge,
                Err(ProposeError::Stopped | ProposeError::Unreachable { .. }) => ProposeAnswer::Stopped,
            })),
            Call::Ask { kind, body } => {
                let handler = self.ask.read().clone();
                let handler =
                    handler.ok_or_else(|| Refusal::new(code::NO_HANDLER, "nobody answers questions here yet"))?;
                let answer = handler(from, kind, body)
                    .await
                    .map_err(|AskRefusal { code, message }| Refusal { code, message })?;
                if answer.len() > crate::MAX_ASK_BYTES {
                    return Err(malformed("the handler's answer is too large"));
                }
                Ok(Answer::Ask(answer))
            }
            Call::Probe => {
                let (as_of, members) = self.book.view();
                Ok(Answer::Probe { as_of, members })
            }
            Call::Goodbye => {
                // One member's word is not enough: the group asks the others.
                self.doubts.notify_one();
                Ok(Answer::Goodbye)
            }
        }
    }

    async fn append(&self, from: NodeId, call: AppendCall) -> Reply {
        speaks_for(call.vote, from)?;
        let mut next = call.prev.map_or(0, |prev| prev.index.saturating_add(1));
        let mut entries = Vec::with_capacity(call.entries.len().min(1024));
        for record in call.entries {
            if record.id.index != next {
                return Err(malformed("the entries are not consecutive"));
            }
            if matches!(&record.payload, PayloadRecord::Command(command) if command.len() > crate::MAX_COMMAND_BYTES) {
                return Err(malformed("a command is too large"));
            }
            next = next.saturating_add(1);
            entries.push(record.into_entry().map_err(|error| malformed(&error.0))?);
        }
        let request = AppendEntriesRequest::<Types> {
            vote: call.vote.into(),
            prev_log_id: call.prev.map(Into::into),
            entries,
            leader_commit: call.commit.map(Into::into),
        };
        let response = self.raft.append_entries(request).await.map_err(stopped)?;
        Ok(Answer::Append(match response {
            AppendEntriesResponse::Success => AppendAnswer::Success,
            AppendEntriesResponse::PartialSuccess(upto) => AppendAnswer::Partial(upto.map(Into::into)),
            AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
            AppendEntriesResponse::HigherVote(vote) => AppendAnswer::HigherVote(vote.into()),
        }))
    }

    async fn transfer(&self, from: NodeId, vote: VoteRecord, to: u64, last: Option<LogIdRecord>) -> Reply {
        speaks_for(vote, from)?;
        let request = TransferLeaderRequest::<Types>::new(vote.into(), to, last.map(Into::into));
        let response = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        Ok(Answer::Transfer(match response {
            Ok(()) => TransferAnswer::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferAnswer::VoteChanged { expected: expected.into(), actual: actual.into() }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                TransferAnswer::LogNotFlushed { expected: expected.map(Into::into), actual: actual.map(Into::into) }
            }
        }))
    }

    async fn snapshot(&self, from: NodeId, chunk: ChunkCall) -> Reply {
        speaks_for(chunk.vote, from)?;
        let (vote, last, membership) = (chunk.vote, chunk.last, chunk.membership.clone());
        let Some(body) = self.assemble(from, chunk)? else { return Ok(Answer::More) };
        let last_membership = membership.try_into().map_err(|error: crate::record::Invalid| malformed(&error.0))?;
        let meta = SnapshotMeta { last_log_id: last.map(Into::into), last_membership };
        let snapshot = Snapshot { meta, snapshot: body };
        let response = self.raft.install_full_snapshot(vote.into(), snapshot).await.map_err(stopped)?;
        Ok(Answer::Snapshot(response.vote.into()))
    }

    /// Puts the parts of a snapshot together; the whole once it is complete. A new snapshot displaces an unfinished one.
    fn assemble(&self, from: NodeId, chunk: ChunkCall) -> Result<Option<Bytes>, Refusal> {
        let mut slot = self.arriving.lock();
        if chunk.total > MAX_SNAPSHOT_BYTES as u64 || chunk.bytes.len() > CHUNK_BYTES {
            return Err(malformed("the snapshot or its part is too large"));
        }
        if chunk.offset == 0 {
            let ChunkCall { last, total, checksum, .. } = chunk;
            *slot = Some(Arriving { from, last, total, checksum, bytes: Vec::new() });
        }
        let mut arriving = slot.take().ok_or_else(|| malformed("a snapshot begins at its beginning"))?;
        let expected = (arriving.from, arriving.last, arriving.total, arriving.checksum, arriving.bytes.len() as u64);
        if expected != (from, chunk.last, chunk.total, chunk.checksum, chunk.offset) {
            return Err(malformed("not the next part of this snapshot"));
        }
        arriving.bytes.extend_from_slice(&chunk.bytes);
        let have = arriving.bytes.len() as u64;
        if have < chunk.total && !chunk.bytes.is_empty() {
            *slot = Some(arriving);
            return Ok(None);
        }
        if have != chunk.total || crc32fast::hash(&arriving.bytes) != chunk.checksum {
            return Err(malformed("the snapshot is not the one that was announced"));
        }
        Ok(Some(arriving.bytes.into()))
    }
}

fn vote_request(from: NodeId, call: VoteCall) -> Result<VoteRequest<Types>, Refusal> {
    speaks_for(call.vote, from)?;
    let mut request = VoteRequest::new(call.vote.into(), call.last.map(Into::into));
    request.leadership_transfer = call.transfer;
    Ok(request)
}
