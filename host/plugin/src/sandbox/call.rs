//! One call, from slot to result.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use eigenshift_env::Env;
use eigenshift_types::{AvsId, TaskIndex};
use futures::future::{BoxFuture, Either, select};
use tokio::runtime::Handle;
use tracing::Instrument;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use super::executor::{Executor, Outcome, TICK, Used};
use super::gate::{Gate, Place, TenantId};
use super::imports::{CallState, ChainAccess, Log, MAX_HOST_CALLS, TooManyHostCalls, table};
use super::limiter::{Limiter, OutOfMemory};
use super::member::Member;
use super::settings::HOSTCALL_FUEL;
use super::text::{MAX_TEXT, clean};
use super::warm::{Reuse, Turn, Warm};
use crate::capability::config::{self, Config, Sees};
use crate::capability::http::{self, Client, Hooks};
use crate::capability::keyvalue::{self, KeyValueStore};
use crate::capability::secrets::{self, Redactor, Secrets};
use crate::capability::wasi::{self, Moment};
use crate::error::CallError;
use crate::manifest::{Import, Keyvalue, Limits};
use crate::plugin::Counters;
use crate::usage;

/// What every plugin of a host shares.
pub(crate) struct Shared {
    pub env: Env,
    pub executor: Executor,
    /// As many places as the pool has, and the memory for them.
    pub gate: Arc<Gate>,
    pub slot_wait: Duration,
    pub deadline: Duration,
}

/// Running totals of a plugin.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub calls: AtomicU64,
    pub reused: AtomicU64,
    pub failed: AtomicU64,
    pub fuel: AtomicU64,
    /// Most memory that a call took, since that was asked last.
    pub memory_peak: AtomicU64,
    pub chain_reads: AtomicU64,
    pub keyvalue_operations: AtomicU64,
    pub secrets_revealed: AtomicU64,
    pub http_requests: AtomicU64,
    pub http_refused: AtomicU64,
    pub log_lines: AtomicU64,
    pub log_lines_dropped: AtomicU64,
    pub cpu: Arc<Used>,
}

impl Totals {
    pub(crate) fn read(&self) -> Counters {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Counters {
            calls: read(&self.calls),
            reused: read(&self.reused),
            failed: read(&self.failed),
            fuel: read(&self.fuel),
            chain_reads: read(&self.chain_reads),
            keyvalue_operations: read(&self.keyvalue_operations),
            secrets_revealed: read(&self.secrets_revealed),
            http_requests: read(&self.http_requests),
            http_refused: read(&self.http_refused),
            log_lines: read(&self.log_lines),
            log_lines_dropped: read(&self.log_lines_dropped),
            cpu: Duration::from_nanos(read(&self.cpu.calls)),
            cpu_around: Duration::from_nanos(read(&self.cpu.around)),
        }
    }
}

/// Compiled and linked code with its limits: what a call needs.
pub(crate) struct Code {
    pub shared: Arc<Shared>,
    pub name: Arc<str>,
    pub limits: Limits,
    /// What the manifest lists; a bundle is loaded only when the operator grants all of it.
    pub imports: BTreeSet<Import>,
    pub config: Config,
    /// The AVS's store and how much of it the bundle may use; none when the manifest does not list it.
    pub keyvalue: Option<(KeyValueStore, Keyvalue)>,
    /// What the manifest lists of the operator's.
    pub secrets: Secrets,
    /// How it sends requests, and which; none when the manifest does not list it.
    pub http: Option<(Arc<Client>, Arc<http::Limits>)>,
    /// Whether the component imports WASI.
    pub wasi: bool,
    /// Takes these out of every text that a guest is the origin of.
    pub redactor: Arc<Redactor>,
    pub pre: InstancePre<CallState>,
    /// With whom its calls share places and time.
    pub tenant: Arc<Member>,
    /// Keeps instances for its calls; none when each has a fresh one.
    pub reuse: Option<Reuse>,
    pub totals: Arc<Totals>,
    /// Where these are added to those of the tenant's other plugins.
    pub account: usage::Entry,
}

