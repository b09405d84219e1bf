//! Swaps bundles: at every member, and the leader logs the activations.
//!
//! What is wanted follows from the ledger alone: the active bundle, those of tasks that have not ended, the proposed ones,
//! and the newest former ones, so that going back needs no compiling. What is missing is fetched from a member, loaded
//! and reported on; what is no longer wanted goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eigenshift_ledger::apply::bundles;
use eigenshift_ledger::command::Shadow;
use eigenshift_ledger::state::BundleReports;
use eigenshift_ledger::{Command, State};
use eigenshift_types::{B256, NodeId};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use crate::callbacks::Callbacks;
use crate::context::{Backoff, Context};
use crate::drivers::shadow::Verdict;
use crate::logics::{Bundles, LoadFailure};
use collect::{Collector, References};
pub(crate) use fetch::serve;

mod collect;
mod fetch;

/// Former bundles that stay loaded.
const KEPT_LOADED: usize = 3;

/// What this node knows beside the ledger.
struct Local {
    node: NodeId,
    leads: bool,
    loaded: BTreeSet<B256>,
    /// Being fetched and loaded.
    loading: BTreeSet<B256>,
    /// For good.
    refused: BTreeMap<B256, String>,
    /// Proposed, and this operator has not said yes.
    unapproved: BTreeSet<B256>,
    /// Running beside the active bundle.
    shadowing: BTreeSet<B256>,
    /// What came of it.
    verdicts: BTreeMap<B256, Verdict>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Load(B256),
    /// Run it beside the active bundle.
    Shadow(B256, Shadow),
    Drop(B256),
    Report(B256, Option<String>),
    Activate(B256, B256),
    /// Another member has what new tasks run, and this leader does not.
    HandOver(NodeId),
    /// No task has named an operator set yet, and without one no stake counts.
    LogSet,
}

/// Bundles that must be loaded, the most urgent first.
fn wanted(state: &State) -> Vec<B256> {
    let former = state.former_bundles.iter().rev().take(KEPT_LOADED);
    let mut wanted = Vec::new();
    let all = std::iter::once(state.bundle)
        .chain(state.unsettled_tasks().map(|task| task.spec.bundle_digest))
        .chain(proposed(state))
        .chain(former.copied());
    for digest in all {
        // Zero before the ledger begins.
        if digest != B256::ZERO && !wanted.contains(&digest) {
            wanted.push(digest);
        }
    }
    wanted
}

/// The oldest first.
fn proposed(state: &State) -> Vec<B256> {
    let mut proposed: Vec<_> =
        state.proposals.iter().map(|(digest, proposal)| (proposal.proposed_at, *digest)).collect();
    proposed.sort_unstable();
    proposed.into_iter().map(|(_, digest)| digest).collect()
}

fn next(state: &State, local: &Local) -> Vec<Action> {
    let wanted = wanted(state);
    let here = |digest: &B256| {
        local.loaded.contains(digest) || local.loading.contains(digest) || local.refused.contains_key(digest)
    };
    let mut actions: Vec<Action> =
        wanted.iter().filter(|digest| !here(digest)).map(|digest| Action::Load(*digest)).collect();
    // Whoever came too late for the active one still says whether it has it: others choose leaders by it.
    let active = state.bundle_reports.contains_key(&state.bundle).then_some((&state.bundle, None));
    let proposed = state.proposals.iter().map(|(digest, proposal)| (digest, proposal.shadow));
    for (digest, shadow) in proposed.chain(active) {
        let reported =
            |reports: &BundleReports| reports.ready.contains(&local.node) || reports.refused.contains_key(&local.node);
        if state.bundle_reports.get(digest).is_some_and(reported) || !state.members.contains_key(&local.node) {
            continue;
        }
        if let Some(why) = local.refused.get(digest) {
            actions.push(Action::Report(*digest, Some(why.clone())));
            continue;
        }
        if !local.loaded.contains(digest) {
            continue;
        }
        match (shadow, local.verdicts.get(digest)) {
            (Some(shadow), None) if !local.shadowing.contains(digest) => actions.push(Action::Shadow(*digest, shadow)),
            (Some(_), None) => {}
            (Some(_), Some(Verdict::Failed(why))) => actions.push(Action::Report(*digest, Some(why.clone()))),
            (None, _) | (Some(_), Some(Verdict::Passed)) if local.unapproved.contains(digest) => {}
            (None, _) | (Some(_), Some(Verdict::Passed)) => actions.push(Action::Report(*digest, None)),
        }
    }
    actions.extend(duty(state, local));
    let unwanted = local.loaded.iter().filter(|digest| !wanted.contains(digest));
    actions.extend(unwanted.map(|digest| Action::Drop(*digest)));
    actions
}

