//! Swaps and roll-backs in a row under a steady load, with what must hold of them: for the test and for the bench.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eigenshift_chain::Wallet;
use eigenshift_engine::{AvsHandle, Triggered};
use eigenshift_ledger::command::activation_hash;
use eigenshift_ledger::settings::Mode;
use eigenshift_ledger::{Phase, State, TriggerId};
use eigenshift_node::Logic;
use eigenshift_plugin::{Bundle, Compiler, Grants};
use eigenshift_types::{B256, Bytes, NodeId, Outcome, Service, TaskIndex};
use futures::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::cluster::{Cluster, Plan, wait, within};
use crate::versions::{answer, digest, version};

/// How much of it.
pub struct Scale {
    pub operators: usize,
    pub tasks_per_second: u32,
    /// Tasks open at once: on a machine that cannot keep up the rate sinks, instead of the tasks piling up.
    pub open: usize,
    pub swaps: u8,
    pub roll_backs: u8,
    /// Code of each version, in functions of 4 KiB.
    pub functions: usize,
    /// Tasks between two swaps.
    pub between: usize,
}

/// What it came to, durations sorted.
#[derive(Default)]
pub struct Figures {
    /// From the deployment until the activation: fetching, checking, compiling, trying out, reporting.
    pub ready: Vec<Duration>,
    /// From the last task of one version to the first of the next.
    pub gaps: Vec<Duration>,
    /// Between two tasks of one version.
    pub usual_gaps: Vec<Duration>,
    /// From request to end, of tasks during which no bundle was proposed.
    pub steady: Vec<Duration>,
    /// The same of tasks during which one was.
    pub swapping: Vec<Duration>,
    /// Tasks a second, on average: what was asked for, unless the machine could not keep up.
    pub rate: f64,
}

/// The account of whoever may sign bundles.
pub fn publisher() -> Wallet {
    Wallet::from_bytes(&[77; 32]).unwrap()
}

/// A publisher's signature for the next activation, which it also names.
pub fn signature(service: &Service, handle: &AvsHandle, digest: B256) -> (u64, Bytes) {
    let sequence = handle.read(|state| state.activations);
    (sequence, publisher().sign_hash(activation_hash(service, digest, sequence)).unwrap())
}

/// Has a bundle proposed.
pub async fn deploy(service: &Service, handle: &AvsHandle, bundle: &Bundle) {
    let (sequence, signature) = signature(service, handle, bundle.digest());
    let deployed = handle.propose_bundle(bundle.to_bytes(), sequence, signature).await.unwrap();
    assert_eq!(deployed, bundle.digest());
}

/// Has a former bundle proposed.
pub async fn roll_back(service: &Service, handle: &AvsHandle, digest: B256) {
    let (sequence, signature) = signature(service, handle, digest);
    handle.propose_former(digest, sequence, signature).await.unwrap();
}

/// Waits until every running node's new tasks run a bundle.
pub async fn active(cluster: &Cluster, digest: B256) {
    for number in cluster.live() {
        let runs = |state: &State| (state.bundle == digest).then_some(());
        wait(cluster.handle(number), "the bundle is active", runs).await;
    }
}

/// A task that was asked for: when, and how long it took to end.
type Asked = (TaskIndex, Instant, Duration);

/// What a client is told to do while leadership moves: ask again with the same key.
const AGAIN: [&str; 2] = ["not-now", "no-leader"];

async fn request(handle: &AvsHandle, number: usize) -> TaskIndex {
    let key = format!("round-{number}");
    loop {
        match handle.request_task(key.clone(), Bytes::from([7; 32])).await {
            Ok(Triggered::Task { index }) => return index,
            Ok(Triggered::Used) => {
                let trigger = TriggerId::Request { key };
                let made = |state: &State| {
                    state.tasks.values().find(|task| task.trigger == trigger).map(|task| task.spec.index)
                };
                return wait(handle, "the task made at the first try", made).await;
            }
            Err(error) if AGAIN.contains(&error.code()) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("request {number} made no task: {other:?}"),
        }
    }
}

