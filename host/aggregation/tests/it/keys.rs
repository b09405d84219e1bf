//! Keys, openings and bounds of the pure core.

use eigenshift_aggregation::core::{Admission, Core, INCORRECT_LIMIT};
use eigenshift_aggregation::{Accepted, Error, Event, KeyStage, ShareError};
use eigenshift_bls::Curve;
use eigenshift_types::{B256, Bytes, OperatorId};

use crate::fixture::{Cluster, both_curves, digest, give, key, malformed, ms};

fn keys_of_a_task_are_certified_independently_and_expire_each_once(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[60], ms(0)), ms(0)).unwrap();
    let mut events = Vec::new();
    for (name, operator, answer) in [("a", 0, 1), ("b", 0, 2), ("a", 1, 1), ("b", 1, 3)] {
        let (result, new) = give(&mut core, &cluster.share(1, name, operator, answer), ms(0));
        assert_eq!(result, Ok(Accepted::Counted));
        events.extend(new);
    }
    events.extend(core.close(1));
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[0], Event::Certified(certificate) if certificate.key == key("a")));
    assert_eq!(events[1], Event::Expired { task: 1, key: key("b") });
}

fn one_operator_that_makes_up_keys_takes_nobody_elses_place(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    for name in ["x", "y"] {
        assert_eq!(give(&mut core, &cluster.share(1, name, 0, 1), ms(0)).0, Ok(Accepted::Counted));
    }
    let third = give(&mut core, &cluster.share(1, "z", 0, 1), ms(0)).0;
    assert_eq!(third, Err(ShareError::TooManyKeys { max: 2 }));
    assert_eq!(give(&mut core, &cluster.share(1, "z", 1, 1), ms(0)).0, Ok(Accepted::Counted));
    assert_eq!(give(&mut core, &cluster.share(1, "x", 0, 1), ms(0)).0, Ok(Accepted::Duplicate));
}

fn malformed_signatures_and_strangers_are_refused_before_any_pairing(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let good = cluster.share(1, "k", 0, 1);
    for (what, signature, expected) in malformed(curve, &good.signature) {
        let share = eigenshift_aggregation::Share { signature: signature.into(), ..good.clone() };
        assert_eq!(core.admit(&share).unwrap_err(), ShareError::Malformed(expected), "{what}");
    }
    let stranger = OperatorId(B256::repeat_byte(9));
    let share = eigenshift_aggregation::Share { operator: stranger, ..good.clone() };
    assert_eq!(core.admit(&share).unwrap_err(), ShareError::UnknownOperator(stranger));
    assert!(matches!(core.admit(&good), Ok(Admission::Verify(_))));
}

fn wrong_signatures_are_looked_at_only_so_often_and_cost_others_nothing(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[50], ms(0)), ms(0)).unwrap();
    let mut forged = cluster.share(1, "k", 0, 1);
    forged.digest = digest(2);
    for _ in 0..INCORRECT_LIMIT {
        assert_eq!(give(&mut core, &forged, ms(0)).0, Err(ShareError::Incorrect));
    }
    assert_eq!(give(&mut core, &forged, ms(0)).0, Err(ShareError::TooManyIncorrect { limit: INCORRECT_LIMIT }));
    assert_eq!(give(&mut core, &cluster.share(1, "k", 1, 1), ms(0)).0, Ok(Accepted::Counted));
}

fn a_signature_over_a_counted_digest_that_differs_is_wrong_without_a_pairing(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let share = cluster.share(1, "k", 0, 1);
    give(&mut core, &share, ms(0)).0.unwrap();
    let other = eigenshift_aggregation::Share { signature: cluster.share(1, "k", 1, 1).signature, ..share };
    assert_eq!(core.admit(&other).unwrap_err(), ShareError::Incorrect);
}

fn keys_certified_before_are_not_collected_again(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    let mut task = cluster.task(1, &[50], ms(0));
    task.certified = vec![(key("old"), digest(1))];
    core.open(task, ms(0)).unwrap();
    for answer in [1, 2] {
        let (result, events) = give(&mut core, &cluster.share(1, "old", 0, answer), ms(0));
        assert_eq!((result, events), (Ok(Accepted::AlreadyCertified { digest: digest(1) }), vec![]));
    }
    assert_eq!(core.progress(1).unwrap()[0].stage, KeyStage::Certified);
    assert!(core.close(1).is_empty());
}

fn a_certificate_in_the_ledger_ends_the_window_without_a_second_one(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[30], ms(100)), ms(0)).unwrap();
    give(&mut core, &cluster.share(1, "k", 0, 1), ms(0)).0.unwrap();
    assert_eq!(core.next_deadline(), Some(ms(100)));
    core.mark_certified(1, &key("k"), digest(2));
    assert_eq!(core.next_deadline(), None);
    assert!(core.tick(ms(1000)).is_empty() && core.close(1).is_empty());
}

