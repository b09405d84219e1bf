//! Checks, compiles and loads bundles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use eigenshift_env::{Env, Pool};
use eigenshift_types::B256;
use parking_lot::Mutex;
use wasmtime::component::{Component, Linker};

use crate::bundle::{Bundle, sha256};
use crate::cache::{Cache, Room};
use crate::capability;
use crate::capability::config::Config;
use crate::capability::http::{Client, HttpPolicy};
use crate::capability::keyvalue::KeyValueStore;
use crate::capability::secrets::Secrets;
use crate::compile::{Compilation, CompileLimits, Compiler};
use crate::error::LoadError;
use crate::golden;
use crate::inspect::inspect;
use crate::manifest::{Import, Manifest};
use crate::plugin::{Origin, Plugin};
use crate::sandbox::call::{Code, Shared, text};
use crate::sandbox::executor::Executor;
use crate::sandbox::gate::{Gate, Shares, TenantId};
use crate::sandbox::imports::CallState;
use crate::sandbox::member::Member;
use crate::sandbox::settings;
use crate::sandbox::warm::{self, Reuse, Shelf};
use crate::track::v0_1::Exports;
use crate::usage::Account;

/// How many loads may wait for a compile thread.
const COMPILE_QUEUE: usize = 32;
/// Of the instances that are kept between calls, how many may be one AVS's.
const WARM_PER_TENANT: usize = 4;

/// The operator's bounds. The defaults suit a small machine.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where compiled code is kept over restarts; none keeps it in memory only. The directory is made private to this
    /// user, and refused when others may use it.
    pub cache_dir: Option<PathBuf>,
    /// Calls that run at the same time, over all plugins: 1 to 1,024.
    pub call_slots: u32,
    /// Of these, how many one plugin may hold, so that it cannot hold all: at least 1.
    pub slots_per_plugin: u32,
    /// How long a call waits for a slot before it is [`CallError::Busy`](crate::CallError::Busy).
    pub slot_wait: Duration,
    /// Wall time of a call, chain reads included: at least 1 ms.
    pub call_deadline: Duration,
    /// Largest component, in bytes.
    pub max_component_bytes: usize,
    /// Most memory that a manifest may ask for, in bytes.
    pub max_memory_bytes: u64,
    /// Most fuel that a manifest may ask for.
    pub max_fuel: u64,
    /// Threads that guests run on: at least 1.
    pub guest_threads: usize,
    /// Memory that all running calls may take together, in bytes: at least what one plugin may. Each call reserves what
    /// its manifest asks for before it begins, since a growth that the manifest allows must never fail on one operator
    /// and succeed on another.
    pub guest_memory_bytes: u64,
    /// Of this, how much one plugin's calls may: at least `max_memory_bytes`.
    pub memory_bytes_per_plugin: u64,
    /// Instances that are kept between calls, for bundles that ask for it: at most 1024.
    pub warm_instances: u32,
    /// Their memory, in bytes, beside that of calls.
    pub warm_memory_bytes: u64,
    /// Who compiles.
    pub compiler: Compiler,
    /// What compiling one component may take, when a child does it.
    pub compile_limits: CompileLimits,
    /// Components that are compiled at the same time: at least 1.
    pub compile_threads: usize,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            call_slots: 32,
            slots_per_plugin: 16,
            slot_wait: Duration::from_secs(5),
            call_deadline: Duration::from_secs(10),
            max_component_bytes: 32 * 1024 * 1024,
            max_memory_bytes: 256 * 1024 * 1024,
            max_fuel: 100_000_000_000,
            // With the default manifest, as much as the slots need.
            guest_memory_bytes: 2 * 1024 * 1024 * 1024,
            memory_bytes_per_plugin: 1024 * 1024 * 1024,
            warm_instances: 32,
            warm_memory_bytes: 512 * 1024 * 1024,
            compiler: Compiler::InThisProcess,
            compile_limits: CompileLimits::default(),
            guest_threads: std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8),
            compile_threads: 1,
        }
    }
}

/// What the operator lets a bundle import, and how it sets it up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The imports.
    pub imports: BTreeSet<Import>,
    /// What the operator sets of the configuration that the bundle declares.
    pub config: BTreeMap<String, String>,
}

impl Grants {
    /// Every import there is; nothing set.
    #[must_use]
    pub fn all() -> Self {
        Import::ALL.into_iter().collect()
    }

    /// No import.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }
}

