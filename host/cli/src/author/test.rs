//! `eigenshift plugin test`: recorded tasks in, answers out.

use std::path::PathBuf;

use clap::Args;
use eigenshift_env::Env;
use eigenshift_plugin::Limits;

use super::error::{AuthorError, file};
use super::lines::log;
use super::project::Project;
use super::record::record;
use super::tasks::{self, Answer, Recorded, Tasks};
use super::trial::{Run, Trial, Version, host, version};

/// Runs recorded tasks.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// A project's folder or a component; several are versions, whose answers are compared.
    #[arg(default_value = ".")]
    plugins: Vec<PathBuf>,
    /// The recorded tasks. [default: tasks.toml beside the first plugin, else the golden tasks of its avs.toml]
    #[arg(long, value_name = "FILE")]
    tasks: Option<PathBuf>,
    /// Write what comes out into the file as what is expected.
    #[arg(long)]
    record: bool,
}

/// What the plugin says; why it trapped, for one, which a trap does not tell.
const LOG: &str = "error,eigenshift_plugin::guest=info";

/// Most versions at once.
const MAX_VERSIONS: usize = 16;

/// How an answer is shown.
fn shown(run: &Run) -> String {
    match &run.answer {
        Answer::Refused(code) => format!("refused, {code}: {}", run.why),
        Answer::Responses(responses) if responses.is_empty() => "no responses".to_owned(),
        Answer::Responses(responses) => {
            let one = |response: &tasks::Response| {
                format!("key {} payload {} digest {}", response.key.written(), response.payload.0, response.digest)
            };
            responses.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    }
}

/// What was recorded, likewise.
fn recorded(expected: &Answer) -> String {
    let run = Run {
        answer: expected.clone(),
        why: String::new(),
        fuel: 0,
        memory: 0,
        wall: std::time::Duration::ZERO,
        missed: Vec::new(),
        denied: Vec::new(),
    };
    shown(&run).trim_end_matches(": ").to_owned()
}

/// What a line says of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    New,
    Differs,
    Unexpected,
}

