//! `eigenshift plugin new|build|test`: a project from nothing to recorded answers, and every way not to get there.
//!
//! Building in each language takes minutes and downloads: `cargo xtask test languages` does that, by the examples' READMEs.

use std::path::Path;
use std::time::Duration;

use crate::asking::asking;
use crate::guest::{ADDRESS, ANSWER, DIGEST, Guest, IMPORT_CALL, IMPORT_KEYVALUE, KEY, KEYVALUE, SCRATCH, result};
use crate::process::{Finished, components, eigenshift, finish};

const LIMIT: Duration = Duration::from_secs(60);

fn plugin(folder: &Path, words: &[&str]) -> Finished {
    let mut command = eigenshift(folder, ["plugin"]);
    // Compiled code of these tests goes with them.
    finish(command.args(words).env("XDG_CACHE_HOME", folder.join(".cache")), LIMIT)
}

/// The error's code and words, of a command that may have shown a table before.
fn failed(finished: &Finished, code: &str) -> String {
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.err.contains(&format!("eigenshift: {code}: ")), "{finished:#?}");
    finished.err.clone()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// A new project with the plugin that it would be built into.
pub fn built(folder: &Path, name: &str) {
    plugin(folder, &["new", name, "--lang", "rust"]).good();
    std::fs::copy(components().join("incredible-squaring.wasm"), folder.join(name).join("plugin.wasm")).unwrap();
}

/// A component made by hand, with one recorded task.
fn handmade(folder: &Path, guest: &Guest) {
    let bundle = guest.bundle();
    std::fs::write(folder.join("plugin.wasm"), bundle.component()).unwrap();
    std::fs::write(folder.join("avs.toml"), bundle.manifest()).unwrap();
    std::fs::write(folder.join("tasks.toml"), "[[task]]\nname = \"one\"\nrequest = \"\"\n").unwrap();
}

#[test]
fn a_project_is_made_whole_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    for language in ["rust", "js", "python"] {
        let said = plugin(place.path(), &["new", language, "--lang", language]).good();
        assert!(said.contains("eigenshift plugin build"), "{said}");
        for file in ["avs.toml", "tasks.toml", "README.md", ".gitignore"] {
            assert!(place.path().join(language).join(file).is_file(), "{language}: {file}");
        }
    }
    let elsewhere = place.path().join("a/b");
    plugin(place.path(), &["new", "my-avs", "--lang", "js", "--path", elsewhere.to_str().unwrap()]).good();
    assert!(elsewhere.join("package.json").is_file());

    let before = names(place.path());
    for (words, code) in [
        (&["new", "rust", "--lang", "rust"][..], "folder-not-empty"),
        (&["new", "My_Avs", "--lang", "rust"], "name-invalid"),
        (&["new", "../x", "--lang", "js"], "name-invalid"),
        (&["new", "async", "--lang", "rust"], "name-invalid"),
        (&["new", &"a".repeat(49), "--lang", "python"], "name-invalid"),
    ] {
        failed(&plugin(place.path(), words), code);
    }
    assert_eq!(names(place.path()), before);
}

#[test]
fn what_a_build_needs_and_does_not_find_is_named_with_the_way_to_get_it() {
    let place = tempfile::tempdir().unwrap();
    failed(&plugin(place.path(), &["build"]), "no-project");
    for (language, advice) in [("rust", "rustup.rs"), ("js", "nodejs.org"), ("python", "python3-venv")] {
        plugin(place.path(), &["new", language, "--lang", language]).good();
        let mut command = eigenshift(place.path(), ["plugin", "build", language]);
        command.env("PATH", place.path()).env_remove("CARGO");
        let said = failed(&finish(&mut command, LIMIT), "tool-missing");
        assert!(said.contains(advice), "{said}");
        let manifest = place.path().join(language).join("avs.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        std::fs::write(&manifest, text.replace("imports", "import")).unwrap();
        let said = failed(&plugin(place.path(), &["build", language]), "manifest-unknown-key");
        assert!(said.contains("line 4"), "{said}");
    }
}

#[test]
fn recorded_answers_are_compared_and_recorded_anew() {
    let place = tempfile::tempdir().unwrap();
    built(place.path(), "my-avs");
    let out = plugin(place.path(), &["test", "my-avs"]).good();
    assert_eq!(out.matches("as recorded").count(), 3, "{out}");
    assert!(out.contains("fuel") && out.contains("KiB") && out.contains(" ms"), "{out}");

    let path = place.path().join("my-avs/tasks.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let write = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        std::fs::write(&path, text).unwrap();
    };
    write("00000090\"", "00000091\"");
    let finished = plugin(place.path(), &["test", "my-avs"]);
    failed(&finished, "unexpected-answers");
    assert!(finished.out.contains("UNEXPECTED") && finished.out.matches("as recorded").count() == 2, "{finished:#?}");
    plugin(place.path(), &["test", "my-avs", "--record"]).good();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), good);

    write("refused = \"plugin-invalid-task\"", "refused = \"plugin-trap\"");
    failed(&plugin(place.path(), &["test", "my-avs"]), "unexpected-answers");
    write("\nindex = 7", "\nindexx = 7");
    let said = failed(&plugin(place.path(), &["test", "my-avs"]), "tasks-invalid");
    let line = good.lines().position(|line| line == "index = 7").unwrap() + 1;
    assert!(said.contains(&format!("line {line},")) && said.contains("indexx"), "{said}");
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    failed(&plugin(place.path(), &["test", "my-avs"]), "file");
    std::fs::remove_file(&path).unwrap();
    failed(&plugin(place.path(), &["test", "my-avs"]), "no-tasks");
    std::fs::remove_file(place.path().join("my-avs/plugin.wasm")).unwrap();
    let said = failed(&plugin(place.path(), &["test", "my-avs"]), "file");
    assert!(said.contains("plugin build"), "{said}");
}

