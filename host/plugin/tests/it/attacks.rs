//! Every attack on a host, as one table: what it tries, how it ends, and that nobody else feels it.
//!
//! A test binary of its own, since it measures this process: another tenant is called at a steady rate all the while, and
//! what an attack took must be given back. Quiet is a machine that has other things to do: each core always has something
//! of the lowest priority to run. What a kernel needs to take a core away from that (milliseconds, where an idle core costs
//! none) is not the attack's doing, nor what other programs on the machine do. What each limit is exactly, is for `limits`, `inspect`, `calls` and `compile`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "tests: what fails here is to fail the test; the helpers are shared with other tests"
)]

mod fixtures;
mod guest;
#[path = "attacks/table.rs"]
mod table;

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cap::Cap;
use eigenshift_env::Env;
use eigenshift_plugin::{CompileLimits, Grants, Host, HostOptions, LoadError, Plugin, Tenant};
use eigenshift_types::Bytes;

use fixtures::{chain, child, options, task};
use guest::Guest;
use table::{Attack, FINE, attacks};

/// Calls of the other tenant while one attack goes on, and the pause between two.
const CALLS: usize = 150;
const PAUSE: Duration = Duration::from_millis(2);
/// Pause between loads of a bundle that is refused: each is a proposal that the cluster has agreed on.
const BETWEEN_LOADS: Duration = Duration::from_millis(20);
/// How often the other tenant's calls must look slow before they are, and how often that is looked at: while other programs
/// take the machine now and then, most looks tell nothing.
const TRIES: usize = 3;
const LOOKS: usize = 6;
/// How much slower the other tenant's calls may be.
const SLOWER: f64 = 2.0;
/// What a round of all attacks may leave in the heap, in bytes: what was allocated and not freed, to the byte.
const LEFT_IN_HEAP: usize = 256 * 1024;
/// What it may leave of the whole process, in MiB: an allocator gives freed memory back when it likes.
const LEFT_OVER: u64 = 32;
/// Rounds before memory is looked at: places of the pool stay as large as what was in them, up to a bound.
const WARM_UP: usize = 2;

/// Counts what is allocated and not freed.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Where everything happens: one host, with an attacker and somebody else on it.
struct Stage {
    host: Host,
    attacker: Tenant,
    other: Plugin,
}

impl Stage {
    async fn new(directory: &std::path::Path) -> Self {
        let options = HostOptions {
            cache_dir: Some(directory.join("compiled")),
            call_slots: 8,
            slots_per_plugin: 4,
            call_deadline: Duration::from_secs(3),
            compiler: child(),
            compile_limits: CompileLimits { cpu: Duration::from_secs(2), ..CompileLimits::default() },
            ..options()
        };
        let host = Host::new(options, &Env::real()).unwrap();
        let other = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
        Self { attacker: host.tenant(), host, other }
    }

    async fn load(&self, attack: &Attack) -> Result<Plugin, String> {
        let loaded = self.host.load_for(&self.attacker, attack.bundle.clone(), &Grants::all()).await;
        loaded.map_err(|error| match &error {
            LoadError::Describe(why) => format!("{}/{}", error.code(), why.code()),
            _ => error.code().to_owned(),
        })
    }

    /// One attempt, with what is loaded of it already: how it ended.
    async fn attempt(&self, attack: &Attack, loaded: Option<&Plugin>) -> String {
        let plugin = match loaded {
            Some(plugin) => plugin.clone(),
            None => match self.load(attack).await {
                Ok(plugin) => plugin,
                Err(code) => return code,
            },
        };
        match plugin.on_task_request(&task(), chain()).await {
            Err(error) => error.code().to_owned(),
            Ok(answers) => match attack.answers {
                Some(expected) if answers != [Bytes::from_static(expected)] => format!("answered {answers:?}"),
                _ => FINE.to_owned(),
            },
        }
    }

