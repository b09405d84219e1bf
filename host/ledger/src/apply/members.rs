//! Members, settings, marks and complaints.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use eigenshift_types::{NodeId, NodeSignature, OperatorId, Outcome as Ending, SignedJoin, TaskIndex};

use super::{Context, Outcome, agreed, mark_due, operator_of};
use crate::command::{Bootstrap, ComplaintKind, SignedCommand, settings_approval};
use crate::machine::Halt;
use crate::reply::{Accepted, Refusal};
use crate::rotation::{self, Choice};
use crate::settings::{Mode, Settings};
use crate::state::{Cluster, Complaints, Member, Phase, State, push_bounded};
use crate::window::Window;

const MAX_CHALLENGES: usize = 4096;
const MAX_COMPLAINTS: usize = 64;
const MAX_TEXT: usize = 1024;
const MAX_URL: usize = 512;
const MAX_MEMBERS: usize = 1024;

/// The first member's node id; every later one is a log index above it.
const FIRST: NodeId = NodeId(1);

fn join_problem(join: &SignedJoin) -> Option<&'static str> {
    let message = &join.join;
    let urls = [&message.raft_url, &message.http_url];
    if urls.iter().any(|url| url.len() > MAX_URL || !(url.starts_with("https://") || url.starts_with("http://"))) {
        Some("a URL is not http(s) or longer than 512 bytes")
    } else if !join.is_authentic() {
        Some("the operator's signature does not match")
    } else {
        None
    }
}

pub(super) fn bootstrap(
    state: &mut State,
    context: Context,
    signed: &SignedCommand,
    bootstrap: &Bootstrap,
) -> Result<Outcome, Halt> {
    if let Err(refusal) = bootstrap_allowed(context, signed, bootstrap) {
        return Ok(Err(refusal));
    }
    known_rules(context, &bootstrap.settings)?;
    Ok(begin(state, context, signed, bootstrap))
}

/// Settings that were agreed on but name rules that this software does not have stop the group on this node: going by
/// others would be guessing.
fn known_rules(context: Context, settings: &Settings) -> Result<(), Halt> {
    settings.unknown_rules().map_or(Ok(()), |what| Err(Halt::UnknownRules { index: context.index, what }))
}

fn bootstrap_allowed(context: Context, signed: &SignedCommand, bootstrap: &Bootstrap) -> Result<(), Refusal> {
    context.leader_only()?;
    let message = &bootstrap.join.join;
    if context.author != FIRST || !signed.is_signed_by(&message.node_key, message.cluster_id, bootstrap.epoch) {
        return Err(Refusal::BadSignature);
    }
    if message.service != bootstrap.service {
        return Err(Refusal::InvalidJoin { why: "it is for another AVS" });
    }
    if let Some(why) = join_problem(&bootstrap.join) {
        return Err(Refusal::InvalidJoin { why });
    }
    Ok(())
}

fn begin(state: &mut State, context: Context, signed: &SignedCommand, bootstrap: &Bootstrap) -> Outcome {
    let message = &bootstrap.join.join;
    if let Some(why) = bootstrap.settings.problem() {
        return Err(Refusal::InvalidSettings { why });
    }
    let mut commands = Window::default();
    commands.take(signed.id);
    state
        .members
        .insert(FIRST, Member { join: bootstrap.join.clone(), joined_at: context.index, down: false, commands });
    state.challenges.push_back(message.challenge_hash());
    state.cluster = Some(Cluster {
        id: message.cluster_id,
        epoch: bootstrap.epoch,
        service: bootstrap.service.clone(),
        start_block: bootstrap.start_block,
    });
    state.settings = Some(bootstrap.settings.clone());
    state.bundle = bootstrap.bundle_digest;
    state.event_block = bootstrap.start_block;
    Ok(Accepted::Member(FIRST))
}

