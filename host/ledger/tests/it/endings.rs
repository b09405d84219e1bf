//! Certificates, intents and ends: author and precondition of each, as a table.

use alloy_primitives::{B256, Bytes};
use eigenshift_ledger::command::ComplaintKind;
use eigenshift_ledger::settings::Mode;
use eigenshift_ledger::{Command, Phase};
use eigenshift_types::Outcome;

use crate::sim::Sim;
use crate::table::{certified, close, failed, finalized, must, open, run, submitting};

#[test]
fn certificates_intents_and_ends() {
    run(
        Mode::Leadership,
        &[
            (
                "a certificate",
                |sim| {
                    open(sim, true);
                    (0, sim.certify(0, "k", &[0, 1, 2], 1))
                },
                "accepted",
            ),
            (
                "somebody else's certificate",
                |sim| {
                    open(sim, true);
                    (1, sim.certify(0, "k", &[0, 1, 2], 1))
                },
                "not-aggregator",
            ),
            (
                "the same digest again",
                |sim| {
                    certified(sim, true);
                    (0, sim.certify(0, "k", &[1, 2, 3], 1))
                },
                "no-op",
            ),
            (
                "another digest for a certified key",
                |sim| {
                    certified(sim, true);
                    (0, sim.certify(0, "k", &[1, 2, 3], 2))
                },
                "conflicting-certificate",
            ),
            (
                "another key",
                |sim| {
                    certified(sim, true);
                    (0, sim.certify(0, "l", &[1, 2, 3], 2))
                },
                "accepted",
            ),
            (
                "too little stake",
                |sim| {
                    open(sim, true);
                    (0, sim.certify(0, "k", &[0, 1], 1))
                },
                "invalid-certificate",
            ),
            (
                "one signature missing in the sum",
                |sim| {
                    open(sim, true);
                    let mut bad = sim.certificate(0, "k", &[0, 1], 1);
                    bad.signers = sim.certificate(0, "k", &[0, 1, 2], 1).signers;
                    (0, Command::Certificate { assignment_epoch: 0, certificate: Box::new(bad) })
                },
                "invalid-certificate",
            ),
            (
                "a sum that is no point",
                |sim| {
                    open(sim, true);
                    let mut bad = sim.certificate(0, "k", &[0, 1, 2], 1);
                    bad.signature = Bytes::from(vec![1; 64]);
                    (0, Command::Certificate { assignment_epoch: 0, certificate: Box::new(bad) })
                },
                "invalid-certificate",
            ),
            (
                "an older assignment",
                |sim| {
                    open(sim, true);
                    (
                        0,
                        Command::Certificate {
                            assignment_epoch: 7,
                            certificate: Box::new(sim.certificate(0, "k", &[0, 1, 2], 1)),
                        },
                    )
                },
                "stale-assignment",
            ),
            ("an unknown task", |sim| (0, sim.certify(9, "k", &[0, 1, 2], 1)), "unknown-task"),
            (
                "a payload that is too large",
                |sim| {
                    open(sim, true);
                    let mut bad = sim.certificate(0, "k", &[0, 1, 2], 1);
                    bad.payload = Bytes::from(vec![0; 17 * 1024]);
                    (0, Command::Certificate { assignment_epoch: 0, certificate: Box::new(bad) })
                },
                "too-large",
            ),
            (
                "an intent",
                |sim| {
                    certified(sim, true);
                    (0, sim.intent(0, 5, 0xaa))
                },
                "accepted",
            ),
            (
                "an intent without a certificate",
                |sim| {
                    open(sim, true);
                    (0, sim.intent(0, 5, 0xaa))
                },
                "invalid-intent",
            ),
            (
                "an intent of a task that submits nothing",
                |sim| {
                    certified(sim, false);
                    (0, sim.intent(0, 5, 0xaa))
                },
                "invalid-intent",
            ),
            (
                "somebody else's intent",
                |sim| {
                    certified(sim, true);
                    (1, sim.intent(0, 5, 0xaa))
                },
                "not-aggregator",
            ),
            (
                "a replacement",
                |sim| {
                    submitting(sim);
                    (0, sim.intent(0, 5, 0xbb))
                },
                "accepted",
            ),
            (
                "the same transaction again",
                |sim| {
                    submitting(sim);
                    (0, sim.intent(0, 5, 0xaa))
                },
                "invalid-intent",
            ),
            (
                "a lower nonce",
                |sim| {
                    submitting(sim);
                    (0, sim.intent(0, 4, 0xbb))
                },
                "invalid-intent",
            ),
            (
                "finalized",
                |sim| {
                    submitting(sim);
                    (0, finalized(0xaa))
                },
                "accepted",
            ),
            (
                "finalized by a transaction that was not announced",
                |sim| {
                    submitting(sim);
                    (0, finalized(0xcc))
                },
                "wrong-phase",
            ),
            (
                "finalized without an intent",
                |sim| {
                    certified(sim, true);
                    (0, finalized(0xaa))
                },
                "wrong-phase",
            ),
            (
                "finalized by somebody else",
                |sim| {
                    submitting(sim);
                    (1, finalized(0xaa))
                },
                "not-aggregator",
            ),
            (
                "done",
                |sim| {
                    certified(sim, false);
                    (0, close(Outcome::Done))
                },
                "accepted",
            ),
            (
                "done with keys missing",
                |sim| {
                    open(sim, false);
                    (0, close(Outcome::Done))
                },
                "wrong-phase",
            ),
            (
                "done though it submits",
                |sim| {
                    certified(sim, true);
                    (0, close(Outcome::Done))
                },
                "wrong-phase",
            ),
            (
                "expired",
                |sim| {
                    open(sim, true);
                    (0, close(Outcome::Expired))
                },
                "accepted",
            ),
            (
                "expired, says a follower",
                |sim| {
                    open(sim, true);
                    (1, close(Outcome::Expired))
                },
                "not-leader",
            ),
            (
                "expired with a transaction announced",
                |sim| {
                    submitting(sim);
                    (0, close(Outcome::Expired))
                },
                "wrong-phase",
            ),
            (
                "failed, says the aggregator",
                |sim| {
                    submitting(sim);
                    (0, failed())
                },
                "accepted",
            ),
            (
                "failed, says a new leader",
                |sim| {
                    submitting(sim);
                    sim.elect(1);
                    (1, failed())
                },
                "accepted",
            ),
            (
                "failed, says a bystander",
                |sim| {
                    submitting(sim);
                    (2, failed())
                },
                "not-aggregator",
            ),
            (
                "a second end",
                |sim| {
                    submitting(sim);
                    must(sim, 0, &finalized(0xaa));
                    (0, failed())
                },
                "task-ended",
            ),
            (
                "a certificate after the end",
                |sim| {
                    certified(sim, false);
                    must(sim, 0, &close(Outcome::Done));
                    (0, sim.certify(0, "l", &[0, 1, 2], 1))
                },
                "task-ended",
            ),
            (
                "a live aggregator's task",
                |sim| {
                    open(sim, true);
                    sim.elect(1);
                    (1, assign(sim, 1, 1, false))
                },
                "aggregator-lives",
            ),
            (
                "an idle aggregator's task",
                |sim| {
                    open(sim, true);
                    sim.elect(1);
                    (1, assign(sim, 1, 1, true))
                },
                "accepted",
            ),
            (
                "a task of one that is down",
                |sim| {
                    orphan(sim);
                    (1, assign(sim, 1, 1, false))
                },
                "accepted",
            ),
            (
                "a task of one that was removed",
                |sim| {
                    open(sim, true);
                    sim.elect(1);
                    let node = sim.operators[0].node;
                    must(sim, 1, &Command::RemoveOperator { node, reason: String::new() });
                    (1, assign(sim, 1, 1, false))
                },
                "accepted",
            ),
            (
                "to one that is down",
                |sim| {
                    orphan(sim);
                    (1, assign(sim, 0, 1, false))
                },
                "unknown-member",
            ),
            (
                "assigned by a follower",
                |sim| {
                    orphan(sim);
                    (2, assign(sim, 2, 1, false))
                },
                "not-leader",
            ),
            (
                "assigned under a wrong epoch",
                |sim| {
                    orphan(sim);
                    (1, assign(sim, 1, 2, false))
                },
                "stale-assignment",
            ),
            (
                "the old aggregator after that",
                |sim| {
                    orphan(sim);
                    let assign = assign(sim, 1, 1, false);
                    must(sim, 1, &assign);
                    (0, sim.certify(0, "k", &[0, 1, 2], 1))
                },
                "not-aggregator",
            ),
            (
                "the new aggregator after that",
                |sim| {
                    orphan(sim);
                    let assign = assign(sim, 1, 1, false);
                    must(sim, 1, &assign);
                    (1, sim.certify(0, "k", &[0, 1, 2], 1))
                },
                "accepted",
            ),
        ],
    );
}

