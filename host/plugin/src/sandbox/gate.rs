//! The places for calls, and who gets one next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Whose calls share: one AVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TenantId(pub u64);

/// As many places as the pool has, given to tenants in turn.
///
/// A tenant holds `per_tenant` at most. The last quarter of the places goes only to tenants that hold none: those whose
/// calls run long cannot keep the others out.
///
/// Invariant: `free` and what `running` counts add up to the places there are; nobody waits who could be served.
pub(crate) struct Gate {
    state: Mutex<State>,
    per_tenant: usize,
    reserve: usize,
}

#[derive(Default)]
struct State {
    free: usize,
    running: BTreeMap<TenantId, usize>,
    waiting: BTreeMap<TenantId, VecDeque<oneshot::Sender<Place>>>,
    /// Tenants that wait, in the order of their turns; each once.
    turns: VecDeque<TenantId>,
}

/// A place; given back when dropped.
pub(crate) struct Place {
    gate: Arc<Gate>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.free += 1;
        if let Some(running) = state.running.get_mut(&self.tenant) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(&self.tenant);
            }
        }
        self.gate.serve(state);
    }
}

impl Gate {
    pub(crate) fn new(places: usize, per_tenant: usize) -> Arc<Self> {
        let state = Mutex::new(State { free: places, ..State::default() });
        Arc::new(Self { state, per_tenant: per_tenant.max(1), reserve: places / 4 })
    }

    fn may(&self, state: &State, tenant: TenantId) -> bool {
        let own = state.running.get(&tenant).copied().unwrap_or(0);
        own < self.per_tenant && state.free > if own == 0 { 0 } else { self.reserve }
    }

    fn take(self: &Arc<Self>, state: &mut State, tenant: TenantId) -> Place {
        state.free -= 1;
        *state.running.entry(tenant).or_default() += 1;
        Place { gate: Arc::clone(self), tenant }
    }

    /// A place at once, or the promise of one: dropping the promise gives up the turn.
    pub(crate) fn enter(self: &Arc<Self>, tenant: TenantId) -> Result<Place, oneshot::Receiver<Place>> {
        let mut state = self.state.lock();
        if !state.waiting.contains_key(&tenant) && self.may(&state, tenant) {
            return Ok(self.take(&mut state, tenant));
        }
        let (promise, place) = oneshot::channel();
        let own = state.waiting.entry(tenant).or_default();
        own.push_back(promise);
        if own.len() == 1 {
            state.turns.push_back(tenant);
        }
        Err(place)
    }

    /// Gives places to those who may have one, each tenant one at a time.
    fn serve(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut given = Vec::new();
        let mut passed_over = 0;
        while passed_over < state.turns.len()
            && let Some(tenant) = state.turns.pop_front()
        {
            let Some(own) = state.waiting.get_mut(&tenant) else { continue };
            // Whoever does not wait any more.
            own.retain(|promise| !promise.is_closed());
            if own.is_empty() {
                state.waiting.remove(&tenant);
                continue;
            }
            state.turns.push_back(tenant);
            if !self.may(&state, tenant) {
                passed_over += 1;
                continue;
            }
            passed_over = 0;
            let promise = state.waiting.get_mut(&tenant).and_then(VecDeque::pop_front);
            let place = self.take(&mut state, tenant);
            given.extend(promise.map(|promise| (promise, place)));
            if state.waiting.get(&tenant).is_some_and(VecDeque::is_empty) {
                state.waiting.remove(&tenant);
                state.turns.pop_back();
            }
        }
        drop(state);
        for (promise, place) in given {
            // Somebody who stopped waiting in this moment gives the place back by dropping it.
            let _ = promise.send(place);
        }
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.free, state.running.values().sum())
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test may stop at the first surprise"
    )]
    use proptest::prelude::*;

    use super::*;

    const HOG: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    #[test]
    fn a_tenant_that_takes_all_it_can_leaves_room_for_those_that_hold_none() {
        let gate = Gate::new(8, 8);
        let held: Vec<Place> = std::iter::from_fn(|| gate.enter(HOG).ok()).collect();
        assert_eq!(held.len(), 6, "a quarter is kept");
        assert!(gate.enter(OTHER).is_ok());
        assert!(gate.enter(TenantId(3)).is_ok());
    }

    #[test]
    fn tenants_that_wait_are_served_in_turn_however_many_calls_each_has() {
        let gate = Gate::new(1, 8);
        let first = gate.enter(HOG).unwrap_or_else(|_| unreachable!());
        let mut hogs: Vec<_> = (0..3).filter_map(|_| gate.enter(HOG).err()).collect();
        let mut other = gate.enter(OTHER).err().unwrap();
        drop(first);
        let place = hogs[0].try_recv().unwrap();
        drop(place);
        let place = other.try_recv().expect("not behind the other two of the first tenant");
        drop(place);
        assert!(hogs[1].try_recv().is_ok());
    }

    #[test]
    fn whoever_stops_waiting_takes_no_place() {
        let gate = Gate::new(1, 1);
        let first = gate.enter(HOG).unwrap_or_else(|_| unreachable!());
        drop(gate.enter(HOG));
        let mut other = gate.enter(OTHER).err().unwrap();
        drop(first);
        assert!(other.try_recv().is_ok());
        assert_eq!(gate.counts(), (1, 0));
    }

    proptest! {
        #[test]
        fn places_add_up_and_nobody_waits_who_could_be_served(steps in proptest::collection::vec((0..4_u64, 0..3_u8), 1..200)) {
            let gate = Gate::new(5, 3);
            let mut held: Vec<Place> = Vec::new();
            let mut waiting: Vec<(TenantId, oneshot::Receiver<Place>)> = Vec::new();
            for (tenant, what) in steps {
                let tenant = TenantId(tenant);
                match what {
                    0 => match gate.enter(tenant) {
                        Ok(place) => held.push(place),
                        Err(promise) => waiting.push((tenant, promise)),
                    },
                    1 => drop(held.pop()),
                    _ => drop(waiting.pop()),
                }
                waiting = waiting
                    .into_iter()
                    .filter_map(|(tenant, mut promise)| match promise.try_recv() {
                        Ok(place) => {
                            held.push(place);
                            None
                        }
                        Err(_) => Some((tenant, promise)),
                    })
                    .collect();
                let (free, running) = gate.counts();
                prop_assert_eq!(free + running, 5);
                prop_assert_eq!(running, held.len());
                let state = gate.state.lock();
                for (tenant, promise) in &waiting {
                    prop_assert!(!gate.may(&state, *tenant) || promise.is_terminated(), "{:?} could be served", tenant);
                }
            }
        }
    }
}
