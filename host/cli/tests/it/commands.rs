//! The command line: what is wrong is said, with exit code 1, and nothing is left behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::process::{Finished, components, eigenshift, finish, free_port, root};

const LIMIT: Duration = Duration::from_secs(60);

/// The example's first configuration, complete but for a chain: nobody listens at its endpoint.
fn config() -> String {
    let example = root().join("examples/price-oracle");
    let text = std::fs::read_to_string(example.join("operator-1.toml")).unwrap();
    let text = text.replace("keys/", &format!("{}/keys/", example.display()));
    let mut text = text.replace("../../plugins/target/components", components().to_str().unwrap());
    for port in ["7101", "8101", "9101", "8545"] {
        text = text.replace(port, &free_port().to_string());
    }
    text
}

/// Runs a command on a configuration in a folder of its own.
fn with(folder: &Path, text: &str, words: &[&str]) -> Finished {
    std::fs::write(folder.join("eigenshift.toml"), text).unwrap();
    finish(&mut eigenshift(folder, words), LIMIT)
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_missing_configuration_is_named_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["run"][..], &["status"], &["task", "send", "x"]] {
        let said = finish(&mut eigenshift(folder.path(), words), LIMIT).refused();
        assert!(said.contains("eigenshift.toml"), "{said}");
        assert!(files(folder.path()).is_empty());
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line_and_the_fix_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let good = config();
    std::fs::write(folder.path().join("short.key"), "1234\n").unwrap();
    std::fs::write(folder.path().join("zero.key"), "0".repeat(64)).unwrap();
    std::fs::write(folder.path().join("huge.wasm"), []).unwrap();
    std::fs::File::options().write(true).open(folder.path().join("huge.wasm")).unwrap().set_len(33 << 20).unwrap();
    let before = files(folder.path());
    let line = |key: &str| good.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    let number = |key: &str| format!("line {}", good.lines().position(|line| line.starts_with(key)).unwrap() + 1);
    let cases: [(&str, String, Vec<String>); 12] = [
        ("raft =", line("raft =").replace("raft", "rft"), vec![number("raft ="), "rft".into(), "`raft`".into()]),
        ("grants", line("grants").replace("grants", "imports"), vec![number("grants"), "`grants`".into()]),
        ("expiry", line("expiry").replace("expiry", "expire"), vec![number("expiry"), "`expiry`".into()]),
        ("heartbeat", "heartbeat = \"fast\"".into(), vec![number("heartbeat"), "2s or 500ms".into()]),
        ("poll", "poll = 200".into(), vec![number("poll")]),
        ("chain-id", "chain-id = -1".into(), vec![number("chain-id")]),
        ("registry", "registry = \"0x12\"".into(), vec![number("registry")]),
        ("operator-key", "operator-key = \"none.key\"".into(), vec!["none.key".into()]),
        ("operator-key", "operator-key = \"short.key\"".into(), vec!["short.key".into(), "64 hexadecimal".into()]),
        ("bls-key", "bls-key = \"zero.key\"".into(), vec!["zero.key".into()]),
        ("component", "component = \"none.wasm\"".into(), vec!["none.wasm".into()]),
        ("component", "component = \"huge.wasm\"".into(), vec!["huge.wasm".into(), "at most".into()]),
    ];
    for (key, changed, expected) in cases {
        let text = good.replacen(&line(key), &changed, 1);
        assert_ne!(text, good, "{key}");
        let said = with(folder.path(), &text, &["run"]).refused();
        for part in expected {
            assert!(said.contains(&part), "{changed}: no {part:?} in {said}");
        }
        std::fs::remove_file(folder.path().join("eigenshift.toml")).unwrap();
        assert_eq!(files(folder.path()), before, "{changed}");
    }
}

