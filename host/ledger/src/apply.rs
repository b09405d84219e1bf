//! The rules: who may log what, and when it is accepted.
//!
//! Each entry first updates what the log itself says (index, term, leader, voters). A command then passes, in this
//! order: frame, author, signature, id used once, right to log it, precondition. Only after the last check does anything
//! change.

pub mod bundles;
mod members;
mod tasks;

use eigenshift_types::NodeId;
use eigenshift_types::frame::FrameError;

use crate::command::{Command, SignedCommand};
use crate::machine::{Cache, Entry, Halt, Payload};
use crate::reply::{Accepted, Refusal, Reply};
use crate::rotation;
use crate::settings::{Mode, Order, Settings};
use crate::state::{Cluster, State};
use crate::window::Seen;

type Outcome = Result<Accepted, Refusal>;

/// What a rule may look at besides the state: all of it comes from the entry.
#[derive(Clone, Copy)]
struct Context {
    index: u64,
    term: u64,
    leader: NodeId,
    author: NodeId,
}

impl Context {
    fn leader_only(self) -> Result<(), Refusal> {
        if self.author == self.leader { Ok(()) } else { Err(Refusal::NotLeader) }
    }
}

/// Applies one entry.
///
/// # Errors
/// [`Halt`] when going on would be guessing.
pub fn entry(state: &mut State, cache: &mut Cache, entry: &Entry) -> Result<Reply, Halt> {
    state.applied = entry.index;
    state.term = entry.term;
    if state.leader != entry.leader {
        state.leader = entry.leader;
        leader_changed(state);
    }
    match &entry.payload {
        Payload::Blank => Ok(Reply::NoOp),
        Payload::Voters(voters) => {
            state.voters.clone_from(voters);
            Ok(Reply::NoOp)
        }
        Payload::Command(bytes) => {
            let signed = match SignedCommand::decode(bytes) {
                Ok(signed) => signed,
                Err(FrameError::Version { .. }) => return Err(Halt::UnknownCommand { index: entry.index }),
                Err(_) => return Ok(Refusal::Malformed.into()),
            };
            signed_command(state, cache, entry, &signed)
        }
    }
}

fn signed_command(state: &mut State, cache: &mut Cache, entry: &Entry, signed: &SignedCommand) -> Result<Reply, Halt> {
    let context = Context { index: entry.index, term: entry.term, leader: entry.leader, author: signed.author };
    let Some(cluster) = &state.cluster else {
        return match signed.command() {
            Ok(Command::Bootstrap(bootstrap)) => members::bootstrap(state, context, signed, &bootstrap).map(to_reply),
            _ => Ok(Refusal::Bootstrapped.into()),
        };
    };
    let (id, epoch) = (cluster.id, cluster.epoch);
    let Some(author) = state.members.get_mut(&signed.author) else {
        return Ok(Refusal::UnknownAuthor { author: signed.author }.into());
    };
    if !signed.is_signed_by(author.key(), id, epoch) {
        return Ok(Refusal::BadSignature.into());
    }
    // A member signed it: if it cannot be read, the member runs a newer version.
    let Ok(command) = signed.command() else { return Err(Halt::UnknownCommand { index: entry.index }) };
    match author.commands.take(signed.id) {
        Seen::New => {}
        Seen::Before => return Ok(Reply::NoOp),
        Seen::TooOld => return Ok(Refusal::StaleId { id: signed.id }.into()),
    }
    if let Command::StateDigest { index, digest } = command {
        return state_digest(state, context, index, digest);
    }
    if let Command::ClusterSettings { settings, revision, approvals } = command {
        return members::replace_settings(state, context, *settings, revision, &approvals).map(to_reply);
    }
    Ok(command_reply(state, cache, context, command))
}