pub(super) fn add(state: &mut State, context: Context, join: SignedJoin) -> Outcome {
    context.leader_only()?;
    let (_, cluster) = agreed(state)?;
    let message = &join.join;
    if message.service != cluster.service || message.cluster_id != cluster.id {
        return Err(Refusal::InvalidJoin { why: "it is for another AVS or cluster" });
    }
    if let Some(why) = join_problem(&join) {
        return Err(Refusal::InvalidJoin { why });
    }
    if !state.members.contains_key(&message.issuer) {
        return Err(Refusal::InvalidJoin { why: "the issuer of its challenge is no member" });
    }
    let challenge = message.challenge_hash();
    if state.challenges.contains(&challenge) {
        return Err(Refusal::ChallengeUsed);
    }
    let present = state.member_of(message.operator).map(|(node, _)| node);
    let taken = |member: &Member| *member.key() == message.node_key;
    if state.members.iter().any(|(node, member)| Some(*node) != present && taken(member)) {
        return Err(Refusal::InvalidJoin { why: "another operator's node has the same key" });
    }
    if present.is_none() && state.members.len() >= MAX_MEMBERS {
        return Err(Refusal::InvalidJoin { why: "the cluster has 1,024 members, which is the limit" });
    }
    if let Some(old) = present {
        drop_member(state, old);
    }
    let node = NodeId(context.index);
    push_bounded(&mut state.challenges, challenge, MAX_CHALLENGES);
    let member = Member { join, joined_at: context.index, down: false, commands: Window::default() };
    state.members.insert(node, member);
    Ok(Accepted::Member(node))
}

pub(super) fn remove(state: &mut State, context: Context, node: NodeId, reason: &str) -> Outcome {
    if context.author != context.leader && context.author != node {
        return Err(Refusal::NotYours);
    }
    if reason.len() > MAX_TEXT {
        return Err(Refusal::TooLarge { what: "the reason" });
    }
    if !state.members.contains_key(&node) {
        return Err(Refusal::UnknownMember { node });
    }
    drop_member(state, node);
    Ok(Accepted::Plain)
}

fn drop_member(state: &mut State, node: NodeId) {
    let operator = operator_of(state, node);
    state.members.remove(&node);
    state.no_answers.remove(&node);
    for reports in state.bundle_reports.values_mut() {
        reports.ready.remove(&node);
        reports.refused.remove(&node);
    }
    if state.rotation.due == Some(node) {
        mark_due(state, B256::ZERO, operator);
    }
}

pub(super) fn down(state: &mut State, context: Context, node: NodeId) -> Outcome {
    context.leader_only()?;
    if node == context.leader {
        return Err(Refusal::NotYours);
    }
    let operator = operator_of(state, node);
    let member = state.members.get_mut(&node).ok_or(Refusal::UnknownMember { node })?;
    member.down = true;
    if state.rotation.due == Some(node) {
        mark_due(state, B256::ZERO, operator);
    }
    Ok(Accepted::Plain)
}

pub(super) fn up(state: &mut State, context: Context, node: NodeId) -> Outcome {
    if context.author != context.leader && context.author != node {
        return Err(Refusal::NotYours);
    }
    state.members.get_mut(&node).ok_or(Refusal::UnknownMember { node })?.down = false;
    Ok(Accepted::Plain)
}

pub(super) fn rotate(state: &mut State, context: Context) -> Outcome {
    context.leader_only()?;
    mark_due(state, B256::left_padding_from(&context.index.to_be_bytes()), None);
    Ok(Accepted::Plain)
}

pub(super) fn turn(state: &mut State, context: Context, seed: B256, operator: OperatorId) -> Outcome {
    context.leader_only()?;
    if state.rotation.undecided != Some(seed) {
        return Err(Refusal::InvalidTurn { why: "no move with this seed is undecided" });
    }
    let digest = state.latest_set.ok_or(Refusal::UnknownOperatorSet)?;
    let set = state.sets.get(&digest).ok_or(Refusal::UnknownOperatorSet)?;
    let ring = rotation::ring(state, set, Mode::Leadership);
    let Some(next) = ring.iter().find(|candidate| candidate.operator == operator) else {
        return Err(Refusal::InvalidTurn { why: "the operator is not in the ring" });
    };
    let (node, candidates) = (next.node, ring.iter().map(|candidate| candidate.operator).collect());
    let last = operator_of(state, state.leader);
    state.rotation.choice =
        Some(Choice { candidates, bundle: state.bundle, set_digest: digest, last, seed, chosen: operator });
    state.rotation.undecided = None;
    state.rotation.due = Some(node).filter(|node| *node != state.leader);
    Ok(Accepted::Plain)
}

