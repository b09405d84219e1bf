//! Nodes killed at every step of a swap: they go on from their directories, and one version is active.

use std::collections::BTreeMap;
use std::sync::Arc;

use eigenshift_ledger::settings::Mode;
use eigenshift_ledger::{Phase, Settings, State};
use eigenshift_node::Logic;
use eigenshift_plugin::{Bundle, Grants};
use eigenshift_types::{B256, Outcome, TaskIndex};

use crate::cluster::{Cluster, Plan, until, wait, within};
use crate::gates::{Gates, Step};
use crate::rounds::{active, deploy, publisher, roll_back};
use crate::versions::{digest, version};

const OPERATORS: usize = 3;

struct World {
    cluster: Cluster,
    gates: Gates,
    /// By the digest of its bundle.
    numbers: BTreeMap<B256, u8>,
    asked: u32,
}

fn settings(settings: &mut Settings) {
    settings.publishers = vec![publisher().address()];
    settings.rotation.mode = Mode::Assignment;
    settings.max_open_tasks = 64;
}

impl World {
    /// Runs version 0.
    async fn start(settings: fn(&mut Settings)) -> Self {
        let mut cluster = Cluster::prepare(&Plan { settings, ..Plan::of(OPERATORS) }).await;
        let gates = Gates::new(Arc::clone(&cluster.env.disk), cluster.directory.path());
        cluster.env.disk = Arc::new(gates.clone());
        let mut world = Self { cluster, gates, numbers: BTreeMap::new(), asked: 0 };
        world.bundle(0);
        for number in 0..OPERATORS {
            world.cluster.run(number, logic()).await;
        }
        world.cluster.wait_voters(OPERATORS).await;
        world
    }

    fn bundle(&mut self, number: u8) -> Bundle {
        let bundle = version(number, 0);
        self.numbers.insert(bundle.digest(), number);
        bundle
    }

    async fn deploy(&self, at: usize, bundle: &Bundle) {
        deploy(&self.cluster.service, self.cluster.handle(at), bundle).await;
    }

    fn hold(&self, number: usize, step: Step) {
        self.gates.hold(&self.cluster.operators[number].directory, step);
    }

    async fn reached(&self, number: usize, step: Step) {
        let directory = &self.cluster.operators[number].directory;
        within(&format!("operator {number} comes to {step:?}"), self.gates.reached(directory, step)).await;
    }

    fn release(&self, number: usize, step: Step) {
        self.gates.release(&self.cluster.operators[number].directory, step);
    }

    async fn crash(&mut self, number: usize) {
        let directory = self.cluster.operators[number].directory.clone();
        self.gates.kill(&directory);
        self.cluster.kill(number);
        until("nothing of it is left", || self.gates.closed(&directory)).await;
    }

