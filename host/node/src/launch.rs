//! One AVS's start, from its options to its drivers, and its end.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use eigenshift_consensus::{Group, GroupOptions, Peer, PeerBook};
use eigenshift_engine::AvsHandle;
use eigenshift_engine::avs::StartError;
use eigenshift_engine::callbacks::Callbacks;
use eigenshift_engine::guard::{Guard, GuardError, Owner};
use eigenshift_engine::ledger::{Ledger, Replica};
use eigenshift_engine::logics::Bundles;
use eigenshift_env::Env;
use eigenshift_plugin::{Bundle, Grants, Import, KeyValueStore, TenantOptions};
use eigenshift_types::{AvsId, NodeId, Service};
use tokio_util::sync::CancellationToken;

use crate::bundles::{self, Approval, Approvals};
use crate::error::{NodeError, directory_error};
use crate::hosting::Slot;
use crate::identity::{self, Predecessor, Record};
use crate::membership::Newcomer;
use crate::node::{AvsOptions, Entrance, Inner, Logic};

/// A snapshot of a ledger after so many entries, and how many are kept before it.
const SNAPSHOT_EVERY: u64 = 4096;
const KEEP_LOGS: u64 = 1024;

/// Memory of a plugin's store.
const KEYVALUE_CACHE: usize = 1024 * 1024;

const GUARD: &str = "guard.redb";
const KEYVALUE: &str = "keyvalue.redb";
const BUNDLES: &str = "bundles";
const PAUSED: &str = "paused";

/// What an AVS has open. It is closed by [`Inner::close`]: a file that is only dropped may still be open at the next start.
#[derive(Default)]
pub(crate) struct Opened {
    keyvalue: Option<KeyValueStore>,
    group: Option<Group>,
    replica: Option<Replica>,
    handle: Option<AvsHandle>,
}

impl Opened {
    /// A group alone.
    pub fn of(group: Group) -> Self {
        Self { group: Some(group), ..Self::default() }
    }

    pub fn handle(&self) -> Option<&AvsHandle> {
        self.handle.as_ref()
    }

    /// Stops dead.
    pub fn kill(&self) {
        if let Some(handle) = &self.handle {
            handle.stop();
        }
        if let Some(group) = &self.group {
            group.kill();
        }
    }
}

/// A start under way.
pub(crate) struct Start {
    pub node: Arc<Inner>,
    /// Whether one that left its cluster is to join again.
    pub asked: bool,
    pub call_off: CancellationToken,
}

impl Start {
    /// Waits for what may take any time. What opens files is never broken off.
    pub async fn unless_called_off<T>(&self, work: impl Future<Output = Result<T, NodeError>>) -> Result<T, NodeError> {
        tokio::select! {
            done = work => done,
            () = self.call_off.cancelled() => Err(NodeError::Cancelled),
        }
    }

    /// Starts an AVS; what it has open by then is in `opened`, whatever comes of it.
    pub async fn run(&self, options: AvsOptions, opened: &mut Opened) -> Result<(AvsHandle, Record), NodeError> {
        let node = &*self.node;
        let directory = node.directory(&options.service.avs);
        let known = self.known(&options).await?;
        let (callbacks, bundles) = self
            .logic(&options.service, &options.chain, options.logic, options.approval, options.provided, opened)
            .await?;
        let newcomer = Newcomer {
            env: &node.env,
            service: &options.service,
            chain: options.chain.as_ref(),
            wallet: &options.wallet,
            node_key: node.key.public(),
            urls: &node.urls,
        };
        let record = match (known, &options.entrance) {
            (Some(record), _) if !record.removed => record,
            (Some(_), Entrance::Found { .. }) => return Err(NodeError::FoundedBefore),
            (None, Entrance::Found { .. }) => newcomer.found(),
            (former, Entrance::Join { urls, registry }) => {
                let predecessor = former.map(|former| Predecessor { node: former.node, guarded: former.guarded });
                Record { predecessor, ..self.unless_called_off(newcomer.join(urls, *registry)).await? }
            }
        };
        node.write_record(&options.service.avs, &record).await?;
        node.inherit(&directory, &record).await?;
        let replica = Replica::default();
        let group = node.start_group(&record, &replica).await?;
        opened.group = Some(group.clone());
        opened.replica = Some(replica.clone());
        let ids = (record.node, record.cluster, record.epoch);
        if record.founder {
            let ledger = Ledger::new(replica.clone(), group.clone(), node.env.clone(), Arc::clone(&node.key), ids);
            if let Entrance::Found { settings, start_block } = options.entrance {
                let how = (*settings, callbacks.bundle_digest(), start_block);
                self.unless_called_off(newcomer.begin(&record, &replica, &ledger, how)).await?;
            }
        }
        let engine = eigenshift_engine::AvsOptions {
            service: options.service,
            identity: record.identity(),
            node_key: Arc::clone(&node.key),
            bls: options.bls,
            wallet: options.wallet,
            chain: options.chain,
            callbacks,
            bundles,
            group,
            replica,
            guard: directory.join(GUARD),
            evidence: directory.join("evidence.json"),
            fresh: !record.guarded,
            timers: options.timers,
            patience: node.options.patience,
            shared: node.shared.clone(),
            bls_pool: node.bls_pool.clone(),
            io_pool: node.io_pool.clone(),
        };
        let handle = eigenshift_engine::avs::start(&node.env, engine).await?;
        opened.handle = Some(handle.clone());
        let record = Record { guarded: true, ..record };
        node.write_record(&record.service.avs, &record).await?;
        Ok((handle, record))
    }

