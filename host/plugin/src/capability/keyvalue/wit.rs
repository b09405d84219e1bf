//! What a guest sees of a store.

use std::sync::atomic::Ordering;

use wasmtime::component::{HasSelf, Linker, Resource};

use super::{KeyValueError, KeyValueStore, Swap, Versioned};
use crate::manifest::Keyvalue;
use crate::sandbox::imports::CallState;
use crate::sandbox::text::{MAX_TEXT, clean};

mod bindings {
    #![allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::indexing_slicing)]
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is the macro's code")]

    wasmtime::component::bindgen!({
        path: "../../wit/deps/keyvalue",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
    });
}

use bindings::wasi::keyvalue::{atomics, store as wit};

/// The interfaces' names without their version, and it: a draft is compatible with no other.
pub(in crate::capability) const INTERFACES: [&str; 2] = ["wasi:keyvalue/store", "wasi:keyvalue/atomics"];
pub(in crate::capability) const VERSION: &str = "0.2.0-draft2";

/// Names of the one bucket that an AVS has.
const BUCKETS: [&str; 2] = ["", "default"];

/// The AVS's bucket.
pub struct Bucket(());

/// A key as it was when the guest last looked at it. The value is not kept: a guest may hold many of these.
pub struct Cas {
    key: String,
    version: Option<u64>,
}

/// What one call may do with its AVS's store.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// None when every operation is denied.
    open: Option<(KeyValueStore, Keyvalue)>,
    operations: u32,
}

impl Access {
    pub(crate) fn new(store: KeyValueStore, quota: Keyvalue) -> Self {
        Self { open: Some((store, quota)), operations: 0 }
    }
}

fn refused(error: &KeyValueError) -> wit::Error {
    wit::Error::Other(clean(&format!("{}: {error}", error.code()), MAX_TEXT))
}

fn value(found: Option<Versioned>) -> (Option<u64>, Option<Vec<u8>>) {
    match found {
        Some(found) => (Some(found.version), Some(found.value)),
        None => (None, None),
    }
}

impl CallState {
    /// Counts an operation and gives what it works on.
    fn keyvalue(&mut self) -> Result<(KeyValueStore, Keyvalue), wit::Error> {
        let (store, quota) = self.keyvalue.open.as_ref().ok_or(wit::Error::AccessDenied)?;
        if self.keyvalue.operations >= quota.operations_per_call {
            return Err(wit::Error::Other(format!(
                "keyvalue-quota-operations: keyvalue.operations-per-call in avs.toml allows {} of a call",
                quota.operations_per_call
            )));
        }
        self.keyvalue.operations += 1;
        self.totals.keyvalue_operations.fetch_add(1, Ordering::Relaxed);
        Ok((store.clone(), *quota))
    }

    fn hand_out<T: Send + 'static>(&mut self, resource: T) -> Result<Resource<T>, wit::Error> {
        self.table
            .push(resource)
            .map_err(|_| wit::Error::Other("keyvalue-quota-handles: this call holds too many; drop some".to_owned()))
    }

    async fn look(&mut self, key: String) -> Result<(Cas, Option<Vec<u8>>), wit::Error> {
        let (store, _) = self.keyvalue()?;
        let (version, value) = value(store.get(key.clone()).await.map_err(|error| refused(&error))?);
        Ok((Cas { key, version }, value))
    }
}

/// One operation on the store, its refusal in the interface's words.
macro_rules! operate {
    ($state:ident, |$store:ident, $quota:ident| $call:expr) => {{
        match $state.keyvalue() {
            Ok(($store, $quota)) => $call.await.map_err(|error| refused(&error)),
            Err(denied) => Err(denied),
        }
    }};
}

impl wit::Host for CallState {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, wit::Error>> {
        self.count_host_call()?;
        Ok(match self.keyvalue() {
            Ok(_) if BUCKETS.contains(&identifier.as_str()) => self.hand_out(Bucket(())),
            Ok(_) => Err(wit::Error::NoSuchStore),
            Err(denied) => Err(denied),
        })
    }
}

impl wit::HostBucket for CallState {
    async fn get(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, wit::Error>> {
        self.count_host_call()?;
        Ok(operate!(self, |store, _quota| store.get(key)).map(|found| value(found).1))
    }

    async fn set(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        self.count_host_call()?;
        Ok(operate!(self, |store, quota| store.set(key, value, quota)))
    }

    async fn delete(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), wit::Error>> {
        self.count_host_call()?;
        Ok(operate!(self, |store, quota| store.delete(key, quota)))
    }

    async fn exists(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, wit::Error>> {
        self.count_host_call()?;
        Ok(operate!(self, |store, _quota| store.exists(key)))
    }

    async fn list_keys(
        &mut self,
        _: Resource<Bucket>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<wit::KeyResponse, wit::Error>> {
        self.count_host_call()?;
        Ok(operate!(self, |store, _quota| store.keys(cursor)).map(|(keys, more)| {
            let cursor = if more { keys.last().cloned() } else { None };
            wit::KeyResponse { keys, cursor }
        }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.count_host_call()?;
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::HostCas for CallState {
    async fn new(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Resource<Cas>, wit::Error>> {
        self.count_host_call()?;
        Ok(match self.look(key).await {
            Ok((cas, _)) => self.hand_out(cas),
            Err(refused) => Err(refused),
        })
    }

    async fn current(&mut self, handle: Resource<Cas>) -> wasmtime::Result<Result<Option<Vec<u8>>, wit::Error>> {
        self.count_host_call()?;
        let key = self.table.get(&handle)?.key.clone();
        Ok(match self.look(key).await {
            // From now on the handle stands for what the guest has just seen.
            Ok((seen, value)) => {
                *self.table.get_mut(&handle)? = seen;
                Ok(value)
            }
            Err(refused) => Err(refused),
        })
    }

    async fn drop(&mut self, handle: Resource<Cas>) -> wasmtime::Result<()> {
        self.count_host_call()?;
        self.table.delete(handle)?;
        Ok(())
    }
}

impl atomics::Host for CallState {
    async fn increment(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, wit::Error>> {
        self.count_host_call()?;
        Ok(operate!(self, |store, quota| store.increment(key, delta, quota)))
    }

    async fn swap(&mut self, handle: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        self.count_host_call()?;
        let Cas { key, version } = self.table.delete(handle)?;
        let again = key.clone();
        Ok(match operate!(self, |store, quota| store.swap(key, version, value, quota)) {
            Ok(Swap::Done) => Ok(()),
            Ok(Swap::Changed(version)) => match self.hand_out(Cas { key: again, version }) {
                Ok(handle) => Err(atomics::CasError::CasFailed(handle)),
                Err(full) => Err(atomics::CasError::StoreError(full)),
            },
            Err(refused) => Err(atomics::CasError::StoreError(refused)),
        })
    }
}

pub(in crate::capability) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)?;
    atomics::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)
}
