//! The async service: batching, cancelling, stalling, ending.

use std::sync::Arc;
use std::time::Duration;

use eigenshift_aggregation::core::INCORRECT_LIMIT;
use eigenshift_aggregation::{Accepted, Event, Events, Expiry, Handle, Options, Service, Share, ShareError};
use eigenshift_bls::Curve;
use eigenshift_env::threads::Job;
use eigenshift_env::{Env, Pool, sim::World};
use eigenshift_types::{Bytes, Certificate};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use tokio::sync::mpsc;

use crate::fixture::{CURVES, Cluster, both_curves, digest, held_pool, in_time, key, ms, quorums};

fn start(options: Options, pool: Pool) -> (Handle, Events, Env) {
    let env = Env::simulated(&World::default(), 1);
    let (handle, events) = Service::start(options, &env, pool);
    (handle, events, env)
}

async fn certified(events: &mut Events) -> Certificate {
    match events.next().await {
        Some(Event::Certified(certificate)) => certificate,
        other => panic!("{other:?}"),
    }
}

async fn a_batch_with_bad_shares_loses_no_good_one_and_names_the_bad(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 24);
    let (handle, mut events, _) = start(Options::default(), Pool::inline());
    handle.open(cluster.task(1, &[80], ms(10))).unwrap();
    let bad = [3, 11, 12];
    let shares = (0..24).map(|operator| {
        let mut share = cluster.share(1, "k", operator, 1);
        if bad.contains(&operator) {
            share.signature = cluster.share(1, "k", operator, 2).signature;
        }
        share
    });
    let answers = join_all(shares.map(|share| handle.submit(share))).await;
    for (operator, answer) in answers.into_iter().enumerate() {
        let expected = if bad.contains(&operator) { Err(ShareError::Incorrect) } else { Ok(Accepted::Counted) };
        assert_eq!(answer, expected, "operator {operator}");
    }
    let certificate = certified(&mut events).await;
    let expected: Vec<usize> = (0..24).filter(|operator| !bad.contains(operator)).collect();
    assert_eq!(cluster.signers(&quorums(&[80]), &certificate), expected);
}

#[tokio::test(start_paused = true)]
async fn shares_that_queue_up_are_verified_in_one_batch() {
    let cluster = Cluster::equal(6);
    let (pool, mut jobs) = held_pool();
    let (handle, mut events, env) = start(Options { concurrency: 1, ..Options::default() }, pool);
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let submit = |operator| {
        let (handle, share) = (handle.clone(), cluster.share(1, "k", operator, 1));
        env.spawn(async move { handle.submit(share).await })
    };
    let mut callers = vec![submit(0)];
    let first = jobs.recv().await.unwrap();
    callers.extend((1..6).map(submit));
    while handle.waiting() < 6 {
        tokio::task::yield_now().await;
    }
    assert!(jobs.try_recv().is_err(), "one batch at a time");
    first();
    let rest = jobs.recv().await.unwrap();
    rest();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Accepted::Counted));
    }
    assert!(jobs.try_recv().is_err(), "the other five were one batch");
    assert_eq!(cluster.signers(&quorums(&[100]), &certified(&mut events).await).len(), 6);
}

async fn a_lone_share_is_verified_at_once(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, _events, env) = start(Options::default(), Pool::inline());
    handle.open(cluster.task(1, &[100], ms(1000))).unwrap();
    let before = env.clock.monotonic();
    assert_eq!(handle.submit(cluster.share(1, "k", 0, 1)).await, Ok(Accepted::Counted));
    assert_eq!(env.clock.monotonic(), before);
    assert_eq!(handle.progress(1).unwrap()[0].percent, [50]);
}

