//! Bundles: who has them loaded, and which one runs.

use alloy_primitives::{B256, Signature};

use super::{Context, Outcome, agreed};
use crate::command::activation_hash;
use crate::reply::{Accepted, Refusal};
use crate::state::{State, push_bounded};

const MAX_REPORTED: usize = 32;
const MAX_FORMER: usize = 16;
const MAX_WHY: usize = 1024;

/// Percentage points by which the ready stake must exceed a quorum's threshold.
const MARGIN: u8 = 10;

pub(super) fn report(state: &mut State, context: Context, digest: B256, refused: Option<String>) -> Outcome {
    if refused.as_ref().is_some_and(|why| why.len() > MAX_WHY) {
        return Err(Refusal::TooLarge { what: "the reason" });
    }
    if !state.bundle_reports.contains_key(&digest) && state.bundle_reports.len() >= MAX_REPORTED {
        // Reports on what was not activated make room; the digests are hashes, so their order favours nobody.
        let active = state.bundle;
        let Some(oldest) = state.bundle_reports.keys().copied().find(|known| *known != active) else {
            return Err(Refusal::InvalidBundle { why: "too many bundles are reported on" });
        };
        state.bundle_reports.remove(&oldest);
    }
    let reports = state.bundle_reports.entry(digest).or_default();
    if reports.ready.contains(&context.author) || reports.refused.contains_key(&context.author) {
        return Err(Refusal::InvalidBundle { why: "this member reported on the bundle already" });
    }
    match refused {
        None => drop(reports.ready.insert(context.author)),
        Some(why) => drop(reports.refused.insert(context.author, why)),
    }
    Ok(Accepted::Plain)
}

pub(super) fn activate(state: &mut State, context: Context, digest: B256, set: B256, signature: &[u8]) -> Outcome {
    context.leader_only()?;
    let (settings, cluster) = agreed(state)?;
    if digest == state.bundle {
        return Err(Refusal::InvalidBundle { why: "the bundle is active already" });
    }
    let publisher = Signature::from_raw(signature)
        .ok()
        .filter(|signature| signature.normalize_s().is_none())
        .and_then(|signature| signature.recover_address_from_prehash(&activation_hash(&cluster.service, digest)).ok());
    if !publisher.is_some_and(|who| settings.publishers.contains(&who)) {
        return Err(Refusal::InvalidBundle { why: "none of the cluster's publishers signed it" });
    }
    let set = state.sets.get(&set).ok_or(Refusal::UnknownOperatorSet)?;
    let reports = state.bundle_reports.get(&digest);
    for (number, threshold) in settings.quorums.numbers.iter().zip(&settings.quorums.thresholds) {
        let at = set.quorums.iter().position(|quorum| quorum.number == *number);
        let Some((at, quorum)) = at.and_then(|at| Some((at, set.quorums.get(at)?))) else {
            return Err(Refusal::InvalidBundle { why: "the operator set lacks a quorum of the settings" });
        };
        let ready: u128 = state
            .members
            .iter()
            .filter(|(node, _)| reports.is_some_and(|reports| reports.ready.contains(node)))
            .filter_map(|(_, member)| set.by_address(member.operator())?.stakes.get(at))
            .map(|stake| stake.get())
            .sum();
        // Both below 2^103: no overflow.
        if ready * 100 < quorum.total_stake.get() * u128::from(threshold.saturating_add(MARGIN).min(100)) {
            return Err(Refusal::InvalidBundle { why: "too little stake has it ready" });
        }
    }
    let former = std::mem::replace(&mut state.bundle, digest);
    push_bounded(&mut state.former_bundles, former, MAX_FORMER);
    Ok(Accepted::Plain)
}