    /// The record of an earlier start, if it lets this one go on.
    async fn known(&self, options: &AvsOptions) -> Result<Option<Record>, NodeError> {
        let known = self.node.read_record(&options.service.avs).await?;
        let Some(record) = &known else { return Ok(None) };
        if record.service != options.service {
            return Err(NodeError::OtherRecord);
        }
        match (record.removed, record.erased) {
            (false, _) => Ok(known),
            (true, false) => Err(NodeError::Removed { node: record.node }),
            (true, true) if self.asked => Ok(known),
            (true, true) => Err(NodeError::Left),
        }
    }

    async fn logic(
        &self,
        service: &Service,
        chain: &Arc<dyn eigenshift_chain::Chain>,
        logic: Logic,
        approval: Approval,
        provided: TenantOptions,
        opened: &mut Opened,
    ) -> Result<(Arc<dyn Callbacks>, Option<Arc<dyn Bundles>>), NodeError> {
        let (bundle, grants): (Bundle, Grants) = match logic {
            Logic::Native(callbacks) => return Ok((callbacks, None)),
            Logic::Plugin(bundle, grants) => (bundle, grants),
        };
        // Given back when the plugin is loaded.
        let place = async { self.node.starts.acquire().await.map_err(|_| NodeError::Stopping) };
        let _place = self.unless_called_off(place).await?;
        let directory = self.node.directory(&service.avs);
        let mut provided = provided;
        if provided.keyvalue.is_none() && grants.imports.contains(&Import::Keyvalue) {
            provided.keyvalue = Some(self.node.keyvalue(&directory).await?);
        }
        opened.keyvalue.clone_from(&provided.keyvalue);
        let store = bundles::Store {
            env: self.node.env.clone(),
            directory: directory.join(BUNDLES),
            io: self.node.io_pool.clone(),
            host: self.node.plugins.clone(),
            shadow: self.node.plugins.shadow_tenant(provided.clone()),
            tenant: self.node.plugins.tenant_with(provided),
            grants,
            approvals: Approvals::new(approval),
            service: service.clone(),
            chain: Arc::clone(chain),
        };
        store.begin(&bundle).await.map_err(|error| directory_error(&directory, &error))?;
        let callbacks = self.unless_called_off(async { Ok(store.callbacks(bundle).await?) }).await?;
        Ok((callbacks as Arc<dyn Callbacks>, Some(Arc::new(store) as Arc<dyn Bundles>)))
    }
}

impl Inner {
    pub fn directory(&self, avs: &AvsId) -> PathBuf {
        self.options.data_dir.join("avs").join(avs.as_str())
    }