async fn the_window_ends_by_the_clock(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let (handle, mut events, env) = start(Options::default(), Pool::inline());
    handle.open(cluster.task(1, &[30], ms(700))).unwrap();
    let before = env.clock.monotonic();
    handle.submit(cluster.share(1, "k", 0, 1)).await.unwrap();
    let certificate = certified(&mut events).await;
    let waited = env.clock.monotonic() - before;
    assert!(waited >= ms(700) && waited < ms(710), "{waited:?}");
    assert_eq!(cluster.signers(&quorums(&[30]), &certificate), [0]);
    assert_eq!(handle.submit(cluster.share(1, "k", 1, 1)).await, Ok(Accepted::AlreadyCertified { digest: digest(1) }));
}

/// D5, D6: elsewhere a caller that timed out wedged or ended the task.
#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_harms_nobody_and_its_share_counts() {
    let cluster = Cluster::equal(2);
    let (pool, mut jobs) = held_pool();
    let (handle, mut events, _) = start(Options::default(), pool);
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let mut caller = Box::pin(handle.submit(cluster.share(1, "k", 0, 1)));
    assert!(caller.as_mut().now_or_never().is_none());
    drop(caller);
    let other = handle.submit(cluster.share(1, "k", 1, 1));
    let work = async {
        while let Some(job) = jobs.recv().await {
            job();
        }
    };
    tokio::select! {
        answer = in_time(other) => assert_eq!(answer, Ok(Accepted::Counted)),
        () = work => panic!("the pool ended"),
    }
    assert_eq!(cluster.signers(&quorums(&[100]), &certified(&mut events).await), [0, 1]);
}

/// While its share is being decoded or verified, whichever; it sends again, and that counts if the first did not.
async fn a_caller_that_goes_away_at_any_moment_harms_nobody(curve: Curve) {
    let cluster = Arc::new(Cluster::equal_on(curve, 3));
    for jobs_before in 0..3 {
        let (pool, mut jobs) = held_pool();
        let (handle, mut events, env) = start(Options::default(), pool);
        handle.open(cluster.task(1, &[100], ms(0))).unwrap();
        let mut caller = Box::pin(handle.submit(cluster.share(1, "k", 0, 1)));
        assert!(caller.as_mut().now_or_never().is_none());
        for _ in 0..jobs_before {
            tokio::task::yield_now().await;
            if let Ok(job) = jobs.try_recv() {
                job();
            }
            if caller.as_mut().now_or_never().is_some() {
                break;
            }
        }
        drop(caller);
        drop(env.spawn(async move {
            while let Some(job) = jobs.recv().await {
                job();
            }
        }));
        for operator in [1, 2] {
            let answer = in_time(handle.submit(cluster.share(1, "k", operator, 1))).await;
            assert_eq!(answer, Ok(Accepted::Counted));
        }
        let again = in_time(handle.submit(cluster.share(1, "k", 0, 1))).await;
        assert!(matches!(again, Ok(Accepted::Counted | Accepted::Duplicate)), "{again:?}");
        let certificate = in_time(certified(&mut events)).await;
        assert_eq!(cluster.signers(&quorums(&[100]), &certificate), [0, 1, 2]);
    }
}

/// D3: elsewhere a late signature for a finished task stopped the whole service.
async fn late_shares_and_a_stalled_reader_of_events_hold_up_nobody(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, mut events, _) = start(Options::default(), Pool::inline());
    for task in 0..50 {
        handle.open(cluster.task(task, &[100], ms(0))).unwrap();
        for operator in 0..2 {
            assert_eq!(handle.submit(cluster.share(task, "k", operator, 1)).await, Ok(Accepted::Counted));
        }
        handle.close(task);
        let late = handle.submit(cluster.share(task, "k", 0, 1)).await;
        assert_eq!(late, Err(ShareError::NotOpen(task)));
    }
    for task in 0..50 {
        assert_eq!(certified(&mut events).await.task, task);
    }
    assert!(events.next().now_or_never().is_none());
}

async fn a_verdict_after_the_task_was_closed_counts_for_nothing(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let (pool, mut jobs) = held_pool();
    let (handle, mut events, env) = start(Options::default(), pool);
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let (caller, share) = (handle.clone(), cluster.share(1, "k", 0, 1));
    let caller = env.spawn(async move { caller.submit(share).await });
    let job = jobs.recv().await.unwrap();
    handle.close(1);
    job();
    assert_eq!(caller.await.unwrap(), Err(ShareError::NotOpen(1)));
    assert!(events.next().now_or_never().is_none());
}