impl FromIterator<Import> for Grants {
    fn from_iter<I: IntoIterator<Item = Import>>(imports: I) -> Self {
        Self { imports: imports.into_iter().collect(), config: BTreeMap::new() }
    }
}

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An option is out of its bounds.
    #[error("{option} is out of bounds: {fix}")]
    Option {
        /// The option.
        option: &'static str,
        /// What it may be.
        fix: &'static str,
    },
    /// The sandbox does not start on this machine.
    #[error("the WebAssembly engine does not start: {0}; is address space limited (ulimit -v)?")]
    Engine(String),
    /// No threads.
    #[error("cannot start the plugin host's threads: {0}")]
    Threads(#[source] io::Error),
    /// The cache directory cannot be used.
    #[error("cannot use the directory for compiled plugins, {}: {source}", .directory.display())]
    Cache {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A component that is being compiled or is in use; a second load of it waits for the first.
type InFlight = Arc<tokio::sync::Mutex<Weak<Component>>>;

struct Inner {
    shared: Arc<Shared>,
    shelf: Arc<Shelf>,
    options: HostOptions,
    linker: Linker<CallState>,
    /// The same with WASI: for components that import it.
    wasi_linker: Linker<CallState>,
    compilation: Arc<Compilation>,
    compilers: Pool,
    components: Mutex<HashMap<B256, InFlight>>,
    tenants: AtomicU64,
}

/// What a node gives an AVS besides places and time. The default gives nothing: a bundle that needs it is refused.
#[derive(Clone, Debug, Default)]
pub struct TenantOptions {
    /// The AVS's store; its plugins, one after the other, find there what those before them left.
    pub keyvalue: Option<KeyValueStore>,
    /// The operator's secrets; a plugin gets those of them that its manifest lists.
    pub secrets: Secrets,
    /// What the operator sets about requests to other hosts.
    pub http: HttpPolicy,
}

/// Whose calls share: one AVS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tenant {
    member: Arc<Member>,
    options: Arc<TenantOptions>,
    http: Arc<Client>,
    account: Arc<Account>,
}

/// Loads bundles into sandboxes of one engine. Cheap to clone; its threads end when the last clone and the last plugin
/// are gone.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("options", &self.0.options).finish_non_exhaustive()
    }
}

fn check(options: &HostOptions) -> Result<(), HostError> {
    let bound = |holds: bool, option, fix| if holds { Ok(()) } else { Err(HostError::Option { option, fix }) };
    bound((1..=1024).contains(&options.call_slots), "call_slots", "1 to 1024")?;
    bound(options.warm_instances <= 1024, "warm_instances", "at most 1024")?;
    bound(options.slots_per_plugin >= 1, "slots_per_plugin", "at least 1")?;
    bound(options.call_deadline >= Duration::from_millis(1), "call_deadline", "at least 1 ms")?;
    bound(options.guest_threads >= 1, "guest_threads", "at least 1")?;
    bound(options.compile_threads >= 1, "compile_threads", "at least 1")?;
    let memory = 64 * 1024..=1024 * 1024 * 1024;
    bound(memory.contains(&options.max_memory_bytes), "max_memory_bytes", "64 KiB to 1 GiB")?;
    let (one, all) = (options.memory_bytes_per_plugin, options.guest_memory_bytes);
    bound(one >= options.max_memory_bytes, "memory_bytes_per_plugin", "at least max_memory_bytes")?;
    bound(all >= one, "guest_memory_bytes", "at least memory_bytes_per_plugin")?;
    let limits = &options.compile_limits;
    bound(limits.time >= Duration::from_millis(1), "compile_limits.time", "at least 1 ms")?;
    bound(limits.cpu >= Duration::from_secs(1), "compile_limits.cpu", "at least 1 s")?;
    bound(limits.memory_bytes >= 64 * 1024 * 1024, "compile_limits.memory_bytes", "at least 64 MiB")
}

