//! A leader's duties: marks, hand-overs, reassignments, expiries, state digests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_consensus::{HandOverError, Health};
use eigenshift_ledger::command::Command;
use eigenshift_ledger::rotation;
use eigenshift_ledger::settings::{Expiry, Mode, Order, Policy};
use eigenshift_ledger::{Phase, State, Task};
use eigenshift_types::{BlockRef, NodeId, OperatorId, Outcome, TaskIndex};

use crate::callbacks::caught;
use crate::context::{Context, Patience};
use crate::drivers::order;

/// Failed hand-overs to one member before it is marked down.
const TRIES: u32 = 3;

/// What the leader remembers; forgotten with leadership.
struct Duties {
    term: u64,
    /// Monotonic time since which this node leads and the member is one.
    known: BTreeMap<NodeId, Duration>,
    /// Monotonic time at which the leader first saw each live task.
    seen: BTreeMap<TaskIndex, Duration>,
    /// What of each open task is done, and the monotonic time since which that has been all.
    progress: BTreeMap<TaskIndex, (Progress, Duration)>,
    /// Failed hand-overs.
    failed: BTreeMap<NodeId, u32>,
    /// Monotonic time of the last hand-over asked for by an interval.
    rotated: Duration,
    /// Index of the last state digest logged.
    digest: u64,
}

/// Assignment epoch, certificates.
type Progress = (u64, usize);

impl Duties {
    fn new(term: u64, now: Duration) -> Self {
        Self {
            term,
            known: BTreeMap::new(),
            seen: BTreeMap::new(),
            progress: BTreeMap::new(),
            failed: BTreeMap::new(),
            rotated: now,
            digest: 0,
        }
    }
}

pub(crate) async fn run(context: Arc<Context>) {
    let mut changes = context.ledger.changes();
    let mut duties: Option<Duties> = None;
    loop {
        let Some(term) = context.wait_to_lead().await else { return };
        let now = context.env.clock.monotonic();
        // What an earlier leadership knew says nothing about this one.
        let duties = match duties.take().filter(|duties| duties.term == term) {
            Some(known) => duties.insert(known),
            None => duties.insert(Duties::new(term, now)),
        };
        changes.borrow_and_update();
        let mut all = true;
        for command in duties.due(&context, now).await {
            if let Err(error) = context.ledger.propose(&command).await {
                all = false;
                context.counters.count("duty", "refused");
                tracing::debug!(avs = %context.service.avs, ?command, "not logged: {error}");
            }
        }
        decide(&context).await;
        duties.hand_over(&context).await;
        let again = if all { duties.next_look(&context) } else { context.patience.tick };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.env.clock.sleep(again) => {}
            () = context.stop.cancelled() => return,
        }
    }
}

impl Duties {
    /// What a look at the state says is to be logged.
    async fn due(&mut self, context: &Context, now: Duration) -> Vec<Command> {
        let mut commands = self.marks(context, now);
        commands.extend(context.ledger.read(|state| reassignments(state, context.identity.node)));
        commands.extend(self.idle(context, now));
        commands.extend(self.expiries(context, now).await);
        let (policy, checkpoint) = context
            .ledger
            .read(|state| (state.settings.as_ref().map(|settings| settings.rotation.policy), state.checkpoint));
        if let Some(Policy::IntervalMs(ms)) = policy
            && now.saturating_sub(self.rotated) >= Duration::from_millis(ms)
        {
            self.rotated = now;
            commands.push(Command::Rotate);
        }
        if checkpoint.0 > self.digest {
            self.digest = checkpoint.0;
            commands.push(Command::StateDigest { index: checkpoint.0, digest: checkpoint.1 });
        }
        commands
    }

    /// For how long nothing was heard of a member. One that never answered this leader is silent for as long as it could
    /// have.
    fn silence(&self, health: &Health, node: NodeId, now: Duration) -> Duration {
        let known = now.saturating_sub(self.known.get(&node).copied().unwrap_or(now));
        health.members.get(&node).and_then(|peer| peer.silent_for).unwrap_or(known)
    }

