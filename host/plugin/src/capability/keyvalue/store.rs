//! The file of one AVS's keys and values. Everything here blocks, writes for an fsync: it runs on a pool.

use std::ops::Bound;
use std::path::Path;

use eigenshift_env::{Env, database};
use eigenshift_types::{Bytes, frame};
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::quota::{Change, Usage};
use super::{KeyValueError, MAX_KEY_BYTES, Swap, Versioned};
use crate::manifest::Keyvalue;

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const USAGE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("usage");
/// The one key of the usage table.
const TOTAL: &str = "total";
const FRAME: u8 = 1;
const MAX_RECORD: usize = 2 * 1024 * 1024;

/// Keys of a page, and bytes of them.
const PAGE_KEYS: usize = 1_000;
const PAGE_BYTES: usize = 64 * 1024;

/// A value as it lies in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    version: u64,
    value: Bytes,
}

/// What a write makes of a key.
enum Write {
    /// Leaves it alone: the transaction is dropped.
    Keep,
    Put(Vec<u8>),
    Remove,
}

fn storage(error: impl std::fmt::Display) -> KeyValueError {
    KeyValueError::Storage(error.to_string())
}

fn decode(bytes: &[u8]) -> Result<Entry, KeyValueError> {
    Ok(frame::decode(FRAME, bytes, MAX_RECORD)?)
}

fn check_key(key: &str) -> Result<(), KeyValueError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) { Ok(()) } else { Err(KeyValueError::Key { len: key.len() }) }
}

fn usage(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Usage, KeyValueError> {
    match table.get(TOTAL).map_err(storage)? {
        Some(record) => Ok(frame::decode(FRAME, record.value(), MAX_RECORD)?),
        None => Ok(Usage::default()),
    }
}

/// The open file; none once it was closed.
pub(super) struct Store(RwLock<Option<Database>>);

impl Store {
    pub(super) fn open(env: &Env, path: &Path, cache_bytes: usize) -> Result<Self, KeyValueError> {
        let database = database::open_with_cache(env.disk.as_ref(), path, cache_bytes)?;
        let write = database.begin_write().map_err(storage)?;
        write.open_table(ENTRIES).map_err(storage)?;
        // A file of another version is found out now, not at the first task.
        usage(&write.open_table(USAGE).map_err(storage)?)?;
        write.commit().map_err(storage)?;
        Ok(Self(RwLock::new(Some(database))))
    }

    pub(super) fn close(&self) {
        drop(self.0.write().take());
    }

    pub(super) fn usage(&self) -> Result<Usage, KeyValueError> {
        let database = self.0.read();
        let read = database.as_ref().ok_or(KeyValueError::Closed)?.begin_read().map_err(storage)?;
        usage(&read.open_table(USAGE).map_err(storage)?)
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Versioned>, KeyValueError> {
        check_key(key)?;
        let database = self.0.read();
        let read = database.as_ref().ok_or(KeyValueError::Closed)?.begin_read().map_err(storage)?;
        let table = read.open_table(ENTRIES).map_err(storage)?;
        let Some(record) = table.get(key).map_err(storage)? else { return Ok(None) };
        let entry = decode(record.value())?;
        Ok(Some(Versioned { version: entry.version, value: entry.value.to_vec() }))
    }

    pub(super) fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        check_key(key)?;
        let database = self.0.read();
        let read = database.as_ref().ok_or(KeyValueError::Closed)?.begin_read().map_err(storage)?;
        Ok(read.open_table(ENTRIES).map_err(storage)?.get(key).map_err(storage)?.is_some())
    }

    /// The keys after `after`, in their order, and whether there are more.
    pub(super) fn keys(&self, after: Option<&str>) -> Result<(Vec<String>, bool), KeyValueError> {
        after.map_or(Ok(()), check_key)?;
        let database = self.0.read();
        let read = database.as_ref().ok_or(KeyValueError::Closed)?.begin_read().map_err(storage)?;
        let table = read.open_table(ENTRIES).map_err(storage)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for record in table.range::<&str>((from, Bound::Unbounded)).map_err(storage)? {
            let (key, _) = record.map_err(storage)?;
            if keys.len() >= PAGE_KEYS || bytes >= PAGE_BYTES {
                return Ok((keys, true));
            }
            bytes += key.value().len();
            keys.push(key.value().to_owned());
        }
        Ok((keys, false))
    }

    /// Looks at a key and writes it, in one transaction that nothing else comes between.
    fn write<T>(
        &self,
        key: &str,
        quota: &Keyvalue,
        decide: impl FnOnce(Option<&Entry>) -> Result<(T, Write), KeyValueError>,
    ) -> Result<T, KeyValueError> {
        check_key(key)?;
        let database = self.0.read();
        let write = database.as_ref().ok_or(KeyValueError::Closed)?.begin_write().map_err(storage)?;
        let answer = {
            let mut entries = write.open_table(ENTRIES).map_err(storage)?;
            let mut totals = write.open_table(USAGE).map_err(storage)?;
            let found = match entries.get(key).map_err(storage)? {
                Some(record) => Some(decode(record.value())?),
                None => None,
            };
            let (answer, what) = decide(found.as_ref())?;
            let value = match what {
                Write::Keep => return Ok(answer),
                Write::Put(value) => Some(value),
                Write::Remove => None,
            };
            if let Some(value) = &value
                && value.len() as u64 > quota.value_bytes
            {
                return Err(KeyValueError::Value { len: value.len(), max: quota.value_bytes });
            }
            let change = Change {
                key: key.len(),
                before: found.as_ref().map(|entry| entry.value.len()),
                after: value.as_ref().map(Vec::len),
            };
            let after = usage(&totals)?.after(change, quota)?;
            match value {
                Some(value) => {
                    let entry = Entry { version: after.version, value: value.into() };
                    entries.insert(key, frame::encode(FRAME, &entry).as_slice()).map_err(storage)?;
                }
                None => drop(entries.remove(key).map_err(storage)?),
            }
            totals.insert(TOTAL, frame::encode(FRAME, &after).as_slice()).map_err(storage)?;
            answer
        };
        write.commit().map_err(storage)?;
        Ok(answer)
    }

    pub(super) fn set(&self, key: &str, value: Vec<u8>, quota: &Keyvalue) -> Result<(), KeyValueError> {
        self.write(key, quota, |_| Ok(((), Write::Put(value))))
    }

    pub(super) fn delete(&self, key: &str, quota: &Keyvalue) -> Result<(), KeyValueError> {
        self.write(key, quota, |found| Ok(((), if found.is_some() { Write::Remove } else { Write::Keep })))
    }

    /// Adds to a number, kept in decimal so that `get` gives it in every language.
    pub(super) fn increment(&self, key: &str, delta: i64, quota: &Keyvalue) -> Result<i64, KeyValueError> {
        self.write(key, quota, |found| {
            let before = match found {
                None => 0,
                Some(entry) => std::str::from_utf8(&entry.value)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok())
                    .ok_or(KeyValueError::NoNumber)?,
            };
            let after = before.checked_add(delta).ok_or(KeyValueError::Overflow)?;
            Ok((after, Write::Put(after.to_string().into_bytes())))
        })
    }

    pub(super) fn swap(
        &self,
        key: &str,
        expected: Option<u64>,
        value: Vec<u8>,
        quota: &Keyvalue,
    ) -> Result<Swap, KeyValueError> {
        self.write(key, quota, |found| {
            let version = found.map(|entry| entry.version);
            if version == expected {
                Ok((Swap::Done, Write::Put(value)))
            } else {
                Ok((Swap::Changed(version), Write::Keep))
            }
        })
    }
}
