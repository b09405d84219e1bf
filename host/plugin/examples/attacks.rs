//! `cargo xtask bench attacks`: how much longer another tenant's calls take while each attack goes on.
//!
//! Two figures an attack: what the slowest hundredth of the other's calls takes during it over what it takes without, and
//! how much that is. What other programs on the machine do, and now and then a kernel that takes its time to give a core
//! away, is not the attack's doing: an attack that seems to be felt is looked at again.
//!
//! It is felt when calls take more than twice as long, and more than a millisecond longer: of four operators' tasks the
//! aggregator waits for six calls, so a task of 18 ms, which the slowest hundredth takes on a quiet host (`bench hosting`),
//! takes at most a third longer below that. Ends with 1 when an attack is felt each time.
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

use eigenshift_plugin::Compiler;

use fixtures::{chain, task};
use stage::Stage;
use table::{Attack, attacks};

/// Calls of the other tenant while one attack goes on, and the pause between two.
const CALLS: usize = 300;
const PAUSE: Duration = Duration::from_millis(2);
/// How often the other tenant's calls must look slow before they are, and how often that is looked at: while other programs
/// take the machine now and then, some looks tell nothing.
const TRIES: usize = 4;
const LOOKS: usize = 8;
/// How many times as long the other tenant's calls may take, and how much longer if it is more than that.
const MOST: f64 = 2.0;
const MOST_ADDED: Duration = Duration::from_millis(1);
/// How far what is seen before and after an attack may be apart to tell anything.
const STEADY: f64 = 2.0;
/// When a call is cut off.
const DEADLINE: Duration = Duration::from_secs(3);
/// The argument that makes this program a compiler.
const COMPILE: &str = "compile-child";

/// How much longer calls take.
#[derive(Clone, Copy)]
struct Slowed {
    times: f64,
    added: Duration,
}

impl Slowed {
    fn is_felt(self) -> bool {
        self.times > MOST && self.added > MOST_ADDED
    }
}

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
    async fn slowed(&self, attack: &Arc<Attack>, wrong: &mut Vec<String>) -> Option<Slowed> {
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
        let (least, quiet) = (before.min(after), before.max(after));
        let times = during.as_secs_f64() / quiet.as_secs_f64();
        let steady = quiet.as_secs_f64() <= STEADY * least.as_secs_f64();
        steady.then_some(Slowed { times, added: during.saturating_sub(quiet) })
    }
}

async fn measure(names: &[String]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let compiler = Compiler::Child { program: std::env::current_exe().unwrap(), args: vec![COMPILE.into()] };
    let others = Others(Arc::new(Stage::new(directory.path(), compiler, DEADLINE).await));
    let (mut worst, mut most, mut fine) = (0.0_f64, Duration::ZERO, true);
    let wanted = |attack: &Attack| names.is_empty() || names.iter().any(|name| name == attack.name);
    for attack in attacks().into_iter().filter(wanted).map(Arc::new) {
        let (mut looks, mut wrong) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            looks.extend(others.slowed(&attack, &mut wrong).await);
            if looks.iter().any(|look: &Slowed| !look.is_felt()) || looks.len() >= TRIES || !wrong.is_empty() {
                break;
            }
        }
        let name = attack.name.replace(' ', "_");
        match looks.into_iter().min_by(|one, other| one.times.total_cmp(&other.times)) {
            Some(best) => {
                println!("attack_{name}_others_p99_times {:.2} x", best.times);
                println!("attack_{name}_others_p99_added_ms {:.2} ms", best.added.as_secs_f64() * 1e3);
                (worst, most) = (worst.max(best.times), most.max(best.added));
                fine &= !best.is_felt();
            }
            None => eprintln!("{name}: the machine was too unsteady to tell"),
        }
        for wrong in wrong {
            eprintln!("{wrong}");
            fine = false;
        }
    }
    println!("attack_worst_others_p99_times {worst:.2} x");
    println!("attack_worst_others_p99_added_ms {:.2} ms", most.as_secs_f64() * 1e3);
    fine
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
