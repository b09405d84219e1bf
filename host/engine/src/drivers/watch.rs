//! Checks what others had logged: at every member.
//!
//! The ledger verifies signatures; only a member can say whether a certificate's payload gives its key and digest,
//! whether a receipt is on its own chain, and whether the plugin's own order sends the duty where the leader says. What
//! is wrong becomes a complaint in the ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use eigenshift_chain::Receipt;
use eigenshift_ledger::command::{Command, ComplaintKind};
use eigenshift_ledger::rotation::Choice;
use eigenshift_ledger::{Phase, Task};
use eigenshift_plugin::{PeerResponse, ProcessError};
use eigenshift_types::{B256, Certificate, OperatorId, OperatorSet, Outcome, ResponseKey, TaskIndex, TaskSpec};

use crate::callbacks::caught;
use crate::context::{Backoff, Context};
use crate::drivers::order;

/// How often a receipt that is not there is looked for before a complaint: this node's chain access may lag.
const RECEIPT_TRIES: u32 = 8;

/// What of a task there is to check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Certificate(ResponseKey),
    /// A transaction and its block. A disputed task gets another one.
    Receipt(B256, B256),
}

/// What was checked is remembered until it has become twice as much, and so much more, as at the last look at which of it
/// is still kept.
const ROOM: usize = 256;

type Checked = BTreeSet<(TaskIndex, Subject)>;

pub(crate) async fn run(context: Arc<Context>) {
    let mut changes = context.ledger.changes();
    // What was there before this process started was checked by the one before.
    let (mut checked, mut ends) = context.ledger.read(|state| {
        let subjects: Checked = state.tasks.values().flat_map(subjects).collect();
        (subjects, state.ends)
    });
    let mut most = 0;
    let mut turn: Option<B256> = context.ledger.read(|state| state.rotation.choice.as_ref().map(|choice| choice.seed));
    loop {
        let fresh: Vec<Task> = context.ledger.read(|state| {
            let changed = state.unsettled_tasks().chain(state.ended_since(std::mem::replace(&mut ends, state.ends)));
            let fresh = changed.filter(|task| subjects(task).any(|subject| !checked.contains(&subject)));
            let fresh = fresh.cloned().collect();
            if checked.len() >= most {
                checked.retain(|(index, _)| state.tasks.contains_key(index));
                most = 2 * checked.len() + ROOM;
            }
            fresh
        });
        for task in fresh {
            check(&context, &task, &mut checked);
        }
        let choice = context.ledger.read(|state| {
            let choice = state.rotation.choice.clone().filter(|choice| Some(choice.seed) != turn)?;
            let set = state.sets.get(&choice.set_digest).cloned();
            (state.leader != context.identity.node).then_some((choice, set))
        });
        if let Some((choice, set)) = choice {
            turn = Some(choice.seed);
            if let Some(set) = set {
                context.env.spawn(check_turn(Arc::clone(&context), choice, set));
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.stop.cancelled() => return,
        }
    }
}

fn subjects(task: &Task) -> impl Iterator<Item = (TaskIndex, Subject)> {
    let index = task.spec.index;
    let receipt = match task.phase {
        Phase::Closed(Outcome::Finalized { tx, block_hash }) => Some(Subject::Receipt(tx, block_hash)),
        _ => None,
    };
    task.certificates.keys().cloned().map(Subject::Certificate).chain(receipt).map(move |subject| (index, subject))
}

fn check(context: &Arc<Context>, task: &Task, checked: &mut Checked) {
    for (index, subject) in subjects(task) {
        // What this node had logged itself it has checked before.
        if !checked.insert((index, subject.clone())) || task.aggregator == context.identity.node {
            continue;
        }
        match subject {
            Subject::Certificate(key) => {
                if let Some(certificate) = task.certificates.get(&key) {
                    context.env.spawn(check_certificate(Arc::clone(context), task.spec.clone(), certificate.clone()));
                }
            }
            Subject::Receipt(tx, block_hash) => {
                context.env.spawn(check_receipt(Arc::clone(context), index, tx, block_hash));
            }
        }
    }
}

async fn check_certificate(context: Arc<Context>, spec: TaskSpec, certificate: Certificate) {
    let Some(logic) = context.logic_of(&spec) else { return };
    let response = PeerResponse {
        operator_id: OperatorId::default(),
        payload: certificate.payload.clone(),
        extension: Default::default(),
    };
    let task = context.task(&spec);
    let problem = match caught(logic.on_leader_process_task_response(&task, &response)).await {
        Ok(place)
            if (place.task_index, &place.key, place.digest) == (spec.index, &certificate.key, certificate.digest) =>
        {
            return;
        }
        Ok(place) => {
            format!("the payload of key {} gives key {} and digest {}", certificate.key, place.key, place.digest)
        }
        Err(ProcessError::Rejected { code, .. }) => {
            format!("the payload of key {} is rejected: {code}", certificate.key)
        }
        // This node could not say.
        Err(ProcessError::Call(_)) => return,
    };
    complain(&context, ComplaintKind::Certificate, Some(spec.index), problem).await;
}

async fn check_receipt(context: Arc<Context>, index: TaskIndex, tx: B256, block_hash: B256) {
    let mut backoff = Backoff::new(&context.patience);
    for _ in 0..RECEIPT_TRIES {
        let there = |receipt: &Receipt| receipt.success && receipt.block.hash == block_hash;
        if context.chain.receipt(tx).await.is_ok_and(|receipt| receipt.is_some_and(|receipt| there(&receipt))) {
            return;
        }
        if !context.pause(backoff.next()).await {
            return;
        }
    }
    let problem = format!("transaction {tx} has no such receipt in block {block_hash}");
    complain(&context, ComplaintKind::Receipt, Some(index), problem).await;
}

async fn check_turn(context: Arc<Context>, choice: Choice, set: OperatorSet) {
    let Some(logic) = context.logics.get(choice.bundle) else { return };
    let Some(rotation) = logic.rotation() else { return };
    // A node that could not ask says nothing.
    if let Ok(false) = order::agrees(rotation, &choice, &set).await {
        let problem = format!("with seed {} the plugin does not choose operator {}", choice.seed, choice.chosen);
        complain(&context, ComplaintKind::Rotation, None, problem).await;
    }
}

async fn complain(context: &Context, kind: ComplaintKind, task: Option<TaskIndex>, evidence: String) {
    context.counters.count("complaint", "logged");
    tracing::warn!(avs = %context.service.avs, ?task, "complaint: {evidence}");
    let term = context.ledger.read(|state| state.term);
    let complaint = Command::Complaint { term, kind, task, evidence };
    if let Err(error) = context.ledger.propose(&complaint).await {
        tracing::warn!(avs = %context.service.avs, ?task, "the complaint was not logged: {error}");
    }
}
