//! Runs recorded tasks: each twice, in opposite orders and with whatever the first round left in the plugin's store and in
//! instances that are kept, so that what may not be in an answer shows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_build::cache_folder;
use eigenshift_env::Env;
use eigenshift_plugin::{
    Answers, Bundle, ChainReader, CompileLimits, Compiler, Grants, Host, HostOptions, HttpPolicy, Import,
    KeyValueStore, Manifest, PeerResponse, Plugin, ProcessError, Signable, TenantOptions,
};
use eigenshift_types::{B256, OperatorId};

use super::error::{AuthorError, file};
use super::hosts::RecordedHosts;
use super::project::Project;
use super::tasks::{Answer, Recorded, Response, Tasks};

/// Memory of a plugin's store.
const STORE_CACHE: usize = 1024 * 1024;
const QUEUE: usize = 64;

/// An author's machine is busy with builds while it compiles: longer than a node waits. Processor time is a node's.
const COMPILE_TIME: Duration = Duration::from_secs(1200);

/// The code of an answer that its own plugin would not count, as it would not if it came from somebody else.
const NOT_COUNTED: &str = "own-answer-not-counted";

/// A plugin host as a node has it, whose compiled code is kept in the user's cache folder.
///
/// # Errors
/// [`AuthorError::Host`].
pub fn host(env: &Env) -> Result<Host, AuthorError> {
    let compiler = Compiler::this_executable([crate::COMPILE_CHILD.into()])
        .map_err(|error| AuthorError::Usage(format!("cannot tell where this executable is: {error}")))?;
    let cache_dir = cache_folder().map(|folder| folder.join("compiled"));
    let limits = CompileLimits { time: COMPILE_TIME, ..CompileLimits::default() };
    Ok(Host::new(HostOptions { cache_dir, compiler, compile_limits: limits, ..HostOptions::default() }, env)?)
}

/// What one run of a task gave.
#[derive(Clone, Debug)]
pub struct Run {
    /// What would be signed, or the code of the error.
    pub answer: Answer,
    /// The error's text, for people.
    pub why: String,
    /// Of the call that took most.
    pub fuel: u64,
    /// Of the call that took most, in bytes.
    pub memory: u64,
    /// Of the call that took longest.
    pub wall: Duration,
    /// Reads of the chain and requests to other hosts that nothing was recorded for.
    pub missed: Vec<String>,
    /// Why requests were refused.
    pub denied: Vec<String>,
}

/// Both runs of a task.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The task's name.
    pub name: String,
    /// The first run.
    pub first: Run,
    /// The second one.
    pub second: Run,
    /// Whether a difference in fuel counts: not where a store or a kept instance may hold more the second time.
    pub strict: bool,
}

impl Trial {
    /// Whether both runs gave the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.first.answer == self.second.answer && (!self.strict || self.first.fuel == self.second.fuel)
    }
}

/// A version of a plugin, and what became of the tasks in it.
#[derive(Debug)]
pub struct Version {
    /// What it is called in tables.
    pub label: String,
    /// Its digest.
    pub digest: B256,
    /// Its manifest.
    pub manifest: Manifest,
    /// The tasks, in the file's order.
    pub trials: Vec<Trial>,
}

struct Meter<'a> {
    env: &'a Env,
    plugin: &'a Plugin,
    fuel: u64,
    wall: Duration,
}

impl Meter<'_> {
    async fn call<T>(&mut self, call: impl Future<Output = T>) -> T {
        let (before, begun) = (self.plugin.counters().fuel, self.env.clock.monotonic());
        let result = call.await;
        self.fuel = self.fuel.max(self.plugin.counters().fuel - before);
        self.wall = self.wall.max(self.env.clock.monotonic().saturating_sub(begun));
        result
    }
}

/// Whether the plugin counts an answer of its own where it wants it counted: what it does with everybody's.
async fn counted(meter: &mut Meter<'_>, recorded: &Recorded, item: &Signable) -> Result<(), ProcessError> {
    let (plugin, task) = (meter.plugin, &recorded.task);
    let response = PeerResponse {
        operator_id: OperatorId(B256::repeat_byte(1)),
        payload: item.payload.clone(),
        extension: item.extension.clone(),
    };
    let key = meter.call(plugin.on_leader_process_task_response(task, &response)).await?;
    if (key.task_index, &key.key, key.digest) == (task.index, &item.key, item.digest) {
        return Ok(());
    }
    Err(ProcessError::Rejected {
        code: NOT_COUNTED.to_owned(),
        message: format!(
            "on-leader-process-task-response counts it for task {}, key {}, digest {}; signed is key {}, digest {}",
            key.task_index, key.key, key.digest, item.key, item.digest
        ),
    })
}

async fn answer(
    meter: &mut Meter<'_>,
    recorded: &Recorded,
    chain: Arc<dyn ChainReader>,
) -> Result<Vec<Response>, ProcessError> {
    let (plugin, task) = (meter.plugin, &recorded.task);
    let answers = meter.call(plugin.on_task_request(task, chain)).await?;
    let items = meter.call(plugin.on_submit_task_to_leader(task, &answers)).await?;
    for item in &items {
        counted(meter, recorded, item).await?;
    }
    Ok(items.iter().map(Response::from).collect())
}