impl Verdict {
    fn of(trial: &Trial, expected: Option<&Answer>) -> Self {
        match expected {
            _ if !trial.agrees() => Self::Differs,
            None => Self::New,
            Some(expected) if *expected == trial.first.answer => Self::Good,
            Some(_) => Self::Unexpected,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Good => "as recorded",
            Self::New => "not recorded",
            Self::Differs => "TWO ANSWERS",
            Self::Unexpected => "UNEXPECTED",
        }
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

fn line(trial: &Trial, verdict: Verdict, limits: &Limits) {
    let Run { fuel, memory, wall, .. } = &trial.first;
    println!(
        "  {:<13} {:<24} fuel {fuel:>12} ({:>2} %)  memory {:>6} KiB ({:>2} %)  {:>9.3} ms",
        verdict.word(),
        trial.name,
        percent(*fuel, limits.fuel),
        memory.div_ceil(1024),
        percent(*memory, limits.memory_bytes),
        wall.as_secs_f64() * 1e3,
    );
}

/// What one needs to know to mend it.
fn details(trial: &Trial, verdict: Verdict, expected: Option<&Answer>) {
    match verdict {
        Verdict::Differs if trial.first.answer == trial.second.answer => {
            println!("      fuel {} in the first run, {} in the second", trial.first.fuel, trial.second.fuel);
        }
        Verdict::Differs => {
            println!("      first run   {}", shown(&trial.first));
            println!("      second run  {}", shown(&trial.second));
        }
        Verdict::Unexpected => {
            println!("      recorded    {}", expected.map(recorded).unwrap_or_default());
            println!("      answered    {}", shown(&trial.first));
        }
        Verdict::New => println!("      answered    {}", shown(&trial.first)),
        Verdict::Good => {}
    }
    for why in &trial.first.denied {
        println!("      a request was refused: {why}");
    }
    for missed in &trial.first.missed {
        println!("      it asked for what was not recorded:");
        missed.lines().for_each(|line| println!("        {line}"));
    }
}

/// Shows a version's tasks; how many gave two answers, and how many another one than was recorded.
fn show(version: &Version, tasks: &Tasks) -> (usize, usize) {
    let limits = &version.manifest.limits;
    println!("{}  bundle {}", version.label, version.digest);
    println!("  a call may take fuel {} and {} KiB of memory", limits.fuel, limits.memory_bytes / 1024);
    if tasks.tasks.is_empty() {
        println!("  the golden tasks of avs.toml, which have the digests that stand there");
    }
    let (mut differ, mut unexpected) = (0, 0);
    for (number, trial) in version.trials.iter().enumerate() {
        let expected = tasks.tasks.get(number).and_then(|task: &Recorded| task.expected.as_ref());
        let verdict = Verdict::of(trial, expected);
        differ += usize::from(verdict == Verdict::Differs);
        unexpected += usize::from(verdict == Verdict::Unexpected);
        line(trial, verdict, limits);
        details(trial, verdict, expected);
    }
    (differ, unexpected)
}

/// A table of the tasks that versions answer differently; how many there are.
fn compare(versions: &[Version]) -> usize {
    let Some((first, others)) = versions.split_first() else { return 0 };
    let mut differing = 0;
    for (number, trial) in first.trials.iter().enumerate() {
        let other = |version: &Version| version.trials.get(number).map(|trial| trial.first.answer.clone());
        if others.iter().all(|version| other(version).is_none_or(|answer| answer == trial.first.answer)) {
            continue;
        }
        if differing == 0 {
            println!("\ntasks that versions answer differently");
        }
        differing += 1;
        println!("  {}", trial.name);
        for version in versions {
            if let Some(trial) = version.trials.get(number) {
                println!("    {:<20} {:.18}  {}", version.label, version.digest.to_string(), shown(&trial.first));
            }
        }
    }
    differing
}

/// Runs the tasks, and says what came of them.
///
/// # Errors
/// [`AuthorError`], after the table: `nondeterministic` before `unexpected-answers` before `versions-differ`.
pub async fn test(args: TestArgs) -> Result<(), AuthorError> {
    if args.plugins.len() > MAX_VERSIONS {
        return Err(AuthorError::Usage(format!("{} plugins, at most {MAX_VERSIONS} at once", args.plugins.len())));
    }
    if args.record && args.plugins.len() > 1 {
        return Err(AuthorError::Usage("--record takes the answers of one plugin, not of several".to_owned()));
    }
    let projects: Vec<Project> = args.plugins.iter().map(|path| Project::at(path)).collect();
    let beside = projects.first().map(|project| project.tasks.clone()).unwrap_or_default();
    let path = args.tasks.clone().unwrap_or(beside);
    let read = tasks::read(&path)?;
    if read.is_none() && (args.tasks.is_some() || args.record) {
        return Err(AuthorError::NoTasks(path));
    }
    let (text, tasks) = read.unwrap_or_default();
    let bundles = projects.iter().map(Project::bundle).collect::<Result<Vec<_>, _>>()?;
    log(LOG);
    let env = Env::real();
    let host = host(&env)?;
    let mut versions = Vec::new();
    let (mut differ, mut unexpected) = (0, 0);
    for (project, bundle) in projects.iter().zip(bundles) {
        // An interpreter's takes seconds, the first time.
        eprintln!("loading {}", project.component.display());
        let version = version(&env, &host, project, bundle, &tasks).await?;
        let (two, other) = show(&version, &tasks);
        differ += two;
        unexpected += other;
        versions.push(version);
    }
    let versions_differ = compare(&versions);
    if differ > 0 {
        return Err(AuthorError::Nondeterministic(differ));
    }
    if args.record {
        return save(&path, &text, &versions);
    }
    match (unexpected, versions_differ) {
        (0, 0) => Ok(()),
        (0, differing) => Err(AuthorError::Versions(differing)),
        (unexpected, _) => Err(AuthorError::Unexpected(unexpected)),
    }
}

/// Writes the answers, all of them or none.
fn save(path: &std::path::Path, text: &str, versions: &[Version]) -> Result<(), AuthorError> {
    let trials = versions.iter().flat_map(|version| &version.trials);
    let answers: Vec<Answer> = trials.map(|trial| trial.first.answer.clone()).collect();
    let new = record(text, &answers).map_err(|why| AuthorError::Tasks { path: path.to_owned(), why })?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let unfinished = tempfile::NamedTempFile::new_in(folder).map_err(|error| file(folder, error))?;
    std::fs::write(unfinished.path(), new).map_err(|error| file(unfinished.path(), error))?;
    if let Ok(old) = std::fs::metadata(path) {
        // As it was: a temporary file is its owner's alone.
        std::fs::set_permissions(unfinished.path(), old.permissions()).map_err(|error| file(path, error))?;
    }
    unfinished.persist(path).map_err(|error| file(path, error.error))?;
    println!("recorded {} answers in {}", answers.len(), path.display());
    Ok(())
}
