//! The files of a new project: those of `plugins/incredible-squaring` and its sisters, under another name.

use clap::ValueEnum;

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust.
    Rust,
    /// TypeScript or JavaScript.
    Js,
    /// Python.
    Python,
}

type Files = &'static [(&'static str, &'static str)];

/// Files of a folder of this repository, by their paths in it.
macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../", $folder, "/", $path)))),+]
    };
}

const RUST: Files = files!("plugins/incredible-squaring": "avs.toml", "src/lib.rs", "tests/it/main.rs");

const JS: Files = files!("plugins/incredible-squaring-js":
    "avs.toml", "package.json", "package-lock.json", "tsconfig.json", "src/keccak.ts", "src/plugin.ts",
    "src/squaring.ts", "test/squaring.test.js");

const PYTHON: Files = files!("plugins/incredible-squaring-py":
    "avs.toml", "requirements.txt", "src/keccak.py", "src/plugin.py", "src/squaring.py", "test/test_squaring.py");

const WIT: Files = files!("wit/v0.1": "imports.wit", "lifecycle.wit", "optional.wit", "types.wit", "world.wit");

const SDK: Files = files!("sdk-guest/rust":
    "Cargo.toml", "src/avs.rs", "src/chain.rs", "src/codec.rs", "src/error.rs", "src/glue/chain.rs",
    "src/glue/convert.rs", "src/glue/mod.rs", "src/lib.rs", "src/log.rs", "src/optional.rs", "src/testing.rs",
    "src/types.rs", "src/wit.rs");

const LICENCES: Files = files!(".": "LICENSE-APACHE", "LICENSE-MIT");

/// The plugin gives the same answers in every language.
const TASKS: &str = include_str!("../../../../plugins/incredible-squaring/tasks.toml");

const WORKSPACE: &str = include_str!("../../../../plugins/Cargo.toml");
const LOCK: &str = include_str!("../../../../plugins/Cargo.lock");

/// Where a Rust project keeps what it is built on: inside, since a crate's place outside of a workspace's folder goes into
/// its symbols, and so into the component's bytes.
const VENDORED: &str = "eigenshift";

const IGNORED_RUST: &str = "/target\n/plugin.wasm\n";
const IGNORED_JS: &str = "/build\n/node_modules\n/types\n/plugin.wasm\n";
const IGNORED_PYTHON: &str = "/.venv\n/types\n__pycache__\n/plugin.wasm\n";

impl Language {
    fn readme(self) -> &'static str {
        match self {
            Self::Rust => include_str!("../../../../examples/plugin-rust/README.md"),
            Self::Js => include_str!("../../../../examples/plugin-js/README.md"),
            Self::Python => include_str!("../../../../examples/plugin-python/README.md"),
        }
    }
}

/// The files of a project of this name, by their paths in it.
#[must_use]
pub fn project(language: Language, name: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut add = |folder: &str, from: Files| {
        for (path, text) in from {
            files.push((format!("{folder}{path}"), (*text).to_owned()));
        }
    };
    match language {
        Language::Rust => {
            add("", RUST);
            // As they lie here, so that the SDK finds the interface.
            add(&format!("{VENDORED}/sdk-guest/rust/"), SDK);
            add(&format!("{VENDORED}/wit/v0.1/"), WIT);
            add(&format!("{VENDORED}/"), LICENCES);
        }
        Language::Js => {
            add("", JS);
            add("wit/", WIT);
        }
        Language::Python => {
            add("", PYTHON);
            add("wit/", WIT);
        }
    }
    for (path, text) in &mut files {
        if !path.starts_with(VENDORED) {
            *text = renamed(text, name);
        }
    }
    let ignored = match language {
        Language::Rust => {
            files.push(("Cargo.toml".to_owned(), crate_manifest(name)));
            files.push(("Cargo.lock".to_owned(), lock(name)));
            IGNORED_RUST
        }
        Language::Js => IGNORED_JS,
        Language::Python => IGNORED_PYTHON,
    };
    files.push((".gitignore".to_owned(), ignored.to_owned()));
    files.push(("tasks.toml".to_owned(), TASKS.to_owned()));
    files.push(("README.md".to_owned(), language.readme().replace("my-avs", name)));
    files
}

