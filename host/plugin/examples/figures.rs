//! `cargo xtask bench plugin`: what a call costs, one figure a line, `name value unit`.
//!
//! A call is `on-task-request` of incredible-squaring in a fresh instance, without host calls, 256 bytes in. Processor
//! time (`cpu`) is the guest thread's for the call: limits set, the instance made, called and dropped. `around` is what the
//! same thread uses from one call to the next: it wakes up, takes the work and hands the answer over; `caller` what the
//! other side uses for both. Where there are virtual processors, most of these two is the hypervisor's price for waking
//! another one. `per_core_per_second` counts all of a guest thread's time. `floor` is the bare engine with the same settings
//! in the same run, on one thread, without any of the host.
//!
//! Another tenant's calls, two at a time, keep the guest thread at work all the while, as on a host with many AVSs: a
//! call's wall time has one of them in it. The figures that begin with `lone_` are without: a thread that has slept finds
//! its caches cold, and so has a call more to do.
//! `reused` is the same in an instance that is kept from call to call, for those whose interpreter takes long to start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops at the first surprise"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use eigenshift_env::Env;
use eigenshift_plugin::floor::Floor;
use eigenshift_plugin::{
    Bundle, ChainReadError, ChainReader, EventLog, Grants, Header, Host, HostOptions, Plugin, Task,
};
use eigenshift_types::{Address, B256, BlockRef, Bytes, Service, U256};

/// A chain that nobody asks.
struct NoChain;

#[async_trait]
impl ChainReader for NoChain {
    async fn call(&self, _: Address, _: Bytes, _: BlockRef) -> Result<Bytes, ChainReadError> {
        Err(ChainReadError::UnknownBlock)
    }
    async fn logs(&self, _: Address, _: &[B256], _: u64, _: u64, _: BlockRef) -> Result<Vec<EventLog>, ChainReadError> {
        Err(ChainReadError::UnknownBlock)
    }
    async fn header(&self, _: Option<u64>, _: BlockRef) -> Result<Header, ChainReadError> {
        Err(ChainReadError::UnknownBlock)
    }
    async fn at_number(&self, _: u64, _: BlockRef) -> Result<BlockRef, ChainReadError> {
        Err(ChainReadError::UnknownBlock)
    }
}

const WARM_UP: usize = 500;
const CALLS: usize = 5_000;

fn print(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.1} {unit}");
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e6
}

fn bundle(name: &str) -> Option<Bundle> {
    let folder = std::env::var_os("EIGENSHIFT_COMPONENTS")
        .map_or_else(|| PathBuf::from("plugins/target/components"), PathBuf::from);
    let component = std::fs::read(folder.join(format!("{name}.wasm"))).ok()?;
    let manifest = std::fs::read_to_string(folder.join(format!("{name}.avs.toml"))).unwrap();
    Some(Bundle::new(component, manifest))
}

/// 32 bytes of number and 224 that the request's type does not have: they are carried in and left alone.
fn task() -> Task {
    let mut request = U256::from(12).to_be_bytes::<32>().to_vec();
    request.resize(256, 0);
    Task {
        index: 3,
        request: request.into(),
        service: Service { avs: "bench".parse().unwrap(), chain_id: 31_337, service_manager: Address::ZERO },
        reference_block: BlockRef::default(),
        reference_time: 0,
    }
}

async fn calls(name: &str, plugin: &Plugin, env: &Env) -> f64 {
    let (task, chain) = (task(), Arc::new(NoChain) as Arc<dyn ChainReader>);
    let (mut wall, mut cpu, mut around, mut caller) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + CALLS {
        let (before, own, start) = (plugin.counters(), env.threads.cpu_time(), Instant::now());
        let answer = plugin.on_task_request(&task, Arc::clone(&chain)).await;
        let elapsed = start.elapsed();
        if round == 0
            && let Err(error) = answer
        {
            eprintln!("{name}: {error}");
        }
        if round >= WARM_UP {
            wall.push(elapsed);
            let after = plugin.counters();
            cpu.push(after.cpu - before.cpu);
            around.push(after.cpu_around - before.cpu_around);
            caller.push(env.threads.cpu_time() - own);
        }
    }
    let p50 = percentile(&mut cpu, 50);
    print(&format!("{name}_p50_us"), percentile(&mut wall, 50), "us");
    print(&format!("{name}_p99_us"), percentile(&mut wall, 99), "us");
    print(&format!("{name}_cpu_p50_us"), p50, "us");
    print(&format!("{name}_cpu_p99_us"), percentile(&mut cpu, 99), "us");
    print(&format!("{name}_around_cpu_p50_us"), percentile(&mut around, 50), "us");
    print(&format!("{name}_caller_cpu_p50_us"), percentile(&mut caller, 50), "us");
    p50
}

