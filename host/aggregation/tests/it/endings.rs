//! How a task ends by itself, and how long it is waited for signers.

use std::time::Duration;

use eigenshift_aggregation::core::{Core, REMEMBERED};
use eigenshift_aggregation::{Accepted, Event, Expiry, Policy, ShareError, TaskMetadata};
use eigenshift_bls::Curve;

use crate::fixture::{CURVES, Cluster, both_curves, digest, give, key, ms, quorums};

const NOW: Duration = Duration::ZERO;

fn a_task_expires_by_time_is_remembered_as_expired_and_then_forgotten(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(2);
    let metadata = TaskMetadata::new(1, 7, vec![0], vec![100], ms(100));
    core.open(metadata.with_operators(cluster.operators.clone()), ms(50)).unwrap();
    assert_eq!(core.next_deadline(), Some(ms(150)));
    assert_eq!(give(&mut core, &cluster.share(1, "k", 0, 1), ms(60)).0, Ok(Accepted::Counted));
    assert_eq!(core.tick(ms(149)), []);
    let ended = [Event::Expired { task: 1, key: key("k") }, Event::Ended { task: 1 }];
    assert_eq!(core.tick(ms(150)), ended);
    assert_eq!(core.tick(ms(151)), [], "once");
    let late = cluster.share(1, "k", 1, 1);
    assert_eq!(give(&mut core, &late, ms(160)).0, Err(ShareError::Expired(1)));
    assert_eq!(core.tick(ms(150) + REMEMBERED), []);
    assert_eq!(give(&mut core, &late, ms(160) + REMEMBERED).0, Err(ShareError::NotOpen(1)));
}

fn a_task_without_any_signature_ends_with_one_event(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let mut core = Core::new(1);
    let metadata = TaskMetadata::new(1, 7, vec![0], vec![100], ms(100));
    core.open(metadata.with_operators(cluster.operators.clone()), NOW).unwrap();
    assert_eq!(core.tick(ms(100)), [Event::Ended { task: 1 }]);
}

fn a_task_expires_with_its_block_whatever_the_time(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    let mut task = cluster.task(1, &[100], ms(0));
    task.expiry = Expiry::AtBlock(20);
    core.open(task, NOW).unwrap();
    assert_eq!(core.next_deadline(), None);
    assert_eq!(core.at_block(19, ms(1_000_000)), []);
    assert_eq!(core.at_block(5, ms(1_000_000)), [], "an older block is no news");
    assert_eq!(core.at_block(20, ms(1_000_001)), [Event::Ended { task: 1 }]);
}

fn a_window_that_is_open_when_the_task_expires_gives_a_certificate_and_no_expiry(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let mut core = Core::new(1);
    let metadata = TaskMetadata::new(1, 7, vec![0], vec![50], ms(100)).with_window_duration(ms(500));
    core.open(metadata.with_operators(cluster.operators.clone()), NOW).unwrap();
    for operator in [0, 1] {
        assert_eq!(give(&mut core, &cluster.share(1, "k", operator, 1), ms(10)), (Ok(Accepted::Counted), vec![]));
    }
    let events = core.tick(ms(100));
    let [Event::Certified(certificate), Event::Ended { task: 1 }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(cluster.signers(&quorums(&[50]), certificate), [0, 1]);
}

fn the_policy_says_how_many_non_signers_are_worth_waiting_for(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 5);
    for (non_signers, signers) in [(0, 5), (1, 4), (2, 3), (9, 3)] {
        let mut core = Core::new(1);
        let mut task = cluster.task(1, &[60], ms(0));
        task.policy = Policy::Wait { at_most: ms(50), non_signers };
        core.open(task, NOW).unwrap();
        let mut certified = None;
        for operator in 0..5 {
            let (_, events) = give(&mut core, &cluster.share(1, "k", operator, 1), NOW);
            if let Some(Event::Certified(certificate)) = events.into_iter().next() {
                certified.get_or_insert((operator + 1, certificate));
            }
        }
        let (after, certificate) = certified.unwrap();
        assert_eq!(after, signers, "{non_signers}");
        assert_eq!(cluster.signers(&quorums(&[60]), &certificate).len(), signers);
    }
    // Those who answer something else are not waited for either.
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[60], ms(50)), NOW).unwrap();
    for (operator, answer) in [(0, 1), (1, 2), (2, 1), (3, 2)] {
        assert_eq!(give(&mut core, &cluster.share(1, "k", operator, answer), NOW).1, []);
    }
    let (_, events) = give(&mut core, &cluster.share(1, "k", 4, 1), NOW);
    let [Event::Certified(certificate)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((certificate.digest, cluster.signers(&quorums(&[60]), certificate)), (digest(1), vec![0, 2, 4]));
}

both_curves! {
    a_task_expires_by_time_is_remembered_as_expired_and_then_forgotten,
    a_task_without_any_signature_ends_with_one_event,
    a_task_expires_with_its_block_whatever_the_time,
    a_window_that_is_open_when_the_task_expires_gives_a_certificate_and_no_expiry,
    the_policy_says_how_many_non_signers_are_worth_waiting_for
}

#[test]
fn a_tick_that_is_late_for_window_and_expiry_leaves_no_deadline_behind() {
    for curve in CURVES {
        let cluster = Cluster::equal_on(curve, 3);
        let mut core = Core::new(2);
        let metadata = TaskMetadata::new(1, 7, vec![0], vec![50], ms(100)).with_window_duration(ms(40));
        core.open(metadata.with_operators(cluster.operators.clone()), NOW).unwrap();
        for operator in [0, 1] {
            assert_eq!(give(&mut core, &cluster.share(1, "k", operator, 1), ms(10)), (Ok(Accepted::Counted), vec![]));
        }
        let events = core.tick(ms(100));
        let [Event::Certified(_), Event::Ended { task: 1 }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(core.next_deadline(), None);
        core.open(cluster.task(2, &[50], ms(40)), ms(110)).unwrap();
        for operator in [0, 1] {
            give(&mut core, &cluster.share(2, "k", operator, 1), ms(110)).0.unwrap();
        }
        assert!(matches!(core.tick(ms(150)).as_slice(), [Event::Certified(_)]));
    }
}

#[test]
fn a_decoded_share_of_an_operator_without_stake_is_refused() {
    for curve in CURVES {
        let cluster = Cluster::on(curve, &[&[100, 0], &[0, 100]]);
        let mut core = Core::new(1);
        core.open(cluster.task(1, &[50], ms(50)), NOW).unwrap();
        let share = cluster.share(1, "k", 1, 1);
        let admitted = core.admit_decoded(&share, cluster.secrets[1].sign(digest(1)));
        assert_eq!(admitted.unwrap_err(), ShareError::NoStake(share.operator));
    }
}
