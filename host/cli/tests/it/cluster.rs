//! Four processes on a real chain, of which some are killed in the middle of a task.

use std::collections::BTreeMap;

use eigenshift_engine::status::TaskStatus;
use eigenshift_types::{NodeId, Outcome};

use crate::nodes::{OPERATORS, Operator, Place};
use crate::process::alone;

const FEEDS: [&str; 3] = ["EUR/USD", "EUR/GBP", "EUR/JPY"];

/// A running cluster and the tasks it was asked for.
struct Cluster {
    place: Place,
    operators: BTreeMap<usize, Operator>,
    /// The operator of each node id.
    numbers: BTreeMap<NodeId, usize>,
    asked: usize,
}

impl Cluster {
    async fn start() -> Self {
        let place = Place::new().await;
        // The founder last: the others keep trying to join.
        let operators = (1..=OPERATORS).rev().map(|number| (number, place.start(number))).collect();
        let mut numbers = BTreeMap::new();
        for number in 1..=OPERATORS {
            let look = async || {
                let status = place.status(number).await?;
                let voters = status.members.iter().filter(|member| member.voter).count();
                (voters == OPERATORS).then_some(status.node)
            };
            numbers.insert(place.until(&format!("operator {number} sees four voters"), look).await, number);
        }
        assert_eq!(numbers.len(), OPERATORS, "two operators with the same node id");
        Self { place, operators, numbers, asked: 0 }
    }

    fn somebody(&self) -> usize {
        *self.operators.keys().next().unwrap()
    }

    /// Asks for a task through one operator after the other.
    async fn ask(&mut self) {
        let running: Vec<usize> = self.operators.keys().copied().collect();
        let through = running[self.asked % running.len()];
        self.place.send(through, FEEDS[self.asked % FEEDS.len()], &format!("request-{}", self.asked)).await;
        self.asked += 1;
    }

    /// Waits until an operator knows as many tasks as were asked for, all of them ended.
    async fn all_ended(&self, number: usize) -> Vec<TaskStatus> {
        let look = async || {
            let tasks = self.place.tasks(number).await?;
            let ended = tasks.iter().filter(|task| task.outcome.is_some()).count();
            (ended == tasks.len() && ended >= self.asked).then_some(tasks)
        };
        self.place.until(&format!("operator {number} sees the end of {} tasks", self.asked), look).await
    }

    /// Waits for a live task in one of these phases and kills the process that leads it.
    async fn kill_leader_of_task(&mut self, phases: &[&str]) -> usize {
        let observer = self.somebody();
        let look = async || {
            let tasks = self.place.tasks(observer).await?;
            tasks.into_iter().find(|task| phases.contains(&task.phase.as_str()))
        };
        let task = self.place.until(&format!("a task is {phases:?}"), look).await;
        let leader = self.numbers[&task.aggregator];
        self.operators.remove(&leader).unwrap().kill();
        eprintln!("task {} was {}: operator {leader}, its leader, is killed", task.index, task.phase);
        leader
    }

    /// Kills the process that leads, whatever it is doing.
    async fn kill_leader(&mut self) -> usize {
        let observer = self.somebody();
        let leader = self.place.until("somebody leads", async || self.place.status(observer).await?.leader).await;
        let leader = self.numbers[&leader];
        self.operators.remove(&leader).unwrap().kill();
        leader
    }

    /// Starts a killed operator again, with the same configuration and data, and waits until it has what the others had.
    async fn restart(&mut self, number: usize) {
        let before = self.place.status(self.somebody()).await.unwrap();
        self.operators.insert(number, self.place.start(number));
        let look = async || self.place.status(number).await.filter(|status| status.applied >= before.applied);
        let status = self.place.until(&format!("operator {number} is back"), look).await;
        assert_eq!(self.numbers[&status.node], number, "it came back as another node: {status:?}");
        assert_eq!(status.halted, None);
        let members = |members: &[eigenshift_engine::status::MemberStatus]| -> Vec<(NodeId, bool)> {
            members.iter().map(|member| (member.node, member.voter)).collect()
        };
        assert_eq!(members(&status.members), members(&before.members), "its return changed the membership");
    }

