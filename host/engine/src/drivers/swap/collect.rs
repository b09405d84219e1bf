//! Which bundles on disk may still be needed.
//!
//! Not only by what is agreed now: a node that starts again goes on from its newest snapshot and the log after it, and a
//! member that was away is sent them. Their tasks must find their code.

use std::collections::{BTreeMap, BTreeSet};

use eigenshift_ledger::State;
use eigenshift_types::B256;

/// What a state says about bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Index of the entry after which it says so.
    pub applied: u64,
    /// Active, or once active, or of a task that is kept: tasks of the log may run them.
    pub run: BTreeSet<B256>,
    /// Proposed and nothing more: no task runs them.
    pub proposed: BTreeSet<B256>,
}

impl References {
    pub fn of(state: &State) -> Self {
        let tasks = state.tasks.values().map(|task| task.spec.bundle_digest);
        let run = std::iter::once(state.bundle).chain(state.former_bundles.iter().copied()).chain(tasks).collect();
        Self { applied: state.applied, run, proposed: state.proposals.keys().copied().collect() }
    }
}

/// What is remembered from one look to the next.
#[derive(Default)]
pub(super) struct Collector {
    /// Bundles that tasks of the log may run. What was there at the start is taken for one of them.
    run: Option<BTreeSet<B256>>,
    /// Index of an entry after which no state referred to them.
    unreferenced: BTreeMap<B256, u64>,
}

impl Collector {
    /// Which of the bundles on disk nothing refers to any more: not the state, no entry of a log whose beginning was cut
    /// off up to `purged`, and so no snapshot, since the log is never cut off beyond the newest.
    pub fn due(&mut self, on_disk: &[B256], references: &References, purged: Option<u64>) -> Vec<B256> {
        let run = self.run.get_or_insert_with(|| on_disk.iter().copied().collect());
        run.extend(&references.run);
        run.retain(|digest| on_disk.contains(digest) || references.run.contains(digest));
        let referred = |digest: &B256| references.run.contains(digest) || references.proposed.contains(digest);
        self.unreferenced.retain(|digest, _| on_disk.contains(digest) && !referred(digest));
        let gone = |digest: &&B256| {
            if referred(digest) {
                return false;
            }
            let since = *self.unreferenced.entry(**digest).or_insert(references.applied);
            !run.contains(*digest) || purged.is_some_and(|purged| purged >= since)
        };
        on_disk.iter().filter(gone).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: [B256; 0] = [];
    const ALL: std::ops::Range<u8> = 0..4;

    fn bundle(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    fn references(applied: u64, run: &[u8], proposed: &[u8]) -> References {
        let set = |numbers: &[u8]| numbers.iter().map(|number| bundle(*number)).collect();
        References { applied, run: set(run), proposed: set(proposed) }
    }

    #[test]
    fn a_bundle_that_ran_goes_when_the_log_that_ran_it_is_cut_off_and_not_before() {
        let mut collector = Collector::default();
        let on_disk = [bundle(1), bundle(2)];
        assert_eq!(collector.due(&on_disk, &references(10, &[1, 2], &[]), Some(9)), NONE);
        assert_eq!(collector.due(&on_disk, &references(20, &[2], &[]), Some(10)), NONE, "the log reaches back to 11");
        assert_eq!(collector.due(&on_disk, &references(90, &[2], &[]), Some(19)), NONE);
        assert_eq!(collector.due(&on_disk, &references(91, &[2], &[]), None), NONE, "nothing was cut off");
        assert_eq!(collector.due(&on_disk, &references(92, &[2], &[]), Some(20)), [bundle(1)]);
    }

    #[test]
    fn a_bundle_that_comes_back_is_counted_anew() {
        let mut collector = Collector::default();
        let on_disk = [bundle(1)];
        assert_eq!(collector.due(&on_disk, &references(20, &[], &[]), Some(10)), NONE);
        assert_eq!(collector.due(&on_disk, &references(30, &[1], &[]), Some(25)), NONE);
        assert_eq!(collector.due(&on_disk, &references(40, &[], &[]), Some(30)), NONE);
        assert_eq!(collector.due(&on_disk, &references(41, &[], &[]), Some(40)), on_disk);
    }

    #[test]
    fn what_was_only_proposed_goes_with_its_proposal_but_not_what_lay_there_at_the_start() {
        let mut collector = Collector::default();
        assert_eq!(collector.due(&[bundle(1)], &references(5, &[], &[]), None), NONE);
        let on_disk = [bundle(1), bundle(2)];
        assert_eq!(collector.due(&on_disk, &references(6, &[], &[2]), None), NONE);
        assert_eq!(collector.due(&on_disk, &references(7, &[], &[]), None), [bundle(2)]);
    }

    proptest! {
        /// Steps are entries: each says which bundles the state after it refers to as run, and how much is cut off.
        #[test]
        fn no_entry_that_is_left_refers_to_what_is_collected(
            steps in proptest::collection::vec((proptest::collection::btree_set(ALL, 0..3), 0..30_u64), 1..30)
        ) {
            let mut collector = Collector::default();
            let mut on_disk: BTreeSet<B256> = ALL.map(bundle).collect();
            let (mut history, mut purged) = (Vec::new(), 0);
            for (at, (run, cut)) in (1_u64..).zip(steps) {
                // The log is cut off behind what is applied, and never grows back.
                purged = purged.max(cut.min(at - 1));
                let numbers: Vec<u8> = run.into_iter().filter(|number| on_disk.contains(&bundle(*number))).collect();
                let now = references(at, &numbers, &[]);
                history.push(now.clone());
                let files: Vec<B256> = on_disk.iter().copied().collect();
                for gone in collector.due(&files, &now, Some(purged)) {
                    let left = history.iter().filter(|then| then.applied >= purged);
                    prop_assert!(left.clone().all(|then| !then.run.contains(&gone)), "{} is needed", gone);
                    on_disk.remove(&gone);
                }
            }
        }
    }
}
