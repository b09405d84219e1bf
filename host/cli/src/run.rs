//! `eigenshift run`: one node, as its configuration says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use eigenshift_bls::{SecretKey, keystore};
use eigenshift_chain::{Chain, Endpoints, EthereumOptions, Wallet};
use eigenshift_consensus::Timing;
use eigenshift_engine::{AvsHandle, Patience, Timer};
use eigenshift_env::{Env, Pool};
use eigenshift_node::{AvsOptions, Entrance, Logic, Logs, Node, NodeError, NodeOptions, Source};
use eigenshift_plugin::{Bundle, Compiler, TenantOptions};
use eigenshift_types::{AvsId, Service};
use futures::future::join_all;

use crate::config::{self, AvsConfig, NodeConfig};
use crate::files::{MAX_COMPONENT, MAX_MANIFEST, file, read_bounded, read_private, read_secret};
use crate::{CliError, provided};

/// Runs a node.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "eigenshift.toml")]
    pub config: PathBuf,
}

fn node_options(config: &NodeConfig, compiler: Compiler, logs: Logs) -> NodeOptions {
    let timing = Timing::default();
    let patience = Patience::default();
    let election = config.election.map_or(timing.election_min, |span| span.0);
    NodeOptions {
        data_dir: config.data_dir.clone(),
        raft: config.raft,
        http: config.http,
        admin: config.admin,
        raft_url: config.raft_url.clone(),
        http_url: config.http_url.clone(),
        insecure_dev: config.insecure_dev,
        compiler,
        plugins: None,
        timing: Timing {
            heartbeat: config.heartbeat.map_or(timing.heartbeat, |span| span.0),
            election_min: election,
            election_max: election * 2,
        },
        patience: Patience { down_after: config.down_after.map_or(patience.down_after, |span| span.0), ..patience },
        logs,
    }
}

const MAX_PASSWORD: u64 = 4096;

/// The BLS key: a key file that is opened with the password, or 64 hexadecimal digits when there is no password.
fn read_bls_key(avs: &AvsConfig) -> Result<SecretKey, CliError> {
    let wrong = |error: &dyn std::fmt::Display| file(&avs.bls_key, error);
    let Some(password) = &avs.bls_password else {
        let secret = read_secret(&avs.bls_key)?;
        let secret = keystore::secret_from_hex(&secret).map_err(|error| wrong(&error))?;
        return SecretKey::from_bytes(avs.curve, &secret).map_err(|error| wrong(&error));
    };
    let text = read_private(password, MAX_PASSWORD)?;
    let text = std::str::from_utf8(&text).map_err(|_| file(password, "expected a password in UTF-8"))?;
    let json = read_bounded(&avs.bls_key, keystore::MAX_LEN as u64)?;
    // An editor ends the file with a line break that is not part of the password.
    keystore::secret(&json, text.trim_end_matches(['\r', '\n']), avs.curve).map_err(|error| wrong(&error))
}

/// What an AVS's configuration points to.
struct Files {
    wallet: Wallet,
    bls: Arc<SecretKey>,
    bundle: Bundle,
    provided: TenantOptions,
}

impl Files {
    fn read(avs: &AvsConfig) -> Result<Self, CliError> {
        let secret = read_secret(&avs.operator_key)?;
        let wallet = Wallet::from_hex(&secret).map_err(|error| file(&avs.operator_key, error))?;
        let bls = Arc::new(read_bls_key(avs)?);
        let manifest = String::from_utf8(read_bounded(&avs.manifest, MAX_MANIFEST)?)
            .map_err(|error| file(&avs.manifest, error))?;
        let bundle = Bundle::new(read_bounded(&avs.component, MAX_COMPONENT)?, manifest);
        let provided = provided::options(avs, provided::secrets(&avs.secrets)?);
        Ok(Self { wallet, bls, bundle, provided })
    }
}

