//! `eigenshift plugin build`: a project's sources become `plugin.wasm`, which is held against `avs.toml`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use eigenshift_build::{Library, cache_folder, encode, module};
use eigenshift_plugin::capability::Verdict;
use eigenshift_plugin::inspect::{Report, inspect};
use eigenshift_plugin::{Grants, LoadError, Manifest};

use super::error::{AuthorError, file};
use super::project::{self, COMPONENT, Project};
use super::template::Language;

/// Builds a project.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// The project's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Python only: the world in wit/ that the plugin implements. Rust has it in the code, JavaScript in package.json.
    #[arg(long, value_name = "NAME", default_value = "avs-plugin")]
    world: String,
}

/// Longest `Cargo.toml`, and longest lock of packages.
const MAX_LIST: u64 = 4 * 1024 * 1024;

const RUST_ADVICE: &str = "install Rust, for example from https://rustup.rs";
const NODE_ADVICE: &str = "install Node.js 20 or later with npm (https://nodejs.org, or your distribution's packages)";
const PYTHON_ADVICE: &str = "install Python 3.10 or later with venv (Debian: `apt-get install python3-venv`)";

/// Builds, checks and shows. Blocks as long as the language's tools take.
///
/// # Errors
/// [`AuthorError`]: a tool is missing or fails, or the component would be refused.
pub fn build(args: &BuildArgs) -> Result<(), AuthorError> {
    let folder = std::fs::canonicalize(&args.folder).map_err(|error| file(&args.folder, error))?;
    let language = project::language(&folder)?;
    // A manifest that is none is said before minutes are spent.
    Project::at(&folder).manifest()?;
    match language {
        Language::Rust => rust(&folder)?,
        Language::Js => javascript(&folder)?,
        Language::Python => python(&folder, &args.world)?,
    }
    show(&folder)
}

/// Runs a tool; what it says goes to standard error, since standard output is for what is found.
fn run(command: &mut Command, what: &'static str, advice: &'static str) -> Result<(), AuthorError> {
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    let missing = |error| AuthorError::Tool { what: format!("{what} cannot be started: {error}"), advice };
    let status = command.status().map_err(missing)?;
    if status.success() { Ok(()) } else { Err(AuthorError::Failed { what, status: status.to_string() }) }
}

/// A place for a finished file that nobody takes for one before it is whole.
fn unfinished(folder: &Path) -> PathBuf {
    folder.join(format!(".{COMPONENT}"))
}

fn finish(folder: &Path) -> Result<(), AuthorError> {
    let path = folder.join(COMPONENT);
    std::fs::rename(unfinished(folder), &path).map_err(|error| file(&path, error))
}

fn rust(folder: &Path) -> Result<(), AuthorError> {
    let manifest = folder.join("Cargo.toml");
    let name = crate_name(&project::text(&manifest, MAX_LIST)?)
        .ok_or_else(|| file(&manifest, "there is no [package] with a name in it"))?;
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let missing = |error| AuthorError::Tool { what: format!("cargo cannot be started: {error}"), advice: RUST_ADVICE };
    Command::new(&program).arg("--version").output().map_err(missing)?;
    let cache = cache_folder().ok_or_else(|| {
        AuthorError::Usage("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder: set one".to_owned())
    })?;
    let library = Library::find(&cache, folder)?;
    let target = folder.join("target");
    let mut cargo = Command::new(&program);
    cargo.current_dir(folder).args(["build", "--quiet", "--lib"]);
    library.prepare(&mut cargo, &target, folder, "/plugin")?;
    run(&mut cargo, "cargo build", RUST_ADVICE)?;
    let module = module(&target, &name);
    let bytes = std::fs::read(&module).map_err(|error| {
        file(&module, format!("{error}; does Cargo.toml have crate-type = [\"cdylib\", \"rlib\"] in its [lib]?"))
    })?;
    let unfinished = unfinished(folder);
    std::fs::write(&unfinished, encode(&bytes)?).map_err(|error| file(&unfinished, error))?;
    finish(folder)
}

/// What cargo calls the library of a `Cargo.toml`.
fn crate_name(manifest: &str) -> Option<String> {
    let manifest: toml::Table = manifest.parse().ok()?;
    let name = |table: &str| Some(manifest.get(table)?.get("name")?.as_str()?.to_owned());
    name("lib").or_else(|| name("package"))
}

/// Installs packages unless those of this lock are there: `installed` says so in a file that is written last.
fn once(
    folder: &Path,
    lock: &str,
    installed: &str,
    install: impl FnOnce() -> Result<(), AuthorError>,
) -> Result<(), AuthorError> {
    let lock = project::read(&folder.join(lock), MAX_LIST)?;
    let stamp = folder.join(installed);
    if std::fs::read(&stamp).is_ok_and(|old| old == lock) {
        return Ok(());
    }
    install()?;
    std::fs::write(&stamp, lock).map_err(|error| file(&stamp, error))
}

