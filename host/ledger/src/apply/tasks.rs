//! A task from its trigger to its end.

use eigenshift_types::{BlockRef, Certificate, NodeId, OperatorSet, Outcome as Ending, Quorums, TaskIndex};

use super::{Context, Outcome, agreed, mark_due, to_reply};
use crate::command::{ComplaintKind, CreateTask, Intent, PlanTask};
use crate::machine::Cache;
use crate::reply::{Accepted, Refusal, Reply};
use crate::rotation;
use crate::settings::{Expiry, Mode, Policy, Settings};
use crate::state::{Fault, Phase, Plan, State, Task, TriggerId, push_bounded};

const MAX_PLANS: usize = 64;
const MAX_INTENTS: usize = 64;
const MAX_FAULTS: usize = 256;
const MAX_REASON: usize = 1024;
const MAX_TRIGGER_NAME: usize = 128;
const MAX_TIMERS: usize = 256;

/// A set of 1,024 operators is under 600 KiB; a few may be alive at once.
const MAX_SETS: usize = 64;

pub(super) fn operator_set(state: &mut State, cache: &mut Cache, context: Context, set: OperatorSet) -> Reply {
    if state.sets.contains_key(&set.digest) {
        return Reply::NoOp;
    }
    let outcome = context.leader_only().and_then(|()| {
        if state.sets.len() >= MAX_SETS {
            return Err(Refusal::InvalidOperatorSet { why: "64 sets are in use".to_owned() });
        }
        let (settings, _) = agreed(state)?;
        cache.check(&set, settings.curve).map_err(|why| Refusal::InvalidOperatorSet { why })?;
        let former = state.latest_set.replace(set.digest);
        state.sets.insert(set.digest, set);
        // One that was logged for a task that never came goes with the next.
        if let Some(former) = former {
            drop_unused_set(state, former);
        }
        Ok(Accepted::Plain)
    });
    to_reply(outcome)
}

fn drop_unused_set(state: &mut State, digest: alloy_primitives::B256) {
    let used = state.latest_set == Some(digest) || state.tasks.values().any(|task| task.spec.set_digest == digest);
    if !used {
        state.sets.remove(&digest);
    }
}

fn trigger_problem(state: &State, trigger: &TriggerId, chain_id: u64) -> Option<Refusal> {
    if state.is_used(trigger) {
        return Some(Refusal::TriggerUsed);
    }
    match trigger {
        TriggerId::Timer { name: key, .. } | TriggerId::Request { key } if key.len() > MAX_TRIGGER_NAME => {
            Some(Refusal::TooLarge { what: "the trigger's name" })
        }
        TriggerId::Timer { name, .. }
            if !state.timer_slots.contains_key(name) && state.timer_slots.len() >= MAX_TIMERS =>
        {
            Some(Refusal::InvalidTask { why: "256 timers are in use" })
        }
        TriggerId::Event { chain_id: other, .. } if *other != chain_id => {
            Some(Refusal::InvalidTask { why: "the event is of another chain" })
        }
        _ => None,
    }
}

fn use_trigger(state: &mut State, trigger: TriggerId, most: usize) {
    if let TriggerId::Timer { name, slot } = &trigger {
        state.timer_slots.insert(name.clone(), *slot);
    }
    push_bounded(&mut state.triggers, trigger, most);
}

pub(super) fn plan(state: &mut State, context: Context, plan: PlanTask) -> Outcome {
    context.leader_only()?;
    let (settings, cluster) = agreed(state)?;
    if plan.data.len() > settings.max_request_bytes as usize {
        return Err(Refusal::TooLarge { what: "the calldata" });
    }
    // A plan may be replaced, by a dearer transaction or by a new leader's.
    if !state.plans.contains_key(&plan.trigger) {
        if let Some(refusal) = trigger_problem(state, &plan.trigger, cluster.service.chain_id) {
            return Err(refusal);
        }
        if state.plans.len() >= MAX_PLANS {
            return Err(Refusal::TooManyTasks { open: u32::try_from(state.plans.len()).unwrap_or(u32::MAX) });
        }
    }
    if state.rotation.is_moving() {
        return Err(Refusal::HandOverDue);
    }
    let mut txs = state.plans.get(&plan.trigger).map(|known| known.txs.clone()).unwrap_or_default();
    if txs.contains(&plan.tx) {
        return Err(Refusal::InvalidIntent { why: "this transaction was announced already" });
    }
    if txs.len() >= MAX_INTENTS {
        return Err(Refusal::InvalidIntent { why: "64 transactions were announced for this plan, which is the limit" });
    }
    txs.push(plan.tx);
    state.plans.insert(plan.trigger.clone(), Plan { latest: plan, txs });
    Ok(Accepted::Plain)
}

