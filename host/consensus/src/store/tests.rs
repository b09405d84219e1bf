//! The store under openraft's suite, and what the suite does not look at: crashes, rot and failing disks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use eigenshift_env::Env;
use eigenshift_env::disk::{Disk, Lock, RandomAccess};
use eigenshift_types::{AvsId, B256, ClusterId, Epoch, NodeId, NodePublicKey, frame};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{RaftLogReader, StorageError};
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;

use super::log::LogStore;
use super::{Identity, LOG, SnapshotFile, Store};
use crate::applier::{Applier, Notices};
use crate::error::Error;
use crate::machine::{Entry, Machine, StateMachine};
use crate::peers::PeerBook;
use crate::raft::{Command, LeaderId, LogEntry, LogId, LogPayload, SnapshotMeta, StoredMembership, Types, Vote};
use crate::record::{
    DISK_VERSION, EntryRecord, LogIdRecord, MemberRecord, MembershipRecord, PayloadRecord, VoteRecord,
};

struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, entries: Vec<Entry>) -> Vec<Bytes> {
        vec![Bytes::new(); entries.len()]
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn avs() -> AvsId {
    "oracle".parse().unwrap()
}

fn identity() -> Identity {
    Identity { cluster: ClusterId(B256::repeat_byte(7)), epoch: Epoch(0), node: NodeId(1) }
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

fn command(term: u64, index: u64, bytes: &'static [u8]) -> LogEntry {
    LogEntry { log_id: id(term, index), payload: LogPayload::Normal(Command(Bytes::from_static(bytes))) }
}

struct Builder;

impl StoreBuilder<Types, LogStore, Applier, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier), StorageError<Types>> {
        let directory = TempDir::new().unwrap();
        let env = Env::real();
        let store = Store::open(&env, directory.path()).unwrap();
        let log = store.log(&avs(), &identity()).await.unwrap();
        let applier = Applier {
            machine: Machine::start(&env, "suite", Box::new(Nothing)).unwrap(),
            store,
            group: avs(),
            node: 1,
            book: PeerBook::new(),
            notices: Notices {
                applied: watch::Sender::new(None),
                removed: Arc::new(watch::Sender::new(false)),
                voters: watch::Sender::new(Vec::new()),
            },
            applied: None,
            membership: StoredMembership::default(),
            was_member: false,
            held: log.held(),
        };
        Ok((directory, log, applier))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_openrafts_suite() {
    Suite::test_all(Builder).await.unwrap();
}

/// Copies the files as they are: what a crash at this moment leaves.
fn crash_image(directory: &Path) -> TempDir {
    let image = TempDir::new().unwrap();
    std::fs::copy(directory.join("raft.redb"), image.path().join("raft.redb")).unwrap();
    image
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_entries_and_votes_survive_a_crash() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&Env::real(), directory.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    log.blocking_append([command(1, 0, b"a"), command(1, 1, b"b"), command(1, 2, b"c")]).await.unwrap();
    log.truncate_after(Some(id(1, 0))).await.unwrap();
    log.blocking_append([command(3, 1, b"B")]).await.unwrap();

    let image = crash_image(directory.path());
    let store = Store::open(&Env::real(), image.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), vec![command(1, 0, b"a"), command(3, 1, b"B")]);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(id(3, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_keeps_what_nobody_waited_for() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&Env::real(), directory.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    log.blocking_append((0..10).map(|index| command(1, index, b"x"))).await.unwrap();
    log.save_committed(Some(id(1, 9))).await.unwrap();
    log.purge(id(1, 4)).await.unwrap();
    drop(log);
    store.close().await;

    let store = Store::open(&Env::real(), directory.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 9)));
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(id(1, 4)));
    let indices: Vec<u64> = log.try_get_log_entries(0..100).await.unwrap().iter().map(RaftEntry::index).collect();
    assert_eq!(indices, [5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_is_bounded_in_bytes_and_never_empty() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&Env::real(), directory.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    let mib: &'static [u8] = Box::leak(vec![5; 1 << 20].into_boxed_slice());
    log.blocking_append((0..12).map(|index| command(1, index, mib))).await.unwrap();
    // The oldest are only in the database by now, the newest only in memory.
    for start in 0..12 {
        let some = log.limited_get_log_entries(start, 12).await.unwrap();
        assert!(!some.is_empty() && some.len() <= 4, "{} entries from {start}", some.len());
        assert_eq!(some[0].index(), start);
    }
    assert_eq!(log.try_get_log_entries(0..12).await.unwrap().len(), 12);
}

/// Changes the bytes of an entry behind the store's back.
fn tamper(directory: &Path, index: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let env = Env::real();
    let db = eigenshift_env::database::open(env.disk.as_ref(), &directory.join("raft.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    {
        let mut log = transaction.open_table(LOG).unwrap();
        let mut bytes = log.remove(("oracle", index)).unwrap().unwrap().value().to_vec();
        change(&mut bytes);
        if !bytes.is_empty() {
            log.insert(("oracle", index), bytes.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_garbled_or_missing_entry_is_reported() {
    let changes: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes[0] = DISK_VERSION + 1,
        Vec::clear,
    ];
    for change in changes {
        let directory = TempDir::new().unwrap();
        let store = Store::open(&Env::real(), directory.path()).unwrap();
        let mut log = store.log(&avs(), &identity()).await.unwrap();
        log.blocking_append((0..3).map(|index| command(1, index, b"payload"))).await.unwrap();
        drop(log);
        store.close().await;
        tamper(directory.path(), 1, change);
        let store = Store::open(&Env::real(), directory.path()).unwrap();
        let Err(Error::Corrupt { group, what }) = store.log(&avs(), &identity()).await.map(drop) else {
            panic!("a corrupt log was opened");
        };
        assert_eq!(group, avs());
        assert!(what.contains("entry 1"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_belongs_to_one_identity_and_one_group_at_a_time() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&Env::real(), directory.path()).unwrap();
    let log = store.log(&avs(), &identity()).await.unwrap();
    assert!(matches!(store.log(&avs(), &identity()).await.map(drop), Err(Error::AlreadyRunning(_))));
    drop(log);
    let other = Identity { node: NodeId(2), ..identity() };
    assert!(matches!(store.log(&avs(), &other).await.map(drop), Err(Error::OtherIdentity { .. })));
    store.log(&avs(), &identity()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_opened_again_has_what_nobody_waited_for() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&Env::real(), directory.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    log.blocking_append((0..12).map(|index| command(1, index, b"payload"))).await.unwrap();
    log.purge(id(1, 4)).await.unwrap();
    log.truncate_after(Some(id(1, 8))).await.unwrap();
    log.save_committed(Some(id(1, 7))).await.unwrap();
    drop(log);
    store.released(&avs()).await;
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 4)), Some(id(1, 8))));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 7)));
    let entries = log.try_get_log_entries(0..20).await.unwrap();
    assert_eq!(entries.iter().map(RaftEntry::index).collect::<Vec<_>>(), [5, 6, 7, 8]);
}

fn snapshot(index: u64) -> SnapshotFile {
    let meta = SnapshotMeta { last_log_id: Some(id(1, index)), last_membership: StoredMembership::default() };
    SnapshotFile::new(&meta, Bytes::from_static(b"body"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_group_has_nothing_and_the_others_have_all() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&Env::real(), directory.path()).unwrap();
    // Of names that begin with each other.
    let names: [AvsId; 3] = ["a", "a-1", "b"].map(|name| name.parse().unwrap());
    for name in &names {
        let mut log = store.log(name, &identity()).await.unwrap();
        log.save_vote(&Vote::new(3, 1)).await.unwrap();
        log.blocking_append((0..3).map(|index| command(1, index, b"payload"))).await.unwrap();
        store.save_snapshot(name, snapshot(1)).await.unwrap();
        if *name == names[0] {
            assert!(matches!(store.forget(name).await, Err(Error::AlreadyRunning(_))), "it is open");
        }
    }
    for name in &names {
        store.released(name).await;
    }
    store.forget(&names[0]).await.unwrap();
    store.forget(&names[0]).await.unwrap();
    let other = Identity { node: NodeId(9), ..identity() };
    let mut log = store.log(&names[0], &other).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, None);
    assert_eq!(log.read_vote().await.unwrap(), None);
    assert!(store.snapshot(&names[0]).await.unwrap().is_none());
    for name in &names[1..] {
        let mut log = store.log(name, &identity()).await.unwrap();
        assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(id(1, 2)));
        assert!(log.read_vote().await.unwrap().is_some() && store.snapshot(name).await.unwrap().is_some());
    }
}

/// A disk whose fsync can be made to fail, or to wait.
struct Fickle {
    disk: Arc<dyn Disk>,
    switch: Arc<Switch>,
}

#[derive(Debug, Default)]
struct Switch {
    fails: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

#[derive(Debug)]
struct FickleFile {
    file: Box<dyn RandomAccess>,
    switch: Arc<Switch>,
}

impl RandomAccess for FickleFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut held = self.switch.held.lock();
        while *held {
            self.switch.released.wait(&mut held);
        }
        if self.switch.fails.load(Ordering::SeqCst) {
            Err(io::Error::other("the disk is gone"))
        } else {
            self.file.sync()
        }
    }
}

