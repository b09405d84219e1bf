//! The AVSs of a host: each is added, paused, resumed and removed by itself.
//!
//! Every AVS has a slot with a turn that one operation holds at a time; operations on others take no notice. An operation
//! runs to its end even if whoever asked for it goes away.
//!
//! - `starting` becomes `running`, or `failed` with the reason; a pause calls it off.
//! - `running` becomes `stopping`, then `paused`; or `failed`, when the cluster removed this node or its group stopped.
//! - `paused` and `failed` become `starting` again, or are removed; what was removed is on the list no more.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_api::avss::{AvsEntry, Standing};
use eigenshift_api::error::ErrorBody;
use eigenshift_engine::AvsHandle;
use eigenshift_types::{AvsId, OperatorId};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::NodeError;
use crate::launch::{Opened, Start};
use crate::node::{AvsOptions, Inner, Node};

/// How long a pause lets what this node aggregates come to its end.
const DRAIN: Duration = Duration::from_secs(10);

/// Held by the operation that is under way.
type Turn = OwnedMutexGuard<()>;

/// A BLS key in use.
struct Claim {
    key: OperatorId,
    shared: bool,
}

/// The place of one AVS.
pub(crate) struct Slot {
    pub avs: AvsId,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Calls the start off that is under way.
    call_off: Mutex<CancellationToken>,
    running: Mutex<Option<Running>>,
    /// From the first start on that got that far; a paused AVS keeps its key.
    claim: Mutex<Option<Claim>>,
}

struct Running {
    opened: Opened,
    /// Ends the watch over it.
    ended: CancellationToken,
}

impl Slot {
    fn new(avs: &AvsId) -> Arc<Self> {
        Arc::new(Self {
            avs: avs.clone(),
            turn: Arc::default(),
            call_off: Mutex::default(),
            running: Mutex::new(None),
            claim: Mutex::new(None),
        })
    }

    fn take_turn(&self) -> Result<Turn, NodeError> {
        Arc::clone(&self.turn).try_lock_owned().map_err(|_| NodeError::Busy)
    }
}

fn failed(error: &NodeError) -> Standing {
    Standing::Failed(ErrorBody { code: error.code().to_owned(), message: error.to_string() })
}

/// The result of an operation that runs by itself.
async fn result<T>(task: JoinHandle<Result<T, NodeError>>) -> Result<T, NodeError> {
    // It is not aborted: only a runtime that ends takes it away.
    task.await.unwrap_or(Err(NodeError::Stopping))
}

impl Node {
    /// Starts an AVS: founds its cluster, joins it, or goes on in it. Returns when the node is a member. An AVS that does not
    /// start stays, as failed, until it is resumed or removed; one that was paused by an earlier process stays paused. One
    /// that was removed from this host is left alone.
    ///
    /// # Errors
    /// [`NodeError`]; the other AVSs go on.
    pub async fn add(&self, options: AvsOptions) -> Result<AvsHandle, NodeError> {
        let avs = options.service.avs.clone();
        self.add_with(&avs, async { Ok(options) }).await
    }

    /// As [`Node::add`], with options that have still to be made: the AVS is starting meanwhile.
    ///
    /// # Errors
    /// As [`Node::add`].
    pub async fn add_with(
        &self,
        avs: &AvsId,
        options: impl Future<Output = Result<AvsOptions, NodeError>> + Send + 'static,
    ) -> Result<AvsHandle, NodeError> {
        result(self.0.begin_add(avs, false, options)?).await
    }

    /// As [`Node::add`], for an AVS that was removed from this host: it joins its cluster anew, under another node id, bound
    /// by what was signed here before.
    ///
    /// # Errors
    /// As [`Node::add`].
    pub async fn rejoin(&self, options: AvsOptions) -> Result<AvsHandle, NodeError> {
        let avs = options.service.avs.clone();
        result(self.0.begin_add(&avs, true, async { Ok(options) })?).await
    }

    /// Starts an AVS again that was paused or failed. Its state on disk is where it was.
    ///
    /// # Errors
    /// [`NodeError`]: [`NodeError::Busy`], [`NodeError::NotPaused`] and [`NodeError::Unknown`] change nothing; with others the
    /// AVS has failed.
    pub async fn resume(&self, options: AvsOptions) -> Result<AvsHandle, NodeError> {
        let avs = options.service.avs.clone();
        result(self.0.begin_resume(&avs, async { Ok(options) })?).await
    }

    /// Has this node cease to take part in an AVS, for this process and later ones: leadership goes to another voter, what it
    /// aggregates is brought to its end for as long as that takes ten seconds at most, its group stops, its memory is freed.
    /// Its state stays on disk. A start under way is called off.
    ///
    /// # Errors
    /// [`NodeError::Unknown`], [`NodeError::Busy`], [`NodeError::Directory`] when the pause cannot be written down: then it
    /// goes on.
    pub async fn pause(&self, avs: &AvsId) -> Result<(), NodeError> {
        self.0.pause(avs).await
    }