/// What a leader does about the active bundle. One that does not have it makes no tasks, so it does not lead for long.
fn duty(state: &State, local: &Local) -> Option<Action> {
    if !local.leads {
        return None;
    }
    let Some(set) = state.latest_set else { return (!state.proposals.is_empty()).then_some(Action::LogSet) };
    let ready = proposed(state).into_iter().find(|digest| bundles::is_ready(state, *digest, set));
    let back = || state.former_bundles.back().copied().filter(|_| bundles::active_fails(state, set));
    // It had that one before and has it again in a moment; meanwhile the active one goes on.
    let returns = |digest: &B256| {
        let had = state.bundle_reports.get(digest).is_some_and(|reports| reports.ready.contains(&local.node));
        had && !local.loaded.contains(digest) && !local.refused.contains_key(digest)
    };
    if ready.as_ref().is_some_and(returns) {
        return None;
    }
    // What was proposed since may be what mends it.
    match ready.or_else(back) {
        Some(digest) if local.loaded.contains(&digest) => Some(Action::Activate(digest, set)),
        Some(digest) => holder(state, local, digest).map(Action::HandOver),
        None if local.loaded.contains(&state.bundle) => None,
        None => holder(state, local, state.bundle).map(Action::HandOver),
    }
}

/// A voter that said that it has a bundle.
fn holder(state: &State, local: &Local, digest: B256) -> Option<NodeId> {
    let ready = &state.bundle_reports.get(&digest)?.ready;
    let lives = |node: &&NodeId| state.members.get(node).is_some_and(|member| !member.down);
    ready.iter().filter(|node| **node != local.node && state.voters.contains(node)).find(lives).copied()
}

/// Bundles that are being fetched and loaded, one at a time.
struct Loads {
    running: FuturesUnordered<BoxFuture<'static, (B256, Loaded)>>,
    digests: BTreeSet<B256>,
    turn: Arc<Semaphore>,
}

/// Logic, or why there will be none; nothing when it is not wanted any more.
type Loaded = Option<Result<Arc<dyn Callbacks>, String>>;

impl Loads {
    fn new() -> Self {
        Self { running: FuturesUnordered::new(), digests: BTreeSet::new(), turn: Arc::new(Semaphore::new(1)) }
    }

    fn start(&mut self, context: &Arc<Context>, bundles: &Arc<dyn Bundles>, digest: B256) {
        let (context, bundles, turn) = (Arc::clone(context), Arc::clone(bundles), Arc::clone(&self.turn));
        self.digests.insert(digest);
        let loading = context.env.clone().spawn(async move {
            tokio::select! {
                loaded = load(&context, bundles.as_ref(), &turn, digest) => loaded,
                () = context.stop.cancelled() => None,
            }
        });
        // One that panicked is begun anew.
        self.running.push(Box::pin(async move { (digest, loading.await.unwrap_or_default()) }));
    }
}

/// What the driver remembers.
struct Swapper {
    context: Arc<Context>,
    bundles: Arc<dyn Bundles>,
    loads: Loads,
    refused: BTreeMap<B256, String>,
    collector: Collector,
    /// What there was to collect by when that was last looked at.
    collected: Option<Collected>,
}

