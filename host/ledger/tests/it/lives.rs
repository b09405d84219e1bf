//! What happens over several entries: rotation, retention, halting, replay of commands.

use alloy_primitives::B256;
use eigenshift_ledger::command::{ComplaintKind, settings_approval};
use eigenshift_ledger::settings::{Mode, Order, Policy};
use eigenshift_ledger::{Accepted, Command, Halt, Payload, Reply, RestoreError, Settings};
use eigenshift_types::{CommandId, NodeId, Outcome};

use crate::sim::{CLUSTER, EPOCH, Sim, outcome};

/// Runs one task from creation to done under whoever leads.
fn whole_task(sim: &mut Sim, index: u32) -> NodeId {
    let leader = sim.leader_operator();
    let create = sim.create(index, false);
    let Reply::Accepted(Accepted::Task { aggregator, .. }) = sim.log_as(leader, &create) else { panic!("not created") };
    let aggregator_operator = sim.operators.iter().position(|operator| operator.node == aggregator).unwrap();
    let certify = sim.certify(index, "k", &[0, 1, 2], 1);
    assert_eq!(outcome(&sim.log_as(aggregator_operator, &certify)), "accepted");
    let close = Command::Close { task: index, outcome: Outcome::Done, at: None };
    assert_eq!(outcome(&sim.log_as(aggregator_operator, &close)), "accepted");
    aggregator
}

#[test]
fn leadership_goes_round_after_each_task() {
    let mut sim = Sim::new(Mode::Leadership);
    let mut led = Vec::new();
    for index in 0..8 {
        led.push(whole_task(&mut sim, index));
        let due = sim.state().rotation.due.expect("a hand-over is due");
        let next = sim.operators.iter().position(|operator| operator.node == due).unwrap();
        sim.elect(next);
        assert_eq!(sim.state().rotation.due, None, "the new leader's first entry settles it");
    }
    // Operators are in the order of their ids, which is the ring's.
    let ring: Vec<NodeId> = sim.operators.iter().map(|operator| operator.node).collect();
    assert_eq!(led, [ring.clone(), ring].concat());
}

#[test]
fn one_that_is_down_or_gone_is_left_out_of_the_ring() {
    let mut sim = Sim::new(Mode::Leadership);
    let (second, third, fourth) = (sim.operators[1].node, sim.operators[2].node, sim.operators[3].node);
    whole_task(&mut sim, 0);
    assert_eq!(sim.state().rotation.due, Some(second));
    sim.log_as(0, &Command::Down { node: second });
    assert_eq!(sim.state().rotation.due, Some(third), "the one after it is due instead");
    sim.log_as(0, &Command::RemoveOperator { node: third, reason: String::new() });
    assert_eq!(sim.state().rotation.due, Some(fourth));
    sim.log_as(0, &Command::Up { node: second });
    sim.log_as(0, &Command::Down { node: fourth });
    assert_eq!(sim.state().rotation.due, None, "the leader itself is next: nothing is due");
}

#[test]
fn the_plugins_own_order_is_decided_by_the_leader_once_and_kept_for_checking() {
    let mut sim = Sim::with(|settings| settings.rotation.order = Order::Plugin);
    whole_task(&mut sim, 0);
    assert_eq!(sim.state().rotation.due, None);
    let seed = sim.state().rotation.undecided.expect("the leader has yet to ask the plugin");
    let create = sim.create(1, false);
    assert_eq!(outcome(&sim.log_as(0, &create)), "hand-over-due", "no task begins meanwhile");
    let turn = |sim: &Sim, operator: usize| Command::Turn { seed, operator: sim.operators[operator].bls.operator_id() };
    let third = turn(&sim, 2);
    assert_eq!(outcome(&sim.log_as(1, &third)), "not-leader");
    let other = Command::Turn { seed: B256::repeat_byte(9), operator: sim.operators[2].bls.operator_id() };
    assert_eq!(outcome(&sim.log_as(0, &other)), "invalid-turn");
    let stranger = Command::Turn { seed, operator: Default::default() };
    assert_eq!(outcome(&sim.log_as(0, &stranger)), "invalid-turn");
    assert_eq!(outcome(&sim.log_as(0, &third)), "accepted");
    assert_eq!(sim.state().rotation.due, Some(sim.operators[2].node));
    assert_eq!(outcome(&sim.log_as(0, &third)), "invalid-turn", "once");
    let choice = sim.state().rotation.choice.clone().unwrap();
    assert_eq!((choice.candidates.len(), choice.seed), (4, seed));
    // The chosen one falls silent before it takes over: the plugin is asked again.
    let node = sim.operators[2].node;
    sim.log_as(0, &Command::Down { node });
    assert!(sim.state().rotation.undecided.is_some() && sim.state().rotation.due.is_none());
}

