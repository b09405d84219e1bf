//! Joining, leaving and handing over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_consensus::{AskError, HandOverError, MembershipError};
use eigenshift_types::NodeId;
use futures::FutureExt;

use crate::cluster::{Cluster, Plan, is_true, soon};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_as_learner_and_becomes_a_voter() {
    let cluster = Cluster::new(Plan::default());
    let first = cluster.first().await;
    first.propose("early").await;
    let second = cluster.learner(2, &first).await;
    assert_eq!(second.commands(), ["early"]);
    assert!(!first.group.health().members[&NodeId(2)].voter);
    let again = first.group.add_learner(second.peer()).await;
    assert_eq!(again, Err(MembershipError::AlreadyMember(NodeId(2))));
    assert_eq!(
        second.group.add_learner(second.peer()).await,
        Err(MembershipError::NotLeader { leader: Some(NodeId(1)) })
    );
    assert_eq!(first.group.promote(NodeId(9)).await, Err(MembershipError::Unknown(NodeId(9))));

    first.group.promote(NodeId(2)).await.unwrap();
    assert!(first.group.health().members[&NodeId(2)].voter);
    let last = first.propose("late").await;
    second.applied(last).await;
    // The state machine has seen who belongs to it, on both alike: once for each change, with the step between.
    let seen = second.seen.lock().memberships.clone();
    assert_eq!(seen, first.seen.lock().memberships.clone());
    assert_eq!(seen.first().unwrap(), &(vec![1], vec![]));
    assert!(seen.contains(&(vec![1], vec![2])));
    assert_eq!(seen.last().unwrap(), &(vec![1, 2], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_is_down_is_not_promoted() {
    let cluster = Cluster::new(Plan::default());
    let first = cluster.first().await;
    let second = cluster.learner(2, &first).await;
    let stopped = second.crash().await;
    let refused = first.group.promote(NodeId(2)).await;
    assert!(matches!(refused, Err(MembershipError::NotCaughtUp { node: NodeId(2), .. })), "{refused:?}");
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_to_the_chosen_voter_and_back() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    for round in 0..3 {
        first.group.hand_over(NodeId(3)).await.unwrap();
        third.leads().await;
        third.group.propose(Bytes::from(format!("third {round}"))).await.unwrap();
        third.group.hand_over(NodeId(1)).await.unwrap();
        first.leads().await;
        first.group.propose(Bytes::from(format!("first {round}"))).await.unwrap();
    }
    let last = second.propose("end").await;
    second.applied(last).await;
    assert_eq!(second.commands().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_not_handed_to_the_dead_to_learners_or_to_nobody() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    let learner = cluster.learner(4, &first).await;
    assert_eq!(first.group.hand_over(learner.id).await, Err(HandOverError::NotVoter(NodeId(4))));
    assert_eq!(first.group.hand_over(NodeId(1)).await, Err(HandOverError::NotVoter(NodeId(1))));
    assert_eq!(first.group.hand_over(NodeId(77)).await, Err(HandOverError::NotVoter(NodeId(77))));
    assert_eq!(second.group.hand_over(NodeId(3)).await, Err(HandOverError::NotLeader));

    let term = first.group.health().term;
    let _stopped = third.crash().await;
    let refused = first.group.hand_over(NodeId(3)).await;
    assert!(matches!(refused, Err(HandOverError::Unreachable { node: NodeId(3), .. })), "{refused:?}");
    // Nothing was tried: it leads on, in the same term, and takes proposals.
    first.group.propose(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(first.group.health().term, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_told_and_refused_on_its_open_connection() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    let learner = cluster.learner(4, &first).await;
    first.group.on_ask(Arc::new(|from, kind, body| {
        async move { Ok(Bytes::from(format!("{from} {kind} {}", body.len()))) }.boxed()
    }));
    let answer = learner.group.ask(NodeId(1), "hello", Bytes::from_static(b"abc"), LIMIT).await.unwrap();
    assert_eq!(answer, "4 hello 3");

    first.group.remove(NodeId(4)).await.unwrap();
    let refused = learner.group.ask(NodeId(1), "hello", Bytes::new(), LIMIT).await;
    assert!(matches!(&refused, Err(AskError::Refused { code, .. }) if code == "removed"), "{refused:?}");
    is_true("telling the learner", learner.group.removed()).await;

    first.group.remove(NodeId(3)).await.unwrap();
    is_true("telling the voter", third.group.removed()).await;
    assert!(!*second.group.removed().borrow());

    // The rest goes on without them, and the last voter stays.
    let last = second.propose("without").await;
    first.applied(last).await;
    first.group.remove(NodeId(2)).await.unwrap();
    assert_eq!(first.group.remove(NodeId(1)).await, Err(MembershipError::LastVoter(NodeId(1))));
    assert_eq!(first.group.remove(NodeId(2)).await, Err(MembershipError::Unknown(NodeId(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_removes_itself_leaves_the_others_with_a_leader() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    first.group.remove(NodeId(1)).await.unwrap();
    is_true("knowing of its own removal", first.group.removed()).await;
    second.leadership("a new leader", |seen| seen.leader.is_some_and(|leader| leader != NodeId(1))).await;
    let last = third.propose("without the first").await;
    second.applied(last).await;
}

/// It does not know the key of the node that leads by then; without asking the members it knows it would shut it out for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_learns_of_a_leader_that_joined_meanwhile() {
    let cluster = Cluster::new(Plan::default());
    let [first, second, third] = cluster.three().await;
    let stopped = third.crash().await;
    let fourth = cluster.voter(4, &first).await;
    first.group.hand_over(NodeId(4)).await.unwrap();
    fourth.leads().await;
    let last = second.propose("while away").await;
    let third = stopped.restart().await;
    third.applied(last).await;
    assert!(third.group.peers().allows(&fourth.peer().key));
    soon("following", third.group.leadership().wait_for(|seen| seen.leader == Some(NodeId(4)))).await.unwrap();
}
