//! Bundles swapped while tasks run: deployed, refused, rolled back by a publisher and by those who get no answer.

use std::collections::BTreeSet;

use eigenshift_chain::Wallet;
use eigenshift_env::Env;
use eigenshift_ledger::State;
use eigenshift_ledger::command::activation_hash;
use eigenshift_ledger::settings::Mode;
use eigenshift_node::Logic;
use eigenshift_plugin::{Bundle, Grants, Host, HostOptions};
use eigenshift_types::{B256, BlockRef, Outcome, U256};
use futures::future::join_all;

use crate::cluster::{Cluster, Plan, until, wait};
use crate::tasks::squaring;

/// The account of whoever may sign bundles.
fn publisher() -> Wallet {
    Wallet::from_bytes(&[77; 32]).unwrap()
}

/// The same component under another manifest: another bundle.
fn version(bundle: &Bundle, number: u32) -> Bundle {
    let manifest = bundle.manifest().replacen("fuel = 200_000_000", &format!("fuel = {}", 200_000_000 + number), 1);
    assert_ne!(manifest, bundle.manifest());
    Bundle::new(bundle.component().clone(), manifest)
}

async fn start(bundle: &Bundle) -> Cluster {
    let plan = Plan {
        settings: |settings| {
            settings.publishers = vec![publisher().address()];
            settings.rotation.mode = Mode::Assignment;
            settings.max_open_tasks = 64;
        },
        ..Plan::of(3)
    };
    let mut cluster = Cluster::prepare(&plan).await;
    for number in 0..3 {
        cluster.run(number, Logic::Plugin(bundle.clone(), Grants::all())).await;
    }
    cluster.wait_voters(3).await;
    cluster
}

async fn square(cluster: &Cluster, key: String, number: u64) -> B256 {
    let index = cluster.request(&key, U256::from(number).to_be_bytes::<32>()).await;
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!(outcome, Outcome::Done, "{key}");
    let answer = &task.certificates.values().next().unwrap().payload;
    assert_eq!(answer[32..], U256::from(number * number).to_be_bytes::<32>());
    task.spec.bundle_digest
}

fn signature(cluster: &Cluster, digest: B256) -> (u64, eigenshift_types::Bytes) {
    let sequence = cluster.handle(0).read(|state| state.activations);
    (sequence, publisher().sign_hash(activation_hash(&cluster.service, digest, sequence)).unwrap())
}

async fn deploy(cluster: &Cluster, at: usize, bundle: &Bundle) {
    let (sequence, signature) = signature(cluster, bundle.digest());
    let deployed = cluster.handle(at).propose_bundle(bundle.to_bytes(), sequence, signature).await.unwrap();
    assert_eq!(deployed, bundle.digest());
}

