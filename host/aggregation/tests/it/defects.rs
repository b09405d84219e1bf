//! What goes wrong in the aggregation services that operators know, one test for each.

use std::collections::BTreeMap;

use eigenshift_aggregation::core::Core;
use eigenshift_aggregation::{Accepted, Error, Event, Options, Service, ShareError};
use eigenshift_bls::{DecodeError, bn254};
use eigenshift_env::{Env, Pool, sim::World};
use eigenshift_types::{B256, Bytes, Certificate, OperatorId, Quorums, ResponseKey, U256, keccak256};
use futures::FutureExt;

use crate::fixture::{Cluster, digest, give, key, ms, quorums};

fn certified(event: &Event) -> Option<&Certificate> {
    match event {
        Event::Certified(certificate) => Some(certificate),
        _ => None,
    }
}

fn certificates(events: &[Event]) -> Vec<&Certificate> {
    events.iter().filter_map(certified).collect()
}

fn service() -> (eigenshift_aggregation::Handle, eigenshift_aggregation::Events) {
    Service::start(Options::default(), &Env::simulated(&World::default(), 1), Pool::inline())
}

#[test]
fn one_operators_other_answer_in_the_window_does_not_replace_the_winner() {
    let cluster = Cluster::new(&[&[40], &[40], &[60]]);
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
    assert_eq!(certificates.len(), 1);
    assert_eq!(certificates[0].digest, digest(1));
}

