//! Answers tasks: at every operator, for every task.

use std::collections::BTreeMap;
use std::sync::Arc;

use eigenshift_ledger::Task;
use eigenshift_ledger::command::{Command, ComplaintKind};
use eigenshift_plugin::CallError;
use eigenshift_types::{BlockRef, OperatorSet, TaskIndex};
use tokio::sync::watch;

use crate::callbacks::{Callbacks, caught};
use crate::context::{Backoff, Context};
use crate::drivers::inbox::Inbox;
use crate::drivers::outbox::{self, Destination};
use crate::drivers::workers::Workers;
use crate::guard::{GuardError, Signed};
use crate::signer::{SignError, TaskSigner};

/// Keeps one worker per live task that this node answers.
pub(crate) async fn run(context: Arc<Context>, inbox: Inbox) {
    context.catch_up().await;
    let mut changes = context.ledger.changes();
    let mut workers: Workers<Destination> = Workers::default();
    loop {
        step(&context, &inbox, &mut workers);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.stop.cancelled() => return,
        }
    }
}

fn step(context: &Arc<Context>, inbox: &Inbox, workers: &mut Workers<Destination>) {
    let node = context.identity.node;
    let (live, fresh) = context.ledger.read(|state| {
        // Only tasks created after this node's own membership: an earlier node of this operator may have signed those.
        let joined = state.members.get(&node).map(|member| member.joined_at);
        let mine = |task: &&Task| joined.is_some_and(|joined| task.created_at > joined);
        let live: BTreeMap<TaskIndex, Destination> =
            state.live_tasks().filter(mine).map(|task| (task.spec.index, Destination::of(state, task))).collect();
        let unknown = |task: &&Task| !workers.contains(task.spec.index);
        let fresh: BTreeMap<TaskIndex, Task> =
            state.live_tasks().filter(mine).filter(unknown).map(|task| (task.spec.index, task.clone())).collect();
        (live, fresh)
    });
    workers.reconcile(live, |index, destination| {
        let task = fresh.get(&index)?.clone();
        Some(context.env.spawn(answer(Arc::clone(context), inbox.clone(), task, destination)).abort_handle())
    });
}

/// Why a task gets no answer from this node.
enum NoAnswer {
    /// Try again when its bundle is loaded here.
    NotLoaded,
    /// Try again when there is another block, if not before; after some tries, later.
    UnknownBlock(BlockRef),
    /// Try again later.
    Later(String, Option<std::time::Duration>),
    /// Never.
    Final(String),
}

async fn answer(context: Arc<Context>, inbox: Inbox, task: Task, destination: watch::Receiver<Destination>) {
    let index = task.spec.index;
    let mut backoff = Backoff::new(&context.patience);
    let signed = loop {
        match prepare(&context, &task).await {
            Ok(signed) => break signed,
            Err(why) => {
                if !wait(&context, &task, why, &mut backoff).await {
                    return;
                }
            }
        }
    };
    context.shadows.offer(&context, &task.spec, &signed);
    let sending = signed
        .into_iter()
        .map(|signed| outbox::deliver(Arc::clone(&context), inbox.clone(), index, signed, destination.clone()));
    futures::future::join_all(sending).await;
}

/// Waits until it is worth while to try again. False when it never is, or the AVS stops.
async fn wait(context: &Context, task: &Task, why: NoAnswer, backoff: &mut Backoff) -> bool {
    let (avs, index) = (&context.service.avs, task.spec.index);
    let fate = if matches!(why, NoAnswer::Final(_)) { "final" } else { "retried" };
    context.counters.count("no-answer", fate);
    match why {
        NoAnswer::NotLoaded => {
            tracing::debug!(%avs, task = index, "no answer yet: bundle {} is not loaded here", task.spec.bundle_digest);
            // They move when one is loaded, too.
            let mut changes = context.ledger.changes();
            while context.logic_of(&task.spec).is_none() {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return false },
                    () = context.stop.cancelled() => return false,
                }
            }
            true
        }
        NoAnswer::UnknownBlock(block) => {
            tracing::debug!(%avs, task = index, "no answer yet: block {block} is not known here");
            let (mut heads, pause) = (context.chain.heads(), backoff.next());
            tokio::select! {
                // Not for ever: a leader may name blocks that do not exist. Without heads the pause is what there is.
                Ok(()) = heads.changed(), if pause < context.patience.retry_most => true,
                slept = context.pause(pause) => slept,
            }
        }
        NoAnswer::Later(why, pause) => {
            tracing::debug!(%avs, task = index, "no answer yet: {why}");
            context.pause(pause.unwrap_or_default().max(backoff.next())).await
        }
        NoAnswer::Final(why) => {
            tracing::warn!(%avs, task = index, "no answer: {why}");
            false
        }
    }
}

/// Everything up to a guarded signature.
async fn prepare(context: &Arc<Context>, task: &Task) -> Result<Vec<Signed>, NoAnswer> {
    let (guard, index) = (context.guard.clone(), task.spec.index);
    let known = context.io_pool.run(move || guard.signed(index)).await.map_err(|_| closed())?.map_err(guarded)?;
    if !known.is_empty() {
        // Signed before a restart: that is the answer, whatever the plugin would say now.
        return Ok(known);
    }
    let logic = context.logic_of(&task.spec).ok_or(NoAnswer::NotLoaded)?;
    confirm(context, task).await?;
    ask(context, task, &logic).await
}