async fn the_same_share_twice_at_once_counts_once_and_both_are_answered(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, _events, _) = start(Options::default(), Pool::inline());
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let answers = join_all((0..3).map(|_| handle.submit(cluster.share(1, "k", 0, 1)))).await;
    assert_eq!(answers, [Ok(Accepted::Counted), Ok(Accepted::Duplicate), Ok(Accepted::Duplicate)]);
    let forged = Share { digest: digest(9), ..cluster.share(1, "k", 1, 1) };
    let answers = join_all((0..2).map(|_| handle.submit(forged.clone()))).await;
    assert_eq!(answers, [Err(ShareError::Incorrect); 2]);
}

async fn beyond_the_queue_callers_are_told_to_come_again(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 4);
    let options = Options { max_waiting: 2, ..Options::default() };
    let (handle, _events, _) = start(options, Pool::inline());
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let answers = join_all((0..4).map(|operator| handle.submit(cluster.share(1, "k", operator, 1)))).await;
    assert_eq!(answers, [Ok(Accepted::Counted), Ok(Accepted::Counted), Err(ShareError::Busy), Err(ShareError::Busy)]);
    // Once the queue is drained there is room again.
    assert_eq!(handle.submit(cluster.share(1, "k", 2, 1)).await, Ok(Accepted::Counted));
    assert_eq!(handle.waiting(), 0);
}

async fn one_operator_has_one_share_per_key_in_the_queue(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, _events, _) = start(Options::default(), Pool::inline());
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let shares = [1, 2].map(|answer| handle.submit(cluster.share(1, "k", 0, answer)));
    assert_eq!(join_all(shares).await, [Ok(Accepted::Counted), Err(ShareError::Busy)]);
}