fn a_verdict_that_comes_after_the_task_was_reopened_counts_for_nothing(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let Ok(Admission::Verify(ticket)) = core.admit(&cluster.share(1, "k", 0, 1)) else { panic!("unverified") };
    core.close(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    assert_eq!(core.count(&ticket, true, ms(0)), (Err(ShareError::NotOpen(1)), vec![]));
    assert!(core.progress(1).unwrap().is_empty());
}

fn two_verdicts_of_one_share_count_once(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let Ok(Admission::Verify(ticket)) = core.admit(&cluster.share(1, "k", 0, 1)) else { panic!("unverified") };
    assert_eq!(core.count(&ticket, true, ms(0)).0, Ok(Accepted::Counted));
    assert_eq!(core.count(&ticket, true, ms(0)).0, Ok(Accepted::Duplicate));
    assert_eq!(core.progress(1).unwrap()[0].signers, 1);
}

fn openings_are_checked_and_bounded_and_an_index_can_be_used_again(curve: Curve) {
    let cluster = Cluster::on(curve, &[&[100, 0], &[100, 0]]);
    let mut core = Core::new(2);
    let numbered = |numbers: &[u8], thresholds: &[u8]| {
        let quorums = eigenshift_types::Quorums { numbers: numbers.to_vec(), thresholds: thresholds.to_vec() };
        eigenshift_aggregation::TaskAggregation { quorums, ..cluster.task(1, &[100], ms(0)) }
    };
    let cases = [
        (numbered(&[], &[]), Error::NoQuorum),
        (numbered(&[0], &[]), Error::ThresholdCount { quorums: 1, thresholds: 0 }),
        (numbered(&[0], &[50, 50]), Error::ThresholdCount { quorums: 1, thresholds: 2 }),
        (numbered(&[0], &[0]), Error::Threshold { quorum: 0, threshold: 0 }),
        (numbered(&[0], &[101]), Error::Threshold { quorum: 0, threshold: 101 }),
        (numbered(&[0, 0], &[50, 50]), Error::QuorumOrder { quorum: 0 }),
        (numbered(&[2, 0], &[50, 50]), Error::UnknownQuorum { quorum: 2 }),
        (numbered(&[1], &[50]), Error::EmptyQuorum { quorum: 1 }),
    ];
    for (task, expected) in cases {
        assert_eq!(core.open(task, ms(0)), Err(expected));
    }
    let mut no_keys = cluster.task(1, &[100], ms(0));
    no_keys.max_keys = 0;
    assert_eq!(core.open(no_keys, ms(0)), Err(Error::NoKeys));

    for task in [1, 2] {
        core.open(cluster.task(task, &[100], ms(0)), ms(0)).unwrap();
    }
    assert_eq!(core.open(cluster.task(1, &[100], ms(0)), ms(0)), Err(Error::AlreadyOpen { task: 1 }));
    assert_eq!(core.open(cluster.task(3, &[100], ms(0)), ms(0)), Err(Error::TooManyTasks { max: 2 }));
    core.close(1);
    assert!(!core.is_open(1));
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
}

fn progress_names_the_leading_digest_and_its_share_of_each_quorum(curve: Curve) {
    let cluster = Cluster::on(curve, &[&[10, 50], &[60, 25], &[30, 25]]);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[67, 67], ms(50)), ms(0)).unwrap();
    assert_eq!(core.progress(9), None);
    give(&mut core, &cluster.share(1, "k", 0, 1), ms(0)).0.unwrap();
    give(&mut core, &cluster.share(1, "k", 1, 2), ms(0)).0.unwrap();
    let progress = core.progress(1).unwrap();
    assert_eq!((progress[0].digest, progress[0].signers), (digest(2), 1));
    assert_eq!(progress[0].percent, [60, 25]);
    assert_eq!(progress[0].stage, KeyStage::Collecting);
}

fn the_first_counted_payload_of_the_winner_is_in_the_certificate(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100], ms(0)), ms(0)).unwrap();
    let mut first = cluster.share(1, "k", 1, 1);
    first.payload = Bytes::from_static(b"first");
    give(&mut core, &first, ms(0)).0.unwrap();
    let (_, events) = give(&mut core, &cluster.share(1, "k", 0, 1), ms(0));
    assert!(matches!(&events[..], [Event::Certified(certificate)] if certificate.payload == first.payload));
}

both_curves! {
    malformed_signatures_and_strangers_are_refused_before_any_pairing,
    keys_of_a_task_are_certified_independently_and_expire_each_once,
    one_operator_that_makes_up_keys_takes_nobody_elses_place,
    wrong_signatures_are_looked_at_only_so_often_and_cost_others_nothing,
    a_signature_over_a_counted_digest_that_differs_is_wrong_without_a_pairing,
    keys_certified_before_are_not_collected_again,
    a_certificate_in_the_ledger_ends_the_window_without_a_second_one,
    a_verdict_that_comes_after_the_task_was_reopened_counts_for_nothing,
    two_verdicts_of_one_share_count_once,
    openings_are_checked_and_bounded_and_an_index_can_be_used_again,
    progress_names_the_leading_digest_and_its_share_of_each_quorum,
    the_first_counted_payload_of_the_winner_is_in_the_certificate
}
