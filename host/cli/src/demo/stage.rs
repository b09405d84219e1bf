//! The demo's stage: a chain with the contracts on it, and the operators' nodes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use eigenshift_chain::ethereum::anvil::{self, AnvilNode, AnvilOptions, Mining};
use eigenshift_chain::{Chain, EmbeddedChain, EmbeddedOptions, EthereumOptions, Wallet};
use eigenshift_env::Env;
use eigenshift_ledger::{Phase, Settings, Task};
use eigenshift_node::{Curve, OperatorKeys};
use eigenshift_plugin::{Bundle, Grants, TenantOptions};
use eigenshift_types::{Bytes, Outcome, Service, TaskIndex};

use crate::CliError;
use crate::cluster::{BLOCK, Cluster, PATIENCE, Plan, Signed, chain_error};
use crate::demo::contracts::{self, Deployment};
use crate::demo::prices::{Prices, Row};
use crate::demo::view::View;
use crate::demo::{ChainKind, DemoArgs};

const AVS: &str = "price-oracle";

pub(super) struct Stage {
    cluster: Cluster,
    owner: Wallet,
    deployment: Deployment,
    start_block: u64,
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
        let start_block = chain.head().await.map_err(chain_error)?.block.number;
        let avs = AVS.parse().map_err(|error: eigenshift_types::ids::InvalidId| CliError::Usage(error.to_string()))?;
        let plan = Plan {
            service: Service { avs, chain_id: chain.chain_id(), service_manager: deployment.oracle },
            settings: settings(&deployment),
            bundle,
            grants: Grants::all(),
            provided: TenantOptions::default(),
            plugins: None,
        };
        let cluster = Cluster::new(env, chain, "eigenshift-demo-")?;
        let mut stage = Self { cluster, owner, start_block, deployment, seen: Default::default(), _anvil: anvil };
        for (number, operator) in operators.into_iter().enumerate() {
            let node = stage.cluster.start(operator, &plan).await?;
            view.note(&format!("operator {} is node {node} at {}", number + 1, stage.cluster.url(number)));
        }
        stage.cluster.wait_voters(args.operators as usize).await?;
        view.columns();
        Ok(stage)
    }

    pub fn now(&self) -> Duration {
        self.cluster.env.clock.monotonic()
    }

    pub async fn wait_until(&self, moment: Duration) {
        self.cluster.env.clock.sleep(moment.saturating_sub(self.now())).await;
    }

    pub const fn operators(&self) -> usize {
        self.cluster.operators()
    }

    pub async fn write_row(&self, row: &Row) -> Result<(), CliError> {
        let Cluster { env, chain, .. } = &self.cluster;
        contracts::write_row(chain.as_ref(), env, &self.owner, &self.deployment, row).await.map_err(chain_error)
    }

    pub async fn request(&self, number: u32, payload: Bytes) -> Result<(), CliError> {
        let handle = self.cluster.observer()?;
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
        let index = self.cluster.wait(&format!("request {number} becomes a task"), fresh).await?;
        self.seen.insert(index);
        Ok((index, self.now()))
    }

    pub async fn wait_certified(&self, index: TaskIndex) -> Result<Duration, CliError> {
        self.cluster
            .wait(&format!("task {index} is certified"), |state| {
                let task = state.tasks.get(&index)?;
                let enough = task.certificates.len() >= task.spec.keys_expected as usize;
                (enough || !task.is_live()).then_some(())
            })
            .await?;
        Ok(self.now())
    }

    pub async fn wait_finalized(&self, index: TaskIndex) -> Result<Ended, CliError> {
        let (task, ended) = self
            .cluster
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
        let Signed { signers, stake_percent } = Signed::of(state, task);
        let sources = task.certificates.keys().map(ToString::to_string).collect();
        Ended { leader: self.cluster.operator(task.aggregator), sources, signers, stake_percent }
    }

    pub async fn answer(&self, index: TaskIndex) -> Result<i128, CliError> {
        let answer =
            contracts::answer(self.cluster.chain.as_ref(), self.deployment.oracle, index).await.map_err(chain_error)?;
        answer.ok_or_else(|| CliError::Demo(format!("the contract has no answer to task {index}")))
    }

    /// Stops the leader as a crash would, and waits until another operator leads. Both by number.
    pub async fn kill_leader(&mut self) -> Result<(usize, usize), CliError> {
        let leader = self.wait_leader().await?;
        self.cluster.kill(leader);
        let next = self.wait_leader().await?;
        Ok((leader + 1, next + 1))
    }

    /// A live operator that leads, confirmed.
    async fn wait_leader(&self) -> Result<usize, CliError> {
        let deadline = self.now() + PATIENCE;
        loop {
            if let Some((number, _)) = self.cluster.live().find(|(_, handle)| handle.leads()) {
                return Ok(number);
            }
            if self.now() >= deadline {
                return Err(CliError::Demo(format!("nobody leads after {PATIENCE:?}")));
            }
            // Leadership of several nodes at once: nothing single to wait for.
            self.cluster.env.clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tasks whose answer the contract announced more often than once.
    pub async fn answered_twice(&self) -> Result<Vec<TaskIndex>, CliError> {
        let chain = self.cluster.chain.as_ref();
        let counts = contracts::answers_announced(chain, self.deployment.oracle, self.start_block).await;
        Ok(counts.map_err(chain_error)?.into_iter().filter(|(_, times)| *times > 1).map(|(index, _)| index).collect())
    }

    /// Stops everything; where the data is, if it is kept.
    pub async fn end(self, keep: bool) -> Option<PathBuf> {
        self.cluster.end(keep).await
    }
}
