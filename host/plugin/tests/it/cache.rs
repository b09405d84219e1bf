//! Compiled code on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use eigenshift_env::Env;
use eigenshift_plugin::{Grants, Host, HostError, HostOptions, Origin, Plugin};

use crate::fixtures::{chain, options, task};
use crate::guest::{Guest, SCRATCH, result};

fn host(directory: &Path) -> Host {
    Host::new(HostOptions { cache_dir: Some(directory.join("compiled")), ..options() }, &Env::real()).unwrap()
}

/// Loads with a host that knows nothing but what is on disk, and sees that the plugin works.
async fn load(directory: &Path, guest: &Guest) -> Plugin {
    let plugin = host(directory).load(guest.bundle(), &Grants::all()).await.unwrap();
    plugin.on_task_request(&task(), chain()).await.unwrap();
    plugin
}

fn compiled(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("compiled")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

fn other() -> Guest {
    Guest::with("on-task-request", &result(&[0, SCRATCH + 12, 1, 2048, 2]))
}

#[tokio::test]
async fn the_second_start_does_not_compile() {
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest::default();
    assert_eq!(load(directory.path(), &guest).await.origin(), Origin::Compiled);
    assert_eq!(load(directory.path(), &guest).await.origin(), Origin::Disk);
    assert_eq!(compiled(directory.path()).len(), 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.path().join("compiled")), 0o700);
    assert_eq!(mode(&directory.path().join("compiled/cache.key")), 0o600);
    assert_eq!(mode(&compiled(directory.path())[0]), 0o600);
}

#[tokio::test]
async fn a_component_in_use_is_shared_between_bundles() {
    let host = Host::new(options(), &Env::real()).unwrap();
    let guest = Guest::default();
    let first = host.load(guest.bundle(), &Grants::all()).await.unwrap();
    assert_eq!(first.origin(), Origin::Compiled);
    let second = host.load(guest.clone().limits("keys-per-task = 2").bundle(), &Grants::all()).await.unwrap();
    assert_eq!(second.origin(), Origin::Memory);
    assert_ne!(first.digest(), second.digest());
    drop((first, second));
    let third = host.load(guest.bundle(), &Grants::all()).await.unwrap();
    assert_eq!(third.origin(), Origin::Compiled, "nothing is kept of a plugin that is gone");
}

#[tokio::test]
async fn loads_at_the_same_time_compile_once() {
    let host = Host::new(options(), &Env::real()).unwrap();
    let bundle = Guest::default().bundle();
    let grants = Grants::all();
    let loads = (0..8).map(|_| host.load(bundle.clone(), &grants));
    let plugins = futures::future::try_join_all(loads).await.unwrap();
    assert_eq!(plugins.iter().filter(|plugin| plugin.origin() == Origin::Compiled).count(), 1);
}

#[tokio::test]
async fn a_file_that_this_host_did_not_write_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest::default();
    load(directory.path(), &guest).await;
    let path = compiled(directory.path()).remove(0);
    let good = fs::read(&path).unwrap();
    let engine = wasmtime::Engine::default();
    let forged = engine.precompile_component(&other().component()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (what, bytes) in [
        ("flipped in the tag", flipped(0)),
        ("flipped in the code", flipped(good.len() - 1)),
        ("torn", good[..good.len() / 2].to_vec()),
        ("empty", vec![]),
        ("another compiler's, without a tag", forged.clone()),
        ("another compiler's, with this one's tag", [&good[..32], &forged].concat()),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(load(directory.path(), &guest).await.origin(), Origin::Compiled, "{what}");
        assert_eq!(load(directory.path(), &guest).await.origin(), Origin::Disk, "{what}: mended");
    }
}

#[tokio::test]
async fn code_of_another_component_does_not_pass_under_this_ones_name() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), &Guest::default()).await;
    let victim = compiled(directory.path()).remove(0);
    load(directory.path(), &other()).await;
    let all = compiled(directory.path());
    let source = all.iter().find(|path| **path != victim).unwrap();
    // Written by this host, tag and all; only the name is another.
    fs::copy(source, &victim).unwrap();
    let plugin = load(directory.path(), &Guest::default()).await;
    assert_eq!(plugin.origin(), Origin::Compiled);
    assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap()[0].len(), 4);
}

#[tokio::test]
async fn another_key_makes_every_file_worthless() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), &Guest::default()).await;
    for key in [vec![7; 32], vec![7; 5], vec![7; 40]] {
        fs::write(directory.path().join("compiled/cache.key"), key).unwrap();
        assert_eq!(load(directory.path(), &Guest::default()).await.origin(), Origin::Compiled);
    }
    assert_eq!(load(directory.path(), &Guest::default()).await.origin(), Origin::Disk);
}

#[test]
fn a_directory_that_others_may_look_into_is_refused() {
    for mode in [0o777, 0o750, 0o705, 0o701] {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        let options = HostOptions { cache_dir: Some(directory.path().to_owned()), ..options() };
        let error = Host::new(options, &Env::real()).unwrap_err();
        let denied = std::io::ErrorKind::PermissionDenied;
        assert!(matches!(&error, HostError::Cache { source, .. } if source.kind() == denied), "{mode:o}: {error}");
        assert!(!directory.path().join("cache.key").exists());
    }
}

#[tokio::test]
async fn code_of_another_engine_is_gone_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), &Guest::default()).await;
    let own = compiled(directory.path()).remove(0);
    let name = own.file_name().unwrap().to_str().unwrap().to_owned();
    let (engine, component) = name.split_once('-').unwrap();
    let other = format!("{}-{component}", engine.chars().rev().collect::<String>());
    fs::copy(&own, own.with_file_name(&other)).unwrap();
    fs::write(own.with_file_name(format!("{name}.tmp")), b"torn").unwrap();
    let host = host(directory.path());
    assert_eq!(compiled(directory.path()), [own]);
    drop(host);
    assert_eq!(fs::read_dir(directory.path().join("compiled")).unwrap().count(), 2, "key and code");
    assert_eq!(load(directory.path(), &Guest::default()).await.origin(), Origin::Disk);
}
