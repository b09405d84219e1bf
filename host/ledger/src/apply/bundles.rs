//! Bundles: who proposed which, who has them loaded, and which one runs.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Signature};
use eigenshift_types::{NodeId, OperatorSet, Outcome as Ending, ResponseKey, TaskIndex};

use super::{Context, Outcome, agreed};
use crate::Settings;
use crate::command::{ProposeBundle, activation_hash, shadow_hash};
use crate::reply::{Accepted, Refusal};
use crate::state::{Phase, Proposal, State, Trial, push_bounded};

const MAX_PROPOSALS: usize = 8;
const MAX_FORMER: usize = 16;
const MAX_WHY: usize = 1024;
const MAX_UNCERTIFIED: usize = 1024;
const MAX_SHADOW: u32 = 10_000;

/// Largest component and manifest of a bundle that can be proposed, bytes: every member fetches and keeps them.
pub const MAX_COMPONENT_BYTES: u32 = 64 << 20;
/// See [`MAX_COMPONENT_BYTES`].
pub const MAX_MANIFEST_BYTES: u32 = 256 << 10;

/// Percentage points by which the ready stake must exceed a quorum's threshold.
const MARGIN: u8 = 10;

fn invalid(why: &'static str) -> Refusal {
    Refusal::InvalidBundle { why }
}

pub(super) fn propose(state: &mut State, context: Context, bundle: ProposeBundle) -> Outcome {
    let (settings, cluster) = agreed(state)?;
    let ProposeBundle { digest, component_bytes, manifest_bytes, sequence, shadow, publisher_signature } = bundle;
    if digest == state.bundle {
        return Err(invalid("the bundle is active already"));
    }
    if component_bytes > MAX_COMPONENT_BYTES || manifest_bytes > MAX_MANIFEST_BYTES {
        return Err(Refusal::TooLarge { what: "the bundle" });
    }
    if sequence != state.activations {
        return Err(invalid("it was signed for another activation: have it signed for the next one"));
    }
    if shadow.is_some_and(|shadow| !(1..=MAX_SHADOW).contains(&shadow.tasks) || shadow.differences > shadow.tasks) {
        return Err(invalid("a shadow is compared on 1 to 10,000 tasks, and differs in no more than these"));
    }
    let hash = match shadow {
        None => activation_hash(&cluster.service, digest, sequence),
        Some(shadow) => shadow_hash(&cluster.service, digest, sequence, shadow),
    };
    let publisher = publisher(&publisher_signature, hash);
    if !publisher.is_some_and(|who| settings.publishers.contains(&who)) {
        return Err(invalid("none of the cluster's publishers signed it"));
    }
    if let Some(known) = state.proposals.get(&digest) {
        let same = known.shadow == shadow;
        return if same { Ok(Accepted::Plain) } else { Err(invalid("it is proposed already, with another shadow")) };
    }
    if state.proposals.len() >= MAX_PROPOSALS {
        let oldest = state.proposals.iter().min_by_key(|(_, proposal)| proposal.proposed_at);
        if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
            state.proposals.remove(&oldest);
        }
    }
    let proposal = Proposal { proposed_at: context.index, by: context.author, component_bytes, manifest_bytes, shadow };
    state.proposals.insert(digest, proposal);
    forget_reports(state);
    Ok(Accepted::Plain)
}

fn publisher(signature: &[u8], hash: B256) -> Option<Address> {
    let signature = Signature::from_raw(signature).ok().filter(|signature| signature.normalize_s().is_none())?;
    signature.recover_address_from_prehash(&hash).ok()
}

/// Drops the reports on bundles that nobody can activate any more.
fn forget_reports(state: &mut State) {
    let State { bundle_reports, proposals, former_bundles, bundle, .. } = state;
    bundle_reports
        .retain(|digest, _| digest == bundle || proposals.contains_key(digest) || former_bundles.contains(digest));
}

