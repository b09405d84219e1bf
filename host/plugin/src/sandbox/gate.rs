//! The places for calls and the memory for them, and who gets some next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Whose calls share: one AVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TenantId(pub u64);

/// What there is to share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// As many as the pool has.
    pub places: usize,
    /// Of these, for one tenant.
    pub places_per_tenant: usize,
    /// Bytes.
    pub memory: u64,
    /// Of these, for one tenant.
    pub memory_per_tenant: u64,
}

/// Places and memory, given to tenants in turn. A call takes a place and all the memory that it may come to use, so that no
/// growth which its manifest allows is ever refused for want of memory here.
///
/// A tenant holds its share at most. The last quarter of places and memory goes only to tenants that hold none: those
/// whose calls run long cannot keep the others out. A call that needs much may be overtaken by others' that need little.
///
/// Invariant: what is free and what `running` counts add up to what there is; nobody at the head of a tenant's queue waits
/// who could be served.
pub(crate) struct Gate {
    state: Mutex<State>,
    shares: Shares,
}

#[derive(Default)]
struct State {
    free: Held,
    running: BTreeMap<TenantId, Held>,
    waiting: BTreeMap<TenantId, VecDeque<Waiting>>,
    /// Tenants that wait, in the order of their turns; each once.
    turns: VecDeque<TenantId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    places: usize,
    memory: u64,
}

struct Waiting {
    promise: oneshot::Sender<Place>,
    memory: u64,
}

/// A place with its memory; given back when dropped.
pub(crate) struct Place {
    gate: Arc<Gate>,
    tenant: TenantId,
    memory: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.free.places += 1;
        state.free.memory += self.memory;
        if let Some(running) = state.running.get_mut(&self.tenant) {
            running.places -= 1;
            running.memory -= self.memory;
            if running.places == 0 {
                state.running.remove(&self.tenant);
            }
        }
        self.gate.serve(state);
    }
}

impl Gate {
    pub(crate) fn new(shares: Shares) -> Arc<Self> {
        let free = Held { places: shares.places, memory: shares.memory };
        let shares = Shares { places_per_tenant: shares.places_per_tenant.max(1), ..shares };
        Arc::new(Self { state: Mutex::new(State { free, ..State::default() }), shares })
    }

    fn may(&self, state: &State, tenant: TenantId, memory: u64) -> bool {
        let own = state.running.get(&tenant).copied().unwrap_or_default();
        let reserve = match own.places {
            0 => Held::default(),
            _ => Held { places: self.shares.places / 4, memory: self.shares.memory / 4 },
        };
        own.places < self.shares.places_per_tenant
            && state.free.places > reserve.places
            && own.memory.saturating_add(memory) <= self.shares.memory_per_tenant
            && state.free.memory >= reserve.memory.saturating_add(memory)
    }

    fn take(self: &Arc<Self>, state: &mut State, tenant: TenantId, memory: u64) -> Place {
        state.free.places -= 1;
        state.free.memory -= memory;
        let running = state.running.entry(tenant).or_default();
        running.places += 1;
        running.memory += memory;
        Place { gate: Arc::clone(self), tenant, memory }
    }

