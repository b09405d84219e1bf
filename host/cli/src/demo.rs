//! `eigenshift demo`: a cluster of operators in one process runs the price oracle on recorded prices.

pub mod contracts;
mod develop;
pub mod prices;
mod stage;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use eigenshift_types::Bytes;

use crate::CliError;
use crate::files::{file, read_bounded};
pub use develop::{DevelopArgs, develop};
use prices::Prices;
use stage::Stage;
use view::{Line, View};

/// Which chain the demo runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChainKind {
    /// An EVM in this process.
    Embedded,
    /// A local anvil, started for the demo.
    Anvil,
}

/// Runs the price oracle with several operators in one process.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// How many tasks.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub tasks: u32,
    /// How many operators.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=7))]
    pub operators: u32,
    /// Time from one task to the next, for example 2s or 500ms.
    #[arg(long, default_value = "2s", value_parser = crate::config::parse_duration)]
    pub every: Duration,
    /// The chain.
    #[arg(long, value_enum, default_value_t = ChainKind::Embedded)]
    pub chain: ChainKind,
    /// A file of prices: unix_seconds,FEED@SOURCE,... [default: the European Central Bank's euro reference rates]
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Row of the file to begin with, counted from 1.
    #[arg(long, default_value_t = 1, value_name = "ROW", value_parser = clap::value_parser!(u32).range(1..))]
    pub from: u32,
    /// Folder of the built plugins [default: EIGENSHIFT_COMPONENTS, else plugins/target/components]
    #[arg(long, value_name = "DIR")]
    pub components: Option<PathBuf>,
    /// Keep the operators' data directories, and say where they are.
    #[arg(long)]
    pub keep: bool,
}

impl DemoArgs {
    /// The built-in prices, from one row on.
    fn for_row(row: u32) -> Self {
        Self {
            tasks: 1,
            operators: 1,
            every: Duration::ZERO,
            chain: ChainKind::Anvil,
            prices: None,
            from: 1.max(row),
            components: None,
            keep: false,
        }
    }
}

const ECB: &str = include_str!("../../../examples/price-oracle/data/ecb.csv");

/// Fewer operators could not go on without one; fewer tasks leave none to show it with.
const LEAST_OPERATORS: u32 = 4;
const LEAST_TASKS: u32 = 6;

/// What the demo showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tasks asked for.
    pub asked: u32,
    /// Tasks that reached `finalized`.
    pub finalized: u32,
    /// Tasks that ended otherwise, or not in time.
    pub failed: Vec<String>,
    /// On-chain prices that differ from the recorded median.
    pub wrong: Vec<String>,
    /// Operators that led a task, by number.
    pub leaders: std::collections::BTreeSet<usize>,
    /// How many must have led.
    pub leaders_wanted: usize,
    /// Whether a leader was stopped.
    pub killed: Option<usize>,
}

impl Summary {
    /// Whether everything was as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.finalized == self.asked
            && self.failed.is_empty()
            && self.wrong.is_empty()
            && self.leaders.len() >= self.leaders_wanted
    }
}

/// Longest file of prices.
const MAX_PRICES: u64 = 16 * 1024 * 1024;

fn read_prices(args: &DemoArgs) -> Result<Prices, CliError> {
    let prices = match &args.prices {
        None => Prices::parse(ECB).map_err(|error| CliError::Prices { file: "the built-in rates".into(), error })?,
        Some(path) => {
            let text = String::from_utf8(read_bounded(path, MAX_PRICES)?).map_err(|error| file(path, error))?;
            Prices::parse(&text).map_err(|error| CliError::Prices { file: path.display().to_string(), error })?
        }
    };
    let last = args.from as usize - 1 + args.tasks as usize;
    if last > prices.rows.len() {
        let have = prices.rows.len();
        return Err(CliError::Usage(format!(
            "--from {} with --tasks {} needs {last} rows, the prices have {have}; lower one of them",
            args.from, args.tasks
        )));
    }
    Ok(prices)
}

/// Runs the demo.
///
/// # Errors
/// [`CliError`] when it cannot be set up; a demo that ran and failed is in the summary.
pub async fn run(args: DemoArgs) -> Result<Summary, CliError> {
    let prices = read_prices(&args)?;
    let kill_after =
        (args.operators >= LEAST_OPERATORS && args.tasks >= LEAST_TASKS).then_some((args.tasks * 6).div_ceil(10));
    let mut view = View::new(&args, &prices, kill_after.is_some());
    view.head();
    let mut stage = Stage::set(&args, &prices, &mut view).await?;
    let mut summary = Summary {
        asked: args.tasks,
        leaders_wanted: (args.operators.min(3) as usize).min(args.tasks as usize),
        ..Summary::default()
    };
    let feeds = prices.feeds();
    for number in 0..args.tasks {
        let began = stage.now();
        let Some((feed, columns)) = feeds.get(number as usize % feeds.len()) else { break };
        let Some(row) = prices.rows.get(args.from as usize - 1 + number as usize) else { break };
        let recorded = prices::median(columns.iter().filter_map(|column| row.prices.get(*column).copied()).collect());
        match play(&mut stage, &mut view, number, feed, row, recorded).await {
            Ok(line) => {
                summary.finalized += 1;
                summary.leaders.insert(line.leader);
                if Some(line.on_chain) != recorded {
                    summary.wrong.push(format!("task {}: {} on chain", line.task, prices::display(line.on_chain)));
                }
                view.task(&line);
            }
            Err(error) => {
                view.note(&format!("task {number}: {error}"));
                summary.failed.push(format!("task {number}: {error}"));
            }
        }
        if kill_after == Some(number + 1) {
            let (operator, next) = stage.kill_leader().await?;
            summary.killed = Some(operator);
            view.note(&format!("operator {operator}, the leader, is stopped dead; operator {next} takes over"));
        }
        if number + 1 < args.tasks {
            stage.wait_until(began + args.every).await;
        }
    }
    let twice = stage.answered_twice().await?;
    summary.failed.extend(twice.into_iter().map(|task| format!("task {task} was answered on chain more than once")));
    let kept = stage.end(args.keep).await;
    view.summary(&summary, kept.as_deref());
    Ok(summary)
}

async fn play(
    stage: &mut Stage,
    view: &mut View,
    number: u32,
    feed: &str,
    row: &prices::Row,
    recorded: Option<i128>,
) -> Result<Line, CliError> {
    view.progress(number, feed, "prices to the feed contracts");
    stage.write_row(row).await?;
    view.progress(number, feed, "request to the leader");
    stage.request(number, Bytes::copy_from_slice(feed.as_bytes())).await?;
    let (task, created) = stage.wait_created(number).await?;
    view.progress(number, feed, "operators read, sign and answer");
    let certified = stage.wait_certified(task).await?;
    view.progress(number, feed, "certificate on chain");
    let ended = stage.wait_finalized(task).await?;
    let on_chain = stage.answer(task).await?;
    Ok(Line {
        task,
        feed: feed.to_owned(),
        leader: ended.leader,
        sources: ended.sources,
        signers: ended.signers,
        operators: stage.operators(),
        stake_percent: ended.stake_percent,
        to_certificate: certified.saturating_sub(created),
        on_chain,
        recorded,
    })
}
