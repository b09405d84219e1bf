//! Several AVSs on one host: each is added, paused, resumed and removed without the others taking notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use eigenshift_chain::Chain;
use eigenshift_engine::guard::{Guard, Owner};
use eigenshift_engine::{AvsHandle, Triggered};
use eigenshift_ledger::{Phase as TaskPhase, State};
use eigenshift_node::{AvsEntry, AvsOptions, Entrance, Logic, NodeError, OperatorKeys, Phase, identity};
use eigenshift_plugin::{Bundle, Grants};
use eigenshift_types::{Address, AvsId, Bytes, NodeId, Outcome, Service, TaskIndex, U256};

use crate::cluster::{AVS, Cluster, Plan, sticky, until, wait, within};
use crate::http::{ask, text};
use crate::logic::Probe;
use crate::tasks::squaring;

const SECOND: &str = "second";

fn id(name: &str) -> AvsId {
    name.parse().unwrap()
}

/// The options of another AVS of the same operators at one of them, with its own keys unless they are shared.
async fn another(cluster: &Cluster, number: usize, entrance: Entrance) -> AvsOptions {
    let service = Service { avs: id(SECOND), service_manager: Address::repeat_byte(6), ..cluster.service.clone() };
    let options = cluster.avs_options(number, Logic::Native(Probe::new(false).callbacks())).await;
    AvsOptions { service, entrance, share_bls_key: true, ..options }
}

async fn found(cluster: &Cluster, number: usize) -> AvsOptions {
    let start_block = cluster.chain.head().await.unwrap().block.number;
    another(cluster, number, Entrance::Found { settings: Box::new(cluster.settings.clone()), start_block }).await
}

async fn join(cluster: &Cluster, number: usize, through: usize) -> AvsOptions {
    another(cluster, number, Entrance::Join { urls: vec![cluster.http_url(through)], registry: cluster.registry }).await
}

fn entry(cluster: &Cluster, number: usize, avs: &str) -> Option<AvsEntry> {
    cluster.node(number).list().into_iter().find(|entry| entry.avs == id(avs))
}

fn phase(cluster: &Cluster, number: usize, avs: &str) -> Option<Phase> {
    entry(cluster, number, avs).map(|entry| entry.phase)
}

fn failure(cluster: &Cluster, number: usize, avs: &str) -> String {
    entry(cluster, number, avs).unwrap().failure.unwrap().code
}

/// Has a task made, and waits for its end at the node that was asked.
async fn task(handle: &AvsHandle, key: &str, payload: impl Into<Bytes>) -> (TaskIndex, Outcome) {
    let triggered = within("a request", handle.request_task(key.to_owned(), payload.into())).await;
    let Ok(Triggered::Task { index }) = triggered else { panic!("no task was made: {triggered:?}") };
    let closed = |state: &State| match &state.tasks.get(&index)?.phase {
        TaskPhase::Closed(outcome) => Some(outcome.clone()),
        TaskPhase::Open | TaskPhase::Submitting => None,
    };
    (index, wait(handle, &format!("{key} ends"), closed).await)
}

async fn done(handle: &AvsHandle, key: &str) -> TaskIndex {
    let (index, outcome) = task(handle, key, *b"payload").await;
    assert_eq!(outcome, Outcome::Done, "{key}");
    index
}

