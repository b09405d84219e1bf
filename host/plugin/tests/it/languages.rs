//! One AVS written in three languages: the same bytes and the same refusals from each, at the same cost every time.
//!
//! Ignored unless asked for, since the components need tools from npm and PyPI: `cargo xtask test languages` builds
//! them, runs this, and fails when it left no figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eigenshift_plugin::{AggregateKey, Bundle, Grants, Host, PeerResponse, Plugin, Signable, Task};
use eigenshift_types::{Bytes, ResponseKey, U256, keccak256};

use crate::fixtures::{chain, host, peer, task};

/// The reference first.
const PLUGINS: [&str; 3] = ["incredible-squaring", "incredible-squaring-js", "incredible-squaring-py"];

/// One call, with what comes of it in every language.
struct Case {
    what: &'static str,
    request: Vec<u8>,
    call: Call,
    expected: Expected,
}

enum Call {
    Request,
    Submit(Vec<Vec<u8>>),
    Process { payload: Vec<u8>, extension: Vec<u8> },
}

enum Expected {
    Exactly(Outcome),
    /// A refusal with this code; the words are each language's own.
    Code(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Answers(Vec<Bytes>),
    Signed(Vec<Signable>),
    Counted(AggregateKey),
    Refused { code: String, text: String },
}

/// `abi.encode` of unsigned integers.
fn abi(words: &[U256]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes_vec()).collect()
}

fn small(words: &[u64]) -> Vec<u8> {
    abi(&words.iter().map(|word| U256::from(*word)).collect::<Vec<_>>())
}

fn key() -> ResponseKey {
    ResponseKey::new(Bytes::from_static(b"0")).unwrap()
}

fn cases() -> Vec<Case> {
    const INVALID: &str = "plugin-invalid-task";
    let index = task().index;
    let twelve = small(&[12]);
    let answer = small(&[index.into(), 144]);
    let bound = U256::from(1) << 128;
    let mut cases = Vec::new();
    let mut case = |what, request: &[u8], call, expected| {
        cases.push(Case { what, request: request.to_vec(), call, expected });
    };
    let refused = |code: &str, text: String| Expected::Exactly(Outcome::Refused { code: code.to_owned(), text });

    for number in [U256::ZERO, U256::from(1), U256::from(12), U256::from(u64::MAX), bound - U256::from(1)] {
        let answer = abi(&[U256::from(index), number * number]);
        let answers = Outcome::Answers(vec![answer.clone().into()]);
        case("a number", &abi(&[number]), Call::Request, Expected::Exactly(answers));
        let digest = keccak256(&answer);
        let signed = Signable { key: key(), payload: answer.clone().into(), digest, extension: Bytes::new() };
        let signed = Expected::Exactly(Outcome::Signed(vec![signed]));
        case("own answer", &abi(&[number]), Call::Submit(vec![answer.clone()]), signed);
        let counted = Expected::Exactly(Outcome::Counted(AggregateKey { task_index: index, key: key(), digest }));
        case("good answer", &abi(&[number]), Call::Process { payload: answer, extension: vec![] }, counted);
    }
    let followed = Expected::Exactly(Outcome::Answers(vec![answer.clone().into()]));
    case("bytes behind the request", &small(&[12, 7]), Call::Request, followed);
    for number in [bound, U256::MAX] {
        let text = format!("the plugin refuses the task: the square of {number} exceeds uint256");
        case("overflow", &abi(&[number]), Call::Request, refused(INVALID, text));
    }
    case("no request", &[], Call::Request, Expected::Code(INVALID));
    case("cut request", &twelve[..31], Call::Request, Expected::Code(INVALID));
    case("own answer, cut request", &[1], Call::Submit(vec![answer.clone()]), Expected::Code(INVALID));

    case("no answer", &twelve, Call::Submit(vec![]), Expected::Exactly(Outcome::Signed(vec![])));
    let failed = |text: &str| refused("plugin-error", format!("the plugin failed: {text}"));
    let twice = failed("two responses under the key \"0\": give each a key of its own");
    case("two answers", &twelve, Call::Submit(vec![answer.clone(), small(&[0, 1])]), twice);
    case("cut own answer", &twelve, Call::Submit(vec![answer[..63].to_vec()]), Expected::Code("plugin-error"));
    let canonical = "the bytes are not the canonical encoding of the value they stand for";
    let long = [&answer[..], &[0]].concat();
    let own = failed(&format!("own response: {canonical}"));
    case("own answer with bytes behind", &twelve, Call::Submit(vec![long.clone()]), own);

    let mut process = |what, request: &[u8], payload: &[u8], extension: &[u8], expected| {
        case(what, request, Call::Process { payload: payload.to_vec(), extension: extension.to_vec() }, expected);
    };
    let rejected = |code: &str, message: &str| refused(code, format!("{code}: {message}"));
    process("bad request", &twelve[..31], &answer, &[], Expected::Code("invalid-task"));
    for (wrong, number) in [("8", 8), ("0", 0), ("4294967295", u64::from(u32::MAX))] {
        let text = format!("the response is for task {wrong}");
        process("another task's", &twelve, &small(&[number, 144]), &[], rejected("wrong-task", &text));
    }
    process("no payload", &twelve, &[], &[], Expected::Code("malformed"));
    process("cut payload", &twelve, &answer[..63], &[], Expected::Code("malformed"));
    process("junk", &twelve, &[0xff; 200], &[], Expected::Code("malformed"));
    process("index over uint32", &twelve, &small(&[1 << 32, 144]), &[], Expected::Code("malformed"));
    process("bytes behind", &twelve, &long, &[], rejected("non-canonical", canonical));
    let largest = vec![0; 16 * 1024];
    process("largest payload", &twelve, &largest, &[], rejected("non-canonical", canonical));
    let extension = rejected("malformed-extension", "the extension is not decodable: no bytes expected");
    process("an extension", &twelve, &answer, &[0], extension);
    cases
}

