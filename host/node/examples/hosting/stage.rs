//! The chain, the contracts, the nodes and the AVSs on them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_chain::{Chain, EmbeddedChain, EmbeddedOptions, Wallet};
use eigenshift_consensus::Timing;
use eigenshift_engine::{AvsHandle, Patience};
use eigenshift_env::Env;
use eigenshift_ledger::Settings;
use eigenshift_ledger::settings::{Expiry, Mode};
use eigenshift_node::local::{deploy_registry, enrol, loopback, setup};
use eigenshift_node::{Approval, AvsOptions, Curve, Entrance, Logic, Node, NodeOptions, OperatorKeys, TenantOptions};
use eigenshift_plugin::{Bundle, Compiler, Grants};
use eigenshift_types::{Address, Service};
use futures::future::{join_all, try_join_all};
use tokio::sync::watch;

use crate::demo::contracts;
use crate::demo::prices::Prices;
use crate::guest::{ANSWER, Guest, SCRATCH, result};

pub const NODES: usize = 3;

/// The argument with which this program is started to compile a plugin.
pub const COMPILE: &str = "compile-plugin";

/// Tasks of one AVS that may be open.
const OPEN: u32 = 64;

const BLOCK: Duration = Duration::from_millis(200);

/// The feed that the price oracles are asked for, and its sources.
pub const FEED: &str = "EUR/USD";
const PRICES: &str = "unix_seconds,EUR/USD@ecb,EUR/USD@fed\n1767225600,1.17,1.18\n";

/// What an AVS runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Squaring,
    Oracle,
    Hand,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Squaring, Self::Oracle, Self::Hand];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Squaring => "squaring",
            Self::Oracle => "oracle",
            Self::Hand => "hand_written",
        }
    }

    fn bundle(self) -> Bundle {
        match self {
            Self::Squaring => built("incredible-squaring"),
            Self::Oracle => built("price-oracle"),
            Self::Hand => hand_written(),
        }
    }
}

fn built(name: &str) -> Bundle {
    let folder = std::env::var_os("EIGENSHIFT_COMPONENTS")
        .map_or_else(|| PathBuf::from("plugins/target/components"), PathBuf::from);
    let read = |name: String| {
        let path = folder.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()))
    };
    let manifest = String::from_utf8(read(format!("{name}.avs.toml"))).unwrap();
    Bundle::new(read(format!("{name}.wasm")), manifest)
}

/// What the first byte of a request asks the third plugin for.
pub mod order {
    pub const ANSWER: u8 = 0;
    pub const LOOP: u8 = 1;
    pub const BOMB: u8 = 2;
}

/// Answers what it always does, unless it is told to attack.
fn hand_written() -> Bundle {
    let fill = "(drop (memory.grow (i32.const 900)))
        (memory.fill (i32.const 131072) (i32.const 7) (i32.const 58000000))";
    let body = format!(
        "(if (i32.eq (i32.load8_u (local.get 1)) (i32.const {})) (then (loop $l (br $l))))
        (if (i32.eq (i32.load8_u (local.get 1)) (i32.const {})) (then {fill} unreachable))
        {}",
        order::LOOP,
        order::BOMB,
        result(&[0, SCRATCH + 12, 1, ANSWER, 4])
    );
    Guest::with("on-task-request", &body).limits("fuel = 100_000_000_000\nmemory-bytes = 67_108_864").bundle()
}

/// An AVS with what its operators and its contracts need.
struct Tenant {
    name: String,
    kind: Kind,
    owner: Wallet,
    operators: Vec<OperatorKeys>,
    registry: Address,
    service_manager: Address,
    start_block: u64,
}

impl Tenant {
    fn new(env: &Env, number: usize, kind: Kind) -> Self {
        Self {
            name: format!("avs-{number}"),
            kind,
            owner: Wallet::random(env).unwrap(),
            operators: (0..NODES).map(|_| OperatorKeys::random(env, Curve::Bn254).unwrap()).collect(),
            registry: Address::ZERO,
            service_manager: Address::ZERO,
            start_block: 0,
        }
    }

    async fn deploy(&mut self, env: &Env, chain: &dyn Chain, prices: &Prices) {
        (self.registry, self.service_manager) = if self.kind == Kind::Oracle {
            let deployed = contracts::deploy(chain, env, &self.owner, &self.operators, prices).await.unwrap();
            contracts::write_row(chain, env, &self.owner, &deployed, &prices.rows[0]).await.unwrap();
            (deployed.registry, deployed.oracle)
        } else {
            let by_owner = setup(chain, env, &self.owner);
            let registry = deploy_registry(&by_owner, Curve::Bn254).await.unwrap();
            enrol(&by_owner, registry, &self.operators).await.unwrap();
            (registry, registry)
        };
        self.start_block = chain.head().await.unwrap().block.number;
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.registry);
        settings.rotation.mode = Mode::Assignment;
        settings.max_open_tasks = OPEN;
        settings.retention = OPEN;
        settings.confirmations = Some(0);
        settings.expiry = Expiry::Ms(30_000);
        settings
    }
}

