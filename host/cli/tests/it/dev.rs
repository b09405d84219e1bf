//! `eigenshift dev`: a plugin runs at three operators, a new build is swapped in, a broken one is not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::author::built;
use crate::process::{Running, alone, components, eigenshift, finish, root};

const LIMIT: Duration = Duration::from_secs(50);

/// Between two looks at what another process wrote.
const TICK: Duration = Duration::from_millis(20);

struct Dev {
    process: Running,
    log: PathBuf,
}

impl Dev {
    fn start(folder: &Path, words: &[&str]) -> Self {
        let log = folder.join("log");
        let mut command = eigenshift(folder, ["dev", "my-avs", "--every", "100ms"]);
        command.args(words).env("XDG_CACHE_HOME", folder.join(".cache"));
        Self { process: Running::start(&mut command, &log), log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it says something after so many bytes; where that is.
    fn wait(&mut self, from: usize, what: &str) -> usize {
        let deadline = Instant::now() + LIMIT;
        loop {
            let said = self.said();
            if let Some(at) = said[from..].find(what) {
                return from + at + what.len();
            }
            assert!(Instant::now() < deadline, "no {what:?} within {LIMIT:?}\n{said}");
            assert!(self.process.wait(TICK).is_none(), "it ended\n{}", self.said());
        }
    }

    /// Waits for a task that this version answered, with everybody's signature. One that was open during a swap ends on
    /// the version that it began with.
    fn answered(&mut self, from: usize, version: &str) -> usize {
        let at = self.wait(from, &format!(", my-avs {version} ("));
        let said = self.said();
        assert!(said[..at].lines().last().unwrap().contains("by 3/3 (100 % of stake)"), "{said}");
        at
    }
}

#[test]
fn a_new_build_is_swapped_in_while_tasks_run_and_a_broken_one_is_refused_and_the_former_goes_on() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    built(place.path(), "my-avs");
    let project = place.path().join("my-avs");
    let mut dev = Dev::start(place.path(), &[]);
    let first = dev.answered(0, "0.1.0");

    // The component stays, so that the new version is ready in a moment; its digest is another one.
    let manifest = std::fs::read_to_string(project.join("avs.toml")).unwrap();
    std::fs::write(project.join("avs.toml"), manifest.replace("0.1.0", "0.2.0")).unwrap();
    let swapped = dev.wait(first, "answers from now on");
    let answered = dev.answered(swapped, "0.2.0");

    std::fs::write(project.join("plugin.wasm"), "not a component").unwrap();
    let refused = dev.wait(answered, "the new build is refused: component-not-wasm");
    let answered = dev.answered(refused, "0.2.0");

    // The same as before is no new version.
    std::fs::copy(components().join("incredible-squaring.wasm"), project.join("plugin.wasm")).unwrap();
    let same = dev.wait(answered, "built again, and the same as before");
    let answered = dev.answered(same, "0.2.0");

    // Back to what ran first.
    std::fs::write(project.join("avs.toml"), manifest).unwrap();
    let back = dev.wait(answered, "answers from now on");
    dev.answered(back, "0.1.0");
    dev.process.terminate();
    let code = dev.process.wait(LIMIT).and_then(|status| status.code());
    assert_eq!(code, Some(0), "{}", dev.said());
    let said = dev.said();
    assert!(!said.contains("EXPIRED") && !said.contains("FAILED"), "{said}");
}

#[test]
fn it_ends_by_itself_after_so_many_tasks_or_with_standard_input() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    built(place.path(), "my-avs");
    let word = |number: u64| format!("0x{number:064x}");
    let dev = |words: &[&str]| {
        let mut command = eigenshift(place.path(), ["dev", "my-avs", "--every", "50ms"]);
        finish(command.args(words).env("XDG_CACHE_HOME", place.path().join(".cache")), LIMIT)
    };
    let out = dev(&["--tasks", "3", "--payload", &word(5), "--payload", &word(6)]).good();
    let answers = |square: u64| out.matches(&format!("{square:064x}  by 3/3")).count();
    assert_eq!((answers(25), answers(36)), (2, 1), "{out}");
    // One whose constructor takes nothing, and one that is particular.
    let four = ["--argument", "registry", "--argument", "0x00", "--argument", "67", "--argument", "100"];
    for (contract, arguments) in [("OperatorRegistry", &[][..]), ("PriceOracle", &four)] {
        let contract = root().join(format!("examples/price-oracle/contracts/out/{contract}.json"));
        let words = [&["--tasks", "1", "--contract", contract.to_str().unwrap()][..], arguments].concat();
        let out = dev(&words).good();
        assert!(out.contains("(your contract)") && out.contains("by 3/3"), "{out}");
    }
    // Standard input is empty here.
    let out = dev(&["--stdin"]).good();
    assert!(out.contains("my-avs 0.1.0") && !out.contains("asked"), "{out}");
}

#[test]
fn what_cannot_run_is_refused_before_anything_starts() {
    let place = tempfile::tempdir().unwrap();
    built(place.path(), "my-avs");
    std::fs::write(place.path().join("contract.json"), "{\"abi\": []}").unwrap();
    let refused = |words: &[&str]| {
        let finished = finish(eigenshift(place.path(), ["dev"]).args(words), LIMIT);
        assert_eq!(finished.code, Some(1), "{finished:#?}");
        finished.err
    };
    assert!(refused(&["nowhere"]).contains("eigenshift: file: "));
    assert!(refused(&["my-avs", "--contract", "contract.json"]).contains("eigenshift: contract-invalid: "));
    let registry = root().join("examples/price-oracle/contracts/out/OperatorRegistry.json");
    let said = refused(&["my-avs", "--contract", registry.to_str().unwrap(), "--argument", "7"]);
    assert!(said.contains("eigenshift: contract-invalid: ") && said.contains("takes ()"), "{said}");
    // The price oracle puts its answers on chain.
    let oracle = components().join("price-oracle.wasm");
    let oracle = oracle.to_str().unwrap();
    assert!(refused(&[oracle]).contains("eigenshift: nothing-to-ask: "));
    assert!(refused(&[oracle, "--payload", "EUR/USD"]).contains("eigenshift: contract-missing: "));
}