#[test]
fn versions_that_answer_differently_are_shown_side_by_side() {
    let place = tempfile::tempdir().unwrap();
    built(place.path(), "one");
    built(place.path(), "two");
    plugin(place.path(), &["test", "one", "two/plugin.wasm"]).good();
    // Too little for a task, enough to be loaded.
    let manifest = place.path().join("two/avs.toml");
    let text = std::fs::read_to_string(&manifest).unwrap().replace("200_000_000", "20_000");
    std::fs::write(&manifest, text).unwrap();
    let tasks = "[[task]]\nname = \"twelve\"\nrequest = \"0x000000000000000000000000000000000000000000000000000000000000000c\"\n";
    std::fs::write(place.path().join("tasks.toml"), tasks).unwrap();
    let finished = plugin(place.path(), &["test", "one", "two", "--tasks", "tasks.toml"]);
    failed(&finished, "versions-differ");
    let (_, table) = finished.out.split_once("answer differently").unwrap();
    assert!(table.contains("twelve") && table.contains("plugin-out-of-fuel") && table.contains("payload"), "{table}");
    failed(&plugin(place.path(), &["test", "one", "two", "--record"]), "usage");
}

#[test]
fn an_answer_that_depends_on_what_another_task_left_is_found() {
    let place = tempfile::tempdir().unwrap();
    const OUT: u32 = 8192;
    let mut guest = Guest { imports: IMPORT_KEYVALUE.to_owned(), ..Guest::default() };
    guest.extra = "(data (i32.const 9000) \"count\")".to_owned();
    guest.world.push_str(&format!("import {KEYVALUE};"));
    guest.manifest = crate::guest::manifest("imports = [\"keyvalue\"]", "");
    let answer = result(&[0, SCRATCH + 12, 1, ANSWER, 4]);
    // Answers only when nothing is stored yet, and stores something.
    let body = format!(
        "(local $b i32)
         (call $kv_open (i32.const 0) (i32.const 0) (i32.const {OUT})) (local.set $b (i32.load (i32.const {})))
         (call $kv_get (local.get $b) (i32.const 9000) (i32.const 5) (i32.const {OUT}))
         (if (i32.load8_u (i32.const {})) (then unreachable))
         (call $kv_set (local.get $b) (i32.const 9000) (i32.const 5) (i32.const 9000) (i32.const 5) (i32.const {OUT}))
         {answer}",
        OUT + 4,
        OUT + 4
    );
    guest.body("on-task-request", &body);
    handmade(place.path(), &guest);
    for words in [&["test"][..], &["test", "--record"]] {
        let finished = plugin(place.path(), words);
        failed(&finished, "nondeterministic");
        assert!(finished.out.contains("TWO ANSWERS") && finished.out.contains("plugin-trap"), "{finished:#?}");
    }
    assert!(!std::fs::read_to_string(place.path().join("tasks.toml")).unwrap().contains("response"));

    // The same in an instance that is kept: it signs how often it was asked.
    let body = format!(
        "(global.set $asked (i32.add (global.get $asked) (i32.const 1)))
         (i32.store8 (i32.const {ANSWER}) (global.get $asked)) {}",
        result(&[0, SCRATCH + 12, 1, KEY, 1, ANSWER, 4, DIGEST, 32, ANSWER, 0])
    );
    let mut guest = Guest::with("on-submit-task-to-leader", &body);
    guest.extra = "(global $asked (mut i32) (i32.const 0))".to_owned();
    handmade(place.path(), &guest);
    plugin(place.path(), &["test"]).good();
    guest.manifest = crate::guest::manifest("", "[runtime]\nreuse-calls = 5");
    handmade(place.path(), &guest);
    let finished = plugin(place.path(), &["test"]);
    failed(&finished, "nondeterministic");
    assert!(finished.out.contains("payload 0x01") && finished.out.contains("payload 0x02"), "{finished:#?}");
}

