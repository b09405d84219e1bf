//! Bundles that must first run in the shadow, or be approved by each operator.

use eigenshift_ledger::State;
use eigenshift_ledger::command::{Shadow, shadow_hash};
use eigenshift_ledger::settings::Mode;
use eigenshift_node::{Approval, Logic, identity};
use eigenshift_plugin::{Bundle, Grants};
use eigenshift_types::{B256, Outcome};
use serde_json::json;

use crate::cluster::{Cluster, Plan, until, wait};
use crate::http::ask;
use crate::rounds::{active, publisher, roll_back};
use crate::swap::{deploy, start};
use crate::versions::{keeper, same, scribbler, version as numbered};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_wants_to_be_asked_has_a_bundle_ready_when_it_says_so_and_its_word_stands_after_a_restart() {
    let (first, second) = (numbered(0, 0), numbered(1, 0));
    let plan = Plan {
        settings: |settings| {
            settings.publishers = vec![publisher().address()];
            settings.rotation.mode = Mode::Assignment;
        },
        ..Plan::of(3)
    };
    let mut cluster = Cluster::prepare(&plan).await;
    cluster.operators[2].approval = Approval::Manual;
    let logic = || Logic::Plugin(first.clone(), Grants::all());
    for number in 0..3 {
        cluster.run(number, logic()).await;
    }
    cluster.wait_voters(3).await;
    let refused = cluster.handle(2).approve_bundle(second.digest()).await.unwrap_err();
    assert_eq!(refused.code(), "unknown-bundle");
    deploy(&cluster, 0, &second).await;
    let ready = |state: &State| (state.bundle_reports.get(&second.digest())?.ready.len() == 2).then_some(());
    wait(cluster.handle(2), "the others are ready", ready).await;
    let loaded = |cluster: &Cluster| cluster.handle(2).status().bundles.loaded.contains(&second.digest());
    until("it is loaded", || loaded(&cluster)).await;
    cluster.stop(2).await;
    cluster.run(2, logic()).await;
    until("it is loaded again", || loaded(&cluster)).await;
    let status = cluster.handle(2).status().bundles;
    assert_eq!((status.unapproved, status.active), (vec![second.digest()], first.digest()));
    assert!(cluster.handle(0).status().bundles.unapproved.is_empty());
    assert!(cluster.handle(2).read(|state| ready(state)).is_some(), "it has not reported");

    cluster.handle(2).approve_bundle(second.digest()).await.unwrap();
    active(&cluster, second.digest()).await;
    // What it configured needs no other word.
    roll_back(&cluster.service, cluster.handle(1), first.digest()).await;
    active(&cluster, first.digest()).await;
    cluster.stop(2).await;
    cluster.run(2, logic()).await;
    roll_back(&cluster.service, cluster.handle(0), second.digest()).await;
    active(&cluster, second.digest()).await;
    cluster.end().await;
}

async fn deploy_shadowed(cluster: &Cluster, bundle: &Bundle, shadow: Shadow) {
    let sequence = cluster.handle(0).read(|state| state.activations);
    let hash = shadow_hash(&cluster.service, bundle.digest(), sequence, shadow);
    let signature = publisher().sign_hash(hash).unwrap();
    let proposed = cluster.handle(0).propose_shadowed(bundle.to_bytes(), sequence, shadow, signature).await.unwrap();
    assert_eq!(proposed, bundle.digest());
    for number in cluster.live() {
        let started = || cluster.handle(number).status().bundles.shadows.contains_key(&bundle.digest());
        until("it runs in the shadow", started).await;
    }
}