    /// How long nothing needs to be looked at, unless the state changes. While something is under way, a tick; else until a
    /// member that falls silent now would have to be marked, or the duty moves on by itself.
    fn next_look(&self, context: &Context) -> Duration {
        let Patience { tick, down_after, .. } = context.patience;
        let now = context.env.clock.monotonic();
        let health = context.group.health();
        context.ledger.read(|state| {
            let under_way = state.rotation.is_moving()
                || state.checkpoint.0 > self.digest
                || state.members.values().any(|member| member.down)
                || state.unsettled_tasks().next().is_some();
            if under_way {
                return tick;
            }
            let others = state.members.keys().filter(|node| **node != context.identity.node);
            let marks = others.map(|node| down_after.saturating_sub(self.silence(&health, *node, now)));
            let rotates = match state.settings.as_ref().map(|settings| settings.rotation.policy) {
                Some(Policy::IntervalMs(ms)) => {
                    Some(Duration::from_millis(ms).saturating_sub(now.saturating_sub(self.rotated)))
                }
                _ => None,
            };
            marks.chain(rotates).min().unwrap_or(down_after).max(tick)
        })
    }

    /// Members that do not answer any more, or again.
    fn marks(&mut self, context: &Context, now: Duration) -> Vec<Command> {
        let health = context.group.health();
        let down_after = context.patience.down_after;
        context.ledger.read(|state| {
            self.known.retain(|node, _| state.members.contains_key(node));
            for node in state.members.keys() {
                self.known.entry(*node).or_insert(now);
            }
            let mark = |(node, member): (&NodeId, &eigenshift_ledger::Member)| {
                if *node == context.identity.node {
                    return member.down.then_some(Command::Up { node: *node });
                }
                if self.silence(&health, *node, now) >= down_after {
                    (!member.down).then_some(Command::Down { node: *node })
                } else {
                    let heard = health.members.get(node).is_some_and(|peer| peer.silent_for.is_some());
                    (member.down && heard).then_some(Command::Up { node: *node })
                }
            };
            state.members.iter().filter_map(mark).collect()
        })
    }

    /// Open tasks on which another member, though it lives, gets nothing done go to the next.
    fn idle(&mut self, context: &Context, now: Duration) -> Vec<Command> {
        let progress = &mut self.progress;
        context.ledger.read(|state| {
            progress.retain(|index, _| state.live_task(*index).is_some());
            let mut late = |task: &&Task| {
                let done = (task.assignment_epoch, task.certificates.len());
                let known = progress.entry(task.spec.index).or_insert((done, now));
                if known.0 != done {
                    *known = (done, now);
                }
                now.saturating_sub(known.1) >= context.patience.idle_after
            };
            let here = context.identity.node;
            let open = state.live_tasks().filter(|task| task.phase == Phase::Open && task.aggregator != here);
            let lives = |task: &&Task| state.members.get(&task.aggregator).is_some_and(|member| !member.down);
            open.filter(lives).filter(|task| late(task)).map(|task| reassignment(state, here, task, true)).collect()
        })
    }