pub(super) fn report(state: &mut State, context: Context, digest: B256, refused: Option<String>) -> Outcome {
    if refused.as_ref().is_some_and(|why| why.len() > MAX_WHY) {
        return Err(Refusal::TooLarge { what: "the reason" });
    }
    let known = digest == state.bundle || state.proposals.contains_key(&digest);
    if !known && !state.former_bundles.contains(&digest) {
        return Err(invalid("nobody proposed it"));
    }
    let reports = state.bundle_reports.entry(digest).or_default();
    if reports.ready.contains(&context.author) || reports.refused.contains_key(&context.author) {
        return Err(invalid("this member reported on the bundle already"));
    }
    match refused {
        None => drop(reports.ready.insert(context.author)),
        Some(why) => drop(reports.refused.insert(context.author, why)),
    }
    Ok(Accepted::Plain)
}

pub(super) fn activate(state: &mut State, context: Context, digest: B256, set: B256) -> Outcome {
    context.leader_only()?;
    if digest == state.bundle {
        return Err(invalid("the bundle is active already"));
    }
    if !state.sets.contains_key(&set) {
        return Err(Refusal::UnknownOperatorSet);
    }
    let proposed = state.proposals.contains_key(&digest);
    if proposed {
        if !is_ready(state, digest, set) {
            return Err(invalid("too little stake has it ready"));
        }
    } else if !state.former_bundles.contains(&digest) {
        return Err(invalid("nobody proposed it"));
    } else if !active_fails(state, set) {
        return Err(invalid(
            "less than a third of the stake says that the active one fails: propose it like a new one",
        ));
    }
    let former = std::mem::replace(&mut state.bundle, digest);
    state.former_bundles.retain(|known| *known != digest);
    if proposed {
        push_bounded(&mut state.former_bundles, former, MAX_FORMER);
    } else {
        // What failed is the last to come back. There is room: the one that came back has left.
        state.former_bundles.push_front(former);
    }
    state.activations += 1;
    // They were signed for the activation that has just happened.
    state.proposals.clear();
    state.no_answers.clear();
    state.trial = Trial::default();
    forget_reports(state);
    Ok(Accepted::Plain)
}

pub(super) fn no_answer(state: &mut State, context: Context, task: TaskIndex, reason: &str) -> Outcome {
    if reason.len() > MAX_WHY {
        return Err(Refusal::TooLarge { what: "the reason" });
    }
    let task = state.tasks.get(&task).ok_or(Refusal::InvalidTask { why: "it is not known" })?;
    if task.spec.bundle_digest != state.bundle {
        return Err(invalid("the task runs another bundle than the active one"));
    }
    state.no_answers.entry(context.author).or_insert_with(|| reason.to_owned());
    Ok(Accepted::Plain)
}

pub(super) fn disagreement(
    state: &mut State,
    context: Context,
    answered: (TaskIndex, ResponseKey),
    digest: B256,
) -> Outcome {
    let trial = agreed(state)?.0.trial;
    let (index, key) = answered;
    let task = state.tasks.get(&index).ok_or(Refusal::UnknownTask { index })?;
    if task.spec.bundle_digest != state.bundle {
        return Err(invalid("the task runs another bundle than the active one"));
    }
    if state.trial.tasks > trial.tasks {
        return Err(invalid("the active bundle is not on trial any more"));
    }
    let State { trial: known, .. } = state;
    match (&task.phase, task.certificates.get(&key)) {
        (_, Some(certified)) if certified.digest == digest => return Err(invalid("this is the certified answer")),
        (Phase::Closed(_), Some(_)) => {
            let dissents = known.dissents.entry(context.author).or_default();
            if dissents.len() < trial.disagreements as usize {
                dissents.insert(index);
            }
        }
        (Phase::Closed(Ending::Expired), None) => {
            let answered = (index, key);
            if known.uncertified.len() >= MAX_UNCERTIFIED && !known.uncertified.contains_key(&answered) {
                return Err(Refusal::TooLarge { what: "the number of keys without a certificate" });
            }
            known.uncertified.entry(answered).or_default().entry(context.author).or_insert(digest);
        }
        _ => return Err(Refusal::WrongPhase { why: "it has not ended, or not by expiring without a certificate" }),
    }
    Ok(Accepted::Plain)
}

