//! Receipts that are not on most members' chain.

use std::time::Duration;

use eigenshift_chain::Chain;
use eigenshift_ledger::{Phase, State};
use eigenshift_types::{B256, Outcome, TaskIndex};

use crate::cluster::{Cluster, Plan, sticky, wait, within};

fn receipt(state: &State, index: TaskIndex) -> Option<B256> {
    match state.tasks.get(&index)?.phase {
        Phase::Closed(Outcome::Finalized { tx, .. }) => Some(tx),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_most_members_do_not_see_is_disputed_and_the_answer_submitted_again() {
    let plan = Plan {
        settings: sticky,
        submits: true,
        patience: |patience| patience.retry_most = Duration::from_millis(200),
        ..Plan::of(4)
    };
    let cluster = Cluster::start(plan).await;
    let leader = cluster.leader().await;
    let others: Vec<usize> = cluster.live().filter(|number| *number != leader).collect();
    others.iter().for_each(|number| cluster.operators[*number].sight.hide_all());
    let index = cluster.request("task", vec![1]).await;
    let disputed = |state: &State| state.tasks.get(&index).filter(|task| task.disputed).cloned();
    let task = wait(cluster.handle(leader), "the task is disputed", disputed).await;
    let Phase::Closed(Outcome::Finalized { tx: first, .. }) = task.phase else { panic!("{:?}", task.phase) };
    assert_ne!(task.aggregator, cluster.handle(leader).identity().node, "another one submits");
    cluster.operators.iter().for_each(|operator| operator.sight.hide_only(first));
    for number in cluster.live() {
        let settled = |state: &State| {
            let task = state.tasks.get(&index).filter(|task| !task.disputed).cloned();
            task.filter(|_| receipt(state, index).is_some_and(|tx| tx != first))
        };
        let task = wait(cluster.handle(number), "another receipt takes its place", settled).await;
        assert_eq!(task.intents.len(), 2);
        let second = cluster.handle(number).read(|state| receipt(state, index));
        assert!(second.is_some_and(|tx| task.intents.iter().any(|intent| intent.tx == tx)));
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_shows_late_is_not_taken_for_somebody_elses_answer() {
    let plan = Plan {
        settings: |settings| {
            sticky(settings);
            settings.reassign_grace = 100;
        },
        submits: true,
        ..Plan::of(3)
    };
    let cluster = Cluster::start(plan).await;
    let leader = cluster.leader().await;
    for operator in &cluster.operators {
        operator.sight.hide_all();
        operator.probe.set_answered(true);
    }
    let index = cluster.request("task", vec![1]).await;
    let announced = |state: &State| state.tasks.get(&index).and_then(|task| task.intents.first().cloned());
    let intent = wait(cluster.handle(leader), "a transaction is announced", announced).await;
    let mut heads = cluster.chain.heads();
    within("the transaction is mined", async {
        while cluster.chain.receipt(intent.tx).await.unwrap().is_none() {
            heads.changed().await.unwrap();
        }
    })
    .await;
    // Long enough for the aggregator to look several times.
    let later = heads.borrow().block.number + 5;
    within("blocks", heads.wait_for(|head| head.block.number >= later)).await.unwrap();
    assert!(cluster.handle(leader).read(|state| state.live_task(index).is_some()));
    cluster.operators.iter().for_each(|operator| operator.sight.show_all());
    let (task, outcome) = cluster.ended(index).await;
    assert!(matches!(outcome, Outcome::Finalized { tx, .. } if tx == intent.tx), "{outcome:?}");
    assert_eq!(task.intents.len(), 1);
    cluster.end().await;
}
