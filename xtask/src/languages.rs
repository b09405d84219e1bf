//! Plugins in TypeScript and Python, built with the commands that their authors' READMEs give.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::guests::Guest;
use crate::packages;
use crate::place::{self, Place};

/// A plugin in one of the languages, and how its folder becomes a component.
struct Plugin {
    guest: Guest,
    /// What of its folder belongs to it; the rest, such as an author's own `node_modules`, is left alone.
    files: &'static [&'static str],
    build: fn(&Place, source: &Path, folder: &Path) -> Result<()>,
}

const PLUGINS: [Plugin; 2] = [
    Plugin {
        guest: Guest {
            name: "incredible-squaring-js",
            imports: &["log"],
            unused: &["chain"],
            exports: &["task-lifecycle"],
            leftover: None,
        },
        files: &["avs.toml", "package.json", "package-lock.json", "tsconfig.json", "src", "test"],
        build: typescript,
    },
    Plugin {
        guest: Guest {
            name: "incredible-squaring-py",
            imports: &["log"],
            unused: &["chain"],
            exports: &["task-lifecycle"],
            // What starts the interpreter when the component is built.
            leftover: Some("exports"),
        },
        files: &["avs.toml", "requirements.txt", "src", "test"],
        build: python,
    },
];

/// Name of the component that the tools write.
const COMPONENT: &str = "plugin.wasm";

/// Builds every plugin and puts components and manifests into [`Place::components`].
pub fn build(place: &Place) -> Result<()> {
    std::fs::create_dir_all(place.components())?;
    for plugin in PLUGINS {
        let name = plugin.guest.name;
        let begin = Instant::now();
        let component = plugin.component(place).with_context(|| format!("plugin {name}"))?;
        let built = plugin.guest.publish(place, &component)?;
        eprintln!("setup: plugin {name} is {built}, in {:.1} s", begin.elapsed().as_secs_f32());
    }
    Ok(())
}

impl Plugin {
    /// Builds in a folder of its own, unless that was done with the same files: the tools make other bytes each time.
    fn component(&self, place: &Place) -> Result<Vec<u8>> {
        let source = place.plugins().join(self.guest.name);
        let folder = place.plugins().join("target/languages").join(self.guest.name);
        let mut files = BTreeMap::new();
        for name in self.files {
            collect(&source.join(name), Path::new(name), &mut files)?;
        }
        collect(&place.root.join("wit/v0.1"), Path::new("wit"), &mut files)?;
        let stamp = stamp(&files);
        let component = folder.join(COMPONENT);
        if std::fs::read_to_string(folder.join("stamp")).is_ok_and(|old| old == stamp) && component.is_file() {
            return std::fs::read(&component).with_context(|| format!("cannot read {}", component.display()));
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        for (name, bytes) in &files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        (self.build)(place, &source, &folder)?;
        let bytes = std::fs::read(&component).with_context(|| format!("the tools left no {}", component.display()))?;
        std::fs::write(folder.join("stamp"), stamp)?;
        Ok(bytes)
    }
}

/// A file, or all files of a folder, with their bytes.
fn collect(path: &Path, name: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    if !path.is_dir() {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name.to_owned(), bytes);
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() != "__pycache__" {
            collect(&entry.path(), &name.join(entry.file_name()), files)?;
        }
    }
    Ok(())
}

/// Changes with any of the files, and with what builds them (the locks are among the files, the commands are here).
fn stamp(files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut all = include_bytes!("languages.rs").to_vec();
    for (name, bytes) in files {
        all.extend(format!("{} {}\n", name.display(), packages::short_hash(bytes)).bytes());
    }
    packages::short_hash(&all)
}

fn typescript(place: &Place, source: &Path, folder: &Path) -> Result<()> {
    let what = "componentize-js (JavaScript to WebAssembly), jco and TypeScript";
    let modules = packages::npm(place, source, "javascript", what)?.join("node_modules");
    std::os::unix::fs::symlink(&modules, folder.join("node_modules"))?;
    let mut npm = place.child("npm", folder);
    place::run_quietly(npm.args(["run", "build"]), "npm run build").map(drop)
}

