//! Programs end when they should, and leave nothing behind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eigenshift_env::processes::{Command, Ending, Finished, MAX_ERRORS, OsProcesses, Scripted};
use eigenshift_env::{Env, Processes, sim};

/// Far beyond what any program here needs.
const LONG: Duration = Duration::from_secs(300);

fn shell(script: &str) -> Command {
    Command {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        max_output: 1 << 20,
        time: LONG,
        ..Command::default()
    }
}

fn run(command: Command) -> Finished {
    OsProcesses.run(command).unwrap()
}

#[test]
fn what_a_program_reads_writes_and_returns() {
    let input = vec![b'x'; 300_000];
    let finished = run(Command { input: input.clone(), ..shell("cat; echo trouble >&2; exit 7") });
    assert_eq!(finished, Finished { ending: Ending::Code(7), output: input, errors: b"trouble\n".to_vec() });
}

#[test]
fn a_program_that_reads_nothing_is_no_error() {
    let finished = run(Command { input: vec![0; 1 << 20], ..shell("echo done") });
    assert_eq!((finished.ending, finished.output), (Ending::Code(0), b"done\n".to_vec()));
}

#[test]
fn nothing_of_the_environment_is_inherited() {
    let finished =
        run(Command { environment: vec![("GIVEN".into(), "yes".into())], ..shell("echo $GIVEN $HOME $CARGO") });
    assert_eq!(finished.output, b"yes\n");
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_whatever_it_started() {
    let start = Instant::now();
    // Its own child holds the output open and would sleep on.
    let finished = run(Command { time: Duration::from_millis(200), ..shell("sleep 1000 & sleep 1000") });
    assert_eq!(finished.ending, Ending::Late);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn a_program_that_closes_its_output_is_waited_for_and_then_killed() {
    let finished = run(Command { time: Duration::from_millis(200), ..shell("exec 1>&- 2>&-; sleep 1000") });
    assert_eq!(finished.ending, Ending::Late);
}

#[test]
fn what_a_program_leaves_running_is_killed_when_it_ends() {
    let start = Instant::now();
    let finished = run(shell("echo ready; sleep 1000 & exit 0"));
    assert_eq!(finished.ending, Ending::Code(0));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn output_and_errors_are_bounded() {
    let finished = run(Command { max_output: 1000, ..shell("exec cat /dev/zero") });
    assert_eq!((finished.ending, finished.output.len()), (Ending::TooMuchOutput, 0));
    let finished = run(Command { max_output: 4, ..shell("printf 1234; head -c 1000000 /dev/zero >&2") });
    assert_eq!((finished.ending, finished.output.len()), (Ending::Code(0), 4));
    assert_eq!(finished.errors.len(), MAX_ERRORS);
}

#[test]
fn a_signal_is_told_from_a_code() {
    assert_eq!(run(shell("kill -SEGV $$")).ending, Ending::Signal(11));
}

#[test]
fn a_program_that_nobody_waits_for_any_more_is_killed() {
    let cancelled = Arc::new(AtomicBool::new(false));
    let command = Command { cancelled: Arc::clone(&cancelled), ..shell("sleep 1000") };
    let running = std::thread::spawn(move || run(command));
    cancelled.store(true, Ordering::Release);
    assert_eq!(running.join().unwrap().ending, Ending::Cancelled);
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let absent = || Command { program: "/nonexistent/program".into(), time: LONG, ..Command::default() };
    assert_eq!(OsProcesses.run(absent()).unwrap_err().kind(), io::ErrorKind::NotFound);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let env = Env::simulated(&sim::World::default(), 1);
    assert_eq!(env.processes.run(absent()).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_scripted_program_keeps_the_same_bounds() {
    let programs = Scripted::default();
    programs.install("/bin/compiler", |command: &Command| {
        Ok(Finished { ending: Ending::Code(0), output: command.input.clone(), errors: vec![b'e'; 2 * MAX_ERRORS] })
    });
    let command = |input: &[u8]| Command {
        program: "/bin/compiler".into(),
        input: input.to_vec(),
        max_output: 3,
        ..Command::default()
    };
    let finished = programs.run(command(b"abc")).unwrap();
    assert_eq!(
        (finished.ending, finished.output, finished.errors.len()),
        (Ending::Code(0), b"abc".to_vec(), MAX_ERRORS)
    );
    assert_eq!(programs.run(command(b"abcd")).unwrap().ending, Ending::TooMuchOutput);
}