pub(super) fn close_plan(state: &mut State, context: Context, trigger: &TriggerId) -> Outcome {
    context.leader_only()?;
    let retention = agreed(state)?.0.retention;
    if state.plans.remove(trigger).is_none() {
        return Err(Refusal::InvalidTask { why: "no such plan" });
    }
    use_trigger(state, trigger.clone(), triggers_kept(retention));
    Ok(Accepted::Plain)
}

const fn triggers_kept(retention: u32) -> usize {
    retention as usize * 4
}

fn quorums_problem(settings: &Settings, quorums: &Quorums) -> Option<&'static str> {
    if quorums.numbers != settings.quorums.numbers || quorums.thresholds.len() != quorums.numbers.len() {
        return Some("its quorums are not the cluster's");
    }
    let below = quorums
        .thresholds
        .iter()
        .zip(&settings.quorums.thresholds)
        .any(|(wanted, floor)| wanted < floor || *wanted > 100);
    below.then_some("a threshold is below the cluster's floor or above 100")
}

pub(super) fn create(state: &mut State, context: Context, create: CreateTask) -> Outcome {
    context.leader_only()?;
    let (settings, cluster) = agreed(state)?;
    let CreateTask { trigger, spec, submits } = create;
    if state.rotation.is_moving() {
        return Err(Refusal::HandOverDue);
    }
    if let Some(refusal) = trigger_problem(state, &trigger, cluster.service.chain_id) {
        return Err(refusal);
    }
    if spec.index < state.index_floor || state.tasks.contains_key(&spec.index) {
        return Err(Refusal::IndexUsed { index: spec.index });
    }
    if spec.request.len() > settings.max_request_bytes as usize {
        return Err(Refusal::TooLarge { what: "the request" });
    }
    if spec.keys_expected == 0 || spec.keys_expected > settings.keys_per_task {
        return Err(Refusal::InvalidTask { why: "keys-expected is zero or above keys-per-task" });
    }
    if let Some(why) = quorums_problem(settings, &spec.quorums) {
        return Err(Refusal::InvalidTask { why });
    }
    if spec.bundle_digest != state.bundle {
        return Err(Refusal::WrongBundle);
    }
    let set = state.sets.get(&spec.set_digest).ok_or(Refusal::UnknownOperatorSet)?;
    let open = u32::try_from(state.live_tasks().count()).unwrap_or(u32::MAX);
    if open >= settings.max_open_tasks {
        return Err(Refusal::TooManyTasks { open });
    }
    let aggregator = match settings.rotation.mode {
        Mode::Leadership => context.leader,
        Mode::Assignment => next_aggregator(state, settings, set, &spec)?,
    };
    let most = triggers_kept(settings.retention);
    if settings.rotation.mode == Mode::Assignment {
        let advanced = state.rotation.last != set.by_address(operator(state, aggregator)?).map(|record| record.id);
        state.rotation.tasks = if advanced { 1 } else { state.rotation.tasks.saturating_add(1) };
        state.rotation.last = set.by_address(operator(state, aggregator)?).map(|record| record.id);
        state.rotation.advance = false;
    }
    let former = state.latest_set.replace(spec.set_digest);
    if let TriggerId::Event { .. } = trigger {
        state.event_block = state.event_block.max(spec.reference_block.number);
    }
    use_trigger(state, trigger.clone(), most);
    let index = spec.index;
    state.next_index = state.next_index.max(index.saturating_add(1));
    state.trial.tasks = state.trial.tasks.saturating_add(1);
    let task = Task {
        spec,
        trigger,
        created_at: context.index,
        submits,
        aggregator,
        assignment_epoch: 0,
        phase: Phase::Open,
        certificates: Default::default(),
        intents: Vec::new(),
        disputed: false,
    };
    state.tasks.insert(index, task);
    state.unsettled.insert(index);
    if let Some(former) = former {
        drop_unused_set(state, former);
    }
    Ok(Accepted::Task { index, aggregator })
}

fn operator(state: &State, node: NodeId) -> Result<alloy_primitives::Address, Refusal> {
    state.members.get(&node).map(|member| member.operator()).ok_or(Refusal::UnknownMember { node })
}

fn next_aggregator(
    state: &State,
    settings: &Settings,
    set: &OperatorSet,
    spec: &eigenshift_types::TaskSpec,
) -> Result<NodeId, Refusal> {
    let ring = rotation::ring(state, set, Mode::Assignment);
    let last = state.rotation.last;
    let stays = match settings.rotation.policy {
        Policy::AfterTask => false,
        Policy::Every(tasks) => state.rotation.tasks < tasks && !state.rotation.advance,
        Policy::IntervalMs(_) | Policy::Sticky => !state.rotation.advance,
    };
    let current = ring.iter().find(|candidate| Some(candidate.operator) == last);
    let chosen = match current {
        Some(current) if stays => Some(*current),
        _ => rotation::next(&ring, last, settings.rotation.order, spec.reference_block.hash),
    };
    chosen.map(|candidate| candidate.node).ok_or(Refusal::NoAggregator)
}