/// What a callback runs for, and what it may use.
pub(crate) struct Context {
    pub export: &'static str,
    pub avs: Option<AvsId>,
    pub task: Option<TaskIndex>,
    pub log: bool,
    pub chain: Option<ChainAccess>,
    pub config: Sees,
    /// Whether it may use what differs between operators for good: its store, secrets, other hosts.
    pub outside: bool,
    /// What a clock and random bytes follow from.
    pub moment: Moment,
}

async fn enter(shared: &Shared, tenant: TenantId, memory: u64) -> Result<Place, CallError> {
    let promise = match shared.gate.enter(tenant, memory) {
        Ok(place) => return Ok(place),
        Err(promise) => promise,
    };
    match select(promise, shared.env.clock.sleep(shared.slot_wait)).await {
        Either::Left((place, _)) => place.map_err(|_| CallError::Internal("the host is shutting down".to_owned())),
        Either::Right(_) => Err(CallError::Busy),
    }
}

/// The text of an engine's error; function names in a backtrace are the guest's own.
pub(crate) fn text(error: &wasmtime::Error) -> String {
    clean(&format!("{error:#}"), MAX_TEXT)
}

/// Whether this machine failed the call, not the guest.
fn is_local(error: &wasmtime::Error) -> bool {
    error.is::<OutOfMemory>()
        || error.is::<wasmtime::OutOfMemory>()
        || error.is::<std::io::Error>()
        || error.is::<rustix::io::Errno>()
}

fn classify(error: &wasmtime::Error, refused_memory: bool, redactor: &Redactor) -> CallError {
    let text = |error: &wasmtime::Error| redactor.text(&format!("{error:#}"));
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Busy;
    }
    if is_local(error) {
        return CallError::Internal(text(error));
    }
    if error.is::<TooManyHostCalls>() {
        return CallError::HostCalls { max: MAX_HOST_CALLS };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => CallError::OutOfFuel,
        Some(Trap::Interrupt) => CallError::Deadline,
        _ if refused_memory => CallError::Memory,
        Some(_) => CallError::Trap(text(error)),
        None if error.is::<I32Exit>() => CallError::Trap(text(error)),
        // Not a trap: what the guest handed over cannot be read as its interface says.
        None => CallError::BadOutput(text(error)),
    }
}

fn classify_start(error: &wasmtime::Error, refused_memory: bool, redactor: &Redactor) -> CallError {
    match classify(error, refused_memory, redactor) {
        CallError::BadOutput(text) => CallError::Trap(text),
        other => other,
    }
}

/// What is done in an instance once it has started.
pub(crate) trait Body<R>:
    for<'a> FnOnce(&'a mut Store<CallState>, Instance) -> BoxFuture<'a, wasmtime::Result<R>> + Clone + Send + 'static
{
}

impl<R, F> Body<R> for F where
    F: for<'a> FnOnce(&'a mut Store<CallState>, Instance) -> BoxFuture<'a, wasmtime::Result<R>>
        + Clone
        + Send
        + 'static
{
}

/// What the state of a call is made of: for a second attempt, too.
#[derive(Clone)]
struct Parts {
    limiter: Limiter,
    log: Log,
    chain: Option<ChainAccess>,
    config: config::Access,
    keyvalue: keyvalue::Access,
    secrets: secrets::Access,
    /// None in a component that does not import WASI.
    wasi: Option<(Moment, Option<http::Access>)>,
    totals: Arc<Totals>,
}

impl Parts {
    /// For a second attempt: what the first one took of the AVS's store and sent to others counts for both. What everybody's
    /// answer must follow from (fuel, host calls, chain reads) begins anew, as where there was no first attempt.
    fn after(mut self, failed: &CallState) -> Self {
        self.keyvalue = failed.keyvalue.clone();
        if let (Some((_, Some(http))), Some(wasi)) = (&mut self.wasi, &failed.wasi) {
            http.sent = wasi.sent();
        }
        self
    }

