//! What goes wrong in the aggregation services that operators know, one test for each; D14, which is a restart, is in
//! `restarts`.

use std::sync::Arc;

use eigenshift_aggregation::core::Core;
use eigenshift_aggregation::{
    Accepted, Error, Event, Events, Evidence, Expiry, Handle, Options, Service, Share, ShareError, TaskAggregation,
};
use eigenshift_bls::{Curve, SecretKey};
use eigenshift_env::{Env, Pool, sim::World};
use eigenshift_types::{Bytes, Certificate, OperatorId, Quorums, keccak256};
use futures::FutureExt;

use crate::fixture::{
    CURVES, Cluster, both_curves, digest, give, held_pool, in_time, key, malformed, ms, quorums, secret, verification,
};

fn certified(event: &Event) -> Option<&Certificate> {
    match event {
        Event::Certified(certificate) => Some(certificate),
        _ => None,
    }
}

fn certificates(events: &[Event]) -> Vec<&Certificate> {
    events.iter().filter_map(certified).collect()
}

fn service() -> (Handle, Events) {
    Service::start(Options::default(), &Env::simulated(&World::default(), 1), Pool::inline())
}

/// D1.
fn one_operators_other_answer_in_the_window_does_not_replace_the_winner(curve: Curve) {
    let cluster = Cluster::on(curve, &[&[40], &[40], &[60]]);
    let mut core = Core::new(1);
    // At 40 percent the last answer alone reaches the threshold too, later.
    core.open(cluster.task(1, &[40], ms(50)), ms(0)).unwrap();
    let mut events = Vec::new();
    for (operator, answer) in [(0, 1), (1, 1), (2, 2)] {
        let (counted, made) = give(&mut core, &cluster.share(1, "k", operator, answer), ms(1));
        assert_eq!(counted, Ok(Accepted::Counted));
        events.extend(made);
    }
    events.extend(core.tick(ms(100)));
    events.extend(core.close(1));
    let certificates = certificates(&events);
    assert_eq!((events.len(), certificates.len()), (1, 1));
    assert_eq!(certificates[0].digest, digest(1));
}

/// D2.
fn a_task_that_expires_in_its_window_gives_its_certificate_and_no_expiry_as_well(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    for expiry in [Expiry::Never, Expiry::After(ms(300)), Expiry::AtBlock(9)] {
        let mut core = Core::new(1);
        core.open(TaskAggregation { expiry, ..cluster.task(1, &[60], ms(500)) }, ms(0)).unwrap();
        for operator in [0, 1] {
            give(&mut core, &cluster.share(1, "k", operator, 1), ms(1)).0.unwrap();
        }
        let events = match expiry {
            Expiry::Never => core.close(1),
            Expiry::After(_) => core.tick(ms(300)),
            Expiry::AtBlock(number) => core.at_block(number, ms(2)),
        };
        let ended = usize::from(expiry != Expiry::Never);
        assert!(matches!(&events[0], Event::Certified(_)), "{events:?}");
        assert_eq!(events[1..], vec![Event::Ended { task: 1 }; ended]);
        assert!(core.tick(ms(1000)).is_empty() && core.close(1).is_empty());
    }
}

/// D3: elsewhere the late signature waits for ever, and the whole service with it.
async fn a_late_signature_for_an_ended_task_is_answered_and_holds_up_nobody(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, mut events) = service();
    in_time(async {
        handle.open(cluster.task(1, &[50], ms(0))).unwrap();
        let expiring = TaskAggregation { expiry: Expiry::AtBlock(9), ..cluster.task(2, &[100], ms(0)) };
        handle.open(expiring).unwrap();
        for task in [1, 2] {
            handle.submit(cluster.share(task, "k", 0, 1)).await.unwrap();
        }
        handle.close(1);
        handle.at_block(9);
        // Nobody has listened to an event so far.
        for _ in 0..3 {
            assert_eq!(handle.submit(cluster.share(1, "k", 1, 1)).await, Err(ShareError::NotOpen(1)));
            assert_eq!(handle.submit(cluster.share(2, "k", 1, 1)).await, Err(ShareError::Expired(2)));
        }
        handle.open(cluster.task(3, &[100], ms(0))).unwrap();
        for operator in [0, 1] {
            assert_eq!(handle.submit(cluster.share(3, "k", operator, 1)).await, Ok(Accepted::Counted));
        }
        assert!(matches!(events.next().await, Some(Event::Certified(certificate)) if certificate.task == 1));
        assert_eq!(events.next().await, Some(Event::Expired { task: 2, key: key("k") }));
        assert_eq!(events.next().await, Some(Event::Ended { task: 2 }));
        assert!(matches!(events.next().await, Some(Event::Certified(certificate)) if certificate.task == 3));
    })
    .await;
}