    /// Every accepted request is one task, finalized once, in every running operator's ledger and on chain.
    async fn check(&self) {
        let tasks = self.all_ended(self.somebody()).await;
        for task in &tasks {
            assert!(matches!(task.outcome, Some(Outcome::Finalized { .. })), "{task:?}");
            assert_eq!((task.phase.as_str(), task.disputed), ("finalized", false), "{task:?}");
        }
        let outcomes = |tasks: &[TaskStatus]| -> BTreeMap<u32, Option<Outcome>> {
            tasks.iter().map(|task| (task.index, task.outcome.clone())).collect()
        };
        for number in self.operators.keys().copied() {
            assert_eq!(outcomes(&self.all_ended(number).await), outcomes(&tasks), "operator {number}");
        }
        let once: BTreeMap<u32, usize> = tasks.iter().map(|task| (task.index, 1)).collect();
        assert_eq!(tasks.len(), self.asked, "one task per accepted request");
        assert_eq!(self.place.answers_on_chain().await, once, "one answer on chain per task");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_lose_no_task_and_finalize_none_twice_when_leaders_are_killed() {
    let _alone = alone();
    let began = std::time::Instant::now();
    let step = |what: &str| eprintln!("{:>5.1} s: {what}", began.elapsed().as_secs_f64());
    let mut cluster = Cluster::start().await;
    step("four voters");
    for _ in 0..2 {
        cluster.ask().await;
    }
    let survivor = cluster.somebody();
    cluster.all_ended(survivor).await;
    step("two tasks");

    cluster.ask().await;
    let killed = cluster.kill_leader_of_task(&["open", "submitting"]).await;
    cluster.ask().await;
    let survivor = cluster.somebody();
    cluster.all_ended(survivor).await;
    step("two more without the killed operator");
    cluster.restart(killed).await;
    step("it is back");

    cluster.ask().await;
    let killed = cluster.kill_leader_of_task(&["submitting"]).await;
    cluster.ask().await;
    let survivor = cluster.somebody();
    cluster.all_ended(survivor).await;
    step("two more without the one killed while it submitted");
    cluster.restart(killed).await;
    step("it is back");

    cluster.check().await;
    for operator in cluster.operators.values_mut() {
        assert_eq!(operator.stop(), Some(0), "operator {} at SIGTERM", operator.number);
    }
    step("all have ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_announced_by_a_leader_that_dies_still_becomes_one_task() {
    let _alone = alone();
    let mut cluster = Cluster::start().await;
    cluster.ask().await;
    // The transaction that creates the task on chain is in the log; its block comes only within a second.
    let killed = cluster.kill_leader().await;
    let survivor = cluster.somebody();
    cluster.all_ended(survivor).await;
    cluster.check().await;
    cluster.restart(killed).await;
    cluster.ask().await;
    cluster.all_ended(killed).await;
    cluster.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_process_at_a_time() {
    let _alone = alone();
    let place = Place::new().await;
    let mut founder = place.start(1);
    place.until("the founder runs", async || place.status(1).await).await;
    let said = place.command(1, &["run"]).refused();
    assert!(said.contains("is in use by another process"), "{said}");

    // The one that was first goes on, and answers questions.
    let shown = place.command(1, &["status"]).good();
    assert!(shown.contains("price-oracle on chain 31337") && shown.contains("voter"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&place.command(1, &["status", "--json"]).good()).unwrap();
    assert_eq!(json["status"]["members"].as_array().map(Vec::len), Some(1));
    assert_eq!(founder.stop(), Some(0));

    // Its token is still there, nobody listens: what to do is said.
    for words in [&["status"][..], &["task", "send", "EUR/USD"]] {
        let said = place.command(1, words).refused();
        assert!(said.contains("is the node running"), "{said}");
    }
    // Without its guard, or with a damaged identity, the node would not know what it has signed, or who it is.
    let avs = place.data(1).join("avs/price-oracle");
    for (name, damaged) in [("identity", Some("garbage")), ("guard.redb", Some("garbage")), ("guard.redb", None)] {
        let (file, aside) = (avs.join(name), avs.join("aside"));
        std::fs::rename(&file, &aside).unwrap();
        if let Some(bytes) = damaged {
            std::fs::write(&file, bytes).unwrap();
        }
        let said = place.command(1, &["run"]);
        let what = name.trim_end_matches(".redb");
        let reason = said.err.lines().find(|line| line.starts_with("eigenshift: "));
        assert!(said.code == Some(1) && reason.is_some_and(|line| line.contains(what)), "{said:#?}");
        assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), damaged, "{name} was overwritten");
        std::fs::rename(&aside, &file).unwrap();
    }
    // Nothing in the directory was overwritten: the same node of the same cluster comes back.
    let _again = place.start(1);
    let back =
        place.until("the founder leads again", async || place.status(1).await.filter(|status| status.leads)).await;
    assert_eq!(
        serde_json::to_value((back.node, back.cluster_id)).unwrap(),
        serde_json::json!([json["status"]["node"], json["status"]["cluster_id"]])
    );
}
