//! One group's log: openraft's storage over the shared database.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use eigenshift_types::{AvsId, frame};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use redb::ReadableDatabase;
use tokio::sync::oneshot;

use super::load::{self, Identity, Loaded};
use super::writer::{Done, Op, Work};
use super::{LOG, Store, key};
use crate::error::Error;
use crate::raft::{LogEntry, LogId, Types, Vote};
use crate::record::{DISK_VERSION, EntryRecord, LogIdRecord, VoteRecord};

/// Most bytes of entries in one transfer to a follower.
const TRANSFER_BYTES: usize = 4 << 20;
/// How much of the end of the log stays in memory once it is durable: a host has a hundred groups.
const RECENT_BYTES: usize = 1 << 20;

struct Recent {
    entry: LogEntry,
    bytes: usize,
    /// Which append brought it.
    append: u64,
}

/// The log as the group sees it, which the database follows.
///
/// Invariants: `recent` is an unbroken end of the log, and holds at least what is not durable yet. An index in `recent` is
/// never read from the database, an index outside of `first..=last` never at all: what the database holds there is older.
#[derive(Default)]
struct State {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    first: u64,
    last: Option<LogId>,
    recent: BTreeMap<u64, Recent>,
    recent_bytes: usize,
    appends: u64,
    durable_appends: u64,
}

impl State {
    /// One past the last index.
    fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.index.saturating_add(1))
    }

    fn forget(&mut self, index: u64) {
        if let Some(old) = self.recent.remove(&index) {
            self.recent_bytes -= old.bytes;
        }
    }

    fn durable(&mut self, append: u64) {
        self.durable_appends = self.durable_appends.max(append);
        while self.recent_bytes > RECENT_BYTES
            && let Some(oldest) = self.recent.first_entry()
            && oldest.get().append <= self.durable_appends
        {
            self.recent_bytes -= oldest.remove().bytes;
        }
    }
}

/// That a group is open: once at a time.
pub(crate) struct Held {
    group: AvsId,
    store: Store,
}

impl Held {
    pub(super) fn take(store: &Store, group: &AvsId) -> Result<Self, Error> {
        if store.0.open_groups.send_if_modified(|open| open.insert(group.clone())) {
            Ok(Self { group: group.clone(), store: store.clone() })
        } else {
            Err(Error::AlreadyRunning(group.clone()))
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.0.open_groups.send_if_modified(|open| open.remove(&self.group));
    }
}

struct Shared {
    name: Arc<str>,
    store: Store,
    state: Arc<Mutex<State>>,
    held: Arc<Held>,
}

/// A group's log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore(Arc<Shared>);

fn gone<E>(_: E) -> io::Error {
    io::Error::other("the Raft store's writer is gone")
}

impl Store {
    /// Opens a group's log after checking all of it, and that it belongs to `identity`; a new log is made to.
    pub(crate) async fn log(&self, group: &AvsId, identity: &Identity) -> Result<LogStore, Error> {
        let held = Arc::new(Held::take(self, group)?);
        let name = Arc::from(group.as_str());
        let log = LogStore(Arc::new(Shared { name, store: self.clone(), state: Arc::default(), held }));
        let is_new = self.0.known_groups.lock().insert(group.clone());
        if !is_new {
            // What it handed in when it was open before is in the database then.
            log.write(Work::Nothing).await?;
        }
        let (db, owner) = (Arc::clone(&self.0.db), group.clone());
        let loaded = self.0.pool.run(move || load::load(&db, &owner)).await.map_err(io::Error::other)??;
        match loaded.identity.as_ref() {
            Some(found) if found != identity => {
                return Err(Error::OtherIdentity {
                    group: group.clone(),
                    found: found.to_string(),
                    expected: identity.to_string(),
                });
            }
            Some(_) => {}
            None => log.write(Work::Meta(key::IDENTITY, frame::encode(DISK_VERSION, identity))).await?,
        }
        let Loaded { vote, committed, purged, first, last, .. } = loaded;
        *log.0.state.lock() = State { vote, committed, purged, first, last, ..State::default() };
        Ok(log)
    }
}

async fn hand_in(store: &Store, group: &Arc<str>, work: Work, done: Option<Done>) -> io::Result<()> {
    store.0.queue.send(Op { group: Arc::clone(group), work, done }).await.map_err(gone)
}

/// Returns once it is durable.
async fn write(store: &Store, group: &Arc<str>, work: Work) -> io::Result<()> {
    let (done, written) = oneshot::channel();
    hand_in(store, group, work, Some(Box::new(move |result| drop(done.send(result))))).await?;
    written.await.map_err(gone)?
}

/// Removes all of a group's records.
pub(super) async fn forget(store: &Store, group: &AvsId) -> io::Result<()> {
    write(store, &Arc::from(group.as_str()), Work::Forget).await
}

impl LogStore {
    /// To be kept by whatever else writes for the group.
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.0.held)
    }

    async fn hand_in(&self, work: Work, done: Option<Done>) -> io::Result<()> {
        hand_in(&self.0.store, &self.0.name, work, done).await
    }

    async fn write(&self, work: Work) -> io::Result<()> {
        write(&self.0.store, &self.0.name, work).await
    }

    /// The entries of `start..end` that the log has, up to `max_bytes` but at least one.
    async fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let (transaction, older, recent) = {
            let state = self.0.state.lock();
            let start = start.max(state.first);
            let end = end.min(state.end());
            if start >= end {
                return Ok(Vec::new());
            }
            let recent: Vec<_> =
                state.recent.range(start..end).map(|(_, held)| (held.entry.clone(), held.bytes)).collect();
            let older = start..recent.first().map_or(end, |(entry, _)| entry.index());
            // Under the lock, so that the database is not behind what was read here.
            let transaction =
                if older.is_empty() { None } else { Some(self.0.store.0.db.begin_read().map_err(io::Error::other)?) };
            (transaction, older, recent)
        };
        let mut room = max_bytes;
        let mut entries = Vec::new();
        if let Some(transaction) = transaction {
            let name = Arc::clone(&self.0.name);
            let expected = older.end - older.start;
            let read = self.0.store.0.pool.run(move || read_older(&transaction, &name, older, max_bytes)).await;
            let bytes;
            (entries, bytes) = read.map_err(io::Error::other)??;
            if (entries.len() as u64) < expected {
                return Ok(entries);
            }
            room = room.saturating_sub(bytes);
        }
        for (entry, bytes) in recent {
            if bytes > room && !entries.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            entries.push(entry);
        }
        Ok(entries)
    }
}