/// D4.
async fn every_refused_signature_is_answered(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, _events) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let good = cluster.share(1, "k", 0, 1);
    let refused = [
        (Share { task: 9, ..good.clone() }, "not-open"),
        (Share { operator: OperatorId::default(), ..good.clone() }, "unknown-operator"),
        (Share { signature: Bytes::from_static(&[1]), ..good.clone() }, "malformed-signature"),
        (Share { digest: digest(2), ..good.clone() }, "incorrect-signature"),
        (Share { operator: cluster.operators.all()[1].id, ..good.clone() }, "incorrect-signature"),
    ];
    for (share, code) in refused {
        assert_eq!(in_time(handle.submit(share)).await.unwrap_err().code(), code);
    }
    assert_eq!(in_time(handle.submit(good)).await, Ok(Accepted::Counted));
}

/// D5 and D6: elsewhere a caller that gave up wedges the task, or ends it without a word.
async fn a_caller_that_gives_up_waiting_harms_no_task(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, mut events) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    // Begun and dropped before it was answered.
    assert!(handle.submit(cluster.share(1, "k", 0, 1)).now_or_never().is_none());
    assert_eq!(in_time(handle.submit(cluster.share(1, "k", 1, 1))).await, Ok(Accepted::Counted));
    assert!(matches!(in_time(events.next()).await, Some(Event::Certified(_))));
    // Its share was counted, and trying again says so.
    let again = in_time(handle.submit(cluster.share(1, "k", 0, 1))).await;
    assert_eq!(again, Ok(Accepted::Duplicate));
}

/// D5: the reader of responses.
async fn a_reader_of_events_that_is_gone_stops_no_task(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let (handle, events) = service();
    drop(events);
    for task in 1..4 {
        handle.open(cluster.task(task, &[100], ms(0))).unwrap();
        assert_eq!(in_time(handle.submit(cluster.share(task, "k", 0, 1))).await, Ok(Accepted::Counted));
    }
}

/// D7.
fn a_task_that_could_not_be_opened_says_why_and_its_number_is_free(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let mut core = Core::new(1);
    let mut task = cluster.task(1, &[100], ms(0));
    task.quorums.numbers = vec![7];
    assert_eq!(core.open(task, ms(0)), Err(Error::UnknownQuorum { quorum: 7 }));
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    assert_eq!(give(&mut core, &cluster.share(1, "k", 0, 1), ms(0)).0, Ok(Accepted::Counted));
}

/// D8.
fn ended_tasks_leave_nothing_behind_and_their_numbers_can_be_used_again(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let mut core = Core::new(1);
    let share = cluster.share(1, "k", 0, 1);
    for _ in 0..50 {
        core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
        assert_eq!(give(&mut core, &share, ms(0)).1.len(), 1);
        assert!(core.close(1).is_empty());
        assert!(!core.is_open(1) && core.progress(1).is_none() && core.next_deadline().is_none());
    }
}

/// D9: while one task's verification takes its time, another task gets its certificate.
async fn a_verification_that_lasts_holds_up_no_other_task(curve: Curve) {
    let cluster = Arc::new(Cluster::equal_on(curve, 1));
    let (pool, mut jobs) = held_pool();
    let env = Env::simulated(&World::default(), 1);
    let (handle, mut events) = Service::start(Options { concurrency: 2, ..Options::default() }, &env, pool);
    let mut callers = Vec::new();
    let mut work = Vec::new();
    for task in [1, 2] {
        handle.open(cluster.task(task, &[100], ms(0))).unwrap();
        let (own, share) = (handle.clone(), cluster.share(task, "k", 0, 1));
        callers.push(env.spawn(async move { own.submit(share).await }));
        work.push(in_time(verification(&handle, &mut jobs, callers.len())).await);
    }
    // The first is still being verified.
    let second = callers.pop().unwrap();
    work.pop().unwrap()();
    assert_eq!(in_time(second).await.unwrap(), Ok(Accepted::Counted));
    let event = in_time(events.next()).await;
    assert!(matches!(&event, Some(Event::Certified(certificate)) if certificate.task == 2), "{event:?}");
    assert_eq!((handle.waiting(), handle.progress(1)), (1, Some(vec![])));
    work.pop().unwrap()();
    assert_eq!(in_time(callers.pop().unwrap()).await.unwrap(), Ok(Accepted::Counted));
    let event = in_time(events.next()).await;
    assert!(matches!(&event, Some(Event::Certified(certificate)) if certificate.task == 1), "{event:?}");
}

