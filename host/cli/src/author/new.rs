//! `eigenshift plugin new`: a project that builds as it is.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{AuthorError, file};
use super::template::{self, Language};

/// Makes a project.
#[derive(Args, Debug)]
pub struct NewArgs {
    /// The plugin's name: a-z, 0-9 and single dashes, like my-avs.
    name: String,
    /// What it is written in.
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// The project's folder, which must be empty or not there. [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

const MAX_NAME: usize = 48;

/// What a crate cannot be called: Rust's words, its own crates, and what is in a project already.
const TAKEN: &str = "\
    abstract alloc as async await become box break build const continue core crate deps do dyn \
    eigenshift-guest else enum extern false final fn for gen if impl in let loop macro match mod move \
    mut override proc-macro pub ref return self static std struct super test trait true try type typeof \
    unsafe unsized use virtual where while yield";

fn check(name: &str, language: Language) -> Result<(), AuthorError> {
    let wrong = |fix| Err(AuthorError::Name { name: name.chars().take(2 * MAX_NAME).collect(), fix });
    let kebab = name
        .split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    if !kebab || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return wrong("take a-z, 0-9 and single dashes, a letter first, like my-avs");
    }
    if name.len() > MAX_NAME {
        return wrong("take at most 48 characters");
    }
    if language == Language::Rust && TAKEN.split(' ').any(|word| word == name) {
        return wrong("Rust has that word for itself; add one to it, like that of your AVS");
    }
    Ok(())
}

/// Writes a whole project beside its place and moves it there, so that nothing half-written is ever left.
fn write(folder: &Path, files: &[(String, String)]) -> Result<(), AuthorError> {
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|error| file(parent, error))?;
    let mut builder = tempfile::Builder::new();
    // As any folder that the user makes: the system takes off what their umask says.
    builder.prefix(".eigenshift-new-").permissions(Permissions::from_mode(0o777));
    let unfinished = builder.tempdir_in(parent).map_err(|error| file(parent, error))?;
    for (name, text) in files {
        let path = unfinished.path().join(name);
        let into = path.parent().unwrap_or(parent);
        std::fs::create_dir_all(into).map_err(|error| file(into, error))?;
        std::fs::write(&path, text).map_err(|error| file(&path, error))?;
    }
    // Takes the place of an empty folder, and of nothing else.
    match std::fs::rename(unfinished.path(), folder) {
        Ok(()) => {
            // It is the project now.
            let _ = unfinished.keep();
            Ok(())
        }
        Err(_) if folder.exists() => Err(AuthorError::NotEmpty(folder.to_owned())),
        Err(error) => Err(file(folder, error)),
    }
}

/// Makes the project, and says how to go on.
///
/// # Errors
/// [`AuthorError`]; nothing is left behind.
pub fn new(args: &NewArgs) -> Result<(), AuthorError> {
    check(&args.name, args.lang)?;
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    write(&folder, &template::project(args.lang, &args.name))?;
    println!("{} is a plugin that squares numbers: change it into yours, README.md says where", folder.display());
    println!();
    println!("  cd {}", folder.display());
    println!("  eigenshift plugin build   # plugin.wasm, and what it would be granted");
    println!("  eigenshift plugin test    # the tasks of tasks.toml, each twice");
    println!("  eigenshift dev            # three operators in this process; every new build is swapped in");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_bounded_and_no_word_of_rust() {
        for good in ["a", "my-avs", "x1", &"a".repeat(48)] {
            assert!(check(good, Language::Rust).is_ok(), "{good}");
        }
        let bad = ["", "-", "a-", "-a", "a--b", "A", "a_b", "1a", "a/b", "..", "a b", "é", "fn", "std", "use", "where"];
        for bad in bad.into_iter().chain([&*"a".repeat(49)]) {
            assert_eq!(check(bad, Language::Rust).unwrap_err().code(), "name-invalid", "{bad}");
        }
        assert!(check("fn", Language::Js).is_ok());
    }

    #[test]
    fn an_empty_folder_is_taken_a_full_one_or_a_file_refused_and_nothing_is_left_behind() {
        let place = tempfile::tempdir().unwrap();
        let files = [("a/b.txt".to_owned(), "text".to_owned())];
        let folder = place.path().join("empty");
        std::fs::create_dir(&folder).unwrap();
        write(&folder, &files).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("a/b.txt")).unwrap(), "text");
        let plain = place.path().join("plain");
        std::fs::write(&plain, "mine").unwrap();
        for taken in [&folder, &plain] {
            assert_eq!(write(taken, &files).unwrap_err().code(), "folder-not-empty");
        }
        assert_eq!(std::fs::read_to_string(plain).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
    }
}
