//! The host: listeners, stores, pools, and the AVSs on it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eigenshift_api::admin::{self, Token};
use eigenshift_api::{Avss, public, serve};
use eigenshift_bls::SecretKey;
use eigenshift_chain::{Chain, Wallet};
use eigenshift_consensus::{Group, GroupOptions, Peer, PeerBook, Security, Store, Timing, Transport, TransportOptions};
use eigenshift_engine::callbacks::Callbacks;
use eigenshift_engine::ledger::{Ledger, Replica};
use eigenshift_engine::logics::Bundles;
use eigenshift_engine::{AvsHandle, Patience, Shared, Timer};
use eigenshift_env::disk::Lock;
use eigenshift_env::{Env, Pool};
use eigenshift_ledger::Settings;
use eigenshift_plugin::{Bundle, Compiler, Grants, Host, HostOptions, Import, KeyValueStore, TenantOptions};
use eigenshift_types::{Address, NodeId, NodeKey, Service};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bundles;
use crate::identity::{self, Record};
use crate::membership::{Newcomer, Urls};

/// Why a node, or an AVS on it, does not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process has it.
    #[error("the data directory {0} is in use by another process; stop that one, or give this one its own directory")]
    InUse(PathBuf),
    /// Cannot be used.
    #[error("{path}: {why}; nothing was overwritten: mend or restore the file, or rejoin with an empty data directory", path = path.display())]
    Directory {
        /// What.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Removed.
    #[error("node {node} was removed from the cluster; to come back, join with an empty data directory")]
    Removed {
        /// Its id.
        node: NodeId,
    },
    /// Another AVS under the same name.
    #[error(
        "the data directory holds another AVS under this name (chain, service manager or name differ); use another directory"
    )]
    OtherRecord,
    /// A listener.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// Admin off loopback.
    #[error("the admin listener is for loopback only, {0} is not")]
    AdminOffLoopback(SocketAddr),
    /// Raft.
    #[error("consensus: {0}")]
    Consensus(#[from] eigenshift_consensus::Error),
    /// The plugin host.
    #[error("the plugin host does not start: {0}")]
    PluginHost(#[from] eigenshift_plugin::HostError),
    /// The plugin.
    #[error("the plugin is refused: {0}")]
    Plugin(#[from] eigenshift_plugin::LoadError),
    /// What the plugin keeps.
    #[error("what the plugin keeps, {path}: {source}", path = path.display())]
    Keyvalue {
        /// The file.
        path: PathBuf,
        /// Why.
        source: eigenshift_plugin::KeyValueError,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] eigenshift_engine::avs::StartError),
    /// The chain.
    #[error("the chain: {0}")]
    Chain(String),
    /// The settings.
    #[error("the cluster settings are not usable: {0}")]
    Settings(&'static str),
    /// A join that did not go through.
    #[error("{0}")]
    Join(String),
    /// The cluster is another AVS's.
    #[error(
        "{url} serves another AVS, chain or service manager under this name; check the join list and the contract's address"
    )]
    OtherService {
        /// Where.
        url: String,
    },
    /// A member that no operator vouches for.
    #[error(
        "{url} names member {node}, whose key no registered operator signed; do not trust that node: use another one to join"
    )]
    UntrustedMember {
        /// Where.
        url: String,
        /// Who.
        node: NodeId,
    },
    /// Threads.
    #[error("no thread could be started: {0}")]
    Threads(std::io::Error),
    /// Runs already.
    #[error("this node runs an AVS of that name already")]
    Duplicate,
}

/// What a host needs.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Raft listener; port 0 takes a free one.
    pub raft: SocketAddr,
    /// Public listener; port 0 takes a free one.
    pub http: SocketAddr,
    /// Admin listener, loopback only; none for no administration over HTTP.
    pub admin: Option<SocketAddr>,
    /// How others reach the Raft listener; none for its address.
    pub raft_url: Option<String>,
    /// How others reach the public listener; none for its address.
    pub http_url: Option<String>,
    /// Plain text between nodes, on loopback only.
    pub insecure_dev: bool,
    /// Who compiles plugins: a child process, unless this is for tests or all plugins are one's own.
    pub compiler: Compiler,
    /// Raft's timeouts.
    pub timing: Timing,
    /// How long this node waits for what.
    pub patience: Patience,
}

/// How a new node comes into its cluster. One whose data directory knows the cluster just goes on.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// It founds it. Exactly one node does.
    Found {
        /// What the cluster agrees on from the start.
        settings: Box<Settings>,
        /// Contract events count from this block on.
        start_block: u64,
    },
    /// It joins through any of these members' public URLs.
    Join {
        /// `http://host:port` each.
        urls: Vec<String>,
        /// The operator registry contract, against which the members are checked.
        registry: Address,
    },
}