async fn ask(handle: AvsHandle, number: usize) -> Asked {
    let start = Instant::now();
    let index = within("a request", request(&handle, number)).await;
    let ended = |state: &State| match &state.tasks.get(&index)?.phase {
        Phase::Closed(outcome) => Some(outcome.clone()),
        Phase::Open | Phase::Submitting => None,
    };
    let outcome = wait(&handle, &format!("task {index} ends"), ended).await;
    assert_eq!(outcome, Outcome::Done, "task {index}");
    (index, start, start.elapsed())
}

/// Asks for tasks at a steady rate, as long as not too many are open, until it is stopped.
async fn load(handles: Vec<AvsHandle>, limits: (u32, usize), mut stopped: watch::Receiver<bool>) -> Vec<Asked> {
    let (per_second, open) = limits;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let slots = Arc::new(Semaphore::new(open));
    let mut asked: Vec<JoinHandle<Asked>> = Vec::new();
    loop {
        let slot = async {
            ticks.tick().await;
            Arc::clone(&slots).acquire_owned().await.unwrap()
        };
        let slot = tokio::select! {
            slot = slot => slot,
            _ = stopped.changed() => break,
        };
        let (handle, number) = (handles[asked.len() % handles.len()].clone(), asked.len());
        asked.push(tokio::spawn(async move {
            let asked = ask(handle, number).await;
            drop(slot);
            asked
        }));
    }
    join_all(asked).await.into_iter().map(|task| task.unwrap()).collect()
}

/// When each task was created, and in which version, as one node applies it: by log index.
type Created = BTreeMap<u64, (B256, Instant)>;

/// More tasks than are created between two looks.
const NEWEST: usize = 512;

async fn observe(handle: AvsHandle, mut stopped: watch::Receiver<bool>) -> Created {
    let (mut created, mut seen) = (Created::new(), 0);
    let mut changes = handle.changes();
    let mut last = false;
    loop {
        changes.borrow_and_update();
        let now = Instant::now();
        handle.read(|state| {
            let newest = state.tasks.values().rev().take(NEWEST).filter(|task| task.created_at > seen);
            created.extend(newest.map(|task| (task.created_at, (task.spec.bundle_digest, now))));
            seen = state.applied;
        });
        if last {
            return created;
        }
        tokio::select! {
            changed = changes.changed() => changed.unwrap(),
            _ = stopped.changed() => last = true,
        }
    }
}

/// Swaps one after the other. Gives the versions in the order in which they were active, and when each proposal was under
/// way.
async fn swap(cluster: &Cluster, scale: &Scale, figures: &mut Figures) -> (Vec<Bundle>, Vec<(Instant, Instant)>) {
    let service = &cluster.service;
    let mut versions = vec![version(0, scale.functions)];
    let mut windows = Vec::new();
    let (swaps, roll_backs) = (usize::from(scale.swaps), usize::from(scale.roll_backs));
    settled(cluster, scale).await;
    for round in 1..=swaps + roll_backs {
        let handle = cluster.handle(round % scale.operators);
        let next = match u8::try_from(round) {
            Ok(number) if round <= swaps => version(number, scale.functions),
            // One further back each time.
            _ => versions[2 * swaps - round].clone(),
        };
        let start = Instant::now();
        if round <= swaps {
            deploy(service, handle, &next).await;
        } else {
            roll_back(service, handle, next.digest()).await;
        }
        wait(handle, "the activation", |state| (state.bundle == next.digest()).then_some(())).await;
        if round <= swaps {
            figures.ready.push(start.elapsed());
        }
        active(cluster, next.digest()).await;
        windows.push((start, Instant::now()));
        settled(cluster, scale).await;
        versions.push(next);
    }
    (versions, windows)
}

/// Waits until so many tasks that were created since have ended.
async fn settled(cluster: &Cluster, scale: &Scale) {
    let handle = cluster.handle(0);
    let since = handle.read(|state| state.applied);
    let enough = |state: &State| {
        let newest = state.tasks.values().rev().take(NEWEST).filter(|task| task.created_at > since);
        (newest.filter(|task| !task.is_live()).count() >= scale.between).then_some(())
    };
    wait(handle, "tasks of the version end", enough).await;
}

