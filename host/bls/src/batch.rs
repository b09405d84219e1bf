//! Which of many are wrong, when only all of some can be checked at once.

use eigenshift_types::B256;

/// A signature to be checked, and where its verdict goes.
#[derive(Clone, Copy)]
pub(crate) struct Item<K, S> {
    pub(crate) position: usize,
    pub(crate) key: K,
    pub(crate) digest: B256,
    pub(crate) signature: S,
}

/// Verdicts by position, of which there are `count`; what is in no item is wrong. Items with wrong signatures are found
/// by halving.
pub(crate) fn verdicts<K, S>(
    count: usize,
    mut items: Vec<Item<K, S>>,
    all_valid: impl Fn(&[Item<K, S>]) -> bool,
) -> Vec<bool> {
    let mut verdicts = vec![false; count];
    // Equal digests side by side: they share a pairing, in halves of the batch too.
    items.sort_by_key(|item| item.digest);
    settle(&items, &all_valid, &mut verdicts);
    verdicts
}

/// Writes down the verdicts of items of which nothing is known. Whether all are valid.
fn settle<K, S>(items: &[Item<K, S>], all_valid: &impl Fn(&[Item<K, S>]) -> bool, verdicts: &mut [bool]) -> bool {
    let valid = all_valid(items);
    if valid {
        for item in items {
            if let Some(verdict) = verdicts.get_mut(item.position) {
                *verdict = true;
            }
        }
    } else {
        settle_bad(items, all_valid, verdicts);
    }
    valid
}

/// Writes down the verdicts of items of which at least one is wrong.
fn settle_bad<K, S>(items: &[Item<K, S>], all_valid: &impl Fn(&[Item<K, S>]) -> bool, verdicts: &mut [bool]) {
    if items.len() <= 1 {
        return;
    }
    let (left, right) = items.split_at(items.len() / 2);
    if settle(left, all_valid, verdicts) {
        // Then the wrong one is on the right: no need to check that as a whole.
        settle_bad(right, all_valid, verdicts);
    } else {
        settle(right, all_valid, verdicts);
    }
}
