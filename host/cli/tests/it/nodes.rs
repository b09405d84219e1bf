//! The price oracle's example on a real anvil, as the example's README sets it up: four processes from its four
//! configuration files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use eigenshift_chain::ethereum::anvil::{AnvilNode, AnvilOptions, Mining};
use eigenshift_chain::{Chain, EthereumChain, EthereumOptions, LogFilter};
use eigenshift_engine::http::{HttpClient, PostError};
use eigenshift_engine::status::{AvsStatus, TaskStatus};
use eigenshift_env::Env;

use crate::process::{Finished, Running, anvil_program, components, eigenshift, finish, free_port, root};

/// The example has four operators.
pub const OPERATORS: usize = 4;

/// What a step of a test may take before it counts as lost; a task needs some seconds at a block per second.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at another process.
const TICK: Duration = Duration::from_millis(50);

/// The event of the contract that is emitted once per answer.
const TASK_ANSWERED: &str = "TaskAnswered(uint32,bytes32,int256,uint32)";

/// The chain, and the operators' files.
pub struct Place {
    pub env: Env,
    folder: tempfile::TempDir,
    chain: EthereumChain,
    anvil: AnvilNode,
    http: HttpClient,
    service_manager: Address,
    ports: Vec<u16>,
}

/// An operator's process.
pub struct Operator {
    pub number: usize,
    process: Running,
}

impl Place {
    /// A chain with the example's contracts, a block per second from then on, and a configuration file per operator.
    pub async fn new() -> Self {
        let env = Env::real();
        let anvil = AnvilNode::start(
            &AnvilOptions { mining: Mining::PerTransaction, ..AnvilOptions::new(anvil_program()) },
            &env,
        )
        .await
        .expect("ANVIL names a program that does not start");
        let options = EthereumOptions { poll_interval: Duration::from_millis(100), ..EthereumOptions::default() };
        let chain = anvil.connect(options, &env).await.unwrap();
        // At a block per transaction this takes a second instead of half a minute.
        let develop = ["develop", "--rpc", anvil.url(), "--keys", "examples/price-oracle/keys"];
        let said = finish(&mut eigenshift(&root(), develop), PATIENCE).good();
        assert!(said.contains("EUR/USD@ecb"), "{said}");
        chain.raw_request("evm_setIntervalMining", serde_json::json!([1])).await.unwrap();
        let mut place = Self {
            http: HttpClient::new(&env),
            env,
            folder: tempfile::tempdir().unwrap(),
            chain,
            anvil,
            service_manager: Address::ZERO,
            ports: (0..3 * OPERATORS).map(|_| free_port()).collect(),
        };
        for number in 1..=OPERATORS {
            place.configure(number);
        }
        place
    }

    fn port(&self, listener: usize, number: usize) -> u16 {
        self.ports[listener * OPERATORS + number - 1]
    }

    /// The example's file with what differs on this machine put in.
    fn configure(&mut self, number: usize) {
        let example = root().join("examples/price-oracle");
        let text = std::fs::read_to_string(example.join(format!("operator-{number}.toml"))).unwrap();
        let mut config: toml::Table = text.parse().unwrap();
        let text = |path: PathBuf| toml::Value::from(path.to_str().unwrap());
        let loopback = |port: u16| toml::Value::from(format!("127.0.0.1:{port}"));
        let node = config["node"].as_table_mut().unwrap();
        node["data-dir"] = text(self.data(number));
        for (listener, key) in ["raft", "http", "admin"].into_iter().enumerate() {
            node[key] = loopback(self.port(listener, number));
        }
        let avs = config["avs"][0].as_table_mut().unwrap();
        avs["rpc"] = self.anvil.url().into();
        avs["component"] = text(components().join("price-oracle.wasm"));
        avs["manifest"] = text(components().join("price-oracle.avs.toml"));
        for key in ["operator-key", "bls-key"] {
            avs[key] = text(example.join(avs[key].as_str().unwrap()));
        }
        if let Some(join) = avs.get_mut("join") {
            *join = vec![self.url(1)].into();
        }
        self.service_manager = avs["service-manager"].as_str().unwrap().parse().unwrap();
        std::fs::write(self.config(number), config.to_string()).unwrap();
    }

