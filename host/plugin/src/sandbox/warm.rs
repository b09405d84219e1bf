//! Instances that are kept for the next call: of bundles that ask for it (`runtime.reuse-calls`).
//!
//! An interpreter takes longer to start than most calls last. What an earlier call left in such an instance, the next one
//! finds: an instance serves one callback of one bundle only, a bounded number of calls, and none after one that failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wasmtime::Store;
use wasmtime::component::Instance;

use super::gate::TenantId;
use super::imports::CallState;

/// An instance between two calls.
pub(crate) struct Warm {
    pub store: Store<CallState>,
    pub instance: Instance,
    /// Fuel that it took to start it: each of its calls is charged as much, as one in a fresh instance is.
    pub start_fuel: u64,
    /// Calls it has served.
    pub served: u32,
}

/// Most of what is kept, over all AVSs and of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub instances: usize,
    pub instances_per_tenant: usize,
    pub bytes: u64,
}

struct Kept {
    owner: Arc<AtomicBool>,
    tenant: TenantId,
    export: &'static str,
    bytes: u64,
    warm: Warm,
}

/// The instances of a host that wait for a call, the one that waits longest first.
pub(crate) struct Shelf {
    room: Room,
    kept: Mutex<Vec<Kept>>,
}

impl Shelf {
    pub(crate) fn new(room: Room) -> Arc<Self> {
        Arc::new(Self { room, kept: Mutex::default() })
    }

    /// Which one has to go, if any: the oldest of the AVS that has too many, or of the one that has most.
    fn surplus(&self, kept: &[Kept], newest: TenantId) -> Option<usize> {
        let mut counts = BTreeMap::<TenantId, usize>::new();
        for one in kept {
            *counts.entry(one.tenant).or_default() += 1;
        }
        let bytes = kept.iter().fold(0_u64, |sum, one| sum.saturating_add(one.bytes));
        let tenant = if counts.get(&newest).is_some_and(|count| *count > self.room.instances_per_tenant) {
            newest
        } else if kept.len() > self.room.instances || bytes > self.room.bytes {
            counts.iter().max_by_key(|(_, count)| **count).map(|(tenant, _)| *tenant)?
        } else {
            return None;
        };
        kept.iter().position(|one| one.tenant == tenant)
    }

    fn put(&self, one: Kept) {
        // Dropped after the lock is given back: an instance takes its time to go.
        let mut gone = Vec::new();
        let mut kept = self.kept.lock();
        if !one.owner.load(Ordering::Acquire) {
            drop(kept);
            return;
        }
        let tenant = one.tenant;
        kept.push(one);
        while let Some(place) = self.surplus(&kept, tenant) {
            gone.push(kept.remove(place));
        }
        drop(kept);
    }
}

/// A bundle's part of a [`Shelf`]: its instances go when this is dropped.
pub(crate) struct Reuse {
    shelf: Arc<Shelf>,
    /// Identifies the bundle; false when it is gone.
    owner: Arc<AtomicBool>,
    tenant: TenantId,
    calls: u32,
}

impl Drop for Reuse {
    fn drop(&mut self) {
        let mut kept = self.shelf.kept.lock();
        // Under the lock: whoever puts an instance back later sees it.
        self.owner.store(false, Ordering::Release);
        let gone: Vec<Kept> = kept.extract_if(.., |one| Arc::ptr_eq(&one.owner, &self.owner)).collect();
        drop(kept);
        drop(gone);
    }
}

impl Reuse {
    /// None when a bundle's calls have a fresh instance each.
    pub(crate) fn new(shelf: &Arc<Shelf>, tenant: TenantId, calls: u32) -> Option<Self> {
        let owner = Arc::new(AtomicBool::new(true));
        (calls > 1).then(|| Self { shelf: Arc::clone(shelf), owner, tenant, calls })
    }

    /// For one call of a callback.
    pub(crate) fn of(&self, export: &'static str) -> Turn {
        let (shelf, owner) = (Arc::clone(&self.shelf), Arc::clone(&self.owner));
        Turn { shelf, owner, tenant: self.tenant, calls: self.calls, export }
    }
}

/// What one call may take an instance from and give it back to.
pub(crate) struct Turn {
    shelf: Arc<Shelf>,
    owner: Arc<AtomicBool>,
    tenant: TenantId,
    calls: u32,
    export: &'static str,
}

impl Turn {
    /// The instance that was used last: what it needs is most likely still in the processor's caches.
    pub(crate) fn take(&self) -> Option<Warm> {
        let mut kept = self.shelf.kept.lock();
        let own = |one: &Kept| one.export == self.export && Arc::ptr_eq(&one.owner, &self.owner);
        let place = kept.iter().rposition(own)?;
        Some(kept.remove(place).warm)
    }

    /// Keeps an instance whose call ended well, unless it has served its time.
    pub(crate) fn keep(self, mut warm: Warm) {
        warm.served = warm.served.saturating_add(1);
        let state = warm.store.data_mut();
        if warm.served >= self.calls || !state.rest() {
            return;
        }
        let bytes = u64::try_from(state.limiter.used()).unwrap_or(u64::MAX);
        let Self { shelf, owner, tenant, export, .. } = self;
        shelf.put(Kept { owner, tenant, export, bytes, warm });
    }
}
