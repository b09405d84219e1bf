//! An aggregator that is killed and built anew, at every step: D14. What is left of it is what the ledger holds; operators
//! send again.

use std::collections::BTreeMap;
use std::time::Duration;

use eigenshift_aggregation::core::Core;
use eigenshift_aggregation::{Accepted, Event, Events, Handle, KeyStage, Options, Service, Share, TaskAggregation};
use eigenshift_bls::Curve;
use eigenshift_env::{Env, Pool, sim::World};
use eigenshift_types::{B256, ResponseKey};
use futures::FutureExt;

use crate::fixture::{Cluster, both_curves, digest, give, in_time, key, ms, quorums};

const OPERATORS: usize = 5;
const KEYS: [&str; 2] = ["eur", "usd"];
const WINDOW: Duration = Duration::from_millis(20);

/// What survives: the first certificate of each key.
#[derive(Default)]
struct Ledger(BTreeMap<ResponseKey, Vec<B256>>);

impl Ledger {
    /// Every certificate that reaches it holds, and is over the digest of the first.
    fn log(&mut self, cluster: &Cluster, events: &[Event]) {
        for event in events {
            let Event::Certified(certificate) = event else { panic!("{event:?}") };
            assert!(cluster.signers(&quorums(&[60]), certificate).len() >= 3);
            let logged = self.0.entry(certificate.key.clone()).or_default();
            assert_eq!(certificate.digest, digest(1));
            logged.push(certificate.digest);
        }
    }

    /// What a new aggregator is told.
    fn certified(&self) -> Vec<(ResponseKey, B256)> {
        self.0.iter().map(|(key, digests)| (key.clone(), digests[0])).collect()
    }

    fn assert_one_of_each_key(&self, when: &str) {
        let count = |name: &str| self.0.get(&key(name)).map_or(0, Vec::len);
        assert_eq!((KEYS.map(count), self.0.len()), ([1, 1], 2), "{when}");
    }
}

/// Every operator's share for every key, by turns.
fn shares(cluster: &Cluster) -> Vec<Share> {
    (0..OPERATORS).flat_map(|operator| KEYS.map(|name| cluster.share(1, name, operator, 1))).collect()
}

fn task(cluster: &Cluster, ledger: &Ledger, window: Duration) -> TaskAggregation {
    TaskAggregation { certified: ledger.certified(), ..cluster.task(1, &[60], window) }
}

/// Killed after so many shares; `lost`: before what it made last was logged.
fn the_core_killed_at_any_step_costs_no_certificate_and_makes_no_second_one(curve: Curve) {
    let cluster = Cluster::equal_on(curve, OPERATORS);
    let shares = shares(&cluster);
    for window in [Duration::ZERO, WINDOW] {
        for (killed, lost) in (0..=shares.len()).flat_map(|killed| [(killed, false), (killed, true)]) {
            let when = format!("killed after {killed}, lost: {lost}, window: {window:?}");
            let mut ledger = Ledger::default();
            let mut core = Core::new(1);
            core.open(task(&cluster, &ledger, window), ms(0)).unwrap();
            for (number, share) in shares[..killed].iter().enumerate() {
                let events = give(&mut core, share, ms(0)).1;
                if !lost || number + 1 < killed {
                    ledger.log(&cluster, &events);
                }
            }
            let mut core = Core::new(1);
            core.open(task(&cluster, &ledger, window), ms(5)).unwrap();
            for share in &shares {
                let (answer, events) = give(&mut core, share, ms(5));
                assert!(answer.is_ok(), "{when}: {answer:?}");
                ledger.log(&cluster, &events);
            }
            ledger.log(&cluster, &core.tick(ms(5) + WINDOW));
            ledger.assert_one_of_each_key(&when);
            assert!(core.close(1).is_empty(), "{when}");
        }
    }
}

fn service() -> (Handle, Events, Env) {
    let env = Env::simulated(&World::default(), 1);
    let (handle, events) = Service::start(Options::default(), &env, Pool::inline());
    (handle, events, env)
}

