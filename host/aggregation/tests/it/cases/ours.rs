//! Cases of ours, which the services that operators know are not tested with.

use super::Do::{At, Close, Forge, Sign, Stranger};
use super::Seen::{Ended, Equivocation, Expired};
use super::{Answer, COUNTED, Case, DUPLICATE, certified, run};

const EQUAL: &[&[u128]] = &[&[100], &[100], &[100], &[100]];

#[test]
fn the_integer_rule_does_not_round_up() {
    // 66 of 100 is below 67 percent, 67 is not.
    run(&Case {
        set: &[0],
        stakes: &[&[66], &[33], &[1]],
        quorums: &[(0, 67)],
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 2, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0, 2], &[1])],
        ..Case::default()
    });
}

#[test]
fn quorums_may_have_any_numbers() {
    run(&Case {
        set: &[3, 9],
        stakes: &[&[100, 100], &[0, 100], &[100, 0]],
        quorums: &[(3, 50), (9, 100)],
        steps: vec![Sign(1, 1, 5, COUNTED), Sign(1, 0, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0, 1], &[2])],
        ..Case::default()
    });
}

#[test]
fn stake_in_quorums_that_the_task_does_not_have_counts_nothing_and_adds_no_weight() {
    // All have stake in the first and the last quorum; the task has the two between.
    run(&Case {
        set: &[0, 3, 9, 255],
        stakes: &[&[900, 100, 0, 7], &[1, 100, 100, 7], &[900, 0, 100, 7], &[900, 0, 0, 7]],
        quorums: &[(3, 100), (9, 50)],
        steps: vec![Sign(1, 3, 5, Answer::NoStake), Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0, 1], &[2])],
        ..Case::default()
    });
}

#[test]
fn tasks_of_one_set_may_have_its_last_quorum_alone() {
    run(&Case {
        set: &[0, 255],
        stakes: &[&[100, 60], &[0, 40]],
        quorums: &[(255, 60)],
        steps: vec![Sign(1, 1, 5, COUNTED), Sign(1, 0, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0, 1], &[])],
        ..Case::default()
    });
}

#[test]
fn an_operator_without_stake_in_the_tasks_quorums_is_refused_and_the_task_goes_on() {
    run(&Case {
        stakes: &[&[100, 0], &[0, 100], &[0, 0]],
        steps: vec![Sign(1, 1, 5, Answer::NoStake), Sign(1, 2, 5, Answer::NoStake), Sign(1, 0, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0], &[])],
        ..Case::default()
    });
}

#[test]
fn an_operator_of_no_set_is_refused_and_the_task_goes_on() {
    run(&Case {
        set: &[0],
        stakes: EQUAL,
        quorums: &[(0, 25)],
        steps: vec![Stranger(1, 5, Answer::Unknown), Sign(1, 0, 5, COUNTED), Stranger(1, 5, Answer::Unknown)],
        seen: vec![certified(1, 5, &[0], &[1, 2, 3])],
        ..Case::default()
    });
}

#[test]
fn the_same_signature_again_counts_once() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 0, 5, DUPLICATE), Sign(1, 0, 5, DUPLICATE), Close(1)],
        seen: vec![Expired(1)],
        ..Case::default()
    });
}

#[test]
fn after_a_wrong_signature_the_right_one_still_counts() {
    run(&Case {
        set: &[0],
        stakes: &[&[100]],
        steps: vec![Forge(1, 0, 5, 6, Answer::Incorrect), Sign(1, 0, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0], &[])],
        ..Case::default()
    });
}

#[test]
fn a_late_signature_after_the_task_expired_is_told_so() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        expiry: Some(100),
        steps: vec![Sign(1, 0, 5, COUNTED), At(110), Sign(1, 1, 5, Answer::Expired), Sign(1, 0, 5, Answer::Expired)],
        seen: vec![Expired(1), Ended(1)],
        ..Case::default()
    });
}

