//! Every command's author and precondition, as a table.

use alloy_primitives::{B256, Bytes};
use eigenshift_ledger::command::{ComplaintKind, PlanTask, activation_hash, settings_approval};
use eigenshift_ledger::settings::{Expiry, Mode, Policy};
use eigenshift_ledger::{Command, TriggerId};
use eigenshift_types::{NodeId, NodeSignature, Outcome, Stake};

use crate::sim::{CLUSTER, EPOCH, Sim, block, key, outcome, service, sign_hash};

/// (what is tried, how the cluster got there and who logs what, what comes of it).
type Case = (&'static str, fn(&mut Sim) -> (usize, Command), &'static str);

fn run(mode: Mode, cases: &[Case]) {
    for (name, prepare, expected) in cases {
        let mut sim = Sim::new(mode);
        let (operator, command) = prepare(&mut sim);
        let before = sim.machine.snapshot();
        let reply = sim.log_as(operator, &command);
        assert_eq!(outcome(&reply), *expected, "{name}: {reply:?}");
        if *expected != "accepted" && *expected != "conflicting-certificate" {
            // A refused command changes nothing but the log position and the author's used ids.
            let mut after = eigenshift_ledger::State::restore(&sim.machine.snapshot()).unwrap();
            let mut before = eigenshift_ledger::State::restore(&before).unwrap();
            for state in [&mut before, &mut after] {
                state.applied = 0;
                for member in state.members.values_mut() {
                    member.commands = Default::default();
                }
            }
            assert_eq!(before, after, "{name}");
        }
    }
}

fn must(sim: &mut Sim, operator: usize, command: &Command) {
    let reply = sim.log_as(operator, command);
    assert_eq!(outcome(&reply), "accepted", "{command:?}: {reply:?}");
}

/// Task 0 is open; operator 0 leads and aggregates.
fn open(sim: &mut Sim, submits: bool) {
    let create = sim.create(0, submits);
    must(sim, 0, &create);
}

fn certified(sim: &mut Sim, submits: bool) {
    open(sim, submits);
    let certify = sim.certify(0, "k", &[0, 1, 2], 1);
    must(sim, 0, &certify);
}

fn submitting(sim: &mut Sim) {
    certified(sim, true);
    let intent = sim.intent(0, 5, 0xaa);
    must(sim, 0, &intent);
}

fn close(outcome: Outcome) -> Command {
    Command::Close { task: 0, outcome, at: None }
}

fn finalized(tx: u8) -> Command {
    close(Outcome::Finalized { tx: B256::repeat_byte(tx), block_hash: B256::repeat_byte(3) })
}

fn failed() -> Command {
    close(Outcome::Failed { reason: "because".into() })
}

