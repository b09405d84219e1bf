//! Packages from npm and PyPI, as a committed lock names them by version and hash, in the user's cache folder.
//!
//! A folder in the cache is named after its lock's hash and never changed afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::place::{self, Place};

/// The beginning of some bytes' sha256, for names of folders and stamps.
pub fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The packages of `source/package-lock.json`: the folder that has them in `node_modules`.
pub fn npm(place: &Place, source: &Path, name: &str, what: &str) -> Result<PathBuf> {
    needs_node()?;
    once(place, &source.join("package-lock.json"), name, &format!("{what} from npm"), |folder| {
        for file in ["package-lock.json", "package.json"] {
            std::fs::copy(source.join(file), folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
        // Standard output is for what a command prints: `cargo xtask anvil` prints a path.
        place::run(npm.stdout(std::io::stderr()), "npm ci")
    })
}

/// The packages of `source/requirements.txt`: the folder of a virtual environment that has them. It was moved after it
/// was made, so its scripts are to be started through its `bin/python3`.
pub fn python(place: &Place, source: &Path, name: &str, what: &str) -> Result<PathBuf> {
    needs_python()?;
    let requirements = source.join("requirements.txt");
    once(place, &requirements, name, &format!("{what} from PyPI"), |folder| {
        let mut venv = Command::new("python3");
        place::run(venv.args(["-m", "venv"]).arg(folder).stdout(std::io::stderr()), "python3 -m venv")?;
        let mut pip = Command::new(folder.join("bin/python3"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--require-hashes", "--only-binary=:all:", "-r"]).arg(&requirements);
        place::run(pip.stdout(std::io::stderr()), "pip install")
    })
}

/// The folder of this lock in the cache; `fill` makes it when it is not there.
fn once(place: &Place, lock: &Path, name: &str, what: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let bytes = std::fs::read(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let folder = place.cache.join(format!("{name}-{}", short_hash(&bytes)));
    if folder.is_dir() {
        eprintln!("setup: {what}: in {}", folder.display());
        return Ok(folder);
    }
    eprintln!("setup: installing {what} into {}", folder.display());
    // Beside its final name and renamed at the end: an interrupted installation is never taken for a whole one.
    let unfinished = place.cache.join(format!("{name}.{}", std::process::id()));
    std::fs::create_dir_all(&unfinished)?;
    let filled = fill(&unfinished).and_then(|()| Ok(std::fs::rename(&unfinished, &folder)?));
    if let Err(error) = filled {
        drop(std::fs::remove_dir_all(&unfinished));
        // Somebody else may have installed the same meanwhile.
        if !folder.is_dir() {
            return Err(error);
        }
    }
    Ok(folder)
}

/// Node 20 is the oldest that the packages say they work with.
fn needs_node() -> Result<()> {
    const ADVICE: &str = "install Node.js 20 or later with npm (https://nodejs.org, or your distribution's packages)";
    for program in ["node", "npm"] {
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
        let Ok(output) = output else { bail!("{program} is missing; {ADVICE}") };
        let version = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if program == "node" && major.is_none_or(|major| major < 20) {
            bail!("node is version {version:?}; {ADVICE}");
        }
    }
    Ok(())
}

fn needs_python() -> Result<()> {
    const ADVICE: &str = "install Python 3.10 or later with venv (Debian: `apt-get install python3-venv`)";
    // Debian splits ensurepip off, and without it venv makes environments that have no pip.
    const PROBE: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
    let status = Command::new("python3").args(["-c", PROBE]).stderr(Stdio::null()).status();
    let Ok(status) = status else { bail!("python3 is missing; {ADVICE}") };
    ensure!(status.success(), "python3 is too old or has no venv; {ADVICE}");
    Ok(())
}
