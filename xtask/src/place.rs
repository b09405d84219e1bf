//! The folders everything happens in, and how child processes are run.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

/// Where the repository and the user's cache are.
pub struct Place {
    /// The repository.
    pub root: PathBuf,
    /// What is downloaded or compiled once for all clones, by exact version.
    pub cache: PathBuf,
}

impl Place {
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
        let cache = eigenshift_build::cache_folder()
            .context("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder")?;
        Ok(Self { root: root.to_owned(), cache })
    }

    /// The guests' workspace.
    pub fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// Where the finished components and their manifests lie.
    pub fn components(&self) -> PathBuf {
        self.plugins().join("target/components")
    }

    /// The committed results of compiling the contracts, and their sources' folder.
    pub fn contracts(&self) -> (PathBuf, PathBuf) {
        let sources = self.root.join("examples/price-oracle/contracts");
        let compiled = sources.join("out");
        (sources, compiled)
    }

    /// A cargo to be run in `folder`.
    pub fn cargo(&self, folder: &Path) -> Command {
        self.child(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), folder)
    }

    /// Something that runs cargo, to be run in `folder`.
    pub fn child(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut child = Command::new(program);
        child.current_dir(folder);
        // What `cargo run` set for xtask itself: some build scripts look at these and would run again each time that
        // cargo is started in another way.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_BIN_NAME" {
                child.env_remove(name);
            }
        }
        child
    }
}

/// A child process that ended with something else than success.
#[derive(Debug)]
pub struct Failed {
    what: String,
    /// Its exit code, or 1 when a signal ended it.
    pub code: u8,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with exit code {}", self.what, self.code)
    }
}

impl std::error::Error for Failed {}

/// Runs a command to its end; its output goes where ours goes.
pub fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("{what}: cannot start {:?}", command.get_program()))?;
    succeeded(status, what)
}

/// Runs a command to its end; what it says is returned, and shown only if it fails.
pub fn run_quietly(command: &mut Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("{what}: cannot start {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{said}");
    }
    succeeded(output.status, what).map(|()| said.into_owned())
}

fn succeeded(status: ExitStatus, what: &str) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failed { what: what.to_owned(), code }.into())
}

/// The program `name` of the crate with the same name, in exactly this version; installed into the cache if it is missing.
pub fn cargo_tool(place: &Place, name: &str, version: &str, what_for: &str) -> Result<PathBuf> {
    let folder = place.cache.join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        eprintln!("setup: installing {name} {version} ({what_for}) into {}", folder.display());
        let mut install = place.cargo(&place.root);
        install.args(["install", "--locked", "--quiet", name, "--version", &format!("={version}"), "--root"]);
        // These run for a second: a quick build is worth more than a quick program.
        install.arg(&folder).env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        run(&mut install, &format!("installing {name}"))?;
    }
    Ok(program)
}

/// Writes a file unless it has these bytes already, so that nothing downstream sees a change that is none.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    // Renamed into place: whoever reads meanwhile sees the old file or the new one, never half of it.
    let mut partial = path.as_os_str().to_owned();
    partial.push(".tmp");
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}