#[test]
fn members_and_settings() {
    run(
        Mode::Leadership,
        &[
            ("a second bootstrap", |sim| (0, sim.bootstrap(sim.state().settings.clone().unwrap())), "bootstrap"),
            (
                "an operator comes back under a new id",
                |sim| (0, Command::AddOperator { join: Box::new(sim.join(1, B256::repeat_byte(99))) }),
                "accepted",
            ),
            (
                "a follower takes somebody in",
                |sim| (1, Command::AddOperator { join: Box::new(sim.join(1, B256::repeat_byte(99))) }),
                "not-leader",
            ),
            (
                "a used challenge",
                |sim| (0, Command::AddOperator { join: Box::new(sim.join(1, B256::repeat_byte(1))) }),
                "challenge-used",
            ),
            (
                "a join signed by somebody else",
                |sim| {
                    let mut join = sim.join(1, B256::repeat_byte(99));
                    join.signature = sign_hash(&sim.operators[2].account, join.join.signing_hash());
                    (0, Command::AddOperator { join: Box::new(join) })
                },
                "invalid-join",
            ),
            (
                "another operator's node key",
                |sim| {
                    let mut join = sim.join(1, B256::repeat_byte(99));
                    join.join.node_key = sim.operators[2].key.public();
                    join.signature = sign_hash(&sim.operators[1].account, join.join.signing_hash());
                    (0, Command::AddOperator { join: Box::new(join) })
                },
                "invalid-join",
            ),
            (
                "an issuer that is no member",
                |sim| {
                    let mut join = sim.join(1, B256::repeat_byte(99));
                    join.join.issuer = NodeId(999);
                    join.signature = sign_hash(&sim.operators[1].account, join.join.signing_hash());
                    (0, Command::AddOperator { join: Box::new(join) })
                },
                "invalid-join",
            ),
            (
                "the leader removes",
                |sim| (0, Command::RemoveOperator { node: sim.operators[2].node, reason: "gone".into() }),
                "accepted",
            ),
            (
                "a member leaves",
                |sim| (2, Command::RemoveOperator { node: sim.operators[2].node, reason: "bye".into() }),
                "accepted",
            ),
            (
                "a member removes another",
                |sim| (1, Command::RemoveOperator { node: sim.operators[2].node, reason: "!".into() }),
                "not-yours",
            ),
            (
                "nobody of that id",
                |_| (0, Command::RemoveOperator { node: NodeId(999), reason: String::new() }),
                "unknown-member",
            ),
            ("the leader marks down", |sim| (0, Command::Down { node: sim.operators[2].node }), "accepted"),
            ("a follower marks down", |sim| (1, Command::Down { node: sim.operators[2].node }), "not-leader"),
            ("the leader marks itself down", |sim| (0, Command::Down { node: sim.operators[0].node }), "not-yours"),
            ("a member says that it is up", |sim| (2, Command::Up { node: sim.operators[2].node }), "accepted"),
            ("a member says that another is up", |sim| (1, Command::Up { node: sim.operators[2].node }), "not-yours"),
            ("the leader rotates", |_| (0, Command::Rotate), "accepted"),
            ("a follower rotates", |_| (1, Command::Rotate), "not-leader"),
            ("settings with approvals", |sim| (1, settings(sim, 3, |_| {})), "accepted"),
            ("settings with too few approvals", |sim| (1, settings(sim, 2, |_| {})), "not-approved"),
            (
                "settings that make no sense",
                |sim| (1, settings(sim, 3, |settings| settings.quorums.thresholds = vec![101])),
                "invalid-settings",
            ),
            (
                "settings approved once before",
                |sim| {
                    let command = settings(sim, 3, |_| {});
                    must(sim, 1, &command);
                    (1, command)
                },
                "invalid-settings",
            ),
            ("a complaint", |_| (3, complaint(1)), "accepted"),
            ("a complaint about the future", |_| (3, complaint(99)), "invalid-complaint"),
        ],
    );
}

fn complaint(term: u64) -> Command {
    Command::Complaint { term, kind: ComplaintKind::Withholding, task: None, evidence: "silence".into() }
}

fn settings(sim: &Sim, approvals: usize, change: fn(&mut eigenshift_ledger::Settings)) -> Command {
    let mut settings = sim.state().settings.clone().unwrap();
    settings.window_ms += 5;
    change(&mut settings);
    let bytes = settings_approval(CLUSTER, EPOCH, 1, &settings);
    let approve = |operator: &crate::sim::Operator| (operator.node, operator.key.sign(&bytes));
    let mut signed: Vec<(NodeId, NodeSignature)> = sim.operators.iter().take(approvals).map(approve).collect();
    // The same one again, a stranger's and a wrong one count for nothing.
    signed.extend([signed[0], (NodeId(999), signed[0].1), (sim.operators[3].node, signed[0].1)]);
    Command::ClusterSettings { settings: Box::new(settings), revision: 1, approvals: signed }
}

