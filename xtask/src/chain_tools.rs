//! anvil and solc, as npm packages of exact versions, and the contracts' compiler that uses the latter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::packages;
use crate::place::{self, Place};

/// Installed tools.
pub struct ChainTools {
    /// The anvil executable.
    pub anvil: PathBuf,
    modules: PathBuf,
}

/// Brings the packages of `xtask/chain/package-lock.json` into a cache folder named after that file's hash.
pub fn install(place: &Place) -> Result<ChainTools> {
    let what = "anvil (a local chain) and solc (the contracts' compiler)";
    let modules = packages::npm(place, &place.root.join("xtask/chain"), "chain", what)?.join("node_modules");
    let anvil = modules.join("@foundry-rs/anvil-linux-amd64/bin/anvil");
    ensure!(anvil.is_file(), "npm ci left no {}: anvil's package is for Linux x86_64 only", anvil.display());
    Ok(ChainTools { anvil, modules })
}

impl ChainTools {
    /// Compiles the contracts and writes the results to where they are committed.
    pub fn write_contracts(&self, place: &Place) -> Result<()> {
        let (sources, committed) = place.contracts();
        let fresh = self.compile(place, &sources)?;
        std::fs::create_dir_all(&committed)?;
        for stale in read(&committed)?.into_keys().filter(|name| !fresh.contains_key(name)) {
            std::fs::remove_file(committed.join(&stale))?;
            println!("contracts: removed {stale}");
        }
        for (name, bytes) in &fresh {
            if place::write_if_changed(&committed.join(name), bytes)? {
                println!("contracts: wrote {name}");
            }
        }
        println!("contracts: {} files are up to date in {}", fresh.len(), committed.display());
        Ok(())
    }

    /// Compiles the contracts and compares with what is committed, byte for byte.
    pub fn check_contracts(&self, place: &Place) -> Result<()> {
        let (sources, committed) = place.contracts();
        let differing = differences(&self.compile(place, &sources)?, &read(&committed)?);
        ensure!(
            differing.is_empty(),
            "the committed results do not match the contracts:\n  {}\nrefresh them with `cargo xtask contracts`",
            differing.join("\n  ")
        );
        Ok(())
    }

    fn compile(&self, place: &Place, sources: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let out = place.root.join("target/xtask/contracts");
        if out.exists() {
            std::fs::remove_dir_all(&out)?;
        }
        std::fs::create_dir_all(&out)?;
        let mut node = Command::new("node");
        node.arg(place.root.join("xtask/chain/compile.js")).arg(sources).arg(&out).env("NODE_PATH", &self.modules);
        place::run(&mut node, "compiling the contracts")?;
        read(&out)
    }
}

/// Every file of a folder, by name.
fn read(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?);
    }
    Ok(files)
}

/// One line for each file that is not the same in both.
fn differences(fresh: &BTreeMap<String, Vec<u8>>, committed: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, bytes) in fresh {
        match committed.get(name) {
            None => lines.push(format!("{name}: not committed")),
            Some(old) if old != bytes => lines.push(format!("{name}: differs")),
            Some(_) => {}
        }
    }
    lines.extend(
        committed.keys().filter(|name| !fresh.contains_key(*name)).map(|name| format!("{name}: no such contract")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_changed_a_missing_and_a_stale_result_are_each_named() {
        let fresh = folder(&[("A.json", "1"), ("B.json", "2"), ("C.json", "3")]);
        let committed = folder(&[("A.json", "1"), ("B.json", "x"), ("D.json", "4")]);
        assert_eq!(
            differences(&fresh, &committed),
            ["B.json: differs", "C.json: not committed", "D.json: no such contract"]
        );
        assert!(differences(&fresh, &fresh).is_empty());
    }
}
