//! Every command's author and precondition, as a table.

use alloy_primitives::{B256, Bytes};
use eigenshift_aggregation::operators::assemble;
use eigenshift_bls::{Curve, SecretKey};
use eigenshift_ledger::command::{ComplaintKind, PlanTask, settings_approval};
use eigenshift_ledger::settings::{Expiry, Mode, Policy};
use eigenshift_ledger::{Command, TriggerId};
use eigenshift_types::{Address, NodeId, NodeSignature, OperatorRecord, OperatorSet, Outcome, Stake};

use crate::sim::{CLUSTER, EPOCH, Sim, block, key, outcome, sign_hash};
use crate::table::{certified, close, must, open, run};

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
                "settings with another curve",
                |sim| (1, settings(sim, 3, |settings| settings.curve = Curve::Bls12381)),
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

fn set_over_bls12_381() -> OperatorSet {
    let key = SecretKey::from_bytes(Curve::Bls12381, &[7; 32]).unwrap();
    let record = OperatorRecord {
        id: key.operator_id(),
        address: Address::repeat_byte(1),
        g1: key.contract_key().encode(),
        g2: Bytes::new(),
        stakes: vec![Stake::new(100).unwrap()],
    };
    assemble(block(5), &[0], vec![record]).unwrap()
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
            (
                "an operator set over another curve",
                |_| (0, Command::OperatorSet(Box::new(set_over_bls12_381()))),
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

pub fn with(mut command: Command, change: impl FnOnce(&mut eigenshift_ledger::command::CreateTask)) -> Command {
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
        to: Address::repeat_byte(4),
        data: Bytes::from_static(b"create"),
        sender: Address::repeat_byte(5),
        nonce: 0,
        tx: B256::repeat_byte(6),
    }))
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
    let settings = eigenshift_ledger::Settings::new(Address::ZERO);
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