fn javascript(folder: &Path) -> Result<(), AuthorError> {
    let version = Command::new("node").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if version.as_ref().ok().and_then(|version| major(version)).is_none_or(|major| major < 20) {
        let what = match version {
            Ok(version) => format!("node is version {version:?}"),
            Err(error) => format!("node cannot be started: {error}"),
        };
        return Err(AuthorError::Tool { what, advice: NODE_ADVICE });
    }
    let npm = || {
        let mut npm = Command::new("npm");
        npm.current_dir(folder);
        npm
    };
    once(folder, "package-lock.json", "node_modules/.installed", || {
        let mut install = npm();
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(&mut install, "npm ci", NODE_ADVICE)
    })?;
    run(npm().args(["run", "build"]), "npm run build", NODE_ADVICE)
}

/// The first number of `v20.1.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn python(folder: &Path, world: &str) -> Result<(), AuthorError> {
    // Debian splits ensurepip off, and without it venv makes environments that have no pip.
    const PROBE: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
    let probe = Command::new("python3").args(["-c", PROBE]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        let what = "python3 is missing, too old, or has no venv".to_owned();
        return Err(AuthorError::Tool { what, advice: PYTHON_ADVICE });
    }
    let own = || {
        let mut python = Command::new(folder.join(".venv/bin/python3"));
        python.current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    once(folder, "requirements.txt", ".venv/installed", || {
        let mut venv = Command::new("python3");
        run(venv.current_dir(folder).args(["-m", "venv", ".venv"]), "python3 -m venv", PYTHON_ADVICE)?;
        let mut pip = own();
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--require-hashes", "--only-binary=:all:", "-r", "requirements.txt"]);
        run(&mut pip, "pip install", PYTHON_ADVICE)
    })?;
    if folder.join("test").is_dir() {
        run(own().args(["-m", "unittest", "discover", "-s", "test"]), "the project's tests", PYTHON_ADVICE)?;
    }
    let mut componentize = own();
    componentize.arg(".venv/bin/componentize-py").args(["-d", "wit", "-w", world, "componentize", "plugin"]);
    componentize.args(["-p", "src", "--stub-wasi", "-o"]).arg(unfinished(folder));
    run(&mut componentize, "componentize-py", PYTHON_ADVICE)?;
    finish(folder)
}

/// Whether a bundle with this import is loaded anywhere: not by which operator, but at all.
fn hold(report: &Report, manifest: &Manifest) -> Result<(), LoadError> {
    for (import, verdict) in report.verdicts(manifest, &Grants::all()) {
        let name = import.name.clone();
        match verdict {
            Verdict::Unknown => return Err(LoadError::UnknownImport { name }),
            Verdict::OtherTrack { expected } => return Err(LoadError::OtherTrack { found: name, expected }),
            _ => {}
        }
    }
    Ok(())
}

/// Says what was built, and what would become of its imports where everything is granted.
fn show(folder: &Path) -> Result<(), AuthorError> {
    let project = Project::at(folder);
    let (bundle, manifest) = project.bundle()?;
    let refused = |error| AuthorError::Refused { path: project.component.clone(), error };
    let report = inspect(bundle.component()).map_err(refused)?;
    println!("{}  {} KB", project.component.display(), bundle.component().len().div_ceil(1024));
    println!("bundle {}: {} {}", bundle.digest(), manifest.name, manifest.version);
    for (interface, verdict) in report.verdicts(&manifest, &Grants::all()) {
        println!("  {}: {verdict}", interface.name);
    }
    hold(&report, &manifest).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_called_by_its_own_name_else_by_the_package_s() {
        let name = |text: &str| crate_name(text);
        assert_eq!(name("[package]\nname = \"my-avs\"\n"), Some("my-avs".to_owned()));
        assert_eq!(name("[package]\nname = \"my-avs\"\n[lib]\nname = \"other\"\n"), Some("other".to_owned()));
        assert_eq!(name("[package]\nname = \"my-avs\"\n[lib]\ncrate-type = []\n"), Some("my-avs".to_owned()));
        for none in ["", "[workspace]\n", "[package]\nname = 1\n", "not toml"] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn the_version_of_node_is_read() {
        assert_eq!(major("v20.11.1"), Some(20));
        for none in ["", "20.1", "v", "vx.1"] {
            assert_eq!(major(none), None, "{none}");
        }
    }
}