async fn run(env: &Env, plugin: &Plugin, hosts: &RecordedHosts, recorded: &Recorded) -> Run {
    let mut meter = Meter { env, plugin, fuel: 0, wall: Duration::ZERO };
    let chain = Arc::new(recorded.chain());
    hosts.begin(&recorded.reads);
    plugin.take_memory_peak();
    let result = answer(&mut meter, recorded, Arc::clone(&chain) as Arc<dyn ChainReader>).await;
    let (answer, why) = match result {
        Ok(responses) => (Answer::Responses(responses), String::new()),
        Err(ProcessError::Rejected { code, message }) if code == NOT_COUNTED => (Answer::Refused(code), message),
        // Its own answer: whatever it would tell another operator.
        Err(ProcessError::Rejected { code, message }) => {
            (Answer::Refused(NOT_COUNTED.to_owned()), format!("{code}: {message}"))
        }
        Err(ProcessError::Call(error)) => (Answer::Refused(error.code().to_owned()), error.to_string()),
    };
    let Meter { fuel, wall, .. } = meter;
    let missed = [chain.missed(), hosts.missed()].concat();
    Run { answer, why, fuel, memory: plugin.take_memory_peak(), wall, missed, denied: hosts.denied() }
}

/// An empty store in a file of its own.
///
/// # Errors
/// [`AuthorError::File`].
pub async fn keyvalue(env: &Env, folder: &Path) -> Result<KeyValueStore, AuthorError> {
    let path = folder.join(format!("{}.redb", hex::encode(env.random_32())));
    let pool = env.threads.pool("keyvalue", 1, QUEUE).map_err(|error| file(&path, error))?;
    let (env, own, place) = (env.clone(), pool.clone(), path.clone());
    let opened = pool.run(move || KeyValueStore::open(&env, &place, own, STORE_CACHE)).await;
    opened.map_err(|error| file(&path, error))?.map_err(|error| file(&path, error))
}

/// What a plugin is given that never leaves this machine: recorded values, an empty store, hosts that were recorded.
async fn given(
    env: &Env,
    tasks: &Tasks,
    hosts: &Arc<RecordedHosts>,
    manifest: &Manifest,
    folder: &Path,
) -> Result<TenantOptions, AuthorError> {
    let keyvalue = match manifest.imports.contains(&Import::Keyvalue) {
        true => Some(keyvalue(env, folder).await?),
        false => None,
    };
    let answers = Arc::clone(hosts) as Arc<dyn Answers>;
    let http = HttpPolicy { answers: Some(answers), ..HttpPolicy::default() };
    Ok(TenantOptions { keyvalue, secrets: tasks.secrets.clone(), http })
}

/// Loads a version and runs every task, twice, the second time in the opposite order.
///
/// # Errors
/// [`AuthorError`]: the bundle is not loaded. What comes of the tasks is in the result.
pub async fn version(
    env: &Env,
    host: &Host,
    project: &Project,
    (bundle, manifest): (Bundle, Manifest),
    tasks: &Tasks,
) -> Result<Version, AuthorError> {
    let digest = bundle.digest();
    let grants = Grants { config: tasks.config.clone(), ..Grants::all() };
    let golden = manifest.golden.iter().enumerate();
    let golden = golden.filter(|_| tasks.tasks.is_empty());
    let golden: Vec<Recorded> = golden.filter_map(|(number, golden)| Recorded::golden(number, golden)).collect();
    let recorded: Vec<&Recorded> = tasks.tasks.iter().chain(&golden).collect();
    if recorded.is_empty() {
        return Err(AuthorError::NoTasks(project.tasks.clone()));
    }
    let refused = |error| AuthorError::Refused { path: project.component.clone(), error };
    let place = tempfile::tempdir().map_err(|error| file(&std::env::temp_dir(), error))?;
    let hosts = Arc::new(RecordedHosts::default());
    let tenant = host.tenant_with(given(env, tasks, &hosts, &manifest, place.path()).await?);
    // One for both rounds: the second one meets what the first one left in its store and in instances that are kept.
    let plugin = host.load_for(&tenant, bundle, &grants).await.map_err(refused)?;
    let mut first = Vec::new();
    for task in &recorded {
        first.push(run(env, &plugin, &hosts, task).await);
    }
    let mut second = Vec::new();
    for task in recorded.iter().rev() {
        second.push(run(env, &plugin, &hosts, task).await);
    }
    second.reverse();
    let strict = !manifest.imports.contains(&Import::Keyvalue) && manifest.reuse_calls == 0;
    let trials = recorded.iter().zip(first.into_iter().zip(second));
    let trials =
        trials.map(|(task, (first, second))| Trial { name: task.name.clone(), first, second, strict }).collect();
    Ok(Version { label: format!("{} {}", manifest.name, manifest.version), digest, manifest, trials })
}
