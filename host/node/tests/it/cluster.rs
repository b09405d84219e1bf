//! A cluster of nodes in this process.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eigenshift_chain::{Chain, EmbeddedChain, EmbeddedOptions, Wallet};
use eigenshift_engine::callbacks::Callbacks;
use eigenshift_engine::{AvsHandle, Patience, Timer, Triggered};
use eigenshift_env::Env;
use eigenshift_ledger::settings::{Policy, RotationSettings};
use eigenshift_ledger::{Phase, Settings, State, Task};
use eigenshift_node::local::{deploy_registry, enrol, loopback, setup};
use eigenshift_node::{
    Approval, AvsOptions, Curve, Entrance, Logic, Node, NodeError, NodeOptions, OperatorKeys, TenantOptions,
};
use eigenshift_plugin::{ChainReadError, ChainReader, Compiler, EventLog, Header};
use eigenshift_types::{Address, B256, BlockRef, Bytes, Outcome, Service, TaskIndex};
use futures::FutureExt;
use futures::future::select_all;
use tempfile::TempDir;

use crate::forgetful::{Forgetful, Sight};
use crate::logic::Probe;

/// Far above what anything here takes, so that a test that hangs says where.
const LIMIT: Duration = Duration::from_secs(50);

/// Between two looks at what cannot be waited for.
const LOOK: Duration = Duration::from_millis(20);

const BLOCK: Duration = Duration::from_millis(100);

pub const AVS: &str = "echo";

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// Waits for what nothing announces.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

/// Waits until a node's ledger satisfies something.
pub async fn wait<T>(handle: &AvsHandle, what: &str, check: impl Fn(&State) -> Option<T>) -> T {
    let mut changes = handle.changes();
    let look = async {
        loop {
            changes.borrow_and_update();
            if let Some(found) = handle.read(&check) {
                return found;
            }
            changes.changed().await.unwrap();
        }
    };
    within(what, look).await
}

pub struct Operator {
    pub keys: OperatorKeys,
    pub probe: Probe,
    /// What it sees of the chain.
    pub sight: Sight,
    pub directory: PathBuf,
    /// Of bundles.
    pub approval: Approval,
    pub running: Option<(Node, AvsHandle)>,
    /// Where it listened when it was stopped: there again.
    addresses: Option<(SocketAddr, SocketAddr)>,
}

/// How a cluster is set up.
pub struct Plan {
    /// Operators that the registry knows, with 100 of stake each.
    pub enrolled: usize,
    /// How many of them run a node, from the first.
    pub running: usize,
    pub settings: fn(&mut Settings),
    /// Of the operators' BLS keys.
    pub curve: Curve,
    /// Whether nodes have an admin listener.
    pub admin: bool,
    /// Tasks end on chain.
    pub submits: bool,
    pub patience: fn(&mut Patience),
    /// The last operator does what [`crate::logic::order`] says.
    pub last_obeys: bool,
    /// Everybody's timers.
    pub timers: Vec<Timer>,
    /// Who compiles plugins.
    pub compiler: Compiler,
}

impl Plan {
    pub fn of(operators: usize) -> Self {
        Self {
            enrolled: operators,
            running: operators,
            settings: |_| {},
            curve: Curve::Bn254,
            admin: false,
            submits: false,
            patience: |_| {},
            last_obeys: false,
            timers: Vec::new(),
            compiler: Compiler::InThisProcess,
        }
    }
}

/// The duty stays where it is.
pub fn sticky(settings: &mut Settings) {
    settings.rotation = RotationSettings { policy: Policy::Sticky, ..settings.rotation };
}

pub struct Cluster {
    pub env: Env,
    pub chain: Arc<EmbeddedChain>,
    pub registry: Address,
    pub service: Service,
    pub settings: Settings,
    pub operators: Vec<Operator>,
    pub directory: TempDir,
    admin: bool,
    patience: fn(&mut Patience),
    timers: Vec<Timer>,
    compiler: Compiler,
}

impl Cluster {
    pub async fn start(plan: Plan) -> Self {
        let mut cluster = Self::prepare(&plan).await;
        for number in 0..plan.running {
            let callbacks = cluster.operators[number].probe.callbacks();
            cluster.run(number, Logic::Native(callbacks)).await;
        }
        cluster.wait_voters(plan.running).await;
        cluster
    }