#[test]
fn tasks_under_leadership() {
    run(
        Mode::Leadership,
        &[
            ("a task", |sim| (0, sim.create(0, true)), "accepted"),
            ("a follower's task", |sim| (1, sim.create(0, true)), "not-leader"),
            (
                "the same trigger again",
                |sim| {
                    certified(sim, false);
                    must(sim, 0, &close(Outcome::Done));
                    sim.elect(1);
                    let mut create = sim.create(0, true);
                    if let Command::CreateTask(create) = &mut create {
                        create.spec.index = 1;
                    }
                    (1, create)
                },
                "trigger-used",
            ),
            (
                "the same index again",
                |sim| {
                    open(sim, true);
                    (0, with(sim.create(0, true), |create| create.trigger = TriggerId::Request { key: "other".into() }))
                },
                "index-used",
            ),
            (
                "a second open task",
                |sim| {
                    open(sim, true);
                    (0, sim.create(1, true))
                },
                "too-many-open-tasks",
            ),
            (
                "a task while a hand-over is due",
                |sim| {
                    must(sim, 0, &Command::Rotate);
                    (0, sim.create(0, true))
                },
                "hand-over-due",
            ),
            (
                "a request that is too large",
                |sim| (0, with(sim.create(0, true), |create| create.spec.request = Bytes::from(vec![0; 65 * 1024]))),
                "too-large",
            ),
            (
                "no keys expected",
                |sim| (0, with(sim.create(0, true), |create| create.spec.keys_expected = 0)),
                "invalid-task",
            ),
            (
                "too many keys expected",
                |sim| (0, with(sim.create(0, true), |create| create.spec.keys_expected = 17)),
                "invalid-task",
            ),
            (
                "a threshold below the floor",
                |sim| (0, with(sim.create(0, true), |create| create.spec.quorums.thresholds = vec![66])),
                "invalid-task",
            ),
            (
                "a higher threshold",
                |sim| (0, with(sim.create(0, true), |create| create.spec.quorums.thresholds = vec![100])),
                "accepted",
            ),
            (
                "another quorum",
                |sim| (0, with(sim.create(0, true), |create| create.spec.quorums.numbers = vec![1])),
                "invalid-task",
            ),
            (
                "an unknown operator set",
                |sim| (0, with(sim.create(0, true), |create| create.spec.set_digest = B256::ZERO)),
                "unknown-operator-set",
            ),
            (
                "another bundle",
                |sim| (0, with(sim.create(0, true), |create| create.spec.bundle_digest = B256::ZERO)),
                "wrong-bundle",
            ),
            (
                "another chain's event",
                |sim| (0, with(sim.create(0, true), |create| create.trigger = event(1))),
                "invalid-task",
            ),
            (
                "this chain's event",
                |sim| (0, with(sim.create(0, true), |create| create.trigger = event(31_337))),
                "accepted",
            ),
            ("the same operator set again", |sim| (0, Command::OperatorSet(Box::new(sim.set.clone()))), "no-op"),
            (
                "a follower's operator set",
                |sim| {
                    let mut set = sim.set.clone();
                    set.digest = B256::ZERO;
                    (1, Command::OperatorSet(Box::new(set)))
                },
                "not-leader",
            ),
            (
                "an operator set with a wrong digest",
                |sim| {
                    let mut set = sim.set.clone();
                    set.digest = B256::ZERO;
                    (0, Command::OperatorSet(Box::new(set)))
                },
                "invalid-operator-set",
            ),
            (
                "an operator set whose stakes do not add up",
                |sim| {
                    let mut set = sim.set.clone();
                    set.quorums[0].total_stake = Stake::new(1).unwrap();
                    set.digest = set.compute_digest();
                    (0, Command::OperatorSet(Box::new(set)))
                },
                "invalid-operator-set",
            ),
            ("a plan", |_| (0, plan()), "accepted"),
            ("a follower's plan", |_| (1, plan()), "not-leader"),
            (
                "the end of a plan",
                |sim| {
                    must(sim, 0, &plan());
                    (0, Command::ClosePlan { trigger: event(31_337) })
                },
                "accepted",
            ),
            ("the end of no plan", |_| (0, Command::ClosePlan { trigger: event(31_337) }), "invalid-task"),
            (
                "a plan that was ended",
                |sim| {
                    must(sim, 0, &plan());
                    must(sim, 0, &Command::ClosePlan { trigger: event(31_337) });
                    (0, plan())
                },
                "trigger-used",
            ),
        ],
    );
}

fn with(mut command: Command, change: impl FnOnce(&mut eigenshift_ledger::command::CreateTask)) -> Command {
    if let Command::CreateTask(create) = &mut command {
        change(create);
    }
    command
}

fn event(chain_id: u64) -> TriggerId {
    TriggerId::Event { chain_id, block_hash: B256::repeat_byte(1), tx: B256::repeat_byte(2), log_index: 0 }
}

fn plan() -> Command {
    Command::PlanTask(Box::new(PlanTask {
        trigger: event(31_337),
        to: alloy_primitives::Address::repeat_byte(4),
        data: Bytes::from_static(b"create"),
        sender: alloy_primitives::Address::repeat_byte(5),
        nonce: 0,
        tx: B256::repeat_byte(6),
    }))
}

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

