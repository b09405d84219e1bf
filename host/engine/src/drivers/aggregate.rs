//! Adds up responses: at the node that is a task's aggregator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_aggregation::{Event, Events, Evidence, Handle, Policy, TaskAggregation};
use eigenshift_ledger::{Command, Settings};
use eigenshift_types::{Certificate, TaskIndex};

use crate::context::{Backoff, Context};
use crate::drivers::inbox::Inbox;

/// Opens what this node aggregates, closes what it no longer does, and logs what comes out.
pub(crate) async fn run(context: Arc<Context>, aggregation: Handle, mut events: Events, inbox: Inbox) {
    let mut changes = context.ledger.changes();
    // Task -> assignment under which it is open here.
    let mut open: BTreeMap<TaskIndex, u64> = BTreeMap::new();
    let mut again = Backoff::new(&context.patience);
    loop {
        let whole = step(&context, &aggregation, &inbox, &mut open).await;
        if whole {
            again = Backoff::new(&context.patience);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            event = events.next() => match event {
                Some(Event::Certified(certificate)) => {
                    let logging = log_certificate(Arc::clone(&context), certificate);
                    context.env.spawn(logging);
                }
                Some(Event::Equivocation(evidence)) => {
                    context.env.spawn(keep(Arc::clone(&context), evidence));
                }
                // The ledger says when a task ends, and this closes it.
                Some(Event::Expired { .. } | Event::Ended { .. }) => {}
                None => break,
            },
            // What could not be opened is tried again.
            () = context.env.clock.sleep(again.next()), if !whole => {}
            () = context.stop.cancelled() => break,
        }
    }
}

/// Keeps evidence, which is one more thing that a disk may fail at.
async fn keep(context: Arc<Context>, evidence: Evidence) {
    let (task, operator) = (evidence.task, evidence.operator);
    tracing::warn!(avs = %context.service.avs, task, %operator, "an operator signed two answers to one question");
    let keeping = Arc::clone(&context);
    match context.io_pool.run(move || keeping.evidence.keep(evidence)).await {
        Ok(Ok(true)) => context.counters.count("equivocation", "kept"),
        Ok(Ok(false)) => context.counters.count("equivocation", "no-room"),
        Ok(Err(error)) => {
            context.counters.count("equivocation", "not-written");
            tracing::error!(avs = %context.service.avs, "{error}");
        }
        // Shutting down.
        Err(_) => {}
    }
}

/// Whether all that this node aggregates is open now.
async fn step(
    context: &Arc<Context>,
    aggregation: &Handle,
    inbox: &Inbox,
    open: &mut BTreeMap<TaskIndex, u64>,
) -> bool {
    let node = context.identity.node;
    let (mine, policy) = context.ledger.read(|state| {
        let mine: BTreeMap<TaskIndex, u64> = state
            .live_tasks()
            .filter(|task| task.aggregator == node)
            .map(|task| (task.spec.index, task.assignment_epoch))
            .collect();
        (mine, state.settings.as_ref().map_or(Policy::AtQuorum, policy_of))
    });
    let gone: Vec<TaskIndex> =
        open.iter().filter(|(index, epoch)| mine.get(index) != Some(epoch)).map(|(index, _)| *index).collect();
    for index in gone {
        open.remove(&index);
        inbox.close(index);
        aggregation.close(index);
    }
    let mut whole = true;
    for (index, epoch) in mine {
        if open.contains_key(&index) {
            continue;
        }
        let Some(task) = aggregation_of(context, index, policy).await else {
            whole = false;
            context.counters.count("aggregation-not-opened", "operator-set");
            tracing::warn!(avs = %context.service.avs, task = index, "cannot aggregate yet: its bundle or its operator set is not here");
            continue;
        };
        match aggregation.open(task) {
            Ok(()) => {
                open.insert(index, epoch);
                inbox.open(index);
            }
            Err(error) => {
                whole = false;
                context.counters.count("aggregation-not-opened", "error");
                tracing::warn!(avs = %context.service.avs, task = index, "cannot aggregate: {error}");
            }
        }
    }
    whole
}

fn policy_of(settings: &Settings) -> Policy {
    match settings.window_ms {
        0 => Policy::AtQuorum,
        window => {
            Policy::Wait { at_most: Duration::from_millis(window), non_signers: settings.window_non_signers as usize }
        }
    }
}

async fn aggregation_of(context: &Arc<Context>, index: TaskIndex, policy: Policy) -> Option<TaskAggregation> {
    let (task, set, keys) = context.ledger.read(|state| {
        let task = state.live_task(index)?.clone();
        let set = state.sets.get(&task.spec.set_digest)?.clone();
        let keys = state.settings.as_ref()?.keys_per_task as usize;
        Some((task, set, keys))
    })?;
    let max_keys = context.logic_of(&task.spec)?.max_keys();
    // Decoding a new set's points takes milliseconds per operator.
    let decoding = Arc::clone(context);
    let operators = context.bls_pool.run(move || decoding.sets.decoded(&set)).await.ok()??;
    Some(TaskAggregation {
        task: index,
        operators,
        quorums: task.spec.quorums.clone(),
        policy,
        expiry: eigenshift_aggregation::Expiry::Never,
        max_keys: keys.min(max_keys),
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