pub(super) fn replace_settings(
    state: &mut State,
    context: Context,
    settings: Settings,
    revision: u64,
    approvals: &[(NodeId, NodeSignature)],
) -> Result<Outcome, Halt> {
    if let Err(refusal) = settings_approved(state, &settings, revision, approvals) {
        return Ok(Err(refusal));
    }
    known_rules(context, &settings)?;
    if let Some(why) = settings.problem() {
        return Ok(Err(Refusal::InvalidSettings { why }));
    }
    state.settings = Some(settings);
    state.settings_revision = revision;
    Ok(Ok(Accepted::Plain))
}

fn settings_approved(
    state: &State,
    settings: &Settings,
    revision: u64,
    approvals: &[(NodeId, NodeSignature)],
) -> Result<(), Refusal> {
    let (current, cluster) = agreed(state)?;
    if revision != state.settings_revision + 1 {
        return Err(Refusal::InvalidSettings { why: "the revision is not one above the one in force" });
    }
    if settings.registry != current.registry {
        return Err(Refusal::InvalidSettings { why: "the registry cannot change within an epoch" });
    }
    if settings.curve != current.curve {
        return Err(Refusal::InvalidSettings {
            why: "the curve cannot change within an epoch: its keys would be others",
        });
    }
    let bytes = settings_approval(cluster.id, cluster.epoch, revision, settings);
    let valid: BTreeSet<NodeId> = approvals
        .iter()
        .filter(|(node, _)| state.voters.contains(node))
        .filter(|(node, signature)| {
            state.members.get(node).is_some_and(|member| member.key().verifies(&bytes, signature))
        })
        .map(|(node, _)| *node)
        .collect();
    let need = state.voters.len() / 2 + 1;
    if valid.len() < need {
        return Err(Refusal::NotApproved { have: valid.len(), need });
    }
    Ok(())
}

pub(super) fn complain(
    state: &mut State,
    context: Context,
    about: (u64, ComplaintKind, Option<TaskIndex>),
    evidence: String,
) -> Outcome {
    let (term, kind, task) = about;
    if term > context.term {
        return Err(Refusal::InvalidComplaint { why: "it is about a term that has not begun" });
    }
    if evidence.len() > MAX_TEXT {
        return Err(Refusal::TooLarge { what: "the evidence" });
    }
    if task.is_some_and(|task| !state.tasks.contains_key(&task)) {
        return Err(Refusal::InvalidComplaint { why: "it is about a task that is not known" });
    }
    let same = |known: &Complaints| (known.term, known.kind, known.task) == about;
    if !state.complaints.iter().any(same) {
        push_bounded(&mut state.complaints, Complaints { term, kind, task, by: BTreeMap::new() }, MAX_COMPLAINTS);
    }
    let Some(entry) = state.complaints.iter_mut().find(|known| same(known)) else { return Ok(Accepted::Plain) };
    entry.by.insert(context.author, evidence);
    let voters = entry.by.keys().filter(|node| state.voters.contains(node)).count();
    match kind {
        ComplaintKind::Receipt => dispute(state, context, task),
        ComplaintKind::Withholding if term == context.term && voters * 2 > state.voters.len() => {
            let (settings, _) = agreed(state)?;
            if settings.rotation.mode == Mode::Leadership && state.rotation.due.is_none() {
                mark_due(state, B256::ZERO, None);
            }
        }
        _ => {}
    }
    Ok(Accepted::Plain)
}

/// A receipt that more than half the members do not see, in whatever term each of them looked, is disputed. Whoever
/// completes the majority submits again: it answers, and it does not believe in the receipt.
fn dispute(state: &mut State, context: Context, task: Option<TaskIndex>) {
    let about = |known: &&Complaints| known.kind == ComplaintKind::Receipt && known.task == task;
    let by: BTreeSet<&NodeId> = state.complaints.iter().filter(about).flat_map(|known| known.by.keys()).collect();
    let members = by.into_iter().filter(|node| state.members.contains_key(node)).count();
    let Some(index) = task else { return };
    let Some(task) = state.tasks.get_mut(&index) else { return };
    let finalized = matches!(task.phase, Phase::Closed(Ending::Finalized { .. }));
    if finalized && !task.disputed && members * 2 > state.members.len() {
        task.disputed = true;
        task.aggregator = context.author;
        task.assignment_epoch = task.assignment_epoch.saturating_add(1);
        state.unsettled.insert(index);
    }
}