    /// As often as it can until it is told to stop, at least once; each ending that is not the one it should be.
    async fn attack(&self, attack: &Attack, loaded: Option<&Plugin>, stop: &AtomicBool) -> Vec<String> {
        let mut wrong = Vec::new();
        loop {
            let start = Instant::now();
            let ended = self.attempt(attack, loaded).await;
            if ended != attack.ends {
                wrong.push(format!("{} ended with {ended}, not {}", attack.name, attack.ends));
            }
            if start.elapsed() > attack.within {
                wrong.push(format!("{} took {:?}", attack.name, start.elapsed()));
            }
            if stop.load(Ordering::Acquire) || !wrong.is_empty() {
                return wrong;
            }
            if loaded.is_none() {
                tokio::time::sleep(BETWEEN_LOADS).await;
            }
        }
    }

    /// The slowest hundredth of the other tenant's calls begins at this.
    async fn p99(&self) -> Duration {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let start = Instant::now();
            self.other.on_task_request(&task(), chain()).await.unwrap();
            times.push(start.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        times.sort();
        times[CALLS * 99 / 100]
    }

    /// How much slower the other tenant's calls are while this goes on; none when they are as unsteady without it.
    async fn ratio(self: &Arc<Self>, attack: &Arc<Attack>, wrong: &mut Vec<String>) -> Option<f64> {
        let loaded = self.load(attack).await.ok();
        let before = self.p99().await;
        let stop = Arc::new(AtomicBool::new(false));
        let attacker = tokio::spawn({
            let (stage, attack, stop) = (Arc::clone(self), Arc::clone(attack), Arc::clone(&stop));
            async move { stage.attack(&attack, loaded.as_ref(), &stop).await }
        });
        let during = self.p99().await;
        stop.store(true, Ordering::Release);
        wrong.extend(attacker.await.unwrap());
        let after = self.p99().await;
        println!("    {before:?} before {}, {during:?} during it, {after:?} after it", attack.name);
        let (before, during, after) = (before.as_secs_f64(), during.as_secs_f64(), after.as_secs_f64());
        let steady = before.max(after) <= SLOWER * before.min(after);
        (steady || during <= SLOWER * before).then(|| during / before)
    }
}

/// Keeps every core busy at the lowest priority until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let done = Arc::clone(&done);
            let spin = move || while !done.load(Ordering::Relaxed) {};
            Env::real().threads.spawn_background("busy", Box::new(spin)).unwrap();
        }
        Self(done)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// MiB that this process holds.
fn resident() -> u64 {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_ends_with_its_code_and_its_memory_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let stage = Arc::new(Stage::new(directory.path()).await);
    let attacks: Vec<Arc<Attack>> = attacks().into_iter().map(Arc::new).collect();
    let mut wrong = Vec::new();
    let stop = AtomicBool::new(true);
    let mut sizes = Vec::new();
    for _ in 0..=WARM_UP {
        for attack in &attacks {
            wrong.extend(stage.attack(attack, None, &stop).await);
        }
        sizes.push((HEAP.allocated(), resident()));
        println!("after a round: heap {} bytes, {} MiB in all", HEAP.allocated(), resident());
    }
    let ((heap, all), (heap_after, all_after)) = (sizes[WARM_UP - 1], sizes[WARM_UP]);
    if heap_after > heap + LEFT_IN_HEAP || all_after > all + LEFT_OVER {
        wrong.push(format!(
            "a round left {heap_after} bytes where {heap} were, in all {all_after} MiB where {all} were"
        ));
    }
    stage.other.on_task_request(&task(), chain()).await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, and it measures time: on a machine that does nothing else, \
            cargo test -p eigenshift-plugin --test attacks -- --ignored --nocapture"]
async fn nobody_else_feels_an_attack() {
    let directory = tempfile::tempdir().unwrap();
    let stage = Arc::new(Stage::new(directory.path()).await);
    let _busy = Busy::start();
    let mut wrong = Vec::new();
    for attack in attacks().into_iter().map(Arc::new) {
        let (mut ratios, mut failed) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            ratios.extend(stage.ratio(&attack, &mut failed).await);
            if ratios.iter().any(|ratio| *ratio <= SLOWER) || ratios.len() >= TRIES || !failed.is_empty() {
                break;
            }
        }
        wrong.extend(failed);
        let best = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{:22} {:55} {:40} others' p99 x {best:.2}", attack.name, attack.tries, attack.ends);
        if ratios.len() >= TRIES && best > SLOWER {
            wrong.push(format!("during {} the others' p99 was {best:.2} times as long", attack.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