/// One AVS's handles, by node.
pub struct Hosted {
    pub kind: Kind,
    pub handles: Vec<AvsHandle>,
}

impl Hosted {
    /// The node that leads is another one for each AVS.
    pub fn leader(&self, number: usize) -> &AvsHandle {
        &self.handles[number % NODES]
    }
}

pub struct Stage {
    chain: Arc<dyn Chain>,
    tenants: Vec<Tenant>,
    nodes: Vec<Node>,
    pub hosted: Vec<Hosted>,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Everything but the AVSs: the chain with their contracts, and the nodes.
    pub async fn set(env: &Env, count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The last one, which attacks, is the one that can.
        let kind = |number: usize| Kind::ALL[(number + Kind::ALL.len() - count % Kind::ALL.len()) % Kind::ALL.len()];
        let mut tenants: Vec<_> = (0..count).map(|number| Tenant::new(env, number, kind(number))).collect();
        let accounts = |tenant: &Tenant| {
            let operators: Vec<Address> = tenant.operators.iter().map(|keys| keys.wallet.address()).collect();
            operators.into_iter().chain([tenant.owner.address()])
        };
        let funded = tenants.iter().flat_map(accounts).collect();
        let options = EmbeddedOptions { funded, block_interval: BLOCK, ..EmbeddedOptions::default() };
        let chain: Arc<dyn Chain> = Arc::new(EmbeddedChain::start(options, env).unwrap());
        let prices = Prices::parse(PRICES).unwrap();
        join_all(tenants.iter_mut().map(|tenant| tenant.deploy(env, chain.as_ref(), &prices))).await;
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let options = NodeOptions {
                timing: Timing::default(),
                patience: Patience::default(),
                compiler: Compiler::this_executable([COMPILE.into()]).unwrap(),
                ..loopback(&folder.path().join(number.to_string()))
            };
            nodes.push(Node::start(env.clone(), options).await.unwrap());
        }
        Self { chain, tenants, nodes, hosted: Vec::new(), _folder: folder }
    }

    /// All AVSs on all nodes: the first founds each, the others join when it has.
    pub async fn start(&mut self) {
        let bundles: Vec<Bundle> = Kind::ALL.into_iter().map(Kind::bundle).collect();
        let founded = watch::Sender::new(0);
        let url = self.nodes[0].http_url().to_owned();
        let (chain, tenants) = (&self.chain, &self.tenants);
        let adding = self.nodes.iter().enumerate().map(|(number, node)| {
            let (bundles, founded, url) = (&bundles, &founded, &url);
            async move {
                let mut handles = Vec::new();
                for (at, tenant) in tenants.iter().enumerate() {
                    let entrance = if number == 0 {
                        let settings = Box::new(tenant.settings());
                        Entrance::Found { settings, start_block: tenant.start_block }
                    } else {
                        founded.subscribe().wait_for(|founded| *founded > at).await.unwrap();
                        Entrance::Join { urls: vec![url.clone()], registry: tenant.registry }
                    };
                    let keys = &tenant.operators[number];
                    let options = AvsOptions {
                        service: Service {
                            avs: tenant.name.parse().unwrap(),
                            chain_id: chain.chain_id(),
                            service_manager: tenant.service_manager,
                        },
                        entrance,
                        bls: Arc::clone(&keys.bls),
                        share_bls_key: false,
                        wallet: keys.wallet.clone(),
                        chain: Arc::clone(chain),
                        logic: Logic::Plugin(bundles[tenant.kind as usize].clone(), Grants::all()),
                        approval: Approval::default(),
                        timers: Vec::new(),
                        provided: TenantOptions::default(),
                    };
                    handles.push(node.add(options).await?);
                    if number == 0 {
                        founded.send_replace(at + 1);
                    }
                }
                Ok::<_, eigenshift_node::NodeError>(handles)
            }
        });
        let by_node = try_join_all(adding).await.unwrap();
        for (at, tenant) in self.tenants.iter().enumerate() {
            let handles = by_node.iter().map(|handles| handles[at].clone()).collect();
            self.hosted.push(Hosted { kind: tenant.kind, handles });
        }
        join_all(self.hosted.iter().enumerate().map(|(number, hosted)| lead(number, hosted))).await;
    }

    pub async fn stop(self) {
        drop(self.hosted);
        join_all(self.nodes.into_iter().map(Node::shutdown)).await;
    }
}

/// Waits until everybody votes, and has the AVS's own leader lead.
async fn lead(number: usize, hosted: &Hosted) {
    let wanted = hosted.leader(number);
    let mut changes = wanted.changes();
    while wanted.read(|state| state.voters.len() < NODES) {
        changes.changed().await.unwrap();
    }
    let mut leadership = wanted.group().leadership();
    while !leadership.borrow_and_update().ready {
        if let Some(leader) = hosted.handles.iter().find(|handle| handle.leads()) {
            // Another change may be under way.
            let _ = leader.group().hand_over(wanted.identity().node).await;
        }
        let _ = tokio::time::timeout(Duration::from_millis(200), leadership.changed()).await;
    }
}
