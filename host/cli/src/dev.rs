//! `eigenshift dev`: three operators in this process run a plugin, and run the next one whenever it is built.
//!
//! - `stage`: chain, contract, operators; asking and exchanging. `contract`: the AVS's own.
//! - `source`: what tasks are asked for. `report`: what became of them.
//! - `watch`: the files, while somebody writes them.

mod contract;
mod report;
mod source;
mod stage;
mod watch;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use eigenshift_engine::Triggered;
use eigenshift_plugin::Manifest;
use eigenshift_types::Bytes;

use crate::CliError;
use crate::author::project::Project;
use crate::author::tasks::{self, Answer, Data, Recorded, Tasks};
use crate::author::{AuthorError, log};
use contract::Contract;
use report::Report;
use source::Source;
use stage::Stage;
use watch::{Stamp, Watch};

/// Runs a plugin at three operators.
#[derive(Args, Debug)]
pub struct DevArgs {
    /// A project's folder or a component.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// A request, as text or hexadecimal after 0x; several come in turn. [default: those of tasks.toml that
    /// are answered; none where triggers of avs.toml, or events of the contract, make tasks]
    #[arg(long = "payload", value_name = "PAYLOAD")]
    payloads: Vec<Data>,
    /// Ask for a task for each line of standard input instead; its end is the end.
    #[arg(long, conflicts_with = "payloads")]
    stdin: bool,
    /// Time from one task to the next, for example 2s or 500ms.
    #[arg(long, default_value = "2s", value_parser = crate::config::parse_duration)]
    every: Duration,
    /// End when so many tasks are finished.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    tasks: Option<u64>,
    /// A compiler's JSON of the AVS's contract, for a plugin that puts answers on chain.
    #[arg(long, value_name = "FILE")]
    contract: Option<PathBuf>,
    /// An argument of the contract's constructor, `registry` for the operator registry's address; several in their order.
    /// [default: none, or the registry if it takes one address]
    #[arg(long = "argument", value_name = "VALUE", requires = "contract", allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What the plugin writes, and why it gives no answer; what operators say of each other while they start, exchange a
/// bundle and stop is left out.
const LOG: &str = "warn,openraft=off,eigenshift_engine::drivers::swap=error,eigenshift_engine::drivers::members=error,eigenshift_plugin::guest=trace";

/// Between two looks at the plugin's files.
const LOOK: Duration = Duration::from_millis(300);

pub(crate) fn say(text: &str) {
    // A closed pipe is the reader's choice.
    let _ = writeln!(stdout(), "{text}");
}

/// Requests that the plugin answers, as far as is known.
fn requests(args: &DevArgs, tasks: &Tasks) -> Vec<Bytes> {
    if !args.payloads.is_empty() {
        return args.payloads.iter().map(|Data(bytes)| bytes.clone()).collect();
    }
    let answered = |task: &&Recorded| !matches!(task.expected, Some(Answer::Refused(_)));
    tasks.tasks.iter().filter(answered).map(|task| task.task.request.clone()).collect()
}

fn source(args: &DevArgs, tasks: &Tasks, manifest: &Manifest) -> Result<Source, CliError> {
    if args.stdin {
        let error = |error: std::io::Error| CliError::Usage(format!("standard input: {error}"));
        return Source::stdin().map_err(error);
    }
    let requests = requests(args, tasks);
    match requests.is_empty() {
        false => Ok(Source::Timer { requests, next: 0, every: args.every }),
        // Timers, or events.
        true if !manifest.triggers.is_empty() || args.contract.is_some() => Ok(Source::Silent),
        true => Err(AuthorError::NothingToAsk.into()),
    }
}

/// Runs until it is interrupted, or its tasks are finished.
///
/// # Errors
/// [`CliError`]: the plugin does not run here, or nothing is asked of it.
pub async fn dev(args: DevArgs) -> Result<(), CliError> {
    log(LOG);
    let stop = crate::run::signal();
    tokio::pin!(stop);
    let project = Project::at(&args.plugin);
    let stamp = Stamp::of(&project);
    let bundle = project.bundle()?;
    let tasks = tasks::read(&project.tasks)?.map(|(_, tasks)| tasks).unwrap_or_default();
    let source = source(&args, &tasks, &bundle.1)?;
    let contract = args.contract.as_deref().map(|path| Contract::read(path, &args.arguments)).transpose()?;
    say(&format!("{} {} at three operators; Ctrl-C ends", bundle.1.name, bundle.1.version));
    let (stage, version) = tokio::select! {
        set = Stage::set(bundle, &tasks, contract.as_ref()) => set?,
        () = &mut stop => return Ok(()),
    };
    let report = Report::new(&version);
    let ended = tokio::select! {
        ended = report.run(&stage, args.tasks) => ended,
        ended = ask(&stage, source) => ended,
        never = follow(&stage, &report, &project, Watch::from(stamp), version) => match never {},
        () = &mut stop => Ok(()),
    };
    say("      -- stopping");
    stage.cluster.end(false).await;
    ended
}

/// Asks for one task after the other.
async fn ask(stage: &Stage, mut source: Source) -> Result<(), CliError> {
    let mut number = 0;
    while let Some(request) = source.next(&stage.cluster.env).await {
        let asked = match request {
            Ok(request) => stage.ask(number, request).await,
            Err(why) => Err(CliError::Usage(why)),
        };
        number += 1;
        match asked {
            Ok(Triggered::Task { index }) => {
                let closed = |state: &eigenshift_ledger::State| {
                    state.tasks.get(&index).is_none_or(|task| !task.is_live()).then_some(())
                };
                stage.cluster.wait_at(stage.window()?, &format!("task {index} ends"), closed).await?;
            }
            Ok(Triggered::Planned { tx }) => say(&format!("      -- planned: transaction {tx} creates the task")),
            Ok(Triggered::Ignored { reason }) => say(&format!("      -- ignored by the plugin: {reason}")),
            Ok(Triggered::Used) => {}
            Err(why) => say(&format!("      -- not asked: {why}")),
        }
    }
    Ok(())
}

/// Has every new build run, as long as it is one.
async fn follow(
    stage: &Stage,
    report: &Report,
    project: &Project,
    mut watch: Watch,
    mut running: stage::Version,
) -> std::convert::Infallible {
    loop {
        stage.cluster.env.clock.sleep(LOOK).await;
        if !watch.look(Stamp::of(project)) {
            continue;
        }
        let read = tokio::task::block_in_place(|| project.bundle());
        if !watch.settle(Stamp::of(project)) {
            continue;
        }
        let tried = match read {
            Ok((bundle, _)) if stage.runs(bundle.digest()) => {
                say("      -- built again, and the same as before");
                continue;
            }
            Ok((bundle, manifest)) => stage.try_out(bundle, manifest).await.map_err(CliError::from),
            Err(error) => Err(error.into()),
        };
        let swapped = match tried {
            Ok(version) => {
                report.expect(&version);
                stage.swap(&version).await.map(|()| version)
            }
            Err(error) => Err(error),
        };
        match swapped {
            Ok(version) => drop(std::mem::replace(&mut running, version)),
            Err(why) => say(&format!("      -- the new build is refused: {why}; the former one goes on")),
        }
    }
}
