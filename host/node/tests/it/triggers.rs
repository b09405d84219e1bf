//! Triggers that a bundle's manifest has.

use std::sync::Arc;

use eigenshift_engine::callbacks::Callbacks;
use eigenshift_engine::wasm::WasmCallbacks;
use eigenshift_env::Env;
use eigenshift_ledger::{Phase, State, TriggerId};
use eigenshift_plugin::{EventFilter, Grants, Host, HostOptions};
use eigenshift_types::{Address, B256, Outcome};

use crate::cluster::{Cluster, Plan, wait};
use crate::rounds::{active, signature};
use crate::swap;
use crate::versions::triggered;

const OFTEN: &str = "[[trigger]]\ntype = \"timer\"\nname = \"often\"\nevery = \"1s\"";

/// Tasks of the timer that ended well.
fn done(state: &State) -> usize {
    let often = |trigger: &TriggerId| matches!(trigger, TriggerId::Timer { name, .. } if name == "often");
    state.tasks.values().filter(|task| often(&task.trigger) && task.phase == Phase::Closed(Outcome::Done)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_of_the_manifest_makes_tasks_as_long_as_its_version_is_active() {
    let (silent, timed) = (triggered(""), triggered(OFTEN));
    let cluster = swap::start(&silent).await;
    swap::deploy(&cluster, 0, &timed).await;
    active(&cluster, timed.digest()).await;
    wait(cluster.handle(1), "tasks of the timer", |state| (done(state) >= 3).then_some(())).await;
    let (sequence, signature) = signature(&cluster.service, cluster.handle(0), silent.digest());
    cluster.handle(1).propose_former(silent.digest(), sequence, signature).await.unwrap();
    active(&cluster, silent.digest()).await;
    cluster.handle(0).read(|state| {
        assert!(state.tasks.values().all(|task| task.spec.bundle_digest == timed.digest()), "nothing else makes tasks");
    });
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_manifest_are_looked_for_beside_those_that_the_plugin_names() {
    let cluster = Cluster::prepare(&Plan::of(1)).await;
    let event = "[[trigger]]\ntype = \"event\"\naddress = \"0x2222222222222222222222222222222222222222\"\ntopics = [\"0x1111111111111111111111111111111111111111111111111111111111111111\"]";
    let host = Host::new(HostOptions::default(), &Env::real()).unwrap();
    let plugin = host.load(triggered(&format!("{event}\n{OFTEN}")), &Grants::all()).await.unwrap();
    let callbacks = WasmCallbacks::new(plugin, cluster.service.clone(), Arc::clone(&cluster.chain) as _);
    let source = callbacks.source().unwrap();
    let filter = EventFilter { address: Address::repeat_byte(0x22), topics0: vec![B256::repeat_byte(0x11)] };
    assert_eq!(source.event_filters().await.unwrap(), [filter]);
    assert_eq!(source.timers().len(), 1);
}
