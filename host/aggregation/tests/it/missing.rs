//! What none of the services that operators know is tested with, beside what `cases::ours`, `defects` and `restarts` have:
//! through the service, which goes on.

use std::sync::Arc;

use eigenshift_aggregation::core::{Core, INCORRECT_LIMIT, REMEMBERED};
use eigenshift_aggregation::{
    Accepted, Error, Event, Events, Expiry, Handle, KeyStage, Operators, Options, Service, Share, ShareError,
    TaskAggregation, TaskMetadata,
};
use eigenshift_bls::Curve;
use eigenshift_env::{Env, Pool, sim::World};
use eigenshift_types::{B256, Bytes, Certificate, OperatorId, OperatorSet, Quorums, Stake};
use futures::FutureExt;

use crate::fixture::{Cluster, both_curves, digest, in_time, malformed, ms, quorums};

fn service() -> (Handle, Events, Env) {
    let env = Env::simulated(&World::default(), 1);
    let (handle, events) = Service::start(Options::default(), &env, Pool::inline());
    (handle, events, env)
}

async fn certificate(events: &mut Events) -> Certificate {
    match in_time(events.next()).await {
        Some(Event::Certified(certificate)) => certificate,
        other => panic!("{other:?}"),
    }
}

async fn late_signature_after_expiry_by_time_or_block(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, mut events, env) = service();
    let metadata = TaskMetadata::new(1, 7, vec![0], vec![100], ms(100));
    handle.open(metadata.with_operators(Arc::clone(&cluster.operators))).unwrap();
    handle.open(TaskAggregation { expiry: Expiry::AtBlock(9), ..cluster.task(2, &[100], ms(0)) }).unwrap();
    assert_eq!(in_time(events.next()).await, Some(Event::Ended { task: 1 }));
    handle.at_block(9);
    assert_eq!(in_time(events.next()).await, Some(Event::Ended { task: 2 }));
    for task in [1, 2] {
        let late = cluster.share(task, "k", 0, 1);
        assert_eq!(in_time(handle.submit(late)).await, Err(ShareError::Expired(task)));
        assert!(!handle.is_open(task) && handle.progress(task).is_none());
    }
    env.clock.sleep(REMEMBERED + ms(200)).await;
    // What makes it forget is whatever happens next.
    handle.at_block(10);
    for task in [1, 2] {
        let late = cluster.share(task, "k", 0, 1);
        assert_eq!(in_time(handle.submit(late)).await, Err(ShareError::NotOpen(task)));
    }
    assert!(events.next().now_or_never().is_none());
}

/// Every caller of a batch gives up before there is a verdict.
async fn cancelled_callers_lose_nothing_but_their_answers(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 4);
    let (handle, mut events, _) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    for operator in 0..4 {
        assert!(handle.submit(cluster.share(1, "k", operator, 1)).now_or_never().is_none());
    }
    assert_eq!(cluster.signers(&quorums(&[100]), &certificate(&mut events).await), [0, 1, 2, 3]);
    assert_eq!(handle.waiting(), 0);
}

/// There is no set: nobody could open the task, its signatures are early, and nothing else suffers.
async fn registry_failure_when_the_set_cannot_be_had(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, mut events, _) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let early = cluster.share(2, "k", 0, 1);
    assert_eq!(in_time(handle.submit(early.clone())).await, Err(ShareError::NotOpen(2)));
    for operator in [0, 1] {
        assert_eq!(in_time(handle.submit(cluster.share(1, "k", operator, 1))).await, Ok(Accepted::Counted));
    }
    assert_eq!(certificate(&mut events).await.task, 1);
    // It was had at last: the number is not burned, and the early one counts when it is sent again.
    handle.open(cluster.task(2, &[50], ms(0))).unwrap();
    assert_eq!(in_time(handle.submit(early)).await, Ok(Accepted::Counted));
    assert_eq!(certificate(&mut events).await.task, 2);
}

