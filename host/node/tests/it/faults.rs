//! Operators whose logic misbehaves.

use eigenshift_ledger::settings::Expiry;
use eigenshift_types::Outcome;

use crate::cluster::{Cluster, Plan};
use crate::logic::{self, Probe, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operator_that_lies_fails_or_panics_stops_nobody() {
    let cluster = Cluster::start(Plan { last_obeys: true, ..Plan::of(4) }).await;
    // Twice round, so that the bad operator aggregates each kind once or more.
    for order in
        [order::LIE, order::FAIL, order::PANIC, order::TRAP, order::PANIC, order::LIE, order::TRAP, order::FAIL]
    {
        let what = String::from_utf8_lossy(order);
        let tasks = cluster.handle(0).read(|state| state.tasks.len());
        let index = cluster.request(&format!("{what}-{tasks}"), order.to_vec()).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done, "{what}");
        assert_eq!(task.certificates[&logic::key()].payload, logic::payload(index, 0, order), "{what}: the truth");
        assert_eq!(cluster.signers(&task), [0, 1, 2], "{what}");
    }
    let counters = cluster.handle(3).counters();
    assert_eq!(counters.get("no-answer", "final"), 2, "a refusal is final");
    assert!(counters.get("no-answer", "retried") >= 4, "a trap or a panic is not, and is counted");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_over_different_digests_are_never_added_up() {
    let plan = Plan { settings: |settings| settings.expiry = Expiry::Ms(4_000), last_obeys: true, ..Plan::of(4) };
    let mut cluster = Cluster::prepare(&plan).await;
    cluster.operators[2].probe = Probe::new(true);
    for number in 0..4 {
        cluster.run(number, cluster.native(number)).await;
    }
    cluster.wait_voters(4).await;
    // Two against two: all sign, no digest has 67 percent.
    let index = cluster.request("split", order::LIE.to_vec()).await;
    let aggregator = cluster.handle(0).read(|state| state.tasks[&index].aggregator);
    let counters = cluster.handle(cluster.number_of(aggregator).unwrap()).counters().clone();
    crate::cluster::until("all four are counted", || counters.get("response", "counted") >= 4).await;
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!(outcome, Outcome::Expired);
    assert!(task.certificates.is_empty());
    // The same operators agree on the next task.
    let index = cluster.request("whole", *b"truth").await;
    assert_eq!(cluster.ended(index).await.1, Outcome::Done);
    cluster.end().await;
}