/// How many tasks were compared at an operator, and how many differ.
fn compared(cluster: &Cluster, number: usize, bundle: &Bundle) -> (u32, u32) {
    let shadows = cluster.handle(number).status().bundles.shadows;
    shadows.get(&bundle.digest()).map_or((0, 0), |shadow| (shadow.compared, shadow.different))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_in_the_shadow_is_ready_after_its_tasks_or_refused_when_too_many_of_its_answers_differ() {
    let first = numbered(0, 0);
    let cluster = start(&first).await;
    let ask = async |key: String| {
        let index = cluster.request(&key, [7; 32]).await;
        let (task, outcome) = cluster.ended(index).await;
        assert_eq!(outcome, Outcome::Done, "{key}");
        task.spec.bundle_digest
    };
    let other = numbered(1, 0);
    deploy_shadowed(&cluster, &other, Shadow { tasks: 9, differences: 1 }).await;
    for task in 1..=2 {
        assert_eq!(ask(format!("against another-{task}")).await, first.digest());
        for number in cluster.live() {
            until("it is compared", || compared(&cluster, number, &other) == (task, task)).await;
        }
    }
    for number in cluster.live() {
        let refused = |state: &State| (state.bundle_reports.get(&other.digest())?.refused.len() == 3).then_some(());
        wait(cluster.handle(number), "everybody refuses it", refused).await;
    }
    let why = cluster.handle(0).read(|state| state.bundle_reports[&other.digest()].refused.values().next().cloned());
    assert!(why.as_ref().is_some_and(|why| why.contains("2 of 2 tasks")), "{why:?}");

    let same = same(1);
    deploy_shadowed(&cluster, &same, Shadow { tasks: 2, differences: 0 }).await;
    assert_eq!(ask("one".to_owned()).await, first.digest());
    for number in cluster.live() {
        until("it is compared", || compared(&cluster, number, &same) == (1, 0)).await;
    }
    assert_eq!(ask("two".to_owned()).await, first.digest(), "one was not enough");
    active(&cluster, same.digest()).await;
    assert_eq!(ask("three".to_owned()).await, same.digest());
    for number in cluster.live() {
        until("nothing runs in the shadow", || cluster.handle(number).status().bundles.shadows.is_empty()).await;
        assert_eq!(cluster.handle(number).evidence().len(), 0, "nothing of it was signed");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_in_the_shadow_reads_what_is_kept_and_writes_nothing() {
    let first = keeper(0);
    let cluster = start(&first).await;
    let ask = async |text: &str| {
        let index = cluster.request(text, text.as_bytes().to_vec()).await;
        let task = cluster.ended(index).await.0;
        String::from_utf8(task.certificates.values().next().unwrap().payload.to_vec()).unwrap()
    };
    assert_eq!(ask("first").await, "first");
    let second = scribbler(1);
    deploy_shadowed(&cluster, &second, Shadow { tasks: 2, differences: 0 }).await;
    assert_eq!(ask("not kept").await, "first");
    for number in cluster.live() {
        until("it found the same", || compared(&cluster, number, &second) == (1, 0)).await;
    }
    assert_eq!(ask("nor this").await, "first");
    active(&cluster, second.digest()).await;
    // Now it writes.
    assert_eq!(ask("kept").await, "first");
    assert_eq!(ask("last").await, "kept");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_takes_bundles_with_their_terms_and_an_operators_word() {
    let plan =
        Plan { settings: |settings| settings.publishers = vec![publisher().address()], admin: true, ..Plan::of(1) };
    let mut cluster = Cluster::prepare(&plan).await;
    cluster.operators[0].approval = Approval::Manual;
    cluster.run(0, Logic::Plugin(numbered(0, 0), Grants::all())).await;
    cluster.wait_voters(1).await;
    let admin = format!("http://{}", cluster.node(0).admin_addr().unwrap());
    let token = identity::admin_token(&cluster.env, &cluster.operators[0].directory).unwrap();
    let authorized = format!("Bearer {}", token.as_str());
    let post = async |rest: &str, body: &[u8]| {
        let headers = [("authorization", authorized.as_str())];
        ask(&cluster.env, &admin, "POST", &cluster.path(rest), &headers, body).await
    };
    let next = same(1);
    let shadow = Shadow { tasks: 1, differences: 0 };
    let signature = publisher().sign_hash(shadow_hash(&cluster.service, next.digest(), 0, shadow)).unwrap();
    let signed = format!("bundles?sequence=0&signature={signature}");
    let terms = format!("{signed}&shadow_tasks=1&shadow_differences=0");
    let bytes = next.to_bytes();
    for (rest, status, code) in [
        ("bundles".to_owned(), 400, "malformed"),
        (format!("{signed}&shadow_tasks=many"), 400, "malformed"),
        (format!("{signed}&colour=red"), 400, "malformed"),
        // Neither without the terms nor with others is it what the publisher signed.
        (signed.clone(), 422, "invalid-bundle"),
        (format!("{signed}&shadow_tasks=2"), 422, "invalid-bundle"),
    ] {
        assert_eq!(post(&rest, &bytes).await.refusal(), (status, code.to_owned()), "{rest}");
    }
    let approval = |digest: B256| json!({ "digest": digest }).to_string();
    let word = approval(next.digest());
    assert_eq!(post("bundles/approve", word.as_bytes()).await.refusal(), (422, "unknown-bundle".to_owned()));
    assert_eq!(post("bundles/approve", b"{}").await.refusal(), (400, "malformed".to_owned()));

    let proposed = post(&terms, &bytes).await;
    assert_eq!((proposed.status, &proposed.body["digest"]), (200, &json!(next.digest())));
    assert_eq!(post("bundles/approve", word.as_bytes()).await.status, 200);
    until("it runs in the shadow", || cluster.handle(0).status().bundles.shadows.contains_key(&next.digest())).await;
    let index = cluster.request("compared", [7; 32]).await;
    assert_eq!(cluster.ended(index).await.0.spec.bundle_digest, numbered(0, 0).digest());
    active(&cluster, next.digest()).await;
    cluster.end().await;
}
