//! What an AVS's plugins use: all versions together, those that are gone too.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::plugin::Counters;
use crate::sandbox::call::Totals;

/// What the plugins of one AVS have used and hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What they have used; never less than before.
    pub counters: Counters,
    /// Calls without a result that the plugin's logic gave, by [`CallError::code`](crate::CallError::code): the engine
    /// ended them, or there was no place.
    pub failures: BTreeMap<&'static str, u64>,
    /// Calls that hold a place now.
    pub calls_running: usize,
    /// Bytes that these have set aside.
    pub memory_reserved: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.reused += other.reused;
        self.failed += other.failed;
        self.fuel += other.fuel;
        self.chain_reads += other.chain_reads;
        self.keyvalue_operations += other.keyvalue_operations;
        self.secrets_revealed += other.secrets_revealed;
        self.http_requests += other.http_requests;
        self.http_refused += other.http_refused;
        self.log_lines += other.log_lines;
        self.log_lines_dropped += other.log_lines_dropped;
        self.cpu += other.cpu;
        self.cpu_around += other.cpu_around;
    }
}

/// The account of one tenant.
///
/// Invariant: a plugin's totals are in `live` as long as it is loaded, and in `gone` from then on.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    gone: Counters,
    live: Vec<Arc<Totals>>,
    failures: BTreeMap<&'static str, u64>,
}

impl Account {
    /// A plugin's entry in it.
    pub(crate) fn open(self: &Arc<Self>) -> Entry {
        let totals = Arc::<Totals>::default();
        self.0.lock().live.push(Arc::clone(&totals));
        Entry { account: Arc::clone(self), totals }
    }

    fn read(&self) -> (Counters, BTreeMap<&'static str, u64>) {
        let state = self.0.lock();
        let mut sum = state.gone;
        state.live.iter().for_each(|totals| sum += totals.read());
        (sum, state.failures.clone())
    }
}

/// A plugin's part in its tenant's account, for as long as it is loaded.
pub(crate) struct Entry {
    account: Arc<Account>,
    pub totals: Arc<Totals>,
}

impl Entry {
    /// Counts a call without a result. The codes are the host's own: there are only so many.
    pub(crate) fn failed(&self, code: &'static str) {
        *self.account.0.lock().failures.entry(code).or_default() += 1;
    }

    pub(crate) fn account(&self) -> (Counters, BTreeMap<&'static str, u64>) {
        self.account.read()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.account.0.lock();
        state.live.retain(|totals| !Arc::ptr_eq(totals, &self.totals));
        // What a call that was abandoned has still to count is lost.
        state.gone += self.totals.read();
    }
}
