//! One call never reaches another: not its memory, not its thread, not its slot.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use eigenshift_env::threads::Job;
use eigenshift_env::{Env, Pool, Threads, sim};
use eigenshift_plugin::{CallError, Grants, Host, HostOptions, Origin, Plugin};
use eigenshift_types::Bytes;
use tokio::task::JoinHandle;

use crate::fixtures::{chain, options, task};
use crate::guest::{ANSWER, Guest, SCRATCH, result};

fn answer() -> String {
    result(&[0, SCRATCH + 12, 1, ANSWER, 4])
}

/// Counts its calls in a global and in memory; the answer has both.
fn counting() -> Guest {
    let body = format!(
        "(global.set $count (i32.add (global.get $count) (i32.const 1)))
         (i32.store (i32.const 10000) (i32.add (i32.load (i32.const 10000)) (i32.const 1)))
         (i32.store8 (i32.const {ANSWER}) (global.get $count))
         (i32.store8 (i32.const {}) (i32.load (i32.const 10000))) {}",
        ANSWER + 1,
        answer()
    );
    let mut guest = Guest::with("on-task-request", &body);
    guest.extra = "(global $count (mut i32) (i32.const 0))".to_owned();
    guest
}

#[tokio::test]
async fn every_call_has_a_fresh_instance() {
    let host = Host::new(options(), &Env::real()).unwrap();
    let guest = counting();
    let first = host.load(guest.bundle(), &Grants::all()).await.unwrap();
    let second = host.load(guest.limits("keys-per-task = 2").bundle(), &Grants::all()).await.unwrap();
    for plugin in [&first, &second, &first, &second] {
        let answers = plugin.on_task_request(&task(), chain()).await.unwrap();
        assert_eq!(answers[0][..2], [1, 1]);
    }
}

fn spinning() -> Guest {
    Guest::with("on-task-request", "(loop $l (br $l)) unreachable").limits("fuel = 100_000_000_000")
}

#[tokio::test]
async fn a_plugin_that_spins_does_not_stop_another_on_the_same_thread() {
    let host = Host::new(HostOptions { guest_threads: 1, ..options() }, &Env::real()).unwrap();
    let good = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
    let bad = host.load(spinning().bundle(), &Grants::all()).await.unwrap();
    let spin = tokio::spawn(async move { bad.on_task_request(&task(), chain()).await });
    for _ in 0..5 {
        good.on_task_request(&task(), chain()).await.unwrap();
    }
    assert!(!spin.is_finished(), "it spins all the while");
    spin.abort();
}

/// A call of one plugin under way on such a host, that plugin, and another one.
async fn beside_spinning(options: HostOptions) -> (Plugin, Plugin, JoinHandle<Result<Vec<Bytes>, CallError>>) {
    let host = Host::new(options, &Env::real()).unwrap();
    let good = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
    let bad = host.load(spinning().bundle(), &Grants::all()).await.unwrap();
    let spin = tokio::spawn({
        let bad = bad.clone();
        async move { bad.on_task_request(&task(), chain()).await }
    });
    // Places are taken before a call is counted: once the count moves, they are gone.
    while bad.counters().calls < 2 {
        assert!(!spin.is_finished(), "{:?}", spin.await);
        tokio::task::yield_now().await;
    }
    (good, bad, spin)
}

