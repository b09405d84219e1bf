//! WASI 0.2 in a closed form, for components of tools that import it whether they use it or not.
//!
//! Nothing of the machine shows: the clock stands at the task's time, random bytes follow from task and callback, there are
//! no arguments, variables, files or sockets, and what is printed goes to the operator's log. So a component that uses it
//! still gives equal results on every operator. `wasi:http` is the exception and a grant of its own.
//!
//! It is linked only into components that import it: the others carry nothing of it.
//!
//! - `closed`: the clock, the output streams. `random`: the random bytes.
//! - here: the interfaces and their state.

mod closed;
mod random;

use eigenshift_types::{Address, AvsId, B256, TaskIndex, keccak256};
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::random as wit_random;
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http;
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::bindings::wasi::io;

use super::http::Hooks;
use crate::sandbox::imports::{CallState, Log};
use closed::{Frozen, Output};
use random::Random;

/// The interfaces of WASI that every component may import, without their version.
const CLOSED: [&str; 20] = [
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/wall-clock",
    "wasi:clocks/monotonic-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
];
/// Those that a grant of `http` opens.
const HTTP: [&str; 2] = ["wasi:http/types", "wasi:http/outgoing-handler"];
const TRACK: &str = "0.2.";
const VERSION: &str = "0.2.12";

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Given to every component.
    Closed,
    /// Requests to other hosts.
    Http,
}

/// Looks an interface up: what it is, and whether the version is the track that is served; else the name to use.
pub(super) fn find(interface: &str, version: &str) -> Option<Result<Kind, String>> {
    let kind = if CLOSED.contains(&interface) {
        Kind::Closed
    } else if HTTP.contains(&interface) {
        Kind::Http
    } else {
        return None;
    };
    Some(if version.starts_with(TRACK) { Ok(kind) } else { Err(format!("{interface}@{VERSION}")) })
}

/// What a call's clock and random bytes follow from: equal on every operator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// Of the AVS.
    pub chain_id: u64,
    /// Of the AVS.
    pub service_manager: Address,
    /// Seconds since 1970 of the task's reference block; 0 where there is no task.
    pub time: u64,
}

impl Moment {
    /// Differs by callback, AVS and task.
    fn seed(&self, export: &str, avs: Option<&AvsId>, task: Option<TaskIndex>) -> B256 {
        let mut input = b"eigenshift random 1\0".to_vec();
        input.extend_from_slice(export.as_bytes());
        input.push(0);
        input.extend_from_slice(avs.map_or("", AvsId::as_str).as_bytes());
        input.push(0);
        input.extend_from_slice(&self.chain_id.to_be_bytes());
        input.extend_from_slice(self.service_manager.as_slice());
        input.push(u8::from(task.is_some()));
        input.extend_from_slice(&task.unwrap_or_default().to_be_bytes());
        input.extend_from_slice(&self.time.to_be_bytes());
        keccak256(input)
    }
}

/// Bytes of a set of HTTP fields in memory.
const MAX_FIELD_BYTES: usize = 64 * 1024;

/// WASI's side of one call.
pub(crate) struct State {
    ctx: WasiCtx,
    random: Random,
    http: WasiHttpCtx,
    hooks: Hooks,
    // What the context holds too.
    clock: Frozen,
    outputs: (Output, Output),
    log: Log,
}

impl State {
    pub(crate) fn new(moment: Moment, log: Log, hooks: Hooks) -> Self {
        let seed = moment.seed(log.export, log.avs.as_ref(), log.task);
        let (outputs, clock) = (Output::pair(log.another()), Frozen::at(moment.time));
        let ctx = WasiCtx::builder()
            .stdout(outputs.0.clone())
            .stderr(outputs.1.clone())
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELD_BYTES);
        Self { ctx, random: Random::new(seed), http, hooks, clock, outputs, log }
    }

    /// Makes it another call's: handles that the guest holds go on to work, as that call's.
    pub(crate) fn begin_again(&mut self, next: Self) {
        let Self { ctx: _, random, http: _, hooks, clock, outputs: _, log } = next;
        (self.random, self.hooks) = (random, hooks);
        self.clock.set(clock.time());
        self.outputs.0.begin_again(log.another());
        self.outputs.1.begin_again(log.another());
        self.log = log;
    }

    /// How many requests the call has sent.
    pub(crate) fn sent(&self) -> u32 {
        self.hooks.sent()
    }

    /// Ends a call. False when an answer to what it sent may still be on its way.
    pub(crate) fn rest(&mut self) -> bool {
        self.outputs.0.end();
        self.outputs.1.end();
        std::mem::replace(&mut self.hooks, Hooks::new(None)).sent() == 0
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let state = wasi(&mut self.wasi, &self.log);
        WasiCtxView { ctx: &mut state.ctx, table: &mut self.table }
    }
}

impl CallState {
    fn random(&mut self) -> &mut Random {
        &mut wasi(&mut self.wasi, &self.log).random
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let state = wasi(&mut self.wasi, &self.log);
        WasiHttpCtxView { hooks: &mut state.hooks, table: &mut self.table, ctx: &mut state.http }
    }
}

/// The call's state. A component that imports WASI has one from the beginning; if that were not so, this one gives nothing.
fn wasi<'a>(state: &'a mut Option<Box<State>>, log: &Log) -> &'a mut State {
    state.get_or_insert_with(|| Box::new(State::new(Moment::default(), log.another(), Hooks::new(None))))
}

/// Everything above, interface by interface: what is not here does not exist, sockets among it.
pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    type State = CallState;
    let l = linker;
    io::error::add_to_linker::<State, Io>(l, |state| &mut state.table)?;
    io::poll::add_to_linker::<State, Io>(l, |state| &mut state.table)?;
    io::streams::add_to_linker::<State, Io>(l, |state| &mut state.table)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    wit_random::random::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    wit_random::insecure::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    wit_random::insecure_seed::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    http::outgoing_handler::add_to_linker::<State, WasiHttp>(l, State::http)?;
    http::types::add_to_linker::<State, WasiHttp>(l, &(&options).into(), State::http)
}

struct Io;

impl wasmtime::component::HasData for Io {
    type Data<'a> = &'a mut wasmtime::component::ResourceTable;
}
