//! Bundles: proposed, ready, active, and taken back when they fail.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use eigenshift_ledger::command::{ProposeBundle, Shadow, activation_hash, shadow_hash};
use eigenshift_ledger::settings::{Mode, Trial};
use eigenshift_ledger::{Command, Machine};
use eigenshift_types::Outcome;
use proptest::prelude::*;

use crate::authors::with;
use crate::sim::{Sim, digest, key, outcome, service, sign_hash};
use crate::table::must;

const NEW: B256 = B256::repeat_byte(0xb1);

/// Operator 3's account is a publisher.
fn with_publisher() -> Sim {
    let publishers = vec![Sim::empty().operators[3].address()];
    Sim::with(|settings| settings.publishers = publishers)
}

fn proposal(sim: &Sim, digest: B256, publisher: usize, sequence: u64) -> Command {
    let hash = activation_hash(&service(), digest, sequence);
    Command::ProposeBundle(Box::new(ProposeBundle {
        digest,
        component_bytes: 1000,
        manifest_bytes: 100,
        sequence,
        shadow: None,
        publisher_signature: sign_hash(&sim.operators[publisher].account, hash),
    }))
}

const SHADOW: Shadow = Shadow { tasks: 10, differences: 1 };

/// Proposed with one shadow, signed with another.
fn shadowed(sim: &Sim, proposed: Shadow, signed: Shadow) -> Command {
    let mut proposal = proposal(sim, NEW, 3, 0);
    if let Command::ProposeBundle(bundle) = &mut proposal {
        bundle.shadow = Some(proposed);
        let hash = shadow_hash(&service(), NEW, 0, signed);
        bundle.publisher_signature = sign_hash(&sim.operators[3].account, hash);
    }
    proposal
}

fn shadowed_so(sim: &Sim, shadow: Shadow) -> Command {
    shadowed(sim, shadow, shadow)
}

fn activate(sim: &Sim, digest: B256) -> Command {
    Command::Activate { digest, set_digest: sim.set.digest }
}

fn ready(sim: &mut Sim, digest: B256, operators: usize) {
    for operator in 0..operators {
        must(sim, operator, &Command::BundleReady { digest });
    }
}

#[test]
fn a_bundle_is_proposed_with_a_publishers_signature_for_the_next_activation() {
    let mut sim = with_publisher();
    let good = proposal(&sim, NEW, 3, 0);
    let Command::ProposeBundle(bundle) = &good else { unreachable!() };
    let with = |change: fn(&mut ProposeBundle)| {
        let mut bundle = bundle.clone();
        change(&mut bundle);
        Command::ProposeBundle(bundle)
    };
    let active = sim.state().bundle;
    let cases = [
        ("somebody else's signature", proposal(&sim, NEW, 2, 0), "invalid-bundle"),
        ("for a later activation", proposal(&sim, NEW, 3, 1), "invalid-bundle"),
        ("the active one", proposal(&sim, active, 3, 0), "invalid-bundle"),
        ("another digest than was signed", with(|bundle| bundle.digest = B256::repeat_byte(9)), "invalid-bundle"),
        ("another number than was signed", with(|bundle| bundle.sequence = 7), "invalid-bundle"),
        ("a huge component", with(|bundle| bundle.component_bytes = u32::MAX), "too-large"),
        ("a huge manifest", with(|bundle| bundle.manifest_bytes = u32::MAX), "too-large"),
        ("a shadow that nobody signed for", with(|bundle| bundle.shadow = Some(SHADOW)), "invalid-bundle"),
        ("another shadow than was signed", shadowed(&sim, Shadow { tasks: 9, ..SHADOW }, SHADOW), "invalid-bundle"),
        ("a shadow on no task", shadowed_so(&sim, Shadow { tasks: 0, differences: 0 }), "invalid-bundle"),
        ("a shadow on too many", shadowed_so(&sim, Shadow { tasks: 10_001, differences: 0 }), "invalid-bundle"),
        ("more differences than tasks", shadowed_so(&sim, Shadow { tasks: 5, differences: 6 }), "invalid-bundle"),
        ("a report on what nobody proposed", Command::BundleReady { digest: NEW }, "invalid-bundle"),
    ];
    for (name, command, expected) in cases {
        assert_eq!(outcome(&sim.log_as(1, &command)), expected, "{name}");
    }
    assert!(sim.state().proposals.is_empty());
    // Any member may bring it, more than once.
    must(&mut sim, 1, &good);
    must(&mut sim, 2, &good);
    assert_eq!(sim.state().proposals.len(), 1);
    let other = shadowed_so(&sim, SHADOW);
    assert_eq!(outcome(&sim.log_as(1, &other)), "invalid-bundle", "it is proposed without one");
    // There is room for eight; the oldest makes room.
    for number in 0..8 {
        let next = proposal(&sim, B256::repeat_byte(number), 3, 0);
        must(&mut sim, 1, &next);
    }
    assert_eq!(sim.state().proposals.len(), 8);
    assert!(!sim.state().proposals.contains_key(&NEW));
}

