//! What `cargo xtask test` runs: stages one after the other, each timed, the first failure ends it.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::chain_tools::ChainTools;
use crate::fuzz;
use crate::languages;
use crate::place::{self, Place};

const CARGO_DENY: &str = "0.20.2";

type Stage = fn(&Place, &ChainTools) -> Result<()>;

/// Quick ones first.
const STAGES: &[(&str, Stage)] = &[
    ("fmt", |place, _| formatting(place)),
    ("contracts", |place, tools| tools.check_contracts(place)),
    ("clippy", |place, _| clippy(place)),
    ("guests", |place, _| guests(place)),
    ("licences", |place, _| licences(place)),
    ("fuzz", |place, _| fuzz::stage(place)),
    ("libraries", |place, _| libraries(place)),
    ("build", |place, _| build(place)),
    ("languages", |place, _| languages::stage(place)),
    ("test", tests),
];

/// Sets up and runs every stage, or only those named.
pub fn test(place: &Place, only: &[String]) -> Result<()> {
    let known = |name: &str| STAGES.iter().any(|(stage, _)| *stage == name);
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        let names: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
        bail!("there is no stage {unknown:?}; the stages are {}", names.join(", "));
    }
    let mut times = Times::default();
    let tools = times.stage("setup", || crate::setup(place, true))?.context("setup brought no chain tools")?;
    for (name, stage) in STAGES {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            times.stage(name, || stage(place, &tools))?;
        }
    }
    times.print();
    Ok(())
}

/// Seconds of the stages so far.
#[derive(Default)]
struct Times(Vec<(&'static str, u64)>);

impl Times {
    fn stage<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("== stage {name}");
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs();
        println!("== stage {name}: {seconds} s");
        self.0.push((name, seconds));
        if result.is_err() {
            self.print();
        }
        result.with_context(|| format!("stage {name} failed"))
    }

    fn print(&self) {
        println!("\n{:<12}{:>8}", "stage", "seconds");
        for (name, seconds) in &self.0 {
            println!("{name:<12}{seconds:>8}");
        }
        println!("{:<12}{:>8}", "total", self.0.iter().map(|(_, seconds)| seconds).sum::<u64>());
    }
}

fn formatting(place: &Place) -> Result<()> {
    for folder in [&place.root, &place.plugins(), &fuzz::folder(place)] {
        let what = format!("cargo fmt in {} (`cargo fmt --all` there mends it)", folder.display());
        place::run(place.cargo(folder).args(["fmt", "--all", "--check"]), &what)?;
    }
    Ok(())
}

fn clippy(place: &Place) -> Result<()> {
    let mut cargo = place.cargo(&place.root);
    cargo.args(["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"]);
    place::run(&mut cargo, "clippy")
}

/// The plugins' own lints and tests, natively: their logic needs no WebAssembly.
fn guests(place: &Place) -> Result<()> {
    let folder = place.plugins();
    let mut clippy = place.cargo(&folder);
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"]);
    place::run(&mut clippy, "clippy of the plugins")?;
    place::run(place.cargo(&folder).args(["test", "--workspace", "--locked", "--quiet"]), "the plugins' tests")
}

fn licences(place: &Place) -> Result<()> {
    let deny = place::cargo_tool(place, "cargo-deny", CARGO_DENY, "checks licences")?;
    for folder in [&place.root, &place.plugins()] {
        let mut check = Command::new(&deny);
        check.current_dir(folder).arg("--locked").arg("--manifest-path").arg(folder.join("Cargo.toml"));
        check.arg("--config").arg(place.root.join("deny.toml")).args(["check", "licenses", "bans", "sources"]);
        place::run(&mut check, &format!("cargo-deny in {}", folder.display()))?;
    }
    Ok(())
}

/// What everything is built on. With the tests' features, so that nothing is built twice.
fn libraries(place: &Place) -> Result<()> {
    let mut cargo = place.cargo(&place.root);
    cargo.args(["test", "--workspace", "--lib", "--locked", "--no-run", "--quiet"]);
    place::run(&mut cargo, "building the libraries")
}

/// Apart from running the tests, so that the seconds of each are seen.
fn build(place: &Place) -> Result<()> {
    let mut cargo = place.cargo(&place.root);
    cargo.args(["test", "--workspace", "--locked", "--no-run", "--quiet"]);
    place::run(&mut cargo, "building the tests")
}

fn tests(place: &Place, tools: &ChainTools) -> Result<()> {
    let mut cargo = place.cargo(&place.root);
    cargo.args(["test", "--workspace", "--locked"]);
    cargo.env("ANVIL", &tools.anvil).env("EIGENSHIFT_COMPONENTS", place.components());
    place::run(&mut cargo, "the tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_stage_is_named_and_counted() {
        let mut times = Times::default();
        assert!(times.stage("first", || Ok(7)).is_ok_and(|value| value == 7));
        let failed = times.stage("second", || -> Result<()> { bail!("broken") });
        assert!(failed.is_err_and(|error| format!("{error:#}") == "stage second failed: broken"));
        assert_eq!(times.0.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["first", "second"]);
    }
}