/// Activations, proposals, and up to where the log was cut off: it is they that make bundles unneeded.
type Collected = (u64, Vec<B256>, Option<u64>);

/// Does what is to be done, until the AVS stops. Native logic has nothing to swap.
pub(crate) async fn run(context: Arc<Context>) {
    let Some(bundles) = context.bundles.clone() else { return };
    let mut swapper = Swapper {
        context: Arc::clone(&context),
        bundles,
        loads: Loads::new(),
        refused: BTreeMap::new(),
        collector: Collector::default(),
        collected: None,
    };
    let mut changes = context.ledger.changes();
    // A new leader is confirmed after its first entry.
    let mut leadership = context.group.leadership();
    let mut backoff = Backoff::new(&context.patience);
    // An old state refers to other bundles than the newest: nothing is thrown away before it is known.
    let mut caught_up = false;
    loop {
        caught_up = caught_up || context.catch_up().await;
        changes.borrow_and_update();
        leadership.borrow_and_update();
        let done = tokio::select! {
            done = swapper.step() => done,
            () = context.stop.cancelled() => return,
        };
        if caught_up {
            swapper.collect().await;
        }
        if done {
            backoff = Backoff::new(&context.patience);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
            Some((digest, loaded)) = swapper.loads.running.next() => swapper.loaded(digest, loaded),
            () = context.env.clock.sleep(backoff.next()), if !done => {}
            () = context.stop.cancelled() => return,
        }
    }
}

impl Swapper {
    /// Whether all is done that can be done now.
    async fn step(&mut self) -> bool {
        let context = &self.context;
        let local = Local {
            node: context.identity.node,
            leads: context.leads(),
            loaded: context.logics.digests().into_iter().collect(),
            loading: self.loads.digests.clone(),
            refused: self.refused.clone(),
            unapproved: unapproved(context, self.bundles.as_ref()).into_iter().collect(),
            shadowing: context.shadows.digests(),
            verdicts: context.shadows.verdicts(),
        };
        context.shadows.retain(&context.ledger.read(proposed));
        let refused = &mut self.refused;
        let actions = context.ledger.read(|state| {
            let wanted = wanted(state);
            refused.retain(|digest, _| wanted.contains(digest));
            next(state, &local)
        });
        let mut done = true;
        for action in actions {
            done &= match action {
                Action::Load(digest) => {
                    self.loads.start(context, &self.bundles, digest);
                    true
                }
                Action::Shadow(digest, terms) => shadow(context, self.bundles.as_ref(), digest, terms).await,
                Action::Drop(digest) => {
                    context.logics.remove(digest);
                    tracing::info!(avs = %context.service.avs, bundle = %digest, "bundle dropped: no open task runs it");
                    true
                }
                Action::Report(digest, None) => log(context, Command::BundleReady { digest }, "bundle-ready").await,
                Action::Report(digest, Some(why)) => {
                    log(context, Command::BundleRefused { digest, why }, "bundle-refused").await
                }
                Action::Activate(digest, set_digest) => {
                    tracing::info!(avs = %context.service.avs, bundle = %digest, "activating the bundle");
                    log(context, Command::Activate { digest, set_digest }, "bundle-activation").await
                }
                Action::HandOver(node) => hand_over(context, node).await,
                Action::LogSet => log_set(context).await,
            };
        }
        done
    }

    fn loaded(&mut self, digest: B256, loaded: Loaded) {
        self.loads.digests.remove(&digest);
        match loaded {
            Some(Ok(logic)) => {
                self.context.logics.insert(logic);
                // Tasks that waited for it are looked at again.
                self.context.ledger.nudge();
            }
            Some(Err(why)) => drop(self.refused.insert(digest, why)),
            None => {}
        }
    }