#[tokio::test]
async fn a_taken_slot_makes_callers_wait_and_then_says_busy() {
    let one = HostOptions { call_slots: 1, slot_wait: Duration::from_millis(50), ..options() };
    let (good, _bad, spin) = beside_spinning(one).await;
    assert_eq!(good.on_task_request(&task(), chain()).await, Err(CallError::Busy));
    // A caller that goes away gives its slot back, although its guest would never end.
    spin.abort();
    assert!(spin.await.unwrap_err().is_cancelled());
    loop {
        match good.on_task_request(&task(), chain()).await {
            Err(CallError::Busy) => tokio::task::yield_now().await,
            other => break drop(other.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_plugin_cannot_hold_every_slot() {
    let shares = HostOptions { call_slots: 2, slots_per_plugin: 1, slot_wait: Duration::from_millis(50), ..options() };
    let (good, bad, spin) = beside_spinning(shares).await;
    assert_eq!(bad.on_task_request(&task(), chain()).await, Err(CallError::Busy));
    good.on_task_request(&task(), chain()).await.unwrap();
    spin.abort();
}

#[tokio::test]
async fn a_plugin_cannot_hold_all_memory() {
    let mib = 1024 * 1024;
    let shares = HostOptions {
        max_memory_bytes: 64 * mib,
        memory_bytes_per_plugin: 64 * mib,
        guest_memory_bytes: 128 * mib,
        slot_wait: Duration::from_millis(50),
        ..options()
    };
    let (good, bad, spin) = beside_spinning(shares).await;
    // It touches next to nothing of the 64 MiB that its manifest asks for by default; they are its own all the same.
    assert_eq!(bad.on_task_request(&task(), chain()).await, Err(CallError::Busy));
    good.on_task_request(&task(), chain()).await.unwrap();
    spin.abort();
}

#[tokio::test]
async fn a_full_house_is_served_in_turn() {
    let host = Host::new(HostOptions { call_slots: 2, ..options() }, &Env::real()).unwrap();
    let plugin = host.load(counting().bundle(), &Grants::all()).await.unwrap();
    let task = task();
    let calls = (0..200).map(|_| plugin.on_task_request(&task, chain()));
    let answers = futures::future::try_join_all(calls).await.unwrap();
    assert!(answers.iter().all(|answers| answers[0][..2] == [1, 1]));
}

#[tokio::test]
async fn a_plugin_outlives_its_host_handle() {
    let plugin = crate::fixtures::load(&Guest::default()).await.unwrap();
    // `load` has dropped its host.
    plugin.on_task_request(&task(), chain()).await.unwrap();
}

/// Tells when a thread begins and ends.
struct Watched {
    inner: Arc<dyn Threads>,
    began: mpsc::Sender<()>,
    ended: mpsc::Sender<()>,
}

impl Threads for Watched {
    fn spawn(&self, name: &str, body: Job) -> io::Result<()> {
        let ended = self.ended.clone();
        self.began.send(()).unwrap();
        let body = move || {
            body();
            ended.send(()).unwrap();
        };
        self.inner.spawn(name, Box::new(body))
    }

    fn pool(&self, name: &str, threads: usize, queue: usize) -> io::Result<Pool> {
        self.inner.pool(name, threads, queue)
    }
}

#[tokio::test]
async fn threads_end_with_the_last_plugin() {
    let ((began, begun), (ended, ends)) = (mpsc::channel(), mpsc::channel());
    let mut env = Env::real();
    env.threads = Arc::new(Watched { inner: env.threads, began, ended });
    let host = Host::new(options(), &env).unwrap();
    let plugin = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
    drop((host, env));
    plugin.on_task_request(&task(), chain()).await.unwrap();
    let threads = begun.try_iter().count();
    assert_eq!(threads, 5, "two for guests, two for those that take long, one for epochs");
    drop(plugin);
    for _ in 0..threads {
        ends.recv_timeout(Duration::from_secs(120)).expect("each thread ends");
    }
}

#[tokio::test]
async fn the_host_works_in_a_simulated_world() {
    let env = Env::simulated(&sim::World::default(), 1);
    let start = || Host::new(HostOptions { cache_dir: Some("compiled".into()), ..options() }, &env).unwrap();
    for origin in [Origin::Compiled, Origin::Disk] {
        let plugin = start().load(counting().bundle(), &Grants::all()).await.unwrap();
        assert_eq!(plugin.origin(), origin);
        assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap()[0][..2], [1, 1]);
    }
}

#[tokio::test]
async fn versions_of_one_avs_share_its_places_and_its_account_and_give_back_what_they_held() {
    let shares = HostOptions { call_slots: 4, slots_per_plugin: 1, slot_wait: Duration::from_millis(50), ..options() };
    let host = Host::new(shares, &Env::real()).unwrap();
    let tenant = host.tenant();
    let old = host.load_for(&tenant, spinning().bundle(), &Grants::all()).await.unwrap();
    let new = host.load_for(&tenant, Guest::default().bundle(), &Grants::all()).await.unwrap();
    let other = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
    let spin = tokio::spawn({
        let old = old.clone();
        async move { old.on_task_request(&task(), chain()).await }
    });
    while new.usage().calls_running == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(new.usage().memory_reserved, old.manifest().limits.memory_bytes);
    assert_eq!(new.on_task_request(&task(), chain()).await, Err(CallError::Busy));
    assert_eq!(new.usage().failures.into_iter().collect::<Vec<_>>(), [("plugin-busy", 1)]);
    other.on_task_request(&task(), chain()).await.unwrap();
    assert_eq!(other.usage().failures.len(), 0);
    // As when an AVS is paused: whoever waited is gone.
    spin.abort();
    while new.usage().calls_running > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(new.usage().memory_reserved, 0);
    new.on_task_request(&task(), chain()).await.unwrap();
    let (both, one) = (new.usage().counters, new.counters());
    assert_eq!(both.calls, one.calls + old.counters().calls);
    drop(old);
    assert_eq!(new.usage().counters.calls, both.calls, "what a version used that is gone counts");
}