fn python(place: &Place, source: &Path, folder: &Path) -> Result<()> {
    let venv = packages::python(place, source, "python", "componentize-py (Python to WebAssembly)")?;
    let python = || {
        let mut python = place.child(venv.join("bin/python3"), folder);
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    place::run_quietly(python().args(["-m", "unittest", "discover", "-s", "test"]), "the plugin's tests")?;
    let mut componentize = python();
    componentize.arg(venv.join("bin/componentize-py")).args(["-d", "wit", "-w", "avs-plugin"]);
    componentize.args(["componentize", "plugin", "-p", "src", "--stub-wasi", "-o", COMPONENT]);
    place::run_quietly(&mut componentize, "componentize-py").map(drop)
}

/// Builds the plugins, runs them against the Rust one in the host, and follows the READMEs of `examples/plugin-*`: what a
/// stranger's project is made of, built into, and answers.
pub fn stage(place: &Place) -> Result<()> {
    build(place)?;
    let report = place.root.join("target/xtask/languages.txt");
    std::fs::create_dir_all(report.parent().unwrap_or(&place.root))?;
    drop(std::fs::remove_file(&report));
    let mut tests = place.cargo(&place.root);
    // The whole workspace's `it` tests, of which the filter leaves this one: with the features that everything else was
    // built with, so that the engine is not built a second time.
    tests.args(["test", "--workspace", "--locked", "--quiet", "--test", "it", "languages::", "--", "--ignored"]);
    tests.env("EIGENSHIFT_COMPONENTS", place.components()).env("EIGENSHIFT_LANGUAGES", &report);
    place::run(&mut tests, "the plugins in every language")?;
    let figures =
        std::fs::read_to_string(&report).context("the test of the languages did not run: it left no figures")?;
    print!("{figures}");
    for example in ["plugin-rust", "plugin-js", "plugin-python"] {
        follow(place, example)?;
    }
    Ok(())
}

/// Runs the commands of an example's README, all blocks marked `sh` in one shell, in an empty folder.
fn follow(place: &Place, example: &str) -> Result<()> {
    let readme = place.root.join("examples").join(example).join("README.md");
    let text = std::fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let commands = commands(&text);
    ensure!(!commands.is_empty(), "{} has no commands", readme.display());
    let folder = place.root.join("target/xtask").join(example);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    println!("following {}", readme.display());
    let mut bash: Command = place.child("bash", &folder);
    bash.args(["-euo", "pipefail", "-c", &commands]).env("PATH", path_with_binary(place)?);
    place::run_quietly(&mut bash, &format!("the commands of {}", readme.display()))?;
    // The packages in it are hundreds of megabytes.
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// `PATH` with the `eigenshift` that was built for the tests before all others.
fn path_with_binary(place: &Place) -> Result<OsString> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| place.root.join("target"), PathBuf::from);
    let built = place.root.join(target).join("debug");
    ensure!(built.join("eigenshift").is_file(), "{} has no eigenshift: the tests left none", built.display());
    let others = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(built).chain(std::env::split_paths(&others)))?)
}

fn commands(readme: &str) -> String {
    let mut inside = false;
    let mut commands = String::new();
    for line in readme.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => commands.extend([line, "\n"]),
            _ => {}
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::{commands, stamp};
    use std::collections::BTreeMap;

    #[test]
    fn only_blocks_of_shell_commands_are_run() {
        let readme = "Text\n```sh\none\ntwo\n```\nmore\n```toml\nx = 1\n```\n```sh\nthree\n```\n";
        assert_eq!(commands(readme), "one\ntwo\nthree\n");
        assert_eq!(commands("none"), "");
    }

    #[test]
    fn a_stamp_changes_with_a_file_s_name_and_bytes() {
        let of = |name: &str, bytes: &[u8]| stamp(&BTreeMap::from([(name.into(), bytes.to_vec())]));
        assert_eq!(of("a", b"1"), of("a", b"1"));
        assert_ne!(of("a", b"1"), of("a", b"2"));
        assert_ne!(of("a", b"1"), of("b", b"1"));
    }
}
