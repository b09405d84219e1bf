//! Holds this operator's own answers against the certified ones, while a new version is on trial.
//!
//! An answer that differs, or one of a task that expired without a certificate, is logged: of that enough, and the former
//! version comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eigenshift_ledger::{Command, Phase, State};
use eigenshift_types::{B256, Outcome, ResponseKey, TaskIndex};

use crate::context::Context;
use crate::guard::Signed;

/// An ended task.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ended {
    index: TaskIndex,
    certified: BTreeMap<ResponseKey, B256>,
    expired: bool,
}

/// Tasks of a version on trial, to which there is an alternative, that ended after there had been so many ends.
fn ended(state: &State, ends: u64, compared: &BTreeSet<TaskIndex>) -> Vec<Ended> {
    let on_trial = state.settings.as_ref().is_some_and(|settings| state.trial.tasks <= settings.trial.tasks);
    if !on_trial || state.former_bundles.is_empty() {
        return Vec::new();
    }
    let of = |task: &eigenshift_ledger::Task| {
        let Phase::Closed(outcome) = &task.phase else { return None };
        let certified = task.certificates.iter().map(|(key, certificate)| (key.clone(), certificate.digest));
        let expired = *outcome == Outcome::Expired;
        Some(Ended { index: task.spec.index, certified: certified.collect(), expired })
    };
    let fresh = state.ended_since(ends).filter(|task| task.spec.bundle_digest == state.bundle);
    fresh.filter(|task| !compared.contains(&task.spec.index)).filter_map(of).collect()
}

/// Which of the answers to a task are to be logged.
fn differing(task: &Ended, signed: &[Signed]) -> Vec<Command> {
    let differs = |signed: &&Signed| match task.certified.get(&signed.key) {
        Some(certified) => *certified != signed.digest,
        None => task.expired,
    };
    let log =
        |signed: &Signed| Command::Disagreement { task: task.index, key: signed.key.clone(), digest: signed.digest };
    signed.iter().filter(differs).map(log).collect()
}

/// Compares each task once, until the AVS stops. Native logic has no other version.
pub(crate) async fn run(context: Arc<Context>) {
    if context.bundles.is_none() {
        return;
    }
    let mut changes = context.ledger.changes();
    // A task whose receipt was replaced ends more than once.
    let (mut compared, mut ends) = (BTreeSet::new(), 0);
    loop {
        changes.borrow_and_update();
        let fresh = context.ledger.read(|state| {
            let fresh = ended(state, std::mem::replace(&mut ends, state.ends), &compared);
            if !fresh.is_empty() {
                compared.retain(|index| state.tasks.contains_key(index));
            }
            fresh
        });
        for task in fresh {
            compared.insert(task.index);
            context.env.spawn(compare(Arc::clone(&context), task));
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.stop.cancelled() => return,
        }
    }
}

async fn compare(context: Arc<Context>, task: Ended) {
    let (guard, index) = (context.guard.clone(), task.index);
    // A guard that cannot be read signs nothing more either.
    let Ok(Ok(signed)) = context.io_pool.run(move || guard.signed(index)).await else { return };
    for command in differing(&task, &signed) {
        context.counters.count("disagreement", "reported");
        if let Err(error) = context.ledger.propose(&command).await {
            tracing::warn!(avs = %context.service.avs, task = index, "the disagreement was not logged: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn key(name: &str) -> ResponseKey {
        ResponseKey::new(name.as_bytes().to_vec()).unwrap()
    }

    fn signed(name: &str, digest: u8) -> Signed {
        Signed {
            key: key(name),
            payload: Default::default(),
            digest: B256::repeat_byte(digest),
            extension: Default::default(),
            signature: Default::default(),
        }
    }

    #[test]
    fn what_differs_from_the_certified_answer_is_logged_and_what_has_none_only_when_the_task_expired() {
        let certified = [(key("a"), B256::repeat_byte(1))].into();
        let task = |expired| Ended { index: 7, certified: BTreeMap::clone(&certified), expired };
        let logged =
            |name: &str, digest| Command::Disagreement { task: 7, key: key(name), digest: B256::repeat_byte(digest) };
        let same = [signed("a", 1)];
        assert_eq!(differing(&task(false), &same), []);
        assert_eq!(differing(&task(true), &same), []);
        let other = [signed("a", 2), signed("b", 3)];
        assert_eq!(differing(&task(false), &other), [logged("a", 2)]);
        assert_eq!(differing(&task(true), &other), [logged("a", 2), logged("b", 3)]);
        assert_eq!(differing(&task(true), &[]), [], "this operator gave no answer");
    }
}
