//! Bundles swapped while tasks run: deployed, refused, rolled back by a publisher and by those who get no answer.

use std::collections::BTreeSet;

use eigenshift_env::Env;
use eigenshift_ledger::State;
use eigenshift_ledger::settings::{Expiry, Mode};
use eigenshift_node::Logic;
use eigenshift_plugin::{Bundle, Compiler, Grants, Host, HostOptions, Import};
use eigenshift_types::{B256, BlockRef, Outcome, U256};
use futures::future::join_all;

use crate::cluster::{Cluster, Plan, until, wait, within};
use crate::rounds::{self, Scale, active, publisher, roll_back};
use crate::tasks::squaring;
use crate::versions::{keeper, opinion, settable, version as numbered};

/// The same component under another manifest: another bundle.
fn version(bundle: &Bundle, number: u32) -> Bundle {
    let manifest = bundle.manifest().replacen("fuel = 200_000_000", &format!("fuel = {}", 200_000_000 + number), 1);
    assert_ne!(manifest, bundle.manifest());
    Bundle::new(bundle.component().clone(), manifest)
}

pub async fn start(bundle: &Bundle) -> Cluster {
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

pub async fn deploy(cluster: &Cluster, at: usize, bundle: &Bundle) {
    rounds::deploy(&cluster.service, cluster.handle(at), bundle).await;
}

fn signature(cluster: &Cluster, digest: B256) -> (u64, eigenshift_types::Bytes) {
    rounds::signature(&cluster.service, cluster.handle(0), digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_and_a_roll_back_while_tasks_run_lose_none_and_each_task_has_one_version() {
    const SWAPS: u32 = 4;
    let first = squaring();
    let cluster = start(&first).await;
    let steady = async {
        let lanes = (0..4_u64).map(async |lane| {
            let mut versions = Vec::new();
            for number in 0..15 {
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
        roll_back(&cluster.service, cluster.handle(1), before).await;
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
async fn a_roll_back_to_a_version_that_is_not_loaded_any_more_moves_no_leadership() {
    let first = squaring();
    let cluster = start(&first).await;
    let versions: Vec<Bundle> = (1..=5).map(|number| version(&first, number)).collect();
    for next in &versions {
        deploy(&cluster, 0, next).await;
        active(&cluster, next.digest()).await;
    }
    let oldest = versions[0].digest();
    for number in cluster.live() {
        let dropped = || !cluster.handle(number).status().bundles.loaded.contains(&oldest);
        until("the oldest version is dropped", dropped).await;
    }
    roll_back(&cluster.service, cluster.handle(1), oldest).await;
    active(&cluster, oldest).await;
    assert_eq!(square(&cluster, "back".to_owned(), 5).await, oldest);
    let moved = cluster.live().map(|number| cluster.handle(number).counters().get("bundle-hand-over", "done"));
    assert_eq!(moved.sum::<u64>(), 0);
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

/// On a machine that cannot keep up with a debug build and other tests beside it, the rate sinks. `cargo xtask bench swap`
/// does the same with more code in each version and a second between two swaps, and holds the rate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_lost_failed_or_answered_by_another_version_in_many_swaps_and_roll_backs_under_load() {
    let scale =
        Scale { operators: 3, tasks_per_second: 50, open: 8, swaps: 20, roll_backs: 5, functions: 0, between: 3 };
    let figures = rounds::run(&scale, Compiler::InThisProcess).await;
    assert_eq!((figures.ready.len(), figures.gaps.len()), (20, 25));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_keeps_survives_a_swap_a_roll_back_and_a_restart() {
    let (first, second) = (keeper(0), keeper(1));
    let mut cluster = start(&first).await;
    let ask = async |cluster: &Cluster, text: &str| {
        let index = cluster.request(text, text.as_bytes().to_vec()).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done, "{text}");
        // Two of three would be no quorum: each operator found the same in its own store.
        assert_eq!(cluster.signers(&task), [0, 1, 2]);
        let certificate = task.certificates.values().next().unwrap();
        (task.spec.bundle_digest, String::from_utf8(certificate.payload.to_vec()).unwrap())
    };
    assert_eq!(ask(&cluster, "first").await, (first.digest(), "first".to_owned()));
    deploy(&cluster, 1, &second).await;
    active(&cluster, second.digest()).await;
    assert_eq!(ask(&cluster, "after a swap").await, (second.digest(), "first".to_owned()));
    roll_back(&cluster.service, cluster.handle(2), first.digest()).await;
    active(&cluster, first.digest()).await;
    assert_eq!(ask(&cluster, "after a roll-back").await, (first.digest(), "first".to_owned()));
    for number in 0..3 {
        cluster.stop(number).await;
    }
    for number in 0..3 {
        cluster.run(number, Logic::Plugin(first.clone(), Grants::all())).await;
    }
    assert_eq!(ask(&cluster, "after a restart").await, (first.digest(), "first".to_owned()));
    deploy(&cluster, 0, &second).await;
    active(&cluster, second.digest()).await;
    assert_eq!(ask(&cluster, "after both").await, (second.digest(), "first".to_owned()));
    cluster.end().await;
}

/// Entries of the log that are kept before a snapshot, and a few more, so that some are cut off.
const MORE_THAN_KEPT: usize = 1024 + 512;

/// Has the log cut off behind all that is applied now.
async fn cut_off(cluster: &Cluster) {
    let handle = cluster.handle(0);
    let applied = handle.read(|state| state.applied);
    let lanes = (0..64).map(async |_| {
        for _ in 0..MORE_THAN_KEPT / 64 {
            handle.rotate().await.unwrap();
        }
    });
    within("many entries", join_all(lanes)).await;
    handle.group().snapshot_now().await.unwrap();
    until("the log is cut off", || handle.group().health().purged >= Some(applied)).await;
    // The collector looks with the next entry.
    handle.rotate().await.unwrap();
}

async fn swap(cluster: &Cluster, number: u8) {
    let next = numbered(number, 0);
    deploy(cluster, 0, &next).await;
    active(cluster, next.digest()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_kept_while_a_task_the_log_or_a_snapshot_refers_to_it_and_removed_after() {
    let plan = Plan {
        settings: |settings| {
            settings.publishers = vec![publisher().address()];
            settings.rotation.mode = Mode::Assignment;
            settings.max_open_tasks = 8;
            settings.retention = 1;
        },
        ..Plan::of(2)
    };
    let mut cluster = Cluster::prepare(&plan).await;
    let first = numbered(0, 0);
    for number in 0..2 {
        cluster.run(number, Logic::Plugin(first.clone(), Grants::all())).await;
    }
    cluster.wait_voters(2).await;
    let bundles = cluster.operators[0].directory.join("avs").join(crate::cluster::AVS).join("bundles");
    let is_kept = |digest: B256| bundles.join(format!("{digest:x}.bundle")).exists();
    // One of two is no quorum.
    let behind = (cluster.leader().await + 1) % 2;
    cluster.operators[behind].sight.hide_blocks();
    let open = cluster.request("open", [7; 32]).await;
    for number in 1..=17 {
        swap(&cluster, number).await;
    }
    assert!(cluster.handle(0).read(|state| !state.former_bundles.contains(&first.digest())));
    cut_off(&cluster).await;
    swap(&cluster, 18).await;
    assert!(is_kept(first.digest()), "a task runs it");
    assert!(cluster.handle(0).status().bundles.loaded.contains(&first.digest()));

    cluster.operators[behind].sight.show_all();
    assert_eq!(cluster.ended(open).await.1, Outcome::Done);
    let after = cluster.request("after", [7; 32]).await;
    assert_eq!(cluster.ended(after).await.1, Outcome::Done);
    assert!(cluster.handle(0).read(|state| !state.tasks.contains_key(&open)), "no task is left that ran it");
    swap(&cluster, 19).await;
    until("it is not loaded any more", || !cluster.handle(0).status().bundles.loaded.contains(&first.digest())).await;
    assert!(is_kept(first.digest()), "the log runs it");

    // A node that starts again finds all that its log runs.
    cluster.stop(0).await;
    cluster.run(0, Logic::Plugin(numbered(19, 0), Grants::all())).await;
    cluster.leader().await;
    swap(&cluster, 20).await;
    assert!(is_kept(first.digest()), "the log runs it");

    cut_off(&cluster).await;
    until("it is removed", || !is_kept(first.digest())).await;
    for number in 5..=20 {
        assert!(is_kept(numbered(number, 0).digest()), "version {number} is active or was");
    }
    cluster.end().await;
}

/// Three operators, of whom two are enough to activate a bundle and to certify an answer.
fn two_of_three() -> Plan {
    Plan {
        settings: |settings| {
            settings.publishers = vec![publisher().address()];
            settings.rotation.mode = Mode::Assignment;
            settings.quorums.thresholds = vec![51];
        },
        ..Plan::of(3)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_refuses_what_the_others_run_leads_no_more() {
    let (first, second) = (numbered(0, 0), keeper(1));
    let mut cluster = Cluster::prepare(&two_of_three()).await;
    for number in 0..3 {
        // The founder, which leads at first, grants no store.
        let grants: Grants = [Import::Chain, Import::Log].into_iter().collect();
        let grants = if number == 0 { grants } else { Grants::all() };
        cluster.run(number, Logic::Plugin(first.clone(), grants)).await;
    }
    cluster.wait_voters(3).await;
    deploy(&cluster, 0, &second).await;
    active(&cluster, second.digest()).await;
    let refuser = cluster.handle(0).identity().node;
    let index = cluster.request("whoever leads", *b"text").await;
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!((task.spec.bundle_digest, outcome), (second.digest(), Outcome::Done));
    assert_eq!(cluster.signers(&task), [1, 2]);
    // Maybe after the others had activated it.
    let refused = |state: &State| state.bundle_reports[&second.digest()].refused.get(&refuser).cloned();
    let why = wait(cluster.handle(1), "the refusal is logged", refused).await;
    assert!(why.contains("keyvalue"), "{why}");
    // It tried once, and not again and again.
    assert_eq!(cluster.handle(0).counters().get("bundle-load", "refused"), 1);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_comes_after_the_activation_says_that_it_has_the_bundle() {
    let (first, second) = (numbered(0, 0), numbered(1, 0));
    let mut cluster = Cluster::prepare(&two_of_three()).await;
    for number in 0..3 {
        cluster.run(number, Logic::Plugin(first.clone(), Grants::all())).await;
    }
    cluster.wait_voters(3).await;
    let late = cluster.handle(2).identity().node;
    cluster.stop(2).await;
    cluster.leader().await;
    deploy(&cluster, 0, &second).await;
    let activated = |state: &State| (state.bundle == second.digest()).then_some(());
    wait(cluster.handle(0), "two of three activate it", activated).await;
    cluster.run(2, Logic::Plugin(first, Grants::all())).await;
    let ready = |state: &State| state.bundle_reports[&second.digest()].ready.contains(&late).then_some(());
    wait(cluster.handle(0), "the third says that it has it", ready).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_on_whose_answers_operators_differ_is_rolled_back() {
    let first = settable();
    let plan = Plan {
        settings: |settings| {
            settings.publishers = vec![publisher().address()];
            settings.rotation.mode = Mode::Assignment;
            settings.max_open_tasks = 8;
            settings.expiry = Expiry::Ms(1_000);
            settings.trial.disagreements = 2;
        },
        ..Plan::of(3)
    };
    let mut cluster = Cluster::prepare(&plan).await;
    for number in 0..3 {
        let mut grants = Grants::all();
        grants.config.insert("answer".to_owned(), format!("from {number:03}"));
        cluster.run(number, Logic::Plugin(first.clone(), grants)).await;
    }
    cluster.wait_voters(3).await;
    let second = opinion();
    deploy(&cluster, 0, &second).await;
    active(&cluster, second.digest()).await;
    let ask = async |key: &str| {
        let index = cluster.request(key, [7; 32]).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!((task.spec.bundle_digest, outcome), (second.digest(), Outcome::Expired), "{key}");
    };
    ask("one").await;
    let everybody = |state: &State| {
        let answers = state.trial.uncertified.values().next()?;
        (answers.len() == 3 && answers.values().collect::<BTreeSet<_>>().len() == 3).then_some(())
    };
    wait(cluster.handle(0), "everybody says what it signed", everybody).await;
    assert_eq!(cluster.handle(0).status().bundles.disagreements.len(), 2, "the largest group is of one");
    assert_eq!(cluster.handle(0).read(|state| state.bundle), second.digest(), "once is not often");
    ask("another").await;
    active(&cluster, first.digest()).await;
    let index = cluster.request("after", [7; 32]).await;
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!((task.spec.bundle_digest, outcome), (first.digest(), Outcome::Done));
    cluster.end().await;
}
