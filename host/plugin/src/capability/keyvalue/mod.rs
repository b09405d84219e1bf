//! `wasi:keyvalue`: what an AVS keeps on this operator between calls.
//!
//! One store per AVS, whatever version of its bundle runs; kept over restarts and swaps. Operators' stores are their own and
//! may differ: so only `on-task-request` reaches one, where operators may differ anyway.
//!
//! - `store`: the file. `quota`: what it may hold. `wit`: what a guest sees of it.
//! - here: the store as it is handed to a host, one operation at a time.

mod quota;
mod store;
mod wit;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use eigenshift_env::{Env, Pool};
use eigenshift_types::frame;
use tokio::sync::Semaphore;

use crate::manifest::Keyvalue;
pub use quota::Usage;
use store::Store;
pub(crate) use wit::Access;
pub(super) use wit::{INTERFACES, VERSION, add_to_linker};

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Why a store does nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeyValueError {
    /// The file cannot be used.
    #[error("the store cannot be opened: {0}; restore the disk, or remove the file and with it what the plugin kept")]
    Open(#[from] redb::DatabaseError),
    /// The file cannot be read or written.
    #[error("the store cannot be used: {0}; the node needs to be started again on a sound disk")]
    Storage(String),
    /// A record is not what was written.
    #[error("a record of the store is corrupt: {0}; remove the file and with it what the plugin kept")]
    Corrupt(#[from] frame::FrameError),
    /// It was closed.
    #[error("the store is closed: the AVS is stopping")]
    Closed,
    /// It is another version's to write.
    #[error("this version of the plugin may only read: another one is active")]
    ReadOnly,
    /// The key has no length that is taken.
    #[error("a key of {len} bytes; 1 to {MAX_KEY_BYTES} are taken")]
    Key {
        /// Its bytes.
        len: usize,
    },
    /// The value is too long.
    #[error("a value of {len} bytes; keyvalue.value-bytes in avs.toml allows {max}")]
    Value {
        /// Its bytes.
        len: usize,
        /// What is allowed.
        max: u64,
    },
    /// The store would become too large.
    #[error("{wanted} bytes with this; keyvalue.bytes in avs.toml allows {max}: delete something first")]
    Bytes {
        /// What the store would hold.
        wanted: u64,
        /// What is allowed.
        max: u64,
    },
    /// There would be too many keys.
    #[error("keyvalue.keys in avs.toml allows {max} keys: delete one first")]
    Keys {
        /// What is allowed.
        max: u64,
    },
    /// What is to be incremented is no number.
    #[error("the value is no whole number of 64 bits in decimal; only such a one is incremented")]
    NoNumber,
    /// The sum does not fit.
    #[error("the sum does not fit 64 bits; the value is as it was")]
    Overflow,
}

impl KeyValueError {
    /// Stable machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open(_) => "keyvalue-open",
            Self::Storage(_) => "keyvalue-storage",
            Self::Corrupt(_) => "keyvalue-corrupt",
            Self::Closed => "keyvalue-closed",
            Self::ReadOnly => "keyvalue-read-only",
            Self::Key { .. } => "keyvalue-key",
            Self::Value { .. } => "keyvalue-value-too-large",
            Self::Bytes { .. } => "keyvalue-quota-bytes",
            Self::Keys { .. } => "keyvalue-quota-keys",
            Self::NoNumber => "keyvalue-no-number",
            Self::Overflow => "keyvalue-overflow",
        }
    }
}

/// A value and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Different for every write to the store.
    pub version: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// What became of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It happened.
    Done,
    /// The key was written, made or removed meanwhile: its version now.
    Changed(Option<u64>),
}

struct Inner {
    store: Arc<Store>,
    pool: Pool,
    /// One write and one read of a store at a time: an AVS that writes much takes one thread of the pool, not all.
    writer: Arc<Semaphore>,
    reader: Arc<Semaphore>,
}

/// The store of one AVS. Cheap to clone. Its operations run on the pool it was opened with; whoever waits for one blocks no
/// thread. A write that was reported done is on disk.
#[derive(Clone)]
pub struct KeyValueStore {
    inner: Arc<Inner>,
    writable: bool,
}

