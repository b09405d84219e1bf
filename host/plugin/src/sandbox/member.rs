//! A tenant as the executor knows it: whether its next calls begin on the slow threads.

use std::sync::atomic::{AtomicU32, Ordering};

use super::gate::TenantId;

/// Calls of a tenant that begin on the slow threads after two long ones, with fewer than [`APART`] begun between them: one
/// alone may have been held up by what others do to the machine.
const PENALTY: u32 = 64;
const APART: u32 = 8;
/// All of them.
const FOR_GOOD: u32 = u32::MAX;

/// Which threads a call runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    Fast,
    Slow,
}

/// A tenant as the executor knows it.
#[derive(Debug)]
pub(crate) struct Member {
    pub id: TenantId,
    /// How many of its next calls begin on the slow threads; [`FOR_GOOD`] is all of them.
    slow: AtomicU32,
    /// How many calls have begun since one took long.
    since_long: AtomicU32,
}

impl Member {
    pub(crate) const fn new(id: TenantId) -> Self {
        Self { id, slow: AtomicU32::new(0), since_long: AtomicU32::new(APART) }
    }

    /// All its calls run on the slow threads.
    pub(crate) const fn kept_slow(id: TenantId) -> Self {
        Self { slow: AtomicU32::new(FOR_GOOD), ..Self::new(id) }
    }

    /// Notes that a call takes long: after two, the next ones begin on the slow threads.
    pub(crate) fn took_long(&self) {
        if self.since_long.swap(0, Ordering::Relaxed) < APART {
            self.slow.fetch_max(PENALTY, Ordering::Relaxed);
        }
    }

    /// Whether a call took long and none has begun since, and how many of the next ones begin on the slow threads.
    #[cfg(test)]
    pub(super) fn noted(&self) -> (bool, u32) {
        (self.since_long.load(Ordering::Relaxed) == 0, self.slow.load(Ordering::Relaxed))
    }

    /// Where its next call begins.
    pub(crate) fn first_speed(&self) -> Speed {
        let more = |since: u32| (since < APART).then_some(since + 1);
        // Fails when it is at its most already.
        let _ = self.since_long.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let less = |left| match left {
            0 | FOR_GOOD => None,
            left => Some(left - 1),
        };
        match self.slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Err(0) => Speed::Fast,
            _ => Speed::Slow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_is_kept_slow_never_begins_on_a_fast_thread() {
        let (shadow, other) = (Member::kept_slow(TenantId(1)), Member::new(TenantId(2)));
        for _ in 0..=2 * PENALTY {
            assert!(shadow.first_speed() == Speed::Slow);
            assert!(other.first_speed() == Speed::Fast);
        }
        shadow.took_long();
        shadow.took_long();
        for _ in 0..=2 * PENALTY {
            assert!(shadow.first_speed() == Speed::Slow, "it stays so");
        }
    }

    /// Where the next so many calls begin.
    fn speeds(tenant: &Member, calls: u32) -> Vec<bool> {
        (0..calls).map(|_| tenant.first_speed() == Speed::Fast).collect()
    }

    #[test]
    fn calls_after_two_long_ones_begin_on_slow_threads_until_there_were_enough_short_ones() {
        let tenant = Member::new(TenantId(1));
        for _ in 0..3 {
            tenant.took_long();
            assert_eq!(speeds(&tenant, APART), [true; APART as usize], "one alone");
        }
        tenant.took_long();
        assert_eq!(speeds(&tenant, APART - 1), [true; APART as usize - 1]);
        tenant.took_long();
        assert_eq!(speeds(&tenant, PENALTY), [false; PENALTY as usize]);
        assert_eq!(speeds(&tenant, 1), [true]);
        // One whose calls are all long stays there.
        tenant.took_long();
        tenant.took_long();
        for _ in 0..3 * PENALTY {
            assert_eq!(speeds(&tenant, 1), [false]);
            tenant.took_long();
        }
    }
}
