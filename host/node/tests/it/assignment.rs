//! Assignment: each task names its aggregator in the log, who need not lead nor vote.

use std::collections::BTreeSet;
use std::time::Duration;

use eigenshift_ledger::settings::Mode;
use eigenshift_ledger::{Settings, State};
use eigenshift_types::Outcome;

use crate::cluster::{Cluster, Plan, wait, within};

fn assignment(settings: &mut Settings) {
    settings.rotation.mode = Mode::Assignment;
    settings.max_open_tasks = 16;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_aggregator_is_replaced_and_its_task_is_done_once() {
    let mut cluster = Cluster::start(Plan { settings: assignment, ..Plan::of(4) }).await;
    let leader = cluster.leader().await;
    cluster.set_gates(false);
    // Round robin over four: one of two neighbours does not lead.
    let mut given = None;
    for number in 0..2 {
        let index = cluster.request(&format!("task-{number}"), vec![number]).await;
        let aggregator = cluster.handle(leader).read(|state| state.tasks[&index].aggregator);
        let aggregator = cluster.number_of(aggregator).unwrap();
        if aggregator != leader {
            given = Some((index, aggregator));
        }
    }
    let (index, aggregator) = given.unwrap();
    let dead = cluster.handle(aggregator).identity().node;
    for number in cluster.live() {
        within("every operator is at work", cluster.operators[number].probe.wait_calls(2)).await;
    }
    cluster.kill(aggregator);
    cluster.set_gates(true);
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!(outcome, Outcome::Done);
    assert!(task.aggregator != dead && task.assignment_epoch > 0, "{} {}", task.aggregator, task.assignment_epoch);
    for other in cluster.handle(leader).read(|state| state.tasks.keys().copied().collect::<Vec<_>>()) {
        assert_eq!(cluster.ended(other).await.1, Outcome::Done, "task {other}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_beyond_max_voters_signs_and_aggregates() {
    let plan = Plan {
        settings: |settings| {
            assignment(settings);
            settings.max_voters = 3;
            // All of them have to sign.
            settings.quorums.thresholds = vec![100];
        },
        ..Plan::of(4)
    };
    let mut cluster = Cluster::prepare(&plan).await;
    for number in 0..4 {
        cluster.run(number, cluster.native(number)).await;
    }
    cluster.wait_voters(3).await;
    for number in cluster.live() {
        let joined = |state: &State| (state.members.len() == 4).then_some(());
        wait(cluster.handle(number), "all four are members", joined).await;
    }
    let mut aggregators = BTreeSet::new();
    for number in 0..4 {
        let index = cluster.request(&format!("task-{number}"), vec![number]).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!((outcome, cluster.signers(&task)), (Outcome::Done, vec![0, 1, 2, 3]));
        aggregators.insert(task.aggregator);
    }
    assert_eq!(aggregators.len(), 4, "the learner too");
    assert_eq!(cluster.handle(0).read(|state| state.voters.len()), 3);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregator_that_lives_and_does_nothing_is_replaced() {
    let plan =
        Plan { settings: assignment, patience: |patience| patience.idle_after = Duration::from_secs(2), ..Plan::of(4) };
    let cluster = Cluster::start(plan).await;
    let leader = cluster.leader().await;
    let idle = cluster.live().find(|number| *number != leader).unwrap();
    cluster.operators[idle].probe.set_desk(false);
    let idler = cluster.handle(idle).identity().node;
    let mut replaced = 0;
    // Round robin over four: it is its turn once.
    for number in 0..4 {
        let index = cluster.request(&format!("task-{number}"), vec![number]).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done);
        assert_ne!(task.aggregator, idler, "task {number}");
        replaced += task.assignment_epoch;
    }
    assert!(replaced >= 1, "it was its turn");
    cluster.handle(leader).read(|state| assert!(state.members.values().all(|member| !member.down), "it lives"));
    cluster.end().await;
}