impl Disk for Fickle {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path, max)
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_atomic(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(path)
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn RandomAccess>> {
        Ok(Box::new(FickleFile { file: self.disk.open(path)?, switch: Arc::clone(&self.switch) }))
    }
}

fn fickle() -> (Env, Arc<Switch>) {
    let mut env = Env::real();
    let switch = Arc::new(Switch::default());
    env.disk = Arc::new(Fickle { disk: env.disk, switch: Arc::clone(&switch) });
    (env, switch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fsync_poisons_the_store_for_good() {
    let (env, switch) = fickle();
    let directory = TempDir::new().unwrap();
    let store = Store::open(&env, directory.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();
    let mut other = store.log(&"other".parse().unwrap(), &identity()).await.unwrap();
    log.blocking_append([command(1, 0, b"kept")]).await.unwrap();

    switch.fails.store(true, Ordering::SeqCst);
    log.blocking_append([command(1, 1, b"lost")]).await.unwrap_err();
    let mut poisoned = store.poisoned();
    assert!(poisoned.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().contains("the disk is gone"));

    // The disk says that it is well again: it is not believed, by no group.
    switch.fails.store(false, Ordering::SeqCst);
    log.save_vote(&Vote::new(9, 1)).await.unwrap_err();
    other.save_vote(&Vote::new(9, 1)).await.unwrap_err();
    assert_eq!(log.read_vote().await.unwrap(), None);

    let image = crash_image(directory.path());
    let reopened = Store::open(&Env::real(), image.path()).unwrap();
    let mut log = reopened.log(&avs(), &identity()).await.unwrap();
    assert_eq!(log.read_vote().await.unwrap(), None);
    assert_eq!(log.try_get_log_entries(0..1).await.unwrap(), vec![command(1, 0, b"kept")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appended_entries_are_readable_at_once_and_acknowledged_only_when_durable() {
    let (env, switch) = fickle();
    let directory = TempDir::new().unwrap();
    let store = Store::open(&env, directory.path()).unwrap();
    let mut log = store.log(&avs(), &identity()).await.unwrap();

    *switch.held.lock() = true;
    let (sender, acknowledged) = Types::oneshot();
    log.append([command(1, 0, b"a"), command(1, 1, b"b")], IOFlushed::signal(sender)).await.unwrap();
    assert_eq!(log.try_get_log_entries(0..2).await.unwrap().len(), 2);
    let mut acknowledged = std::pin::pin!(acknowledged);
    assert!(futures::poll!(&mut acknowledged).is_pending());

    // Cut and replaced while the first version is still on its way to the disk.
    log.truncate_after(Some(id(1, 0))).await.unwrap();
    let (sender, again) = Types::oneshot();
    log.append([command(2, 1, b"B")], IOFlushed::signal(sender)).await.unwrap();
    assert_eq!(log.try_get_log_entries(0..5).await.unwrap(), vec![command(1, 0, b"a"), command(2, 1, b"B")]);

    *switch.held.lock() = false;
    switch.released.notify_all();
    acknowledged.await.unwrap().unwrap();
    again.await.unwrap().unwrap();
    assert_eq!(log.try_get_log_entries(0..5).await.unwrap(), vec![command(1, 0, b"a"), command(2, 1, b"B")]);
}

/// Files of this version are read by later ones: a change here is a new version, not a new expectation.
#[test]
fn records_on_disk_are_pinned() {
    let membership = MembershipRecord {
        configs: vec![[1, 2].into()],
        nodes: [(1, MemberRecord { url: "https://a:1".into(), key: NodePublicKey(B256::repeat_byte(0xaa)) })].into(),
    };
    let at = LogIdRecord { term: 2, node: 1, index: 3 };
    let records = [
        frame::encode(DISK_VERSION, &VoteRecord { term: 2, node: 1, committed: true }),
        frame::encode(DISK_VERSION, &EntryRecord { id: at, payload: PayloadRecord::Blank }),
        frame::encode(
            DISK_VERSION,
            &EntryRecord { id: at, payload: PayloadRecord::Command(Bytes::from_static(b"hi")) },
        ),
        frame::encode(DISK_VERSION, &EntryRecord { id: at, payload: PayloadRecord::Membership(membership) }),
        frame::encode(DISK_VERSION, &identity()),
    ];
    let digests: Vec<String> =
        records.iter().map(|record| format!("{} {:08x}", record.len(), crc32fast::hash(record))).collect();
    assert_eq!(digests, ["29 5b5325f8", "43 2e5c178b", "50 7c552410", "125 d5768254", "61 4be307c2"]);
}