async fn registry_failure_when_the_set_cannot_be_decoded(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, mut events, _) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    assert_eq!(in_time(handle.submit(cluster.share(1, "k", 0, 1))).await, Ok(Accepted::Counted));
    let broken: [fn(&mut OperatorSet); 5] = [
        |set| set.operators[1].g1 = Bytes::from(vec![1; set.operators[1].g1.len()]),
        |set| set.operators[1].g1 = set.operators[1].g1.slice(1..),
        |set| set.operators[1].id = OperatorId(B256::repeat_byte(0xff)),
        |set| set.quorums[0].total_stake = Stake::new(1).unwrap(),
        |set| set.operators.clear(),
    ];
    for change in broken {
        let mut set = cluster.set.clone();
        change(&mut set);
        for honest_digest in [false, true] {
            if honest_digest {
                set.digest = set.compute_digest();
            }
            Operators::from_set(&set).unwrap_err();
        }
    }
    let operators = Arc::new(Operators::from_set(&cluster.set).unwrap());
    handle.open(TaskAggregation { operators, ..cluster.task(2, &[100], ms(0)) }).unwrap();
    for (task, operator) in [(2, 0), (2, 1), (1, 1)] {
        assert_eq!(in_time(handle.submit(cluster.share(task, "k", operator, 1))).await, Ok(Accepted::Counted));
    }
    assert_eq!([certificate(&mut events).await.task, certificate(&mut events).await.task], [2, 1]);
}

/// D1, by the clock: the winner's window goes on for the winner's signers alone.
async fn minority_digest_in_the_window(curve: Curve) {
    let cluster = Cluster::on(curve, &[&[100], &[100], &[100], &[10], &[10]]);
    let (handle, mut events, env) = service();
    handle.open(cluster.task(1, &[60], ms(100))).unwrap();
    for (operator, answer) in [(3, 6), (0, 5), (1, 5), (4, 6)] {
        assert_eq!(in_time(handle.submit(cluster.share(1, "k", operator, answer))).await, Ok(Accepted::Counted));
    }
    let progress = handle.progress(1).unwrap();
    assert_eq!((progress[0].stage, progress[0].digest, progress[0].signers), (KeyStage::Window, digest(5), 2));
    env.clock.sleep(ms(50)).await;
    // One of the winner's signers signs the other as well: evidence, and no less of a certificate.
    let answer = in_time(handle.submit(cluster.share(1, "k", 0, 6))).await;
    assert_eq!(answer, Err(ShareError::Equivocation { first: digest(5) }));
    assert!(matches!(in_time(events.next()).await, Some(Event::Equivocation(evidence)) if evidence.holds()));
    let made = certificate(&mut events).await;
    assert_eq!((made.digest, cluster.signers(&quorums(&[60]), &made)), (digest(5), vec![0, 1]));
    handle.close(1);
    assert!(events.next().now_or_never().is_none());
}

/// Off the curve, outside the group, the identity, not canonical, short, long: each by its name, and the task goes on.
async fn what_is_no_signature(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let (handle, mut events, _) = service();
    handle.open(cluster.task(1, &[60], ms(0))).unwrap();
    let good = cluster.share(1, "k", 0, 1);
    let cases = malformed(curve, &good.signature);
    assert!(cases.len() > INCORRECT_LIMIT as usize);
    for (number, (what, signature, expected)) in cases.into_iter().enumerate() {
        // One operator's are looked at so often only.
        let operator = cluster.operators.all()[usize::from(number >= INCORRECT_LIMIT as usize)].id;
        let share = Share { signature: signature.into(), operator, ..good.clone() };
        assert_eq!(in_time(handle.submit(share)).await, Err(ShareError::Malformed(expected)), "{what}");
    }
    for operator in [1, 2] {
        assert_eq!(in_time(handle.submit(cluster.share(1, "k", operator, 1))).await, Ok(Accepted::Counted));
    }
    assert_eq!(cluster.signers(&quorums(&[60]), &certificate(&mut events).await), [1, 2]);
}