#[test]
fn a_task_that_expires_in_its_window_gives_its_certificate_and_no_expiry_as_well() {
    let cluster = Cluster::equal(3);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[60], ms(500)), ms(0)).unwrap();
    for operator in [0, 1] {
        give(&mut core, &cluster.share(1, "k", operator, 1), ms(1)).0.unwrap();
    }
    let events = core.close(1);
    assert!(matches!(events.as_slice(), [Event::Certified(_)]), "{events:?}");
    assert!(core.tick(ms(1000)).is_empty() && core.close(1).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_late_signature_for_an_ended_task_is_answered_and_holds_up_nobody() {
    let cluster = Cluster::equal(2);
    let (handle, mut events) = service();
    handle.open(cluster.task(1, &[50], ms(0))).unwrap();
    handle.submit(cluster.share(1, "k", 0, 1)).await.unwrap();
    handle.close(1);
    assert_eq!(handle.submit(cluster.share(1, "k", 1, 1)).await, Err(ShareError::NotOpen(1)));
    handle.open(cluster.task(2, &[100], ms(0))).unwrap();
    for operator in [0, 1] {
        assert_eq!(handle.submit(cluster.share(2, "k", operator, 1)).await, Ok(Accepted::Counted));
    }
    assert!(matches!(events.next().await, Some(Event::Certified(certificate)) if certificate.task == 1));
    assert!(matches!(events.next().await, Some(Event::Certified(certificate)) if certificate.task == 2));
}

#[tokio::test(start_paused = true)]
async fn every_refused_signature_is_answered() {
    let cluster = Cluster::equal(2);
    let (handle, _events) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let good = cluster.share(1, "k", 0, 1);
    let mut refused = vec![good.clone(), good.clone(), good.clone(), good.clone()];
    refused[0].task = 9;
    refused[1].operator = OperatorId::default();
    refused[2].signature = Bytes::from_static(&[1]);
    refused[3].digest = digest(2);
    for share in refused {
        assert!(handle.submit(share).await.is_err());
    }
    assert_eq!(handle.submit(good).await, Ok(Accepted::Counted));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_waiting_harms_no_task() {
    let cluster = Cluster::equal(2);
    let (handle, mut events) = service();
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    // Begun and dropped before it was answered.
    assert!(handle.submit(cluster.share(1, "k", 0, 1)).now_or_never().is_none());
    assert_eq!(handle.submit(cluster.share(1, "k", 1, 1)).await, Ok(Accepted::Counted));
    assert!(matches!(events.next().await, Some(Event::Certified(_))));
    // Its share was counted, and trying again says so.
    let again = handle.submit(cluster.share(1, "k", 0, 1)).await;
    assert_eq!(again, Ok(Accepted::Duplicate));
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_events_that_is_gone_stops_no_task() {
    let cluster = Cluster::equal(1);
    let (handle, events) = service();
    drop(events);
    for task in 1..4 {
        handle.open(cluster.task(task, &[100], ms(0))).unwrap();
        assert_eq!(handle.submit(cluster.share(task, "k", 0, 1)).await, Ok(Accepted::Counted));
    }
}

#[test]
fn a_task_that_could_not_be_opened_says_why_and_its_number_is_free() {
    let cluster = Cluster::equal(1);
    let mut core = Core::new(1);
    let mut task = cluster.task(1, &[100], ms(0));
    task.quorums.numbers = vec![7];
    assert_eq!(core.open(task, ms(0)), Err(Error::UnknownQuorum { quorum: 7 }));
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    assert_eq!(give(&mut core, &cluster.share(1, "k", 0, 1), ms(0)).0, Ok(Accepted::Counted));
}

#[test]
fn ended_tasks_leave_nothing_behind_and_their_numbers_can_be_used_again() {
    let cluster = Cluster::equal(1);
    let mut core = Core::new(1);
    for _ in 0..100 {
        core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
        assert_eq!(give(&mut core, &cluster.share(1, "k", 0, 1), ms(0)).1.len(), 1);
        assert!(core.close(1).is_empty());
        assert!(!core.is_open(1) && core.progress(1).is_none() && core.next_deadline().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn signatures_of_different_tasks_do_not_wait_for_each_other() {
    let cluster = Cluster::equal(4);
    let env = Env::simulated(&World::default(), 1);
    let (sender, mut jobs) = tokio::sync::mpsc::channel::<eigenshift_env::threads::Job>(16);
    let (handle, mut events) = Service::start(Options::default(), &env, Pool::over(sender));
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
    // One piece of work for both tasks.
    jobs.recv().await.unwrap()();
    for _ in 0..2 {
        assert!(matches!(events.next().await, Some(Event::Certified(_))));
    }
}

#[test]
fn thresholds_and_quorums_that_make_no_sense_are_refused_by_name() {
    let cluster = Cluster::new(&[&[100, 0]]);
    let mut core = Core::new(1);
    let cases: [(&[u8], &[u8], Error); 7] = [
        (&[], &[], Error::NoQuorum),
        (&[0, 1], &[50], Error::ThresholdCount { quorums: 2, thresholds: 1 }),
        (&[1, 0], &[50, 50], Error::QuorumOrder { quorum: 0 }),
        (&[0, 0], &[50, 50], Error::QuorumOrder { quorum: 0 }),
        (&[0], &[0], Error::Threshold { quorum: 0, threshold: 0 }),
        (&[0], &[101], Error::Threshold { quorum: 0, threshold: 101 }),
        (&[1], &[50], Error::EmptyQuorum { quorum: 1 }),
    ];
    for (numbers, thresholds, expected) in cases {
        let mut task = cluster.task(1, &[50], ms(0));
        task.quorums = Quorums { numbers: numbers.to_vec(), thresholds: thresholds.to_vec() };
        let refused = core.open(task, ms(0));
        // The first quorum that is wrong is named: an empty one may come before one out of order.
        assert!(refused.is_err(), "{numbers:?} {thresholds:?}");
        if numbers != [1, 0] {
            assert_eq!(refused, Err(expected));
        }
    }
}

#[test]
fn a_certificate_is_made_of_what_is_here_when_its_window_ends() {
    // Nothing is asked of anybody on the way from the last signature to the certificate, so nothing can lose it.
    let cluster = Cluster::equal(3);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[60], ms(20)), ms(0)).unwrap();
    for operator in [0, 1] {
        assert!(give(&mut core, &cluster.share(1, "k", operator, 1), ms(1)).1.is_empty());
    }
    assert!(core.tick(ms(20)).is_empty());
    let events = core.tick(ms(21));
    assert_eq!(cluster.signers(&quorums(&[60]), certificates(&events)[0]), [0, 1]);
}

#[test]
fn what_is_no_signature_is_refused_by_name_and_changes_nothing() {
    let cluster = Cluster::equal(1);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let good = cluster.share(1, "k", 0, 1);
    let cases = [
        (vec![0; 64], DecodeError::Identity),
        (vec![1; 64], DecodeError::NotOnCurve),
        (vec![0xff; 64], DecodeError::NotCanonical),
        (vec![0; 63], DecodeError::Length { expected: 64, found: 63 }),
        (vec![0; 1 << 20], DecodeError::Length { expected: 64, found: 1 << 20 }),
    ];
    for (bytes, expected) in cases {
        let mut share = good.clone();
        share.signature = bytes.into();
        assert_eq!(core.admit(&share).unwrap_err(), ShareError::Malformed(expected));
    }
    assert_eq!(give(&mut core, &good, ms(0)).0, Ok(Accepted::Counted));
}

#[test]
fn an_operators_id_is_of_padded_coordinates() {
    let secret = |n: u64| bn254::SecretKey::from_bytes(&U256::from(n).to_be_bytes()).unwrap();
    let short = (1..).map(secret).find(|secret| secret.g1().encode()[0] == 0).unwrap();
    assert_eq!(short.operator_id().0, keccak256(short.g1().encode()));
}

/// The aggregator is killed after each step and another takes over, with what the ledger has and what operators send
/// again.
#[test]
fn an_aggregator_that_is_killed_at_any_step_costs_no_certificate_and_makes_no_second_one() {
    let cluster = Cluster::equal(5);
    let steps: Vec<(&str, usize)> = (0..5).flat_map(|operator| [("eur", operator), ("usd", operator)]).collect();
    for killed in 0..=steps.len() {
        let mut ledger: BTreeMap<ResponseKey, (B256, usize)> = BTreeMap::new();
        let mut log = |events: Vec<Event>| {
            for certificate in certificates(&events) {
                let entry = ledger.entry(certificate.key.clone()).or_insert((certificate.digest, 0));
                assert_eq!(entry.0, certificate.digest);
                entry.1 += 1;
                assert!(cluster.signers(&quorums(&[60]), certificate).len() >= 3);
            }
            ledger.iter().map(|(key, (digest, _))| (key.clone(), *digest)).collect::<Vec<_>>()
        };
        let mut core = Core::new(1);
        core.open(cluster.task(1, &[60], ms(0)), ms(0)).unwrap();
        let mut certified = Vec::new();
        for (name, operator) in &steps[..killed] {
            certified = log(give(&mut core, &cluster.share(1, name, *operator, 1), ms(0)).1);
        }
        // Killed: nothing of it is left but what was logged.
        let mut core = Core::new(1);
        let mut task = cluster.task(1, &[60], ms(0));
        task.certified = certified;
        core.open(task, ms(0)).unwrap();
        for (name, operator) in &steps {
            let (answer, events) = give(&mut core, &cluster.share(1, name, *operator, 1), ms(0));
            assert!(answer.is_ok(), "{killed}: {answer:?}");
            log(events);
        }
        let counts: Vec<usize> = ledger.values().map(|(_, count)| *count).collect();
        assert_eq!((ledger.contains_key(&key("eur")), counts), (true, vec![1, 1]), "killed after {killed}");
    }
}