/// The AVS's logic.
pub enum Logic {
    /// A WebAssembly plugin and what the operator grants it.
    Plugin(Bundle, Grants),
    /// Native callbacks.
    Native(Arc<dyn Callbacks>),
}

/// What one AVS on a host needs.
pub struct AvsOptions {
    /// The AVS.
    pub service: Service,
    /// How the node comes in.
    pub entrance: Entrance,
    /// The operator's BLS key for this AVS.
    pub bls: Arc<SecretKey>,
    /// The operator's account.
    pub wallet: Wallet,
    /// The AVS's chain.
    pub chain: Arc<dyn Chain>,
    /// The AVS's logic.
    pub logic: Logic,
    /// Timers that fire at the leader.
    pub timers: Vec<Timer>,
    /// What the operator gives a plugin. Without a store in it, the node keeps one in its directory when the grants have
    /// `keyvalue`.
    pub provided: TenantOptions,
}

/// A snapshot of a ledger after so many entries, and how many are kept before it.
const SNAPSHOT_EVERY: u64 = 4096;
const KEEP_LOGS: u64 = 1024;

/// Threads for calls that wait for the disk: each waits for one fsync.
const IO_THREADS: usize = 2;
const QUEUE: usize = 256;
/// The same for what plugins keep: theirs never wait before the signing guard's.
const KEYVALUE_THREADS: usize = 2;
/// Memory of a plugin's store.
const KEYVALUE_CACHE: usize = 1024 * 1024;

struct Running {
    handle: AvsHandle,
    group: Group,
    keyvalue: Option<KeyValueStore>,
}

/// A running host.
pub struct Node {
    env: Env,
    options: NodeOptions,
    urls: Urls,
    admin: Option<SocketAddr>,
    key: Arc<NodeKey>,
    store: Store,
    transport: Transport,
    plugins: Host,
    shared: Shared,
    bls_pool: Pool,
    io_pool: Pool,
    keyvalue_pool: Pool,
    avss: Avss,
    running: Vec<Running>,
    stop: CancellationToken,
    fatal: Arc<watch::Sender<Option<String>>>,
    _lock: Box<dyn Lock>,
}

fn directory_error(path: &Path, error: &dyn std::fmt::Display) -> NodeError {
    NodeError::Directory { path: path.to_owned(), why: error.to_string() }
}

impl Node {
    /// Takes the data directory and starts the listeners.
    ///
    /// # Errors
    /// [`NodeError`] says what is in the way; nothing is overwritten.
    pub async fn start(env: Env, options: NodeOptions) -> Result<Self, NodeError> {
        let directory = options.data_dir.clone();
        env.disk.create_dir_all(&directory).map_err(|error| directory_error(&directory, &error))?;
        let lock = env.disk.lock(&directory).map_err(|error| directory_error(&directory, &error))?;
        let lock = lock.ok_or_else(|| NodeError::InUse(directory.clone()))?;
        let key = Arc::new(identity::node_key(&env, &directory)?);
        let store = Store::open(&env, &directory.join("raft"))?;
        let security = if options.insecure_dev { Security::InsecureLoopback } else { Security::Tls(&key) };
        let transport = Transport::start(TransportOptions { listen: options.raft, security }, &env).await?;
        let stop = CancellationToken::new();
        let avss = Avss::default();
        let listen = async |address: SocketAddr| {
            env.net.listen(address).await.map_err(|error| NodeError::Listen { address, why: error.to_string() })
        };
        let listener = listen(options.http).await?;
        let http = listener.local_addr();
        env.spawn(serve::serve(env.clone(), listener, public::router(env.clone(), avss.clone()), stop.clone()));
        let admin = match options.admin {
            Some(address) if !admin::may_listen(address) => return Err(NodeError::AdminOffLoopback(address)),
            Some(address) => {
                let token = identity::admin_token(&env, &directory)?;
                let token = Token::new(token.to_string()).ok_or_else(|| {
                    directory_error(&directory.join("admin.token"), &"it is shorter than 32 characters")
                })?;
                let listener = listen(address).await?;
                let address = listener.local_addr();
                let router = admin::router(env.clone(), avss.clone(), token);
                env.spawn(serve::serve(env.clone(), listener, router, stop.clone()));
                Some(address)
            }
            None => None,
        };
        let urls = Urls {
            raft: options.raft_url.clone().unwrap_or_else(|| transport.local_url()),
            http: options.http_url.clone().unwrap_or_else(|| format!("http://{http}")),
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let bls_pool = env.threads.pool("bls", cores, QUEUE).map_err(NodeError::Threads)?;
        let io_pool = env.threads.pool("disk", IO_THREADS, QUEUE).map_err(NodeError::Threads)?;
        let keyvalue_pool = env.threads.pool("keyvalue", KEYVALUE_THREADS, QUEUE).map_err(NodeError::Threads)?;
        let plugins = HostOptions {
            cache_dir: Some(directory.join("plugins")),
            compiler: options.compiler.clone(),
            ..HostOptions::default()
        };
        let plugins = Host::new(plugins, &env)?;
        let shared = Shared::new(&env);
        let fatal = Arc::new(watch::Sender::new(None));
        let mut poisoned = store.poisoned();
        let (telling, stopping) = (Arc::clone(&fatal), stop.clone());
        env.spawn(async move {
            tokio::select! {
                poison = poisoned.wait_for(Option::is_some) => {
                    let why = poison.ok().and_then(|why| why.clone()).unwrap_or_default();
                    telling.send_replace(Some(format!("the Raft store cannot be written any more: {why}; mend the disk, then start again")));
                }
                () = stopping.cancelled() => {}
            }
        });
        Ok(Self {
            env,
            options,
            urls,
            admin,
            key,
            store,
            transport,
            plugins,
            shared,
            bls_pool,
            io_pool,
            keyvalue_pool,
            avss,
            running: Vec::new(),
            stop,
            fatal,
            _lock: lock,
        })
    }

    /// How others reach the public listener.
    #[must_use]
    pub fn http_url(&self) -> &str {
        &self.urls.http
    }

    /// How others reach the Raft listener.
    #[must_use]
    pub fn raft_url(&self) -> &str {
        &self.urls.raft
    }

    /// Where the admin listener is.
    #[must_use]
    pub const fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Set when the process must end: going on would risk what was promised.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.subscribe()
    }

