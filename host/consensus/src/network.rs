//! openraft's network over the transport.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_types::{AvsId, NodeId};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::Notify;

use crate::group::Timing;
use crate::raft::{Member, Snapshot, Types, Vote};
use crate::record::{LogIdRecord, StoredMembershipRecord};
use crate::store::Identity;
use crate::transport::rpc::{
    Answer, AppendAnswer, AppendCall, CHUNK_BYTES, Call, ChunkCall, Request, TransferAnswer, VoteCall, code,
};
use crate::transport::{CallError, Lane, Transport};

/// A part of a snapshot, which the receiver only keeps.
const CHUNK_LIMIT: Duration = Duration::from_secs(10);
/// The last part, after which the receiver restores its state machine.
pub(crate) const INSTALL_LIMIT: Duration = Duration::from_secs(55);

/// Calls other members in a group's name.
pub(crate) struct Caller {
    pub(crate) transport: Transport,
    pub(crate) group: AvsId,
    pub(crate) identity: Identity,
    pub(crate) timing: Timing,
    pub(crate) doubts: Arc<Notify>,
}

impl Caller {
    pub(crate) async fn call(
        &self,
        to: NodeId,
        member: &Member,
        lane: Lane,
        call: Call,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let request = Request {
            cluster: self.identity.cluster,
            epoch: self.identity.epoch,
            group: self.group.clone(),
            from: self.identity.node,
            to,
            call,
        };
        let answer = self.transport.call(member, lane, &request, limit).await;
        if matches!(&answer, Err(CallError::Refused(refusal)) if refusal.code == code::REMOVED) {
            self.doubts.notify_one();
        }
        answer
    }
}

#[derive(Clone)]
pub(crate) struct Network(pub(crate) Arc<Caller>);

impl Network {
    fn link(&self, target: u64, member: &Member, lane: Lane) -> Link {
        Link { caller: Arc::clone(&self.0), target: NodeId(target), member: member.clone(), lane }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Lane::Pulse)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Lane::Snapshot)
    }
}

/// The way to one member, for one purpose.
pub(crate) struct Link {
    caller: Arc<Caller>,
    target: NodeId,
    member: Member,
    lane: Lane,
}

type RpcResult<T> = Result<T, RPCError<Types>>;

/// Who was not reached is left alone for a while; who was too slow is tried again at once.
fn rpc_error(error: &CallError) -> RPCError<Types> {
    match error {
        CallError::Unreachable(_) | CallError::Refused(_) => Unreachable::from_string(error).into(),
        CallError::Timeout(_) | CallError::Broken(_) => NetworkError::from_string(error).into(),
    }
}

fn nonsense<T>() -> RpcResult<T> {
    Err(rpc_error(&CallError::Refused(crate::transport::rpc::Refusal::new(
        code::MALFORMED,
        "an answer to another question",
    ))))
}

impl Link {
    async fn call(&self, lane: Lane, call: Call, limit: Duration) -> RpcResult<Answer> {
        self.caller.call(self.target, &self.member, lane, call, limit).await.map_err(|error| rpc_error(&error))
    }

    async fn ballot(&self, call: Call, option: &RPCOption) -> RpcResult<VoteResponse<Types>> {
        match self.call(Lane::Pulse, call, option.soft_ttl()).await? {
            Answer::Vote { vote, granted, last } => {
                Ok(VoteResponse::new(Vote::from(vote), last.map(Into::into), granted))
            }
            _ => nonsense(),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let body = snapshot.snapshot;
        let (total, checksum) = (body.len() as u64, crc32fast::hash(&body));
        let mut offset = 0;
        loop {
            let end = body.len().min(offset + CHUNK_BYTES);
            let complete = end == body.len();
            let chunk = ChunkCall {
                vote: vote.into(),
                last: snapshot.meta.last_log_id.map(Into::into),
                membership: StoredMembershipRecord::from(&snapshot.meta.last_membership),
                offset: offset as u64,
                total,
                checksum,
                bytes: body.slice(offset..end),
            };
            let limit = if complete { INSTALL_LIMIT } else { CHUNK_LIMIT };
            match self.call(Lane::Snapshot, Call::Snapshot(chunk), limit).await? {
                Answer::Snapshot(vote) if complete => return Ok(SnapshotResponse::new(vote.into())),
                Answer::More if !complete => offset = end,
                _ => return nonsense().map_err(StreamingError::from),
            }
        }
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<Types>> {
        let prev: Option<LogIdRecord> = rpc.prev_log_id.map(Into::into);
        let entries: Vec<crate::record::EntryRecord> = rpc.entries.iter().map(Into::into).collect();
        let last = entries.last().map(|entry| entry.id).or(prev);
        let limit = match self.lane {
            Lane::Pulse => option.soft_ttl(),
            // openraft gives a batch no more than a heartbeat's time, which a follower's fsync alone can take.
            _ => option.soft_ttl().max(self.caller.timing.election_max),
        };
        let call = AppendCall { vote: rpc.vote.into(), prev, entries, commit: rpc.leader_commit.map(Into::into) };
        let Answer::Append(answer) = self.call(self.lane, Call::Append(call), limit).await? else { return nonsense() };
        match answer {
            AppendAnswer::Success => Ok(AppendEntriesResponse::Success),
            // openraft takes these at their word: one that cannot be true would end the group.
            AppendAnswer::Partial(upto) if upto >= prev && upto <= last => {
                Ok(AppendEntriesResponse::PartialSuccess(upto.map(Into::into)))
            }
            AppendAnswer::Conflict if prev.is_some() => Ok(AppendEntriesResponse::Conflict),
            AppendAnswer::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(vote.into())),
            AppendAnswer::Partial(_) | AppendAnswer::Conflict => nonsense(),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> RpcResult<VoteResponse<Types>> {
        self.ballot(Call::Vote(vote_call(&rpc)), &option).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> RpcResult<VoteResponse<Types>> {
        self.ballot(Call::PreVote(vote_call(&rpc)), &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let cancel = pin!(cancel);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<Types>> {
        let from = (*req.from_leader()).into();
        let call = Call::Transfer { from, to: *req.to_node_id(), last: req.last_log_id().copied().map(Into::into) };
        let Answer::Transfer(answer) = self.call(Lane::Pulse, call, option.soft_ttl()).await? else {
            return nonsense();
        };
        Ok(match answer {
            TransferAnswer::Accepted => Ok(()),
            TransferAnswer::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            TransferAnswer::LogNotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(Into::into),
                actual: actual.map(Into::into),
            }),
        })
    }
}

fn vote_call(rpc: &VoteRequest<Types>) -> VoteCall {
    VoteCall { vote: rpc.vote.into(), last: rpc.last_log_id.map(Into::into), transfer: rpc.leadership_transfer }
}