#[test]
fn a_shadow_is_agreed_on_with_the_proposal() {
    let mut sim = with_publisher();
    let proposal = shadowed_so(&sim, SHADOW);
    must(&mut sim, 1, &proposal);
    assert_eq!(sim.state().proposals[&NEW].shadow, Some(SHADOW));
}

#[test]
fn a_proposed_bundle_runs_when_enough_stake_has_it_ready_and_its_signature_serves_once() {
    // How many are ready, who logs the activation, what comes of it.
    for (name, operators, author, expected) in [
        ("all ready", 4, 0, "accepted"),
        ("three of four are below threshold and margin", 3, 0, "invalid-bundle"),
        ("a follower", 4, 1, "not-leader"),
        ("none ready", 0, 0, "invalid-bundle"),
    ] {
        let mut sim = with_publisher();
        let old = sim.state().bundle;
        let propose = proposal(&sim, NEW, 3, 0);
        must(&mut sim, 1, &propose);
        ready(&mut sim, NEW, operators);
        let command = activate(&sim, NEW);
        assert_eq!(outcome(&sim.log_as(author, &command)), expected, "{name}");
        assert_eq!(sim.state().bundle == NEW, expected == "accepted", "{name}");
        if expected == "accepted" {
            assert_eq!(sim.state().former_bundles, [old]);
            assert_eq!(outcome(&sim.log_as(1, &propose)), "invalid-bundle", "the signature is used up");
            let back = activate(&sim, old);
            assert_eq!(outcome(&sim.log_as(0, &back)), "invalid-bundle", "the old one needs a reason");
        }
    }
    let mut sim = with_publisher();
    let propose = proposal(&sim, NEW, 3, 0);
    must(&mut sim, 1, &propose);
    must(&mut sim, 1, &Command::BundleRefused { digest: NEW, why: "too hungry".into() });
    assert_eq!(outcome(&sim.log_as(1, &Command::BundleReady { digest: NEW })), "invalid-bundle", "once per digest");
}

#[test]
fn a_former_bundle_comes_back_without_a_signature_when_a_third_of_the_stake_has_no_answer() {
    let mut sim = with_publisher();
    let old = sim.state().bundle;
    let propose = proposal(&sim, NEW, 3, 0);
    must(&mut sim, 1, &propose);
    ready(&mut sim, NEW, 4);
    let to_new = activate(&sim, NEW);
    must(&mut sim, 0, &to_new);
    let mut create = sim.create(0, false);
    if let Command::CreateTask(create) = &mut create {
        create.spec.bundle_digest = NEW;
    }
    must(&mut sim, 0, &create);
    let complaint = |task| Command::NoAnswer { task, reason: "it trapped".into() };
    assert_eq!(outcome(&sim.log_as(1, &complaint(7))), "invalid-task");
    // The same member's word counts once; a quarter of the stake is not enough.
    must(&mut sim, 1, &complaint(0));
    must(&mut sim, 1, &complaint(0));
    let back = activate(&sim, old);
    assert_eq!(outcome(&sim.log_as(0, &back)), "invalid-bundle");
    must(&mut sim, 2, &complaint(0));
    assert_eq!(outcome(&sim.log_as(1, &back)), "not-leader");
    must(&mut sim, 0, &back);
    assert_eq!(sim.state().bundle, old);
    assert!(sim.state().no_answers.is_empty(), "they were about the other one");
    assert_eq!(sim.state().activations, 2);
    assert_eq!(outcome(&sim.log_as(1, &complaint(0))), "invalid-bundle", "that task runs a bundle that is not active");
}

