//! The README and the example's README: their commands and keys are those of the binary and of xtask.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{eigenshift, finish, root};

const LIMIT: Duration = Duration::from_secs(300);
const README: &str = "README.md";
const EXAMPLE: &str = "examples/price-oracle/README.md";
const AUTHORS: [&str; 3] =
    ["examples/plugin-rust/README.md", "examples/plugin-js/README.md", "examples/plugin-python/README.md"];

/// Commands that are nobody's of ours; `cargo xtask test languages` runs those of authors.
const OTHERS: [&str; 4] = ["cargo build -p eigenshift", "cd my-avs", "cargo test", ".venv/bin/"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The lines of the fenced `sh` blocks, without comments.
fn fenced(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => commands.push(line.split(" #").next().unwrap().trim().to_owned()),
            _ => {}
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// What stands between single backticks outside of fences.
fn quoted(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut inside = false;
    for line in text.lines() {
        if line.trim().starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose += line;
            prose.push('\n');
        }
    }
    prose.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Every command in the documents that is ours to check: xtask's and the binary's, as words.
fn commands() -> (BTreeSet<Vec<String>>, BTreeSet<Vec<String>>) {
    let (mut xtask, mut binary) = (BTreeSet::new(), BTreeSet::new());
    let prefixes = |text: &str| {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        match words.first().map(String::as_str) {
            Some("cargo") if words.get(1).is_some_and(|word| word == "xtask") => Some((true, words[2..].to_vec())),
            Some("eigenshift" | "target/debug/eigenshift") if words.len() > 1 => Some((false, words[1..].to_vec())),
            _ => None,
        }
    };
    for document in [README, EXAMPLE].into_iter().chain(AUTHORS) {
        let text = read(document);
        for command in fenced(&text) {
            // `"$(cargo xtask anvil)" --hardfork ...`: what is run inside is ours, the rest is anvil's.
            let command = match command.strip_prefix("\"$(").and_then(|rest| rest.split_once(")\"")) {
                Some((inner, _)) => inner.to_owned(),
                None => command,
            };
            match prefixes(&command) {
                Some((true, words)) => drop(xtask.insert(words)),
                Some((false, words)) => drop(binary.insert(words)),
                None => {
                    let known = OTHERS.iter().any(|other| command.starts_with(other));
                    assert!(known, "{document}: unknown {command:?}");
                }
            }
        }
        for span in quoted(&text) {
            match prefixes(&span) {
                Some((true, words)) => drop(xtask.insert(words)),
                Some((false, words)) => drop(binary.insert(words)),
                None => {}
            }
        }
    }
    (xtask, binary)
}

/// Checks the words of an `eigenshift` command: each subcommand and flag is in its help, each file exists.
fn check_binary(words: &[String]) {
    let flag = |word: &&String| word.starts_with('-');
    let mut path: Vec<&str> = vec![&words[0]];
    if ["task", "plugin", "avs"].contains(&words[0].as_str()) {
        path.push(&words[1]);
    }
    let help = finish(eigenshift(&root(), &path).arg("--help"), LIMIT).good();
    for used in words.iter().filter(flag) {
        let listed = help.split_whitespace().any(|word| word.trim_end_matches(',') == used);
        assert!(listed, "eigenshift {} has no {used}:\n{help}", path.join(" "));
    }
    for file in words.iter().filter(|word| word.contains("examples/")) {
        assert!(root().join(file).is_file(), "{file} does not exist");
    }
}

#[test]
fn every_command_in_the_documents_exists() {
    let (xtask, binary) = commands();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for expected in ["demo", "test", "anvil", "setup --anvil"] {
        assert!(xtask.contains(&words(expected)), "`cargo xtask {expected}` is no longer documented");
    }
    assert!(binary.iter().any(|words| words[0] == "run") && binary.iter().any(|words| words[0] == "task"));

    let help = finish(Command::new(env!("CARGO")).args(["xtask", "--help"]).current_dir(root()), LIMIT).good();
    for words in &xtask {
        let (own, passed) = match words.iter().position(|word| word == "--") {
            Some(at) => (&words[..at], &words[at + 1..]),
            None => (&words[..], &[][..]),
        };
        let entry = help
            .lines()
            .find(|line| line.strip_prefix("  ").is_some_and(|line| line.split(' ').next() == Some(&own[0])));
        let entry = entry.unwrap_or_else(|| panic!("cargo xtask has no {}:\n{help}", own[0]));
        for flag in own.iter().filter(|word| word.starts_with('-')) {
            assert!(entry.contains(flag.as_str()), "cargo xtask {} has no {flag}", own[0]);
        }
        if own[0] == "demo" && !passed.is_empty() {
            let passed: Vec<String> = [vec!["demo".to_owned()], passed.to_vec()].concat();
            check_binary(&passed);
        }
    }
    for words in &binary {
        check_binary(words);
    }
}

type Keys = BTreeMap<String, BTreeSet<String>>;

const SECTIONS: [(&str, &str); 4] = [
    ("[node]", "[node]\nunknown-key = 1\n"),
    ("[[avs]]", "[[avs]]\nunknown-key = 1\n"),
    ("[[avs.timer]]", "[[avs]]\n[[avs.timer]]\nunknown-key = 1\n"),
    ("[avs.cluster]", "[[avs]]\n[avs.cluster]\nunknown-key = 1\n"),
];

/// The keys the binary takes, section by section: its refusal of an unknown one lists them.
fn accepted() -> Keys {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = Keys::new();
    for (section, text) in SECTIONS {
        std::fs::write(folder.path().join("eigenshift.toml"), text).unwrap();
        let said = finish(&mut eigenshift(folder.path(), ["status"]), LIMIT).refused();
        let (_, expected) =
            said.split_once("unknown field `unknown-key`, expected").unwrap_or_else(|| panic!("{said}"));
        keys.insert(section.to_owned(), expected.split('`').skip(1).step_by(2).map(str::to_owned).collect());
    }
    // Sections of their own in the documents.
    let avs = keys.get_mut("[[avs]]").unwrap();
    assert!(avs.remove("timer") && avs.remove("cluster"));
    keys
}

/// The keys of the README's table.
fn documented() -> Keys {
    let readme = read(README);
    let (_, table) = readme.split_once("| key | what |\n|---|---|\n").unwrap();
    let mut keys = Keys::new();
    let mut section = String::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let spans = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let mut names = spans(cells[0]);
        if names == ["[avs.cluster]"] {
            // Its keys are in the second cell, their values in parentheses.
            let outside = cells[1].split('(').map(|part| part.split_once(')').map_or(part, |(_, after)| after));
            names.extend(spans(&outside.collect::<String>()));
        }
        for name in names {
            let key = match name.rsplit_once(']') {
                Some((head, key)) => {
                    section = format!("{head}]");
                    key.trim().to_owned()
                }
                None => name,
            };
            if !key.is_empty() {
                assert!(keys.entry(section.clone()).or_default().insert(key.clone()), "{key} is documented twice");
            }
        }
    }
    keys
}

#[test]
fn the_readme_documents_exactly_the_keys_that_a_configuration_may_have() {
    assert_eq!(documented(), accepted());
}

#[test]
fn every_key_of_the_example_configurations_is_documented() {
    let documented = documented();
    let mut seen = 0;
    let mut check = |section: &str, table: &toml::Table, apart: &[&str], file: &Path| {
        for key in table.keys().filter(|key| !apart.contains(&key.as_str())) {
            assert!(documented[section].contains(key), "{}: {section} {key}", file.display());
            seen += 1;
        }
    };
    for number in 1..=4 {
        let file = root().join(format!("examples/price-oracle/operator-{number}.toml"));
        let config: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        assert_eq!(config.keys().collect::<Vec<_>>(), ["avs", "node"]);
        check("[node]", config["node"].as_table().unwrap(), &[], &file);
        for avs in config["avs"].as_array().unwrap() {
            let avs = avs.as_table().unwrap();
            check("[[avs]]", avs, &["timer", "cluster"], &file);
            if let Some(cluster) = avs.get("cluster") {
                check("[avs.cluster]", cluster.as_table().unwrap(), &[], &file);
            }
        }
    }
    assert!(seen > 4 * 10, "the keys were not seen: {seen}");
}