impl Host {
    /// Starts the engine and its threads. Blocks for the cache directory's key file.
    ///
    /// # Errors
    /// [`HostError`]: an option is out of bounds, or the machine does not give what is needed.
    pub fn new(options: HostOptions, env: &Env) -> Result<Self, HostError> {
        check(&options)?;
        let engine_error = |error: wasmtime::Error| HostError::Engine(text(&error));
        let max_memory = usize::try_from(options.max_memory_bytes).unwrap_or(usize::MAX);
        let engine = settings::engine(options.call_slots.saturating_add(options.warm_instances), max_memory)
            .map_err(engine_error)?;
        let mut linker = Linker::new(&engine);
        capability::add_to_linker(&mut linker).map_err(engine_error)?;
        let mut wasi_linker = linker.clone();
        capability::add_wasi_to_linker(&mut wasi_linker).map_err(engine_error)?;
        let identity = settings::identity(&engine);
        let cache = match &options.cache_dir {
            None => None,
            Some(directory) => Some(
                Cache::open(env, directory, identity, Room::default())
                    .map_err(|source| HostError::Cache { directory: directory.clone(), source })?,
            ),
        };
        let executor = Executor::start(env, &engine, options.guest_threads).map_err(HostError::Threads)?;
        let compilation = Arc::new(Compilation {
            env: env.clone(),
            engine,
            identity,
            compiler: options.compiler.clone(),
            limits: options.compile_limits,
            max_component: options.max_component_bytes,
            cache,
        });
        let compilers =
            env.threads.pool("compile", options.compile_threads, COMPILE_QUEUE).map_err(HostError::Threads)?;
        let shared = Arc::new(Shared {
            env: env.clone(),
            executor,
            gate: Gate::new(Shares {
                places: options.call_slots as usize,
                places_per_tenant: options.slots_per_plugin as usize,
                memory: options.guest_memory_bytes,
                memory_per_tenant: options.memory_bytes_per_plugin,
            }),
            slot_wait: options.slot_wait,
            deadline: options.call_deadline,
        });
        let shelf = Shelf::new(warm::Room {
            instances: options.warm_instances as usize,
            instances_per_tenant: WARM_PER_TENANT,
            bytes: options.warm_memory_bytes,
        });
        Ok(Self(Arc::new(Inner {
            shared,
            shelf,
            options,
            linker,
            wasi_linker,
            compilation,
            compilers,
            components: Mutex::default(),
            tenants: AtomicU64::new(0),
        })))
    }

    /// Loads a bundle: checks the manifest against the operator's limits, how complex the component is and what it imports,
    /// compiles it or takes the compiled code from the cache, checks exports and types, calls `describe` and runs the golden tasks.
    ///
    /// Loads of one component at the same time compile it once.
    ///
    /// # Errors
    /// [`LoadError`] names what is wrong. Nothing of a bundle that is not loaded stays in memory.
    pub async fn load(&self, bundle: Bundle, grants: &Grants) -> Result<Plugin, LoadError> {
        self.load_for(&self.tenant(), bundle, grants).await
    }

