//! `cargo xtask bench attacks`: how much slower another tenant's calls are while each attack goes on.
//!
//! One figure an attack: the slowest hundredth of the other's calls during it, over that before it. Quiet is a machine that
//! has other things to do: each core always has something of the lowest priority to run. What a kernel needs to take a core
//! away from that (milliseconds, where an idle core costs none) is not the attack's doing, nor what other programs on the
//! machine do: an attack is looked at again, up to three times, before it counts as felt. Ends with 1 when any is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a bench stops at the first surprise; the helpers are shared with the tests"
)]

#[path = "../tests/it/fixtures.rs"]
mod fixtures;
#[path = "../tests/it/guest.rs"]
mod guest;
#[path = "../tests/it/attacks/stage.rs"]
mod stage;
#[path = "../tests/it/attacks/table.rs"]
mod table;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eigenshift_env::Env;
use eigenshift_plugin::Compiler;

use fixtures::{chain, task};
use stage::Stage;
use table::{Attack, attacks};

/// Calls of the other tenant while one attack goes on, and the pause between two.
const CALLS: usize = 150;
const PAUSE: Duration = Duration::from_millis(2);
/// How often the other tenant's calls must look slow before they are, and how often that is looked at: while other programs
/// take the machine now and then, most looks tell nothing.
const TRIES: usize = 3;
const LOOKS: usize = 6;
/// How much slower the other tenant's calls may be.
const SLOWER: f64 = 2.0;
/// When a call is cut off.
const DEADLINE: Duration = Duration::from_secs(3);
/// The argument that makes this program a compiler.
const COMPILE: &str = "compile-child";

struct Others(Arc<Stage>);

impl Others {
    /// The slowest hundredth of the other tenant's calls begins at this.
    async fn p99(&self) -> Duration {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let start = Instant::now();
            self.0.other.on_task_request(&task(), chain()).await.unwrap();
            times.push(start.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        times.sort();
        times[CALLS * 99 / 100]
    }

    /// How much slower the other tenant's calls are while this goes on; none when they are as unsteady without it.
    async fn ratio(&self, attack: &Arc<Attack>, wrong: &mut Vec<String>) -> Option<f64> {
        let loaded = self.0.load(attack).await.ok();
        let before = self.p99().await;
        let stop = Arc::new(AtomicBool::new(false));
        let attacker = tokio::spawn({
            let (stage, attack, stop) = (Arc::clone(&self.0), Arc::clone(attack), Arc::clone(&stop));
            async move { stage.attack(&attack, loaded.as_ref(), &stop).await }
        });
        let during = self.p99().await;
        stop.store(true, Ordering::Release);
        wrong.extend(attacker.await.unwrap());
        let after = self.p99().await;
        eprintln!("{}: {before:?} before it, {during:?} during it, {after:?} after it", attack.name);
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

async fn measure() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let compiler = Compiler::Child { program: std::env::current_exe().unwrap(), args: vec![COMPILE.into()] };
    let others = Others(Arc::new(Stage::new(directory.path(), compiler, DEADLINE).await));
    let _busy = Busy::start();
    let (mut worst, mut fine) = (0.0_f64, true);
    for attack in attacks().into_iter().map(Arc::new) {
        let (mut ratios, mut wrong) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            ratios.extend(others.ratio(&attack, &mut wrong).await);
            if ratios.iter().any(|ratio| *ratio <= SLOWER) || ratios.len() >= TRIES || !wrong.is_empty() {
                break;
            }
        }
        let best = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let name = attack.name.replace(' ', "_");
        if ratios.is_empty() {
            eprintln!("{name}: the machine was too unsteady to tell");
            continue;
        }
        println!("attack_{name}_others_p99 {best:.2} x");
        worst = worst.max(best);
        for wrong in wrong {
            eprintln!("{wrong}");
            fine = false;
        }
    }
    println!("attack_worst_others_p99 {worst:.2} x");
    fine && worst <= SLOWER
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == COMPILE) {
        return eigenshift_plugin::compile::child(arguments);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if runtime.block_on(measure()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
