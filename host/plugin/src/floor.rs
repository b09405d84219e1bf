//! The bare engine, to measure the host's own share of a call against. For benchmarks only.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bundle::Bundle;
use crate::capability;
use crate::error::{CallError, LoadError};
use crate::manifest::Manifest;
use crate::sandbox::call::text;
use crate::sandbox::imports::CallState;
use crate::sandbox::settings;
use crate::track::v0_1::Exports;
use crate::values::Task;

/// One component in an engine with the host's settings: no places, no limits but fuel, no threads.
pub struct Floor {
    pre: InstancePre<CallState>,
    exports: Exports,
    manifest: Manifest,
    runtime: tokio::runtime::Runtime,
}

impl Floor {
    /// Compiles on the calling thread.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn new(bundle: &Bundle) -> Result<Self, LoadError> {
        let compile = |error: wasmtime::Error| LoadError::Compile(text(&error));
        let manifest = Manifest::parse(bundle.manifest())?;
        let memory = usize::try_from(manifest.limits.memory_bytes).unwrap_or(usize::MAX);
        let engine = settings::engine(4, memory).map_err(compile)?;
        let component = Component::from_binary(&engine, bundle.component()).map_err(compile)?;
        let mut linker = Linker::new(&engine);
        capability::add_to_linker(&mut linker).map_err(compile)?;
        let pre = linker.instantiate_pre(&component).map_err(compile)?;
        let exports = Exports::find(&pre)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| LoadError::Internal(error.to_string()))?;
        Ok(Self { pre, exports, manifest, runtime })
    }

    /// Instantiates, calls `on-task-request`, drops the instance; on the calling thread. Bytes of the answers come back.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn on_task_request(&self, task: &Task) -> Result<usize, CallError> {
        let engine_error = |error: wasmtime::Error| CallError::Trap(text(&error));
        let state = CallState::bare(Arc::from(self.manifest.name.as_str()));
        let mut store = Store::new(self.pre.engine(), state);
        store.set_fuel(self.manifest.limits.fuel).map_err(engine_error)?;
        store.set_epoch_deadline(u64::MAX / 2);
        let call = self.exports.bare_on_task_request(&self.pre, &mut store, task);
        self.runtime.block_on(call).map_err(engine_error)
    }
}
