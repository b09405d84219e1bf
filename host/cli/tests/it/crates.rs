//! The order of the host's crates.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::{finish, root};

/// A crate may depend only on those before it; the README's *Layout* has the same list.
const ORDER: [&str; 13] = [
    "types",
    "env",
    "bls",
    "aggregation",
    "ledger",
    "consensus",
    "chain",
    "plugin",
    "engine",
    "api",
    "node",
    "build",
    "cli",
];

#[test]
fn no_host_crate_depends_on_one_that_comes_after_it() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root());
    let metadata: Value = serde_json::from_str(&finish(&mut cargo, Duration::from_secs(60)).good()).unwrap();
    let host = root().join("host");
    // Of a path in the workspace: the crate's place in the order; none for what is not of the host.
    let place = |path: &Path| {
        let folder = path.strip_prefix(&host).ok()?.components().next()?.as_os_str().to_str()?.to_owned();
        Some(ORDER.iter().position(|name| *name == folder).unwrap_or_else(|| panic!("host/{folder} has no place")))
    };
    let mut found = BTreeSet::new();
    let mut edges = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let Some(own) = place(Path::new(package["manifest_path"].as_str().unwrap())) else { continue };
        found.insert(own);
        let name = package["name"].as_str().unwrap();
        assert_eq!(
            name,
            if ORDER[own] == "cli" { "eigenshift".to_owned() } else { format!("eigenshift-{}", ORDER[own]) }
        );
        for dependency in package["dependencies"].as_array().unwrap() {
            // Tests may look further.
            if dependency["kind"] == "dev" {
                continue;
            }
            let Some(path) = dependency["path"].as_str() else { continue };
            let needed = place(Path::new(path)).unwrap_or_else(|| panic!("{name} depends on {path}, not of the host"));
            assert!(needed < own, "{name} depends on {}, which comes after it", ORDER[needed]);
            edges += 1;
        }
    }
    assert_eq!(found.len(), ORDER.len(), "crates of the order that do not exist");
    assert!(edges >= ORDER.len(), "the dependencies were not seen: {edges}");

    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, layout) = readme.split_once("## Layout").unwrap();
    let listed: Vec<&str> = layout.split('`').filter(|part| ORDER.contains(part)).take(ORDER.len()).collect();
    assert_eq!(listed, ORDER, "the README's layout");
}