fn closed() -> NoAnswer {
    NoAnswer::Final(GuardError::Closed.to_string())
}

fn guarded(error: GuardError) -> NoAnswer {
    NoAnswer::Final(error.to_string())
}

/// Compares what the leader logged about the chain with this node's own chain.
async fn confirm(context: &Context, task: &Task) -> Result<(), NoAnswer> {
    let later = |error: eigenshift_chain::Error| NoAnswer::Later(error.to_string(), None);
    let spec = &task.spec;
    let header = context.chain.header_by_hash(spec.reference_block.hash).await.map_err(later)?;
    let header = header.ok_or(NoAnswer::UnknownBlock(spec.reference_block))?;
    if header.block != spec.reference_block || header.timestamp != spec.reference_time {
        return Err(NoAnswer::Final("the reference block is not what the task says".to_owned()));
    }
    let logged = context.ledger.read(|state| {
        let source = state.settings.as_ref().map(|settings| (settings.registry, settings.curve));
        source.zip(state.sets.get(&spec.set_digest).cloned())
    });
    let ((registry, curve), logged) =
        logged.ok_or_else(|| NoAnswer::Final("the task's operator set is not in the ledger".to_owned()))?;
    if curve != context.bls.curve() {
        return Err(NoAnswer::Final(format!(
            "the cluster signs over {curve}, this node's BLS key is over {}: give it the operator's key for that curve",
            context.bls.curve()
        )));
    }
    let own = context.sets.at(registry, curve, &spec.quorums.numbers, spec.reference_block).await.map_err(later)?;
    if own.digest != logged.digest {
        complain(context, task, &own).await;
        return Err(NoAnswer::Final(format!(
            "operator set {} differs from this node's chain, which says {}",
            logged.digest, own.digest
        )));
    }
    match own.by_address(context.wallet.address()) {
        Some(record) if record.id == context.operator_id => Ok(()),
        Some(record) => {
            Err(NoAnswer::Final(format!("the registry has another BLS key for this operator: {}", record.id)))
        }
        None => Err(NoAnswer::Final("this operator has no stake in the task's quorums".to_owned())),
    }
}

async fn complain(context: &Context, task: &Task, own: &OperatorSet) {
    let term = context.ledger.read(|state| state.term);
    let complaint = Command::Complaint {
        term,
        kind: ComplaintKind::OperatorSet,
        task: Some(task.spec.index),
        evidence: format!("at block {} this node reads set {}", task.spec.reference_block, own.digest),
    };
    context.counters.count("complaint", "operator-set");
    if let Err(error) = context.ledger.propose(&complaint).await {
        tracing::warn!(avs = %context.service.avs, task = task.spec.index, "the complaint was not logged: {error}");
    }
}

fn call_failed(error: CallError) -> NoAnswer {
    match error {
        CallError::RetryAfter(pause) => NoAnswer::Later("the plugin asks to be called later".to_owned(), Some(pause)),
        CallError::NotApplicable(_) | CallError::InvalidTask(_) | CallError::BadOutput(_) | CallError::Unsupported => {
            NoAnswer::Final(error.to_string())
        }
        // What a node's own load may have caused is tried again; so is a trap, which on other data may not recur.
        error => NoAnswer::Later(error.to_string(), None),
    }
}

/// Tells the cluster when the logic itself is at fault: of that enough, and the former version comes back.
fn report(context: &Arc<Context>, task: &Task, error: &SignError) {
    let at_fault = match error {
        SignError::Call(error) => {
            matches!(error, CallError::Trap(_) | CallError::OutOfFuel | CallError::Memory | CallError::BadOutput(_))
        }
        SignError::Derivation | SignError::Rejected { .. } | SignError::Count { .. } => true,
        SignError::Guard(_) => false,
    };
    let (node, digest) = (context.identity.node, task.spec.bundle_digest);
    let news = context.ledger.read(|state| state.bundle == digest && !state.no_answers.contains_key(&node));
    if !at_fault || !news {
        return;
    }
    context.counters.count("no-answer", "reported");
    let reason: String = error.to_string().chars().take(MAX_REASON).collect();
    let (context, index) = (Arc::clone(context), task.spec.index);
    // By itself: the answer's worker ends with its task, which may end without this answer.
    context.env.clone().spawn(async move {
        let command = Command::NoAnswer { task: index, reason };
        if let Err(error) = context.ledger.propose(&command).await {
            tracing::warn!(avs = %context.service.avs, task = index, "the failure was not logged: {error}");
        }
    });
}

/// Of what the ledger takes, in characters of up to four bytes.
const MAX_REASON: usize = 256;

/// Runs the callbacks.
async fn ask(context: &Arc<Context>, task: &Task, logic: &Arc<dyn Callbacks>) -> Result<Vec<Signed>, NoAnswer> {
    let view = context.task(&task.spec);
    let signer = TaskSigner::new(Arc::clone(context), view.clone(), Arc::clone(logic));
    let called = async {
        let responses = caught(logic.on_task_request(&view)).await?;
        caught(logic.on_submit_task_to_leader(&view, &responses, &signer)).await
    };
    let signed = match called.await {
        Ok(signables) => signer.sign_all(signables).await,
        Err(error) => Err(SignError::Call(error)),
    };
    match signed {
        Ok(signed) => Ok(signed),
        Err(error) => {
            report(context, task, &error);
            Err(match error {
                SignError::Call(error) => call_failed(error),
                error => NoAnswer::Final(error.to_string()),
            })
        }
    }
}
