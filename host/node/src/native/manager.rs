//! One AVS with native callbacks on a node of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use eigenshift_chain::Chain;
use eigenshift_consensus::Timing;
use eigenshift_engine::ledger::CommandError;
use eigenshift_engine::{AvsHandle, Patience, RequestError, Triggered};
use eigenshift_env::Env;
use eigenshift_ledger::Settings;
use eigenshift_plugin::Compiler;
use eigenshift_types::{Address, B256, BlockRef, Certificate, Service, TaskIndex, frame};
use futures::Stream;
use tokio::sync::Mutex;

use super::callbacks::{Bridge, Payload, SignedResponse, TaskConsensusCallbacks};
use crate::{Approval, AvsOptions, Entrance, Logic, Logs, Node, NodeError, NodeOptions, OperatorKeys, TenantOptions};

/// Where a node listens, and where it keeps what it must not forget.
#[derive(Clone, Debug)]
pub struct OperatorRaftConfig {
    /// Raft listener; port 0 takes a free one.
    pub raft: SocketAddr,
    /// HTTP listener; port 0 takes a free one.
    pub http: SocketAddr,
    /// Storage directory.
    pub storage: PathBuf,
    /// Raft's timeouts.
    pub timing: Timing,
    /// How long this node waits for what.
    pub patience: Patience,
}

/// The AVS that the callbacks are for.
#[derive(Clone, Debug)]
pub struct NativeAvs {
    /// Name, chain and service manager.
    pub service: Service,
    /// What the cluster agrees on; only the founder's counts. The registry is in it.
    pub settings: Settings,
}