#[test]
fn bundles() {
    const NEW: B256 = B256::repeat_byte(0xb1);
    fn ready(sim: &mut Sim, operators: usize) {
        for operator in 0..operators {
            must(sim, operator, &Command::BundleReady { digest: NEW });
        }
    }
    fn activate(sim: &Sim, publisher: usize) -> Command {
        let publisher_signature = sign_hash(&sim.operators[publisher].account, activation_hash(&service(), NEW));
        Command::Activate { digest: NEW, set_digest: sim.set.digest, publisher_signature }
    }
    type BundleCase = (&'static str, usize, usize, usize, &'static str);
    // What, how many are ready, who signed as publisher (operator 3 is one), who logs, what comes of it.
    let cases: [BundleCase; 5] = [
        ("all ready", 4, 3, 0, "accepted"),
        ("three of four are below threshold and margin", 3, 3, 0, "invalid-bundle"),
        ("nobody's signature", 4, 2, 0, "invalid-bundle"),
        ("a follower", 4, 3, 1, "not-leader"),
        ("none ready", 0, 3, 0, "invalid-bundle"),
    ];
    for (name, operators, publisher, author, expected) in cases {
        let publishers = vec![Sim::empty().operators[3].address()];
        let mut sim = Sim::with(|settings| settings.publishers = publishers);
        ready(&mut sim, operators);
        let command = activate(&sim, publisher);
        assert_eq!(outcome(&sim.log_as(author, &command)), expected, "{name}");
        assert_eq!(sim.state().bundle == NEW, expected == "accepted", "{name}");
    }
    let mut sim = Sim::new(Mode::Leadership);
    must(&mut sim, 1, &Command::BundleRefused { digest: NEW, why: "too hungry".into() });
    assert_eq!(outcome(&sim.log_as(1, &Command::BundleReady { digest: NEW })), "invalid-bundle", "once per digest");
}

#[test]
fn expiry_in_blocks_needs_a_block_past_it() {
    let mut sim = Sim::with(|settings| settings.expiry = Expiry::Blocks(10));
    open(&mut sim, true);
    let expire = |at| Command::Close { task: 0, outcome: Outcome::Expired, at };
    assert_eq!(outcome(&sim.log_as(0, &expire(None))), "wrong-phase");
    assert_eq!(outcome(&sim.log_as(0, &expire(Some(block(19))))), "wrong-phase");
    assert_eq!(outcome(&sim.log_as(0, &expire(Some(block(20))))), "accepted");
}

#[test]
fn before_the_bootstrap_nothing_else_is_taken() {
    let mut sim = Sim::empty();
    sim.operators[0].node = NodeId(1);
    assert_eq!(outcome(&sim.log_as(0, &Command::Rotate)), "bootstrap");
    let settings = eigenshift_ledger::Settings::new(alloy_primitives::Address::ZERO);
    let bootstrap = sim.bootstrap(settings.clone());
    sim.leader = NodeId(2);
    assert_eq!(outcome(&sim.log_as(0, &bootstrap)), "not-leader");
    sim.leader = NodeId(1);
    let key = std::mem::replace(&mut sim.operators[0].key, eigenshift_types::NodeKey::from_seed(&[77; 32]));
    assert_eq!(outcome(&sim.log_as(0, &bootstrap)), "bad-signature");
    sim.operators[0].key = key;
    let mut bad = settings;
    bad.rotation.policy = Policy::Every(0);
    let bad = sim.bootstrap(bad);
    assert_eq!(outcome(&sim.log_as(0, &bad)), "invalid-settings");
    assert_eq!(outcome(&sim.log_as(0, &bootstrap)), "accepted");
}

#[test]
fn the_number_of_keys_is_bounded() {
    let mut sim = Sim::with(|settings| settings.keys_per_task = 2);
    open(&mut sim, true);
    for name in ["a", "b"] {
        let certify = sim.certify(0, name, &[0, 1, 2], 1);
        must(&mut sim, 0, &certify);
    }
    let third = sim.certify(0, "c", &[0, 1, 2], 1);
    assert_eq!(outcome(&sim.log_as(0, &third)), "too-large");
    assert!(!sim.state().tasks[&0].certificates.contains_key(&key("c")));
}
