//! The one thread that writes: group commit across groups.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use redb::{Database, ReadableTable};
use tokio::sync::{mpsc, watch};

use super::{LOG, META};

/// Most bytes of one group in one commit, so that a group with much to write does not hold up the others.
const GROUP_BYTES_PER_COMMIT: usize = 4 << 20;

pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

pub(super) enum Work {
    Append(Vec<(u64, Vec<u8>)>),
    Meta(&'static str, Vec<u8>),
    /// Everything from this index on goes.
    Truncate(u64),
    /// Everything up to this index goes; the record says so first.
    Purge(u64, Vec<u8>),
    /// All of the group goes.
    Forget,
    /// Only for whoever waits until what was handed in before is durable.
    Nothing,
}

/// Something to write. Operations of one group are written in the order they were handed in.
pub(super) struct Op {
    pub(super) group: Arc<str>,
    pub(super) work: Work,
    /// Called after the commit, or with its error; none for what nobody waits for. An operation that nobody waits for is
    /// written with the next one that somebody does wait for: it saves an fsync.
    pub(super) done: Option<Done>,
}

impl Op {
    fn bytes(&self) -> usize {
        match &self.work {
            Work::Append(entries) => entries.iter().map(|(_, bytes)| bytes.len()).sum(),
            Work::Meta(_, bytes) | Work::Purge(_, bytes) => bytes.len(),
            Work::Truncate(_) | Work::Forget | Work::Nothing => 0,
        }
    }
}

/// Says that the store is closed, or poisoned if the thread ends by a panic.
struct Ending<'a> {
    poison: &'a watch::Sender<Option<String>>,
    ended: &'a watch::Sender<bool>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.poison.send_replace(Some("the writer's thread panicked".into()));
        }
        self.ended.send_replace(true);
    }
}

#[derive(Default)]
struct Pending {
    groups: BTreeMap<Arc<str>, VecDeque<Op>>,
    awaited: usize,
}

impl Pending {
    fn push(&mut self, op: Op) {
        self.awaited += usize::from(op.done.is_some());
        self.groups.entry(Arc::clone(&op.group)).or_default().push_back(op);
    }

    /// The next commit: from every group its oldest operations, up to the cap.
    fn take(&mut self) -> Vec<Op> {
        let mut batch = Vec::new();
        for ops in self.groups.values_mut() {
            let mut bytes = 0;
            while bytes < GROUP_BYTES_PER_COMMIT
                && let Some(op) = ops.pop_front()
            {
                bytes += op.bytes();
                self.awaited -= usize::from(op.done.is_some());
                batch.push(op);
            }
        }
        self.groups.retain(|_, ops| !ops.is_empty());
        batch
    }
}

pub(super) fn run(
    db: Arc<Database>,
    mut queue: mpsc::Receiver<Op>,
    poison: &watch::Sender<Option<String>>,
    ended: &watch::Sender<bool>,
) {
    // Declared first, so dropped last: "closed" is said when the database is.
    let _ending = Ending { poison, ended };
    let db = db;
    let mut pending = Pending::default();
    loop {
        if pending.awaited == 0 {
            let Some(op) = queue.blocking_recv() else { break };
            pending.push(op);
        }
        while let Ok(op) = queue.try_recv() {
            pending.push(op);
        }
        if pending.awaited > 0 {
            write(&db, pending.take(), poison);
        }
    }
    while !pending.groups.is_empty() {
        write(&db, pending.take(), poison);
    }
}

fn write(db: &Database, batch: Vec<Op>, poison: &watch::Sender<Option<String>>) {
    let failed = poison.borrow().clone();
    let failed = failed.or_else(|| {
        let why = commit(db, &batch).err()?.to_string();
        tracing::error!(%why, "the Raft store failed to commit: it takes no more writes");
        poison.send_replace(Some(why.clone()));
        Some(why)
    });
    for done in batch.into_iter().filter_map(|op| op.done) {
        done(match &failed {
            None => Ok(()),
            Some(why) => Err(io::Error::other(format!("the Raft store is poisoned: {why}"))),
        });
    }
}

fn commit(db: &Database, batch: &[Op]) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    {
        let mut log = transaction.open_table(LOG)?;
        let mut meta = transaction.open_table(META)?;
        for op in batch {
            let group = &*op.group;
            match &op.work {
                Work::Append(entries) => {
                    for (index, bytes) in entries {
                        log.insert((group, *index), bytes.as_slice())?;
                    }
                }
                Work::Meta(key, bytes) => {
                    meta.insert((group, *key), bytes.as_slice())?;
                }
                Work::Truncate(from) => remove(&mut log, group, *from, u64::MAX)?,
                Work::Purge(upto, bytes) => {
                    meta.insert((group, super::key::PURGED), bytes.as_slice())?;
                    remove(&mut log, group, 0, *upto)?;
                }
                Work::Forget => {
                    for key in super::key::ALL {
                        meta.remove((group, key))?;
                    }
                    remove(&mut log, group, 0, u64::MAX)?;
                }
                Work::Nothing => {}
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn remove(log: &mut redb::Table<'_, (&str, u64), &[u8]>, group: &str, from: u64, to: u64) -> Result<(), redb::Error> {
    let indices = log
        .range((group, from)..=(group, to))?
        .map(|row| row.map(|(key, _)| key.value().1))
        .collect::<Result<Vec<_>, _>>()?;
    for index in indices {
        log.remove((group, index))?;
    }
    Ok(())
}
