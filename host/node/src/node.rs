//! The host: listeners, stores, pools, and the AVSs on it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use eigenshift_api::admin::{self, Token};
use eigenshift_api::{Avss, Logs, public, serve};
use eigenshift_bls::SecretKey;
use eigenshift_chain::{Chain, Wallet};
use eigenshift_consensus::{Security, Store, Timing, Transport, TransportOptions};
use eigenshift_engine::callbacks::Callbacks;
use eigenshift_engine::{Patience, Shared, Timer};
use eigenshift_env::disk::Lock;
use eigenshift_env::{Env, Pool};
use eigenshift_ledger::Settings;
use eigenshift_plugin::{Bundle, Compiler, Grants, Host, HostOptions, TenantOptions};
use eigenshift_types::{Address, AvsId, NodeKey, Service};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::bundles::Approval;
use crate::control::{Control, Source};
use crate::error::{NodeError, directory_error};
use crate::hosting::Slot;
use crate::identity;
use crate::membership::Urls;

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
    /// The plugin host of several nodes in one process, which compiles a component once for all of them; none for one of
    /// its own, made with `compiler`.
    pub plugins: Option<Host>,
    /// Raft's timeouts.
    pub timing: Timing,
    /// How long this node waits for what.
    pub patience: Patience,
    /// Where each AVS's newest log lines are; whoever installs the process's log fills it.
    pub logs: Logs,
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
    /// Whether other AVSs of this node may have the same key. They have to say so too: what is signed for one could count
    /// for the other.
    pub share_bls_key: bool,
    /// The operator's account.
    pub wallet: Wallet,
    /// The AVS's chain.
    pub chain: Arc<dyn Chain>,
    /// The AVS's logic.
    pub logic: Logic,
    /// What it takes for another version of a plugin to become active.
    pub approval: Approval,
    /// Timers that fire at the leader.
    pub timers: Vec<Timer>,
    /// What the operator gives a plugin. Without a store in it, the node keeps one in its directory when the grants have
    /// `keyvalue`.
    pub provided: TenantOptions,
}

/// Threads for calls that wait for the disk: each waits for one fsync.
const IO_THREADS: usize = 2;
const QUEUE: usize = 256;
/// The same for what plugins keep: theirs never wait before the signing guard's.
const KEYVALUE_THREADS: usize = 2;

/// AVSs whose bundle is read, compiled and tried out at the same time. Those that wait for their chain or their cluster do
/// not count.
const STARTS: usize = 4;

/// What all AVSs of a host share.
pub(crate) struct Inner {
    pub env: Env,
    pub options: NodeOptions,
    pub urls: Urls,
    pub key: Arc<NodeKey>,
    pub transport: Transport,
    pub plugins: Host,
    pub shared: Shared,
    pub bls_pool: Pool,
    pub io_pool: Pool,
    pub keyvalue_pool: Pool,
    pub starts: Semaphore,
    pub avss: Avss,
    pub slots: Mutex<BTreeMap<AvsId, Arc<Slot>>>,
    /// Where the options of AVSs come from that are added by name.
    pub source: OnceLock<Arc<dyn Source>>,
    pub stop: CancellationToken,
    /// None once the node has stopped.
    pub open: Mutex<Option<Open>>,
    admin: Option<SocketAddr>,
    fatal: Arc<watch::Sender<Option<String>>>,
}

/// What another process, or a later node of this one, cannot have meanwhile.
pub(crate) struct Open {
    pub store: Store,
    _lock: Box<dyn Lock>,
}

/// A running host. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Inner>);

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
                Some((listen(address).await?, token))
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
        let plugins = match &options.plugins {
            Some(shared) => shared.clone(),
            None => {
                let own = HostOptions {
                    cache_dir: Some(directory.join("plugins")),
                    compiler: options.compiler.clone(),
                    ..HostOptions::default()
                };
                Host::new(own, &env)?
            }
        };
        let shared = Shared::new(&env);
        let fatal = Arc::new(watch::Sender::new(None));
        watch_store(&env, &store, &fatal, &stop);
        let inner = Arc::new(Inner {
            env,
            urls,
            key,
            transport,
            plugins,
            shared,
            bls_pool,
            io_pool,
            keyvalue_pool,
            starts: Semaphore::new(STARTS),
            avss,
            slots: Mutex::default(),
            source: OnceLock::new(),
            stop,
            open: Mutex::new(Some(Open { store, _lock: lock })),
            admin: admin.as_ref().map(|(listener, _)| listener.local_addr()),
            fatal,
            options,
        });
        if let Some((listener, token)) = admin {
            let control = Arc::new(Control::of(&inner));
            let router =
                admin::router(inner.env.clone(), inner.avss.clone(), inner.options.logs.clone(), control, token);
            inner.env.spawn(serve::serve(inner.env.clone(), listener, router, inner.stop.clone()));
        }
        Ok(Self(inner))
    }

    /// Says where the options of AVSs come from that the admin listener is asked to add or to resume. Said once.
    pub fn configured_by(&self, source: Arc<dyn Source>) {
        // Whoever said it first knows.
        let _ = self.0.source.set(source);
    }

    /// How others reach the public listener.
    #[must_use]
    pub fn http_url(&self) -> &str {
        &self.0.urls.http
    }

    /// How others reach the Raft listener.
    #[must_use]
    pub fn raft_url(&self) -> &str {
        &self.0.urls.raft
    }

    /// Where the admin listener is.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.0.admin
    }

    /// Set when the process must end: going on would risk what was promised.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.0.fatal.subscribe()
    }

    /// Ends everything in order: what was acknowledged is on disk. Leadership is handed on by those who remain.
    pub async fn shutdown(self) {
        self.0.stop.cancel();
        self.0.close_all().await;
        self.0.transport.stop();
        let open = self.0.open.lock().take();
        if let Some(Open { store, _lock }) = open {
            store.close().await;
        }
    }

    /// Stops dead, as a crash would: nobody is told.
    pub fn kill(self) {
        self.0.stop.cancel();
        self.0.transport.stop();
        self.0.kill_all();
        drop(self.0.open.lock().take());
    }
}

/// Has the process end when nothing can be promised any more.
fn watch_store(env: &Env, store: &Store, fatal: &Arc<watch::Sender<Option<String>>>, stop: &CancellationToken) {
    let mut poisoned = store.poisoned();
    let (telling, stopping) = (Arc::clone(fatal), stop.clone());
    env.spawn(async move {
        tokio::select! {
            poison = poisoned.wait_for(Option::is_some) => {
                let why = poison.ok().and_then(|why| why.clone()).unwrap_or_default();
                telling.send_replace(Some(format!("the Raft store cannot be written any more: {why}; mend the disk, then start again")));
            }
            () = stopping.cancelled() => {}
        }
    });
}
