//! The figures of `cargo xtask bench swap`, one a line: `name value unit`.
//!
//! Twenty swaps and five roll-backs in a row at fifty tasks a second, as the test does with less. It fails when a task is
//! lost, fails, or is answered by another version than its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "shared with the tests")]
#![allow(clippy::expect_used, dead_code, reason = "the tests use the rest")]

use std::process::ExitCode;
use std::time::Duration;

#[path = "../tests/it/cluster.rs"]
mod cluster;
#[path = "../tests/it/forgetful.rs"]
mod forgetful;
#[path = "../tests/it/logic.rs"]
mod logic;
#[path = "../tests/it/rounds.rs"]
mod rounds;
#[path = "../tests/it/versions.rs"]
mod versions;

use eigenshift_plugin::Compiler;
use rounds::Scale;

/// The argument with which this program is started to compile a plugin, as a node does.
const COMPILE: &str = "compile-plugin";

/// Tasks between two swaps: a second of them.
const SCALE: Scale =
    Scale { operators: 4, tasks_per_second: 50, open: 128, swaps: 20, roll_backs: 5, functions: 16, between: 50 };

fn print(name: &str, value: Duration) {
    println!("{name} {:.1} ms", value.as_secs_f64() * 1e3);
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == COMPILE) {
        return eigenshift_plugin::compile::child(arguments);
    }
    let compiler = Compiler::this_executable([COMPILE.into()]).expect("this program has a path");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let figures = runtime.block_on(rounds::run(&SCALE, compiler));
    // How much longer than usual no task began when a version took over, at worst.
    let usual = percentile(&figures.usual_gaps, 50);
    print("swap_pause_ms", figures.gaps.last().copied().unwrap_or_default().saturating_sub(usual));
    print("swap_ready_ms", percentile(&figures.ready, 50));
    print("swap_task_p99_ms", percentile(&figures.swapping, 99));
    print("swap_steady_task_p99_ms", percentile(&figures.steady, 99));
    println!("swap_tasks_per_second {:.1} 1/s", figures.rate);
    ExitCode::SUCCESS
}