    /// Everything but the nodes.
    pub async fn prepare(plan: &Plan) -> Self {
        let env = Env::real();
        let directory = tempfile::tempdir().unwrap();
        let owner = Wallet::random(&env).unwrap();
        let probe = |number: usize| {
            let probe = Probe::new(plan.last_obeys && number + 1 == plan.enrolled);
            let probe = if plan.timers.is_empty() { probe } else { probe.timed() };
            if plan.submits { probe.submitting() } else { probe }
        };
        let operator = |number: usize| Operator {
            keys: OperatorKeys::random(&env, plan.curve).unwrap(),
            probe: probe(number),
            sight: Sight::default(),
            directory: directory.path().join(format!("operator-{number}")),
            approval: Approval::default(),
            running: None,
            addresses: None,
        };
        let operators: Vec<Operator> = (0..plan.enrolled).map(operator).collect();
        let mut funded: Vec<Address> = operators.iter().map(|operator| operator.keys.wallet.address()).collect();
        funded.push(owner.address());
        let options = EmbeddedOptions { block_interval: BLOCK, funded, ..EmbeddedOptions::default() };
        let chain = Arc::new(EmbeddedChain::start(options, &env).unwrap());
        let owner = setup(chain.as_ref(), &env, &owner);
        let registry = within("the registry", deploy_registry(&owner, plan.curve)).await.unwrap();
        let keys: Vec<OperatorKeys> = operators.iter().map(|operator| operator.keys.clone()).collect();
        within("the operators' registration", enrol(&owner, registry, &keys)).await.unwrap();
        // Tasks refer to a block behind the head, at which the stakes must be known.
        let known = chain.head().await.unwrap().block.number + 2;
        let mut heads = chain.heads();
        within("blocks", heads.wait_for(|head| head.block.number >= known)).await.unwrap();
        let mut settings = Settings { curve: plan.curve, ..Settings::new(registry) };
        settings.confirmations = Some(1);
        (plan.settings)(&mut settings);
        let service =
            Service { avs: AVS.parse().unwrap(), chain_id: chain.chain_id(), service_manager: Address::repeat_byte(5) };
        Self {
            env,
            chain,
            registry,
            service,
            settings,
            operators,
            directory,
            admin: plan.admin,
            patience: plan.patience,
            timers: plan.timers.clone(),
            compiler: plan.compiler.clone(),
        }
    }