#[test]
fn a_late_signature_after_the_task_was_closed_is_told_so() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        quorums: &[(0, 50)],
        steps: vec![Sign(1, 0, 5, COUNTED), Close(1), Sign(1, 1, 5, Answer::NotOpen), Sign(1, 0, 5, Answer::NotOpen)],
        seen: vec![certified(1, 5, &[0], &[1])],
        ..Case::default()
    });
}

#[test]
fn a_task_is_closed_once() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 6, COUNTED), Close(1), Close(1)],
        seen: vec![Expired(1)],
        ..Case::default()
    });
}

#[test]
fn signatures_are_added_until_the_window_ends() {
    run(&Case {
        set: &[0],
        stakes: EQUAL,
        quorums: &[(0, 50)],
        window: 100,
        steps: vec![
            At(10),
            Sign(1, 0, 5, COUNTED),
            Sign(1, 1, 5, COUNTED),
            At(90),
            Sign(1, 2, 5, COUNTED),
            At(120),
            Sign(1, 3, 5, Answer::Late),
            Close(1),
        ],
        seen: vec![certified(1, 5, &[0, 1, 2], &[3])],
        ..Case::default()
    });
}

#[test]
fn a_task_that_is_closed_during_the_window_is_certified_and_does_not_expire_as_well() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        quorums: &[(0, 50)],
        window: 100,
        steps: vec![Sign(1, 0, 5, COUNTED), At(50), Close(1), At(500)],
        seen: vec![certified(1, 5, &[0], &[1])],
        ..Case::default()
    });
}

#[test]
fn the_window_ends_early_when_every_operator_has_answered() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100], &[100]],
        quorums: &[(0, 60)],
        window: 1000,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 6, COUNTED), Sign(1, 2, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0, 2], &[1])],
        ..Case::default()
    });
}

/// D1.
#[test]
fn a_minority_digest_during_the_window_changes_nothing() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100], &[100], &[10]],
        quorums: &[(0, 60)],
        window: 100,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), Sign(1, 3, 6, COUNTED), At(110)],
        seen: vec![certified(1, 5, &[0, 1], &[2, 3])],
        ..Case::default()
    });
}

/// D1.
#[test]
fn with_low_thresholds_the_first_digest_to_reach_them_stays_the_winner() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[200], &[100]],
        quorums: &[(0, 25)],
        window: 100,
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 1, 6, COUNTED), At(110)],
        seen: vec![certified(1, 5, &[0], &[1, 2])],
        ..Case::default()
    });
}

#[test]
fn a_second_digest_by_one_operator_counts_nowhere_and_is_evidence_once() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        steps: vec![
            Sign(1, 0, 5, COUNTED),
            Sign(1, 1, 6, COUNTED),
            Sign(1, 0, 6, Answer::Equivocation),
            Sign(1, 0, 6, Answer::Equivocation),
            Sign(1, 0, 7, Answer::Equivocation),
            Sign(1, 0, 5, DUPLICATE),
            Close(1),
        ],
        seen: vec![Equivocation(0), Expired(1)],
        ..Case::default()
    });
}

#[test]
fn a_forged_second_digest_is_no_evidence() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        steps: vec![Sign(1, 0, 5, COUNTED), Forge(1, 0, 6, 7, Answer::Incorrect), Sign(1, 1, 5, COUNTED)],
        seen: vec![certified(1, 5, &[0, 1], &[])],
        ..Case::default()
    });
}

#[test]
fn a_second_digest_after_the_certificate_is_still_evidence() {
    run(&Case {
        set: &[0],
        stakes: &[&[100], &[100]],
        quorums: &[(0, 50)],
        steps: vec![Sign(1, 0, 5, COUNTED), Sign(1, 0, 6, Answer::Equivocation), Sign(1, 1, 6, Answer::Late)],
        seen: vec![certified(1, 5, &[0], &[1]), Equivocation(0)],
        ..Case::default()
    });
}
