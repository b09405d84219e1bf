//! Operators' nodes in this process, for the commands that show a cluster at work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_chain::Chain;
use eigenshift_engine::AvsHandle;
use eigenshift_env::Env;
use eigenshift_ledger::{Settings, State, Task};
use eigenshift_node::local::loopback;
use eigenshift_node::{Approval, AvsOptions, Entrance, Logic, Node, OperatorKeys};
use eigenshift_plugin::{Bundle, Grants, Host, TenantOptions};
use eigenshift_types::{Certificate, NodeId, Service};
use tempfile::TempDir;

use crate::CliError;

/// One step may take so long before it is called lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks of the embedded chain.
pub(crate) const BLOCK: Duration = Duration::from_millis(100);

pub(crate) fn chain_error(error: eigenshift_chain::Error) -> CliError {
    CliError::Chain(error.to_string())
}

/// What every operator runs.
pub(crate) struct Plan {
    pub service: Service,
    pub settings: Settings,
    pub bundle: Bundle,
    pub grants: Grants,
    pub provided: TenantOptions,
    /// The plugin host of all of them; none for one each.
    pub plugins: Option<Host>,
}

/// The nodes of one AVS, each with a data directory that goes with them.
pub(crate) struct Cluster {
    pub env: Env,
    pub chain: Arc<dyn Chain>,
    /// By operator; none once it was stopped.
    nodes: Vec<Option<(Node, AvsHandle)>>,
    /// Node ids by operator.
    ids: Vec<NodeId>,
    directory: TempDir,
}

impl Cluster {
    /// No operators yet.
    pub fn new(env: Env, chain: Arc<dyn Chain>, prefix: &str) -> Result<Self, CliError> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir();
        let directory =
            directory.map_err(|error| CliError::File { path: std::env::temp_dir(), why: error.to_string() })?;
        Ok(Self { env, chain, nodes: Vec::new(), ids: Vec::new(), directory })
    }

    /// Starts the next operator: the first one founds the cluster, the others join it. Its node's id.
    pub async fn start(&mut self, keys: OperatorKeys, plan: &Plan) -> Result<NodeId, CliError> {
        let number = self.nodes.len();
        let directory = self.directory.path().join(format!("operator-{}", number + 1));
        let mut options = loopback(&directory);
        options.plugins.clone_from(&plan.plugins);
        let node = Node::start(self.env.clone(), options).await?;
        let entrance = if number == 0 {
            let start_block = self.chain.head().await.map_err(chain_error)?.block.number;
            Entrance::Found { settings: Box::new(plan.settings.clone()), start_block }
        } else {
            Entrance::Join { urls: vec![self.url(0)], registry: plan.settings.registry }
        };
        let options = AvsOptions {
            service: plan.service.clone(),
            entrance,
            bls: keys.bls,
            share_bls_key: false,
            wallet: keys.wallet,
            chain: Arc::clone(&self.chain),
            logic: Logic::Plugin(plan.bundle.clone(), plan.grants.clone()),
            approval: Approval::default(),
            timers: Vec::new(),
            provided: plan.provided.clone(),
        };
        let handle = node.add(options).await?;
        let id = handle.identity().node;
        self.ids.push(id);
        self.nodes.push(Some((node, handle)));
        Ok(id)
    }

    /// Public address of an operator's node; empty once it was stopped.
    pub fn url(&self, number: usize) -> String {
        let node = self.nodes.get(number).and_then(|node| node.as_ref());
        node.map(|(node, _)| node.http_url().to_owned()).unwrap_or_default()
    }

    /// Operators whose nodes run, by number from 0.
    pub fn live(&self) -> impl Iterator<Item = (usize, &AvsHandle)> {
        self.nodes.iter().enumerate().filter_map(|(number, node)| Some((number, &node.as_ref()?.1)))
    }

    /// How many operators were started.
    pub const fn operators(&self) -> usize {
        self.ids.len()
    }

    /// The operator of a node, counted from 1; 0 for a node that is none of theirs.
    pub fn operator(&self, node: NodeId) -> usize {
        self.ids.iter().position(|id| *id == node).map_or(0, |at| at + 1)
    }

    /// A running node to look through: not the leader, if there is another.
    pub fn observer(&self) -> Result<&AvsHandle, CliError> {
        let follower = self.live().find(|(_, handle)| !handle.leads());
        follower
            .or_else(|| self.live().next())
            .map(|(_, handle)| handle)
            .ok_or_else(|| CliError::Demo("no operator is running".to_owned()))
    }

    /// Waits for the ledger, as one node has it, to satisfy something.
    pub async fn wait<T>(&self, what: &str, check: impl Fn(&State) -> Option<T>) -> Result<T, CliError> {
        self.wait_at(self.observer()?, what, check).await
    }

    /// The same at this node.
    pub async fn wait_at<T>(
        &self,
        handle: &AvsHandle,
        what: &str,
        check: impl Fn(&State) -> Option<T>,
    ) -> Result<T, CliError> {
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

    pub async fn wait_voters(&self, wanted: usize) -> Result<(), CliError> {
        self.wait("every operator votes", |state| (state.voters.len() >= wanted).then_some(())).await
    }

    /// Stops an operator's node as a crash would.
    pub fn kill(&mut self, number: usize) {
        if let Some((node, _)) = self.nodes.get_mut(number).and_then(Option::take) {
            node.kill();
        }
    }

    /// Stops everything; where the data is, if it is kept.
    pub async fn end(mut self, keep: bool) -> Option<PathBuf> {
        for node in &mut self.nodes {
            if let Some((node, handle)) = node.take() {
                drop(handle);
                node.shutdown().await;
            }
        }
        keep.then(|| self.directory.keep())
    }
}

/// Who signed a task.
pub(crate) struct Signed {
    /// Fewest signers of a response key.
    pub signers: usize,
    /// Least stake behind a response key, percent of quorum 0.
    pub stake_percent: u64,
}

impl Signed {
    pub fn of(state: &State, task: &Task) -> Self {
        let set = state.sets.get(&task.spec.set_digest);
        let stake = |certificate: &Certificate| -> u128 {
            let operators = set.map(|set| set.operators.as_slice()).unwrap_or_default();
            let signers = operators.iter().enumerate().filter(|(position, _)| certificate.signers.contains(*position));
            signers.filter_map(|(_, operator)| operator.stakes.first()).map(|stake| stake.get()).sum()
        };
        let total = set.and_then(|set| set.quorums.first()).map_or(1, |quorum| quorum.total_stake.get()).max(1);
        let percent = |certificate| u64::try_from(stake(certificate) * 100 / total).unwrap_or(0);
        Self {
            signers: task.certificates.values().map(|certificate| certificate.signers.count()).min().unwrap_or(0),
            stake_percent: task.certificates.values().map(percent).min().unwrap_or(0),
        }
    }
}