    /// Removes from disk what nothing refers to any more. A disk that fails is tried again when there is more to do.
    async fn collect(&mut self) {
        let purged = self.context.group.health().purged;
        let due = self.context.ledger.read(|state| {
            let now = (state.activations, proposed(state), purged);
            (self.collected.as_ref() != Some(&now)).then(|| (now, References::of(state)))
        });
        let Some((now, references)) = due else { return };
        let removing = async {
            let on_disk = self.bundles.kept().await?;
            for digest in self.collector.due(&on_disk, &references, purged) {
                self.bundles.remove(digest).await?;
                tracing::info!(avs = %self.context.service.avs, bundle = %digest, "bundle removed: nothing refers to it");
            }
            Ok::<(), LoadFailure>(())
        };
        match removing.await {
            Ok(()) => self.collected = Some(now),
            Err(error) => {
                self.context.counters.count("bundle-collection", "failed");
                tracing::warn!(avs = %self.context.service.avs, "old bundles were not removed: {error}");
            }
        }
    }
}

/// Has a bundle that is loaded run beside the active one too.
async fn shadow(context: &Context, bundles: &dyn Bundles, digest: B256, terms: Shadow) -> bool {
    match bundles.load_shadow(digest).await {
        Ok(logic) => {
            tracing::info!(avs = %context.service.avs, bundle = %digest, tasks = terms.tasks, "running in the shadow");
            context.shadows.start(digest, logic, terms);
            true
        }
        Err(why) => {
            context.counters.count("shadow", "not-loaded");
            tracing::warn!(avs = %context.service.avs, bundle = %digest, "not run in the shadow yet: {why}");
            false
        }
    }
}

/// What is proposed and waits for this operator's word.
pub(crate) fn unapproved(context: &Context, bundles: &dyn Bundles) -> Vec<B256> {
    context.ledger.read(proposed).into_iter().filter(|digest| !bundles.is_approved(*digest)).collect()
}

async fn log(context: &Context, command: Command, what: &'static str) -> bool {
    match context.ledger.propose(&command).await {
        Ok(_) => {
            context.counters.count(what, "logged");
            true
        }
        Err(error) => {
            context.counters.count(what, "not-logged");
            tracing::debug!(avs = %context.service.avs, what, "not logged: {error}");
            false
        }
    }
}

/// Logs the operator set at the head.
async fn log_set(context: &Context) -> bool {
    let Some(settings) = context.ledger.read(|state| state.settings.clone()) else { return false };
    let set = async {
        let head = context.chain.head().await?.block;
        context.sets.at(settings.registry, settings.curve, &settings.quorums.numbers, head).await
    };
    match set.await {
        Ok(set) => log(context, Command::OperatorSet(Box::new(set.as_ref().clone())), "operator-set").await,
        Err(error) => {
            context.counters.count("operator-set", "not-read");
            tracing::debug!(avs = %context.service.avs, "no operator set yet: {error}");
            false
        }
    }
}

async fn hand_over(context: &Context, to: NodeId) -> bool {
    match context.group.hand_over(to).await {
        Ok(()) => {
            context.counters.count("bundle-hand-over", "done");
            true
        }
        Err(error) => {
            context.counters.count("bundle-hand-over", "failed");
            tracing::debug!(avs = %context.service.avs, "leadership stays without the active bundle: {error}");
            false
        }
    }
}

/// Longest reason that the ledger takes, in characters of up to four bytes.
const MAX_WHY: usize = 256;

