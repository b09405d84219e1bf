//! The demo's stage: a chain with the contracts on it, and the operators' nodes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use eigenshift_chain::ethereum::anvil::{self, AnvilNode, AnvilOptions, Mining};
use eigenshift_chain::{Chain, EmbeddedChain, EmbeddedOptions, EthereumOptions, Wallet};
use eigenshift_engine::AvsHandle;
use eigenshift_env::Env;
use eigenshift_ledger::{Phase, Settings, Task};
use eigenshift_node::local::loopback;
use eigenshift_node::{Approval, AvsOptions, Curve, Entrance, Logic, Node, OperatorKeys};
use eigenshift_plugin::{Bundle, Grants, TenantOptions};
use eigenshift_types::{Bytes, Outcome, Service, TaskIndex};

use crate::CliError;
use crate::demo::contracts::{self, Deployment};
use crate::demo::prices::{Prices, Row};
use crate::demo::view::View;
use crate::demo::{ChainKind, DemoArgs};

/// One step of a task may take so long before the demo calls it lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks of the embedded chain.
const BLOCK: Duration = Duration::from_millis(100);

const AVS: &str = "price-oracle";

pub(super) struct Stage {
    env: Env,
    chain: Arc<dyn Chain>,
    owner: Wallet,
    deployment: Deployment,
    start_block: u64,
    /// By operator; none once it was stopped.
    nodes: Vec<Option<(Node, AvsHandle)>>,
    /// Node ids by operator.
    ids: Vec<eigenshift_types::NodeId>,
    directory: Option<tempfile::TempDir>,
    /// Tasks seen so far: the next one is new.
    seen: std::collections::BTreeSet<TaskIndex>,
    /// Keeps anvil alive.
    _anvil: Option<AnvilNode>,
}

/// How a task ended.
pub(super) struct Ended {
    pub leader: usize,
    pub sources: Vec<String>,
    pub signers: usize,
    pub stake_percent: u64,
}

fn chain_error(error: eigenshift_chain::Error) -> CliError {
    CliError::Chain(error.to_string())
}

fn bundle(args: &DemoArgs) -> Result<Bundle, CliError> {
    let folder = args.components.clone().or_else(|| std::env::var_os("EIGENSHIFT_COMPONENTS").map(PathBuf::from));
    let folder = folder.unwrap_or_else(|| PathBuf::from("plugins/target/components"));
    let read = |name: &str| {
        let path = folder.join(name);
        let missing = |error: std::io::Error| CliError::File {
            path: path.clone(),
            why: format!(
                "{error}; build the plugins with `cargo xtask setup`, or say with --components where they are"
            ),
        };
        std::fs::read(&path).map_err(missing)
    };
    let manifest = String::from_utf8(read("price-oracle.avs.toml")?)
        .map_err(|error| CliError::File { path: folder.join("price-oracle.avs.toml"), why: error.to_string() })?;
    Ok(Bundle::new(read("price-oracle.wasm")?, manifest))
}

async fn start_chain(
    kind: ChainKind,
    env: &Env,
    accounts: &[eigenshift_types::Address],
) -> Result<(Arc<dyn Chain>, Option<AnvilNode>), CliError> {
    match kind {
        ChainKind::Embedded => {
            let options = EmbeddedOptions {
                block_interval: BLOCK,
                funded: accounts.to_vec(),
                start_time: env.clock.unix_ms() / 1000,
                ..EmbeddedOptions::default()
            };
            Ok((Arc::new(EmbeddedChain::start(options, env).map_err(chain_error)?), None))
        }
        ChainKind::Anvil => {
            let program = std::env::var_os("ANVIL").map_or_else(|| PathBuf::from("anvil"), PathBuf::from);
            let options =
                AnvilOptions { mining: Mining::Interval(Duration::from_secs(1)), ..AnvilOptions::new(program) };
            let node = AnvilNode::start(&options, env).await.map_err(chain_error)?;
            let options = EthereumOptions { poll_interval: Duration::from_millis(100), ..EthereumOptions::default() };
            let chain = node.connect(options, env).await.map_err(chain_error)?;
            anvil::fund(&chain, accounts, U256::from(10).pow(U256::from(20))).await.map_err(chain_error)?;
            Ok((Arc::new(chain), Some(node)))
        }
    }
}

fn settings(deployment: &Deployment) -> Settings {
    let mut settings = Settings::new(deployment.registry);
    settings.quorums.thresholds = vec![contracts::THRESHOLD];
    settings.confirmations = Some(1);
    settings.reassign_grace = 10;
    settings
}