/// Everything that is there to be read.
fn drain(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

async fn the_service_killed_at_any_step_costs_no_certificate_and_makes_no_second_one(curve: Curve) {
    let cluster = Cluster::equal_on(curve, OPERATORS);
    let shares = shares(&cluster);
    for window in [Duration::ZERO, WINDOW] {
        for (killed, lost) in (0..=shares.len()).flat_map(|killed| [(killed, false), (killed, true)]) {
            let when = format!("killed after {killed}, lost: {lost}, window: {window:?}");
            let mut ledger = Ledger::default();
            let (handle, mut events, _) = service();
            handle.open(task(&cluster, &ledger, window)).unwrap();
            for (number, share) in shares[..killed].iter().enumerate() {
                in_time(handle.submit(share.clone())).await.unwrap();
                if !lost || number + 1 < killed {
                    ledger.log(&cluster, &drain(&mut events));
                }
            }
            drop(handle);
            let (handle, mut events, env) = service();
            handle.open(task(&cluster, &ledger, window)).unwrap();
            for share in &shares {
                let answer = in_time(handle.submit(share.clone())).await;
                assert!(answer.is_ok(), "{when}: {answer:?}");
            }
            env.clock.sleep(WINDOW + ms(2)).await;
            ledger.log(&cluster, &drain(&mut events));
            ledger.assert_one_of_each_key(&when);
            handle.close(1);
            assert_eq!(drain(&mut events), [], "{when}");
        }
    }
}

/// The certificate was made and told of, and is lost with the one who was to log it.
async fn a_service_killed_between_certificate_and_log_makes_it_again(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let mut made = Vec::new();
    for _ in 0..2 {
        let (handle, mut events, _) = service();
        handle.open(cluster.task(1, &[100], ms(0))).unwrap();
        for operator in 0..3 {
            assert_eq!(handle.submit(cluster.share(1, "k", operator, 1)).await, Ok(Accepted::Counted));
        }
        drop(handle);
        // Told of before it ended, and then nothing more.
        let Some(Event::Certified(certificate)) = in_time(events.next()).await else { panic!("no certificate") };
        assert_eq!(in_time(events.next()).await, None);
        assert_eq!(cluster.signers(&quorums(&[100]), &certificate), [0, 1, 2]);
        made.push(certificate);
    }
    // Of the same signers, to the byte: whoever logs both logs one.
    assert_eq!(made[0], made[1]);
}

/// Two of three had signed and the third was waited for.
async fn a_service_killed_within_the_window_begins_it_again(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 4);
    let (handle, mut events, env) = service();
    handle.open(cluster.task(1, &[50], ms(500))).unwrap();
    for operator in [0, 1] {
        assert_eq!(handle.submit(cluster.share(1, "k", operator, 1)).await, Ok(Accepted::Counted));
    }
    env.clock.sleep(ms(100)).await;
    assert_eq!(handle.progress(1).unwrap()[0].stage, KeyStage::Window);
    drop(handle);
    assert_eq!(in_time(events.next()).await, None, "a window that was killed certifies nothing");

    let (handle, mut events, env) = service();
    handle.open(cluster.task(1, &[50], ms(500))).unwrap();
    let began = env.clock.monotonic();
    for operator in [2, 1, 0] {
        assert_eq!(handle.submit(cluster.share(1, "k", operator, 1)).await, Ok(Accepted::Counted));
    }
    let Some(Event::Certified(certificate)) = in_time(events.next()).await else { panic!("no certificate") };
    assert_eq!(cluster.signers(&quorums(&[50]), &certificate), [0, 1, 2]);
    assert!(env.clock.monotonic() - began >= ms(500));
    handle.close(1);
    assert_eq!(drain(&mut events), []);
}

/// The ledger has the certificate of the window that the killed aggregator had ended.
async fn a_service_built_anew_does_not_certify_what_the_ledger_holds(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let (handle, mut events, env) = service();
    let mut opened = cluster.task(1, &[60], ms(50));
    opened.certified = vec![(key("k"), digest(1))];
    handle.open(opened).unwrap();
    for operator in 0..3 {
        let answer = handle.submit(cluster.share(1, "k", operator, 1)).await;
        assert_eq!(answer, Ok(Accepted::AlreadyCertified { digest: digest(1) }));
    }
    env.clock.sleep(ms(100)).await;
    handle.close(1);
    assert_eq!(drain(&mut events), []);
}

both_curves! {
    the_core_killed_at_any_step_costs_no_certificate_and_makes_no_second_one;
    the_service_killed_at_any_step_costs_no_certificate_and_makes_no_second_one,
    a_service_killed_between_certificate_and_log_makes_it_again,
    a_service_killed_within_the_window_begins_it_again,
    a_service_built_anew_does_not_certify_what_the_ledger_holds
}