/// `NEW` is active, of a cluster in which a member counts when its answers to two tasks differ.
fn on_trial(tasks: u32) -> Sim {
    let publishers = vec![Sim::empty().operators[3].address()];
    let mut sim = Sim::with(|settings| {
        settings.publishers = publishers;
        settings.rotation.mode = Mode::Assignment;
        settings.max_open_tasks = 8;
        settings.trial = Trial { tasks, disagreements: 2 };
    });
    let propose = proposal(&sim, NEW, 3, 0);
    must(&mut sim, 1, &propose);
    ready(&mut sim, NEW, 4);
    let to_new = activate(&sim, NEW);
    must(&mut sim, 0, &to_new);
    sim
}

fn new_task(sim: &mut Sim, index: u32) {
    let create = with(sim.create(index, false), |create| create.spec.bundle_digest = NEW);
    must(sim, 0, &create);
}

fn expire(sim: &mut Sim, index: u32) {
    must(sim, 0, &Command::Close { task: index, outcome: Outcome::Expired, at: None });
}

/// Operators 0, 1 and 2 have an answer certified.
fn certify(sim: &mut Sim, index: u32) {
    let aggregator = sim.state().tasks[&index].aggregator;
    let aggregator = sim.operators.iter().position(|operator| operator.node == aggregator).unwrap();
    let certificate = sim.certify(index, "k", &[0, 1, 2], 1);
    must(sim, aggregator, &certificate);
    must(sim, aggregator, &Command::Close { task: index, outcome: Outcome::Done, at: None });
}

fn answered(task: u32, answer: u8) -> Command {
    Command::Disagreement { task, key: key("k"), digest: digest(answer) }
}

#[test]
fn a_disagreement_is_about_an_ended_task_of_a_version_on_trial() {
    let mut sim = on_trial(3);
    new_task(&mut sim, 0);
    assert_eq!(outcome(&sim.log_as(1, &answered(7, 2))), "unknown-task");
    assert_eq!(outcome(&sim.log_as(1, &answered(0, 2))), "wrong-phase", "it is open");
    certify(&mut sim, 0);
    assert_eq!(outcome(&sim.log_as(1, &answered(0, 1))), "invalid-bundle", "it agrees");
    must(&mut sim, 1, &answered(0, 2));
    let other = Command::Disagreement { task: 0, key: key("other"), digest: digest(2) };
    assert_eq!(outcome(&sim.log_as(1, &other)), "wrong-phase", "nothing says that there was such a key");
    for index in 1..=3 {
        new_task(&mut sim, index);
    }
    assert_eq!(outcome(&sim.log_as(2, &answered(0, 2))), "invalid-bundle", "four tasks were created");
}

#[test]
fn a_version_is_taken_back_when_a_third_of_the_stake_answers_otherwise_often_enough() {
    let mut sim = on_trial(100);
    let old = sim.state().former_bundles[0];
    let back = activate(&sim, old);
    for index in 0..3 {
        new_task(&mut sim, index);
        certify(&mut sim, index);
    }
    // Once is not often, and one of four is not a third.
    for operator in [2, 3] {
        must(&mut sim, operator, &answered(0, 2));
        must(&mut sim, operator, &answered(0, 3));
    }
    must(&mut sim, 3, &answered(1, 2));
    must(&mut sim, 3, &answered(2, 2));
    assert_eq!(outcome(&sim.log_as(0, &back)), "invalid-bundle");
    assert_eq!(sim.state().trial.dissents.values().map(BTreeSet::len).collect::<Vec<_>>(), [1, 2], "bounded");
    must(&mut sim, 2, &answered(1, 2));
    must(&mut sim, 0, &back);
    assert_eq!(sim.state().bundle, old);
    assert_eq!(sim.state().former_bundles, [NEW]);
    assert_eq!(sim.state().trial, Default::default());
}