    /// Starts an AVS: founds its cluster, joins it, or goes on in it. Returns when the node is a member.
    ///
    /// # Errors
    /// [`NodeError`]; the other AVSs go on.
    pub async fn add(&mut self, options: AvsOptions) -> Result<AvsHandle, NodeError> {
        let avs = options.service.avs.clone();
        if self.running.iter().any(|running| running.handle.service().avs == avs) {
            return Err(NodeError::Duplicate);
        }
        let directory = self.options.data_dir.join("avs").join(avs.as_str());
        let known = identity::read(&self.env, &directory)?;
        if let Some(known) = &known {
            if known.removed {
                return Err(NodeError::Removed { node: known.node });
            }
            if known.service != options.service {
                return Err(NodeError::OtherRecord);
            }
        }
        let mut keyvalue = None;
        let (callbacks, bundles) = match options.logic {
            Logic::Native(callbacks) => (callbacks, None),
            Logic::Plugin(bundle, grants) => {
                let mut provided = options.provided;
                if provided.keyvalue.is_none() && grants.imports.contains(&Import::Keyvalue) {
                    provided.keyvalue = Some(self.keyvalue(&directory).await?);
                }
                keyvalue.clone_from(&provided.keyvalue);
                let store = bundles::Store {
                    env: self.env.clone(),
                    directory: directory.join("bundles"),
                    io: self.io_pool.clone(),
                    host: self.plugins.clone(),
                    tenant: self.plugins.tenant_with(provided),
                    grants,
                    service: options.service.clone(),
                    chain: Arc::clone(&options.chain),
                };
                store.put(&bundle).await.map_err(|error| directory_error(&directory, &error))?;
                let callbacks = match store.callbacks(bundle).await {
                    Ok(callbacks) => callbacks,
                    Err(refused) => {
                        drop(store);
                        self.close(keyvalue).await;
                        return Err(refused.into());
                    }
                };
                (callbacks, Some(Arc::new(store) as Arc<dyn Bundles>))
            }
        };
        let newcomer = Newcomer {
            env: &self.env,
            service: &options.service,
            chain: options.chain.as_ref(),
            wallet: &options.wallet,
            node_key: self.key.public(),
            urls: &self.urls,
        };
        let record = match (known, &options.entrance) {
            (Some(record), _) => record,
            (None, Entrance::Found { .. }) => newcomer.found(),
            (None, Entrance::Join { urls, registry }) => newcomer.join(urls, *registry).await?,
        };
        identity::write(&self.env, &directory, &record)?;
        let replica = Replica::default();
        let group = self.start_group(&record, &replica).await?;
        let ids = (record.node, record.cluster, record.epoch);
        if record.founder {
            let ledger = Ledger::new(replica.clone(), group.clone(), self.env.clone(), Arc::clone(&self.key), ids);
            if let Entrance::Found { settings, start_block } = options.entrance {
                let how = (*settings, callbacks.bundle_digest(), start_block);
                newcomer.begin(&record, &replica, &ledger, how).await?;
            }
        }
        let engine = eigenshift_engine::AvsOptions {
            service: options.service,
            identity: record.identity(),
            node_key: Arc::clone(&self.key),
            bls: options.bls,
            wallet: options.wallet,
            chain: options.chain,
            callbacks,
            bundles,
            group: group.clone(),
            replica: replica.clone(),
            guard: directory.join("guard.redb"),
            evidence: directory.join("evidence.json"),
            fresh: !record.guarded,
            timers: options.timers,
            patience: self.options.patience,
            shared: self.shared.clone(),
            bls_pool: self.bls_pool.clone(),
            io_pool: self.io_pool.clone(),
        };
        let handle = eigenshift_engine::avs::start(&self.env, engine).await?;
        let record = Record { guarded: true, ..record };
        identity::write(&self.env, &directory, &record)?;
        self.watch(directory, record, handle.clone(), group.clone(), &replica);
        self.avss.insert(handle.clone());
        self.running.push(Running { handle: handle.clone(), group, keyvalue });
        Ok(handle)
    }