/// Tries until the bundle is loaded or refused, or is not wanted any more.
async fn load(context: &Context, bundles: &dyn Bundles, turn: &Semaphore, digest: B256) -> Loaded {
    let mut backoff = Backoff::new(&context.patience);
    while context.ledger.read(|state| wanted(state).contains(&digest)) {
        let loaded = async {
            let _turn = turn.acquire().await.map_err(|closed| LoadFailure::NotNow(closed.to_string()))?;
            if !bundles.has(digest).await {
                bundles.keep(digest, fetch::fetch(context, digest).await?).await?;
            }
            bundles.load(digest).await
        };
        match loaded.await {
            Ok(logic) => {
                context.counters.count("bundle-load", "loaded");
                tracing::info!(avs = %context.service.avs, bundle = %digest, "bundle loaded");
                return Some(Ok(logic));
            }
            Err(LoadFailure::NotNow(why)) => {
                context.counters.count("bundle-load", "retried");
                tracing::warn!(avs = %context.service.avs, bundle = %digest, "bundle not loaded yet: {why}");
                context.env.clock.sleep(backoff.next()).await;
            }
            Err(LoadFailure::Refused(why)) => {
                context.counters.count("bundle-load", "refused");
                tracing::error!(avs = %context.service.avs, bundle = %digest, "bundle refused: {why}");
                return Some(Err(why.chars().take(MAX_WHY).collect()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use eigenshift_ledger::state::{BundleReports, Proposal};

    use super::*;

    const OLD: B256 = B256::repeat_byte(1);
    const NEW: B256 = B256::repeat_byte(2);
    const ME: NodeId = NodeId(1);

    fn proposed(at: u64) -> Proposal {
        Proposal { proposed_at: at, by: NodeId(2), component_bytes: 1, manifest_bytes: 1, shadow: None }
    }

    fn local(loaded: &[B256]) -> Local {
        Local {
            node: ME,
            leads: false,
            loaded: loaded.iter().copied().collect(),
            loading: BTreeSet::new(),
            refused: BTreeMap::new(),
            unapproved: BTreeSet::new(),
            shadowing: BTreeSet::new(),
            verdicts: BTreeMap::new(),
        }
    }

    #[test]
    fn before_the_ledger_begins_nothing_is_wanted_but_nothing_is_dropped_for_it_either() {
        assert_eq!(next(&State::default(), &local(&[])), []);
    }

    #[test]
    fn what_is_wanted_is_loaded_in_order_of_urgency_and_what_is_not_is_dropped() {
        let mut state = State { bundle: OLD, ..State::default() };
        state.proposals.insert(NEW, proposed(9));
        let older = B256::repeat_byte(3);
        state.proposals.insert(older, proposed(5));
        for former in 10..15 {
            state.former_bundles.push_back(B256::repeat_byte(former));
        }
        let stray = B256::repeat_byte(99);
        let loads = [OLD, older, NEW, B256::repeat_byte(14), B256::repeat_byte(13), B256::repeat_byte(12)];
        let mut expected: Vec<Action> = loads.into_iter().map(Action::Load).collect();
        expected.push(Action::Drop(stray));
        assert_eq!(next(&state, &local(&[stray])), expected);
        assert_eq!(
            References::of(&state).run.len() + References::of(&state).proposed.len(),
            8,
            "their bytes are kept longer"
        );
    }

    #[test]
    fn a_member_reports_once_on_what_is_proposed_and_never_on_what_failed_for_now() {
        let mut sim = State { bundle: OLD, ..State::default() };
        sim.proposals.insert(NEW, proposed(1));
        let loaded = local(&[OLD, NEW]);
        assert_eq!(next(&sim, &loaded), [], "not a member yet");
        // Membership needs a join message, which the node's tests have; here the reports alone.
        let mut reports = BundleReports::default();
        reports.ready.insert(ME);
        sim.bundle_reports.insert(NEW, reports);
        assert_eq!(next(&sim, &loaded), []);
    }

    #[test]
    fn a_leader_logs_an_operator_set_when_none_is_known_for_a_proposal_to_count_under() {
        let mut state = State { bundle: OLD, ..State::default() };
        let leading = Local { leads: true, ..local(&[OLD, NEW]) };
        assert_eq!(next(&state, &leading), [Action::Drop(NEW)]);
        state.proposals.insert(NEW, proposed(1));
        assert_eq!(next(&state, &leading), [Action::LogSet]);
        assert_eq!(next(&state, &local(&[OLD, NEW])), [], "a follower waits");
    }
}
