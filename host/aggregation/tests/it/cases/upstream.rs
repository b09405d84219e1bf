//! The cases that the services which operators know are tested with, each with their outcome; where ours is another, it
//! says so. Named are eigensdk-go's `TestBlsAgg` and eigensdk-rs's `bls_agg.rs`.

use eigenshift_aggregation::core::Core;
use eigenshift_aggregation::{Error, Event, Options, Service, TaskAggregation};
use eigenshift_bls::Curve;
use eigenshift_env::{Env, Pool, sim::World};
use eigenshift_types::Quorums;

use super::Do::{At, Forge, Sign, Stranger};
use super::Seen::{Ended, Expired};
use super::{Answer, COUNTED, Case, DUPLICATE, certified, checked, run};
use crate::fixture::{Cluster, both_curves, ms, quorums};

/// When tasks expire, and later.
const LIFE: Option<u64> = Some(1000);
const EXPIRED: super::Do = At(1000);

/// Stakes as theirs: of a task with quorum 0, the second column counts nothing.
const ONE: &[&[u128]] = &[&[100, 200]];
const TWO: &[&[u128]] = &[&[100, 200], &[100, 200]];

#[test]
fn one_quorum_one_operator_one_correct_signature() {
    run(&Case {
        stakes: ONE,
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), EXPIRED],
        seen: vec![certified(1, 5, &[0], &[]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn one_quorum_three_operators_three_correct_signatures() {
    run(&Case {
        stakes: &[&[100, 200], &[100, 200], &[300, 100]],
        expiry: LIFE,
        steps: vec![Sign(1, 2, 5, COUNTED), Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), EXPIRED],
        seen: vec![certified(1, 5, &[0, 1, 2], &[]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn two_quorums_two_operators_two_correct_signatures() {
    run(&Case {
        stakes: TWO,
        quorums: &[(0, 100), (1, 100)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), EXPIRED],
        seen: vec![certified(1, 5, &[0, 1], &[]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn two_concurrent_tasks_two_quorums_two_operators_two_correct_signatures() {
    run(&Case {
        stakes: TWO,
        quorums: &[(0, 100), (1, 100)],
        tasks: 2,
        expiry: LIFE,
        steps: vec![
            Sign(1, 0, 5, COUNTED),
            Sign(2, 0, 6, COUNTED),
            Sign(2, 1, 6, COUNTED),
            Sign(1, 1, 5, COUNTED),
            EXPIRED,
        ],
        seen: vec![certified(2, 6, &[0, 1], &[]), certified(1, 5, &[0, 1], &[]), Ended(1), Ended(2)],
        ..Case::default()
    });
}

/// Go's "double sign" and Rust's "duplicated signatures". Theirs answers an error, ours that it counts already.
#[test]
fn one_quorum_two_operators_operator_1_double_sign() {
    run(&Case {
        stakes: TWO,
        expiry: LIFE,
        steps: vec![
            Sign(1, 0, 5, COUNTED),
            Sign(1, 0, 5, DUPLICATE),
            Sign(1, 1, 5, COUNTED),
            Sign(1, 1, 5, DUPLICATE),
            EXPIRED,
        ],
        seen: vec![certified(1, 5, &[0, 1], &[]), Ended(1)],
        ..Case::default()
    });
}

/// Theirs expires; so does ours, with the one event that says so.
#[test]
fn one_quorum_one_operator_no_signatures_task_expired() {
    run(&Case { stakes: ONE, expiry: LIFE, steps: vec![EXPIRED, At(2000)], seen: vec![Ended(1)], ..Case::default() });
}

#[test]
fn one_quorum_two_operators_one_correct_signature_threshold_50_verified() {
    run(&Case {
        stakes: TWO,
        quorums: &[(0, 50)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), EXPIRED],
        seen: vec![certified(1, 5, &[0], &[1]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn one_quorum_two_operators_one_correct_signature_threshold_60_task_expired() {
    run(&Case {
        stakes: TWO,
        quorums: &[(0, 60)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), EXPIRED],
        seen: vec![Expired(1), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn two_quorums_two_operators_which_just_stake_one_quorum_two_correct_signatures_verified() {
    run(&Case {
        stakes: &[&[100, 0], &[0, 200]],
        quorums: &[(0, 100), (1, 100)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), EXPIRED],
        seen: vec![certified(1, 5, &[0, 1], &[]), Ended(1)],
        ..Case::default()
    });
}

/// The third operator has stake in both quorums and does not sign.
const THREE: &[&[u128]] = &[&[100, 0], &[0, 200], &[100, 200]];

#[test]
fn two_quorums_three_operators_two_of_which_just_stake_one_quorum_threshold_50_verified() {
    run(&Case {
        stakes: THREE,
        quorums: &[(0, 50), (1, 50)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), EXPIRED],
        seen: vec![certified(1, 5, &[0, 1], &[2]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn two_quorums_three_operators_two_of_which_just_stake_one_quorum_threshold_60_task_expired() {
    run(&Case {
        stakes: THREE,
        quorums: &[(0, 60), (1, 60)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), EXPIRED],
        seen: vec![Expired(1), Ended(1)],
        ..Case::default()
    });
}

/// Theirs collects until it expires for what nothing could reach; ours says so at the opening.
fn two_quorums_one_operator_which_just_stakes_one_quorum_is_refused_at_the_opening(curve: Curve) {
    let cluster = Cluster::on(curve, &[&[100, 0]]);
    let both = Quorums { numbers: vec![0, 1], thresholds: vec![100, 100] };
    let task = TaskAggregation { quorums: both, ..cluster.task(1, &[100], ms(0)) };
    let mut core = Core::new(1);
    assert_eq!(core.open(task, ms(0)), Err(Error::EmptyQuorum { quorum: 1 }));
    assert!(!core.is_open(1) && core.tick(ms(2000)).is_empty());
}

/// The signer has stake in both quorums, or in the one that the other operator does not have.
#[test]
fn two_quorums_two_operators_one_of_which_just_stakes_one_quorum_one_signature_task_expired() {
    const STAKES: [&[&[u128]]; 2] = [&[&[100, 200], &[0, 200]], &[&[100, 0], &[0, 200]]];
    for stakes in STAKES {
        run(&Case {
            stakes,
            quorums: &[(0, 100), (1, 100)],
            expiry: LIFE,
            steps: vec![Sign(1, 0, 5, COUNTED), EXPIRED],
            seen: vec![Expired(1), Ended(1)],
            ..Case::default()
        });
    }
}

#[test]
fn signature_of_a_task_that_is_not_initialized_task_not_found() {
    run(&Case { stakes: ONE, tasks: 0, steps: vec![Sign(1, 0, 5, Answer::NotOpen)], ..Case::default() });
}

/// Go's "send new signedTaskDigest before listen on responseChan": there the second caller waits until its own deadline.
#[test]
fn signature_while_nobody_listens_for_responses_is_answered_at_once() {
    run(&Case {
        stakes: ONE,
        steps: vec![Sign(1, 0, 5, COUNTED), Stranger(1, 6, Answer::Unknown), Sign(1, 0, 5, DUPLICATE)],
        seen: vec![certified(1, 5, &[0], &[])],
        ..Case::default()
    });
}

#[test]
fn one_quorum_two_operators_two_signatures_on_two_different_messages_task_expired() {
    run(&Case {
        stakes: TWO,
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 6, COUNTED), EXPIRED],
        seen: vec![Expired(1), Ended(1)],
        ..Case::default()
    });
}

/// "TaskResponseDigest does not match TaskResponse".
#[test]
fn one_quorum_one_operator_one_invalid_signature() {
    run(&Case {
        stakes: ONE,
        expiry: LIFE,
        steps: vec![Forge(1, 0, 5, 6, Answer::Incorrect), EXPIRED],
        seen: vec![Ended(1)],
        ..Case::default()
    });
}

#[test]
fn signatures_are_processed_during_window_after_quorum() {
    run(&Case {
        stakes: &[&[100, 200], &[100, 200], &[100, 200], &[100, 200]],
        quorums: &[(0, 50)],
        window: 100,
        expiry: LIFE,
        steps: vec![At(10), Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), At(90), Sign(1, 2, 5, COUNTED), EXPIRED],
        seen: vec![certified(1, 5, &[0, 1, 2], &[3]), Ended(1)],
        ..Case::default()
    });
}

/// Go's then says "task expired" as well (D2).
#[test]
fn if_quorum_has_been_reached_and_the_task_expires_during_window_the_response_is_sent() {
    run(&Case {
        stakes: TWO,
        quorums: &[(0, 50)],
        window: 2000,
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), At(900), EXPIRED, At(3000)],
        seen: vec![certified(1, 5, &[0], &[1]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn if_window_duration_is_zero_no_signatures_are_aggregated_after_reaching_quorum() {
    run(&Case {
        stakes: TWO,
        quorums: &[(0, 50)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, Answer::Late), EXPIRED],
        seen: vec![certified(1, 5, &[0], &[1]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn no_signatures_are_aggregated_after_window() {
    run(&Case {
        stakes: TWO,
        quorums: &[(0, 50)],
        window: 100,
        expiry: LIFE,
        steps: vec![Sign(1, 0, 5, COUNTED), At(110), Sign(1, 1, 5, Answer::Late), EXPIRED],
        seen: vec![certified(1, 5, &[0], &[1]), Ended(1)],
        ..Case::default()
    });
}

/// Go's `TestIntegrationBlsAgg`, and Rust's `test_bls_agg_m2`, `_operator_sets_enabled` and
/// `_operator_sets_enabled_using_operatorinfo_onchain`, which differ in how the operator came into the set.
#[test]
fn integration_one_quorum_one_operator() {
    run(&Case {
        set: &[0],
        stakes: &[&[100]],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 123, COUNTED), EXPIRED],
        seen: vec![certified(1, 123, &[0], &[]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn integration_one_quorum_two_operators() {
    run(&Case {
        set: &[1],
        stakes: &[&[100], &[100]],
        quorums: &[(1, 100)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 123, COUNTED), Sign(1, 1, 123, COUNTED), EXPIRED],
        seen: vec![certified(1, 123, &[0, 1], &[]), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn integration_two_quorums_two_operators_separated() {
    run(&Case {
        set: &[1, 2],
        stakes: &[&[100, 0], &[0, 100]],
        quorums: &[(1, 100), (2, 100)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 123, COUNTED), Sign(1, 1, 123, COUNTED), EXPIRED],
        seen: vec![certified(1, 123, &[0, 1], &[]), Ended(1)],
        ..Case::default()
    });
}

/// One in both quorums, the other in the second: one signature is added twice, the other once.
#[test]
fn integration_two_quorums_two_operators_shared() {
    run(&Case {
        set: &[1, 2],
        stakes: &[&[100, 100], &[0, 100]],
        quorums: &[(1, 100), (2, 100)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 123, COUNTED), Sign(1, 1, 123, COUNTED), EXPIRED],
        seen: vec![certified(1, 123, &[0, 1], &[]), Ended(1)],
        ..Case::default()
    });
}

/// Go has its name and no more.
#[test]
fn integration_two_quorums_one_operator_staking_both() {
    run(&Case {
        set: &[1, 2],
        stakes: &[&[100, 100]],
        quorums: &[(1, 100), (2, 100)],
        expiry: LIFE,
        steps: vec![Sign(1, 0, 123, COUNTED), EXPIRED],
        seen: vec![certified(1, 123, &[0], &[]), Ended(1)],
        ..Case::default()
    });
}

/// Rust's `test_create_quorum_after_service_start`: the set of a later block has it.
async fn integration_create_quorum_after_service_start(curve: Curve) {
    let before = Cluster::numbered(curve, &[0], &[&[100], &[100]]);
    let after = Cluster::numbered(curve, &[0, 1], &[&[100, 0], &[100, 50]]);
    let (handle, mut events) =
        Service::start(Options::default(), &Env::simulated(&World::default(), 1), Pool::inline());
    handle.open(before.task(1, &[100], ms(0))).unwrap();
    handle.submit(before.share(1, "k", 0, 5)).await.unwrap();
    let second = Quorums { numbers: vec![1], thresholds: vec![100] };
    let of_it = |cluster: &Cluster| TaskAggregation { quorums: second.clone(), ..cluster.task(2, &[100], ms(0)) };
    assert_eq!(handle.open(of_it(&before)), Err(Error::UnknownQuorum { quorum: 1 }));
    handle.open(of_it(&after)).unwrap();
    handle.submit(after.share(2, "k", 1, 6)).await.unwrap();
    handle.submit(before.share(1, "k", 1, 5)).await.unwrap();
    for (task, cluster, required, signers) in
        [(2, &after, &second, vec![1]), (1, &before, &quorums(&[100]), vec![0, 1])]
    {
        let event = events.next().await;
        let Some(Event::Certified(certificate)) = event else { panic!("{event:?}") };
        assert_eq!((certificate.task, checked(cluster, required, &certificate)), (task, (signers, vec![])));
    }
}

both_curves! {
    two_quorums_one_operator_which_just_stakes_one_quorum_is_refused_at_the_opening;
    integration_create_quorum_after_service_start
}