    /// The store of an AVS's plugins.
    async fn keyvalue(&self, directory: &Path) -> Result<KeyValueStore, NodeError> {
        let (env, pool, directory) = (self.env.clone(), self.keyvalue_pool.clone(), directory.to_owned());
        let opened = self.keyvalue_pool.run(move || {
            env.disk.create_dir_all(&directory).map_err(|error| directory_error(&directory, &error))?;
            let path = directory.join("keyvalue.redb");
            let opened = KeyValueStore::open(&env, &path, pool, KEYVALUE_CACHE);
            opened.map_err(|source| NodeError::Keyvalue { path, source })
        });
        opened.await.unwrap_or_else(|closed| Err(directory_error(Path::new("keyvalue.redb"), &closed)))
    }

    /// Closes it where an fsync may take its time.
    async fn close(&self, store: Option<KeyValueStore>) {
        if let Some(store) = store {
            // Without the pool's threads nobody uses it any more.
            let _ = self.keyvalue_pool.run(move || store.close()).await;
        }
    }

    async fn start_group(&self, record: &Record, replica: &Replica) -> Result<Group, NodeError> {
        let peers = PeerBook::new();
        let own = Peer { node: record.node, raft_url: self.urls.raft.clone(), key: self.key.public() };
        if !record.founder {
            peers.set(record.node.0, record.peers.clone());
        }
        let options = GroupOptions {
            avs: record.service.avs.clone(),
            cluster: record.cluster,
            epoch: record.epoch,
            node: record.node,
            timing: self.options.timing,
            snapshot_every: SNAPSHOT_EVERY,
            keep_logs: KEEP_LOGS,
            peers,
        };
        let group = Group::start(options, &self.store, &self.transport, replica.clone(), &self.env).await?;
        if record.founder {
            match group.bootstrap(own).await {
                Ok(()) | Err(eigenshift_consensus::Error::AlreadyInitialized) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(group)
    }

    /// Ends the AVS here when the cluster removed this node, or when going on would be guessing.
    fn watch(&self, directory: PathBuf, record: Record, handle: AvsHandle, group: Group, replica: &Replica) {
        let (mut removed, mut halted, mut stopped) = (group.removed(), replica.halted(), group.stopped());
        let (stop, env) = (self.stop.clone(), self.env.clone());
        self.env.spawn(async move {
            let was_removed = tokio::select! {
                // A removal is written down even when the host stops at the same moment.
                biased;
                changed = removed.wait_for(|removed| *removed) => if changed.is_err() { return } else { true },
                changed = halted.wait_for(Option::is_some) => if changed.is_err() { return } else { false },
                changed = stopped.wait_for(Option::is_some) => if changed.is_err() { return } else { false },
                () = stop.cancelled() => return,
            };
            handle.stop();
            group.kill();
            if was_removed {
                tracing::error!(avs = %record.service.avs, node = %record.node, "the cluster removed this node; join again with an empty data directory");
                if let Err(error) = identity::write(&env, &directory, &Record { removed: true, ..record }) {
                    tracing::error!("the removal could not be written down: {error}");
                }
            } else if let Some(halt) = halted.borrow().as_ref() {
                tracing::error!(avs = %record.service.avs, "{halt}");
            } else if let Some(why) = stopped.borrow().as_ref() {
                tracing::error!(avs = %record.service.avs, "the group stopped on this node: {why}");
            }
        });
    }

    /// Ends everything in order: what was acknowledged is on disk. Leadership is handed on by those who remain.
    pub async fn shutdown(self) {
        self.stop.cancel();
        for running in &self.running {
            running.handle.shutdown().await;
            running.group.shutdown().await;
            self.close(running.keyvalue.clone()).await;
        }
        self.transport.stop();
        let (running, store) = (self.running, self.store);
        drop(running);
        drop(self.avss);
        drop(self.plugins);
        store.close().await;
    }

    /// Stops dead, as a crash would: nobody is told.
    pub fn kill(self) {
        self.stop.cancel();
        self.transport.stop();
        for running in &self.running {
            running.handle.stop();
            running.group.kill();
        }
    }
}