async fn work_that_the_pool_drops_is_answered(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 1);
    let (pool, jobs) = held_pool();
    drop(jobs);
    let (handle, _events, _) = start(Options::default(), pool);
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    assert_eq!(handle.submit(cluster.share(1, "k", 0, 1)).await, Err(ShareError::Closed));
    assert_eq!(handle.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_service_ends_with_its_last_handle() {
    let (handle, mut events, _) = start(Options::default(), Pool::inline());
    let second = handle.clone();
    drop(handle);
    assert!(events.next().now_or_never().is_none());
    drop(second);
    assert_eq!(events.next().await, None);
}

async fn a_key_certified_elsewhere_is_not_certified_here(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 3);
    let (handle, mut events, env) = start(Options::default(), Pool::inline());
    handle.open(cluster.task(1, &[30], ms(100))).unwrap();
    assert!(handle.is_open(1));
    handle.submit(cluster.share(1, "k", 0, 1)).await.unwrap();
    handle.mark_certified(1, &key("k"), digest(1));
    env.clock.sleep(Duration::from_secs(1)).await;
    handle.close(1);
    assert!(events.next().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_on_real_threads_are_all_certified() {
    for curve in CURVES {
        let cluster = Arc::new(Cluster::equal_on(curve, 8));
        let env = Env::real();
        let pool = env.threads.pool("bls", 2, 64).unwrap();
        let (handle, mut events) = Service::start(Options { max_batch: 16, ..Options::default() }, &env, pool);
        for task in 0..12 {
            handle.open(cluster.task(task, &[100], ms(0))).unwrap();
        }
        let mut callers = Vec::new();
        for operator in 0..8 {
            let (handle, cluster) = (handle.clone(), Arc::clone(&cluster));
            callers.push(env.spawn(async move {
                for task in 0..12 {
                    let answer = handle.submit(cluster.share(task, "k", operator, 1)).await;
                    assert_eq!(answer, Ok(Accepted::Counted));
                }
            }));
        }
        for caller in callers {
            caller.await.unwrap();
        }
        let mut tasks = Vec::new();
        for _ in 0..12 {
            let certificate = certified(&mut events).await;
            assert_eq!(cluster.signers(&quorums(&[100]), &certificate).len(), 8);
            tasks.push(certificate.task);
        }
        tasks.sort_unstable();
        assert_eq!(tasks, (0..12).collect::<Vec<_>>());
    }
}

async fn a_task_ends_by_the_clock_or_with_its_block(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 2);
    let (handle, mut events, _) = start(Options::default(), Pool::inline());
    for (task, expiry) in [(1, Expiry::After(ms(30))), (2, Expiry::AtBlock(9))] {
        let mut opened = cluster.task(task, &[100], ms(0));
        opened.expiry = expiry;
        handle.open(opened).unwrap();
    }
    assert_eq!(events.next().await, Some(Event::Ended { task: 1 }));
    assert!(handle.is_open(2));
    handle.at_block(9);
    assert_eq!(events.next().await, Some(Event::Ended { task: 2 }));
    assert_eq!(handle.submit(cluster.share(2, "k", 0, 1)).await, Err(ShareError::Expired(2)));
}

#[tokio::test(start_paused = true)]
async fn one_operator_cannot_fill_the_queue_with_keys_that_it_makes_up() {
    let cluster = Cluster::equal(2);
    let (pool, jobs) = held_pool();
    let (handle, _, _) = start(Options::default(), pool);
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    let mut tried = Vec::new();
    for n in 0..200 {
        let mut share = cluster.share(1, &format!("k{n}"), 0, 1);
        share.signature = cluster.share(1, "k", 0, 2).signature;
        tried.push(handle.submit(share).boxed().shared());
        let _ = tried.last().unwrap().clone().now_or_never();
    }
    let refused = tried.iter().filter(|answer| answer.peek() == Some(&Err(ShareError::Busy))).count();
    assert_eq!((refused, handle.waiting()), (168, 32));
    drop(jobs);
}

/// Rounds of honest work, each beside whatever the flood does: how much curve arithmetic an honest quorum waits for.
#[tokio::test(start_paused = true)]
async fn an_operator_that_sends_wrong_signatures_is_verified_apart_from_the_others_and_after_them() {
    let cluster = Cluster::equal(8);
    let (pool, mut jobs) = held_pool();
    let (handle, mut events, _) = start(Options { concurrency: 1, ..Options::default() }, pool);
    let mut run = async || {
        let job = jobs.recv().await.unwrap();
        job();
        // The driver takes the verdicts in.
        tokio::time::sleep(ms(1)).await;
    };
    let bad = |task: u32, n: u32| {
        let mut share = cluster.share(task, &format!("made-up-{n}"), 7, 1);
        share.signature = cluster.share(task, "k", 7, 2).signature;
        handle.submit(share).boxed().shared()
    };
    handle.open(cluster.task(1, &[75], ms(0))).unwrap();
    let found_out = bad(1, 0);
    assert!(found_out.clone().now_or_never().is_none());
    run().await;
    assert_eq!(found_out.await, Err(ShareError::Incorrect));
    for task in 2..12 {
        handle.open(cluster.task(task, &[75], ms(0))).unwrap();
        let flood: Vec<_> = (0..1000).map(|n| bad(task, n)).collect();
        for sent in &flood {
            let _ = sent.clone().now_or_never();
        }
        let honest: Vec<_> =
            (0..6).map(|operator| handle.submit(cluster.share(task, "k", operator, 1)).boxed().shared()).collect();
        for sent in &honest {
            assert!(sent.clone().now_or_never().is_none());
        }
        tokio::time::sleep(ms(1)).await;
        // At most the few of the flood that are being verified come first; then all the honest in one batch.
        run().await;
        if honest.iter().any(|sent| sent.clone().now_or_never().is_none()) {
            run().await;
        }
        let counted = |sent: &Shared<BoxFuture<'_, Result<Accepted, ShareError>>>| {
            sent.clone().now_or_never() == Some(Ok(Accepted::Counted))
        };
        assert!(honest.iter().all(counted), "task {task}");
        let certificate = certified(&mut events).await;
        assert_eq!(cluster.signers(&quorums(&[75]), &certificate), [0, 1, 2, 3, 4, 5]);
        handle.close(task);
        drop(flood);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_signatures_from_one_member_costs_a_few_verifications_and_no_quorum() {
    const FLOOD: u32 = 100_000;
    for curve in [Curve::Bn254, Curve::Bls12381] {
        let stakes: &[u128] = &[100];
        let cluster = Cluster::on(curve, &[stakes; 4]);
        let (sender, mut jobs) = mpsc::channel::<Job>(16);
        let (handle, mut events, env) = start(Options::default(), Pool::over(sender));
        for task in 1..=3 {
            handle.open(cluster.task(task, &[75], ms(0))).unwrap();
        }
        let worker = env.spawn(async move {
            let mut done = 0;
            while let Some(job) = jobs.recv().await {
                job();
                done += 1;
            }
            done
        });
        // A signature by the right key over something else, and what is no signature.
        let wrong = cluster.share(1, "k", 3, 2).signature;
        let none = Bytes::from_static(&[0xff; 64]);
        let flood = (0..FLOOD).map(|number| {
            let signature = if number % 2 == 0 { wrong.clone() } else { none.clone() };
            Share { signature, ..cluster.share_unsigned(1 + number % 3, "k", 3, 1) }
        });
        for (number, share) in flood.enumerate() {
            let answer = handle.submit(share).await;
            assert!(matches!(
                answer,
                Err(ShareError::Incorrect | ShareError::Malformed(_) | ShareError::TooManyIncorrect { .. })
            ));
            // In the midst of it the others answer.
            if number == 50_000 {
                for operator in 0..3 {
                    assert_eq!(handle.submit(cluster.share(1, "k", operator, 1)).await, Ok(Accepted::Counted));
                }
                assert_eq!(cluster.signers(&quorums(&[75]), &certified(&mut events).await), [0, 1, 2]);
            }
        }
        drop(handle);
        let verified = worker.await.unwrap();
        // At most INCORRECT_LIMIT of each task were looked at, decoded and verified on the pool, and three good ones.
        assert!(verified <= 2 * (3 * INCORRECT_LIMIT + 3), "{verified} jobs over {curve}");
    }
}

both_curves! {
    ;
    a_batch_with_bad_shares_loses_no_good_one_and_names_the_bad,
    a_lone_share_is_verified_at_once,
    the_window_ends_by_the_clock,
    a_caller_that_goes_away_at_any_moment_harms_nobody,
    late_shares_and_a_stalled_reader_of_events_hold_up_nobody,
    a_verdict_after_the_task_was_closed_counts_for_nothing,
    the_same_share_twice_at_once_counts_once_and_both_are_answered,
    beyond_the_queue_callers_are_told_to_come_again,
    one_operator_has_one_share_per_key_in_the_queue,
    work_that_the_pool_drops_is_answered,
    a_key_certified_elsewhere_is_not_certified_here,
    a_task_ends_by_the_clock_or_with_its_block
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_while_its_signature_is_decoded_is_counted_all_the_same() {
    let cluster = Cluster::equal_on(Curve::Bls12381, 2);
    let (pool, mut jobs) = held_pool();
    let (handle, mut events, env) = start(Options::default(), pool);
    handle.open(cluster.task(1, &[100], ms(0))).unwrap();
    assert!(handle.submit(cluster.share(1, "k", 0, 1)).now_or_never().is_none());
    drop(env.spawn(async move {
        while let Some(job) = jobs.recv().await {
            job();
        }
    }));
    assert_eq!(handle.submit(cluster.share(1, "k", 1, 1)).await, Ok(Accepted::Counted));
    assert_eq!(cluster.signers(&quorums(&[100]), &in_time(certified(&mut events)).await), [0, 1]);
}
