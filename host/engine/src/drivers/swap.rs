//! Swaps bundles: at every member, and the leader logs the activations.
//!
//! What is wanted follows from the ledger alone: the active bundle, those of tasks that have not ended, the proposed ones,
//! and the newest former ones, so that going back needs no compiling. What is missing is fetched from a member, loaded
//! and reported on; what is no longer wanted goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use eigenshift_consensus::AskRefusal;
use eigenshift_ledger::apply::bundles::{self, MAX_COMPONENT_BYTES, MAX_MANIFEST_BYTES};
use eigenshift_ledger::{Command, State};
use eigenshift_types::{B256, Bytes, NodeId};
use serde::{Deserialize, Serialize};

use crate::avs::{ASK_BUNDLE, refusal};
use crate::context::{Backoff, Context};
use crate::logics::{Bundles, LoadFailure, PART_BYTES};

/// Former bundles that stay loaded.
const KEPT_LOADED: usize = 3;

/// What this node knows beside the ledger.
struct Local {
    node: NodeId,
    leads: bool,
    loaded: BTreeSet<B256>,
    /// For good.
    refused: BTreeMap<B256, String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Load(B256),
    Drop(B256),
    Report(B256, Option<String>),
    Activate(B256, B256),
}

/// Bundles that must be loaded, the most urgent first.
fn wanted(state: &State) -> Vec<B256> {
    let mut proposed: Vec<_> = state.proposals.iter().collect();
    proposed.sort_by_key(|(_, proposal)| proposal.proposed_at);
    let former = state.former_bundles.iter().rev().take(KEPT_LOADED);
    let mut wanted = Vec::new();
    let all = std::iter::once(&state.bundle)
        .chain(state.unsettled_tasks().map(|task| &task.spec.bundle_digest))
        .chain(proposed.into_iter().map(|(digest, _)| digest))
        .chain(former);
    for digest in all {
        // Zero before the ledger begins.
        if *digest != B256::ZERO && !wanted.contains(digest) {
            wanted.push(*digest);
        }
    }
    wanted
}

