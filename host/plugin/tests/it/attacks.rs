//! Every attack on a host, as one table: what it tries, how it ends, and that nothing of it stays.
//!
//! A test binary of its own, since it measures this process: what an attack took must be given back. That nobody else feels
//! one meanwhile is for `cargo xtask bench attacks`. What each limit is exactly, is for `limits`, `inspect`, `calls` and
//! `compile`.

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
#[path = "attacks/stage.rs"]
mod stage;
#[path = "attacks/table.rs"]
mod table;

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cap::Cap;
use eigenshift_plugin::CallError;

use fixtures::{chain, child, task};
use stage::Stage;
use table::{Attack, attacks};

/// What a round of all attacks may leave in the heap, in bytes: what was allocated and not freed, to the byte.
const LEFT_IN_HEAP: usize = 256 * 1024;
/// What it may leave of the whole process, in MiB: an allocator gives freed memory back when it likes.
const LEFT_OVER: u64 = 32;
/// Rounds before memory is looked at: places of the pool stay as large as what was in them, up to a bound.
const WARM_UP: usize = 2;

/// When calls are cut off whose attack ends so, and all the others, on a machine however slow.
const BRIEF: Duration = Duration::from_secs(1);
const PATIENT: Duration = Duration::from_secs(120);

/// Counts what is allocated and not freed.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// MiB that this process holds.
fn resident() -> u64 {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_ends_with_its_code_and_its_memory_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let stage = Stage::new(directory.path(), child(), PATIENT).await;
    let brief_directory = tempfile::tempdir().unwrap();
    let brief = Stage::new(brief_directory.path(), child(), BRIEF).await;
    let attacks: Vec<Arc<Attack>> = attacks().into_iter().map(Arc::new).collect();
    let mut wrong = Vec::new();
    let stop = AtomicBool::new(true);
    let mut sizes = Vec::new();
    for _ in 0..=WARM_UP {
        for attack in &attacks {
            let stage = if attack.ends == CallError::Deadline.code() { &brief } else { &stage };
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
