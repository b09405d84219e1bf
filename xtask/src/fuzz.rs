//! The fuzz targets in `host/bls/fuzz`: whatever reads bytes that others wrote, on inputs that libFuzzer makes up.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::place::{self, Place};

const CARGO_FUZZ: &str = "0.13.2";

/// What one input may take before that counts as a fault.
const TIMEOUT_SECONDS: u32 = 20;
const MEMORY_MB: u32 = 2048;

/// What a stage gives each target.
const SHORT_SECONDS: u32 = 5;

/// What `cargo xtask fuzz` gives each target unless it is told.
const LONG_SECONDS: u32 = 600;

/// Every target for a short time, the lints first. New inputs are thrown away, so that each time begins with the stored
/// corpus.
pub fn stage(place: &Place) -> Result<()> {
    let mut clippy = place.cargo(&folder(place));
    clippy.args(["clippy", "--all-targets", "--locked", "--quiet", "--release", "--target-dir"]);
    clippy.arg(place.root.join("target/fuzz")).args(["--", "-D", "warnings"]);
    place::run(&mut clippy, "clippy of the fuzz targets")?;

    let targets = Targets::build(place, None)?;
    let scratch = targets.output.join("scratch");
    for name in &targets.names {
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot empty {}", scratch.display()))?;
        }
        let mut run = targets.fuzz(name, SHORT_SECONDS, &scratch)?;
        run.arg("-print_final_stats=1");
        let output = targets.judge(name, place::run_quietly(&mut run, &what(name)))?;
        let count = output.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        println!("fuzz: {name}: {} inputs in {SHORT_SECONDS} s", count.unwrap_or("no").trim());
    }
    Ok(())
}

/// What `cargo xtask fuzz` is asked for.
#[derive(Debug)]
enum Request<'a> {
    /// One target or all of them, for so many seconds each.
    Fuzz(Option<&'a str>, u32),
    /// One target on one input, once.
    Input(&'a str, &'a Path),
}

impl<'a> Request<'a> {
    fn read(arguments: &'a [String]) -> Result<Self> {
        let seconds = |text: &str| text.parse::<u32>().ok();
        match arguments {
            [] => Ok(Self::Fuzz(None, LONG_SECONDS)),
            [one] => Ok(seconds(one).map_or(Self::Fuzz(Some(one), LONG_SECONDS), |seconds| Self::Fuzz(None, seconds))),
            [target, rest] => {
                Ok(seconds(rest)
                    .map_or(Self::Input(target, Path::new(rest)), |seconds| Self::Fuzz(Some(target), seconds)))
            }
            _ => bail!("fuzz takes a target, and seconds or a file"),
        }
    }
}

/// Fuzzes for long. New inputs are kept in `target/fuzz/corpus`, so that the next time goes on from there.
pub fn command(place: &Place, arguments: &[String]) -> Result<()> {
    match Request::read(arguments)? {
        Request::Fuzz(target, seconds) => {
            let targets = Targets::build(place, target)?;
            targets.names.iter().try_for_each(|name| {
                let found = targets.output.join("corpus").join(name);
                targets.judge(name, place::run(&mut targets.fuzz(name, seconds, &found)?, &what(name)))
            })
        }
        Request::Input(target, input) => {
            ensure!(input.is_file(), "{} is neither a number of seconds nor a file", input.display());
            let input = std::path::absolute(input).context("there is no current folder")?;
            let targets = Targets::build(place, Some(target))?;
            targets.judge(target, place::run(targets.program(target)?.arg(input), &what(target)))
        }
    }
}

/// The targets' crate, which is a workspace of its own.
pub fn folder(place: &Place) -> PathBuf {
    place.root.join("host/bls/fuzz")
}

/// The targets' programs, built under the address sanitizer.
struct Targets {
    folder: PathBuf,
    /// Where everything goes that fuzzing makes.
    output: PathBuf,
    programs: PathBuf,
    names: Vec<String>,
}

impl Targets {
    /// All of them, or one.
    fn build(place: &Place, only: Option<&str>) -> Result<Self> {
        let folder = folder(place);
        let mut names = names(&folder)?;
        if let Some(only) = only {
            ensure!(
                names.iter().any(|name| name == only),
                "there is no target {only:?}; there are {}",
                names.join(", ")
            );
            names.retain(|name| name == only);
        }
        // The build itself cannot be told to leave the lock file alone.
        place::run(place.cargo(&folder).args(["fetch", "--locked", "--quiet"]), "fetching what the fuzz targets need")?;

        let output = place.root.join("target/fuzz");
        let triple = host_triple()?;
        let program = place::cargo_tool(place, "cargo-fuzz", CARGO_FUZZ, "runs the fuzz targets")?;
        let mut build = place.child(program, &folder);
        build.args(["build", "--target", &triple, "--target-dir"]).arg(&output).args(only);
        // Sanitizers are unstable, and the tool chain is pinned to a stable one that has them.
        build.env("RUSTC_BOOTSTRAP", "1");
        place::run(&mut build, "building the fuzz targets")?;

        let programs = output.join(triple).join("release");
        Ok(Self { folder, output, programs, names })
    }

    /// For so long, from the stored corpus and the folder that new inputs go to.
    fn fuzz(&self, name: &str, seconds: u32, found: &Path) -> Result<Command> {
        std::fs::create_dir_all(found).with_context(|| format!("cannot make {}", found.display()))?;
        let mut run = self.program(name)?;
        // One seed, so that two runs differ only in how far they come.
        run.arg("-seed=1").arg(format!("-max_total_time={seconds}"));
        // libFuzzer writes into the first of the folders.
        run.arg(found).arg(self.folder.join("corpus").join(name));
        Ok(run)
    }

    fn program(&self, name: &str) -> Result<Command> {
        let artifacts = self.artifacts(name);
        std::fs::create_dir_all(&artifacts).with_context(|| format!("cannot make {}", artifacts.display()))?;
        let mut run = Command::new(self.programs.join(name));
        run.current_dir(&self.folder).arg(format!("-timeout={TIMEOUT_SECONDS}"));
        run.arg(format!("-rss_limit_mb={MEMORY_MB}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
        // As cargo-fuzz sets it: several parts of one program define the same symbols.
        run.env("ASAN_OPTIONS", "detect_odr_violation=0");
        Ok(run)
    }

    fn artifacts(&self, name: &str) -> PathBuf {
        self.output.join("artifacts").join(name)
    }

    /// Says of a failure how to see it again.
    fn judge<T>(&self, name: &str, outcome: Result<T>) -> Result<T> {
        outcome.with_context(|| {
            let artifacts = self.artifacts(name);
            format!("`cargo xtask fuzz {name} FILE` runs the input again that is in {}", artifacts.display())
        })
    }
}

fn what(name: &str) -> String {
    format!("fuzz target {name}")
}

/// One target is one file.
fn names(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Named, because without it build scripts and macros would run under the sanitizer too.
fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").stderr(Stdio::inherit()).output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_target_and_seconds_or_a_file() {
        let read = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Request::read(&arguments).map(|request| format!("{request:?}")).unwrap_or_default()
        };
        assert_eq!(read(""), r#"Fuzz(None, 600)"#);
        assert_eq!(read("30"), r#"Fuzz(None, 30)"#);
        assert_eq!(read("secrets"), r#"Fuzz(Some("secrets"), 600)"#);
        assert_eq!(read("secrets 30"), r#"Fuzz(Some("secrets"), 30)"#);
        assert_eq!(read("secrets crash-1"), r#"Input("secrets", "crash-1")"#);
        assert_eq!(read("secrets 30 40"), "");
    }
}