    /// Live tasks whose time has run out.
    async fn expiries(&mut self, context: &Context, now: Duration) -> Vec<Command> {
        let (open, expiry) = context.ledger.read(|state| {
            let open: Vec<(TaskIndex, BlockRef)> = state
                .live_tasks()
                .filter(|task| task.phase == Phase::Open)
                .map(|task| (task.spec.index, task.spec.reference_block))
                .collect();
            (open, state.settings.as_ref().map(|settings| settings.expiry))
        });
        self.seen.retain(|index, _| open.iter().any(|(live, _)| live == index));
        let expired = |task, at| Command::Close { task, outcome: Outcome::Expired, at };
        match expiry {
            Some(Expiry::Ms(ms)) => {
                let life = Duration::from_millis(ms);
                let seen = &mut self.seen;
                let late = |index: &TaskIndex| now.saturating_sub(*seen.entry(*index).or_insert(now)) >= life;
                let mut late = late;
                open.iter().filter(|(index, _)| late(index)).map(|(index, _)| expired(*index, None)).collect()
            }
            Some(Expiry::Blocks(blocks)) if !open.is_empty() => {
                let Ok(head) = context.chain.head().await else { return Vec::new() };
                let late = |reference: &BlockRef| head.block.number >= reference.number.saturating_add(blocks);
                open.iter()
                    .filter(|(_, block)| late(block))
                    .map(|(index, _)| expired(*index, Some(head.block)))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Leadership goes to whoever the ledger says. A member that cannot take it, time and again, is marked down, which
    /// makes the ledger name the next.
    async fn hand_over(&mut self, context: &Context) {
        let due = context.ledger.read(|state| state.rotation.due.filter(|due| *due != context.identity.node));
        let Some(to) = due else { return };
        match context.group.hand_over(to).await {
            Ok(()) => {
                context.counters.count("hand-over", "done");
                self.failed.clear();
            }
            Err(
                HandOverError::InFlight
                | HandOverError::NotLeader
                | HandOverError::Stopped
                | HandOverError::Elsewhere(_),
            ) => {
                context.counters.count("hand-over", "elsewhere");
            }
            Err(error) => {
                context.counters.count("hand-over", "failed");
                tracing::warn!(avs = %context.service.avs, "hand-over: {error}");
                let failed = self.failed.entry(to).or_default();
                *failed += 1;
                if *failed >= TRIES {
                    self.failed.remove(&to);
                    if let Err(error) = context.ledger.propose(&Command::Down { node: to }).await {
                        tracing::debug!(avs = %context.service.avs, "{to} not marked down: {error}");
                    }
                }
            }
        }
    }
}

/// Logs where the AVS's own order sends the duty, when that is undecided. Logic without an order of its own goes round.
async fn decide(context: &Context) {
    let open = context.ledger.read(|state| {
        let seed = state.rotation.undecided?;
        let digest = state.latest_set?;
        let set = state.sets.get(&digest)?;
        let ring = rotation::ring(state, set, Mode::Leadership);
        let leader = state.members.get(&state.leader).and_then(|member| set.by_address(member.operator()));
        let last = leader.map(|record| record.id);
        let fallback = rotation::next(&ring, last, Order::RoundRobin, seed)?.operator;
        let operators: Vec<OperatorId> = ring.iter().map(|candidate| candidate.operator).collect();
        Some((seed, last, fallback, order::candidates(&operators, set)))
    });
    let Some((seed, last, fallback, candidates)) = open else { return };
    let Some(logic) = context.active_logic() else { return };
    let operator = match logic.rotation() {
        None => fallback,
        Some(rotation) => match caught(rotation.next(&candidates, last, seed)).await {
            Ok(at) => candidates.get(at).map_or(fallback, |candidate| candidate.operator_id),
            Err(error) => {
                context.counters.count("rotation", error.code());
                tracing::warn!(avs = %context.service.avs, "the plugin names nobody for the duty: {error}");
                return;
            }
        },
    };
    if let Err(error) = context.ledger.propose(&Command::Turn { seed, operator }).await {
        tracing::debug!(avs = %context.service.avs, "the turn was not logged: {error}");
    }
}

/// Tasks whose aggregator is gone go to the leader, or under assignment to the next in the ring.
fn reassignments(state: &State, leader: NodeId) -> Vec<Command> {
    let gone = |node: &NodeId| state.members.get(node).is_none_or(|member| member.down);
    let orphans = state.unsettled_tasks().filter(|task| gone(&task.aggregator));
    orphans.map(|task| reassignment(state, leader, task, false)).collect()
}

fn reassignment(state: &State, leader: NodeId, task: &Task, idle: bool) -> Command {
    let next = || {
        let set = state.sets.get(&task.spec.set_digest)?;
        let settings = state.settings.as_ref().filter(|settings| settings.rotation.mode == Mode::Assignment)?;
        let ring = rotation::ring(state, set, Mode::Assignment);
        let current = state.members.get(&task.aggregator).and_then(|member| set.by_address(member.operator()));
        let last = current.map(|record| record.id).filter(|_| idle).or(state.rotation.last);
        let order = if idle { Order::RoundRobin } else { settings.rotation.order };
        rotation::next(&ring, last, order, task.spec.reference_block.hash)
    };
    Command::Assign {
        task: task.spec.index,
        aggregator: next().map_or(leader, |candidate| candidate.node),
        assignment_epoch: task.assignment_epoch + 1,
        idle,
    }
}
