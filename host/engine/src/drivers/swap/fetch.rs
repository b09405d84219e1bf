//! Bytes of bundles, from member to member.

use bytes::{BufMut, BytesMut};
use eigenshift_consensus::AskRefusal;
use eigenshift_ledger::apply::bundles::{MAX_COMPONENT_BYTES, MAX_MANIFEST_BYTES};
use eigenshift_types::{B256, Bytes, NodeId};
use serde::{Deserialize, Serialize};

use crate::avs::{ASK_BUNDLE, refusal};
use crate::context::Context;
use crate::logics::{LoadFailure, PART_BYTES};

#[derive(Serialize, Deserialize)]
struct PartRequest {
    digest: B256,
    offset: u64,
}

/// Whole length, big-endian, before the part.
const LENGTH: usize = 8;

/// Answers another member's question for a part of a bundle.
pub(crate) async fn serve(context: &Context, body: &[u8]) -> Result<bytes::Bytes, AskRefusal> {
    let PartRequest { digest, offset } = serde_json::from_slice(body).map_err(|error| refusal("malformed", error))?;
    let bundles = context.bundles.as_ref().ok_or_else(|| refusal("no-bundles", "this AVS has native logic"))?;
    let part = bundles.part(digest, offset).await;
    let (length, part) = part.ok_or_else(|| refusal("unknown-bundle", "this node does not have the bundle"))?;
    let mut answer = BytesMut::with_capacity(LENGTH + part.len());
    answer.put_u64(length);
    answer.put_slice(&part);
    Ok(answer.freeze())
}

/// Fetches a bundle's bytes from whoever proposed it, or else from any member that has it.
pub(super) async fn fetch(context: &Context, digest: B256) -> Result<Bytes, LoadFailure> {
    let (proposer, others) = context.ledger.read(|state| {
        let proposer = state.proposals.get(&digest).map(|proposal| proposal.by);
        (proposer, state.members.keys().copied().collect::<Vec<_>>())
    });
    let others = others.into_iter().filter(|node| *node != context.identity.node && Some(*node) != proposer);
    let own = context.identity.node;
    let mut why = "no other member has it".to_owned();
    for node in proposer.into_iter().filter(|node| *node != own).chain(others) {
        match fetch_from(context, node, digest).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => {
                context.counters.count("bundle-fetch", "failed");
                why = format!("node {node}: {error}");
            }
        }
    }
    Err(LoadFailure::NotNow(why))
}

async fn fetch_from(context: &Context, node: NodeId, digest: B256) -> Result<Bytes, String> {
    let most = u64::from(MAX_COMPONENT_BYTES) + u64::from(MAX_MANIFEST_BYTES) + LENGTH as u64;
    let mut bytes = BytesMut::new();
    loop {
        let request = PartRequest { digest, offset: bytes.len() as u64 };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let answer = context.group.ask(node, ASK_BUNDLE, request.into(), context.patience.request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let (length, part) = answer.split_first_chunk::<LENGTH>().ok_or("an answer without a length")?;
        let length = u64::from_be_bytes(*length);
        let whole = bytes.len() as u64 + part.len() as u64;
        if length > most || part.len() > PART_BYTES || part.is_empty() || whole > length {
            return Err("an answer that is no part of a bundle".to_owned());
        }
        bytes.put_slice(part);
        if whole == length {
            return Ok(bytes.freeze().into());
        }
    }
}
