//! Compiling in a child process: what it may take, how each end of it is told, and that the host goes on.

use std::io::{self, Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eigenshift_env::processes::{Command, Ending, Finished, OsProcesses, Scripted};
use eigenshift_env::{Env, Processes};
use eigenshift_plugin::{Bundle, CompileLimits, Compiler, Grants, Host, HostOptions, LoadError, Origin};
use parking_lot::Mutex;

use crate::fixtures::{chain, child, options, task};
use crate::guest::{Guest, beside, bomb};

const MIB: u64 = 1024 * 1024;

/// Far beyond what any component here needs that is not meant to break it.
const ROOMY: CompileLimits =
    CompileLimits { time: Duration::from_secs(300), cpu: Duration::from_secs(300), memory_bytes: 4096 * MIB };

fn with(compiler: Compiler, compile_limits: CompileLimits, env: &Env) -> Host {
    Host::new(HostOptions { compiler, compile_limits, ..options() }, env).unwrap()
}

fn program(path: &str, args: &[&str]) -> Compiler {
    Compiler::Child { program: path.into(), args: args.iter().map(Into::into).collect() }
}

/// A component that takes seconds and some hundred MiB to compile, within every bound for its size.
fn large() -> Bundle {
    let guest = Guest::default();
    Bundle::new(beside(guest.component(), &bomb(12, 1_000_000)), guest.manifest)
}

async fn refusal(host: &Host, bundle: Bundle) -> LoadError {
    host.load(bundle, &Grants::all()).await.unwrap_err()
}

/// A small component loads and answers.
async fn goes_on(host: &Host) {
    let plugin = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
    assert_eq!(plugin.origin(), Origin::Compiled);
    plugin.on_task_request(&task(), chain()).await.unwrap();
}

/// The system's processes, with what came of them.
#[derive(Default)]
struct Watched(Mutex<Vec<Finished>>);

impl Watched {
    fn env() -> (Env, Arc<Self>) {
        let watched = Arc::new(Self::default());
        (Env { processes: Arc::clone(&watched) as Arc<dyn Processes>, ..Env::real() }, watched)
    }
}

impl Processes for Watched {
    fn run(&self, command: Command) -> io::Result<Finished> {
        let finished = OsProcesses.run(command)?;
        self.0.lock().push(finished.clone());
        Ok(finished)
    }
}

#[tokio::test]
async fn what_a_child_compiled_is_what_this_process_would_have() {
    let directory = tempfile::tempdir().unwrap();
    let start = |compiler| {
        let options = HostOptions { cache_dir: Some(directory.path().join("compiled")), compiler, ..options() };
        Host::new(options, &Env::real()).unwrap()
    };
    goes_on(&start(child())).await;
    // Nothing is started any more: what the child made is kept as this host's own.
    let host = start(program("/nonexistent", &[]));
    let plugin = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
    assert_eq!(plugin.origin(), Origin::Disk);
    plugin.on_task_request(&task(), chain()).await.unwrap();
}

#[tokio::test]
async fn a_component_that_takes_too_much_processor_time_is_stopped_and_the_host_goes_on() {
    let host = with(child(), CompileLimits { cpu: Duration::from_secs(2), ..ROOMY }, &Env::real());
    let error = refusal(&host, large()).await;
    assert!(matches!(error, LoadError::CompileTooSlow { .. }), "{error}");
    assert_eq!(error.code(), "compile-too-slow");
    goes_on(&host).await;
}

#[tokio::test]
async fn a_component_that_takes_too_long_is_killed() {
    let (env, watched) = Watched::env();
    let host = with(child(), CompileLimits { time: Duration::from_millis(300), ..ROOMY }, &env);
    let start = Instant::now();
    let error = refusal(&host, large()).await;
    assert_eq!(error.code(), "compile-too-slow", "{error}");
    assert_eq!(watched.0.lock()[0].ending, Ending::Late);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_component_that_takes_too_much_memory_is_stopped_and_the_host_goes_on() {
    let host = with(child(), CompileLimits { memory_bytes: 192 * MIB, ..ROOMY }, &Env::real());
    let error = refusal(&host, large()).await;
    assert_eq!(error, LoadError::CompileTooMuchMemory { max: 192 * MIB });
    assert_eq!(error.code(), "compile-too-much-memory");
    goes_on(&host).await;
}

#[tokio::test]
async fn a_component_that_does_not_compile_says_why_as_in_this_process() {
    let guest = Guest { extra: "(table 1000000 funcref)".to_owned(), ..Guest::default() };
    for compiler in [Compiler::InThisProcess, child()] {
        let error = refusal(&with(compiler, ROOMY, &Env::real()), guest.bundle()).await;
        assert_eq!(error.code(), "compile-failed", "{error}");
    }
}

#[tokio::test]
async fn whatever_a_program_does_that_is_no_compiler_it_is_told_and_nothing_is_run() {
    let shell = |script| program("/bin/sh", &["-c", script]);
    for (compiler, code, part) in [
        (program("/nonexistent/compiler", &[]), "compiler-unusable", "does not start"),
        (program("/bin/cat", &["-"]), "compiler-crashed", "exit code"),
        // Says what it is told, key and all.
        (shell("cat"), "compiler-unusable", "not a compiler's answer"),
        (shell("true"), "compiler-unusable", "not a compiler's answer"),
        (shell("echo oops >&2; exit 1"), "compiler-crashed", "exit code 1: oops"),
        (shell("echo oops >&2; exit 64"), "compiler-unusable", "oops"),
        (shell("exit 65"), "compile-too-much-memory", ""),
        (shell("echo overflowed its stack >&2; kill -ABRT $$"), "compiler-crashed", "signal 6: overflowed its stack"),
        (shell("echo memory allocation of 12 bytes failed >&2; kill -ABRT $$"), "compile-too-much-memory", ""),
        (shell("kill -XCPU $$"), "compile-too-slow", ""),
        // As the system does when it has no memory left.
        (shell("kill -KILL $$"), "compiler-crashed", "signal 9"),
    ] {
        let error = refusal(&with(compiler.clone(), ROOMY, &Env::real()), Guest::default().bundle()).await;
        assert_eq!(error.code(), code, "{compiler:?}: {error}");
        assert!(error.to_string().contains(part), "{compiler:?}: {error}");
    }
}

#[tokio::test]
async fn a_deep_stack_in_the_compiler_costs_only_the_child() {
    let programs = Scripted::default();
    let env = Env { processes: Arc::new(programs.clone()), ..Env::real() };
    let host = with(program("/compiler", &[]), ROOMY, &env);
    programs.install("/compiler", |_: &Command| {
        let errors = b"thread '<unnamed>' has overflowed its stack\nfatal runtime error: stack overflow\n".to_vec();
        Ok(Finished { ending: Ending::Signal(6), output: Vec::new(), errors })
    });
    let error = refusal(&host, Guest::default().bundle()).await;
    assert_eq!(error.code(), "compiler-crashed");
    programs.install("/compiler", |command: &Command| {
        let Compiler::Child { program, .. } = child() else { unreachable!() };
        OsProcesses.run(Command { program, ..command.clone() })
    });
    goes_on(&host).await;
}

#[tokio::test]
async fn an_answer_to_another_compilation_or_one_that_was_touched_is_never_run() {
    let programs = Scripted::default();
    let env = Env { processes: Arc::new(programs.clone()), ..Env::real() };
    let host = with(program("/compiler", &[]), ROOMY, &env);
    let real = |command: &Command| {
        let Compiler::Child { program, .. } = child() else { unreachable!() };
        OsProcesses.run(Command { program, ..command.clone() })
    };
    let kept: Arc<Mutex<Option<Finished>>> = Arc::default();
    let keep = Arc::clone(&kept);
    programs.install("/compiler", move |command: &Command| {
        let finished = real(command)?;
        *keep.lock() = Some(finished.clone());
        Ok(finished)
    });
    goes_on(&host).await;
    programs.install("/compiler", move |_: &Command| Ok(kept.lock().clone().unwrap()));
    let error = refusal(&host, Guest::default().bundle()).await;
    assert_eq!(error.code(), "compiler-unusable", "the same component's own code, from before: {error}");
    programs.install("/compiler", move |command: &Command| {
        let mut finished = real(command)?;
        let middle = finished.output.len() / 2;
        finished.output[middle] ^= 1;
        Ok(finished)
    });
    assert_eq!(refusal(&host, Guest::default().bundle()).await.code(), "compiler-unusable");
    programs.install("/compiler", move |command: &Command| {
        let finished = real(command)?;
        Ok(Finished { output: vec![0; command.max_output + 1], ..finished })
    });
    assert_eq!(refusal(&host, Guest::default().bundle()).await.code(), "compiled-too-large");
}

#[tokio::test]
async fn loads_at_the_same_time_start_one_child() {
    let (env, watched) = Watched::env();
    let host = with(child(), ROOMY, &env);
    let (bundle, grants) = (Guest::default().bundle(), Grants::all());
    let loads = (0..8).map(|_| host.load(bundle.clone(), &grants));
    futures::future::try_join_all(loads).await.unwrap();
    assert_eq!(watched.0.lock().len(), 1);
}

#[tokio::test]
async fn a_load_that_nobody_waits_for_any_more_takes_its_child_with_it() {
    let (env, watched) = Watched::env();
    let host = with(child(), ROOMY, &env);
    let grants = Grants::all();
    let load = host.load(large(), &grants);
    tokio::time::timeout(Duration::from_millis(500), load).await.unwrap_err();
    while watched.0.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(watched.0.lock()[0].ending, Ending::Cancelled);
    goes_on(&host).await;
}

#[tokio::test]
async fn a_child_that_compiles_keeps_no_async_thread_busy() {
    let host = with(child(), CompileLimits { cpu: Duration::from_secs(1), ..ROOMY }, &Env::real());
    let load = refusal(&host, large());
    tokio::pin!(load);
    // One thread for both: were it blocked, it could not count.
    let mut ticks = 0;
    let error = loop {
        tokio::select! {
            error = &mut load => break error,
            () = tokio::time::sleep(Duration::from_millis(10)) => ticks += 1,
        }
    };
    assert_eq!(error.code(), "compile-too-slow");
    assert!(ticks > 10, "{ticks}");
}

#[test]
fn a_child_limits_itself_before_it_reads_anything() {
    let Compiler::Child { program, .. } = child() else { unreachable!() };
    let mut process = std::process::Command::new(program)
        .args(["268435456", "7", "1000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", process.id())).unwrap();
    let start = Instant::now();
    let limits = loop {
        let limits = file("limits");
        // The last one that it sets.
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        if line.split_whitespace().nth(3) == Some("3") {
            break limits;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{limits}");
        std::thread::sleep(Duration::from_millis(5));
    };
    for (name, soft, hard) in [
        ("Max address space", "268435456", "268435456"),
        ("Max cpu time", "7", "8"),
        ("Max core file size", "0", "0"),
        ("Max file size", "0", "0"),
        ("Max open files", "3", "3"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let found: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(found, [soft, hard], "{name}");
    }
    assert!(file("status").lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])));
    let stat = file("stat");
    let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap();
    assert_eq!(nice, "19");
    // It reads no more than it was told, and what is no request is none.
    let _ = process.stdin.take().unwrap().write_all(&[0; 5000]);
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(64));
    assert!(said.contains("no request"), "{said}");
}