fn orphan(sim: &mut Sim) {
    open(sim, true);
    sim.elect(1);
    let node = sim.operators[0].node;
    must(sim, 1, &Command::Down { node });
}

fn assign(sim: &Sim, operator: usize, assignment_epoch: u64, idle: bool) -> Command {
    Command::Assign { task: 0, aggregator: sim.operators[operator].node, assignment_epoch, idle }
}

/// Task 0 is finalized by transaction 0xaa; operators 1, 2 and 3 do not see its receipt.
fn disputed(sim: &mut Sim) {
    submitting(sim);
    must(sim, 0, &finalized(0xaa));
    for operator in 1..4 {
        assert!(!sim.state().tasks[&0].disputed, "two of four are not more than half");
        must(sim, operator, &no_receipt(1));
    }
    assert!(sim.state().tasks[&0].disputed);
}

fn no_receipt(term: u64) -> Command {
    Command::Complaint { term, kind: ComplaintKind::Receipt, task: Some(0), evidence: "none".into() }
}

fn submitted_again(sim: &mut Sim) {
    disputed(sim);
    let intent = sim.intent(0, 9, 0xbb);
    must(sim, 3, &intent);
}

#[test]
fn disputed_receipts() {
    run(
        Mode::Leadership,
        &[
            (
                "whoever completed the majority announces another transaction",
                |sim| {
                    disputed(sim);
                    (3, sim.intent(0, 9, 0xbb))
                },
                "accepted",
            ),
            (
                "the old aggregator does",
                |sim| {
                    disputed(sim);
                    (0, sim.intent(0, 9, 0xbb))
                },
                "not-aggregator",
            ),
            (
                "the new receipt takes the old one's place",
                |sim| {
                    submitted_again(sim);
                    (3, finalized(0xbb))
                },
                "accepted",
            ),
            (
                "a receipt of the first transaction in another block, too",
                |sim| {
                    disputed(sim);
                    let block_hash = B256::repeat_byte(4);
                    (3, close(Outcome::Finalized { tx: B256::repeat_byte(0xaa), block_hash }))
                },
                "accepted",
            ),
            (
                "the disputed receipt itself",
                |sim| {
                    disputed(sim);
                    (3, finalized(0xaa))
                },
                "wrong-phase",
            ),
            (
                "a transaction that was not announced",
                |sim| {
                    disputed(sim);
                    (3, finalized(0xbb))
                },
                "wrong-phase",
            ),
            (
                "another ending than the one it has",
                |sim| {
                    disputed(sim);
                    (3, failed())
                },
                "task-ended",
            ),
            (
                "settled by somebody else",
                |sim| {
                    submitted_again(sim);
                    (0, finalized(0xbb))
                },
                "not-aggregator",
            ),
            (
                "an intent after it is settled",
                |sim| {
                    submitted_again(sim);
                    must(sim, 3, &finalized(0xbb));
                    (3, sim.intent(0, 10, 0xcc))
                },
                "task-ended",
            ),
            (
                "to a live member when the new aggregator is gone",
                |sim| {
                    disputed(sim);
                    must(sim, 0, &Command::Down { node: sim.operators[3].node });
                    (0, assign(sim, 0, 2, false))
                },
                "accepted",
            ),
        ],
    );
}