    pub fn node_options(&self, number: usize, directory: &Path) -> NodeOptions {
        let mut options = NodeOptions { compiler: self.compiler.clone(), ..loopback(directory) };
        (self.patience)(&mut options.patience);
        if let Some((raft, http)) = self.operators[number].addresses {
            (options.raft, options.http) = (raft, http);
        }
        options.admin = self.admin.then(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        options
    }

    /// What operator `number` runs: the first one founds the cluster, the others join through whoever runs.
    pub async fn avs_options(&self, number: usize, logic: Logic) -> AvsOptions {
        let urls: Vec<String> = self.live().map(|at| self.node(at).http_url().to_owned()).collect();
        let entrance = if number == 0 {
            let start_block = self.chain.head().await.unwrap().block.number;
            Entrance::Found { settings: Box::new(self.settings.clone()), start_block }
        } else {
            Entrance::Join { urls, registry: self.registry }
        };
        let keys = self.operators[number].keys.clone();
        AvsOptions {
            service: self.service.clone(),
            entrance,
            bls: keys.bls,
            share_bls_key: false,
            wallet: keys.wallet,
            chain: Arc::new(Forgetful { chain: Arc::clone(&self.chain), sight: self.operators[number].sight.clone() }),
            logic,
            approval: self.operators[number].approval,
            timers: self.timers.clone(),
            provided: TenantOptions::default(),
        }
    }

    pub fn native(&self, number: usize) -> Logic {
        let callbacks: Arc<dyn Callbacks> = self.operators[number].probe.callbacks();
        Logic::Native(callbacks)
    }

    /// Starts an operator's node in its data directory.
    pub async fn run(&mut self, number: usize, logic: Logic) {
        let running = self.try_run(number, logic).await.unwrap();
        self.operators[number].running = Some(running);
    }

    pub async fn try_run(&self, number: usize, logic: Logic) -> Result<(Node, AvsHandle), NodeError> {
        let directory = self.operators[number].directory.clone();
        let options = self.node_options(number, &directory);
        let start = async {
            let node = Node::start(self.env.clone(), options).await?;
            let options = self.avs_options(number, logic).await;
            let added = node.add(options).await;
            match added {
                Ok(handle) => Ok((node, handle)),
                Err(error) => {
                    node.shutdown().await;
                    Err(error)
                }
            }
        };
        within("a node's start", start).await
    }

    /// Stops an operator in order; it can be run again at the same addresses.
    pub async fn stop(&mut self, number: usize) {
        let node = self.take(number);
        within("a node's end", node.shutdown()).await;
    }

    /// Stops an operator as a crash would.
    pub fn kill(&mut self, number: usize) {
        self.take(number).kill();
    }

    fn take(&mut self, number: usize) -> Node {
        let (node, _) = self.operators[number].running.take().unwrap();
        let address = |url: &str| url.split_once("://").unwrap().1.parse().unwrap();
        self.operators[number].addresses = Some((address(node.raft_url()), address(node.http_url())));
        node
    }

    pub fn live(&self) -> impl Iterator<Item = usize> {
        self.operators.iter().enumerate().filter(|(_, operator)| operator.running.is_some()).map(|(number, _)| number)
    }

    pub fn node(&self, number: usize) -> &Node {
        &self.operators[number].running.as_ref().unwrap().0
    }

    pub fn handle(&self, number: usize) -> &AvsHandle {
        &self.operators[number].running.as_ref().unwrap().1
    }

    pub fn http_url(&self, number: usize) -> String {
        self.node(number).http_url().to_owned()
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v1/avs/{AVS}/{rest}")
    }

    pub fn set_gates(&self, open: bool) {
        self.operators.iter().for_each(|operator| operator.probe.set_gate(open));
    }

    /// Waits until every running operator sees so many voters.
    pub async fn wait_voters(&self, voters: usize) {
        for number in self.live() {
            let enough = |state: &State| (state.voters.len() >= voters).then_some(());
            wait(self.handle(number), "everybody votes", enough).await;
        }
    }

    /// Who leads, confirmed.
    pub async fn leader(&self) -> usize {
        let waiting = self.live().map(|number| {
            let mut leadership = self.handle(number).group().leadership();
            async move {
                leadership.wait_for(|leadership| leadership.ready).await.unwrap();
                number
            }
            .boxed()
        });
        within("a leader", select_all(waiting)).await.0
    }

    /// Which operator runs a node.
    pub fn number_of(&self, node: eigenshift_types::NodeId) -> Option<usize> {
        self.live().find(|number| self.handle(*number).identity().node == node)
    }

    /// Has a task made, and waits until every running node has it.
    pub async fn request(&self, key: &str, payload: impl Into<Bytes>) -> TaskIndex {
        let asked = self.live().next().unwrap();
        let triggered = within("a request", self.handle(asked).request_task(key.to_owned(), payload.into())).await;
        let Ok(Triggered::Task { index }) = triggered else { panic!("no task was made: {triggered:?}") };
        for number in self.live() {
            let known = |state: &State| state.tasks.contains_key(&index).then_some(());
            wait(self.handle(number), "the task is known", known).await;
        }
        index
    }

    /// Waits until every running node sees the task's end; all see the same one.
    pub async fn ended(&self, index: TaskIndex) -> (Task, Outcome) {
        let mut seen: Option<(Task, Outcome)> = None;
        for number in self.live() {
            let closed = |state: &State| {
                let task = state.tasks.get(&index)?;
                match &task.phase {
                    Phase::Closed(outcome) => Some((task.clone(), outcome.clone())),
                    Phase::Open | Phase::Submitting => None,
                }
            };
            let found = wait(self.handle(number), &format!("task {index} ends at operator {number}"), closed).await;
            if let Some(seen) = &seen {
                assert_eq!(*seen, found);
            }
            seen = Some(found);
        }
        seen.unwrap()
    }

    /// Which operators signed the task's only certificate.
    pub fn signers(&self, task: &Task) -> Vec<usize> {
        let certificate = task.certificates.values().next().unwrap();
        let look = |state: &State| state.sets[&task.spec.set_digest].clone();
        let set = self.handle(self.live().next().unwrap()).read(look);
        let signed = |number: &usize| {
            let address = self.operators[*number].keys.wallet.address();
            let position = set.operators.iter().position(|record| record.address == address).unwrap();
            certificate.signers.contains(position)
        };
        (0..self.operators.len()).filter(signed).collect()
    }

    /// Ends everything.
    pub async fn end(mut self) {
        self.set_gates(true);
        self.operators.iter().for_each(|operator| operator.probe.set_desk(true));
        for number in 0..self.operators.len() {
            if self.operators[number].running.is_some() {
                self.stop(number).await;
            }
        }
    }
}

/// A chain that a plugin's calls are given, and that nobody asks.
pub fn no_chain() -> Arc<dyn ChainReader> {
    struct NoChain;

    #[async_trait::async_trait]
    impl ChainReader for NoChain {
        async fn call(&self, _: Address, _: Bytes, _: BlockRef) -> Result<Bytes, ChainReadError> {
            Err(ChainReadError::UnknownBlock)
        }
        async fn logs(
            &self,
            _: Address,
            _: &[B256],
            _: u64,
            _: u64,
            _: BlockRef,
        ) -> Result<Vec<EventLog>, ChainReadError> {
            Err(ChainReadError::UnknownBlock)
        }
        async fn header(&self, _: Option<u64>, _: BlockRef) -> Result<Header, ChainReadError> {
            Err(ChainReadError::UnknownBlock)
        }
        async fn at_number(&self, _: u64, _: BlockRef) -> Result<BlockRef, ChainReadError> {
            Err(ChainReadError::UnknownBlock)
        }
    }

    Arc::new(NoChain)
}