impl fmt::Debug for KeyValueStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueStore").field("writable", &self.writable).finish_non_exhaustive()
    }
}

impl KeyValueStore {
    /// Opens the store's file, making it if it is not there, with at most `cache_bytes` of it in memory. Blocks. The caller
    /// holds the directory's lock; `pool` may be shared by many stores.
    ///
    /// # Errors
    /// [`KeyValueError`]: the file cannot be used.
    pub fn open(env: &Env, path: &Path, pool: Pool, cache_bytes: usize) -> Result<Self, KeyValueError> {
        let store = Arc::new(Store::open(env, path, cache_bytes)?);
        let turn = || Arc::new(Semaphore::new(1));
        Ok(Self { inner: Arc::new(Inner { store, pool, writer: turn(), reader: turn() }), writable: true })
    }

    /// The same store for a version of the plugin that is not active: every write is refused with
    /// [`KeyValueError::ReadOnly`].
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), writable: false }
    }

    /// Waits for what is under way and closes the file, so that it may be opened again. Later operations of any clone are
    /// refused with [`KeyValueError::Closed`]. Blocks.
    pub fn close(&self) {
        self.inner.store.close();
    }

    async fn run<T: Send + 'static>(
        &self,
        turn: &Arc<Semaphore>,
        work: impl FnOnce(&Store) -> Result<T, KeyValueError> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        let turn = Arc::clone(turn).acquire_owned().await.map_err(|_| KeyValueError::Closed)?;
        let store = Arc::clone(&self.inner.store);
        let work = move || {
            // Given back when the work is done, also when nobody waits for it any more.
            let _turn = turn;
            work(&store)
        };
        self.inner.pool.run(work).await.unwrap_or(Err(KeyValueError::Closed))
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, KeyValueError> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        self.run(&self.inner.reader, work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, KeyValueError> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        if !self.writable {
            return Err(KeyValueError::ReadOnly);
        }
        self.run(&self.inner.writer, work).await
    }

    /// What it holds.
    ///
    /// # Errors
    /// [`KeyValueError`].
    pub async fn usage(&self) -> Result<Usage, KeyValueError> {
        self.read(Store::usage).await
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`KeyValueError`].
    pub async fn get(&self, key: String) -> Result<Option<Versioned>, KeyValueError> {
        self.read(move |store| store.get(&key)).await
    }

    /// Whether there is a key.
    ///
    /// # Errors
    /// [`KeyValueError`].
    pub async fn exists(&self, key: String) -> Result<bool, KeyValueError> {
        self.read(move |store| store.exists(&key)).await
    }

    /// The keys after `after`, at most 1,000 and about 64 KiB of them, and whether there are more.
    ///
    /// # Errors
    /// [`KeyValueError`].
    pub async fn keys(&self, after: Option<String>) -> Result<(Vec<String>, bool), KeyValueError> {
        self.read(move |store| store.keys(after.as_deref())).await
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// [`KeyValueError`]; the quota is checked in the transaction that writes.
    pub async fn set(&self, key: String, value: Vec<u8>, quota: Keyvalue) -> Result<(), KeyValueError> {
        self.write(move |store| store.set(&key, value, &quota)).await
    }

    /// Removes a key; that there is none is no error.
    ///
    /// # Errors
    /// [`KeyValueError`].
    pub async fn delete(&self, key: String, quota: Keyvalue) -> Result<(), KeyValueError> {
        self.write(move |store| store.delete(&key, &quota)).await
    }

    /// Adds to a number in decimal and returns the sum; a key that is not there counts as 0.
    ///
    /// # Errors
    /// [`KeyValueError`].
    pub async fn increment(&self, key: String, delta: i64, quota: Keyvalue) -> Result<i64, KeyValueError> {
        self.write(move |store| store.increment(&key, delta, &quota)).await
    }

    /// Gives a key a value if it still has the version that is expected; none expects that it is not there. Looking and
    /// writing are one transaction.
    ///
    /// # Errors
    /// [`KeyValueError`].
    pub async fn swap(
        &self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        quota: Keyvalue,
    ) -> Result<Swap, KeyValueError> {
        self.write(move |store| store.swap(&key, expected, value, &quota)).await
    }
}
