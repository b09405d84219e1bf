//! The store itself: quotas, versions, races, restarts.

use std::collections::BTreeMap;

use eigenshift_env::Env;
use eigenshift_env::sim::World;
use eigenshift_plugin::capability::keyvalue::{KeyValueError, KeyValueStore, MAX_KEY_BYTES, Swap};
use eigenshift_plugin::manifest::Keyvalue;
use proptest::prelude::*;

use super::open;

const QUOTA: Keyvalue = Keyvalue { bytes: 100_000, keys: 2000, value_bytes: 1000, operations_per_call: 10 };

fn in_memory() -> KeyValueStore {
    let env = Env::simulated(&World::default(), 1);
    let pool = env.threads.pool("kv", 1, 1).unwrap();
    KeyValueStore::open(&env, std::path::Path::new("/kv"), pool, 1024 * 1024).unwrap()
}

fn key(name: &str) -> String {
    name.to_owned()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_with_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, "a");
    store.set(key("a"), b"one".to_vec(), QUOTA).await.unwrap();
    store.set(key("b"), b"two".to_vec(), QUOTA).await.unwrap();
    store.delete(key("b"), QUOTA).await.unwrap();
    let before = (store.get(key("a")).await.unwrap(), store.usage().await.unwrap());
    assert_eq!((before.1.bytes, before.1.keys, before.1.version), (4, 1, 3));
    // Not closed: the process may end at any moment.
    drop(store);
    let store = open(&dir, "a");
    assert_eq!((store.get(key("a")).await.unwrap(), store.usage().await.unwrap()), before);
    assert!(!store.exists(key("b")).await.unwrap());
    store.close();
    assert!(matches!(store.get(key("a")).await, Err(KeyValueError::Closed)));
    assert!(matches!(store.set(key("a"), vec![], QUOTA).await, Err(KeyValueError::Closed)));
}

#[tokio::test]
async fn a_key_that_was_removed_and_made_again_is_not_what_it_was() {
    let store = in_memory();
    store.set(key("a"), b"x".to_vec(), QUOTA).await.unwrap();
    let seen = store.get(key("a")).await.unwrap().unwrap();
    store.delete(key("a"), QUOTA).await.unwrap();
    store.set(key("a"), b"x".to_vec(), QUOTA).await.unwrap();
    let swap = store.swap(key("a"), Some(seen.version), b"y".to_vec(), QUOTA).await.unwrap();
    let now = store.get(key("a")).await.unwrap().unwrap();
    assert_eq!((swap, now.value.as_slice()), (Swap::Changed(Some(now.version)), b"x".as_slice()));
    assert_eq!(store.swap(key("b"), Some(1), vec![], QUOTA).await.unwrap(), Swap::Changed(None), "was never there");
    assert_eq!(store.swap(key("b"), None, vec![], QUOTA).await.unwrap(), Swap::Done);
    assert!(matches!(store.swap(key("b"), None, vec![], QUOTA).await.unwrap(), Swap::Changed(Some(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_for_the_last_of_the_quota_has_as_many_winners_as_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, "a");
    let few = Keyvalue { keys: 5, ..QUOTA };
    let writes = (0..20).map(|n| store.set(format!("key-{n:02}"), vec![0; 10], few));
    let results = futures::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    assert!(
        results.iter().filter_map(|result| result.as_ref().err()).all(|error| error.code() == "keyvalue-quota-keys")
    );

    let small = Keyvalue { bytes: 500, ..QUOTA };
    let writes = (0..20).map(|n| store.set(format!("more-{n:04}"), vec![0; 91], small));
    let results = futures::future::join_all(writes).await;
    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 4, "of 100 bytes each, beside the 80 that were there");
    assert_eq!(store.usage().await.unwrap().bytes, 480);

    let swaps = (0..20).map(|n| store.swap(key("one"), None, vec![n], QUOTA));
    let results = futures::future::join_all(swaps).await;
    assert_eq!(results.iter().filter(|result| matches!(result, Ok(Swap::Done))).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_counts_by_swap_side_by_side_loses_no_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, "a");
    let count = async |store: KeyValueStore| {
        loop {
            let seen = store.get(key("n")).await.unwrap();
            let number = seen.as_ref().map_or(0, |seen| String::from_utf8_lossy(&seen.value).parse::<u64>().unwrap());
            let value = (number + 1).to_string().into_bytes();
            let version = seen.map(|seen| seen.version);
            if store.swap(key("n"), version, value, QUOTA).await.unwrap() == Swap::Done {
                return;
            }
        }
    };
    futures::future::join_all((0..16).map(|_| count(store.clone()))).await;
    assert_eq!(store.get(key("n")).await.unwrap().unwrap().value, b"16");
}

#[tokio::test]
async fn numbers_are_added_to_and_nothing_else_is() {
    let store = in_memory();
    assert_eq!(store.increment(key("n"), 5, QUOTA).await.unwrap(), 5);
    assert_eq!(store.increment(key("n"), -7, QUOTA).await.unwrap(), -2);
    assert_eq!(store.get(key("n")).await.unwrap().unwrap().value, b"-2");
    store.set(key("n"), i64::MAX.to_string().into_bytes(), QUOTA).await.unwrap();
    assert!(matches!(store.increment(key("n"), 1, QUOTA).await, Err(KeyValueError::Overflow)));
    for text in [&b""[..], b"1.5", b" 1", b"\xff", b"one"] {
        store.set(key("n"), text.to_vec(), QUOTA).await.unwrap();
        assert!(matches!(store.increment(key("n"), 1, QUOTA).await, Err(KeyValueError::NoNumber)), "{text:?}");
        assert_eq!(store.get(key("n")).await.unwrap().unwrap().value, text);
    }
}

#[tokio::test]
async fn keys_and_values_have_bounds_and_refusals_change_nothing() {
    let store = in_memory();
    let before = store.usage().await.unwrap();
    for name in ["".to_owned(), "k".repeat(MAX_KEY_BYTES + 1)] {
        assert!(matches!(store.get(name.clone()).await, Err(KeyValueError::Key { .. })));
        assert!(matches!(store.set(name.clone(), vec![], QUOTA).await, Err(KeyValueError::Key { .. })));
        assert!(matches!(store.keys(Some(name)).await, Err(KeyValueError::Key { .. })));
    }
    store.set("k".repeat(MAX_KEY_BYTES), vec![0; 1000], QUOTA).await.unwrap();
    let large = store.set(key("a"), vec![0; 1001], QUOTA).await.unwrap_err();
    assert_eq!(large.code(), "keyvalue-value-too-large");
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.keys, usage.bytes), (before.keys + 1, 2024));
    let shadow = store.read_only();
    assert!(shadow.get("k".repeat(MAX_KEY_BYTES)).await.unwrap().is_some());
    for refused in [
        shadow.set(key("a"), vec![], QUOTA).await,
        shadow.delete(key("a"), QUOTA).await,
        shadow.increment(key("a"), 1, QUOTA).await.map(drop),
        shadow.swap(key("a"), None, vec![], QUOTA).await.map(drop),
    ] {
        assert!(matches!(refused, Err(KeyValueError::ReadOnly)));
    }
    assert_eq!(store.usage().await.unwrap(), usage);
}