    /// A new tenant: its plugins share places and time with each other, and with other tenants in turn.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        self.tenant_with(TenantOptions::default())
    }

    /// As [`Host::tenant`], with what the node gives it.
    #[must_use]
    pub fn tenant_with(&self, options: TenantOptions) -> Tenant {
        self.admit(Member::new, options)
    }

    fn admit(&self, member: impl FnOnce(TenantId) -> Member, options: TenantOptions) -> Tenant {
        let member = Arc::new(member(TenantId(self.0.tenants.fetch_add(1, Ordering::Relaxed))));
        let http = Arc::new(Client::new(&self.0.shared.env, options.http.clone()));
        Tenant { member, options: Arc::new(options), http, account: Arc::default() }
    }

    /// A tenant for versions that run in the shadow of the active one, with what that one is given, but that nothing is
    /// changed by: the store is read and not written, requests are GET and HEAD. Its calls take what processor time is left.
    #[must_use]
    pub fn shadow_tenant(&self, mut options: TenantOptions) -> Tenant {
        options.keyvalue = options.keyvalue.as_ref().map(KeyValueStore::read_only);
        options.http.reads_only = true;
        self.admit(Member::kept_slow, options)
    }

    /// As [`Host::load`], for a tenant that may have other plugins: the versions of one AVS's.
    ///
    /// # Errors
    /// As [`Host::load`].
    pub async fn load_for(&self, tenant: &Tenant, bundle: Bundle, grants: &Grants) -> Result<Plugin, LoadError> {
        let manifest = Manifest::parse(bundle.manifest())?;
        capability::check_grants(&manifest, grants)?;
        self.check_limits(&manifest)?;
        let config = Config::resolve(&manifest, &grants.config)?;
        let keyvalue = if manifest.imports.contains(&Import::Keyvalue) {
            let store = tenant.options.keyvalue.clone().ok_or(LoadError::NoStore)?;
            Some((store, manifest.keyvalue))
        } else {
            None
        };
        let secrets = tenant.options.secrets.listed(&manifest)?;
        let lists_http = manifest.imports.contains(&Import::Http);
        let http = lists_http.then(|| (Arc::clone(&tenant.http), Arc::new(tenant.http.limits(&manifest))));
        let len = bundle.component().len();
        if len > self.0.options.max_component_bytes {
            return Err(LoadError::TooLarge { len, max: self.0.options.max_component_bytes });
        }
        let bytes = bundle.component().clone();
        let report = self.on_compiler(move || inspect(&bytes)).await?;
        capability::check_imports(&report, &manifest, grants)?;
        let (component, origin) = self.component(&bundle).await?;
        let wasi = capability::imports_wasi(&report);
        let linker = if wasi { &self.0.wasi_linker } else { &self.0.linker };
        let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::WrongTypes(text(&error)))?;
        let exports = Exports::find(&pre)?;
        if !manifest.triggers.is_empty() && !exports.has_source() {
            return Err(LoadError::TriggerWithoutSource);
        }
        let account = tenant.account.open();
        let code = Code {
            shared: Arc::clone(&self.0.shared),
            name: manifest.name.as_str().into(),
            limits: manifest.limits,
            imports: manifest.imports.clone(),
            config,
            keyvalue,
            http,
            wasi,
            redactor: Arc::new(secrets.redactor()),
            secrets,
            pre,
            tenant: Arc::clone(&tenant.member),
            reuse: Reuse::new(&self.0.shelf, tenant.member.id, manifest.reuse_calls),
            totals: Arc::clone(&account.totals),
            account,
        };
        let descriptor = exports.describe(&code).await?;
        golden::check(&manifest, &exports, &code).await?;
        tracing::info!(plugin = manifest.name, version = manifest.version, digest = %bundle.digest(), ?origin, "plugin loaded");
        Ok(Plugin::new(bundle.digest(), manifest, descriptor, origin, component, code, exports))
    }

    fn check_limits(&self, manifest: &Manifest) -> Result<(), LoadError> {
        let options = &self.0.options;
        for (limit, wanted, granted) in [
            ("fuel", manifest.limits.fuel, options.max_fuel),
            ("memory-bytes", manifest.limits.memory_bytes, options.max_memory_bytes),
        ] {
            if wanted > granted {
                return Err(LoadError::LimitNotGranted { limit, wanted, granted });
            }
        }
        Ok(())
    }

    /// What would keep an async thread busy.
    async fn on_compiler<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let done = self.0.compilers.run(work).await;
        done.unwrap_or_else(|closed| Err(LoadError::Internal(closed.to_string())))
    }

    async fn component(&self, bundle: &Bundle) -> Result<(Arc<Component>, Origin), LoadError> {
        let bytes = bundle.component().clone();
        let digest = sha256(&bytes);
        let in_flight = Arc::clone(self.0.components.lock().entry(digest).or_default());
        let mut known = in_flight.lock().await;
        if let Some(component) = known.upgrade() {
            return Ok((component, Origin::Memory));
        }
        let (compilation, in_use) = (Arc::clone(&self.0.compilation), self.in_use());
        // A caller that goes away takes its compiler with it.
        let cancel = Cancel::default();
        let cancelled = Arc::clone(&cancel.0);
        let compiled = self.on_compiler(move || compilation.obtain(digest, &bytes, &in_use, &cancelled)).await;
        drop(cancel);
        let outcome = compiled.map(|(component, origin)| {
            let component = Arc::new(component);
            *known = Arc::downgrade(&component);
            (component, origin)
        });
        drop(known);
        drop(in_flight);
        // What nobody uses and nobody waits for.
        self.0.components.lock().retain(|_, entry| {
            Arc::strong_count(entry) > 1 || entry.try_lock().is_ok_and(|component| component.strong_count() > 0)
        });
        outcome
    }

    /// Components that a plugin has, or that are being compiled.
    fn in_use(&self) -> BTreeSet<B256> {
        let components = self.0.components.lock();
        let used = |entry: &InFlight| entry.try_lock().map_or(true, |component| component.strong_count() > 0);
        components.iter().filter(|(_, entry)| used(entry)).map(|(digest, _)| *digest).collect()
    }
}

/// Says, when dropped, that nobody waits any more.
#[derive(Default)]
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