#[test]
fn complaints_about_a_receipt_count_over_terms_and_begin_anew_when_it_is_settled() {
    let mut sim = Sim::new(Mode::Leadership);
    submitting(&mut sim);
    must(&mut sim, 0, &finalized(0xaa));
    for operator in 1..4 {
        sim.elect(operator);
        let complaint = no_receipt(sim.term);
        must(&mut sim, operator, &complaint);
    }
    assert!(sim.state().tasks[&0].disputed);
    let intent = sim.intent(0, 9, 0xbb);
    must(&mut sim, 3, &intent);
    must(&mut sim, 3, &finalized(0xbb));
    let task = &sim.state().tasks[&0];
    assert_eq!(
        task.phase,
        Phase::Closed(Outcome::Finalized { tx: B256::repeat_byte(0xbb), block_hash: B256::repeat_byte(3) })
    );
    assert!(!task.disputed);
    let complaint = no_receipt(sim.term);
    must(&mut sim, 1, &complaint);
    assert!(!sim.state().tasks[&0].disputed, "one complaint about the new receipt");
}

#[test]
fn only_a_finalized_task_is_disputed() {
    let mut sim = Sim::new(Mode::Leadership);
    certified(&mut sim, false);
    must(&mut sim, 0, &close(Outcome::Done));
    for operator in 0..4 {
        must(&mut sim, operator, &no_receipt(1));
    }
    assert!(!sim.state().tasks[&0].disputed);
}
