//! What drivers must not miss that have nothing to do.

use std::collections::BTreeSet;
use std::time::Duration;

use eigenshift_engine::Timer;
use eigenshift_ledger::settings::Expiry;
use eigenshift_ledger::{Settings, State, TriggerId};

use crate::cluster::{Cluster, Plan, sticky, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_falls_silent_while_nothing_happens_is_marked_down_and_up_again_when_it_is_back() {
    let mut cluster = Cluster::start(Plan { settings: sticky, ..Plan::of(3) }).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let node = cluster.handle(away).identity().node;
    let down = |state: &State| state.members.get(&node).map(|member| member.down);
    for _ in 0..2 {
        assert_eq!(cluster.handle(leader).read(down), Some(false));
        cluster.stop(away).await;
        wait(cluster.handle(leader), "marked down", |state| down(state).filter(|down| *down)).await;
        cluster.run(away, cluster.native(away)).await;
        wait(cluster.handle(leader), "marked up", |state| down(state).filter(|down| !*down)).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_makes_one_task_a_slot_at_whoever_leads() {
    let timers = vec![Timer { name: "often".to_owned(), every: Duration::from_millis(1_500) }];
    let settings = |settings: &mut Settings| {
        sticky(settings);
        // The first is made before there are others to answer it.
        settings.expiry = Expiry::Ms(1_000);
    };
    let mut cluster = Cluster::start(Plan { settings, timers, ..Plan::of(3) }).await;
    let slots = |state: &State| -> Vec<u64> {
        let slot = |trigger: &TriggerId| match trigger {
            TriggerId::Timer { slot, .. } => Some(*slot),
            _ => None,
        };
        state.tasks.values().filter(|task| !task.is_live()).filter_map(|task| slot(&task.trigger)).collect()
    };
    let enough = |least: usize| move |state: &State| Some(slots(state)).filter(|slots| slots.len() >= least);
    let first = cluster.leader().await;
    let before = wait(cluster.handle(first), "tasks of the timer", enough(2)).await;
    cluster.kill(first);
    let next = cluster.leader().await;
    let after = wait(cluster.handle(next), "tasks under the next leader", enough(before.len() + 2)).await;
    assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), after.len(), "one task a slot: {after:?}");
    cluster.end().await;
}