    pub fn data(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("data-{number}"))
    }

    pub fn config(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("operator-{number}.toml"))
    }

    fn url(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.port(1, number))
    }

    fn log(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("operator-{number}.log"))
    }

    /// Runs a command with an operator's configuration file, to its end.
    pub fn command(&self, number: usize, words: &[&str]) -> Finished {
        let config = self.config(number);
        let mut command = eigenshift(self.folder.path(), words);
        finish(command.arg("--config").arg(config), Duration::from_secs(90))
    }

    /// `eigenshift run`, in the background.
    pub fn start(&self, number: usize) -> Operator {
        let mut run = eigenshift(self.folder.path(), ["run", "--config"]);
        let process = Running::start(run.arg(self.config(number)), &self.log(number));
        Operator { number, process }
    }

    /// Asks a node for a task until it is accepted, as a careful client does: with one key, so that an answer lost with
    /// a leader makes no second task.
    pub async fn send(&self, number: usize, feed: &str, key: &str) {
        self.until(&format!("{key} is accepted"), async || {
            let sent = self.command(number, &["task", "send", feed, "--key", key]);
            match (sent.code, sent.out.as_str()) {
                (Some(0), "this key has made its task before\n") => Some(()),
                (Some(0), said) if said.starts_with("planned: transaction 0x") => Some(()),
                (Some(1), "") => None,
                _ => panic!("{sent:#?}"),
            }
        })
        .await;
    }

    async fn get<T: for<'de> serde::Deserialize<'de>>(&self, number: usize, what: &str) -> Result<T, PostError> {
        self.http.get(&self.url(number), &format!("/v1/avs/price-oracle/{what}"), Duration::from_secs(5)).await
    }

    /// What a node says of the AVS; none while it does not answer.
    pub async fn status(&self, number: usize) -> Option<AvsStatus> {
        self.get(number, "status").await.ok()
    }

    /// All tasks a node knows; none while it does not answer.
    pub async fn tasks(&self, number: usize) -> Option<Vec<TaskStatus>> {
        self.get(number, "tasks?limit=100").await.ok()
    }

    /// Waits until `look` finds something; the operators' logs and states are in the failure.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = self.env.clock.monotonic() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            if self.env.clock.monotonic() >= deadline {
                panic!("{what}: not within {PATIENCE:?}\n{}", self.report().await);
            }
            self.env.clock.sleep(TICK).await;
        }
    }

    /// For people: what every node sees, and the end of its log.
    pub async fn report(&self) -> String {
        let mut report = String::new();
        for number in 1..=OPERATORS {
            let log = std::fs::read_to_string(self.log(number)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(20)..].join("\n");
            let (status, tasks) = (self.status(number).await, self.tasks(number).await);
            report += &format!("== operator {number}\n{status:?}\n{tasks:?}\n{end}\n");
        }
        report
    }

    /// How often the contract announced an answer to each task since the first block.
    pub async fn answers_on_chain(&self) -> BTreeMap<u32, usize> {
        let to = self.chain.head().await.unwrap().block.number;
        let topic = alloy_primitives::keccak256(TASK_ANSWERED);
        let filter = LogFilter { address: self.service_manager, topics0: vec![topic], from: 0, to };
        let mut times = BTreeMap::new();
        for log in self.chain.logs(&filter).await.unwrap() {
            *times.entry(U256::from_be_bytes(log.topics[1].0).to()).or_default() += 1;
        }
        times
    }
}

impl Operator {
    /// As `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.terminate();
        let status = self.process.wait(Duration::from_secs(20));
        status.unwrap_or_else(|| panic!("operator {} still runs 20 s after SIGTERM", self.number)).code()
    }
}