/// D9, the other way: what waits is verified together, whichever task it is for.
#[tokio::test(start_paused = true)]
async fn signatures_of_different_tasks_share_one_piece_of_work() {
    let cluster = Cluster::equal(4);
    let (pool, mut jobs) = held_pool();
    let (handle, mut events) = Service::start(Options::default(), &Env::simulated(&World::default(), 1), pool);
    for task in [1, 2] {
        handle.open(cluster.task(task, &[100], ms(0))).unwrap();
    }
    let mut waiting = Vec::new();
    for operator in 0..4 {
        waiting.push(handle.submit(cluster.share(1, "k", operator, 1)).boxed());
        waiting.push(handle.submit(cluster.share(2, "k", operator, 1)).boxed());
    }
    for waiting in &mut waiting {
        assert!(waiting.now_or_never().is_none());
    }
    in_time(jobs.recv()).await.unwrap()();
    for _ in 0..2 {
        assert!(matches!(in_time(events.next()).await, Some(Event::Certified(_))));
    }
}

/// D10: elsewhere a panic, or a task that means something else.
fn thresholds_and_quorums_that_make_no_sense_are_refused_by_name(curve: Curve) {
    // Quorums 0 and 2 have stake, quorum 1 has none.
    let cluster = Cluster::on(curve, &[&[100, 0, 50]]);
    let mut core = Core::new(1);
    let cases: [(&[u8], &[u8], Error); 14] = [
        (&[], &[], Error::NoQuorum),
        (&[], &[50], Error::NoQuorum),
        (&[0], &[], Error::ThresholdCount { quorums: 1, thresholds: 0 }),
        (&[0, 2], &[50], Error::ThresholdCount { quorums: 2, thresholds: 1 }),
        (&[0], &[50, 50], Error::ThresholdCount { quorums: 1, thresholds: 2 }),
        (&[2, 0], &[50, 50], Error::QuorumOrder { quorum: 0 }),
        (&[0, 0], &[50, 50], Error::QuorumOrder { quorum: 0 }),
        (&[0, 2, 2], &[50, 50, 50], Error::QuorumOrder { quorum: 2 }),
        (&[0], &[0], Error::Threshold { quorum: 0, threshold: 0 }),
        (&[0, 2], &[50, 0], Error::Threshold { quorum: 2, threshold: 0 }),
        (&[0], &[101], Error::Threshold { quorum: 0, threshold: 101 }),
        (&[0, 2], &[100, 255], Error::Threshold { quorum: 2, threshold: 255 }),
        (&[0, 7], &[50, 50], Error::UnknownQuorum { quorum: 7 }),
        (&[0, 1], &[50, 50], Error::EmptyQuorum { quorum: 1 }),
    ];
    for (numbers, thresholds, expected) in cases {
        let mut task = cluster.task(1, &[50], ms(0));
        task.quorums = Quorums { numbers: numbers.to_vec(), thresholds: thresholds.to_vec() };
        assert_eq!(core.open(task, ms(0)), Err(expected), "{numbers:?} {thresholds:?}");
    }
    // And what is at the edge makes sense.
    for threshold in [1, 100] {
        core.open(cluster.task(1, &[threshold], ms(0)), ms(0)).unwrap();
        assert_eq!(give(&mut core, &cluster.share(1, "k", 0, 1), ms(0)).1.len(), 1);
        core.close(1);
    }
}

/// D11: nothing is asked of anybody on the way from the last signature to the certificate, so nothing can lose it.
fn a_certificate_is_made_of_what_is_here_when_its_window_ends(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[60], ms(20)), ms(0)).unwrap();
    for operator in [0, 1] {
        assert!(give(&mut core, &cluster.share(1, "k", operator, 1), ms(1)).1.is_empty());
    }
    assert!(core.tick(ms(20)).is_empty());
    let events = core.tick(ms(21));
    assert_eq!(cluster.signers(&quorums(&[60]), certificates(&events)[0]), [0, 1]);
}