impl Stage {
    pub async fn set(args: &DemoArgs, prices: &Prices, view: &mut View) -> Result<Self, CliError> {
        let bundle = bundle(args)?;
        let env = Env::real();
        let owner = Wallet::random(&env).map_err(chain_error)?;
        let operators = (0..args.operators)
            .map(|_| OperatorKeys::random(&env, Curve::Bn254))
            .collect::<Result<Vec<_>, _>>()
            .map_err(chain_error)?;
        let mut accounts: Vec<_> = operators.iter().map(|operator| operator.wallet.address()).collect();
        accounts.push(owner.address());
        let (chain, anvil) = start_chain(args.chain, &env, &accounts).await?;
        let deployment =
            contracts::deploy(chain.as_ref(), &env, &owner, &operators, prices).await.map_err(chain_error)?;
        view.note(&format!("contracts deployed: registry {}, oracle {}", deployment.registry, deployment.oracle));
        let chain_start = chain.head().await.map_err(chain_error)?.block.number;
        let directory = tempfile::Builder::new().prefix("eigenshift-demo-").tempdir();
        let directory =
            directory.map_err(|error| CliError::File { path: std::env::temp_dir(), why: error.to_string() })?;
        let mut stage = Self {
            env,
            chain,
            owner,
            start_block: chain_start,
            deployment,
            nodes: Vec::new(),
            ids: Vec::new(),
            directory: None,
            seen: Default::default(),
            _anvil: anvil,
        };
        for (number, operator) in operators.into_iter().enumerate() {
            stage.start_operator(number, operator, directory.path(), bundle.clone()).await?;
            view.note(&format!(
                "operator {} is node {} at {}",
                number + 1,
                stage.ids.last().copied().unwrap_or_default(),
                stage.url(number)
            ));
        }
        stage.directory = Some(directory);
        stage.wait_voters(args.operators as usize).await?;
        view.columns();
        Ok(stage)
    }

    fn url(&self, number: usize) -> String {
        self.nodes
            .get(number)
            .and_then(|node| node.as_ref())
            .map(|(node, _)| node.http_url().to_owned())
            .unwrap_or_default()
    }

    async fn start_operator(
        &mut self,
        number: usize,
        keys: OperatorKeys,
        directory: &Path,
        bundle: Bundle,
    ) -> Result<(), CliError> {
        let mut node =
            Node::start(self.env.clone(), loopback(&directory.join(format!("operator-{}", number + 1)))).await?;
        let start_block = self.chain.head().await.map_err(chain_error)?.block.number;
        let entrance = if number == 0 {
            Entrance::Found { settings: Box::new(settings(&self.deployment)), start_block }
        } else {
            Entrance::Join { urls: vec![self.url(0)], registry: self.deployment.registry }
        };
        let avs = AVS.parse().map_err(|error: eigenshift_types::ids::InvalidId| CliError::Usage(error.to_string()))?;
        let options = AvsOptions {
            service: Service { avs, chain_id: self.chain.chain_id(), service_manager: self.deployment.oracle },
            entrance,
            bls: keys.bls,
            wallet: keys.wallet,
            chain: Arc::clone(&self.chain),
            logic: Logic::Plugin(bundle, Grants::all()),
            approval: Approval::default(),
            timers: Vec::new(),
            provided: TenantOptions::default(),
        };
        let handle = node.add(options).await?;
        self.ids.push(handle.identity().node);
        self.nodes.push(Some((node, handle)));
        Ok(())
    }

    fn live(&self) -> impl Iterator<Item = (usize, &AvsHandle)> {
        self.nodes.iter().enumerate().filter_map(|(number, node)| Some((number, &node.as_ref()?.1)))
    }

    /// A running node, through which the demo looks: not the leader, if there is another.
    fn observer(&self) -> Result<&AvsHandle, CliError> {
        let follower = self.live().find(|(_, handle)| !handle.leads());
        follower
            .or_else(|| self.live().next())
            .map(|(_, handle)| handle)
            .ok_or_else(|| CliError::Demo("no operator is running".to_owned()))
    }