async fn active(cluster: &Cluster, digest: B256) {
    for number in cluster.live() {
        let runs = |state: &State| (state.bundle == digest).then_some(());
        wait(cluster.handle(number), "the bundle is active", runs).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_and_a_roll_back_while_tasks_run_lose_none_and_each_task_has_one_version() {
    const SWAPS: u32 = 4;
    let first = squaring();
    let cluster = start(&first).await;
    let steady = async {
        let lanes = (0..4_u64).map(async |lane| {
            let mut versions = Vec::new();
            for number in 0..30 {
                versions.push(square(&cluster, format!("lane-{lane}-{number}"), lane * 100 + number).await);
            }
            versions
        });
        join_all(lanes).await
    };
    let swaps = async {
        assert_eq!(square(&cluster, "before".to_owned(), 5).await, first.digest());
        let mut last = first.clone();
        for number in 1..=SWAPS {
            let next = version(&first, number);
            deploy(&cluster, number as usize % 3, &next).await;
            active(&cluster, next.digest()).await;
            assert_eq!(square(&cluster, format!("after-{number}"), 5).await, next.digest());
            last = next;
        }
        // Back to the one before, which is still loaded: a publisher's signature is enough, no bytes travel.
        let before = cluster.handle(0).read(|state| *state.former_bundles.back().unwrap());
        let (sequence, signature) = signature(&cluster, before);
        cluster.handle(1).propose_former(before, sequence, signature).await.unwrap();
        active(&cluster, before).await;
        assert_eq!(square(&cluster, "back".to_owned(), 5).await, before);
        (last, before)
    };
    let (versions, (last, before)) = tokio::join!(steady, swaps);
    let seen: BTreeSet<B256> = versions.into_iter().flatten().collect();
    assert!(seen.contains(&first.digest()), "some tasks began before the first swap");
    // Nothing failed or expired, whatever was swapped meanwhile.
    cluster.handle(0).read(|state| {
        assert!(state.tasks.values().all(|task| !task.is_live()));
        assert!(state.faults.is_empty() && state.complaints.is_empty(), "{:?}", state.complaints);
        assert_eq!(state.activations, u64::from(SWAPS) + 1);
        assert_eq!(state.bundle, before);
        assert!(state.former_bundles.contains(&last.digest()));
    });
    // The newest three stay loaded, older ones go.
    for number in cluster.live() {
        until("old versions are dropped", || {
            let loaded = cluster.handle(number).status().bundles.loaded;
            !loaded.contains(&first.digest()) && loaded.contains(&before) && loaded.contains(&last.digest())
        })
        .await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_somebody_cannot_run_is_refused_with_the_reason_and_does_not_become_active() {
    let first = squaring();
    let cluster = start(&first).await;
    // More fuel than these hosts grant.
    let greedy = first.manifest().replacen("200_000_000", "900_000_000_000", 1);
    let greedy = Bundle::new(first.component().clone(), greedy);
    deploy(&cluster, 1, &greedy).await;
    for number in cluster.live() {
        let refused = |state: &State| (state.bundle_reports.get(&greedy.digest())?.refused.len() == 3).then_some(());
        wait(cluster.handle(number), "everybody refuses it", refused).await;
    }
    let why = cluster.handle(0).read(|state| state.bundle_reports[&greedy.digest()].refused.values().next().cloned());
    assert!(why.as_ref().is_some_and(|why| why.contains("fuel")), "{why:?}");
    assert_eq!(square(&cluster, "as before".to_owned(), 6).await, first.digest());

    // Bytes that are no bundle, and a signature of somebody else.
    let (sequence, signature) = signature(&cluster, greedy.digest());
    let handle = cluster.handle(0);
    let refused = handle.propose_bundle(vec![0xff; 9].into(), sequence, signature.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "no-bundle");
    let other = version(&first, 9);
    let refused = handle.propose_bundle(other.to_bytes(), sequence, signature).await.unwrap_err();
    assert_eq!(refused.code(), "invalid-bundle");
    cluster.end().await;
}

/// Fuel that `describe` and one task take.
async fn fuel(bundle: &Bundle, cluster: &Cluster) -> (u64, u64) {
    let host = Host::new(HostOptions::default(), &Env::real()).unwrap();
    let plugin = host.load(bundle.clone(), &Grants::all()).await.unwrap();
    let describing = plugin.counters().fuel;
    let task = eigenshift_plugin::Task {
        index: 0,
        request: U256::from(5).to_be_bytes::<32>().into(),
        service: cluster.service.clone(),
        reference_block: BlockRef::default(),
        reference_time: 0,
    };
    let answers = plugin.on_task_request(&task, crate::cluster::no_chain()).await.unwrap();
    let answering = plugin.counters().fuel - describing;
    assert_eq!(answers.len(), 1);
    (describing, answering)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_gives_no_answers_is_rolled_back_by_those_who_get_none() {
    let first = squaring();
    let cluster = start(&first).await;
    assert_eq!(square(&cluster, "before".to_owned(), 5).await, first.digest());
    let (describing, answering) = fuel(&first, &cluster).await;
    assert!(describing < answering, "describe takes {describing}, a task {answering}");
    // Enough to load, too little for a task.
    let starved = (describing + answering) / 2;
    let starved = first.manifest().replacen("200_000_000", &starved.to_string(), 1);
    let starved = Bundle::new(first.component().clone(), starved);
    deploy(&cluster, 2, &starved).await;
    active(&cluster, starved.digest()).await;
    let index = cluster.request("without an answer", U256::from(5).to_be_bytes::<32>()).await;
    assert_eq!(cluster.handle(0).read(|state| state.tasks[&index].spec.bundle_digest), starved.digest());
    active(&cluster, first.digest()).await;
    assert_eq!(square(&cluster, "after".to_owned(), 7).await, first.digest());
    cluster.end().await;
}