fn read_older(
    transaction: &redb::ReadTransaction,
    group: &str,
    range: std::ops::Range<u64>,
    max_bytes: usize,
) -> io::Result<(Vec<LogEntry>, usize)> {
    let corrupt =
        |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("the log of {group} is corrupt: {what}"));
    let log = transaction.open_table(LOG).map_err(io::Error::other)?;
    let rows = log.range((group, range.start)..(group, range.end)).map_err(io::Error::other)?;
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut total = 0;
    let mut expected = range.start;
    for row in rows {
        let (key, value) = row.map_err(io::Error::other)?;
        let (index, bytes) = (key.value().1, value.value());
        if index != expected {
            return Err(corrupt(format!("entry {expected} is missing")));
        }
        if total + bytes.len() > max_bytes && !entries.is_empty() {
            return Ok((entries, total));
        }
        total += bytes.len();
        entries.push(load::entry(bytes, index).map_err(corrupt)?);
        expected = index.saturating_add(1);
    }
    if expected != range.end {
        return Err(corrupt(format!("entry {expected} is missing")));
    }
    Ok((entries, total))
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.read(start, end, TRANSFER_BYTES).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.state.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.0.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write(Work::Meta(key::VOTE, frame::encode(DISK_VERSION, &VoteRecord::from(*vote)))).await?;
        self.0.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else { return Ok(()) };
        self.0.state.lock().committed = Some(committed);
        let record = frame::encode(DISK_VERSION, &LogIdRecord::from(committed));
        self.hand_in(Work::Meta(key::COMMITTED, record), None).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (append, records) = {
            let mut state = self.0.state.lock();
            state.appends += 1;
            let append = state.appends;
            let mut records = Vec::new();
            for entry in entries {
                let (id, index) = (entry.log_id(), entry.index());
                let record = frame::encode(DISK_VERSION, &EntryRecord::from(&entry));
                let bytes = record.len();
                if state.first >= state.end() {
                    state.first = index;
                }
                state.forget(index);
                state.recent.insert(index, Recent { entry, bytes, append });
                state.recent_bytes += bytes;
                state.last = Some(id);
                records.push((index, record));
            }
            (append, records)
        };
        let state = Arc::clone(&self.0.state);
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                state.lock().durable(append);
            }
            callback.io_completed(result);
        });
        self.hand_in(Work::Append(records), Some(done)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index.saturating_add(1));
        {
            let mut state = self.0.state.lock();
            for (_, cut) in state.recent.split_off(&from) {
                state.recent_bytes -= cut.bytes;
            }
            // Never forward, and never behind what was purged.
            state.last = state.last.min(last).max(state.purged);
        }
        // The order of the queue suffices: what is appended after it becomes durable after it.
        self.hand_in(Work::Truncate(from), None).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut state = self.0.state.lock();
            let kept = state.recent.split_off(&upto.index.saturating_add(1));
            for (_, cut) in std::mem::replace(&mut state.recent, kept) {
                state.recent_bytes -= cut.bytes;
            }
            state.purged = Some(upto);
            state.first = state.first.max(upto.index.saturating_add(1));
            state.last = state.last.max(Some(upto));
        }
        self.hand_in(Work::Purge(upto.index, frame::encode(DISK_VERSION, &LogIdRecord::from(upto))), None).await
    }
}
