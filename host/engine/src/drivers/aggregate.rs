//! Adds up responses: at the node that is a task's aggregator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_aggregation::{Event, Events, Handle, Policy, TaskAggregation};
use eigenshift_ledger::Command;
use eigenshift_types::{Certificate, TaskIndex};

use crate::context::{Backoff, Context};
use crate::drivers::inbox::Inbox;

/// Opens what this node aggregates, closes what it no longer does, and logs what comes out.
pub(crate) async fn run(context: Arc<Context>, aggregation: Handle, mut events: Events, inbox: Inbox) {
    let mut changes = context.ledger.changes();
    // Task -> assignment under which it is open here.
    let mut open: BTreeMap<TaskIndex, u64> = BTreeMap::new();
    loop {
        step(&context, &aggregation, &inbox, &mut open).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            event = events.next() => match event {
                Some(Event::Certified(certificate)) => {
                    let logging = log_certificate(Arc::clone(&context), certificate);
                    context.env.spawn(logging);
                }
                Some(Event::Equivocation(evidence)) => {
                    context.counters.count("equivocation", "seen");
                    tracing::warn!(avs = %context.service.avs, ?evidence, "an operator signed two answers to one question");
                }
                // The ledger says when a task ends, and this closes it.
                Some(Event::Expired { .. } | Event::Ended { .. }) => {}
                None => break,
            },
            () = context.stop.cancelled() => break,
        }
    }
}

async fn step(context: &Arc<Context>, aggregation: &Handle, inbox: &Inbox, open: &mut BTreeMap<TaskIndex, u64>) {
    let node = context.identity.node;
    let (mine, window) = context.ledger.read(|state| {
        let mine: BTreeMap<TaskIndex, u64> = state
            .live_tasks()
            .filter(|task| task.aggregator == node)
            .map(|task| (task.spec.index, task.assignment_epoch))
            .collect();
        (mine, state.settings.as_ref().map_or(0, |settings| settings.window_ms))
    });
    let gone: Vec<TaskIndex> =
        open.iter().filter(|(index, epoch)| mine.get(index) != Some(epoch)).map(|(index, _)| *index).collect();
    for index in gone {
        open.remove(&index);
        inbox.close(index);
        aggregation.close(index);
    }
    for (index, epoch) in mine {
        if open.contains_key(&index) {
            continue;
        }
        let Some(task) = aggregation_of(context, index, Duration::from_millis(window)).await else { continue };
        match aggregation.open(task) {
            Ok(()) => {
                open.insert(index, epoch);
                inbox.open(index);
            }
            Err(error) => {
                context.counters.count("aggregation-not-opened", "error");
                tracing::warn!(avs = %context.service.avs, task = index, "cannot aggregate: {error}");
            }
        }
    }
}

async fn aggregation_of(context: &Arc<Context>, index: TaskIndex, window: Duration) -> Option<TaskAggregation> {
    let (task, set, keys) = context.ledger.read(|state| {
        let task = state.live_task(index)?.clone();
        let set = state.sets.get(&task.spec.set_digest)?.clone();
        let keys = state.settings.as_ref()?.keys_per_task as usize;
        Some((task, set, keys))
    })?;
    // Decoding a new set's points takes milliseconds per operator.
    let decoding = Arc::clone(context);
    let operators = context.bls_pool.run(move || decoding.sets.decoded(&set)).await.ok()??;
    Some(TaskAggregation {
        task: index,
        operators,
        quorums: task.spec.quorums.clone(),
        policy: Policy::window(window),
        expiry: eigenshift_aggregation::Expiry::Never,
        max_keys: keys.min(context.callbacks.max_keys()),
        certified: task
            .certificates
            .values()
            .map(|certificate| (certificate.key.clone(), certificate.digest))
            .collect(),
    })
}

/// Has the certificate logged, for as long as this node aggregates its task.
async fn log_certificate(context: Arc<Context>, certificate: Certificate) {
    let mut backoff = Backoff::new(&context.patience);
    loop {
        let assignment = context.ledger.read(|state| {
            let task = state.live_task(certificate.task)?;
            let wanted = task.aggregator == context.identity.node && !task.certificates.contains_key(&certificate.key);
            wanted.then_some(task.assignment_epoch)
        });
        let Some(assignment_epoch) = assignment else { return };
        let command = Command::Certificate { assignment_epoch, certificate: Box::new(certificate.clone()) };
        match context.ledger.propose(&command).await {
            Ok(_) => return,
            Err(error) => {
                context.counters.count("certificate-not-logged", "retried");
                tracing::warn!(avs = %context.service.avs, task = certificate.task, "certificate not logged: {error}");
            }
        }
        if !context.pause(backoff.next()).await {
            return;
        }
    }
}