pub(super) fn assign(
    state: &mut State,
    context: Context,
    index: TaskIndex,
    aggregator: NodeId,
    how: (u64, bool),
) -> Outcome {
    context.leader_only()?;
    let (assignment_epoch, idle) = how;
    let task = unsettled_mut(state, index)?;
    if assignment_epoch != task.assignment_epoch + 1 {
        return Err(Refusal::StaleAssignment { current: task.assignment_epoch });
    }
    let current = task.aggregator;
    if state.members.get(&current).is_some_and(|member| !member.down) && !idle {
        return Err(Refusal::AggregatorLives);
    }
    if state.members.get(&aggregator).is_none_or(|member| member.down) {
        return Err(Refusal::UnknownMember { node: aggregator });
    }
    let task = unsettled_mut(state, index)?;
    task.aggregator = aggregator;
    task.assignment_epoch = assignment_epoch;
    Ok(Accepted::Plain)
}

fn live(state: &State, index: TaskIndex) -> Result<&Task, Refusal> {
    let task = state.tasks.get(&index).ok_or(Refusal::UnknownTask { index })?;
    if task.is_live() { Ok(task) } else { Err(Refusal::TaskEnded { index }) }
}

fn live_mut(state: &mut State, index: TaskIndex) -> Result<&mut Task, Refusal> {
    let task = state.tasks.get_mut(&index).ok_or(Refusal::UnknownTask { index })?;
    if task.is_live() { Ok(task) } else { Err(Refusal::TaskEnded { index }) }
}

fn unsettled_mut(state: &mut State, index: TaskIndex) -> Result<&mut Task, Refusal> {
    let task = state.tasks.get_mut(&index).ok_or(Refusal::UnknownTask { index })?;
    if task.is_unsettled() { Ok(task) } else { Err(Refusal::TaskEnded { index }) }
}

fn aggregator_only(task: &Task, context: Context) -> Result<(), Refusal> {
    if task.aggregator == context.author { Ok(()) } else { Err(Refusal::NotAggregator) }
}

pub(super) fn certify(
    state: &mut State,
    cache: &mut Cache,
    context: Context,
    assignment_epoch: u64,
    certificate: Certificate,
) -> Reply {
    let task = match live(state, certificate.task).and_then(|task| {
        aggregator_only(task, context)?;
        if assignment_epoch == task.assignment_epoch {
            Ok(task)
        } else {
            Err(Refusal::StaleAssignment { current: task.assignment_epoch })
        }
    }) {
        Ok(task) => task,
        Err(refusal) => return refusal.into(),
    };
    let known = task.certificates.get(&certificate.key).map(|known| known.digest);
    if known == Some(certificate.digest) {
        return Reply::NoOp;
    }
    let limits =
        state.settings.as_ref().map_or((0, 0), |settings| (settings.keys_per_task, settings.max_response_bytes));
    if known.is_none() && task.certificates.len() >= limits.0 as usize {
        return Refusal::TooLarge { what: "the number of keys" }.into();
    }
    if certificate.payload.len() > limits.1 as usize {
        return Refusal::TooLarge { what: "the payload" }.into();
    }
    let spec = task.spec.clone();
    if let Err(why) = cache.verify(state, &spec, &certificate) {
        return Refusal::InvalidCertificate { why }.into();
    }
    if known.is_some() {
        let Certificate { task, key, digest, .. } = certificate;
        let fault = Fault::ConflictingCertificate { author: context.author, task, key, digest };
        push_bounded(&mut state.faults, fault, MAX_FAULTS);
        return Refusal::Conflict.into();
    }
    match live_mut(state, certificate.task) {
        Ok(task) => drop(task.certificates.insert(certificate.key.clone(), certificate)),
        Err(refusal) => return refusal.into(),
    }
    Reply::Accepted(Accepted::Plain)
}

pub(super) fn intent(state: &mut State, context: Context, intent: Intent) -> Outcome {
    let task = unsettled_mut(state, intent.task)?;
    aggregator_only(task, context)?;
    if intent.assignment_epoch != task.assignment_epoch {
        return Err(Refusal::StaleAssignment { current: task.assignment_epoch });
    }
    if !task.submits {
        return Err(Refusal::InvalidIntent { why: "this task's outcome does not go on chain" });
    }
    if task.certificates.is_empty() {
        return Err(Refusal::InvalidIntent { why: "nothing is certified yet" });
    }
    if task.intents.iter().any(|known| known.tx == intent.tx) {
        return Err(Refusal::InvalidIntent { why: "this transaction was announced already" });
    }
    let mut own = task.intents.iter().filter(|known| known.assignment_epoch == intent.assignment_epoch);
    if own.any(|known| known.sender != intent.sender || known.nonce > intent.nonce) {
        return Err(Refusal::InvalidIntent {
            why: "a replacement keeps sender and nonce, a new try has a higher nonce",
        });
    }
    if task.intents.len() >= MAX_INTENTS {
        return Err(Refusal::InvalidIntent { why: "64 transactions were announced for this task, which is the limit" });
    }
    task.intents.push(intent);
    if task.is_live() {
        task.phase = Phase::Submitting;
    }
    Ok(Accepted::Plain)
}