    /// From its directory, at its addresses, which the operating system may take a moment to give back.
    async fn revive(&mut self, number: usize) {
        let running = within("it starts again", async {
            loop {
                match self.cluster.try_run(number, logic()).await {
                    Ok(running) => return running,
                    Err(error) => eprintln!("operator {number} does not start yet: {error}"),
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        let running = running.await;
        self.cluster.operators[number].running = Some(running);
    }

    fn bundle_at(&self, number: usize) -> u8 {
        self.numbers[&self.cluster.handle(number).read(|state| state.bundle)]
    }

    async fn ask(&mut self) -> TaskIndex {
        self.asked += 1;
        self.cluster.request(&format!("task-{}", self.asked), [7; 32]).await
    }

    /// The version that answers a task.
    async fn ended(&self, index: TaskIndex) -> u8 {
        let (task, outcome) = self.cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done, "task {index}");
        let number = self.numbers[&task.spec.bundle_digest];
        let certificate = task.certificates.values().next().unwrap();
        assert_eq!(certificate.digest, digest(number), "task {index} has one version");
        number
    }

    /// The version that answers a new task.
    async fn answering(&mut self) -> u8 {
        let index = self.ask().await;
        self.ended(index).await
    }

    async fn active(&self, bundle: &Bundle) {
        active(&self.cluster, bundle.digest()).await;
    }

    /// Whoever does not lead.
    async fn followers(&self) -> (usize, usize, usize) {
        let leader = self.cluster.leader().await;
        (leader, (leader + 1) % OPERATORS, (leader + 2) % OPERATORS)
    }

    /// Nobody signed two answers, nothing was lost, and all run the same version.
    async fn end(self, expected: u8) {
        for number in self.cluster.live() {
            assert_eq!(self.bundle_at(number), expected);
            let handle = self.cluster.handle(number);
            assert_eq!(handle.evidence().len(), 0);
            handle.read(|state| {
                assert_eq!(state.tasks.len(), self.asked as usize);
                assert!(state.tasks.values().all(|task| task.phase == Phase::Closed(Outcome::Done)));
                assert!(state.faults.is_empty() && state.complaints.is_empty(), "{:?}", state.complaints);
            });
            let loaded = |number: usize| self.cluster.handle(number).status().bundles.loaded;
            let expected = self.cluster.handle(number).read(|state| state.bundle);
            until("what is active is loaded", || loaded(number).contains(&expected)).await;
        }
        self.cluster.end().await;
    }
}

fn logic() -> Logic {
    Logic::Plugin(version(0, 0), Grants::all())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_as_it_fetches_checks_or_compiles_a_bundle_goes_on_from_there() {
    // Two of three are no quorum: nothing is activated without the one that is killed.
    let mut world = World::start(settings).await;
    for (number, step) in [(1, Step::Fetched), (2, Step::Kept), (3, Step::Compiled)] {
        let next = world.bundle(number);
        let (leader, victim, _) = world.followers().await;
        world.hold(victim, step);
        world.deploy(leader, &next).await;
        world.reached(victim, step).await;
        assert_eq!(world.answering().await, number - 1, "{step:?}: the one before serves");
        world.crash(victim).await;
        assert_eq!(world.bundle_at(leader), number - 1, "{step:?}");
        world.revive(victim).await;
        world.active(&next).await;
        assert_eq!(world.answering().await, number, "{step:?}");
    }
    world.end(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposer_killed_before_it_keeps_the_bytes_leaves_a_proposal_that_can_be_made_again() {
    let mut world = World::start(settings).await;
    let next = world.bundle(1);
    let (_, proposer, other) = world.followers().await;
    world.hold(proposer, Step::Fetched);
    let (sequence, signature) =
        crate::rounds::signature(&world.cluster.service, world.cluster.handle(proposer), next.digest());
    let handle = world.cluster.handle(proposer).clone();
    let bytes = next.to_bytes();
    let proposing = tokio::spawn(async move { handle.propose_bundle(bytes, sequence, signature).await });
    world.reached(proposer, Step::Fetched).await;
    let is_proposed = |state: &State| state.proposals.contains_key(&next.digest()).then_some(());
    wait(world.cluster.handle(other), "it is proposed", is_proposed).await;
    world.crash(proposer).await;
    assert_eq!(proposing.await.unwrap().unwrap_err().code(), "not-now");
    world.revive(proposer).await;
    assert_eq!(world.answering().await, 0);
    world.deploy(other, &next).await;
    world.active(&next).await;
    assert_eq!(world.answering().await, 1);
    world.end(1).await;
}

/// Two of three are a quorum, and enough to have a bundle ready.
fn majority(all: &mut Settings) {
    settings(all);
    all.quorums.thresholds = vec![51];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_with_a_bundle_ready_or_just_activated_leaves_one_version_active() {
    let mut world = World::start(majority).await;

    // It alone has the bundle ready. The others activate it without it.
    let first = world.bundle(1);
    let (leader, one, two) = world.followers().await;
    world.hold(one, Step::Compiled);
    world.hold(two, Step::Compiled);
    world.deploy(leader, &first).await;
    let node = world.cluster.handle(leader).identity().node;
    let ready = |state: &State| state.bundle_reports.get(&first.digest())?.ready.contains(&node).then_some(());
    for number in [one, two] {
        world.reached(number, Step::Compiled).await;
        wait(world.cluster.handle(number), "the leader has it ready", ready).await;
    }
    world.crash(leader).await;
    world.release(one, Step::Compiled);
    world.release(two, Step::Compiled);
    world.active(&first).await;
    world.revive(leader).await;
    world.active(&first).await;
    assert_eq!(world.answering().await, 1);

    // It is killed as soon as it sees the activation.
    let second = world.bundle(2);
    let (leader, _, _) = world.followers().await;
    world.deploy(leader, &second).await;
    let activated = |state: &State| (state.bundle == second.digest()).then_some(());
    wait(world.cluster.handle(leader), "the activation", activated).await;
    world.crash(leader).await;
    world.active(&second).await;
    assert_eq!(world.answering().await, 2, "two of three go on");
    world.revive(leader).await;
    world.active(&second).await;

    // It does not come to load what the others have ready: another one leads, activates, and makes tasks.
    let third = world.bundle(3);
    let (leader, one, _) = world.followers().await;
    world.hold(leader, Step::Compiled);
    world.deploy(one, &third).await;
    world.reached(leader, Step::Compiled).await;
    world.active(&third).await;
    assert_eq!(world.answering().await, 3);
    world.crash(leader).await;
    world.revive(leader).await;
    assert_eq!(world.answering().await, 3);
    world.end(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_as_a_version_drains_or_comes_back_goes_on_with_both() {
    let mut world = World::start(majority).await;
    let (leader, one, two) = world.followers().await;
    for number in [one, two] {
        world.cluster.operators[number].sight.hide_blocks();
    }
    let open = world.ask().await;
    let next = world.bundle(1);
    world.deploy(leader, &next).await;
    world.active(&next).await;
    let first = version(0, 0).digest();
    for number in world.cluster.live() {
        assert!(world.cluster.handle(number).status().bundles.loaded.contains(&first), "the open task runs it");
    }
    world.crash(one).await;
    world.revive(one).await;
    for number in [one, two] {
        world.cluster.operators[number].sight.show_all();
    }
    assert_eq!(world.ended(open).await, 0, "by the version that it was made for");
    assert_eq!(world.answering().await, 1);

    // Gone while the others go back; killed again as it loads what they went back to.
    world.crash(one).await;
    roll_back(&world.cluster.service, world.cluster.handle(leader), first).await;
    active(&world.cluster, first).await;
    world.hold(one, Step::Kept);
    world.revive(one).await;
    world.reached(one, Step::Kept).await;
    world.crash(one).await;
    world.revive(one).await;
    active(&world.cluster, first).await;
    assert_eq!(world.answering().await, 0);
    world.end(0).await;
}