#[test]
fn due_hand_overs_coalesce() {
    let mut sim = Sim::new(Mode::Leadership);
    for _ in 0..3 {
        sim.log_as(0, &Command::Rotate);
        assert_eq!(sim.state().rotation.due, Some(sim.operators[1].node));
    }
}

#[test]
fn every_second_task_hands_over_every_second_time() {
    let mut sim = Sim::with(|settings| settings.rotation.policy = Policy::Every(2));
    whole_task(&mut sim, 0);
    assert_eq!(sim.state().rotation.due, None);
    whole_task(&mut sim, 1);
    assert!(sim.state().rotation.due.is_some());
}

#[test]
fn assignment_names_the_next_for_each_task_with_many_in_flight() {
    let mut sim = Sim::new(Mode::Assignment);
    let mut named = Vec::new();
    for index in 0..8 {
        let create = sim.create(index, false);
        let Reply::Accepted(Accepted::Task { aggregator, .. }) = sim.log_as(0, &create) else { panic!("not created") };
        named.push(aggregator);
    }
    let ring: Vec<NodeId> = sim.operators.iter().map(|operator| operator.node).collect();
    assert_eq!(named, [ring.clone(), ring].concat());
    let ninth = sim.create(8, false);
    assert_eq!(outcome(&sim.log_as(0, &ninth)), "too-many-open-tasks");
    assert_eq!(sim.state().rotation.due, None, "leadership stays where it is");
}

#[test]
fn sticky_assignment_stays_until_it_is_told_to_move() {
    let mut sim = Sim::with(|settings| {
        settings.rotation.mode = Mode::Assignment;
        settings.rotation.policy = Policy::Sticky;
        settings.max_open_tasks = 8;
    });
    let first = whole_task(&mut sim, 0);
    assert_eq!(whole_task(&mut sim, 1), first);
    sim.log_as(0, &Command::Rotate);
    let second = whole_task(&mut sim, 2);
    assert_ne!(second, first);
    assert_eq!(whole_task(&mut sim, 3), second);
}

#[test]
fn drawn_orders_follow_the_block_hash_alone() {
    for order in [Order::BlockHash, Order::Stake] {
        let draw = || {
            let mut sim = Sim::with(|settings| {
                settings.rotation.mode = Mode::Assignment;
                settings.rotation.order = order;
                settings.max_open_tasks = 8;
            });
            (0..8).map(|index| whole_task(&mut sim, index)).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw(), "equal logs draw equally");
        let mut drawn = draw();
        drawn.sort();
        drawn.dedup();
        assert!(drawn.len() > 1, "{order:?} draws different members");
    }
}

#[test]
fn ended_tasks_beyond_the_retention_are_forgotten_for_good() {
    let mut sim = Sim::with(|settings| {
        settings.rotation.policy = Policy::Sticky;
        settings.retention = 3;
    });
    for index in 0..5 {
        whole_task(&mut sim, index);
    }
    assert_eq!(sim.state().tasks.keys().copied().collect::<Vec<_>>(), vec![2, 3, 4]);
    let again = sim.create(1, false);
    assert_eq!(outcome(&sim.log_as(0, &again)), "trigger-used");
    let mut again = sim.create(1, false);
    if let Command::CreateTask(create) = &mut again {
        create.trigger = eigenshift_ledger::TriggerId::Request { key: "new".into() };
    }
    assert_eq!(outcome(&sim.log_as(0, &again)), "index-used");
}

#[test]
fn a_command_counts_once_and_only_for_its_cluster_and_epoch() {
    let mut sim = Sim::new(Mode::Leadership);
    let signed = sim.signed(0, &Command::Down { node: sim.operators[1].node });
    assert_eq!(outcome(&sim.append(Payload::Command(signed.encode().into()))), "accepted");
    sim.log_as(0, &Command::Up { node: sim.operators[1].node });
    assert_eq!(outcome(&sim.append(Payload::Command(signed.encode().into()))), "no-op");
    assert!(!sim.state().members[&sim.operators[1].node].down, "the replay changed nothing");

    let mut forged = signed.clone();
    forged.id = CommandId(9_999);
    assert_eq!(outcome(&sim.append(Payload::Command(forged.encode().into()))), "bad-signature");
    let author = &sim.operators[0];
    let other = eigenshift_ledger::SignedCommand::new(
        &author.key,
        CLUSTER,
        eigenshift_types::Epoch(EPOCH.0 + 1),
        author.node,
        CommandId(10_000),
        &Command::Rotate,
    );
    assert_eq!(outcome(&sim.append(Payload::Command(other.encode().into()))), "bad-signature");
    let mut stranger = signed;
    stranger.author = NodeId(777);
    assert_eq!(outcome(&sim.append(Payload::Command(stranger.encode().into()))), "unknown-author");
    assert_eq!(outcome(&sim.append(Payload::Command(b"\x01garbage".to_vec().into()))), "malformed");
    // Far ahead, then far behind.
    sim.next_id = 1_000_000;
    sim.log_as(0, &Command::Rotate);
    sim.next_id = 50;
    assert_eq!(outcome(&sim.log_as(0, &Command::Rotate)), "stale-id");
}