    /// A place with so much memory at once, or the promise of one: dropping the promise gives up the turn.
    pub(crate) fn enter(self: &Arc<Self>, tenant: TenantId, memory: u64) -> Result<Place, oneshot::Receiver<Place>> {
        let mut state = self.state.lock();
        if !state.waiting.contains_key(&tenant) && self.may(&state, tenant, memory) {
            return Ok(self.take(&mut state, tenant, memory));
        }
        let (promise, place) = oneshot::channel();
        let own = state.waiting.entry(tenant).or_default();
        own.push_back(Waiting { promise, memory });
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
            own.retain(|waiting| !waiting.promise.is_closed());
            let Some(memory) = own.front().map(|waiting| waiting.memory) else {
                state.waiting.remove(&tenant);
                continue;
            };
            state.turns.push_back(tenant);
            if !self.may(&state, tenant, memory) {
                passed_over += 1;
                continue;
            }
            passed_over = 0;
            let first = state.waiting.get_mut(&tenant).and_then(VecDeque::pop_front);
            let place = self.take(&mut state, tenant, memory);
            given.extend(first.map(|first| (first.promise, place)));
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

    /// Places and bytes that a tenant holds.
    pub(crate) fn held(&self, tenant: TenantId) -> (usize, u64) {
        let own = self.state.lock().running.get(&tenant).copied().unwrap_or_default();
        (own.places, own.memory)
    }

    #[cfg(test)]
    fn counts(&self) -> (Held, Held) {
        let state = self.state.lock();
        let running = state.running.values().fold(Held::default(), |sum, held| Held {
            places: sum.places + held.places,
            memory: sum.memory + held.memory,
        });
        (state.free, running)
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

    fn gate(places: usize, places_per_tenant: usize, memory: u64, memory_per_tenant: u64) -> Arc<Gate> {
        Gate::new(Shares { places, places_per_tenant, memory, memory_per_tenant })
    }

    fn places(places: usize, per_tenant: usize) -> Arc<Gate> {
        gate(places, per_tenant, 1000, 1000)
    }

    #[test]
    fn a_tenant_that_takes_all_it_can_leaves_room_for_those_that_hold_none() {
        let gate = places(8, 8);
        let held: Vec<Place> = std::iter::from_fn(|| gate.enter(HOG, 1).ok()).collect();
        assert_eq!(held.len(), 6, "a quarter is kept");
        assert!(gate.enter(OTHER, 1).is_ok());
        assert!(gate.enter(TenantId(3), 1).is_ok());
    }

    #[test]
    fn memory_is_kept_for_those_that_hold_none_and_nobody_has_more_than_a_share() {
        let all = gate(100, 100, 80, 80);
        let held: Vec<Place> = std::iter::from_fn(|| all.enter(HOG, 10).ok()).collect();
        assert_eq!(held.len(), 6, "a quarter is kept");
        assert!(all.enter(OTHER, 20).is_ok());
        let half = gate(100, 100, 80, 40);
        let held: Vec<Place> = std::iter::from_fn(|| half.enter(HOG, 10).ok()).collect();
        assert_eq!(held.len(), 4, "its share");
    }

    #[test]
    fn whoever_waits_for_memory_is_served_when_there_is_enough_of_it() {
        let gate = gate(100, 100, 80, 80);
        let mut held: Vec<Place> = std::iter::from_fn(|| gate.enter(HOG, 20).ok()).collect();
        assert_eq!(held.len(), 3);
        let mut large = gate.enter(OTHER, 60).err().unwrap();
        let small = gate.enter(TenantId(3), 20).unwrap_or_else(|_| unreachable!());
        drop(held.pop());
        assert!(large.try_recv().is_err(), "there are 20");
        drop(held.pop());
        drop(small);
        let place = large.try_recv().expect("60 are free");
        assert_eq!(gate.counts().0.memory, 0);
        drop((place, held));
        assert_eq!(gate.counts(), (Held { places: 100, memory: 80 }, Held::default()));
    }

    #[test]
    fn tenants_that_wait_are_served_in_turn_however_many_calls_each_has() {
        let gate = places(1, 8);
        let first = gate.enter(HOG, 1).unwrap_or_else(|_| unreachable!());
        let mut hogs: Vec<_> = (0..3).filter_map(|_| gate.enter(HOG, 1).err()).collect();
        let mut other = gate.enter(OTHER, 1).err().unwrap();
        drop(first);
        let place = hogs[0].try_recv().unwrap();
        drop(place);
        let place = other.try_recv().expect("not behind the other two of the first tenant");
        drop(place);
        assert!(hogs[1].try_recv().is_ok());
    }

    #[test]
    fn whoever_stops_waiting_takes_no_place() {
        let gate = places(1, 1);
        let first = gate.enter(HOG, 1).unwrap_or_else(|_| unreachable!());
        drop(gate.enter(HOG, 1));
        let mut other = gate.enter(OTHER, 1).err().unwrap();
        drop(first);
        assert!(other.try_recv().is_ok());
        assert_eq!(gate.counts().0, Held { places: 1, memory: 1000 });
    }

    proptest! {
        #[test]
        fn shares_add_up_and_nobody_waits_who_could_be_served(steps in proptest::collection::vec((0..4_u64, 0..3_u8), 1..200)) {
            let gate = gate(5, 3, 14, 9);
            let mut held: Vec<Place> = Vec::new();
            let mut waiting: Vec<(TenantId, oneshot::Receiver<Place>)> = Vec::new();
            for (tenant, what) in steps {
                // The same for all calls of a tenant: a larger one at the head may keep those behind it waiting.
                let memory = 1 + tenant;
                let tenant = TenantId(tenant);
                match what {
                    0 => match gate.enter(tenant, memory) {
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
                prop_assert_eq!((free.places + running.places, free.memory + running.memory), (5, 14));
                prop_assert_eq!(running.places, held.len());
                prop_assert_eq!(running.memory, held.iter().map(|place| place.memory).sum::<u64>());
                let state = gate.state.lock();
                prop_assert!(state.running.values().all(|own| own.places <= 3 && own.memory <= 9));
                for (tenant, promise) in &waiting {
                    let could = gate.may(&state, *tenant, 1 + tenant.0);
                    prop_assert!(!could || promise.is_terminated(), "{:?} could be served", tenant);
                }
            }
        }
    }
}
