//! Tasks from request to end: rotation, failing leaders, many at once, restarts, a plugin.

use std::collections::BTreeSet;
use std::path::PathBuf;

use eigenshift_ledger::State;
use eigenshift_ledger::settings::{Mode, Order};
use eigenshift_node::{Curve, Logic, OperatorKeys};
use eigenshift_plugin::{Bundle, Grants};
use eigenshift_types::{Outcome, U256};
use futures::future::join_all;

use crate::cluster::{Cluster, Plan, sticky, until, wait, within};
use crate::logic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_duty_goes_round_with_every_task() {
    let cluster = Cluster::start(Plan::of(3)).await;
    let mut aggregators = Vec::new();
    for number in 0..6 {
        let index = cluster.request(&format!("task-{number}"), vec![number]).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done);
        let certificate = &task.certificates[&logic::key()];
        assert_eq!(certificate.payload, logic::payload(index, 0, &[number]));
        assert_eq!(cluster.signers(&task), [0, 1, 2], "two of three is below 67 percent");
        aggregators.push(task.aggregator);
    }
    let first_round: BTreeSet<_> = aggregators[..3].iter().collect();
    assert_eq!(first_round.len(), 3, "{aggregators:?}");
    assert_eq!(aggregators[..3], aggregators[3..], "round robin");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_over_bls12_381_certifies_fails_over_and_refuses_keys_of_the_other_curve() {
    let mut cluster = Cluster::start(Plan { curve: Curve::Bls12381, ..Plan::of(4) }).await;
    for number in 0..2 {
        let index = cluster.request(&format!("task-{number}"), vec![number]).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done);
        let certificate = &task.certificates[&logic::key()];
        assert_eq!(certificate.signature.len(), 192, "a point of G2");
    }
    let leader = cluster.leader().await;
    cluster.stop(leader).await;
    let index = cluster.request("after the leader's end", vec![9]).await;
    assert_eq!(cluster.ended(index).await.1, Outcome::Done);

    // The operator whose node ended comes back with a key of EigenLayer's curve: it is a member, and signs nothing.
    cluster.operators[leader].keys.bls = OperatorKeys::random(&cluster.env, Curve::Bn254).unwrap().bls;
    let callbacks = cluster.native(leader);
    cluster.run(leader, callbacks).await;
    let index = cluster.request("with a wrong key", vec![10]).await;
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!(outcome, Outcome::Done);
    assert!(!cluster.signers(&task).contains(&leader));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logics_own_order_of_duty_is_followed_and_nobody_complains() {
    let plan = Plan { settings: |settings| settings.rotation.order = Order::Plugin, ..Plan::of(3) };
    let cluster = Cluster::start(plan).await;
    let mut aggregators = Vec::new();
    for number in 0..6 {
        let index = cluster.request(&format!("task-{number}"), vec![number]).await;
        aggregators.push(cluster.ended(index).await.0.aggregator);
    }
    let mut ring: Vec<_> = cluster.handle(0).read(|state| {
        let set = &state.sets[&state.latest_set.unwrap()];
        let operator = |node| set.by_address(state.members[node].operator()).unwrap().id;
        let mut ring: Vec<_> = state.members.keys().map(|node| (operator(node), *node)).collect();
        ring.sort();
        ring.into_iter().map(|(_, node)| node).collect()
    });
    ring.reverse();
    let start = ring.iter().position(|node| *node == aggregators[0]).unwrap();
    let against: Vec<_> = (0..6).map(|turn| ring[(start + turn) % 3]).collect();
    assert_eq!(aggregators, against, "against the ring");
    cluster.handle(0).read(|state| assert!(state.complaints.is_empty(), "{:?}", state.complaints));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_with_a_task_open_loses_no_task_and_ends_none_twice() {
    let mut cluster = Cluster::start(Plan::of(4)).await;
    cluster.set_gates(false);
    let index = cluster.request("task", *b"open").await;
    let leader = cluster.leader().await;
    let dead = cluster.handle(leader).identity().node;
    let given = cluster.handle(leader).read(|state| state.tasks[&index].aggregator);
    assert_eq!(given, dead, "the leader aggregates");
    for number in cluster.live() {
        within("every operator is at work", cluster.operators[number].probe.wait_calls(1)).await;
    }
    cluster.kill(leader);
    cluster.set_gates(true);
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!(outcome, Outcome::Done);
    assert_ne!(task.aggregator, dead);
    assert!(task.assignment_epoch > 0);
    assert!(!cluster.signers(&task).contains(&leader), "it had signed nothing");
    // The cluster goes on, and nothing of the first task is repeated.
    let next = cluster.request("next", *b"next").await;
    assert_eq!(cluster.ended(next).await.1, Outcome::Done);
    for number in cluster.live() {
        let (ended, tasks) = cluster.handle(number).read(|state| (state.ended.clone(), state.tasks.len()));
        assert_eq!((ended.into_iter().collect::<Vec<_>>(), tasks), (vec![index, next], 2));
        assert_eq!(cluster.operators[number].probe.calls(), 2, "once for each task");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tasks_in_flight_under_assignment_are_all_done() {
    const TASKS: usize = 50;
    let plan = Plan {
        settings: |settings| {
            settings.rotation.mode = Mode::Assignment;
            settings.max_open_tasks = 64;
        },
        ..Plan::of(3)
    };
    let cluster = Cluster::start(plan).await;
    cluster.set_gates(false);
    let requests = (0..TASKS).map(|number| {
        let cluster = &cluster;
        async move { cluster.request(&format!("task-{number}"), number.to_be_bytes().to_vec()).await }
    });
    let indices: BTreeSet<_> = join_all(requests).await.into_iter().collect();
    assert_eq!(indices.len(), TASKS);
    assert_eq!(cluster.handle(0).read(|state| state.live_tasks().count()), TASKS, "all in flight at once");
    cluster.set_gates(true);
    let mut aggregators = BTreeSet::new();
    for index in indices {
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done, "task {index}");
        aggregators.insert(task.aggregator);
    }
    assert_eq!(aggregators.len(), 3, "everybody had a share");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_catches_up() {
    let mut cluster = Cluster::start(Plan { settings: sticky, ..Plan::of(4) }).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 4;
    let node = cluster.handle(away).identity().node;
    cluster.stop(away).await;
    let mut last = 0;
    for number in 0..3 {
        last = cluster.request(&format!("task-{number}"), vec![number]).await;
        assert_eq!(cluster.ended(last).await.1, Outcome::Done);
    }
    cluster.run(away, cluster.native(away)).await;
    assert_eq!(cluster.handle(away).identity().node, node, "the same member as before");
    // `ended` compares what the nodes have.
    assert_eq!(cluster.ended(last).await.1, Outcome::Done);
    assert_eq!(cluster.operators[away].probe.calls(), 0, "ended tasks are not worked on");
    let next = cluster.request("next", *b"next").await;
    within("it answers again", cluster.operators[away].probe.wait_calls(1)).await;
    assert_eq!(cluster.ended(next).await.1, Outcome::Done);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_sends_what_its_guard_kept_without_asking_the_logic_again() {
    let mut cluster = Cluster::start(Plan { settings: sticky, ..Plan::of(3) }).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.set_gates(false);
    cluster.operators[away].probe.set_gate(true);
    let index = cluster.request("task", *b"kept").await;
    let counted = |cluster: &Cluster| cluster.handle(leader).counters().get("response", "counted");
    until("the answer is counted", || counted(&cluster) > 0).await;
    cluster.stop(away).await;
    let before = counted(&cluster);
    cluster.run(away, cluster.native(away)).await;
    until("the answer comes again", || counted(&cluster) > before).await;
    assert_eq!(cluster.operators[away].probe.calls(), 1, "asked once, before the restart");
    cluster.set_gates(true);
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(cluster.signers(&task), [0, 1, 2]);
    assert_eq!(cluster.operators[away].probe.calls(), 1);
    cluster.end().await;
}

/// A restarted aggregator has forgotten what it counted: everybody tells it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_cluster_finishes_the_task_that_was_open() {
    let mut cluster = Cluster::start(Plan { settings: sticky, ..Plan::of(3) }).await;
    let leader = cluster.leader().await;
    let late = (leader + 1) % 3;
    cluster.operators[late].probe.set_gate(false);
    let index = cluster.request("task", *b"kept").await;
    let counters = cluster.handle(leader).counters().clone();
    until("two answers are counted", || counters.get("response", "counted") >= 2).await;
    for number in 0..3 {
        cluster.stop(number).await;
    }
    cluster.operators[late].probe.set_gate(true);
    for number in 0..3 {
        cluster.run(number, cluster.native(number)).await;
    }
    assert_eq!(cluster.ended(index).await.1, Outcome::Done);
    for number in 0..3 {
        let calls = if number == late { 2 } else { 1 };
        assert_eq!(cluster.operators[number].probe.calls(), calls, "operator {number}");
    }
    cluster.end().await;
}

pub fn squaring() -> Bundle {
    let folder = std::env::var_os("EIGENSHIFT_COMPONENTS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins/target/components"),
        PathBuf::from,
    );
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()))
    };
    let manifest = String::from_utf8(read("incredible-squaring.avs.toml")).unwrap();
    Bundle::new(read("incredible-squaring.wasm"), manifest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_squares_numbers_and_refuses_what_overflows() {
    let bundle = squaring();
    let plan =
        Plan { settings: |settings| settings.expiry = eigenshift_ledger::settings::Expiry::Ms(15_000), ..Plan::of(3) };
    let mut cluster = Cluster::prepare(&plan).await;
    for number in 0..3 {
        cluster.run(number, Logic::Plugin(bundle.clone(), Grants::all())).await;
    }
    cluster.wait_voters(3).await;
    let index = cluster.request("seven", U256::from(7).to_be_bytes::<32>()).await;
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!(outcome, Outcome::Done);
    let answer = task.certificates.values().next().unwrap().payload.clone();
    assert_eq!(answer.as_ref(), [U256::from(index).to_be_bytes::<32>(), U256::from(49).to_be_bytes()].concat());
    let too_large = cluster.request("overflow", U256::MAX.to_be_bytes::<32>()).await;
    let refused = |state: &State| state.tasks.get(&too_large)?.certificates.is_empty().then_some(());
    wait(cluster.handle(0), "no certificate", refused).await;
    for number in cluster.live() {
        until("every operator gives up", || cluster.handle(number).counters().get("no-answer", "final") == 1).await;
    }
    let (task, outcome) = cluster.ended(too_large).await;
    assert_eq!((outcome, task.certificates.len()), (Outcome::Expired, 0));
    let next = cluster.request("next", U256::from(3).to_be_bytes::<32>()).await;
    assert_eq!(cluster.ended(next).await.1, Outcome::Done);
    cluster.end().await;
}
