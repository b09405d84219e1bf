//! Make a component of a plugin's Rust sources, with whatever standard library for WebAssembly the machine has.
//!
//! For `eigenshift plugin build` and for `cargo xtask guests`, whose bytes must be the same.
//!
//! # Layout
//! - [`Library`]: the target's standard library, found or made by `wasm-std.sh`, and a cargo that uses it.
//! - [`cache_folder`]: where it lies.
//! - [`encode`]: a compiled module becomes a component.
//!
//! # Guarantees
//! - Equal sources give equal bytes: paths of this machine are replaced, and objects that an older standard library was
//!   compiled into are forgotten.
//! - Nothing is installed outside the cache folder, but by `rustup target add`.
//!
//! # Not here
//! What a component may import, and running it (`eigenshift-plugin`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wit_component::ComponentEncoder;

/// What plugins are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

const SCRIPT: &str = include_str!("../wasm-std.sh");

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A program is not installed.
    #[error("{program} cannot be started ({source}); {advice}")]
    Missing {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
        /// How to get it.
        advice: &'static str,
    },
    /// There is no standard library for the target; what was tried is on standard error.
    #[error(
        "no standard library for {TARGET}; what was tried is above: `rustup target add {TARGET}` is all it takes where rustup is"
    )]
    NoLibrary,
    /// The script's answer is not one.
    #[error("the search for a standard library for {TARGET} did not say what it found")]
    NoAnswer,
    /// A file or folder.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The compiled module is no plugin.
    #[error("the compiled module cannot be made a component: {0}; does the crate call `eigenshift_guest::export!`?")]
    Encode(String),
}

impl BuildError {
    /// Stable machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "tool-missing",
            Self::NoLibrary | Self::NoAnswer => "no-standard-library",
            Self::File { .. } => "file",
            Self::Encode(_) => "no-component",
        }
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    |source| BuildError::File { path, source }
}

/// The user's cache folder for what is downloaded or made once, by exact version; none when the environment names none.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) if cache.is_absolute() => cache,
        (_, Some(home)) => home.join(".cache"),
        _ => return None,
    };
    Some(cache.join("eigenshift"))
}

/// The target's standard library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    way: String,
    sysroot: Option<PathBuf>,
    rustc: Option<PathBuf>,
}