/// The project's text instead of the plugin's that it is made of.
fn renamed(text: &str, name: &str) -> String {
    // The type keeps one name, which no project's name can be in the way of.
    text.replace("IncredibleSquaring", "Plugin")
        .replace("incredible-squaring-js", name)
        .replace("incredible-squaring-py", name)
        .replace("incredible-squaring", name)
        .replace("incredible_squaring", &name.replace('-', "_"))
}

/// A workspace of its own, with the lints and the profile of the plugins here.
fn crate_manifest(name: &str) -> String {
    let (_, settings) = WORKSPACE.split_once("[workspace.lints.rust]").unwrap_or_default();
    let settings = settings.replace("[workspace.lints.", "[lints.");
    format!(
        "[workspace]\n\n\
         [package]\n\
         name = \"{name}\"\n\
         version = \"0.1.0\"\n\
         edition = \"2024\"\n\
         rust-version = \"1.85\"\n\
         publish = false\n\n\
         [lib]\n\
         crate-type = [\"cdylib\", \"rlib\"]\n\n\
         [dependencies]\n\
         eigenshift-guest = {{ path = \"{VENDORED}/sdk-guest/rust\" }}\n\n\
         [lints.rust]{settings}"
    )
}

/// The versions that the plugins here are tested with. Cargo takes out what the project does not need.
fn lock(name: &str) -> String {
    let others = ["name = \"price-oracle\"\n"];
    let packages = LOCK.split("[[package]]\n");
    let kept = packages.filter(|package| !others.iter().any(|other| package.starts_with(other)));
    let kept: Vec<String> =
        kept.map(|package| package.replace("\"incredible-squaring\"", &format!("{name:?}"))).collect();
    kept.join("[[package]]\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn listed(folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder.join(below)).unwrap() {
            let (entry, name) = entry.map(|entry| (entry.file_type().unwrap(), entry.file_name())).unwrap();
            let path = below.join(name);
            if entry.is_dir() {
                listed(folder, &path, found);
            } else {
                found.insert(path);
            }
        }
    }

    #[test]
    fn nothing_of_the_sdk_the_interface_or_the_sources_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        for (folder, below, files) in [
            ("sdk-guest/rust", "src", SDK),
            ("wit/v0.1", "", WIT),
            ("plugins/incredible-squaring", "src", RUST),
            ("plugins/incredible-squaring-js", "src", JS),
            ("plugins/incredible-squaring-js", "test", JS),
            ("plugins/incredible-squaring-py", "src", PYTHON),
            ("plugins/incredible-squaring-py", "test", PYTHON),
        ] {
            let mut there = BTreeSet::new();
            listed(&root.join(folder), Path::new(below), &mut there);
            there.retain(|path| !path.components().any(|part| part.as_os_str() == "__pycache__"));
            let embedded: BTreeSet<PathBuf> =
                files.iter().map(|(path, _)| PathBuf::from(path)).filter(|path| path.starts_with(below)).collect();
            assert_eq!(embedded, there, "{folder}/{below}");
        }
    }

    #[test]
    fn a_project_has_no_trace_of_the_plugin_it_is_made_of_and_its_manifests_parse() {
        for language in [Language::Rust, Language::Js, Language::Python] {
            let files = project(language, "my-own-avs");
            for (path, text) in &files {
                assert!(Path::new(path).is_relative() && !path.contains("//"), "{path}");
                if !path.starts_with(VENDORED) && path != "README.md" {
                    let text = text.to_lowercase();
                    assert!(!text.contains("incredible-squaring") && !text.contains("incredible_squaring"), "{path}");
                }
            }
            let text = |name: &str| files.iter().find(|(path, _)| path == name).map(|(_, text)| text.as_str());
            let manifest = eigenshift_plugin::Manifest::parse(text("avs.toml").unwrap()).unwrap();
            assert_eq!(manifest.name, "my-own-avs");
            assert_eq!(text("Cargo.toml").is_some(), language == Language::Rust);
            for name in ["Cargo.toml", "Cargo.lock"] {
                assert!(text(name).is_none_or(|text| text.parse::<toml::Table>().is_ok()), "{name}");
            }
        }
        let manifest: toml::Table = crate_manifest("a").parse().unwrap();
        assert!(manifest["profile"]["release"]["lto"].as_bool().unwrap() && manifest["lints"].get("clippy").is_some());
    }
}
