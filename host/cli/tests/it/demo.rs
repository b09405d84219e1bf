//! `eigenshift demo`: ends well when it should, and says so; refuses what it cannot run.

use std::path::Path;
use std::time::Duration;

use crate::process::{Finished, alone, anvil_program, eigenshift, finish};

const LIMIT: Duration = Duration::from_secs(240);

fn demo(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = eigenshift(folder, ["demo", "--every", "100ms"]);
    finish(command.args(arguments), LIMIT)
}

/// The lines after `summary`, by their names.
fn summary(out: &str) -> Vec<(String, String)> {
    let (_, summary) = out.split_once("\nsummary\n").unwrap_or_else(|| panic!("no summary:\n{out}"));
    let halves = summary.lines().map(|line| line.trim().split_once("  ").unwrap());
    halves.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn value<'a>(summary: &'a [(String, String)], name: &str) -> &'a str {
    let line = summary.iter().find(|(found, _)| found == name);
    &line.unwrap_or_else(|| panic!("no {name:?} in {summary:?}")).1
}

fn assert_good(out: &str, tasks: usize) {
    let summary = summary(out);
    let all = format!("{tasks} of {tasks} tasks");
    assert_eq!(value(&summary, "finalized once"), all, "{out}");
    assert_eq!(value(&summary, "price = recorded median"), all, "{out}");
    assert_eq!(value(&summary, "result"), "good", "{out}");
    assert!(!summary.iter().any(|(name, _)| name == "problem"), "{out}");
}

/// The lines of tasks: number, feed, price on chain, recorded price.
fn tasks(out: &str) -> Vec<(usize, String, String, String)> {
    let fields = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let number = |fields: &[&str]| fields.first().is_some_and(|first| first.parse::<usize>().is_ok());
    let tasks = fields.filter(|fields| number(fields) && fields.get(2) == Some(&"operator"));
    tasks
        .map(|fields| {
            let [.., on_chain, recorded] = fields.as_slice() else { panic!("{fields:?}") };
            (fields[0].parse().unwrap(), fields[1].to_owned(), (*on_chain).to_owned(), (*recorded).to_owned())
        })
        .collect()
}

#[test]
fn one_operator_is_enough_for_a_demo() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = demo(folder.path(), &["--operators", "1", "--tasks", "2"]).good();
    assert_good(&out, 2);
    assert!(out.contains("the leader is not stopped on the way"), "{out}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it left files in the current folder");
}

#[test]
fn the_default_demo_stops_the_leader_after_the_tenth_task_and_finalizes_all_sixteen() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = demo(folder.path(), &[]).good();
    assert_good(&out, 16);
    let summary = summary(&out);
    let stopped = value(&summary, "stopped dead").trim_start_matches("operator ").trim_end_matches(", while it led");
    let led = value(&summary, "operators that led").strip_suffix(" (at least 3 wanted)").unwrap();
    let led: Vec<&str> = led.split(", ").collect();
    assert!(led.len() >= 3, "{out}");

    let (before, after) = out.split_once(&format!("operator {stopped}, the leader, is stopped dead")).unwrap();
    assert_eq!((tasks(before).len(), tasks(after).len()), (10, 6), "{out}");
    assert!(!after.lines().any(|line| line.contains(&format!(" operator {stopped} ")) && line.contains('%')), "{out}");
    let numbers: Vec<usize> = tasks(&out).into_iter().map(|(number, ..)| number).collect();
    assert_eq!(numbers, (0..16).collect::<Vec<_>>());
}

/// Three sources of one feed and two of another, far apart: only the right median matches.
const SOURCES: &str = "\
unix_seconds,BTC/USD@a,BTC/USD@b,BTC/USD@c,ETH/USD@a,ETH/USD@b
1678492800,20000.5,23000,19999.99999999,1500,1700
1678492860,20100,17000.25,19000,1800,1600
1678492920,1,2,3,5,4
1678492980,3,3,1,1600.00000001,1600
";

#[test]
fn a_file_of_prices_gives_the_median_of_its_sources() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prices.csv"), SOURCES).unwrap();
    let out =
        demo(folder.path(), &["--prices", "prices.csv", "--from", "1", "--tasks", "4", "--operators", "2"]).good();
    assert_good(&out, 4);
    // Feeds alternate; of two sources the lower counts.
    let expected = [("BTC/USD", "20000.50"), ("ETH/USD", "1600.00"), ("BTC/USD", "2.00"), ("ETH/USD", "1600.00")];
    let expected = expected.map(|(feed, price)| (feed.to_owned(), price.to_owned(), price.to_owned()));
    let shown = tasks(&out).into_iter().map(|(_, feed, on_chain, recorded)| (feed, on_chain, recorded));
    assert_eq!(shown.collect::<Vec<_>>(), expected, "{out}");
}

#[test]
fn prices_that_cannot_be_played_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let bad = SOURCES.replace("17000.25", "seventeen thousand");
    std::fs::write(folder.path().join("bad.csv"), bad).unwrap();
    std::fs::write(folder.path().join("prices.csv"), SOURCES).unwrap();
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--prices", "bad.csv"], &["bad.csv", "line 3", "seventeen thousand"]),
        (&["--prices", "prices.csv", "--from", "5", "--tasks", "1"], &["needs 5 rows", "have 4", "--from 5"]),
        (&["--prices", "prices.csv", "--tasks", "5"], &["needs 5 rows", "have 4", "--tasks 5"]),
        (&["--from", "250"], &["needs 265 rows", "have 250"]),
        (&["--prices", "none.csv"], &["none.csv"]),
    ];
    for (arguments, expected) in cases {
        let said = demo(folder.path(), arguments).refused();
        for part in expected {
            assert!(said.contains(part), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn the_demo_without_built_plugins_says_how_to_build_them() {
    let folder = tempfile::tempdir().unwrap();
    let ended = demo(folder.path(), &["--operators", "1", "--tasks", "1", "--components", "nowhere"]);
    assert!(ended.code == Some(1) && ended.err.contains("cargo xtask setup"), "{ended:#?}");
}

#[test]
fn the_demo_runs_on_anvil() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut command = eigenshift(folder.path(), ["demo", "--every", "100ms", "--chain", "anvil"]);
    command.args(["--tasks", "2", "--operators", "2"]).env("ANVIL", anvil_program());
    let out = finish(&mut command, LIMIT).good();
    assert_good(&out, 2);
    assert!(out.contains("on a local anvil"), "{out}");
}