/// All that the state refers to: their bytes are kept.
fn referred_to(state: &State) -> Vec<B256> {
    let tasks = state.tasks.values().map(|task| task.spec.bundle_digest);
    let all = wanted(state).into_iter().chain(state.former_bundles.iter().copied()).chain(tasks);
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

fn next(state: &State, local: &Local) -> Vec<Action> {
    let wanted = wanted(state);
    let missing = |digest: &&B256| !local.loaded.contains(*digest) && !local.refused.contains_key(*digest);
    let mut actions: Vec<Action> = wanted.iter().filter(missing).map(|digest| Action::Load(*digest)).collect();
    for digest in state.proposals.keys() {
        let reports = state.bundle_reports.get(digest);
        let reported = |reports: &eigenshift_ledger::state::BundleReports| {
            reports.ready.contains(&local.node) || reports.refused.contains_key(&local.node)
        };
        if reports.is_some_and(reported) || !state.members.contains_key(&local.node) {
            continue;
        }
        if let Some(why) = local.refused.get(digest) {
            actions.push(Action::Report(*digest, Some(why.clone())));
        } else if local.loaded.contains(digest) {
            actions.push(Action::Report(*digest, None));
        }
    }
    if local.leads
        && let Some(set) = state.latest_set
    {
        let mut proposed: Vec<_> = state.proposals.iter().collect();
        proposed.sort_by_key(|(_, proposal)| proposal.proposed_at);
        let ready =
            proposed.into_iter().map(|(digest, _)| *digest).find(|digest| bundles::is_ready(state, *digest, set));
        let back = || state.former_bundles.back().copied().filter(|_| bundles::active_fails(state, set));
        // What was proposed since may be what mends it.
        actions.extend(ready.or_else(back).map(|digest| Action::Activate(digest, set)));
    }
    let unwanted = local.loaded.iter().filter(|digest| !wanted.contains(digest));
    actions.extend(unwanted.map(|digest| Action::Drop(*digest)));
    actions
}

/// Does what is to be done, until the AVS stops. Native logic has nothing to swap.
pub(crate) async fn run(context: Arc<Context>) {
    let Some(bundles) = context.bundles.clone() else { return };
    let mut changes = context.ledger.changes();
    let mut refused = BTreeMap::new();
    let mut backoff = Backoff::new(&context.patience);
    // An old state refers to other bundles than the newest: nothing is thrown away before it is known.
    let mut caught_up = false;
    loop {
        caught_up = caught_up || context.catch_up().await;
        changes.borrow_and_update();
        let done = tokio::select! {
            done = step(&context, bundles.as_ref(), &mut refused) => done,
            () = context.stop.cancelled() => return,
        };
        if caught_up && done {
            bundles.retain(&context.ledger.read(referred_to)).await;
        }
        if done {
            backoff = Backoff::new(&context.patience);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.env.clock.sleep(backoff.next()), if !done => {}
            () = context.stop.cancelled() => return,
        }
    }
}

/// Whether all is done that can be done now.
async fn step(context: &Arc<Context>, bundles: &dyn Bundles, refused: &mut BTreeMap<B256, String>) -> bool {
    let local = Local {
        node: context.identity.node,
        leads: context.leads(),
        loaded: context.logics.digests().into_iter().collect(),
        refused: refused.clone(),
    };
    let actions = context.ledger.read(|state| {
        refused.retain(|digest, _| state.proposals.contains_key(digest));
        next(state, &local)
    });
    let mut done = true;
    for action in actions {
        done &= match action {
            Action::Load(digest) => load(context, bundles, digest, refused).await,
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
        };
    }
    done
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

/// Longest reason that the ledger takes, in characters of up to four bytes.
const MAX_WHY: usize = 256;

async fn load(
    context: &Arc<Context>,
    bundles: &dyn Bundles,
    digest: B256,
    refused: &mut BTreeMap<B256, String>,
) -> bool {
    let loaded = async {
        if !bundles.has(digest).await {
            bundles.keep(digest, fetch(context, digest).await?).await?;
        }
        bundles.load(digest).await
    };
    match loaded.await {
        Ok(logic) => {
            context.counters.count("bundle-load", "loaded");
            tracing::info!(avs = %context.service.avs, bundle = %digest, "bundle loaded");
            context.logics.insert(logic);
            // Tasks that waited for it, and the report, are looked at again.
            context.ledger.nudge();
            true
        }
        Err(LoadFailure::NotNow(why)) => {
            context.counters.count("bundle-load", "retried");
            tracing::warn!(avs = %context.service.avs, bundle = %digest, "bundle not loaded yet: {why}");
            false
        }
        Err(LoadFailure::Refused(why)) => {
            context.counters.count("bundle-load", "refused");
            tracing::error!(avs = %context.service.avs, bundle = %digest, "bundle refused: {why}");
            refused.insert(digest, why.chars().take(MAX_WHY).collect());
            context.ledger.nudge();
            true
        }
    }
}

#[derive(Serialize, Deserialize)]
struct PartRequest {
    digest: B256,
    offset: u64,
}

/// Whole length, big-endian, before the part.
const LENGTH: usize = 8;

/// Answers another member's question for a part of a bundle.
pub(crate) async fn serve(context: &Context, body: &[u8]) -> Result<bytes::Bytes, AskRefusal> {
    let PartRequest { digest, offset } = serde_json::from_slice(body).map_err(|error| refusal("malformed", error))?;
    let bundles = context.bundles.as_ref().ok_or_else(|| refusal("no-bundles", "this AVS has native logic"))?;
    let part = bundles.part(digest, offset).await;
    let (length, part) = part.ok_or_else(|| refusal("unknown-bundle", "this node does not have the bundle"))?;
    let mut answer = BytesMut::with_capacity(LENGTH + part.len());
    answer.put_u64(length);
    answer.put_slice(&part);
    Ok(answer.freeze())
}

/// Fetches a bundle's bytes from whoever proposed it, or else from any member that has it.
async fn fetch(context: &Context, digest: B256) -> Result<Bytes, LoadFailure> {
    let (proposer, others) = context.ledger.read(|state| {
        let proposer = state.proposals.get(&digest).map(|proposal| proposal.by);
        (proposer, state.members.keys().copied().collect::<Vec<_>>())
    });
    let others = others.into_iter().filter(|node| *node != context.identity.node && Some(*node) != proposer);
    let own = context.identity.node;
    let mut why = "no other member has it".to_owned();
    for node in proposer.into_iter().filter(|node| *node != own).chain(others) {
        match fetch_from(context, node, digest).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => {
                context.counters.count("bundle-fetch", "failed");
                why = format!("node {node}: {error}");
            }
        }
    }
    Err(LoadFailure::NotNow(why))
}

async fn fetch_from(context: &Context, node: NodeId, digest: B256) -> Result<Bytes, String> {
    let most = u64::from(MAX_COMPONENT_BYTES) + u64::from(MAX_MANIFEST_BYTES) + LENGTH as u64;
    let mut bytes = BytesMut::new();
    loop {
        let request = PartRequest { digest, offset: bytes.len() as u64 };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let answer = context.group.ask(node, ASK_BUNDLE, request.into(), context.patience.request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let (length, part) = answer.split_first_chunk::<LENGTH>().ok_or("an answer without a length")?;
        let length = u64::from_be_bytes(*length);
        let whole = bytes.len() as u64 + part.len() as u64;
        if length > most || part.len() > PART_BYTES || part.is_empty() || whole > length {
            return Err("an answer that is no part of a bundle".to_owned());
        }
        bytes.put_slice(part);
        if whole == length {
            return Ok(bytes.freeze().into());
        }
    }
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
        Proposal { proposed_at: at, by: NodeId(2), component_bytes: 1, manifest_bytes: 1 }
    }

    fn local(loaded: &[B256]) -> Local {
        Local { node: ME, leads: false, loaded: loaded.iter().copied().collect(), refused: BTreeMap::new() }
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
        assert_eq!(referred_to(&state).len(), 8, "their bytes are kept longer");
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
}