/// D12: elsewhere the sum is made in the place of the first operator's signature.
fn the_first_operators_signature_is_the_same_after_the_sum_was_made(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let shares = [0, 1, 2].map(|operator| cluster.share(1, "k", operator, 1));
    let kept = shares[0].signature.to_vec();
    let events: Vec<Event> = shares.iter().flat_map(|share| give(&mut core, share, ms(0)).1).collect();
    let sum = &certificates(&events)[0].signature;
    assert_ne!(sum.to_vec(), kept);
    assert_eq!(shares[0].signature.to_vec(), kept);
    // What the service has of it is the same too: it is known again, and evidence carries it.
    assert_eq!(give(&mut core, &shares[0], ms(0)).0, Ok(Accepted::Duplicate));
    let of_the_sum = Share { signature: sum.clone(), ..shares[0].clone() };
    assert_eq!(give(&mut core, &of_the_sum, ms(0)).0, Err(ShareError::Incorrect));
    let second = cluster.share(1, "k", 0, 2);
    let (answer, events) = give(&mut core, &second, ms(0));
    assert_eq!(answer, Err(ShareError::Equivocation { first: digest(1) }));
    let [Event::Equivocation(evidence)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((evidence.first.digest, &evidence.first.signature), (digest(1), &Bytes::from(kept)));
    assert_eq!((evidence.second.digest, &evidence.second.signature), (digest(2), &second.signature));
    assert!(evidence.holds());
    assert_eq!(Evidence::from_json(&evidence.to_json()).unwrap(), *evidence);
}

/// D12: elsewhere nothing is checked, or what is off the curve is a panic.
fn what_is_no_signature_is_refused_by_name_and_changes_nothing(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let good = cluster.share(1, "k", 0, 1);
    for (what, bytes, expected) in malformed(curve, &good.signature) {
        let share = Share { signature: bytes.into(), ..good.clone() };
        assert_eq!(core.admit(&share).unwrap_err(), ShareError::Malformed(expected), "{what}");
    }
    assert_eq!(give(&mut core, &good, ms(0)).0, Ok(Accepted::Counted));
}

/// D13: elsewhere the id is of the coordinates without their leading zeros.
#[test]
fn an_operators_id_is_of_padded_coordinates() {
    for curve in CURVES {
        let coordinate = match curve {
            Curve::Bn254 => 32,
            Curve::Bls12381 => 48,
        };
        for first_of in [0, coordinate] {
            let short = |secret: &SecretKey| secret.contract_key().encode()[first_of] == 0;
            let short = (1..).map(|n| secret(curve, n)).find(short).unwrap();
            assert_eq!(short.operator_id().0, keccak256(short.contract_key().encode()), "{curve}");
            // Under that id, and no other, it is in the set and its signature counts.
            let cluster = Cluster::of(vec![short], &[0], &[&[100]]);
            let mut core = Core::new(1);
            core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
            let share = cluster.share(1, "k", 0, 1);
            let bytes = cluster.secrets[0].contract_key().encode();
            let (x, y) = bytes.split_at(coordinate);
            let digits = |part: &[u8]| part[part.iter().take_while(|byte| **byte == 0).count()..].to_vec();
            let unpadded = OperatorId(keccak256([digits(x), digits(y)].concat()));
            let wrong = Share { operator: unpadded, ..share.clone() };
            assert_eq!(core.admit(&wrong).unwrap_err(), ShareError::UnknownOperator(unpadded));
            assert_eq!(give(&mut core, &share, ms(0)).0, Ok(Accepted::Counted));
        }
    }
}

both_curves! {
    one_operators_other_answer_in_the_window_does_not_replace_the_winner,
    a_task_that_expires_in_its_window_gives_its_certificate_and_no_expiry_as_well,
    a_task_that_could_not_be_opened_says_why_and_its_number_is_free,
    ended_tasks_leave_nothing_behind_and_their_numbers_can_be_used_again,
    thresholds_and_quorums_that_make_no_sense_are_refused_by_name,
    a_certificate_is_made_of_what_is_here_when_its_window_ends,
    the_first_operators_signature_is_the_same_after_the_sum_was_made,
    what_is_no_signature_is_refused_by_name_and_changes_nothing;
    a_late_signature_for_an_ended_task_is_answered_and_holds_up_nobody,
    every_refused_signature_is_answered,
    a_caller_that_gives_up_waiting_harms_no_task,
    a_reader_of_events_that_is_gone_stops_no_task,
    a_verification_that_lasts_holds_up_no_other_task
}
