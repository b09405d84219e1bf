//! Instances that are kept from call to call.

use eigenshift_env::Env;
use eigenshift_plugin::{Bundle, Grants, Host, HostOptions, Plugin};

use crate::fixtures::{self, chain, load, options, task};
use crate::guest::{ANSWER, Guest, SCRATCH, manifest, result};

/// Answers how often its instance was asked, after doing this.
fn counting(after: &str, limits: &str, calls: u32) -> Guest {
    let mut guest = Guest::with(
        "on-task-request",
        &format!(
            "(global.set $asked (i32.add (global.get $asked) (i32.const 1))) {after}
             (i32.store (i32.const {ANSWER}) (global.get $asked)) {}",
            result(&[0, SCRATCH + 12, 1, ANSWER, 4])
        ),
    );
    guest.extra = "(global $asked (mut i32) (i32.const 0))".to_owned();
    guest.manifest = manifest("", &format!("{limits}\n[runtime]\nreuse-calls = {calls}"));
    guest
}

async fn ask(plugin: &Plugin) -> u8 {
    plugin.on_task_request(&task(), chain()).await.unwrap()[0][0]
}

async fn asked(plugin: &Plugin, times: usize) -> Vec<u8> {
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(ask(plugin).await);
    }
    answers
}

#[tokio::test]
async fn an_instance_serves_as_many_calls_as_the_manifest_says() {
    for (calls, answers) in [(0, [1, 1, 1, 1, 1]), (1, [1, 1, 1, 1, 1]), (3, [1, 2, 3, 1, 2]), (5, [1, 2, 3, 4, 5])] {
        let plugin = load(&counting("", "", calls)).await.unwrap();
        assert_eq!(asked(&plugin, 5).await, answers, "of {calls}");
        let reused = answers.iter().filter(|answer| **answer > 1).count() as u64;
        assert_eq!(plugin.counters().reused, reused);
    }
}

#[tokio::test]
async fn a_callback_never_has_an_instance_of_another_one() {
    let mut guest = counting("", "", 100);
    let submit = guest.bodies.iter_mut().find(|(name, _)| name.ends_with("#on-submit-task-to-leader")).unwrap().1;
    *submit = format!("(global.set $asked (i32.const 100)) {submit}");
    let plugin = load(&guest).await.unwrap();
    for answer in 1..5 {
        assert_eq!(ask(&plugin).await, answer);
        plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap();
    }
}

#[tokio::test]
async fn what_fails_in_a_kept_instance_is_run_again_in_a_fresh_one() {
    let third = |what: &str| format!("(if (i32.eq (global.get $asked) (i32.const 3)) (then {what}))");
    let left = "(drop (memory.grow (i32.const 8)))
        (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)) (i32.const 1))
        (if (i32.gt_u (memory.size) (i32.const 26)) (then unreachable))";
    for (after, limits) in [
        (third("unreachable"), ""),
        (third("(loop $l (br $l))"), "fuel = 1_000_000"),
        (third("(drop (memory.grow (i32.const 60000))) unreachable"), ""),
        // 3, 11, 19 pages, then 27.
        (left.to_owned(), "memory-bytes = 4_194_304"),
    ] {
        let plugin = load(&counting(&after, limits, 100)).await.unwrap();
        assert_eq!(asked(&plugin, 5).await, [1, 2, 1, 2, 1], "{after}");
        assert_eq!(plugin.counters().failed, 0, "no caller saw any of it");
    }
}

#[tokio::test]
async fn what_fails_in_a_fresh_instance_fails_and_is_not_kept() {
    let plugin = load(&counting("unreachable", "", 100)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap_err().code(), "plugin-trap");
    }
    assert_eq!((plugin.counters().failed, plugin.counters().reused), (3, 0));
}

#[tokio::test]
async fn a_call_has_the_same_fuel_in_a_kept_instance() {
    // What is left is less than a second loop would need, but for the fuel that a new call has.
    let after = "(global.set $i (i32.const 0))
        (loop $l (global.set $i (i32.add (global.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (global.get $i) (i32.const 100000))))";
    let mut guest = counting(after, "fuel = 1_000_000", 100);
    guest.extra.push_str("(global $i (mut i32) (i32.const 0))");
    let plugin = load(&guest).await.unwrap();
    assert_eq!(asked(&plugin, 4).await, [1, 2, 3, 4]);
}

async fn load_with(options: HostOptions, bundles: &[Bundle]) -> (Host, Vec<Plugin>) {
    let host = Host::new(options, &Env::real()).unwrap();
    let mut plugins = Vec::new();
    for bundle in bundles {
        plugins.push(host.load(bundle.clone(), &Grants::all()).await.unwrap());
    }
    (host, plugins)
}

#[tokio::test]
async fn kept_instances_never_take_the_place_of_a_call() {
    let bundles: Vec<Bundle> = (0..6).map(|_| counting("", "", 100).bundle()).collect();
    for warm_instances in [0, 1, 2] {
        let options = HostOptions { call_slots: 1, slots_per_plugin: 1, warm_instances, ..options() };
        let (_host, plugins) = load_with(options, &bundles).await;
        for _ in 0..5 {
            for plugin in &plugins {
                ask(plugin).await;
            }
        }
        let served: Vec<u64> = plugins.iter().map(|plugin| plugin.counters().reused).collect();
        assert!(warm_instances > 0 || served.iter().all(|served| *served == 0), "{served:?}");
    }
}

#[tokio::test]
async fn memory_of_kept_instances_is_bounded() {
    // 3 pages each: one fits, two do not.
    let options = HostOptions { warm_memory_bytes: 300_000, ..options() };
    let bundles = [counting("", "", 100).bundle(), counting("", "", 100).bundle()];
    let (_host, plugins) = load_with(options, &bundles).await;
    assert_eq!((ask(&plugins[0]).await, ask(&plugins[1]).await), (1, 1));
    let again = [ask(&plugins[0]).await, ask(&plugins[1]).await];
    assert!(again.contains(&1), "{again:?}: both were kept");
    let options = HostOptions { warm_memory_bytes: 100_000, ..fixtures::options() };
    let (_host, plugins) = load_with(options, &bundles).await;
    assert_eq!(asked(&plugins[0], 3).await, [1, 1, 1], "larger than all that may be kept");
}

#[tokio::test]
async fn an_avs_that_keeps_many_leaves_the_others_theirs() {
    let options = HostOptions { warm_instances: 5, ..options() };
    let host = Host::new(options, &Env::real()).unwrap();
    let (greedy, modest) = (host.tenant(), host.tenant());
    let load = async |tenant| host.load_for(tenant, counting("", "", 100).bundle(), &Grants::all()).await.unwrap();
    let one = load(&modest).await;
    let many =
        [load(&greedy).await, load(&greedy).await, load(&greedy).await, load(&greedy).await, load(&greedy).await];
    for round in 1..4 {
        assert_eq!(ask(&one).await, round);
        for plugin in &many {
            ask(plugin).await;
        }
    }
}