pub(super) fn close(
    state: &mut State,
    context: Context,
    index: TaskIndex,
    ending: Ending,
    at: Option<BlockRef>,
) -> Outcome {
    let expiry = agreed(state)?.0.expiry;
    if state.tasks.get(&index).is_some_and(|task| task.disputed) {
        return settle(state, context, index, ending);
    }
    let task = live(state, index)?;
    match &ending {
        Ending::Finalized { tx, .. } => {
            aggregator_only(task, context)?;
            if task.phase != Phase::Submitting || !task.intents.iter().any(|intent| intent.tx == *tx) {
                return Err(Refusal::WrongPhase { why: "only an announced transaction finalizes a task" });
            }
        }
        Ending::Done => {
            aggregator_only(task, context)?;
            if task.submits || task.phase != Phase::Open {
                return Err(Refusal::WrongPhase { why: "this task's outcome goes on chain" });
            }
            if task.certificates.len() < task.spec.keys_expected as usize {
                return Err(Refusal::WrongPhase { why: "not every expected key is certified" });
            }
        }
        Ending::Expired => {
            context.leader_only()?;
            if task.phase != Phase::Open {
                return Err(Refusal::WrongPhase { why: "a task with an announced transaction does not expire" });
            }
            if let Expiry::Blocks(blocks) = expiry {
                let due = task.spec.reference_block.number.saturating_add(blocks);
                if at.is_none_or(|at| at.number < due) {
                    return Err(Refusal::WrongPhase { why: "the block given is not past the task's expiry" });
                }
            }
        }
        Ending::Failed { reason } => {
            if context.author != context.leader {
                aggregator_only(task, context)?;
            }
            if reason.len() > MAX_REASON {
                return Err(Refusal::TooLarge { what: "the reason" });
            }
        }
    }
    end(state, index, ending)
}

/// A disputed task's answer was submitted again: another receipt takes the place of the one that is not there.
fn settle(state: &mut State, context: Context, index: TaskIndex, ending: Ending) -> Outcome {
    let task = unsettled_mut(state, index)?;
    let Ending::Finalized { tx, .. } = &ending else { return Err(Refusal::TaskEnded { index }) };
    aggregator_only(task, context)?;
    if !task.intents.iter().any(|intent| intent.tx == *tx) {
        return Err(Refusal::WrongPhase { why: "only an announced transaction finalizes a task" });
    }
    let ending = Phase::Closed(ending);
    if task.phase == ending {
        return Err(Refusal::WrongPhase { why: "this is the receipt that most members do not see" });
    }
    task.phase = ending;
    task.disputed = false;
    state.unsettled.remove(&index);
    state.ended.retain(|known| *known != index);
    state.ended.push_back(index);
    state.ends = state.ends.saturating_add(1);
    state.complaints.retain(|known| !(known.kind == ComplaintKind::Receipt && known.task == Some(index)));
    Ok(Accepted::Plain)
}

fn end(state: &mut State, index: TaskIndex, ending: Ending) -> Outcome {
    let task = live_mut(state, index)?;
    task.phase = Phase::Closed(ending);
    let seed = task.spec.reference_block.hash;
    let (settings, _) = agreed(state)?;
    let (retention, rotation) = (settings.retention as usize, settings.rotation);
    state.unsettled.remove(&index);
    state.ended.push_back(index);
    state.ends = state.ends.saturating_add(1);
    while state.ended.len() > retention {
        let Some(oldest) = state.ended.pop_front() else { break };
        if let Some(gone) = state.tasks.remove(&oldest) {
            state.unsettled.remove(&oldest);
            state.index_floor = state.index_floor.max(oldest.saturating_add(1));
            drop_unused_set(state, gone.spec.set_digest);
        }
    }
    if rotation.mode == Mode::Leadership {
        state.rotation.tasks = state.rotation.tasks.saturating_add(1);
        let due = match rotation.policy {
            Policy::AfterTask => true,
            Policy::Every(tasks) => state.rotation.tasks >= tasks,
            Policy::IntervalMs(_) | Policy::Sticky => false,
        };
        if due {
            mark_due(state, seed, None);
        }
    }
    Ok(Accepted::Plain)
}
