//! What the demo shows: a line per task, and under a terminal what is going on now.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use crate::demo::prices::{Prices, display};
use crate::demo::{ChainKind, DemoArgs, Summary};

/// A finished task.
pub struct Line {
    /// Its number.
    pub task: u32,
    /// Feed.
    pub feed: String,
    /// Operator that led it.
    pub leader: usize,
    /// Sources that were certified.
    pub sources: Vec<String>,
    /// Fewest signers of a source.
    pub signers: usize,
    /// Operators registered.
    pub operators: usize,
    /// Least stake of a source, percent.
    pub stake_percent: u64,
    /// From the log entry to the last certificate.
    pub to_certificate: Duration,
    /// The contract's answer.
    pub on_chain: i128,
    /// The median of the recorded prices.
    pub recorded: Option<i128>,
}

pub(super) struct View {
    terminal: bool,
    operators: u32,
    tasks: u32,
    every: Duration,
    chain: ChainKind,
    prices: String,
    kills: bool,
}

fn say(text: &str) {
    // A closed pipe is the reader's choice; the demo goes on to its exit code.
    let _ = writeln!(stdout(), "{text}");
}

impl View {
    pub fn new(args: &DemoArgs, prices: &Prices, kills: bool) -> Self {
        let name =
            args.prices.as_ref().map_or("euro reference rates of the European Central Bank".to_owned(), |path| {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            });
        let feeds: Vec<String> =
            prices.feeds().into_iter().map(|(feed, columns)| format!("{feed} ({})", columns.len())).collect();
        Self {
            terminal: stdout().is_terminal(),
            operators: args.operators,
            tasks: args.tasks,
            every: args.every,
            chain: args.chain,
            prices: format!("{name}: {} rows, feeds (sources): {}", prices.rows.len(), feeds.join(", ")),
            kills,
        }
    }

    pub fn head(&self) {
        let chain = match self.chain {
            ChainKind::Embedded => "an EVM in this process",
            ChainKind::Anvil => "a local anvil",
        };
        say(&format!(
            "EigenShift demo: {} operators, {} tasks, one every {:?}, on {chain}",
            self.operators, self.tasks, self.every
        ));
        say(&self.prices);
        if !self.kills {
            say("the leader is not stopped on the way: that needs at least 4 operators and 6 tasks");
        }
    }

    pub fn columns(&self) {
        say(&format!(
            "\n{:>4}  {:<8} {:<10} {:<36} {:>7} {:>6} {:>12} {:>16} {:>16}",
            "task", "feed", "leader", "sources", "signers", "stake", "certificate", "on chain", "recorded"
        ));
    }

    /// What is going on: under a terminal only.
    pub fn progress(&self, number: u32, feed: &str, what: &str) {
        if self.terminal {
            let mut out = stdout();
            let _ = write!(out, "\r\x1b[K{number:>4}  {feed:<8} {what} ...");
            let _ = out.flush();
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(stdout(), "\r\x1b[K");
        }
    }

    pub fn note(&self, text: &str) {
        self.clear();
        say(&format!("      -- {text}"));
    }

    pub fn task(&self, line: &Line) {
        self.clear();
        let recorded = line.recorded.map_or("none".to_owned(), display);
        let mark = if Some(line.on_chain) == line.recorded { "" } else { "  DIFFERS" };
        say(&format!(
            "{:>4}  {:<8} {:<10} {:<36} {:>7} {:>5}% {:>9} ms {:>16} {:>16}{mark}",
            line.task,
            line.feed,
            format!("operator {}", line.leader),
            line.sources.join(" "),
            format!("{}/{}", line.signers, line.operators),
            line.stake_percent,
            line.to_certificate.as_millis(),
            display(line.on_chain),
            recorded,
        ));
    }

    pub fn summary(&self, summary: &Summary, kept: Option<&std::path::Path>) {
        self.clear();
        let leaders: Vec<String> = summary.leaders.iter().map(ToString::to_string).collect();
        say("\nsummary");
        say(&format!("  finalized once           {} of {} tasks", summary.finalized, summary.asked));
        say(&format!(
            "  price = recorded median  {} of {} tasks",
            summary.finalized as usize - summary.wrong.len(),
            summary.asked
        ));
        say(&format!("  operators that led       {} (at least {} wanted)", leaders.join(", "), summary.leaders_wanted));
        if let Some(killed) = summary.killed {
            say(&format!("  stopped dead             operator {killed}, while it led"));
        }
        for problem in summary.failed.iter().chain(&summary.wrong) {
            say(&format!("  problem                  {problem}"));
        }
        if let Some(kept) = kept {
            say(&format!("  data directories         {}", kept.display()));
        }
        say(if summary.is_good() { "  result                   good" } else { "  result                   NOT GOOD" });
    }
}