/// Why a manager did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Asked before the node was started, or a second time.
    #[error("{0}")]
    Order(&'static str),
    /// The keys are another operator's.
    #[error("the keys are those of operator {found}, not {asked}")]
    OtherOperator {
        /// Whose they are.
        found: Address,
        /// Who was named.
        asked: Address,
    },
    /// The joiner's view of the chain is behind.
    #[error("this node's head {head} is behind the block {latest} that it was told of; mend its chain endpoint")]
    Behind {
        /// This node's.
        head: u64,
        /// What it was told.
        latest: u64,
    },
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The ledger.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The chain.
    #[error("the chain: {0}")]
    Chain(#[from] eigenshift_chain::Error),
    /// Raft.
    #[error("consensus: {0}")]
    Consensus(#[from] eigenshift_consensus::Error),
}

/// A certificate with its task's payload decoded.
#[derive(Clone, Debug)]
pub struct Certified<K> {
    /// The proof.
    pub certificate: Certificate,
    /// `K`; none if it does not decode, which the operators' checks exclude.
    pub response: Option<K>,
}

struct Running {
    node: Node,
    handle: AvsHandle,
}

/// One AVS with native callbacks: founds or joins a cluster, hands out tasks, gives certificates.
pub struct TaskConsensusManager<T, K, S> {
    env: Env,
    config: OperatorRaftConfig,
    avs: NativeAvs,
    keys: OperatorKeys,
    chain: Arc<dyn Chain>,
    bridge: Arc<Bridge<T, K, S>>,
    running: Mutex<Option<Running>>,
}

/// Puts callbacks, node and keys together. Nothing is started yet.
pub fn new_avs_consensus_engine<T: Payload, K: Payload, S: SignedResponse<Response = K>>(
    env: Env,
    callbacks: TaskConsensusCallbacks<T, K, S>,
    config: OperatorRaftConfig,
    avs: NativeAvs,
    keys: OperatorKeys,
    chain: Arc<dyn Chain>,
) -> TaskConsensusManager<T, K, S> {
    let bridge = Arc::new(Bridge::new(callbacks));
    TaskConsensusManager { env, config, avs, keys, chain, bridge, running: Mutex::new(None) }
}

impl<T: Payload, K: Payload, S: SignedResponse<Response = K>> TaskConsensusManager<T, K, S> {
    /// Starts the node. With `should_bootstrap_cluster` it founds the cluster, which exactly one node does; otherwise it
    /// goes on in the cluster that its storage knows. A new node that founds nothing joins instead.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn initialize_raft_rpc_server(
        &self,
        should_bootstrap_cluster: bool,
        operator_id: Address,
    ) -> Result<(), ManagerError> {
        let found = self.keys.wallet.address();
        if found != operator_id {
            return Err(ManagerError::OtherOperator { found, asked: operator_id });
        }
        let entrance = if should_bootstrap_cluster {
            let start_block = self.chain.head().await?.block.number;
            Entrance::Found { settings: Box::new(self.avs.settings.clone()), start_block }
        } else {
            // Used only if the storage knows no cluster, and then there is nobody to ask.
            Entrance::Join { urls: Vec::new(), registry: self.avs.settings.registry }
        };
        self.start(entrance).await
    }

    /// Starts the node and joins the cluster through a member's public URL. `latest_block` is a block the caller knows
    /// of: a node whose chain endpoint is behind it would be refused.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn join_existing_operator_cluster(
        &self,
        join_http_url: &str,
        latest_block: BlockRef,
    ) -> Result<(), ManagerError> {
        let head = self.chain.head().await?.block.number;
        if head < latest_block.number {
            return Err(ManagerError::Behind { head, latest: latest_block.number });
        }
        self.start(Entrance::Join { urls: vec![join_http_url.to_owned()], registry: self.avs.settings.registry }).await
    }

    async fn start(&self, entrance: Entrance) -> Result<(), ManagerError> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Err(ManagerError::Order("the node is started already"));
        }
        let options = NodeOptions {
            data_dir: self.config.storage.clone(),
            raft: self.config.raft,
            http: self.config.http,
            admin: None,
            raft_url: None,
            http_url: None,
            insecure_dev: false,
            // There is no plugin.
            compiler: Compiler::InThisProcess,
            plugins: None,
            timing: self.config.timing,
            patience: self.config.patience,
            logs: Logs::default(),
        };
        let node = Node::start(self.env.clone(), options).await?;
        let options = AvsOptions {
            service: self.avs.service.clone(),
            entrance,
            bls: Arc::clone(&self.keys.bls),
            share_bls_key: false,
            wallet: self.keys.wallet.clone(),
            chain: Arc::clone(&self.chain),
            logic: Logic::Native(Arc::clone(&self.bridge) as Arc<dyn eigenshift_engine::callbacks::Callbacks>),
            approval: Approval::default(),
            timers: Vec::new(),
            provided: TenantOptions::default(),
        };
        let handle = node.add(options).await?;
        *running = Some(Running { node, handle });
        Ok(())
    }

    async fn handle(&self) -> Result<AvsHandle, ManagerError> {
        let running = self.running.lock().await;
        let running = running.as_ref().ok_or(ManagerError::Order("the node is not started"))?;
        Ok(running.handle.clone())
    }

    /// Whether this node leads, confirmed; and the public URL of whoever does, if known.
    ///
    /// # Errors
    /// [`ManagerError::Order`].
    pub async fn is_leader(&self) -> Result<(bool, Option<String>), ManagerError> {
        let handle = self.handle().await?;
        let leader = handle.group().leadership().borrow().leader;
        let url = handle.read(|state| Some(state.members.get(&leader?)?.join.join.http_url.clone()));
        Ok((handle.leads(), url))
    }

    /// Has leadership move to the next operator in the ring: the leader hands it over. When nobody leads, this node
    /// asks the others for their votes.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn trigger_election(&self) -> Result<(), ManagerError> {
        let handle = self.handle().await?;
        let leader = handle.group().leadership().borrow().leader;
        match leader {
            Some(_) => Ok(handle.rotate().await?),
            None => Ok(handle.group().trigger_election().await?),
        }
    }

    /// Hands a task to all operators, here or through the leader. `key` makes it safe to ask again.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn leader_send_task_request_to_followers(
        &self,
        key: &str,
        request: &T,
    ) -> Result<TaskIndex, ManagerError> {
        let handle = self.handle().await?;
        match handle.request_task(key.to_owned(), frame::canonical(request).into()).await? {
            Triggered::Task { index } => Ok(index),
            Triggered::Used => Err(ManagerError::Order("this key has made its task before")),
            Triggered::Planned { .. } | Triggered::Ignored { .. } => {
                Err(ManagerError::Order("native callbacks have no task source"))
            }
        }
    }

    /// The public URL of this node's HTTP listener.
    ///
    /// # Errors
    /// [`ManagerError::Order`].
    pub async fn http_binding_url(&self) -> Result<String, ManagerError> {
        let running = self.running.lock().await;
        running
            .as_ref()
            .map(|running| running.node.http_url().to_owned())
            .ok_or(ManagerError::Order("the node is not started"))
    }

    /// Certificates as this node's ledger gets them, each once, those that are there already first. Ends with the node.
    ///
    /// # Errors
    /// [`ManagerError::Order`].
    pub async fn certificates(&self) -> Result<impl Stream<Item = Certified<K>> + Send + use<T, K, S>, ManagerError> {
        let handle = self.handle().await?;
        let changes = handle.changes();
        let start = (handle, changes, (BTreeSet::new(), 0), Vec::<Certificate>::new());
        Ok(futures::stream::unfold(start, async |(handle, mut changes, (mut given, mut ends), mut waiting)| {
            loop {
                if let Some(certificate) = waiting.pop() {
                    let response = frame::from_canonical(&certificate.payload).ok();
                    return Some((Certified { certificate, response }, (handle, changes, (given, ends), waiting)));
                }
                changes.borrow_and_update();
                handle.read(|state| {
                    let ended = state.ended_since(std::mem::replace(&mut ends, state.ends));
                    let fresh = state.unsettled_tasks().chain(ended).flat_map(|task| task.certificates.values());
                    waiting.extend(fresh.filter(|one| given.insert((one.task, one.key.clone()))).cloned());
                    // The last one is given next.
                    waiting.sort_by(|one, other| (other.task, &other.key).cmp(&(one.task, &one.key)));
                    if !waiting.is_empty() {
                        given.retain(|(task, _)| state.tasks.contains_key(task));
                    }
                });
                if waiting.is_empty() && changes.changed().await.is_err() {
                    return None;
                }
            }
        }))
    }

    /// Reports the transaction with which the team's own code answered a task: the task is finalized when it is
    /// confirmed. For callbacks with `reports_submissions`; at the task's aggregator.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn report_submitted(&self, task: TaskIndex, tx: B256) -> Result<(), ManagerError> {
        Ok(self.handle().await?.report_submitted(task, tx).await?)
    }

    /// The running AVS, for what is not said here.
    ///
    /// # Errors
    /// [`ManagerError::Order`].
    pub async fn avs(&self) -> Result<AvsHandle, ManagerError> {
        self.handle().await
    }

    /// Stops the node in order. It can be started again.
    pub async fn shutdown(&self) {
        if let Some(Running { node, handle }) = self.running.lock().await.take() {
            drop(handle);
            node.shutdown().await;
        }
    }
}