async fn avs_options(avs: &AvsConfig, files: Files, endpoints: &Endpoints, env: &Env) -> Result<AvsOptions, CliError> {
    let defaults = EthereumOptions::default();
    let options = EthereumOptions {
        chain_id: Some(avs.chain_id),
        poll_interval: avs.poll.map_or(defaults.poll_interval, |span| span.0),
        ..defaults
    };
    let chain = loop {
        match endpoints.connect(&avs.rpc, options.clone(), env).await {
            Ok(chain) => break chain,
            Err(error) if error.is_transient() => {
                tracing::warn!(avs = %avs.id, rpc = avs.rpc, "the chain does not answer yet: {error}");
                env.clock.sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(CliError::Chain(format!("{}: {error}", avs.id))),
        }
    };
    let entrance = if avs.bootstrap {
        let settings = avs.cluster.clone().unwrap_or_default().settings(avs.registry, avs.curve);
        let (settings, start_block) = settings.map_err(CliError::Usage)?;
        let head = chain.head().await.map_err(|error| CliError::Chain(error.to_string()))?;
        Entrance::Found { settings: Box::new(settings), start_block: start_block.unwrap_or(head.block.number) }
    } else {
        Entrance::Join { urls: avs.join.clone(), registry: avs.registry }
    };
    let timer = |timer: &config::TimerConfig| Timer { name: timer.name.clone(), every: timer.every.0 };
    Ok(AvsOptions {
        service: Service { avs: avs.id.clone(), chain_id: avs.chain_id, service_manager: avs.service_manager },
        entrance,
        bls: files.bls,
        share_bls_key: avs.share_bls_key,
        wallet: files.wallet,
        chain: Arc::new(chain),
        logic: Logic::Plugin(files.bundle, provided::grants(avs)),
        approval: avs.bundle_approval,
        timers: avs.timers.iter().map(timer).collect(),
        provided: files.provided,
    })
}

/// The configuration file, read again whenever an AVS of it is asked for.
struct Configured {
    path: PathBuf,
    env: Env,
    files: Pool,
    endpoints: Endpoints,
}

fn in_node(error: CliError) -> NodeError {
    match error {
        CliError::Node(error) => error,
        CliError::Chain(why) => NodeError::Chain(why),
        error => NodeError::Configuration(error.to_string()),
    }
}

impl Configured {
    /// What an AVS's section says, and `more` made of it. Files are read, and keys opened, on a thread for that.
    async fn section<T: Send + 'static>(
        &self,
        avs: &AvsId,
        more: impl FnOnce(&AvsConfig) -> Result<T, CliError> + Send + 'static,
    ) -> Result<(AvsConfig, T), NodeError> {
        let (path, avs) = (self.path.clone(), avs.clone());
        let reading = self.files.run(move || {
            let config = config::read(&path).map_err(in_node)?;
            let section = config.avss.into_iter().find(|section| section.id == avs);
            let section = section.ok_or(NodeError::NotConfigured(avs))?;
            let made = more(&section).map_err(in_node)?;
            Ok((section, made))
        });
        reading.await.unwrap_or(Err(NodeError::Stopping))
    }
}

#[async_trait]
impl Source for Configured {
    async fn check(&self, avs: &AvsId) -> Result<(), NodeError> {
        self.section(avs, |_| Ok(())).await.map(drop)
    }

    async fn options(&self, avs: &AvsId) -> Result<AvsOptions, NodeError> {
        let (section, files) = self.section(avs, Files::read).await?;
        avs_options(&section, files, &self.endpoints, &self.env).await.map_err(in_node)
    }
}

/// Files of an AVS that are read at the same time, and requests for them that wait.
const READERS: usize = 1;
const READERS_QUEUE: usize = 16;

/// Whether there is nothing to be done about it while the node runs.
fn is_final(started: &Result<AvsHandle, NodeError>) -> bool {
    !matches!(
        started,
        Ok(_) | Err(NodeError::Paused | NodeError::Left | NodeError::Removed { .. } | NodeError::Stopping)
    )
}

/// Starts all AVSs at once. Ends only when none of them runs, nor will.
async fn start_all(
    node: &Node,
    avss: Vec<(AvsConfig, Result<Files, CliError>)>,
    endpoints: &Endpoints,
    env: &Env,
) -> NodeError {
    let starting = avss.into_iter().map(|(avs, files)| {
        let (id, endpoints, env) = (avs.id.clone(), endpoints.clone(), env.clone());
        async move {
            let options = async move { avs_options(&avs, files?, &endpoints, &env).await };
            node.add_with(&id, async { options.await.map_err(in_node) }).await
        }
    });
    let started = join_all(starting).await;
    if started.iter().all(is_final)
        && let Some(Err(why)) = started.into_iter().next()
    {
        return why;
    }
    std::future::pending().await
}

/// Runs until it is told to stop, or must.
///
/// # Errors
/// [`CliError`].
pub async fn run(args: RunArgs) -> Result<(), CliError> {
    let config = config::read(&args.config)?;
    let logs = Logs::default();
    crate::logs::install(config.node.log.as_deref().unwrap_or("info,openraft=warn"), logs.clone());
    // Before anything is created: wrong paths leave no half-made data directory behind.
    let mut avss: Vec<_> = config.avss.iter().map(|avs| (avs.clone(), Files::read(avs))).collect();
    if avss.iter().all(|(_, files)| files.is_err())
        && let Some((_, Err(why))) = avss.pop()
    {
        return Err(why);
    }
    let stop = signal();
    tokio::pin!(stop);
    let env = Env::real();
    let compiler = Compiler::this_executable([crate::COMPILE_CHILD.into()])
        .map_err(|error| CliError::Usage(format!("cannot tell where this executable is: {error}")))?;
    let node = Node::start(env.clone(), node_options(&config.node, compiler, logs)).await?;
    let files = env.threads.pool("files", READERS, READERS_QUEUE).map_err(NodeError::Threads)?;
    let endpoints = Endpoints::default();
    let configured = Configured { path: args.config.clone(), env: env.clone(), files, endpoints: endpoints.clone() };
    node.configured_by(Arc::new(configured));
    let admin = node.admin_addr().map_or("none".to_owned(), |address| address.to_string());
    tracing::info!(raft = node.raft_url(), http = node.http_url(), admin, "listening");
    let mut fatal = node.fatal();
    let ended = tokio::select! {
        why = start_all(&node, avss, &endpoints, &env) => Some(CliError::Node(why)),
        () = &mut stop => None,
        why = fatal.wait_for(Option::is_some) => {
            let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
            node.kill();
            return Err(CliError::Fatal(why));
        }
    };
    tracing::info!("stopping");
    node.shutdown().await;
    ended.map_or(Ok(()), Err)
}

/// Ends when the process is told to stop.
pub(crate) async fn signal() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