    /// Leaves a paused or failed AVS: its cluster takes this node out, and its log, bundles and plugin's store are erased.
    /// What it signed is kept, and its successor on this host, which joins under a new node id, signs nothing else.
    /// `force` does not ask the cluster, which then counts this node as a member that is down.
    ///
    /// # Errors
    /// [`NodeError::LastMember`] and [`NodeError::NotLeft`] have changed nothing; and as for [`Node::resume`].
    pub async fn remove(&self, avs: &AvsId, force: bool) -> Result<(), NodeError> {
        self.0.remove(avs, force).await
    }

    /// The AVSs of this node, and how each stands.
    #[must_use]
    pub fn list(&self) -> Vec<AvsEntry> {
        self.0.avss.entries()
    }
}

impl Inner {
    fn slot(&self, avs: &AvsId) -> Result<Arc<Slot>, NodeError> {
        let slot = self.slots.lock().get(avs).cloned();
        slot.ok_or_else(|| NodeError::Unknown(avs.clone()))
    }

    /// Runs an operation by itself, in the AVS's tracing span.
    fn run<T: Send + 'static>(&self, avs: &AvsId, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        // Of the highest level, so that no filter leaves it out.
        self.env.spawn(work.instrument(tracing::error_span!("avs", %avs)))
    }

    /// Begins to add. `asked`: somebody asks for this AVS in particular, so that one that left its cluster joins again.
    pub fn begin_add(
        self: &Arc<Self>,
        avs: &AvsId,
        asked: bool,
        options: impl Future<Output = Result<AvsOptions, NodeError>> + Send + 'static,
    ) -> Result<JoinHandle<Result<AvsHandle, NodeError>>, NodeError> {
        let slot = Slot::new(avs);
        let turn = slot.take_turn()?;
        let call_off = self.stop.child_token();
        *slot.call_off.lock() = call_off.clone();
        {
            let mut slots = self.slots.lock();
            if self.stop.is_cancelled() {
                return Err(NodeError::Stopping);
            }
            if slots.contains_key(avs) {
                return Err(NodeError::Duplicate);
            }
            slots.insert(avs.clone(), Arc::clone(&slot));
            self.options.logs.open(avs);
            self.avss.set(avs, Standing::Starting);
        }
        let (node, start) = (Arc::clone(self), Start { node: Arc::clone(self), asked, call_off });
        Ok(self.run(avs, async move {
            let _turn = turn;
            match node.is_paused(&slot.avs).await {
                Ok(false) => node.launch(&slot, &start, options).await,
                Ok(true) => {
                    tracing::info!("it was paused, and stays so until it is resumed");
                    node.avss.set(&slot.avs, Standing::Paused);
                    Err(NodeError::Paused)
                }
                Err(error) => {
                    node.avss.set(&slot.avs, failed(&error));
                    Err(error)
                }
            }
        }))
    }

    /// Takes an AVS off the list.
    fn forget(&self, avs: &AvsId) {
        let mut slots = self.slots.lock();
        slots.remove(avs);
        self.avss.remove(avs);
        self.options.logs.close(avs);
    }

    /// The slot of an AVS that does not run, and its turn.
    fn resting(&self, avs: &AvsId) -> Result<(Arc<Slot>, Turn), NodeError> {
        let slot = self.slot(avs)?;
        let turn = slot.take_turn()?;
        if self.stop.is_cancelled() {
            return Err(NodeError::Stopping);
        }
        match self.avss.standing(avs) {
            Some(Standing::Paused | Standing::Failed(_)) => Ok((slot, turn)),
            Some(standing) => Err(NodeError::NotPaused(standing.phase().as_str())),
            None => Err(NodeError::Unknown(avs.clone())),
        }
    }

    pub fn begin_resume(
        self: &Arc<Self>,
        avs: &AvsId,
        options: impl Future<Output = Result<AvsOptions, NodeError>> + Send + 'static,
    ) -> Result<JoinHandle<Result<AvsHandle, NodeError>>, NodeError> {
        let (slot, turn) = self.resting(avs)?;
        let call_off = self.stop.child_token();
        // Before it is seen to be starting: who calls it off then calls this start off.
        *slot.call_off.lock() = call_off.clone();
        self.avss.set(avs, Standing::Starting);
        let (node, start) = (Arc::clone(self), Start { node: Arc::clone(self), asked: true, call_off });
        Ok(self.run(avs, async move {
            let _turn = turn;
            if let Err(error) = node.set_paused(&slot.avs, false).await {
                node.avss.set(&slot.avs, failed(&error));
                return Err(error);
            }
            node.launch(&slot, &start, options).await
        }))
    }

    /// Starts an AVS. Whatever was opened is closed again if that fails.
    async fn launch(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        start: &Start,
        options: impl Future<Output = Result<AvsOptions, NodeError>> + Send,
    ) -> Result<AvsHandle, NodeError> {
        let mut opened = Opened::default();
        let starting = async {
            let options = start.unless_called_off(options).await?;
            self.claim(slot, &options).await?;
            start.run(options, &mut opened).await
        };
        match starting.await {
            Ok((handle, record)) => {
                let ended = CancellationToken::new();
                self.watch(slot, record, &opened, ended.clone());
                *slot.running.lock() = Some(Running { opened, ended });
                self.avss.set(&slot.avs, Standing::Running(handle.clone()));
                tracing::info!(node = %handle.identity().node, cluster = %handle.identity().cluster, "running");
                Ok(handle)
            }
            Err(error) => {
                self.close(&slot.avs, opened).await;
                *slot.claim.lock() = None;
                match error {
                    NodeError::Left => self.forget(&slot.avs),
                    NodeError::Cancelled => self.avss.set(&slot.avs, failed(&error)),
                    _ => {
                        tracing::error!(code = error.code(), "not started: {error}");
                        self.avss.set(&slot.avs, failed(&error));
                    }
                }
                Err(error)
            }
        }
    }

    /// Notes whose BLS key it is.
    async fn claim(&self, slot: &Slot, options: &AvsOptions) -> Result<(), NodeError> {
        let bls = Arc::clone(&options.bls);
        let key = self.bls_pool.run(move || bls.operator_id()).await.map_err(|_| NodeError::Stopping)?;
        let claim = Claim { key, shared: options.share_bls_key };
        // One at a time, so that of two that start together one sees the other.
        let slots = self.slots.lock();
        for other in slots.values().filter(|other| other.avs != slot.avs) {
            let taken = other.claim.lock();
            if taken.as_ref().is_some_and(|taken| taken.key == claim.key && !(taken.shared && claim.shared)) {
                return Err(NodeError::SharedKey { other: other.avs.clone() });
            }
        }
        *slot.claim.lock() = Some(claim);
        Ok(())
    }

    pub async fn pause(self: &Arc<Self>, avs: &AvsId) -> Result<(), NodeError> {
        let slot = self.slot(avs)?;
        let turn = if matches!(self.avss.standing(avs), Some(Standing::Starting)) {
            slot.call_off.lock().cancel();
            Arc::clone(&slot.turn).lock_owned().await
        } else {
            slot.take_turn()?
        };
        let node = Arc::clone(self);
        result(self.run(avs, async move {
            let _turn = turn;
            if !node.slots.lock().contains_key(&slot.avs) {
                return Err(NodeError::Unknown(slot.avs.clone()));
            }
            // First: should the process end on the way, it is paused at the next start.
            node.set_paused(&slot.avs, true).await?;
            let running = slot.running.lock().take();
            if let Some(Running { opened, ended }) = running {
                if let Some(handle) = opened.handle() {
                    node.avss.set(&slot.avs, Standing::Stopping(Some(handle.clone())));
                    tokio::select! {
                        () = handle.retire(DRAIN) => {}
                        () = node.stop.cancelled() => {}
                    }
                }
                node.avss.set(&slot.avs, Standing::Stopping(None));
                ended.cancel();
                node.close(&slot.avs, opened).await;
                tracing::info!("paused");
            }
            node.avss.set(&slot.avs, Standing::Paused);
            Ok(())
        }))
        .await
    }

    pub async fn remove(self: &Arc<Self>, avs: &AvsId, force: bool) -> Result<(), NodeError> {
        let (slot, turn) = self.resting(avs)?;
        let before = self.avss.standing(avs).unwrap_or(Standing::Paused);
        self.avss.set(avs, Standing::Stopping(None));
        let node = Arc::clone(self);
        result(self.run(avs, async move {
            let _turn = turn;
            if let Err(error) = node.leave(&slot.avs, force).await {
                node.avss.set(&slot.avs, before);
                return Err(error);
            }
            tracing::info!("removed");
            node.forget(&slot.avs);
            Ok(())
        }))
        .await
    }

    /// Notes that an AVS ended by itself; returns at once when it was paused meanwhile.
    pub async fn ended(&self, slot: &Arc<Slot>, ended: &CancellationToken, why: NodeError) {
        let _turn = Arc::clone(&slot.turn).lock_owned().await;
        if ended.is_cancelled() {
            return;
        }
        let running = slot.running.lock().take();
        if let Some(Running { opened, .. }) = running {
            self.close(&slot.avs, opened).await;
        }
        self.avss.set(&slot.avs, failed(&why));
    }

    /// Calls off what is starting and closes what runs, all at once.
    pub async fn close_all(&self) {
        let slots: Vec<Arc<Slot>> = self.slots.lock().values().cloned().collect();
        let closing = slots.iter().map(|slot| {
            let closing = async {
                // An operation under way ends first; it has been told to hurry.
                let _turn = slot.turn.lock().await;
                let running = slot.running.lock().take();
                if let Some(Running { opened, ended }) = running {
                    ended.cancel();
                    self.close(&slot.avs, opened).await;
                }
                self.avss.remove(&slot.avs);
            };
            closing.instrument(tracing::error_span!("avs", avs = %slot.avs))
        });
        join_all(closing).await;
    }

    pub fn kill_all(&self) {
        for slot in self.slots.lock().values() {
            if let Some(running) = slot.running.lock().take() {
                running.opened.kill();
            }
            self.avss.remove(&slot.avs);
        }
    }
}
