//! The engine's settings, each with its reason.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;

use eigenshift_types::B256;
use sha2::{Digest, Sha256};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy};

use super::limiter::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};

/// What one host call may make the host allocate for the guest's arguments and results: a guest can name the same bytes
/// many times over, so that little guest memory becomes much host memory.
pub(crate) const HOSTCALL_FUEL: usize = 8 * 1024 * 1024;

/// Most elements of one table; the largest guests measured (Python) have 7,711.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;

fn pool(slots: u32, max_memory_bytes: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // A full pool is an error, not a wait: the semaphore in front of it has as many permits as there are slots here, and
    // a component can take no more than its share, so that the pool is never full.
    pool.total_component_instances(slots);
    pool.total_stacks(slots);
    pool.max_core_instances_per_component(MAX_CORE_INSTANCES);
    pool.total_core_instances(slots.saturating_mul(MAX_CORE_INSTANCES));
    pool.max_memories_per_component(MAX_MEMORIES);
    pool.total_memories(slots.saturating_mul(MAX_MEMORIES));
    pool.max_tables_per_component(MAX_TABLES);
    pool.max_tables_per_module(MAX_TABLES);
    pool.total_tables(slots.saturating_mul(MAX_TABLES));
    pool.table_elements(TABLE_ELEMENTS);
    // Interpreters' components have large tables of their own.
    pool.max_component_instance_size(16 * 1024 * 1024);
    // The largest manifest that the operator honours, not 4 GiB.
    pool.max_memory_size(max_memory_bytes);
    // Fewer page faults: what a small guest touches is zeroed in place instead of being given back.
    pool.linear_memory_keep_resident(256 * 1024);
    pool.table_keep_resident(64 * 1024);
    pool.async_stack_keep_resident(64 * 1024);
    // One by one: a place that waits in a batch, or is in another thread's hands, is not free although its call has given
    // its slot back, so that the next call would find the pool full.
    pool.decommit_batch_size(1);
    // Off on purpose: it does not reset a dirty page that was swapped out, so the next guest could read it.
    pool.pagemap_scan(Enabled::No);
    pool
}

/// What decides how code is made and what it does: the same for the engine that runs it and for one that only compiles.
fn shared() -> Config {
    let mut config = Config::new();
    // The optimising compiler: a bundle is compiled once, its code runs many times.
    config.strategy(Strategy::Cranelift);
    config.cranelift_opt_level(OptLevel::Speed);
    // Copy-on-write images of what memories begin with.
    config.memory_init_cow(true);

    // Fuel is the rule: the same budget ends a call at the same instruction on every operator.
    config.consume_fuel(true);
    // Epochs are the safety net for wall time, and make guests share their thread.
    config.epoch_interruption(true);
    // Not-a-number bits differ between processors; digests must not.
    config.cranelift_nan_canonicalization(true);
    // Its results differ between processors.
    config.wasm_relaxed_simd(false);
    // Plugins need none of these; every proposal that is off is code that cannot have a bug.
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_tail_call(false);
    config.wasm_wide_arithmetic(false);
    config.wasm_custom_page_sizes(false);
    config.wasm_gc(false);
    config.gc_support(false);
    config.shared_memory(false);

    // The WIT package has no async functions; a call is two to three times cheaper without the bookkeeping for them.
    config.concurrency_support(false);
    // Stacks are used again by other plugins.
    config.async_stack_zeroing(true);
    // The difference is what host functions have; if they overflowed it, the process would abort.
    config.max_wasm_stack(512 * 1024);
    config.async_stack_size(2 * 1024 * 1024);

    // Traps say where, without unbounded work.
    config.wasm_backtrace_max_frames(NonZeroUsize::new(16));
    config.generate_address_map(true);
    config
}

/// The engine that every guest of a host runs in: instances from slots that are made beforehand.
pub(crate) fn engine(slots: u32, max_memory_bytes: usize) -> wasmtime::Result<Engine> {
    let mut config = shared();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots, max_memory_bytes)));
    Engine::new(&config)
}

/// An engine that compiles for [`engine`] and runs nothing. It reserves no address space, so that it works in a process
/// that has little.
pub(crate) fn compiler() -> wasmtime::Result<Engine> {
    let mut config = shared();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// Lets what only implements [`Hash`] into a sha256.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// What the code of an engine is made for: wasmtime's full version, every setting that changes code, and the features of
/// this processor. The header inside compiled code has the major version only.
pub(crate) fn identity(engine: &Engine) -> B256 {
    let mut hasher = Sha256Hasher(Sha256::new());
    hasher.write(b"eigenshift engine v1");
    engine.precompile_compatibility_hash().hash(&mut hasher);
    B256::from(<[u8; 32]>::from(hasher.0.finalize()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::{compiler, engine, identity};

    #[test]
    fn the_engine_that_compiles_makes_code_for_the_one_that_runs() {
        let (runs, compiles) = (engine(1, 1 << 20).unwrap(), compiler().unwrap());
        assert_eq!(identity(&runs), identity(&compiles));
        assert_eq!(identity(&runs), identity(&engine(2, 1 << 21).unwrap()), "how many slots there are changes no code");
        assert_ne!(identity(&runs), identity(&wasmtime::Engine::default()));
    }
}