impl Library {
    /// Finds or makes it, for the toolchain that `folder` chooses. What is made lies in `cache` and serves the next time.
    /// Blocks, the first time for minutes; says on standard error what it does.
    ///
    /// # Errors
    /// [`BuildError`]: a program is missing, or no way worked.
    pub fn find(cache: &Path, folder: &Path) -> Result<Self, BuildError> {
        let place = tempfile::tempdir().map_err(file(&std::env::temp_dir()))?;
        let script = place.path().join("wasm-std.sh");
        std::fs::write(&script, SCRIPT).map_err(file(&script))?;
        let mut bash = Command::new("bash");
        bash.arg(&script).arg(cache).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::inherit());
        let missing = |source| BuildError::Missing { program: "bash", source, advice: "install it" };
        let output = bash.output().map_err(missing)?;
        if !output.status.success() {
            return Err(BuildError::NoLibrary);
        }
        Self::read(&output.stdout).ok_or(BuildError::NoAnswer)
    }

    /// The script's `KEY=VALUE` lines.
    fn read(answer: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(answer).ok()?;
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find_map(|(found, value)| (found == key).then(|| value.to_owned()))
        };
        Some(Self {
            way: value("WAY")?,
            sysroot: value("SYSROOT").map(PathBuf::from),
            rustc: value("RUSTC").map(PathBuf::from),
        })
    }

    /// Where it comes from, for people.
    #[must_use]
    pub fn way(&self) -> &str {
        &self.way
    }

    /// Prepares a `cargo build` of plugins into `target`: compiler, flags, folder. Paths in `root` show up in the bytes
    /// as `shown`.
    ///
    /// # Errors
    /// [`BuildError::File`].
    pub fn prepare(&self, cargo: &mut Command, target: &Path, root: &Path, shown: &str) -> Result<(), BuildError> {
        self.forget_objects_of_another(target)?;
        cargo.args(["--release", "--target", TARGET]).arg("--target-dir").arg(target);
        // The encoded form takes paths with blanks. With --target, build scripts and macros do not get these flags.
        cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", self.flags(root, shown));
        if let Some(rustc) = &self.rustc {
            cargo.env("RUSTC", rustc);
        }
        Ok(())
    }

    /// Cargo does not notice that the library behind a sysroot was made anew; objects of the old one then fail to link.
    fn forget_objects_of_another(&self, target: &Path) -> Result<(), BuildError> {
        let made = match &self.sysroot {
            Some(sysroot) => {
                let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
                let modified = std::fs::metadata(&library).and_then(|metadata| metadata.modified());
                format!("{:?}", modified.map_err(file(&library))?)
            }
            None => String::new(),
        };
        let identity = format!("{} {:?} {:?} {made}\n", self.way, self.sysroot, self.rustc);
        let stamp = target.join("standard-library");
        if std::fs::read_to_string(&stamp).is_ok_and(|old| old == identity) {
            return Ok(());
        }
        let objects = target.join(TARGET);
        if objects.exists() {
            std::fs::remove_dir_all(&objects).map_err(file(&objects))?;
        }
        std::fs::create_dir_all(target).map_err(file(target))?;
        std::fs::write(&stamp, identity).map_err(file(&stamp))
    }

    /// Flags for the guests' crates. Paths of this machine are replaced, so that equal sources give equal bytes.
    fn flags(&self, root: &Path, shown: &str) -> OsString {
        let mut flags: Vec<OsString> = Vec::new();
        let mut flag = |parts: &[&OsStr]| flags.push(parts.iter().copied().collect());
        if let Some(sysroot) = &self.sysroot {
            flag(&["--sysroot=".as_ref(), sysroot.as_os_str()]);
        }
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
        if let Some(home) = cargo_home {
            flag(&["--remap-path-prefix=".as_ref(), home.join("registry/src").as_os_str(), "=/crates".as_ref()]);
        }
        flag(&["--remap-path-prefix=".as_ref(), root.as_os_str(), "=".as_ref(), shown.as_ref()]);
        // The linker's own default is 1 MiB, which stands before the data: the pages that a call touches would lie beyond
        // those that the host keeps resident, and be faulted in anew by every call.
        flag(&["-Clink-arg=-zstack-size=131072".as_ref()]);
        // What the SDK's allocator begins with: a memory that grows within a call costs the host two changes of page
        // protection, for each of which it waits for every other core that it runs on.
        flag(&["-Clink-arg=--initial-heap=65536".as_ref()]);
        flags.join("\u{1f}".as_ref())
    }
}

/// Where [`Library::prepare`] lets cargo leave the module of a crate.
#[must_use]
pub fn module(target: &Path, krate: &str) -> PathBuf {
    target.join(TARGET).join("release").join(format!("{}.wasm", krate.replace('-', "_")))
}

/// Makes a compiled module a component.
///
/// # Errors
/// [`BuildError::Encode`].
pub fn encode(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| BuildError::Encode(format!("{error:#}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused() {
        assert_eq!(encode(b"not wasm").unwrap_err().code(), "no-component");
    }

    #[test]
    fn the_script_s_answer_is_read_and_one_without_a_way_is_none() {
        let library = Library::read(b"WAY=a = b\nSYSROOT=/with blank\n").unwrap();
        assert_eq!(library, Library { way: "a = b".into(), sysroot: Some("/with blank".into()), rustc: None });
        assert_eq!(Library::read(b"SYSROOT=/x\n"), None);
        assert_eq!(Library::read(b"WAY=\xff\n"), None);
    }

    #[test]
    fn flags_take_paths_with_blanks_and_hide_where_the_sources_lie() {
        let library = Library { way: String::new(), sysroot: Some("/s y s".into()), rustc: None };
        let flags = library.flags(Path::new("/my plugin"), "/plugin").into_string().unwrap();
        let flags: Vec<&str> = flags.split('\u{1f}').collect();
        assert!(flags.contains(&"--sysroot=/s y s") && flags.contains(&"--remap-path-prefix=/my plugin=/plugin"));
    }

    #[test]
    fn objects_of_another_standard_library_are_forgotten_and_those_of_the_same_kept() {
        let folder = tempfile::tempdir().unwrap();
        let object = module(folder.path(), "my-avs");
        let library = |way: &str| Library { way: way.into(), sysroot: None, rustc: None };
        let prepare = |way: &str| {
            library(way).prepare(&mut Command::new("cargo"), folder.path(), folder.path(), "/plugin").unwrap();
        };
        prepare("one");
        std::fs::create_dir_all(object.parent().unwrap()).unwrap();
        std::fs::write(&object, "object").unwrap();
        prepare("one");
        assert!(object.exists());
        prepare("two");
        assert!(!object.exists());
    }
}
