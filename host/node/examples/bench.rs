//! The figures that `cargo xtask bench` prints, one a line: `name value unit`.
//!
//! Names given on the command line choose among the groups, of which there is one: `cluster`; none means all.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use eigenshift_chain::{Chain, EmbeddedChain, EmbeddedOptions, Wallet};
use eigenshift_engine::AvsHandle;
use eigenshift_engine::callbacks::Callbacks;
use eigenshift_engine::signer::TaskSigner;
use eigenshift_env::Env;
use eigenshift_ledger::Settings;
use eigenshift_ledger::settings::{Mode, Policy};
use eigenshift_node::local::{deploy_registry, enrol, loopback, setup};
use eigenshift_node::{Approval, AvsOptions, Curve, Entrance, Logic, Node, OperatorKeys, TenantOptions};
use eigenshift_plugin::{AggregateKey, CallError, PeerResponse, ProcessError, Signable, Task};
use eigenshift_types::{B256, Bytes, ResponseKey, Service, TaskIndex, U256, keccak256};
use futures::future::join_all;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn print(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.1} {unit}");
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn service() -> Outcome<Service> {
    Ok(Service { avs: "bench".parse()?, chain_id: 31_337, service_manager: Default::default() })
}

/// Squares without a sandbox, so that the figures are the cluster's.
struct Native;

#[async_trait]
impl Callbacks for Native {
    fn bundle_digest(&self) -> B256 {
        keccak256("bench")
    }

    fn max_keys(&self) -> usize {
        1
    }

    async fn on_task_request(&self, task: &Task) -> Result<Vec<Bytes>, CallError> {
        Ok(vec![task.request.clone()])
    }

    async fn on_submit_task_to_leader(
        &self,
        task: &Task,
        responses: &[Bytes],
        _: &TaskSigner,
    ) -> Result<Vec<Signable>, CallError> {
        let key = ResponseKey::new(b"k".to_vec()).map_err(|error| CallError::BadOutput(error.to_string()))?;
        let sign = |payload: &Bytes| Signable {
            key: key.clone(),
            payload: payload.clone(),
            digest: digest(task.index, payload),
            extension: Bytes::new(),
        };
        Ok(responses.iter().map(sign).collect())
    }

    async fn on_leader_process_task_response(
        &self,
        task: &Task,
        response: &PeerResponse,
    ) -> Result<AggregateKey, ProcessError> {
        let key = ResponseKey::new(b"k".to_vec()).map_err(|error| CallError::BadOutput(error.to_string()))?;
        Ok(AggregateKey { task_index: task.index, key, digest: digest(task.index, &response.payload) })
    }
}

fn digest(task: TaskIndex, payload: &[u8]) -> B256 {
    keccak256([&task.to_be_bytes(), payload].concat())
}

const OPERATORS: usize = 4;