#[test]
fn whoever_is_in_the_minority_on_tasks_without_a_certificate_counts_and_so_does_who_gets_no_answer() {
    // What each operator answered to two tasks that expired, and whether the version is taken back.
    for (name, answers, expected) in [
        ("all agree, and only the network was slow", [Some(1), Some(1), Some(1), Some(1)], "invalid-bundle"),
        ("one of four", [Some(1), Some(1), Some(1), Some(2)], "invalid-bundle"),
        ("half", [Some(1), Some(1), Some(2), Some(2)], "accepted"),
        ("everybody for himself", [Some(1), Some(2), Some(3), Some(4)], "accepted"),
        ("one has no answer, one another", [Some(1), Some(1), Some(2), None], "accepted"),
    ] {
        let mut sim = on_trial(100);
        let back = activate(&sim, sim.state().former_bundles[0]);
        for index in 0..2 {
            new_task(&mut sim, index);
            expire(&mut sim, index);
            for (operator, answer) in answers.iter().enumerate() {
                match answer {
                    Some(answer) => must(&mut sim, operator, &answered(index, *answer)),
                    None => must(&mut sim, operator, &Command::NoAnswer { task: index, reason: "a trap".into() }),
                }
            }
            if index == 0 {
                assert_eq!(outcome(&sim.log_as(0, &back)), "invalid-bundle", "{name}: once is not often");
            }
        }
        assert_eq!(outcome(&sim.log_as(0, &back)), expected, "{name}");
    }
}

#[test]
fn what_failed_is_the_last_to_come_back() {
    let mut sim = on_trial(100);
    let newer = B256::repeat_byte(0xb2);
    let old = sim.state().former_bundles[0];
    let propose = proposal(&sim, newer, 3, 1);
    must(&mut sim, 1, &propose);
    ready(&mut sim, newer, 4);
    let to_newer = activate(&sim, newer);
    must(&mut sim, 0, &to_newer);
    assert_eq!(sim.state().former_bundles, [old, NEW]);
    let create = with(sim.create(0, false), |create| create.spec.bundle_digest = B256::repeat_byte(0xb2));
    must(&mut sim, 0, &create);
    for operator in [1, 2] {
        must(&mut sim, operator, &Command::NoAnswer { task: 0, reason: "a trap".into() });
    }
    let back = activate(&sim, NEW);
    must(&mut sim, 0, &back);
    assert_eq!(sim.state().former_bundles, [newer, old]);
}

#[derive(Clone, Copy, Debug)]
struct Report {
    operator: usize,
    task: u32,
    answer: u8,
}

const TASKS: u32 = 4;

fn report() -> impl Strategy<Value = Report> {
    (0..4_usize, 0..TASKS, 1..4_u8).prop_map(|(operator, task, answer)| Report { operator, task, answer })
}

/// Tasks in which each operator is against the certified answer, which is 1, or else against the largest group.
fn against(reports: &[Report], certified: u32) -> [usize; 4] {
    let first = |operator: usize, task: u32| {
        reports.iter().find(|report| (report.operator, report.task) == (operator, task)).map(|report| report.answer)
    };
    let mut counts = [0; 4];
    for task in 0..TASKS {
        let said: Vec<Option<u8>> = (0..4).map(|operator| first(operator, task)).collect();
        let votes = |answer: u8| said.iter().filter(|said| **said == Some(answer)).count();
        // The largest answer of those that are tied.
        let most = (1..4).max_by_key(|answer| votes(*answer)).unwrap();
        for operator in 0..4 {
            let mine = |report: &&Report| (report.operator, report.task) == (operator, task);
            let differs = if task < certified {
                reports.iter().filter(mine).any(|report| report.answer != 1)
            } else {
                said[operator].is_some_and(|answer| answer != most)
            };
            counts[operator] += usize::from(differs);
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_version_is_taken_back_exactly_when_operators_with_a_third_of_the_stake_are_against_it(
        reports in proptest::collection::vec(report(), 0..24),
        certified in 0..=TASKS,
    ) {
        let mut sim = on_trial(100);
        for index in 0..TASKS {
            new_task(&mut sim, index);
            if index < certified { certify(&mut sim, index) } else { expire(&mut sim, index) }
        }
        for Report { operator, task, answer } in &reports {
            sim.log_as(*operator, &answered(*task, *answer));
        }
        let differing = against(&reports, certified).into_iter().filter(|tasks| *tasks >= 2).count();
        let back = activate(&sim, sim.state().former_bundles[0]);
        let expected = if differing * 3 >= 4 { "accepted" } else { "invalid-bundle" };
        let reply = sim.log_as(0, &back);
        prop_assert_eq!(outcome(&reply), expected, "{} operators differ", differing);
        let mut again = Machine::default();
        again.apply(&sim.log);
        prop_assert_eq!(again.snapshot(), sim.machine.snapshot());
    }
}