    /// Waits for the ledger, as one node has it, to satisfy something.
    async fn wait<T>(&self, what: &str, check: impl Fn(&eigenshift_ledger::State) -> Option<T>) -> Result<T, CliError> {
        let handle = self.observer()?.clone();
        let mut changes = handle.changes();
        let deadline = self.env.clock.sleep(PATIENCE);
        tokio::pin!(deadline);
        loop {
            changes.borrow_and_update();
            if let Some(found) = handle.read(&check) {
                return Ok(found);
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Err(CliError::Demo(format!("{what}: the node stopped"))) },
                () = &mut deadline => return Err(CliError::Demo(format!("{what}: not within {PATIENCE:?}"))),
            }
        }
    }

    async fn wait_voters(&self, wanted: usize) -> Result<(), CliError> {
        self.wait("every operator votes", |state| (state.voters.len() >= wanted).then_some(())).await
    }

    pub fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    pub async fn wait_until(&self, moment: Duration) {
        self.env.clock.sleep(moment.saturating_sub(self.now())).await;
    }

    pub const fn operators(&self) -> usize {
        self.ids.len()
    }

    pub async fn write_row(&self, row: &Row) -> Result<(), CliError> {
        contracts::write_row(self.chain.as_ref(), &self.env, &self.owner, &self.deployment, row)
            .await
            .map_err(chain_error)
    }

    pub async fn request(&self, number: u32, payload: Bytes) -> Result<(), CliError> {
        let handle = self.observer()?;
        handle
            .request_task(format!("demo-{number}"), payload)
            .await
            .map(drop)
            .map_err(|error| CliError::Demo(error.to_string()))
    }

    /// The next task that the ledger did not have before, and when it was seen.
    pub async fn wait_created(&mut self, number: u32) -> Result<(TaskIndex, Duration), CliError> {
        let seen = self.seen.clone();
        let fresh = |state: &eigenshift_ledger::State| state.tasks.keys().find(|index| !seen.contains(index)).copied();
        let index = self.wait(&format!("request {number} becomes a task"), fresh).await?;
        self.seen.insert(index);
        Ok((index, self.now()))
    }

    pub async fn wait_certified(&self, index: TaskIndex) -> Result<Duration, CliError> {
        self.wait(&format!("task {index} is certified"), |state| {
            let task = state.tasks.get(&index)?;
            let enough = task.certificates.len() >= task.spec.keys_expected as usize;
            (enough || !task.is_live()).then_some(())
        })
        .await?;
        Ok(self.now())
    }

    pub async fn wait_finalized(&self, index: TaskIndex) -> Result<Ended, CliError> {
        let (task, ended) = self
            .wait(&format!("task {index} ends"), |state| {
                let task = state.tasks.get(&index)?;
                let Phase::Closed(_) = &task.phase else { return None };
                Some((task.clone(), self.describe(state, task)))
            })
            .await?;
        match &task.phase {
            Phase::Closed(Outcome::Finalized { .. }) => Ok(ended),
            other => Err(CliError::Demo(format!("ended otherwise: {other:?}"))),
        }
    }

    fn describe(&self, state: &eigenshift_ledger::State, task: &Task) -> Ended {
        let number = |node| self.ids.iter().position(|id| *id == node).map_or(0, |at| at + 1);
        let set = state.sets.get(&task.spec.set_digest);
        let signed = |certificate: &eigenshift_types::Certificate| -> u128 {
            let operators = set.map(|set| set.operators.as_slice()).unwrap_or_default();
            let signers = operators.iter().enumerate().filter(|(position, _)| certificate.signers.contains(*position));
            signers.filter_map(|(_, operator)| operator.stakes.first()).map(|stake| stake.get()).sum()
        };
        let total = set.and_then(|set| set.quorums.first()).map_or(1, |quorum| quorum.total_stake.get()).max(1);
        let percent = |certificate| u64::try_from(signed(certificate) * 100 / total).unwrap_or(0);
        Ended {
            leader: number(task.aggregator),
            sources: task.certificates.keys().map(ToString::to_string).collect(),
            signers: task.certificates.values().map(|certificate| certificate.signers.count()).min().unwrap_or(0),
            stake_percent: task.certificates.values().map(percent).min().unwrap_or(0),
        }
    }

    pub async fn answer(&self, index: TaskIndex) -> Result<i128, CliError> {
        let answer =
            contracts::answer(self.chain.as_ref(), self.deployment.oracle, index).await.map_err(chain_error)?;
        answer.ok_or_else(|| CliError::Demo(format!("the contract has no answer to task {index}")))
    }

    /// Stops the leader as a crash would, and waits until another operator leads. Both by number.
    pub async fn kill_leader(&mut self) -> Result<(usize, usize), CliError> {
        let leader = self.wait_leader().await?;
        if let Some((node, _)) = self.nodes.get_mut(leader).and_then(Option::take) {
            node.kill();
        }
        let next = self.wait_leader().await?;
        Ok((leader + 1, next + 1))
    }

    /// A live operator that leads, confirmed.
    async fn wait_leader(&self) -> Result<usize, CliError> {
        let deadline = self.now() + PATIENCE;
        loop {
            if let Some((number, _)) = self.live().find(|(_, handle)| handle.leads()) {
                return Ok(number);
            }
            if self.now() >= deadline {
                return Err(CliError::Demo(format!("nobody leads after {PATIENCE:?}")));
            }
            // Leadership of several nodes at once: nothing single to wait for.
            self.env.clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tasks whose answer the contract announced more often than once.
    pub async fn answered_twice(&self) -> Result<Vec<TaskIndex>, CliError> {
        let counts = contracts::answers_announced(self.chain.as_ref(), self.deployment.oracle, self.start_block).await;
        Ok(counts.map_err(chain_error)?.into_iter().filter(|(_, times)| *times > 1).map(|(index, _)| index).collect())
    }

    /// Stops everything; where the data is, if it is kept.
    pub async fn end(mut self, keep: bool) -> Option<PathBuf> {
        for node in &mut self.nodes {
            if let Some((node, handle)) = node.take() {
                drop(handle);
                node.shutdown().await;
            }
        }
        let directory = self.directory.take()?;
        keep.then(|| directory.keep())
    }
}