fn command_reply(state: &mut State, cache: &mut Cache, context: Context, command: Command) -> Reply {
    let outcome = match command {
        // The other two were taken care of: they can halt.
        Command::Bootstrap(_) | Command::StateDigest { .. } | Command::ClusterSettings { .. } => {
            Err(Refusal::Bootstrapped)
        }
        Command::AddOperator { join } => members::add(state, context, *join),
        Command::RemoveOperator { node, reason } => members::remove(state, context, node, &reason),
        Command::Down { node } => members::down(state, context, node),
        Command::Up { node } => members::up(state, context, node),
        Command::Rotate => members::rotate(state, context),
        Command::Turn { seed, operator } => members::turn(state, context, seed, operator),
        Command::Complaint { term, kind, task, evidence } => {
            members::complain(state, context, (term, kind, task), evidence)
        }
        Command::OperatorSet(set) => return tasks::operator_set(state, cache, context, *set),
        Command::PlanTask(plan) => tasks::plan(state, context, *plan),
        Command::ClosePlan { trigger } => tasks::close_plan(state, context, &trigger),
        Command::CreateTask(create) => tasks::create(state, context, *create),
        Command::Assign { task, aggregator, assignment_epoch, idle } => {
            tasks::assign(state, context, task, aggregator, (assignment_epoch, idle))
        }
        Command::Certificate { assignment_epoch, certificate } => {
            return tasks::certify(state, cache, context, assignment_epoch, *certificate);
        }
        Command::Intent(intent) => tasks::intent(state, context, intent),
        Command::Close { task, outcome, at } => tasks::close(state, context, task, outcome, at),
        Command::BundleReady { digest } => bundles::report(state, context, digest, None),
        Command::BundleRefused { digest, why } => bundles::report(state, context, digest, Some(why)),
        Command::ProposeBundle(bundle) => bundles::propose(state, context, *bundle),
        Command::Activate { digest, set_digest } => bundles::activate(state, context, digest, set_digest),
        Command::NoAnswer { task, reason } => bundles::no_answer(state, context, task, &reason),
        Command::Disagreement { task, key, digest } => bundles::disagreement(state, context, (task, key), digest),
    };
    to_reply(outcome)
}

fn to_reply(outcome: Outcome) -> Reply {
    match outcome {
        Ok(accepted) => Reply::Accepted(accepted),
        Err(refusal) => refusal.into(),
    }
}

fn state_digest(state: &State, context: Context, index: u64, digest: alloy_primitives::B256) -> Result<Reply, Halt> {
    if let Err(refusal) = context.leader_only() {
        return Ok(refusal.into());
    }
    let (ours_at, ours) = state.checkpoint;
    // An older or newer point cannot be compared any more, or yet.
    if ours_at == index && ours != digest {
        return Err(Halt::Diverged { index, ours, theirs: digest });
    }
    Ok(Reply::NoOp)
}

/// The settings and the cluster: present after the bootstrap, before which no other rule is reached.
fn agreed(state: &State) -> Result<(&Settings, &Cluster), Refusal> {
    state.settings.as_ref().zip(state.cluster.as_ref()).ok_or(Refusal::Bootstrapped)
}

/// Leadership moved, by hand-over or by election: whatever hand-over was due is over.
fn leader_changed(state: &mut State) {
    let leadership = state.settings.as_ref().is_some_and(|settings| settings.rotation.mode == Mode::Leadership);
    if !leadership {
        return;
    }
    state.rotation.due = None;
    state.rotation.undecided = None;
    state.rotation.tasks = 0;
    if let Some(operator) = operator_of(state, state.leader) {
        state.rotation.last = Some(operator);
    }
}

/// A member's operator id, as the latest operator set has it.
fn operator_of(state: &State, node: NodeId) -> Option<eigenshift_types::OperatorId> {
    let set = state.sets.get(&state.latest_set?)?;
    Some(set.by_address(state.members.get(&node)?.operator())?.id)
}

/// Makes the duty move: to the next in the ring of the latest operator set after whoever has it (or after `after`).
fn mark_due(state: &mut State, seed: alloy_primitives::B256, after: Option<eigenshift_types::OperatorId>) {
    let Some(settings) = &state.settings else { return };
    let policy = settings.rotation;
    if policy.mode == Mode::Assignment {
        state.rotation.advance = true;
        return;
    }
    if policy.order == Order::Plugin {
        state.rotation.due = None;
        state.rotation.undecided = Some(seed);
        return;
    }
    let Some(set) = state.latest_set.and_then(|digest| state.sets.get(&digest)) else { return };
    let ring = rotation::ring(state, set, Mode::Leadership);
    let last = after.or_else(|| operator_of(state, state.leader));
    let next = rotation::next(&ring, last, policy.order, seed);
    state.rotation.due = next.map(|next| next.node).filter(|node| *node != state.leader);
}