    fn state(self) -> CallState {
        let Self { limiter, log, chain, config, keyvalue, secrets, wasi, totals } = self;
        let wasi = wasi.map(|(moment, http)| Box::new(wasi::State::new(moment, log.another(), Hooks::new(http))));
        CallState {
            limiter,
            log,
            chain,
            chain_reads: 0,
            host_calls: 0,
            config,
            keyvalue,
            secrets,
            wasi,
            table: table(),
            totals,
        }
    }
}

impl Code {
    fn parts(&self, context: Context) -> Parts {
        let Context { export, avs, task, log, chain, config, outside, moment } = context;
        let listed = |import| self.imports.contains(&import);
        let http = || {
            self.http.as_ref().filter(|_| outside).map(|(client, limits)| http::Access {
                client: Arc::clone(client),
                limits: Arc::clone(limits),
                plugin: Arc::clone(&self.name),
                redactor: Arc::clone(&self.redactor),
                totals: Arc::clone(&self.totals),
                sent: 0,
            })
        };
        Parts {
            limiter: Limiter::new(usize::try_from(self.limits.memory_bytes).unwrap_or(usize::MAX)),
            log: Log {
                plugin: Arc::clone(&self.name),
                export,
                avs,
                task,
                open: log && listed(Import::Log),
                lines: 0,
                redactor: Arc::clone(&self.redactor),
                totals: Arc::clone(&self.totals),
            },
            chain: chain.filter(|_| listed(Import::Chain)),
            config: self.config.access(if listed(Import::Config) { config } else { Sees::Nothing }),
            keyvalue: match &self.keyvalue {
                Some((store, quota)) if outside => keyvalue::Access::new(store.clone(), *quota),
                _ => keyvalue::Access::default(),
            },
            secrets: if outside && listed(Import::Secrets) {
                secrets::Access::new(self.secrets.clone())
            } else {
                secrets::Access::default()
            },
            wasi: self.wasi.then(|| (moment, http())),
            totals: Arc::clone(&self.totals),
        }
    }

    /// Runs `body` on an instance, a fresh one unless the bundle asks for others: takes a slot, sets every limit,
    /// instantiates, and drops everything at the end.
    pub(crate) async fn call<R: Send + 'static>(&self, context: Context, body: impl Body<R>) -> Result<R, CallError> {
        let shared = &self.shared;
        let place = enter(shared, self.tenant.id, self.limits.memory_bytes).await;
        let place = place.inspect_err(|error| self.account.failed(error.code()))?;
        let (export, task) = (context.export, context.task);
        let limits = Limited { fuel: self.limits.fuel, deadline: shared.deadline };
        let run =
            run(self.pre.clone(), self.parts(context), limits, self.reuse.as_ref().map(|reuse| reuse.of(export)), body);
        let run = if self.wasi {
            // WASI's waits and requests are for the caller's runtime, whatever thread the guest runs on.
            Either::Left(InRuntime { runtime: Handle::try_current().ok(), future: Box::pin(run) })
        } else {
            Either::Right(run)
        };
        self.totals.calls.fetch_add(1, Ordering::Relaxed);
        let work = async move {
            // Given back after the store is gone, or the pool could be full.
            let _place = place;
            run.await
        };
        // What is logged on the guests' threads belongs to the caller's AVS.
        let work = work.in_current_span();
        // On time-out the store is dropped where it is suspended.
        let end = shared.env.clock.monotonic().saturating_add(shared.deadline);
        let result = match shared.executor.run(&self.tenant, end, &self.totals.cpu, work).await {
            Ok(Outcome::Done(result)) => result,
            Ok(Outcome::Late) => Err(CallError::Deadline),
            Err(lost) => Err(CallError::Internal(lost.to_string())),
        };
        if let Err(error) = &result {
            self.totals.failed.fetch_add(1, Ordering::Relaxed);
            self.account.failed(error.code());
            tracing::debug!(plugin = &*self.name, export, task, code = error.code(), "call failed: {error}");
        }
        result
    }
}

/// A future that finds a runtime around it wherever it is polled.
struct InRuntime<F> {
    runtime: Option<Handle>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InRuntime<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _inside = this.runtime.as_ref().map(Handle::enter);
        this.future.as_mut().poll(context)
    }
}