/// Calls without a pause.
async fn keep_busy(neighbour: &Plugin) {
    let (task, chain) = (task(), Arc::new(NoChain) as Arc<dyn ChainReader>);
    loop {
        let _ = neighbour.on_task_request(&task, Arc::clone(&chain)).await;
    }
}

/// Calls that one guest thread ends in a second when there is always work for it.
async fn throughput(prefix: &str, plugin: &Plugin) {
    const CALLERS: usize = 4;
    let ended = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (plugin, ended) = (plugin.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let (task, chain) = (task(), Arc::new(NoChain) as Arc<dyn ChainReader>);
                loop {
                    let _ = plugin.on_task_request(&task, Arc::clone(&chain)).await;
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let all = || {
        let counters = plugin.counters();
        counters.cpu + counters.cpu_around
    };
    let used = all();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = all() - used;
    for caller in callers {
        caller.abort();
    }
    let per_core = ended.load(Ordering::Relaxed) as f64 / used.as_secs_f64();
    print(&format!("{prefix}call_fresh_per_core_per_second"), per_core, "1/s");
}

fn floor(prefix: &str, bundle: &Bundle, env: &Env, p50: f64) {
    let (floor, task) = (Floor::new(bundle).unwrap(), task());
    let mut times = Vec::new();
    for round in 0..WARM_UP + CALLS {
        let before = env.threads.cpu_time();
        let _ = floor.on_task_request(&task);
        let used = env.threads.cpu_time() - before;
        if round >= WARM_UP {
            times.push(used);
        }
    }
    let floor = percentile(&mut times, 50);
    print(&format!("{prefix}floor_call_us"), floor, "us");
    print(&format!("{prefix}floor_call_p99_us"), percentile(&mut times, 99), "us");
    print(&format!("{prefix}call_fresh_cpu_over_floor"), p50 / floor, "x");
}

async fn loading(prefix: &str, bundle: &Bundle, env: &Env) {
    let folder = tempfile::tempdir().unwrap();
    let options = || HostOptions { cache_dir: Some(folder.path().join("compiled")), ..HostOptions::default() };
    let start = Instant::now();
    drop(Host::new(options(), env).unwrap().load(bundle.clone(), &Grants::all()).await.unwrap());
    print(&format!("{prefix}compile_cold_ms"), start.elapsed().as_secs_f64() * 1e3, "ms");
    let mut times = Vec::new();
    for _ in 0..10 {
        let host = Host::new(options(), env).unwrap();
        let start = Instant::now();
        drop(host.load(bundle.clone(), &Grants::all()).await.unwrap());
        times.push(start.elapsed());
    }
    print(&format!("{prefix}load_cached_ms"), percentile(&mut times, 50) / 1e3, "ms");
}

fn main() {
    let env = Env::real();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let rust = bundle("incredible-squaring").expect("cargo xtask guests builds it");
    for (prefix, name) in
        [("", "incredible-squaring"), ("js_", "incredible-squaring-js"), ("python_", "incredible-squaring-py")]
    {
        let Some(bundle) = bundle(name) else {
            eprintln!("{name} is not built: its figures are left out");
            continue;
        };
        let host = Host::new(HostOptions { guest_threads: 1, ..HostOptions::default() }, &env).unwrap();
        let load = |bundle: &Bundle| runtime.block_on(host.load(bundle.clone(), &Grants::all())).unwrap();
        let plugin = load(&bundle);
        let neighbour = load(&rust);
        let busy = runtime.spawn(async move { futures::join!(keep_busy(&neighbour), keep_busy(&neighbour)) });
        let p50 = runtime.block_on(calls(&format!("{prefix}call_fresh"), &plugin, &env));
        busy.abort();
        let _ = runtime.block_on(busy);
        if prefix.is_empty() {
            runtime.block_on(calls("lone_call_fresh", &plugin, &env));
        }
        // With a runtime of its own.
        floor(prefix, &bundle, &env, p50);
        runtime.block_on(throughput(prefix, &plugin));
        runtime.block_on(loading(prefix, &bundle, &env));
        if !prefix.is_empty() {
            let reusing = format!("{}\n[runtime]\nreuse-calls = 10_000\n", bundle.manifest());
            let plugin = load(&Bundle::new(bundle.component().clone(), reusing));
            runtime.block_on(calls(&format!("{prefix}call_reused"), &plugin, &env));
        }
    }
}