#[test]
fn an_answer_that_its_own_plugin_would_not_count_is_no_answer() {
    let place = tempfile::tempdir().unwrap();
    let index = format!("(i32.store (i32.const {}) (i32.load (local.get 0)))", SCRATCH + 4);
    // Another digest than the one that is signed.
    let body = format!("{} {index}", result(&[0, 0, KEY, 1, DIGEST + 1, 32]));
    handmade(place.path(), &Guest::with("on-leader-process-task-response", &body));
    let out = plugin(place.path(), &["test"]).good();
    assert!(out.contains("own-answer-not-counted"), "{out}");
}

#[test]
fn chain_reads_are_answered_from_the_file_and_what_is_missing_in_it_is_shown() {
    let place = tempfile::tempdir().unwrap();
    const OUT: u32 = 8192;
    let body = format!(
        "(call $call (i32.const {ADDRESS}) (i32.const 20) (i32.const {ANSWER}) (i32.const 4)
         (i32.const 0) (i64.const 0) (i32.const {OUT}))
         (if (i32.load8_u (i32.const {OUT})) (then unreachable)) {}",
        result(&[0, SCRATCH + 12, 1, ANSWER, 4])
    );
    let mut guest = Guest::with("on-task-request", &body);
    guest.imports = IMPORT_CALL.to_owned();
    handmade(place.path(), &guest);
    let out = plugin(place.path(), &["test"]).good();
    assert!(out.contains("it asked for what was not recorded") && out.contains("plugin-trap"), "{out}");
    // What it shows is what the file needs.
    let missing = missing(&out, "[[task.call]]");
    assert!(missing.contains("data = \"0x01020304\""), "{out}");
    let text = recorded_with(place.path(), &missing);
    assert!(text.contains("payload = \"0x01020304\"") && text.contains("[[task.call]]"), "{text}");
}

/// What a test says that the file lacks.
fn missing(out: &str, table: &str) -> String {
    let lines: Vec<&str> = out.lines().skip_while(|line| !line.contains(table)).map(str::trim).collect();
    lines.join("\n")
}

/// Adds that to the file and records the answers; then they are as recorded. The new file.
fn recorded_with(folder: &Path, missing: &str) -> String {
    let tasks = folder.join("tasks.toml");
    let text = format!("{}\n{missing}\n", std::fs::read_to_string(&tasks).unwrap());
    std::fs::write(&tasks, text).unwrap();
    plugin(folder, &["test", "--record"]).good();
    let out = plugin(folder, &["test"]).good();
    assert!(out.contains("as recorded") && !out.contains("not recorded"), "{out}");
    std::fs::read_to_string(&tasks).unwrap()
}

/// Asks `http://AUTHORITY/p?q` when it works on a task, and signs what it is answered.
fn signing_answers_of(authority: &str) -> Guest {
    let mut guest = asking(authority);
    guest.bodies.extend(Guest::default().bodies.into_iter().filter(|(name, _)| name.ends_with("task-response")));
    // Parameter 12 is the list of the answers.
    let body = format!(
        "{} (i32.store (i32.const {}) (i32.load (local.get 12)))
         (i32.store (i32.const {}) (i32.load offset=4 (local.get 12)))",
        result(&[0, SCRATCH + 12, 1, KEY, 1, 0, 0, DIGEST, 32, ANSWER, 0]),
        SCRATCH + 20,
        SCRATCH + 24
    );
    guest.body("on-submit-task-to-leader", &body);
    guest
}

#[test]
fn requests_are_answered_from_the_file_and_what_is_missing_in_it_is_shown() {
    let place = tempfile::tempdir().unwrap();
    handmade(place.path(), &signing_answers_of("api.example.org"));
    let out = plugin(place.path(), &["test"]).good();
    assert!(out.contains("it asked for what was not recorded"), "{out}");
    let missing = missing(&out, "[[task.http]]");
    assert!(missing.contains("url = \"http://api.example.org/p?q\""), "{out}");
    let text = recorded_with(place.path(), &missing.replace("returns = \"\"", "returns = \"{}\""));
    assert!(text.contains("returns = \"{}\"") && text.contains("payload = \"{}\""), "{text}");
    // Another answer is another result: it is the file's that the plugin reads.
    let other = text.replace("returns = \"{}\"", "fails = true");
    std::fs::write(place.path().join("tasks.toml"), other).unwrap();
    failed(&plugin(place.path(), &["test"]), "unexpected-answers");

    handmade(place.path(), &signing_answers_of("evil.example.org"));
    let out = plugin(place.path(), &["test"]).good();
    assert!(out.contains("a request was refused: http://evil.example.org:80 is not on the allow-list"), "{out}");
}