/// Runs all of it on a cluster of its own.
///
/// # Panics
/// When a task is lost, fails, or is answered by another version than was active at its place in the log.
pub async fn run(scale: &Scale, compiler: Compiler) -> Figures {
    let plan = Plan {
        settings: |settings| {
            settings.publishers = vec![publisher().address()];
            settings.rotation.mode = Mode::Assignment;
            settings.max_open_tasks = 256;
            settings.retention = 65_536;
        },
        compiler,
        ..Plan::of(scale.operators)
    };
    let mut cluster = Cluster::prepare(&plan).await;
    for number in 0..scale.operators {
        cluster.run(number, Logic::Plugin(version(0, scale.functions), Grants::all())).await;
    }
    cluster.wait_voters(scale.operators).await;
    let stop = watch::Sender::new(false);
    let handles = (0..scale.operators).map(|number| cluster.handle(number).clone()).collect();
    let start = Instant::now();
    let asking = tokio::spawn(load(handles, (scale.tasks_per_second, scale.open), stop.subscribe()));
    let observing = tokio::spawn(observe(cluster.handle(0).clone(), stop.subscribe()));
    let mut figures = Figures::default();
    let (versions, windows) = swap(&cluster, scale, &mut figures).await;
    let asked_for = start.elapsed();
    stop.send_replace(true);
    let (asked, created) = (asking.await.unwrap(), observing.await.unwrap());
    figures.rate = f64::from(u32::try_from(asked.len()).unwrap()) / asked_for.as_secs_f64();
    holds(&cluster, &versions, &asked).await;
    for (_, start, took) in &asked {
        let swapping = windows.iter().any(|(from, to)| start < to && *start + *took > *from);
        if swapping { figures.swapping.push(*took) } else { figures.steady.push(*took) }
    }
    for (before, after) in created.values().zip(created.values().skip(1)) {
        let gap = after.1.duration_since(before.1);
        if before.0 == after.0 { figures.usual_gaps.push(gap) } else { figures.gaps.push(gap) }
    }
    let Figures { ready, gaps, usual_gaps, steady, swapping, .. } = &mut figures;
    [ready, gaps, usual_gaps, steady, swapping].into_iter().for_each(|all| all.sort_unstable());
    cluster.end().await;
    figures
}

/// What must be so at every node when all is over.
async fn holds(cluster: &Cluster, versions: &[Bundle], asked: &[Asked]) {
    let number_of = |digest: B256| versions.iter().position(|bundle| bundle.digest() == digest).unwrap();
    // Each task was seen to end by whoever was asked for it.
    let applied = cluster.live().map(|node| cluster.handle(node).read(|state| state.applied)).max().unwrap();
    for node in cluster.live() {
        wait(cluster.handle(node), "it applies everything", |state| (state.applied >= applied).then_some(())).await;
        assert_eq!(cluster.handle(node).evidence().len(), 0, "nobody signed two answers");
        cluster.handle(node).read(|state| {
            assert_eq!(state.tasks.len(), asked.len(), "each request made one task");
            assert_eq!(state.activations as usize + 1, versions.len());
            assert_eq!(state.bundle, versions.last().unwrap().digest());
            assert!(state.faults.is_empty() && state.complaints.is_empty(), "{:?}", state.complaints);
            assert_eq!(state.no_answers, BTreeMap::<NodeId, String>::new());
            for (index, ..) in asked {
                let task = &state.tasks[index];
                assert_eq!(task.phase, Phase::Closed(Outcome::Done), "task {index}");
                // A certificate proves that its signers signed this very digest, which one version gives.
                let number = u8::try_from(number_of(task.spec.bundle_digest)).unwrap();
                let certificates: Vec<_> = task.certificates.values().collect();
                assert_eq!(certificates.len(), 1, "task {index}");
                assert_eq!(certificates[0].digest, digest(number), "task {index}");
                assert_eq!(certificates[0].payload, answer(number), "task {index}");
            }
            // In the order of the log, each version begins where the one before ends.
            let mut tasks: Vec<_> =
                state.tasks.values().map(|task| (task.created_at, task.spec.bundle_digest)).collect();
            tasks.sort_unstable();
            let mut order: Vec<B256> = tasks.into_iter().map(|(_, digest)| digest).collect();
            order.dedup();
            assert_eq!(order, versions.iter().map(Bundle::digest).collect::<Vec<_>>());
        });
    }
}