#[test]
fn a_members_unknown_command_halts_and_nothing_is_applied_after() {
    let mut sim = Sim::new(Mode::Leadership);
    let mut signed = sim.signed(0, &Command::Rotate);
    let body: alloy_primitives::Bytes = eigenshift_types::frame::canonical("FromTheFuture").into();
    let author = &sim.operators[0];
    let bytes =
        eigenshift_types::frame::canonical(&("eigenshift command v1", CLUSTER, EPOCH, author.node, signed.id, &body));
    signed.signature = author.key.sign(&bytes);
    signed.body = body;
    let mut stranger = signed.clone();
    stranger.author = NodeId(777);
    assert_eq!(
        outcome(&sim.append(Payload::Command(stranger.encode().into()))),
        "unknown-author",
        "a stranger's halts nobody"
    );
    assert_eq!(outcome(&sim.append(Payload::Command(signed.encode().into()))), "halted");
    assert!(matches!(sim.machine.halted(), Some(Halt::UnknownCommand { .. })));
    let before = sim.machine.snapshot();
    assert_eq!(outcome(&sim.log_as(0, &Command::Rotate)), "halted");
    assert_eq!(sim.machine.snapshot(), before);
}

#[test]
fn another_state_digest_than_the_leaders_halts() {
    let mut sim = Sim::new(Mode::Leadership);
    while sim.state().checkpoint.0 == 0 {
        sim.append(Payload::Blank);
    }
    let (index, digest) = sim.state().checkpoint;
    assert_eq!(outcome(&sim.log_as(0, &Command::StateDigest { index, digest })), "no-op");
    assert_eq!(outcome(&sim.log_as(1, &Command::StateDigest { index, digest: B256::ZERO })), "not-leader");
    assert_eq!(outcome(&sim.log_as(0, &Command::StateDigest { index: index - 1, digest: B256::ZERO })), "no-op");
    assert_eq!(outcome(&sim.log_as(0, &Command::StateDigest { index, digest: B256::ZERO })), "halted");
    assert!(matches!(sim.machine.halted(), Some(Halt::Diverged { .. })));
}

#[test]
fn complaints_of_more_than_half_make_the_duty_move() {
    let mut sim = Sim::new(Mode::Leadership);
    let complaint =
        Command::Complaint { term: sim.term, kind: ComplaintKind::Withholding, task: None, evidence: "silence".into() };
    for operator in [1, 1, 2] {
        sim.log_as(operator, &complaint);
        assert_eq!(sim.state().rotation.due, None, "two of four are not more than half, one counts once");
    }
    sim.log_as(3, &complaint);
    assert!(sim.state().rotation.due.is_some());
}

#[test]
fn settings_of_another_version_halt_when_they_are_agreed_on_and_not_before() {
    let changes: [fn(&mut Settings); 2] =
        [|settings| settings.fuel_schedule = "wasmtime-60".into(), |settings| settings.ledger_version += 1];
    for change in changes {
        let mut sim = Sim::new(Mode::Leadership);
        let mut settings = sim.state().settings.clone().unwrap();
        change(&mut settings);
        let bytes = settings_approval(CLUSTER, EPOCH, 1, &settings);
        let approve = |operator: &crate::sim::Operator| (operator.node, operator.key.sign(&bytes));
        let approvals = |count| sim.operators.iter().take(count).map(approve).collect::<Vec<_>>();
        let command =
            |approvals| Command::ClusterSettings { settings: Box::new(settings.clone()), revision: 1, approvals };
        let (few, enough) = (command(approvals(2)), command(approvals(3)));
        assert_eq!(outcome(&sim.log_as(0, &few)), "not-approved");
        assert_eq!(outcome(&sim.log_as(0, &enough)), "halted");
        assert!(matches!(sim.machine.halted(), Some(Halt::UnknownRules { .. })));
        // One that comes by a snapshot does not go on either.
        let mut state = sim.state().clone();
        state.settings = Some(settings);
        let before = sim.machine.snapshot();
        let refused = sim.machine.restore(&state.snapshot());
        assert!(matches!(refused, Err(RestoreError::UnknownRules(_))), "{refused:?}");
        assert_eq!(sim.machine.snapshot(), before);
    }
}
