//! Tasks at a steady rate, their times, and an attacker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eigenshift_engine::AvsHandle;
use eigenshift_ledger::Phase;
use eigenshift_types::{Bytes, Outcome, TaskIndex, U256};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::stage::{FEED, Hosted, Kind, Stage, order};

/// Requests of the attacker under way.
const LANES: usize = 16;
/// How long an attack goes on before it is looked at.
const SWING: Duration = Duration::from_secs(10);
/// How long the last tasks of a load may take: longer than they live.
const LAST: Duration = Duration::from_secs(45);

/// How long tasks took.
#[derive(Default)]
pub struct Times {
    ended: Vec<(Kind, Duration)>,
    pub failed: usize,
}

impl Times {
    pub fn count(&self) -> usize {
        self.ended.len()
    }

    /// Milliseconds, of one kind or all.
    pub fn percentile(&self, kind: Option<Kind>, percent: usize) -> f64 {
        let wanted = self.ended.iter().filter(|(of, _)| kind.is_none_or(|kind| kind == *of));
        let mut times: Vec<Duration> = wanted.map(|(_, time)| *time).collect();
        times.sort_unstable();
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

#[derive(Default)]
struct Recorder {
    times: Mutex<Times>,
}

impl Recorder {
    /// Notes each task's time from when this node first sees it until it has ended there.
    async fn watch(self: Arc<Self>, kind: Kind, handle: AvsHandle) {
        let mut changes = handle.changes();
        let mut open: BTreeMap<TaskIndex, Instant> = BTreeMap::new();
        loop {
            let now = Instant::now();
            handle.read(|state| {
                for (index, task) in &state.tasks {
                    match &task.phase {
                        Phase::Closed(outcome) => {
                            let Some(since) = open.remove(index) else { continue };
                            let mut times = self.times.lock();
                            match outcome {
                                Outcome::Done | Outcome::Finalized { .. } => times.ended.push((kind, now - since)),
                                _ => times.failed += 1,
                            }
                        }
                        _ => {
                            open.entry(*index).or_insert(now);
                        }
                    }
                }
            });
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

pub struct Load<'a> {
    stage: &'a Stage,
    rate: f64,
    lasts: Duration,
    recorder: Arc<Recorder>,
    _watching: JoinSet<()>,
}

impl<'a> Load<'a> {
    pub fn new(stage: &'a Stage, rate: f64, lasts: Duration) -> Self {
        let recorder = Arc::new(Recorder::default());
        let mut watching = JoinSet::new();
        for (number, hosted) in honest(stage) {
            watching.spawn(Arc::clone(&recorder).watch(hosted.kind, hosted.leader(number).clone()));
        }
        Self { stage, rate, lasts, recorder, _watching: watching }
    }

    /// Asks the AVSs in turn for tasks, and waits until they have ended.
    pub async fn run(&self, name: &str) -> Times {
        let mut asking = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / self.rate));
        let honest: Vec<(usize, &Hosted)> = honest(self.stage).collect();
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < self.lasts {
            ticks.tick().await;
            let (at, hosted) = honest[number % honest.len()];
            let payload: Bytes = match hosted.kind {
                Kind::Squaring => Bytes::copy_from_slice(&U256::from(number).to_be_bytes::<32>()),
                Kind::Oracle => FEED.as_bytes().to_vec().into(),
                Kind::Hand => vec![order::ANSWER].into(),
            };
            let (handle, key) = (hosted.leader(at).clone(), format!("{name}-{number}"));
            asking.spawn(async move { handle.request_task(key, payload).await });
            number += 1;
        }
        let mut refused = 0;
        while let Some(asked) = asking.join_next().await {
            if let Err(error) = asked.unwrap() {
                eprintln!("{name}: {error}");
                refused += 1;
            }
        }
        let ended = || {
            let times = self.recorder.times.lock();
            times.ended.len() + times.failed
        };
        let deadline = Instant::now() + LAST;
        while ended() + refused < number && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut times = std::mem::take(&mut *self.recorder.times.lock());
        times.failed = number - times.ended.len();
        times
    }
}

/// All but the last.
fn honest(stage: &Stage) -> impl Iterator<Item = (usize, &Hosted)> {
    stage.hosted.iter().enumerate().take(stage.hosted.len() - 1)
}

/// The last AVS, whose tasks are all attacks.
pub struct Attack {
    handles: Vec<AvsHandle>,
    before: u64,
    _asking: JoinSet<()>,
}

impl Attack {
    pub async fn start(stage: &Stage) -> Self {
        let number = stage.hosted.len() - 1;
        let hosted = &stage.hosted[number];
        assert_eq!(hosted.kind, Kind::Hand);
        let mut asking = JoinSet::new();
        for lane in 0..LANES {
            let handle = hosted.leader(number).clone();
            asking.spawn(async move {
                for turn in 0.. {
                    let order = if lane % 2 == 0 { order::LOOP } else { order::BOMB };
                    // Without room it waits, and asks for the next.
                    let _ = handle.request_task(format!("attack-{lane}-{turn}"), vec![order].into()).await;
                }
            });
        }
        let handles = hosted.handles.clone();
        let before = failed(&handles);
        tokio::time::sleep(SWING).await;
        Self { handles, before, _asking: asking }
    }

    /// How many calls failed so far.
    pub fn stop(self) -> u64 {
        failed(&self.handles) - self.before
    }
}

fn failed(handles: &[AvsHandle]) -> u64 {
    handles.iter().map(|handle| handle.counters().get("no-answer", "retried")).sum()
}