/// In which tasks of the active bundle each member's answer differed: from the certified one or, where none was, from the one
/// that most of the members gave, as `weigh` weighs them.
pub fn dissents(state: &State, weigh: impl Fn(&NodeId) -> u128) -> BTreeMap<NodeId, BTreeSet<TaskIndex>> {
    let mut dissents = state.trial.dissents.clone();
    for ((task, _), answers) in &state.trial.uncertified {
        let mut weights: BTreeMap<B256, u128> = BTreeMap::new();
        for (node, digest) in answers {
            *weights.entry(*digest).or_default() += weigh(node);
        }
        let most = weights.iter().max_by_key(|(_, weight)| **weight).map(|(digest, _)| *digest);
        for (node, _) in answers.iter().filter(|(_, digest)| Some(**digest) != most) {
            dissents.entry(*node).or_default().insert(*task);
        }
    }
    dissents
}

/// A quorum's threshold, its whole stake, and each member's stake in it.
struct Stakes {
    threshold: u8,
    total: u128,
    of: BTreeMap<NodeId, u128>,
}

impl Stakes {
    /// In each of the settings' quorums; none if the set lacks one.
    fn of(state: &State, settings: &Settings, set: &OperatorSet) -> Option<Vec<Self>> {
        let quorums = settings.quorums.numbers.iter().zip(&settings.quorums.thresholds);
        let of_quorum = |(number, threshold): (&u8, &u8)| {
            let at = set.quorums.iter().position(|quorum| quorum.number == *number)?;
            let stake = |member: &crate::Member| Some(set.by_address(member.operator())?.stakes.get(at)?.get());
            let members = state.members.iter();
            Some(Self {
                threshold: *threshold,
                total: set.quorums.get(at)?.total_stake.get(),
                of: members.filter_map(|(node, member)| Some((*node, stake(member)?))).collect(),
            })
        };
        quorums.map(of_quorum).collect()
    }

    fn weigh(&self, node: &NodeId) -> u128 {
        self.of.get(node).copied().unwrap_or_default()
    }

    /// Stakes are below 2^103: no overflow, here and where they are multiplied.
    fn sum<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> u128 {
        nodes.into_iter().map(|node| self.weigh(node)).sum()
    }
}

/// Whether enough stake has a proposed bundle loaded: in every quorum, its threshold and ten points more.
#[must_use]
pub fn is_ready(state: &State, digest: B256, set: B256) -> bool {
    let (Some(settings), Some(set)) = (&state.settings, state.sets.get(&set)) else { return false };
    let reports = state.bundle_reports.get(&digest);
    let enough = |stakes: Stakes| {
        let ready = stakes.sum(reports.iter().flat_map(|reports| &reports.ready));
        ready * 100 >= stakes.total * u128::from(stakes.threshold.saturating_add(MARGIN).min(100))
    };
    Stakes::of(state, settings, set).is_some_and(|stakes| stakes.into_iter().all(enough))
}

/// Whether the active bundle fails at least a third of the stake in some quorum: it gives them no answer, or theirs differ
/// in as many tasks as the settings say.
#[must_use]
pub fn active_fails(state: &State, set: B256) -> bool {
    let (Some(settings), Some(set)) = (&state.settings, state.sets.get(&set)) else { return false };
    let needed = settings.trial.disagreements as usize;
    let too_much = |stakes: Stakes| {
        let dissents = dissents(state, |node| stakes.weigh(node));
        let differing = dissents.iter().filter(|(_, tasks)| tasks.len() >= needed).map(|(node, _)| node);
        let failed: BTreeSet<&NodeId> = differing.chain(state.no_answers.keys()).collect();
        let failed = stakes.sum(failed);
        failed > 0 && failed * 3 >= stakes.total
    };
    Stakes::of(state, settings, set).is_some_and(|stakes| stakes.into_iter().any(too_much))
}