struct Cluster {
    nodes: Vec<Node>,
    handles: Vec<AvsHandle>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// Four operators, each with its own node, directory and listeners, over mutual TLS on loopback.
    async fn start(env: &Env, change: impl FnOnce(&mut Settings)) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let owner = Wallet::random(env)?;
        let operators =
            (0..OPERATORS).map(|_| OperatorKeys::random(env, Curve::Bn254)).collect::<Result<Vec<_>, _>>()?;
        let mut funded: Vec<_> = operators.iter().map(|operator| operator.wallet.address()).collect();
        funded.push(owner.address());
        let block_interval = Duration::from_millis(200);
        let chain =
            EmbeddedChain::start(EmbeddedOptions { funded, block_interval, ..EmbeddedOptions::default() }, env)?;
        let chain: Arc<dyn Chain> = Arc::new(chain);
        let by_owner = setup(chain.as_ref(), env, &owner);
        let registry = deploy_registry(&by_owner, Curve::Bn254).await?;
        enrol(&by_owner, registry, &operators).await?;
        let mut settings = Settings::new(registry);
        settings.confirmations = Some(0);
        change(&mut settings);
        let mut cluster = Self { nodes: Vec::new(), handles: Vec::new(), _folder: folder };
        for (number, keys) in operators.into_iter().enumerate() {
            let node = Node::start(env.clone(), loopback(&cluster._folder.path().join(number.to_string()))).await?;
            let entrance = match cluster.nodes.first() {
                None => Entrance::Found { settings: Box::new(settings.clone()), start_block: 0 },
                Some(first) => Entrance::Join { urls: vec![first.http_url().to_owned()], registry },
            };
            let options = AvsOptions {
                service: Service { service_manager: registry, ..service()? },
                entrance,
                bls: keys.bls,
                share_bls_key: false,
                wallet: keys.wallet,
                chain: Arc::clone(&chain),
                logic: Logic::Native(Arc::new(Native)),
                approval: Approval::default(),
                timers: Vec::new(),
                provided: TenantOptions::default(),
            };
            cluster.handles.push(node.add(options).await?);
            cluster.nodes.push(node);
        }
        let first = cluster.first()?;
        wait(first, |state| (state.voters.len() == OPERATORS).then_some(())).await?;
        Ok(cluster)
    }

    fn first(&self) -> Outcome<&AvsHandle> {
        Ok(self.handles.first().ok_or("a node")?)
    }

    async fn stop(self) {
        drop(self.handles);
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

async fn wait<T>(handle: &AvsHandle, check: impl Fn(&eigenshift_ledger::State) -> Option<T>) -> Outcome<T> {
    let mut changes = handle.changes();
    loop {
        changes.borrow_and_update();
        if let Some(found) = handle.read(&check) {
            return Ok(found);
        }
        tokio::time::timeout(Duration::from_secs(60), changes.changed()).await??;
    }
}

fn request(number: u32) -> Bytes {
    Bytes::copy_from_slice(&U256::from(number).to_be_bytes::<32>())
}

/// From the log entry of a task to that of its certificate, as the leader applies them; one task at a time.
async fn latency(env: &Env) -> Outcome<()> {
    let cluster = Cluster::start(env, |settings| settings.rotation.policy = Policy::Sticky).await?;
    let leader = cluster.handles.iter().find(|handle| handle.leads()).ok_or("a leader")?;
    let mut times = Vec::new();
    for number in 0..220 {
        let created = async {
            wait(leader, |state| state.tasks.contains_key(&number).then_some(())).await?;
            Ok::<_, Box<dyn Error>>(Instant::now())
        };
        let (asked, created) = tokio::join!(leader.request_task(format!("latency-{number}"), request(number)), created);
        asked?;
        wait(leader, |state| state.tasks.get(&number).filter(|task| !task.certificates.is_empty()).map(drop)).await?;
        if number >= 20 {
            times.push(created?.elapsed());
        }
        wait(leader, |state| state.tasks.get(&number).filter(|task| !task.is_live()).map(drop)).await?;
    }
    times.sort_unstable();
    print("task_latency_p50_ms", millis(percentile(&times, 50)), "ms");
    print("task_latency_p99_ms", millis(percentile(&times, 99)), "ms");
    cluster.stop().await;
    Ok(())
}

/// Tasks from request to done, 64 asked for at a time.
async fn throughput(env: &Env) -> Outcome<()> {
    const TASKS: u32 = 1_000;
    let cluster = Cluster::start(env, |settings| {
        settings.rotation.mode = Mode::Assignment;
        settings.max_open_tasks = 256;
        settings.retention = 4_096;
    })
    .await?;
    let leader = cluster.handles.iter().find(|handle| handle.leads()).ok_or("a leader")?;
    // The operator set is logged with the first.
    leader.request_task("warm-up".into(), request(0)).await?;
    let start = Instant::now();
    let ask = async |lane: u32| -> Outcome<()> {
        for number in (lane..TASKS).step_by(64) {
            leader.request_task(format!("throughput-{number}"), request(number)).await?;
        }
        Ok(())
    };
    for asked in join_all((0..64).map(ask)).await {
        asked?;
    }
    wait(leader, |state| (state.ended.len() > TASKS as usize).then_some(())).await?;
    print("tasks_per_second", f64::from(TASKS) / start.elapsed().as_secs_f64(), "1/s");
    cluster.stop().await;
    Ok(())
}

/// From asking for a hand-over until the next leader is confirmed.
async fn handover(env: &Env) -> Outcome<()> {
    let cluster = Cluster::start(env, |settings| settings.rotation.policy = Policy::Sticky).await?;
    cluster.first()?.request_task("warm-up".into(), request(0)).await?;
    wait(cluster.first()?, |state| (!state.ended.is_empty()).then_some(())).await?;
    let mut times = Vec::new();
    for _ in 0..40 {
        let leader = cluster.handles.iter().position(|handle| handle.leads()).ok_or("a leader")?;
        let from = cluster.handles.get(leader).ok_or("a leader")?;
        let to = cluster.handles.get((leader + 1) % OPERATORS).ok_or("a follower")?;
        let start = Instant::now();
        from.group().hand_over(to.identity().node).await?;
        let mut leadership = to.group().leadership();
        tokio::time::timeout(Duration::from_secs(60), leadership.wait_for(|leadership| leadership.ready)).await??;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    print("handover_p50_ms", millis(percentile(&times, 50)), "ms");
    cluster.stop().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |group: &str| wanted.is_empty() || wanted.iter().any(|name| name == group);
    let env = Env::real();
    if chosen("cluster") {
        latency(&env).await?;
        throughput(&env).await?;
        handover(&env).await?;
    }
    Ok(())
}