async fn outcome(plugin: &Plugin, case: &Case) -> Outcome {
    let task = Task { request: case.request.clone().into(), ..task() };
    let refused = |code: &str, text: String| Outcome::Refused { code: code.to_owned(), text };
    match &case.call {
        Call::Request => match plugin.on_task_request(&task, chain()).await {
            Ok(answers) => Outcome::Answers(answers),
            Err(error) => refused(error.code(), error.to_string()),
        },
        Call::Submit(answers) => {
            let answers: Vec<Bytes> = answers.iter().cloned().map(Into::into).collect();
            match plugin.on_submit_task_to_leader(&task, &answers).await {
                Ok(signed) => Outcome::Signed(signed),
                Err(error) => refused(error.code(), error.to_string()),
            }
        }
        Call::Process { payload, extension } => {
            let (payload, extension) = (payload.clone().into(), extension.clone().into());
            match plugin.on_leader_process_task_response(&task, &PeerResponse { payload, extension, ..peer() }).await {
                Ok(counted) => Outcome::Counted(counted),
                Err(error) => refused(error.code(), error.to_string()),
            }
        }
    }
}

/// What a run through all cases cost.
struct Run {
    /// Of each call, in the cases' order.
    fuel: Vec<u64>,
    /// Of all of them; instances made and dropped included.
    cpu: Duration,
}

async fn run(name: &str, plugin: &Plugin, cases: &[Case]) -> Run {
    let mut fuel = Vec::new();
    let begin = plugin.counters().cpu;
    for case in cases {
        let before = plugin.counters();
        let found = outcome(plugin, case).await;
        fuel.push(plugin.counters().fuel - before.fuel);
        let what = case.what;
        match (&case.expected, &found) {
            (Expected::Exactly(expected), found) => assert_eq!(found, expected, "{name}: {what}"),
            (Expected::Code(expected), Outcome::Refused { code, .. }) => assert_eq!(code, expected, "{name}: {what}"),
            (Expected::Code(_), found) => panic!("{name}: {what}: {found:?}"),
        }
    }
    Run { fuel, cpu: plugin.counters().cpu - begin }
}

async fn load(host: &Host, folder: &Path, name: &str, more: &str) -> (Plugin, usize) {
    let path = folder.join(format!("{name}.wasm"));
    let how = "build the plugins with `cargo xtask guests --all-languages`";
    let component = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; {how}", path.display()));
    let manifest = std::fs::read_to_string(folder.join(format!("{name}.avs.toml"))).expect(how) + more;
    let bytes = component.len();
    // Loading calls `describe` and runs the golden task of the manifest.
    let plugin = host.load(Bundle::new(component, manifest), &Grants::all()).await.unwrap();
    assert_eq!(plugin.descriptor().name, name);
    (plugin, bytes)
}

#[tokio::test]
#[ignore = "needs the plugins in JavaScript and Python: run `cargo xtask test languages`"]
async fn every_language_gives_the_same_bytes_and_refusals_for_the_same_fuel_each_time() {
    let folder = std::env::var_os("EIGENSHIFT_COMPONENTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins/target/components"), Into::into);
    let host = host();
    let cases = cases();
    let mut report = String::new();
    let mut schemas = Vec::new();
    for name in PLUGINS {
        let begin = Instant::now();
        let (plugin, bytes) = load(&host, &folder, name, "").await;
        let took = begin.elapsed();
        schemas.push(plugin.descriptor().schema.clone());
        let first = run(name, &plugin, &cases).await;
        let second = run(name, &plugin, &cases).await;
        for ((case, once), again) in cases.iter().zip(&first.fuel).zip(&second.fuel) {
            assert_eq!(once, again, "{name}: {}: the fuel differs between two runs", case.what);
        }
        let most = *first.fuel.iter().max().unwrap();
        // A plugin's limit is also a promise to its users: the largest input must not come near it.
        assert!(most <= plugin.manifest().limits.fuel / 2, "{name}: a call takes {most} fuel of its limit");
        let mean = |run: &Run| run.cpu.as_secs_f64() * 1e3 / cases.len() as f64;
        // In instances that are kept from call to call the fuel is another one, and the answers are the same.
        let (keeping, _) = load(&host, &folder, name, "\n[runtime]\nreuse-calls = 1000\n").await;
        run(name, &keeping, &cases).await;
        let kept = run(name, &keeping, &cases).await;
        assert!(keeping.counters().reused >= cases.len() as u64, "{name}: no instance was kept");
        let least = first.fuel.iter().min().unwrap();
        writeln!(
            report,
            "{name:<24} {:>9.1} KB  loaded in {:>6.2} s  {least} to {most} fuel a call, {:.2} ms CPU, kept {:.2}",
            bytes as f64 / 1024.0,
            took.as_secs_f64(),
            mean(&second),
            mean(&kept),
        )
        .unwrap();
    }
    assert!(schemas.iter().all(|schema| *schema == schemas[0]), "{schemas:?}");
    match std::env::var_os("EIGENSHIFT_LANGUAGES") {
        Some(path) => std::fs::write(path, report).unwrap(),
        None => println!("{report}"),
    }
}