#[tokio::test]
async fn pages_give_every_key_once_and_are_bounded() {
    let store = in_memory();
    for n in 0..1005 {
        store.set(format!("{n:04}"), vec![], QUOTA).await.unwrap();
    }
    let (first, more) = store.keys(None).await.unwrap();
    assert_eq!((first.len(), more), (1000, true));
    let (second, more) = store.keys(first.last().cloned()).await.unwrap();
    assert_eq!((second.len(), more), (5, false));
    assert!(first.iter().chain(&second).enumerate().all(|(n, key)| *key == format!("{n:04}")));
    for n in 0..70 {
        store.set(format!("x{n:02}{}", "y".repeat(1000)), vec![], QUOTA).await.unwrap();
    }
    let (long, more) = store.keys(Some(key("x"))).await.unwrap();
    assert!(more && long.iter().map(String::len).sum::<usize>() <= 66 * 1024, "{}", long.len());
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, usize),
    Delete(u8),
    Swap(u8, bool, usize),
    Add(u8, i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..6_u8, 0..60_usize).prop_map(|(key, len)| Op::Set(key, len)),
        (0..6_u8).prop_map(Op::Delete),
        (0..6_u8, any::<bool>(), 0..60_usize).prop_map(|(key, fresh, len)| Op::Swap(key, fresh, len)),
        (0..6_u8, -5..5_i64).prop_map(|(key, delta)| Op::Add(key, delta)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sums_are_those_over_the_entries_whatever_was_done(ops in prop::collection::vec(op(), 1..60)) {
        let tight = Keyvalue { bytes: 150, keys: 4, value_bytes: 50, operations_per_call: 1 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = in_memory();
            let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for op in ops {
                let (name, value) = match op.clone() {
                    Op::Set(key, len) => {
                        let name = format!("k{key}");
                        let done = store.set(name.clone(), vec![b'v'; len], tight).await.is_ok();
                        (name, done.then(|| vec![b'v'; len]))
                    }
                    Op::Swap(key, fresh, len) => {
                        let name = format!("k{key}");
                        let version = store.get(name.clone()).await.unwrap().map(|seen| seen.version);
                        let version = if fresh { version } else { version.map(|version| version + 1000) };
                        let done = store.swap(name.clone(), version, vec![b'w'; len], tight).await;
                        (name, matches!(done, Ok(Swap::Done)).then(|| vec![b'w'; len]))
                    }
                    Op::Add(key, delta) => {
                        let name = format!("k{key}");
                        let sum = store.increment(name.clone(), delta, tight).await.ok();
                        (name, sum.map(|sum| sum.to_string().into_bytes()))
                    }
                    Op::Delete(key) => {
                        let name = format!("k{key}");
                        store.delete(name.clone(), tight).await.unwrap();
                        model.remove(&name);
                        (name, None)
                    }
                };
                if let Some(value) = value {
                    model.insert(name, value);
                }
                let usage = store.usage().await.unwrap();
                let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
                assert_eq!((usage.keys, usage.bytes), (model.len() as u64, bytes as u64), "{op:?}");
                assert!(usage.keys <= tight.keys && usage.bytes <= tight.bytes);
                for (key, value) in &model {
                    assert_eq!(&store.get(key.clone()).await.unwrap().unwrap().value, value);
                }
            }
        });
    }
}
