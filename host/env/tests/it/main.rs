//! Both worlds keep the promises of the traits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod processes;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eigenshift_env::sim::{MemoryDisk, World};
use eigenshift_env::{Disk, Env, real};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn disks() -> Vec<(Box<dyn Disk>, tempfile::TempDir)> {
    vec![
        (Box::new(real::FileSystem), tempfile::tempdir().unwrap()),
        (Box::new(MemoryDisk::default()), tempfile::tempdir().unwrap()),
    ]
}

#[test]
fn a_file_is_replaced_whole_and_read_back_within_its_bound() {
    for (disk, dir) in disks() {
        let path = dir.path().join("state");
        assert_eq!(disk.read(&path, 10).unwrap(), None);
        disk.write_atomic(&path, b"first").unwrap();
        disk.write_atomic(&path, b"second").unwrap();
        assert_eq!(disk.read(&path, 6).unwrap().unwrap(), b"second");
        assert_eq!(disk.read(&path, 5).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
        assert_eq!(disk.list(dir.path()).unwrap(), vec![path.clone()], "no temporary file is left behind");
        disk.remove(&path).unwrap();
        disk.remove(&path).unwrap();
        assert_eq!(disk.read(&path, 10).unwrap(), None);
    }
}

#[test]
fn a_file_has_a_length_and_a_time_of_last_use() {
    for (disk, dir) in disks() {
        let path = dir.path().join("used");
        assert_eq!(disk.usage(&path).unwrap(), None);
        disk.touch(&path, 5).unwrap_err();
        disk.write_atomic(&path, b"four").unwrap();
        disk.touch(&path, 1_234_567).unwrap();
        let usage = disk.usage(&path).unwrap().unwrap();
        assert_eq!((usage.len, usage.used_ms), (4, 1_234_567));
        assert_eq!(disk.read(&path, 10).unwrap().unwrap(), b"four");
    }
}

#[test]
fn a_directory_is_private_when_nobody_else_can_look_into_it() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, private) in
        [(0o700, true), (0o500, true), (0o750, false), (0o705, false), (0o701, false), (0o777, false)]
    {
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(real::FileSystem.is_private(dir.path()).unwrap(), private, "{mode:o}");
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    // Only root can give a directory away.
    if std::fs::metadata(dir.path()).unwrap().uid() == 0 {
        std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
        assert!(!real::FileSystem.is_private(dir.path()).unwrap(), "another user's");
    }
}

#[test]
fn a_directory_is_locked_once_until_the_lock_is_dropped() {
    for (disk, dir) in disks() {
        let held = disk.lock(dir.path()).unwrap().expect("free");
        assert!(disk.lock(dir.path()).unwrap().is_none());
        drop(held);
        assert!(disk.lock(dir.path()).unwrap().is_some());
    }
}

#[test]
fn a_database_keeps_what_was_committed() {
    const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("t");
    for (disk, dir) in disks() {
        let path = dir.path().join("db.redb");
        {
            let db = eigenshift_env::database::open(disk.as_ref(), &path).unwrap();
            let write = db.begin_write().unwrap();
            write.open_table(TABLE).unwrap().insert(7, b"seven".as_slice()).unwrap();
            write.commit().unwrap();
        }
        let db = eigenshift_env::database::open(disk.as_ref(), &path).unwrap();
        let read = redb::ReadableDatabase::begin_read(&db).unwrap();
        assert_eq!(read.open_table(TABLE).unwrap().get(7).unwrap().unwrap().value(), b"seven");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.redb");
    std::fs::write(&path, vec![7_u8; 8192]).unwrap();
    assert!(eigenshift_env::database::open(&real::FileSystem, Path::new(&path)).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), vec![7_u8; 8192]);
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_in_both_worlds() {
    for env in [Env::real(), Env::simulated(&World::default(), 1)] {
        let listener = env.net.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr();
        assert_ne!(address.port(), 0);
        let server = env.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        let found = env.net.resolve("127.0.0.1", address.port()).await.unwrap();
        assert_eq!(found, [address], "an address is its own");
        let mut stream = env.net.dial(found[0]).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
        server.await.unwrap();
        assert!(env.net.connect(&address.to_string()).await.is_err(), "nobody listens any more");
        assert!(env.net.dial(address).await.is_err());
        assert!(env.net.resolve("no name", 1).await.is_err());
    }
}

#[tokio::test]
async fn a_pool_never_runs_more_jobs_than_it_has_threads() {
    let env = Env::real();
    let pool = env.threads.pool("test", 2, 1).unwrap();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs = (0..32).map(|_| {
        let (pool, running, most) = (pool.clone(), Arc::clone(&running), Arc::clone(&most));
        async move {
            let work = move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            };
            pool.run(work).await
        }
    });
    for result in futures::future::join_all(jobs).await {
        result.unwrap();
    }
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn a_job_that_panics_harms_only_its_caller() {
    let pool = Env::real().threads.pool("test", 1, 1).unwrap();
    assert!(pool.run(|| panic!("on purpose")).await.is_err());
    assert_eq!(pool.run(|| 5).await, Ok(5));
}

#[test]
fn simulated_randomness_is_a_function_of_the_seed() {
    let draw = |seed| Env::simulated(&World::default(), seed).random_32();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    assert_ne!(Env::real().random_32(), Env::real().random_32());
}

#[tokio::test(start_paused = true)]
async fn simulated_time_follows_the_paused_runtime() {
    let env = Env::simulated(&World::default(), 1);
    let before = (env.clock.monotonic(), env.clock.unix_ms());
    env.clock.sleep(std::time::Duration::from_secs(3600)).await;
    assert_eq!((env.clock.monotonic() - before.0).as_secs(), 3600);
    assert_eq!(env.clock.unix_ms() - before.1, 3_600_000);
}
