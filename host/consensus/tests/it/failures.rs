//! Leaders and followers that stop, and what is kept.

use bytes::Bytes;
use eigenshift_consensus::{Error, MAX_COMMAND_BYTES, ProposeError, Role};
use eigenshift_env::sim::World;
use eigenshift_types::NodeId;

use crate::cluster::{Cluster, Node, Plan, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_apply_the_same_commands_in_the_same_order() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    for number in 1..=5 {
        let applied = first.group.propose(Bytes::from(format!("c{number}"))).await.unwrap();
        assert_eq!(applied.reply, number.to_string());
    }
    // One that does not lead passes it on; by itself it refuses.
    let refused = second.group.propose(Bytes::from_static(b"no")).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: Some(NodeId(1)) });
    let applied = third.group.propose_at_leader(Bytes::from_static(b"c6")).await.unwrap();
    assert_eq!(applied.reply, "6");
    for node in [&first, &second, &third] {
        node.applied(applied.index).await;
        assert_eq!(node.commands(), ["c1", "c2", "c3", "c4", "c5", "c6"]);
    }
    assert!(first.group.confirm_leadership().await);
    assert!(!second.group.confirm_leadership().await);

    let large = Bytes::from(vec![0; MAX_COMMAND_BYTES + 1]);
    assert!(matches!(second.group.propose_at_leader(large).await, Err(ProposeError::TooLarge { .. })));
    let largest = Bytes::from(vec![0; MAX_COMMAND_BYTES]);
    let applied = second.group.propose_at_leader(largest).await.unwrap();
    third.applied(applied.index).await;

    let health = first.group.health();
    assert_eq!((health.role, health.leader, health.members.len()), (Role::Leader, Some(NodeId(1)), 3));
    assert!(health.members.values().all(|member| member.voter));
    assert_eq!(second.group.health().role, Role::Follower);
}

/// No clock, file or socket is reached but through the environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_world_will_do() {
    let cluster =
        Cluster::new(Plan { world: Some(World::default()), snapshot_every: 5, keep_logs: 2, ..Plan::default() });
    let [first, second, third] = cluster.three().await;
    for number in 0..12 {
        third.propose(&number.to_string()).await;
    }
    first.group.hand_over(NodeId(2)).await.unwrap();
    second.leads().await;
    let last = first.propose("last").await;
    third.applied(last).await;
    assert_eq!(third.commands().len(), 13);
    assert!(!cluster.directory.path().join("1").exists(), "something wrote to the real disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_loses_nothing_and_catches_up_from_its_disk() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    for number in 0..5 {
        first.propose(&format!("before {number}")).await;
    }
    let term = first.group.health().term;
    let stopped = first.crash().await;
    let new = second
        .leadership("a new leader", |seen| seen.term > term && seen.leader.is_some_and(|id| id != NodeId(1)))
        .await;
    assert!([NodeId(2), NodeId(3)].contains(&new.leader.unwrap()));
    let leader = if new.leader == Some(NodeId(2)) { &second } else { &third };
    leader.leads().await;
    for number in 0..5 {
        second.propose(&format!("after {number}")).await;
    }
    let last = third.propose("last").await;

    let first = stopped.restart().await;
    for node in [&first, &second, &third] {
        node.applied(last).await;
        assert_eq!(node.commands(), leader.commands());
        assert_eq!(node.commands().len(), 11);
    }
    // What it had applied came from its own log, and it knows the members again.
    assert_eq!(first.group.peers().members().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_goes_on_after_a_crash_and_is_bootstrapped_once() {
    let cluster = Cluster::new(Plan { snapshot_every: 8, keep_logs: 2, ..Plan::default() });
    let node = cluster.first().await;
    for number in 0..30 {
        node.propose(&number.to_string()).await;
    }
    let before = node.commands();
    let node = node.crash().await.restart().await;
    node.leads().await;
    assert_eq!(node.commands(), before);
    assert!(node.seen.lock().restores > 0, "the snapshot was not used");
    assert!(matches!(node.group.bootstrap(node.peer()).await, Err(Error::AlreadyInitialized)));
    node.propose("more").await;
    assert_eq!(node.commands().len(), 31);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_far_behind_gets_a_snapshot_and_then_the_rest() {
    let cluster = Cluster::new(Plan { snapshot_every: 10, keep_logs: 2, ..Plan::default() });
    let first = cluster.first().await;
    // More than one part's worth.
    let text = "x".repeat(100_000);
    for number in 0..40 {
        first.propose(&format!("{number} {text}")).await;
    }
    // Snapshots are made beside the applying: until the log is cut off there is nothing to be far behind of.
    soon("cutting the log off", async {
        while first.group.health().purged < Some(20) {
            first.propose("more").await;
        }
    })
    .await;
    let second = cluster.voter(2, &first).await;
    assert!(second.seen.lock().restores > 0, "it got no snapshot");
    let last = second.propose("after").await;
    second.applied(last).await;
    assert_eq!(second.commands(), first.commands());

    // What it installed is on its disk.
    let second = second.crash().await.restart().await;
    second.applied(last).await;
    assert_eq!(second.commands(), first.commands());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_confirmed() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    let stopped: Vec<_> = [second.crash().await, third.crash().await].into();
    assert!(!first.group.confirm_leadership().await);
    let proposed = first.group.propose(Bytes::from_static(b"alone")).await;
    assert!(matches!(proposed, Err(ProposeError::Uncertain | ProposeError::NotLeader { .. })), "{proposed:?}");
    let mut back: Vec<Node> = Vec::new();
    for node in stopped {
        back.push(node.restart().await);
    }
    let last = back[0].propose("together").await;
    first.applied(last).await;
    assert_eq!(first.commands().last().unwrap(), "together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_machine_that_panics_stops_its_group_which_says_so() {
    let cluster = Cluster::new(Plan::default());
    let node = cluster.first().await;
    node.propose("fine").await;
    assert_eq!(*node.group.stopped().borrow(), None);
    let proposed = node.group.propose(Bytes::from_static(b"panic")).await;
    assert!(matches!(proposed, Err(ProposeError::Stopped | ProposeError::Uncertain)), "{proposed:?}");
    let why = soon("stopping", node.group.stopped().wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(why.contains("panicked"), "{why}");
    node.leadership("leading no more", |seen| seen.leader.is_none() && !seen.ready).await;
    assert_eq!(node.group.propose(Bytes::from_static(b"late")).await, Err(ProposeError::Stopped));
}