/// Lets the others have the thread: ready at the second look.
fn once() -> impl Future<Output = ()> + Send {
    let mut yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// What ends a call.
#[derive(Clone, Copy)]
struct Limited {
    fuel: u64,
    deadline: Duration,
}

impl Limited {
    /// Sets everything before the first instruction: start functions run during instantiation.
    fn set(self, store: &mut Store<CallState>, spent: u64) -> wasmtime::Result<()> {
        store.set_fuel(self.fuel.saturating_sub(spent))?;
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        // Two: the first tick may come at once.
        store.set_epoch_deadline(2);
        // The executor drops the call when its time is up; these ticks end it even if that never got to run.
        let mut ticks = self.deadline.as_millis() / TICK.as_millis() + 2;
        store.epoch_deadline_callback(move |_| {
            ticks = ticks.saturating_sub(1);
            Ok(match ticks {
                0 => UpdateDeadline::Interrupt,
                _ => UpdateDeadline::YieldCustom(2, Box::pin(once())),
            })
        });
        Ok(())
    }

    fn used(self, store: &Store<CallState>) -> u64 {
        self.fuel.saturating_sub(store.get_fuel().unwrap_or(0))
    }

    /// Counts what a call has used.
    fn account(self, store: &Store<CallState>) {
        let (state, used) = (store.data(), self.used(store));
        state.totals.fuel.fetch_add(used, Ordering::Relaxed);
        state.totals.memory_peak.fetch_max(state.limiter.used() as u64, Ordering::Relaxed);
        tracing::trace!(
            plugin = &*state.log.plugin,
            export = state.log.export,
            task = state.log.task,
            fuel = used,
            memory_bytes = state.limiter.used(),
            "call ended"
        );
    }
}

/// In an instance that is kept, if there is one. What fails there is none of this call's: it is run again in a fresh one.
/// The deadline is one for both.
async fn run<R: Send + 'static>(
    pre: InstancePre<CallState>,
    mut parts: Parts,
    limits: Limited,
    turn: Option<Turn>,
    body: impl Body<R>,
) -> Result<R, CallError> {
    let Some(turn) = turn else { return run_fresh(pre, parts, limits, None, body).await };
    if let Some(mut warm) = turn.take() {
        warm.store.data_mut().begin_again(parts.clone().state());
        limits.set(&mut warm.store, warm.start_fuel).map_err(|error| CallError::Internal(text(&error)))?;
        let ended = body.clone()(&mut warm.store, warm.instance).await;
        limits.account(&warm.store);
        if let Ok(result) = ended {
            parts.totals.reused.fetch_add(1, Ordering::Relaxed);
            turn.keep(warm);
            return Ok(result);
        }
        parts = parts.after(warm.store.data());
    }
    run_fresh(pre, parts, limits, Some(turn), body).await
}

async fn run_fresh<R: Send + 'static>(
    pre: InstancePre<CallState>,
    parts: Parts,
    limits: Limited,
    turn: Option<Turn>,
    body: impl Body<R>,
) -> Result<R, CallError> {
    let internal = |error: wasmtime::Error| CallError::Internal(text(&error));
    let mut store = Store::try_new(pre.engine(), parts.state()).map_err(internal)?;
    store.limiter(|state| &mut state.limiter);
    limits.set(&mut store, 0).map_err(internal)?;
    let started = match pre.instantiate_async(&mut store).await {
        Err(error) => Err(classify_start(&error, store.data().limiter.refused(), &store.data().log.redactor)),
        Ok(instance) => Ok((instance, limits.used(&store))),
    };
    let result = match started {
        Err(error) => Err(error),
        Ok((instance, start_fuel)) => match body(&mut store, instance).await {
            Ok(result) => Ok((result, instance, start_fuel)),
            Err(error) => Err(classify(&error, store.data().limiter.refused(), &store.data().log.redactor)),
        },
    };
    limits.account(&store);
    let (result, instance, start_fuel) = result?;
    if let Some(turn) = turn {
        turn.keep(Warm { store, instance, start_fuel, served: 0 });
    }
    Ok(result)
}