    /// What waits for the disk.
    pub async fn disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Env) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let env = self.env.clone();
        self.io_pool.run(move || work(&env)).await.unwrap_or(Err(NodeError::Stopping))
    }

    pub async fn read_record(&self, avs: &AvsId) -> Result<Option<Record>, NodeError> {
        let directory = self.directory(avs);
        self.disk(move |env| identity::read(env, &directory)).await
    }

    pub async fn write_record(&self, avs: &AvsId, record: &Record) -> Result<(), NodeError> {
        let (directory, record) = (self.directory(avs), record.clone());
        self.disk(move |env| identity::write(env, &directory, &record)).await
    }

    /// Whether an earlier process paused the AVS, or this one.
    pub async fn is_paused(&self, avs: &AvsId) -> Result<bool, NodeError> {
        let path = self.directory(avs).join(PAUSED);
        self.disk(move |env| {
            let found = env.disk.read(&path, 1024).map_err(|error| directory_error(&path, &error))?;
            Ok(found.is_some())
        })
        .await
    }

    /// Notes durably that an AVS is paused, or that it no longer is.
    pub async fn set_paused(&self, avs: &AvsId, paused: bool) -> Result<(), NodeError> {
        let directory = self.directory(avs);
        self.disk(move |env| {
            let path = directory.join(PAUSED);
            let failed = |error: std::io::Error| directory_error(&path, &error);
            if paused {
                env.disk.create_dir_all(&directory).map_err(failed)?;
                env.disk.write_atomic(&path, b"").map_err(failed)
            } else {
                env.disk.remove(&path).map_err(failed)
            }
        })
        .await
    }

    /// The store of an AVS's plugins.
    async fn keyvalue(&self, directory: &Path) -> Result<KeyValueStore, NodeError> {
        let (env, pool, directory) = (self.env.clone(), self.keyvalue_pool.clone(), directory.to_owned());
        let opened = self.keyvalue_pool.run(move || {
            env.disk.create_dir_all(&directory).map_err(|error| directory_error(&directory, &error))?;
            let path = directory.join(KEYVALUE);
            let opened = KeyValueStore::open(&env, &path, pool, KEYVALUE_CACHE);
            opened.map_err(|source| NodeError::Keyvalue { path, source })
        });
        opened.await.unwrap_or_else(|closed| Err(directory_error(Path::new(KEYVALUE), &closed)))
    }

    /// Hands what an earlier node of this operator signed here on to the one that took its place.
    async fn inherit(&self, directory: &Path, record: &Record) -> Result<(), NodeError> {
        let Some(predecessor) = record.predecessor.filter(|_| !record.guarded) else { return Ok(()) };
        let (path, key) = (directory.join(GUARD), self.key.public());
        let owner = move |node: NodeId| Owner { node, key };
        let (from, to) = (owner(predecessor.node), owner(record.node));
        self.disk(move |env| match Guard::pass_on(env, &path, from, to) {
            // It had not come so far as to sign.
            Err(GuardError::Missing) if !predecessor.guarded => Ok(()),
            passed => passed.map_err(|error| NodeError::Engine(StartError::Guard(error))),
        })
        .await
    }

    pub async fn start_group(&self, record: &Record, replica: &Replica) -> Result<Group, NodeError> {
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
        let store = self.open.lock().as_ref().map(|open| open.store.clone()).ok_or(NodeError::Stopping)?;
        let group = Group::start(options, &store, &self.transport, replica.clone(), &self.env).await?;
        if record.founder {
            match group.bootstrap(own).await {
                Ok(()) | Err(eigenshift_consensus::Error::AlreadyInitialized) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(group)
    }

    /// Closes what an AVS has open, where an fsync may take its time; then it may be started again.
    pub async fn close(&self, avs: &AvsId, opened: Opened) {
        let Opened { keyvalue, group, replica, handle } = opened;
        if let Some(handle) = handle {
            handle.shutdown().await;
        }
        if let Some(group) = group {
            group.shutdown().await;
        }
        drop(replica);
        if let Some(store) = keyvalue {
            // Without the pool's threads nobody uses it any more.
            let _ = self.keyvalue_pool.run(move || store.close()).await;
        }
        let store = self.open.lock().as_ref().map(|open| open.store.clone());
        if let Some(store) = store {
            store.released(avs).await;
        }
    }

    /// Ends the AVS here when the cluster removed this node, or when going on would be guessing.
    pub fn watch(self: &Arc<Self>, slot: &Arc<Slot>, record: Record, opened: &Opened, ended: CancellationToken) {
        let (Some(group), Some(replica), Some(handle)) = (&opened.group, &opened.replica, &opened.handle) else {
            return;
        };
        let (mut removed, mut halted, mut stopped) = (group.removed(), replica.halted(), group.stopped());
        let (group, handle, stop) = (group.clone(), handle.clone(), self.stop.clone());
        let (node, slot): (Weak<Self>, _) = (Arc::downgrade(self), Arc::clone(slot));
        self.env.spawn(async move {
            let was_removed = tokio::select! {
                // A removal is written down even when the host stops at the same moment.
                biased;
                changed = removed.wait_for(|removed| *removed) => if changed.is_err() { return } else { true },
                changed = halted.wait_for(Option::is_some) => if changed.is_err() { return } else { false },
                changed = stopped.wait_for(Option::is_some) => if changed.is_err() { return } else { false },
                () = ended.cancelled() => return,
                () = stop.cancelled() => return,
            };
            handle.stop();
            group.kill();
            let why = if was_removed {
                NodeError::Removed { node: record.node }
            } else if let Some(halt) = halted.borrow().as_ref() {
                NodeError::Halted(halt.to_string())
            } else {
                NodeError::GroupStopped(stopped.borrow().clone().unwrap_or_default())
            };
            drop((handle, group));
            tracing::error!(code = why.code(), "{why}");
            let Some(node) = node.upgrade() else { return };
            if was_removed && let Err(error) = node.write_record(&slot.avs, &Record { removed: true, ..record }).await {
                tracing::error!("the removal could not be written down: {error}");
            }
            node.ended(&slot, &ended, why).await;
        });
    }

    /// Erases what an AVS has on this host, but for who it was, what it signed, and evidence of others.
    pub async fn erase(&self, avs: &AvsId, record: Option<Record>) -> Result<(), NodeError> {
        let store = self.open.lock().as_ref().map(|open| open.store.clone()).ok_or(NodeError::Stopping)?;
        store.forget(avs).await?;
        let directory = self.directory(avs);
        self.disk(move |env| {
            let failed = |error: std::io::Error| directory_error(&directory, &error);
            let mut files = env.disk.list(&directory.join(BUNDLES)).map_err(failed)?;
            files.extend([KEYVALUE, PAUSED].map(|name| directory.join(name)));
            files.iter().try_for_each(|file| env.disk.remove(file)).map_err(failed)?;
            match record {
                Some(record) => identity::write(env, &directory, &Record { removed: true, erased: true, ..record }),
                None => Ok(()),
            }
        })
        .await
    }
}
