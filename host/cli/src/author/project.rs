//! Where a plugin's files are, and its bundle.

use std::path::{Path, PathBuf};

use eigenshift_plugin::{Bundle, Manifest};

use super::error::{AuthorError, file};
use super::template::Language;
use crate::CliError;
use crate::files::{MAX_COMPONENT, MAX_MANIFEST, read_bounded};

/// The component of a project, as every language's build leaves it.
pub const COMPONENT: &str = "plugin.wasm";
const MANIFEST: &str = "avs.toml";
const TASKS: &str = "tasks.toml";

/// A plugin's files. Whether they are there is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The component.
    pub component: PathBuf,
    /// Its manifest.
    pub manifest: PathBuf,
    /// Its recorded tasks.
    pub tasks: PathBuf,
}

impl Project {
    /// The files of a project's folder, or of a component: `NAME.avs.toml` beside it, else `avs.toml`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        if path.is_dir() {
            return Self { component: path.join(COMPONENT), manifest: path.join(MANIFEST), tasks: path.join(TASKS) };
        }
        let own = path.with_extension("avs.toml");
        let manifest = if own.is_file() { own } else { path.with_file_name(MANIFEST) };
        Self { component: path.to_owned(), manifest, tasks: path.with_file_name(TASKS) }
    }

    /// Reads manifest and component. Blocks.
    ///
    /// # Errors
    /// [`AuthorError`]: a file is missing or too large, or the manifest is none.
    pub fn bundle(&self) -> Result<(Bundle, Manifest), AuthorError> {
        let (text, manifest) = self.manifest()?;
        if !self.component.exists() {
            return Err(file(&self.component, "it is not there: `eigenshift plugin build` makes it"));
        }
        Ok((Bundle::new(read(&self.component, MAX_COMPONENT)?, text), manifest))
    }

    /// Reads the manifest. Blocks.
    ///
    /// # Errors
    /// [`AuthorError`]: it is missing or none.
    pub fn manifest(&self) -> Result<(String, Manifest), AuthorError> {
        let text = text(&self.manifest, MAX_MANIFEST)?;
        let manifest =
            Manifest::parse(&text).map_err(|error| AuthorError::Manifest { path: self.manifest.clone(), error })?;
        Ok((text, manifest))
    }
}

/// What a project's folder is written in.
///
/// # Errors
/// [`AuthorError::NoProject`].
pub fn language(folder: &Path) -> Result<Language, AuthorError> {
    [("Cargo.toml", Language::Rust), ("package.json", Language::Js), ("requirements.txt", Language::Python)]
        .into_iter()
        .find_map(|(name, language)| folder.join(name).is_file().then_some(language))
        .ok_or_else(|| AuthorError::NoProject(folder.to_owned()))
}

/// A file's bytes, if they are not more than so many. Blocks.
///
/// # Errors
/// [`AuthorError::File`].
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, AuthorError> {
    read_bounded(path, most).map_err(|error| match error {
        CliError::File { path, why } => AuthorError::File { path, why },
        other => AuthorError::Usage(other.to_string()),
    })
}

/// A file's text, likewise.
///
/// # Errors
/// [`AuthorError::File`].
pub fn text(path: &Path, most: u64) -> Result<String, AuthorError> {
    String::from_utf8(read(path, most)?).map_err(|error| file(path, error))
}