async fn voters(handle: &AvsHandle, count: usize) {
    wait(handle, "the voters", |state: &State| (state.voters.len() == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_one_avs_go_on_while_another_is_added_paused_resumed_and_removed() {
    let plan = Plan { settings: sticky, ..Plan::of(4) };
    let mut cluster = Cluster::prepare(&plan).await;
    for number in 0..4 {
        let (node, handle) = {
            let directory = cluster.operators[number].directory.clone();
            let node = eigenshift_node::Node::start(cluster.env.clone(), cluster.node_options(number, &directory));
            let node = node.await.unwrap();
            let native = cluster.native(number);
            let options = AvsOptions { share_bls_key: true, ..cluster.avs_options(number, native).await };
            let handle = within("the first AVS", node.add(options)).await.unwrap();
            (node, handle)
        };
        cluster.operators[number].running = Some((node, handle));
    }
    cluster.wait_voters(4).await;
    let term = cluster.handle(0).status().term;
    let (over, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
    let steady = async {
        while !over.load(Ordering::Relaxed) {
            let number = ended.load(Ordering::Relaxed);
            done(cluster.handle(number % 4), &format!("steady-{number}")).await;
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    // One that began after this, and its predecessor.
    let goes_on = async |what: &str| {
        let before = ended.load(Ordering::Relaxed);
        until(what, || ended.load(Ordering::Relaxed) >= before + 2).await;
    };
    let changes = async {
        let mut handles = vec![cluster.node(0).add(found(&cluster, 0).await).await.unwrap()];
        for number in 1..3 {
            handles.push(within("a join", cluster.node(number).add(join(&cluster, number, 0).await)).await.unwrap());
        }
        let logic = Probe::new(false).callbacks();
        let freed = Arc::downgrade(&logic);
        let options = AvsOptions { logic: Logic::Native(logic), ..join(&cluster, 3, 0).await };
        handles.push(within("a join", cluster.node(3).add(options)).await.unwrap());
        voters(&handles[0], 4).await;
        done(&handles[0], "with all").await;
        goes_on("the first goes on beside the second").await;
        let node = handles.pop().unwrap().identity().node;
        let name = id(SECOND);

        within("a pause", cluster.node(3).pause(&name)).await.unwrap();
        until("its memory is free", || freed.strong_count() == 0).await;
        assert_eq!((phase(&cluster, 3, SECOND), phase(&cluster, 3, AVS)), (Some(Phase::Paused), Some(Phase::Running)));
        let path = format!("/v1/avs/{SECOND}/status");
        let answer = ask(&cluster.env, &cluster.http_url(3), "GET", &path, &[], b"").await;
        assert_eq!(answer.refusal(), (503, "avs-not-running".to_owned()));
        goes_on("the first goes on while the second is paused").await;
        let without = done(&handles[0], "with one paused").await;
        handles[0].read(|state| {
            let signers = &state.tasks[&without].certificates.values().next().unwrap().signers;
            assert_eq!((0..4).filter(|at| signers.contains(*at)).count(), 3);
        });

        let resumed = within("a return", cluster.node(3).resume(join(&cluster, 3, 0).await)).await.unwrap();
        assert_eq!(resumed.identity().node, node, "the same member as before");
        let applied = handles[0].read(|state| state.applied);
        wait(&resumed, "it has what the others have", |state| (state.applied >= applied).then_some(())).await;
        done(&resumed, "after the return").await;
        goes_on("the first goes on after the return").await;
        drop(resumed);

        let refused = cluster.node(3).remove(&name, false).await;
        assert!(matches!(refused, Err(NodeError::NotPaused("running"))), "{refused:?}");
        within("a pause", cluster.node(3).pause(&name)).await.unwrap();
        within("a removal", cluster.node(3).remove(&name, false)).await.unwrap();
        assert_eq!(phase(&cluster, 3, SECOND), None);
        voters(&handles[0], 3).await;
        assert!(handles[0].read(|state| !state.members.contains_key(&node)));
        done(&handles[0], "without the one that left").await;
        goes_on("the first goes on after the removal").await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(steady, changes);
    for number in cluster.live() {
        let status = cluster.handle(number).status();
        assert_eq!((status.term, status.members.iter().filter(|member| member.down).count()), (term, 0));
        cluster.handle(number).read(|state| assert!(state.complaints.is_empty() && state.faults.is_empty()));
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_avs_stays_paused_over_a_restart_and_comes_back_as_the_same_member() {
    let mut cluster = Cluster::start(Plan::of(1)).await;
    let first = done(cluster.handle(0), "before").await;
    let node = cluster.handle(0).identity();
    within("a pause", cluster.node(0).pause(&id(AVS))).await.unwrap();
    within("another", cluster.node(0).pause(&id(AVS))).await.unwrap();
    cluster.stop(0).await;

    let directory = cluster.operators[0].directory.clone();
    let host = eigenshift_node::Node::start(cluster.env.clone(), cluster.node_options(0, &directory)).await.unwrap();
    let refused = host.add(cluster.avs_options(0, cluster.native(0)).await).await;
    assert!(matches!(refused, Err(NodeError::Paused)));
    assert_eq!(host.list()[0].phase, Phase::Paused);
    let handle = within("a return", host.resume(cluster.avs_options(0, cluster.native(0)).await)).await.unwrap();
    assert_eq!(handle.identity(), node);
    assert!(handle.read(|state| state.tasks.contains_key(&first)), "its state was on disk");
    done(&handle, "after").await;
    drop(handle);
    within("the end", host.shutdown()).await;
    // Resumed once, it starts by itself.
    cluster.run(0, cluster.native(0)).await;
    done(cluster.handle(0), "after a restart").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_paused_hands_over_and_brings_its_task_to_an_end_first() {
    let cluster = Cluster::start(Plan { settings: sticky, ..Plan::of(4) }).await;
    cluster.set_gates(false);
    let index = cluster.request("open", *b"task").await;
    let leader = cluster.leader().await;
    let node = cluster.handle(leader).identity().node;
    let others: Vec<usize> = cluster.live().filter(|number| *number != leader).collect();
    let pausing = async { within("a pause", cluster.node(leader).pause(&id(AVS))).await.unwrap() };
    let handing = async {
        let mut leadership = cluster.handle(others[0]).group().leadership();
        let moved = leadership.wait_for(|seen| seen.leader.is_some_and(|leader| leader != node));
        within("somebody else leads", moved).await.unwrap();
        let phase = phase(&cluster, leader, AVS);
        assert_eq!(phase, Some(Phase::Stopping), "its task is open still");
        cluster.set_gates(true);
    };
    tokio::join!(pausing, handing);
    for number in others {
        let closed = |state: &State| {
            let task = state.tasks.get(&index)?;
            matches!(task.phase, TaskPhase::Closed(Outcome::Done)).then_some((task.aggregator, task.assignment_epoch))
        };
        let ended = wait(cluster.handle(number), "the task ends", closed).await;
        assert_eq!(ended, (node, 0), "at the one that was paused");
    }
    assert_eq!(phase(&cluster, leader, AVS), Some(Phase::Paused));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_does_not_start_says_why_leaves_nothing_open_and_starts_when_it_is_mended() {
    let cluster = Cluster::start(Plan::of(1)).await;
    let node = cluster.node(0);
    let nobody = || id("nobody");
    for refused in [node.pause(&nobody()).await, node.remove(&nobody(), true).await] {
        assert!(matches!(refused, Err(NodeError::Unknown(_))), "{refused:?}");
    }
    let wrong = || NodeError::Configuration("no such file".to_owned());
    let refused = node.add_with(&id(SECOND), async move { Err(wrong()) }).await;
    assert!(matches!(refused, Err(NodeError::Configuration(_))));
    assert_eq!(
        (phase(&cluster, 0, SECOND), failure(&cluster, 0, SECOND).as_str()),
        (Some(Phase::Failed), "configuration")
    );
    // Its own key, so that nothing is shared; a store for the plugin, which is refused after that was opened.
    let own = OperatorKeys::random(&cluster.env, eigenshift_node::Curve::Bn254).unwrap().bls;
    let with = async |bundle: Bundle| AvsOptions {
        bls: Arc::clone(&own),
        share_bls_key: false,
        logic: Logic::Plugin(bundle, Grants::all()),
        ..found(&cluster, 0).await
    };
    let good = squaring();
    let bad = Bundle::new(good.component().clone(), "name = 1");
    for _ in 0..2 {
        let refused = within("a start", node.resume(with(bad.clone()).await)).await;
        assert!(matches!(refused, Err(NodeError::Plugin(_))));
        assert_eq!(failure(&cluster, 0, SECOND), "plugin-refused");
    }
    let handle = within("a start", node.resume(with(good).await)).await.unwrap();
    assert_eq!(phase(&cluster, 0, SECOND), Some(Phase::Running));
    let refused = node.resume(found(&cluster, 0).await).await;
    assert!(matches!(refused, Err(NodeError::NotPaused("running"))));
    // The operator's key in the registry is another one: the plugin is called, and nothing is signed.
    let _ = handle.request_task("seven".to_owned(), U256::from(7).to_be_bytes::<32>().into()).await.unwrap();
    let metrics = async || text(&cluster.env, &cluster.http_url(0), "/metrics").await;
    let calls = |avs: &str| format!("eigenshift_plugin_calls_total{{avs=\"{avs}\"}}");
    let shown = metrics().await;
    assert!(shown.contains(&calls(SECOND)) && shown.contains("eigenshift_plugin_cpu_seconds_total"), "{shown}");
    assert!(!shown.contains(&calls(AVS)), "native logic is not measured");
    drop(handle);
    within("a pause", node.pause(&id(SECOND))).await.unwrap();
    within("a removal", node.remove(&id(SECOND), true)).await.unwrap();
    let shown = metrics().await;
    assert!(!shown.contains(&format!("avs=\"{SECOND}\"")), "{shown}");
    done(cluster.handle(0), "of the other").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_avs_has_one_operation_at_a_time_and_a_pause_calls_its_start_off() {
    let cluster = Cluster::start(Plan::of(1)).await;
    let node = cluster.node(0).clone();
    // Nobody there to join.
    let alone = Entrance::Join { urls: Vec::new(), registry: cluster.registry };
    let options = another(&cluster, 0, alone.clone()).await;
    let options = AvsOptions { bls: fresh(&cluster), ..options };
    let starting = tokio::spawn({
        let node = node.clone();
        async move { node.add(options).await }
    });
    until("it is starting", || phase(&cluster, 0, SECOND) == Some(Phase::Starting)).await;
    assert!(matches!(node.add(found(&cluster, 0).await).await, Err(NodeError::Duplicate)));
    assert!(matches!(node.resume(found(&cluster, 0).await).await, Err(NodeError::Busy)));
    assert!(matches!(node.remove(&id(SECOND), true).await, Err(NodeError::Busy)));
    // Another one's operations do not wait.
    within("the other's pause", node.pause(&id(AVS))).await.unwrap();
    within("the pause", node.pause(&id(SECOND))).await.unwrap();
    assert!(matches!(within("its end", starting).await.unwrap(), Err(NodeError::Cancelled)));
    assert_eq!(phase(&cluster, 0, SECOND), Some(Phase::Paused));
    within("a removal", node.remove(&id(SECOND), false)).await.unwrap();
    // One that is starting does not keep the host from ending.
    let options = AvsOptions { bls: fresh(&cluster), ..another(&cluster, 0, alone).await };
    let starting = tokio::spawn(async move { node.add(options).await });
    until("it is starting", || phase(&cluster, 0, SECOND) == Some(Phase::Starting)).await;
    cluster.end().await;
    assert!(matches!(within("its end", starting).await.unwrap(), Err(NodeError::Cancelled)));
}

fn fresh(cluster: &Cluster) -> Arc<eigenshift_bls::SecretKey> {
    OperatorKeys::random(&cluster.env, eigenshift_node::Curve::Bn254).unwrap().bls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bls_key_serves_two_avss_only_when_both_say_so() {
    let cluster = Cluster::start(Plan::of(1)).await;
    let node = cluster.node(0);
    let shared = |refused: &Result<AvsHandle, NodeError>| matches!(refused, Err(NodeError::SharedKey { other }) if *other == id(AVS));
    let options = AvsOptions { share_bls_key: false, ..found(&cluster, 0).await };
    assert!(shared(&node.add(options).await), "neither says so");
    assert_eq!(failure(&cluster, 0, SECOND), "shared-bls-key");
    assert!(shared(&node.resume(found(&cluster, 0).await).await), "the first does not say so");
    // A paused AVS keeps its key.
    node.pause(&id(AVS)).await.unwrap();
    assert!(shared(&node.resume(found(&cluster, 0).await).await));
    let options = AvsOptions { share_bls_key: true, ..cluster.avs_options(0, cluster.native(0)).await };
    within("the first", node.resume(options)).await.unwrap();
    within("the second", node.resume(found(&cluster, 0).await)).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_signed_outlives_a_removal_and_binds_whoever_joins_in_its_place() {
    let mut cluster = Cluster::start(Plan { settings: sticky, ..Plan::of(4) }).await;
    // Not the leader's, so that the cluster's way to a new one is not in question here.
    let leader = cluster.leader().await;
    let away = (1..4).find(|number| *number != leader).unwrap();
    let through = (0..4).find(|number| *number != away).unwrap();
    let signed = cluster.request("signed by all", *b"task").await;
    assert_eq!(cluster.ended(signed).await.1, Outcome::Done);
    until("it has signed", || cluster.operators[away].probe.calls() == 1).await;
    let (host, handle) = cluster.operators[away].running.take().unwrap();
    let old = handle.identity().node;
    drop(handle);
    within("a pause", host.pause(&id(AVS))).await.unwrap();
    within("a removal", host.remove(&id(AVS), false)).await.unwrap();
    assert!(host.list().is_empty());

    let options = async || {
        let native = Logic::Native(cluster.operators[away].probe.callbacks());
        let entrance = Entrance::Join { urls: vec![cluster.http_url(through)], registry: cluster.registry };
        AvsOptions { entrance, ..cluster.avs_options(away, native).await }
    };
    let founding = async || {
        let start_block = cluster.chain.head().await.unwrap().block.number;
        let entrance = Entrance::Found { settings: Box::new(cluster.settings.clone()), start_block };
        AvsOptions { entrance, ..options().await }
    };
    // Not by itself, as with the next start of the process; and never to found another cluster.
    assert!(matches!(host.add(options().await).await, Err(NodeError::Left)));
    assert!(host.list().is_empty());
    assert!(matches!(host.rejoin(founding().await).await, Err(NodeError::FoundedBefore)));
    assert_eq!(host.list()[0].phase, Phase::Failed);
    let handle = within("a return", host.resume(options().await)).await.unwrap();
    let new = handle.identity().node;
    assert_ne!(new, old);
    voters(&handle, 4).await;
    done(&handle, "after the return").await;
    drop(handle);
    within("a pause", host.pause(&id(AVS))).await.unwrap();
    let key = identity::node_key(&cluster.env, &cluster.operators[away].directory).unwrap().public();
    let path = cluster.operators[away].directory.join("avs").join(AVS).join("guard.redb");
    let open = |node: NodeId| Guard::open(&cluster.env, &path, Owner { node, key }, cluster.service.clone(), false);
    assert!(open(old).is_err(), "the one that left signs no more");
    assert_eq!(open(new).unwrap().signed(signed).unwrap().len(), 1, "what it signed is known");
    within("the end", host.shutdown()).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_does_not_end_by_mistake() {
    let cluster = Cluster::start(Plan::of(1)).await;
    let node = cluster.node(0);
    node.pause(&id(AVS)).await.unwrap();
    let refused = within("a removal", node.remove(&id(AVS), false)).await;
    assert!(matches!(refused, Err(NodeError::LastMember)), "{refused:?}");
    // Nothing has changed.
    assert_eq!(phase(&cluster, 0, AVS), Some(Phase::Paused));
    let handle = within("a return", node.resume(cluster.avs_options(0, cluster.native(0)).await)).await.unwrap();
    done(&handle, "after").await;
    drop(handle);
    node.pause(&id(AVS)).await.unwrap();
    within("a removal", node.remove(&id(AVS), true)).await.unwrap();
    assert!(matches!(node.add(cluster.avs_options(0, cluster.native(0)).await).await, Err(NodeError::Left)));
    cluster.end().await;
}