async fn unknown_operator_and_operator_without_stake(curve: Curve) {
    let cluster = Cluster::on(curve, &[&[100, 0], &[0, 100], &[100, 0]]);
    let (handle, mut events, _) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let stranger = OperatorId(B256::repeat_byte(9));
    let unknown = Share { operator: stranger, ..cluster.share(1, "k", 0, 1) };
    let without = cluster.share(1, "k", 1, 1);
    for _ in 0..=INCORRECT_LIMIT {
        assert_eq!(in_time(handle.submit(unknown.clone())).await, Err(ShareError::UnknownOperator(stranger)));
        let refused = Err(ShareError::NoStake(without.operator));
        assert_eq!(in_time(handle.submit(without.clone())).await, refused);
    }
    for operator in [0, 2] {
        assert_eq!(in_time(handle.submit(cluster.share(1, "k", operator, 1))).await, Ok(Accepted::Counted));
    }
    assert_eq!(cluster.signers(&quorums(&[100]), &certificate(&mut events).await), [0, 2]);
}

/// Both the core and the service refuse it with this error, and take the next one under the same number.
async fn refused(curve: Curve, numbers: &[u8], thresholds: &[u8], expected: Error) {
    let cluster = Cluster::on(curve, &[&[100, 100]]);
    let quorums = Quorums { numbers: numbers.to_vec(), thresholds: thresholds.to_vec() };
    let task = TaskAggregation { quorums, ..cluster.task(1, &[100], ms(0)) };
    let mut core = Core::new(1);
    assert_eq!(core.open(task.clone(), ms(0)), Err(expected.clone()));
    let (handle, mut events, _) = service();
    assert_eq!(handle.open(task), Err(expected));
    assert!(!core.is_open(1) && !handle.is_open(1));
    handle.open(cluster.task(1, &[100, 100], ms(0))).unwrap();
    assert_eq!(in_time(handle.submit(cluster.share(1, "k", 0, 1))).await, Ok(Accepted::Counted));
    assert_eq!(certificate(&mut events).await.task, 1);
}

async fn fewer_thresholds_than_quorums(curve: Curve) {
    refused(curve, &[0, 1], &[100], Error::ThresholdCount { quorums: 2, thresholds: 1 }).await;
}

async fn more_thresholds_than_quorums(curve: Curve) {
    refused(curve, &[0], &[100, 100], Error::ThresholdCount { quorums: 1, thresholds: 2 }).await;
}

async fn threshold_over_100_percent(curve: Curve) {
    refused(curve, &[0, 1], &[100, 101], Error::Threshold { quorum: 1, threshold: 101 }).await;
}

async fn threshold_of_0_percent(curve: Curve) {
    refused(curve, &[0, 1], &[0, 100], Error::Threshold { quorum: 0, threshold: 0 }).await;
}

async fn unsorted_quorums(curve: Curve) {
    refused(curve, &[1, 0], &[50, 50], Error::QuorumOrder { quorum: 0 }).await;
}

async fn repeated_quorums(curve: Curve) {
    refused(curve, &[0, 0], &[50, 50], Error::QuorumOrder { quorum: 0 }).await;
}

async fn no_quorums(curve: Curve) {
    refused(curve, &[], &[], Error::NoQuorum).await;
}

async fn quorum_that_is_not_in_the_set(curve: Curve) {
    refused(curve, &[0, 2], &[50, 50], Error::UnknownQuorum { quorum: 2 }).await;
}

both_curves! {
    ;
    late_signature_after_expiry_by_time_or_block,
    cancelled_callers_lose_nothing_but_their_answers,
    registry_failure_when_the_set_cannot_be_had,
    registry_failure_when_the_set_cannot_be_decoded,
    minority_digest_in_the_window,
    what_is_no_signature,
    unknown_operator_and_operator_without_stake,
    fewer_thresholds_than_quorums,
    more_thresholds_than_quorums,
    threshold_over_100_percent,
    threshold_of_0_percent,
    unsorted_quorums,
    repeated_quorums,
    no_quorums,
    quorum_that_is_not_in_the_set
}
