//! Brings one signed response to whoever aggregates its task, again and again until that is no longer needed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_ledger::{State, Task};
use eigenshift_types::{B256, NodeId, NodeSignature, ResponseEnvelope, ResponseKey, TaskIndex};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::context::{Backoff, Context};
use crate::drivers::inbox::Inbox;
use crate::guard::Signed;

/// Where a task's responses go, as the ledger says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    aggregator: NodeId,
    url: Option<String>,
    assignment_epoch: u64,
    certified: BTreeSet<ResponseKey>,
}

impl Destination {
    pub fn of(state: &State, task: &Task) -> Self {
        Self {
            aggregator: task.aggregator,
            url: state.members.get(&task.aggregator).map(|member| member.join.join.http_url.clone()),
            assignment_epoch: task.assignment_epoch,
            certified: task.certificates.keys().cloned().collect(),
        }
    }
}

/// What an aggregator answers to a response that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Drawn at the aggregator's start: another one later means that it has forgotten.
    pub boot_id: B256,
    /// Whether it is counted; else it waits for the task to be known there.
    pub counted: bool,
}

/// Ends when the response's key is certified. Whoever started it ends it with the task.
pub(crate) async fn deliver(
    context: Arc<Context>,
    inbox: Inbox,
    task: TaskIndex,
    signed: Signed,
    mut destination: watch::Receiver<Destination>,
) {
    let mut backoff = Backoff::new(&context.patience);
    loop {
        let target = destination.borrow_and_update().clone();
        if target.certified.contains(&signed.key) {
            return;
        }
        let pause = match send(&context, &inbox, task, &signed, &target).await {
            Ok(Ack { counted: true, .. }) => {
                backoff = Backoff::new(&context.patience);
                context.patience.resend
            }
            Ok(Ack { counted: false, .. }) => backoff.next(),
            Err(why) => {
                context.counters.count("response-undelivered", "retried");
                tracing::debug!(avs = %context.service.avs, task, to = %target.aggregator, "response not taken: {why}");
                backoff.next()
            }
        };
        tokio::select! {
            changed = destination.changed() => if changed.is_err() { return },
            () = context.env.clock.sleep(pause) => {}
            () = context.stop.cancelled() => return,
        }
    }
}

async fn send(
    context: &Context,
    inbox: &Inbox,
    task: TaskIndex,
    signed: &Signed,
    target: &Destination,
) -> Result<Ack, String> {
    let envelope = ResponseEnvelope {
        cluster_id: context.identity.cluster,
        epoch: context.identity.epoch,
        node: context.identity.node,
        task,
        assignment_epoch: target.assignment_epoch,
        key: signed.key.clone(),
        payload: signed.payload.clone(),
        digest: signed.digest,
        extension: signed.extension.clone(),
        signature: signed.signature.clone(),
        envelope_signature: NodeSignature::default(),
    }
    .signed(&context.node_key);
    if target.aggregator == context.identity.node {
        return inbox.receive(envelope).await.map_err(|rejection| rejection.to_string());
    }
    let url = target.url.as_ref().ok_or("the aggregator is no member any more")?;
    let path = format!("/v1/avs/{}/responses", context.service.avs);
    let timeout: Duration = context.patience.request;
    context.http.post(url, &path, &envelope, timeout).await.map_err(|error| error.to_string())
}
