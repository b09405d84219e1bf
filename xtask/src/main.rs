//! Set up, show, test and measure the project: `cargo xtask setup|demo|test|bench|fuzz`.
//!
//! # Layout
//! - `place`: the folders everything happens in, and how child processes are run.
//! - `guests`: the plugins, from source to checked components.
//! - `languages`: those that are not in Rust.
//! - `packages`: npm's and PyPI's, by committed locks.
//! - `chain_tools`: anvil and solc; the contracts' compiler.
//! - `fuzz`: the fuzz targets, for seconds or for hours.
//! - `stages`: what `test` runs, with seconds per stage.
//!
//! # Guarantees
//! - `setup` changes nothing outside the repository and the user's cache folder, says what it installs and why, and does
//!   nothing the second time.
//! - A tool that is missing is a failure with the way to get it; no stage is skipped.
//!
//! # Not here
//! Anything the product needs at run time.

mod chain_tools;
mod fuzz;
mod guests;
mod languages;
mod packages;
mod place;
mod stages;

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::place::{Failed, Place};

const USAGE: &str = "\
cargo xtask COMMAND

  setup [--anvil]    installs what the project needs and builds the plugins; --anvil: the chain tools too
  demo [-- ARGS]     setup, then the demo; ARGS go to it (`cargo xtask demo -- --help` lists them)
  test [STAGES]      setup --anvil, then every check, or only the stages named of:
                     fmt contracts clippy guests licences fuzz libraries build languages test
  bench [NAMES]      setup, then the figures, one a line: name value unit; all, or only those of:
                     bls aggregation plugin attacks cluster swap hosting
  fuzz [TARGET] [SECONDS]
                     fuzzes one target of host/bls/fuzz, or each, for so long; default 600
  fuzz TARGET FILE   runs one input once, such as one that made a target fail

  guests [--all-languages]
                     only builds the plugins into plugins/target/components; with --all-languages those in
                     TypeScript and Python too, which needs Node.js 20 and Python 3.10 with venv
  anvil              prints the path of anvil, the local chain; installs it when it is missing
  contracts          compiles the Solidity contracts again and writes the results
  schema             writes the JSON schema of avs.toml again (a test compares it)

Downloads go to the folder `eigenshift` in your cache folder, by exact version; deleting it is safe.
EIGENSHIFT_NO_RUSTUP=1 takes the WebAssembly standard library from Debian packages instead of rustup.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            // The demo's own exit code is the answer that scripts wait for.
            error.downcast_ref::<Failed>().map_or(ExitCode::FAILURE, |failed| ExitCode::from(failed.code))
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let place = Place::find()?;
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => bail!("what to do?\n\n{USAGE}"),
    };
    match command {
        "help" | "-h" | "--help" => {
            println!("{USAGE}");
            Ok(())
        }
        "setup" => {
            let anvil = rest.iter().any(|argument| argument == "--anvil");
            only(command, rest, &["--anvil"])?;
            setup(&place, anvil).map(drop)
        }
        "demo" => demo(&place, rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest)),
        "test" => stages::test(&place, rest),
        "bench" => bench(&place, rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest)),
        "fuzz" => fuzz::command(&place, rest),
        "guests" => {
            only(command, rest, &["--all-languages"])?;
            guests::build(&place)?;
            if rest.is_empty() { Ok(()) } else { languages::build(&place) }
        }
        "anvil" => {
            only(command, rest, &[])?;
            // Nothing else goes to standard output: scripts take the line as the program to start.
            println!("{}", chain_tools::install(&place)?.anvil.display());
            Ok(())
        }
        "contracts" => {
            only(command, rest, &[])?;
            chain_tools::install(&place)?.write_contracts(&place)
        }
        "schema" => {
            only(command, rest, &[])?;
            schema(&place)
        }
        other => bail!("there is no command {other:?}\n\n{USAGE}"),
    }
}

fn only(command: &str, arguments: &[String], known: &[&str]) -> Result<()> {
    match arguments.iter().find(|argument| !known.contains(&argument.as_str())) {
        Some(unknown) => bail!("{command} does not take {unknown:?}\n\n{USAGE}"),
        None => Ok(()),
    }
}

/// Everything that building and running need; the chain tools when asked for.
fn setup(place: &Place, anvil: bool) -> Result<Option<chain_tools::ChainTools>> {
    guests::build(place)?;
    if anvil { chain_tools::install(place).map(Some) } else { Ok(None) }
}

/// Whether the demo's arguments ask for a chain that `setup` has to bring.
fn wants_anvil(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument == "--chain=anvil")
        || arguments.windows(2).any(|pair| matches!(pair, [option, value] if option == "--chain" && value == "anvil"))
}

fn demo(place: &Place, arguments: &[String]) -> Result<()> {
    let tools = setup(place, wants_anvil(arguments))?;
    let mut demo = place.cargo(&place.root);
    demo.args(["run", "--quiet", "--locked", "--package", "eigenshift", "--", "demo"]).args(arguments);
    demo.env("EIGENSHIFT_COMPONENTS", place.components());
    if let Some(tools) = tools {
        demo.env("ANVIL", tools.anvil);
    }
    eprintln!("setup: building and starting the demo (the first build takes minutes)");
    place::run(&mut demo, "the demo")
}

/// Packages with the example that prints figures, and the names of its groups.
const BENCHES: [(&str, &str, &[&str]); 6] = [
    ("eigenshift-aggregation", "figures", &["bls", "aggregation"]),
    ("eigenshift-plugin", "figures", &["plugin"]),
    ("eigenshift-plugin", "attacks", &["attacks"]),
    ("eigenshift-node", "bench", &["cluster"]),
    ("eigenshift-node", "swap", &["swap"]),
    ("eigenshift-node", "hosting", &["hosting"]),
];

fn bench(place: &Place, names: &[String]) -> Result<()> {
    let known = |name: &String| BENCHES.iter().any(|(_, _, groups)| groups.contains(&name.as_str()));
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let groups: Vec<&str> = BENCHES.iter().flat_map(|(_, _, groups)| groups.iter().copied()).collect();
        bail!("there is no bench {unknown:?}; there are {}", groups.join(", "));
    }
    setup(place, false)?;
    for (package, example, groups) in BENCHES {
        let wanted: Vec<&str> =
            groups.iter().copied().filter(|group| names.is_empty() || names.iter().any(|name| name == group)).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut bench = place.cargo(&place.root);
        bench.args(["run", "--quiet", "--release", "--locked", "--package", package, "--example", example, "--"]);
        bench.args(wanted).env("EIGENSHIFT_COMPONENTS", place.components());
        place::run(&mut bench, "the bench")?;
    }
    Ok(())
}

/// The manifest's keys as the plugin host has them, for editors.
fn schema(place: &Place) -> Result<()> {
    let mut print = place.cargo(&place.root);
    print.args(["run", "--quiet", "--locked", "--package", "eigenshift-plugin", "--example", "schema"]);
    let output = print.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "printing the schema failed");
    let path = place.root.join("wit/avs-toml.schema.json");
    let changed = place::write_if_changed(&path, &output.stdout)?;
    eprintln!("{} is {}", path.display(), if changed { "written" } else { "unchanged" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::wants_anvil;

    #[test]
    fn anvil_is_set_up_only_when_the_demo_is_told_to_use_it() {
        let wants = |line: &str| wants_anvil(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(wants("--tasks 3 --chain anvil"));
        assert!(wants("--chain=anvil"));
        assert!(!wants("--chain embedded"));
        assert!(!wants("--prices anvil"));
        assert!(!wants("--chain"));
    }
}
