//! `cargo xtask bench hosting`: many AVSs on one host, one figure a line, `name value unit`.
//!
//! Three nodes in this process, over mutual TLS on loopback, with their files on disk and an embedded chain. Each runs the
//! same AVSs of three plugins in turn: incredible-squaring, price-oracle with its contracts on the chain, and one written
//! by hand that computes for ever or fills its memory when it is asked to. Each AVS has its own contracts, operator keys
//! and Raft group; of each group another node leads.
//!
//! Figures of a node are this process's divided by three, the chain and the bench included. A task's time is from its
//! creation to its end, as its leader applies them; a price-oracle's ends with its transaction in a block, so blocks are
//! part of it. While it is attacked, the last AVS has as many tasks open as it may, and all its calls are attacks.
//!
//! Arguments: how many AVSs (100), tasks a second over all of them (5), seconds of each load (60).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops at the first surprise"
)]

/// The price oracle's contracts, as the demo deploys them.
#[allow(dead_code, reason = "the demo reads more of them than is read here")]
#[path = "../../../cli/src/demo"]
mod demo {
    pub mod contracts;
    pub mod prices;
}
#[allow(dead_code, reason = "shared with the plugin host's tests")]
#[path = "../../../plugin/tests/it/guest.rs"]
mod guest;
mod load;
mod process;
mod stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use eigenshift_env::Env;

use load::{Load, Times};
use stage::{Kind, NODES, Stage};

/// How long the processor is watched while there is nothing to do, and how long it is left alone before.
const IDLE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(5);

fn print(name: &str, value: f64, unit: &str) {
    println!("hosting_{name} {value:.2} {unit}");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Processor time of a node while it has nothing to do, 100 being one core.
async fn idle_percent() -> f64 {
    tokio::time::sleep(SETTLE).await;
    let (start, before) = (Instant::now(), process::cpu());
    tokio::time::sleep(IDLE).await;
    (process::cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0 / NODES as f64
}

fn print_times(prefix: &str, times: &Times) {
    print(&format!("{prefix}task_p50_ms"), times.percentile(None, 50), "ms");
    print(&format!("{prefix}task_p99_ms"), times.percentile(None, 99), "ms");
    for kind in Kind::ALL {
        print(&format!("{prefix}{}_task_p99_ms", kind.name()), times.percentile(Some(kind), 99), "ms");
    }
    print(&format!("{prefix}tasks"), times.count() as f64, "tasks");
    print(&format!("{prefix}tasks_failed"), times.failed as f64, "tasks");
}

async fn bench(count: usize, rate: f64, seconds: u64) {
    let env = Env::real();
    let mut stage = Stage::set(&env, count).await;
    let base = process::resident();
    print("base_rss_mib_per_node", mib(base) / NODES as f64, "MiB");
    print("base_idle_cpu_percent", idle_percent().await, "%");
    let start = Instant::now();
    stage.start().await;
    print("start_seconds", start.elapsed().as_secs_f64(), "s");
    print("avs_count", count as f64, "AVSs");
    let idle = idle_percent().await;
    let per_avs = |resident: u64| mib(resident.saturating_sub(base)) / (NODES * count) as f64;
    let resident = process::resident();
    print("rss_mib_per_node", mib(resident) / NODES as f64, "MiB");
    print("rss_mib_per_avs_and_node", per_avs(resident), "MiB");
    print("idle_cpu_percent", idle, "%");
    print("tasks_per_second", rate, "1/s");
    let load = Load::new(&stage, rate, Duration::from_secs(seconds));
    // Connections, caches, operator sets.
    load.run("warm-up").await;
    let quiet = load.run("quiet").await;
    print_times("", &quiet);
    print("loaded_rss_mib_per_avs_and_node", per_avs(process::resident()), "MiB");
    let attack = load::Attack::start(&stage).await;
    let attacked = load.run("attacked").await;
    print("attack_calls_failed", attack.stop() as f64, "calls");
    print_times("attacked_", &attacked);
    print("attacked_over_quiet", attacked.percentile(None, 99) / quiet.percentile(None, 99), "x");
    stage.stop().await;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == stage::COMPILE) {
        return eigenshift_plugin::compile::child(std::env::args_os().skip(2));
    }
    let numbers: Vec<f64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let number = |at: usize, usual| numbers.get(at).copied().unwrap_or(usual);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(bench(number(0, 100.0) as usize, number(1, 5.0), number(2, 60.0) as u64));
    ExitCode::SUCCESS
}
