//! `cargo xtask bench attacks`: how much longer another tenant's calls take while each attack goes on.
//!
//! One figure an attack: what the slowest hundredth of the other's calls takes during it, less what it takes before it. Of
//! four operators' tasks the aggregator waits for six calls: two for its own answer, four to count everybody's. With 3 ms
//! more for each, a task of 18 ms, which the slowest hundredth takes on a quiet host (`bench hosting`), takes twice as long:
//! that is the bound. Quiet is a machine that has other things to do: each core always has something of the lowest priority
//! to run. What a kernel needs to take a core away from that (milliseconds, where an idle core costs none) is not the
//! attack's doing, nor what other programs on the machine do: an attack is looked at again, up to three times, before it
//! counts as felt. Ends with 1 when any is.
//!
//! Arguments: names of attacks, in quotation marks; all of them without any.
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
const CALLS: usize = 300;
const PAUSE: Duration = Duration::from_millis(2);
/// How often the other tenant's calls must look slow before they are, and how often that is looked at: while other programs
/// take the machine now and then, most looks tell nothing.
const TRIES: usize = 3;
const LOOKS: usize = 6;
/// How much longer the other tenant's calls may take.
const MOST: Duration = Duration::from_millis(3);
/// How far the looks before and after an attack may be apart to tell anything.
const STEADY: Duration = Duration::from_millis(1);
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

    /// How much longer the other tenant's calls take while this goes on; none when they are as unsteady without it.
    async fn added(&self, attack: &Arc<Attack>, wrong: &mut Vec<String>) -> Option<Duration> {
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
        let added = during.saturating_sub(before);
        (before.abs_diff(after) <= STEADY || added <= MOST).then_some(added)
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

async fn measure(names: &[String]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let compiler = Compiler::Child { program: std::env::current_exe().unwrap(), args: vec![COMPILE.into()] };
    let others = Others(Arc::new(Stage::new(directory.path(), compiler, DEADLINE).await));
    let _busy = Busy::start();
    let (mut worst, mut fine) = (Duration::ZERO, true);
    let wanted = |attack: &Attack| names.is_empty() || names.iter().any(|name| name == attack.name);
    for attack in attacks().into_iter().filter(wanted).map(Arc::new) {
        let (mut looks, mut wrong) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            looks.extend(others.added(&attack, &mut wrong).await);
            if looks.iter().any(|added| *added <= MOST) || looks.len() >= TRIES || !wrong.is_empty() {
                break;
            }
        }
        let name = attack.name.replace(' ', "_");
        match looks.iter().min() {
            Some(best) => {
                println!("attack_{name}_others_added_p99_ms {:.2} ms", best.as_secs_f64() * 1e3);
                worst = worst.max(*best);
            }
            None => eprintln!("{name}: the machine was too unsteady to tell"),
        }
        for wrong in wrong {
            eprintln!("{wrong}");
            fine = false;
        }
    }
    println!("attack_worst_others_added_p99_ms {:.2} ms", worst.as_secs_f64() * 1e3);
    fine && worst <= MOST
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == COMPILE) {
        return eigenshift_plugin::compile::child(std::env::args_os().skip(2));
    }
    // The bench's own name, when `cargo xtask bench` starts it.
    let names: Vec<String> = arguments.into_iter().filter(|name| name != "attacks").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if runtime.block_on(measure(&names)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