#[test]
fn a_secret_never_shows_in_what_is_said_about_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "feedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedface99";
    let path = folder.path().join("long.key");
    std::fs::write(&path, secret).unwrap();
    let good = config();
    for key in ["operator-key", "bls-key"] {
        let line = good.lines().find(|line| line.starts_with(key)).unwrap();
        for (mode, warned) in [(0o644, true), (0o600, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let text = good.replacen(line, &format!("{key} = \"long.key\""), 1);
            let finished = with(folder.path(), &text, &["run"]);
            assert_eq!(finished.err.contains("chmod 600 long.key"), warned, "{finished:?}");
            let said = finished.refused();
            assert!(said.contains("long.key") && !said.contains("feedface"), "{said}");
        }
    }
}

#[test]
fn a_corrupt_data_directory_stops_the_node_and_is_not_overwritten() {
    let cases = [
        ("node.key", "garbage", "node.key"),
        ("raft/raft.redb", "garbage", "raft/raft.redb cannot be opened"),
        ("admin.token", "short", "admin.token"),
    ];
    for (name, bytes, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data/operator-1").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let said = with(folder.path(), &config(), &["run"]).refused();
        assert!(said.contains(expected), "{name}: {said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), bytes, "{name} was overwritten");
    }
}

#[test]
fn questions_to_nobody_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let good = config();
    let said = with(folder.path(), &good, &["status"]).refused();
    assert!(said.contains("is the node running") && said.contains("eigenshift run"), "{said}");
    let said = with(folder.path(), &good, &["task", "send", "EUR/USD"]).refused();
    assert!(said.contains("admin.token") && said.contains("the node makes it at its first start"), "{said}");
    let said = with(folder.path(), &good, &["status", "--avs", "other"]).refused();
    assert!(said.contains("\"other\"") && said.contains("price-oracle"), "{said}");
    let admin = good.lines().find(|line| line.starts_with("admin")).unwrap();
    let said = with(folder.path(), &good.replacen(admin, "", 1), &["task", "send", "EUR/USD"]).refused();
    assert!(said.contains("set admin in [node]"), "{said}");
    assert_eq!(files(folder.path()), ["eigenshift.toml"]);
}

#[test]
fn a_payload_that_is_no_hexadecimal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data/operator-1")).unwrap();
    std::fs::write(folder.path().join("data/operator-1/admin.token"), "t".repeat(64)).unwrap();
    let said = with(folder.path(), &config(), &["task", "send", "0xno"]).refused();
    assert!(said.contains("not hexadecimal"), "{said}");
}

#[test]
fn a_chain_that_does_not_answer_does_not_keep_a_node_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("eigenshift.toml"), config()).unwrap();
    let log = folder.path().join("log");
    let mut node = crate::process::Running::start(&mut eigenshift(folder.path(), ["run"]), &log);
    let deadline = std::time::Instant::now() + LIMIT;
    while !std::fs::read_to_string(&log).unwrap().contains("the chain does not answer yet") {
        assert!(node.wait(Duration::from_millis(50)).is_none(), "{}", std::fs::read_to_string(&log).unwrap());
        assert!(std::time::Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
    }
    node.terminate();
    assert_eq!(node.wait(LIMIT).and_then(|status| status.code()), Some(0));
}

#[test]
fn development_without_a_chain_says_where_it_looked() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let said = finish(&mut eigenshift(&root(), ["develop", "--rpc", &url]), LIMIT).refused();
    assert!(said.contains("the chain"), "{said}");
}

#[test]
fn the_compiler_that_a_node_starts_is_in_no_help_and_says_what_it_is_to_whoever_calls_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!finish(&mut eigenshift(folder.path(), ["--help"]), LIMIT).good().contains("compile-child"));
    for words in [&["compile-child"][..], &["compile-child", "1", "x", "3"], &["compile-child", "1", "2", "3", "4"]] {
        let finished = finish(&mut eigenshift(folder.path(), words), LIMIT);
        assert_eq!((finished.code, finished.out.as_str()), (Some(64), ""));
        assert!(finished.err.contains("started by a plugin host"), "{}", finished.err);
    }
}
