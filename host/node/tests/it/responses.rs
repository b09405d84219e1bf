//! Bad responses over HTTP: each is refused with its own code and counted, and the task is done all the same.

use eigenshift_engine::Identity;
use eigenshift_node::identity;
use eigenshift_types::{
    B256, Bytes, ClusterId, Epoch, NodeId, NodeKey, NodeSignature, Outcome, ResponseEnvelope, ResponseKey, TaskIndex,
};
use serde_json::json;

use crate::cluster::{AVS, Cluster, Plan, sticky, until};
use crate::http::{Answer, ask, post, text};
use crate::logic;

/// One operator's own material, as its own software would use it.
struct Sender {
    identity: Identity,
    node_key: NodeKey,
    bls: std::sync::Arc<eigenshift_bls::SecretKey>,
}

impl Sender {
    fn of(cluster: &Cluster, number: usize) -> Self {
        let operator = &cluster.operators[number];
        Self {
            identity: cluster.handle(number).identity(),
            node_key: identity::node_key(&cluster.env, &operator.directory).unwrap(),
            bls: operator.keys.bls.clone(),
        }
    }

    fn sign(&self, payload: &Bytes) -> Bytes {
        self.bls.sign(logic::digest(payload)).encode()
    }

    /// What it would send in good faith, but for the envelope's signature.
    fn plain(&self, task: TaskIndex, payload: Bytes) -> ResponseEnvelope {
        ResponseEnvelope {
            cluster_id: self.identity.cluster,
            epoch: self.identity.epoch,
            node: self.identity.node,
            task,
            assignment_epoch: 0,
            key: logic::key(),
            digest: logic::digest(&payload),
            signature: self.sign(&payload),
            payload,
            extension: Bytes::new(),
            envelope_signature: NodeSignature::default(),
        }
    }

    fn good(&self, task: TaskIndex, request: &[u8]) -> ResponseEnvelope {
        self.plain(task, logic::payload(task, 0, request)).signed(&self.node_key)
    }

    /// The good one with a change that its sender signs.
    fn with(&self, task: TaskIndex, change: impl FnOnce(&mut ResponseEnvelope)) -> ResponseEnvelope {
        let mut envelope = self.plain(task, logic::payload(task, 0, b"task"));
        change(&mut envelope);
        envelope.signed(&self.node_key)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_response_has_its_code_and_is_counted_and_the_task_is_done() {
    let plan = Plan {
        settings: |settings| {
            sticky(settings);
            settings.retention = 1;
        },
        ..Plan::of(4)
    };
    let cluster = Cluster::start(plan).await;
    let forgotten = cluster.request("forgotten", *b"task").await;
    cluster.ended(forgotten).await;
    let ended = cluster.request("ended", *b"task").await;
    cluster.ended(ended).await;
    assert!(cluster.handle(0).read(|state| !state.tasks.contains_key(&forgotten)));

    cluster.set_gates(false);
    let task = cluster.request("open", *b"task").await;
    let aggregator = cluster.leader().await;
    let [bad, other, third] = [1, 2, 3].map(|step| Sender::of(&cluster, (aggregator + step) % 4));
    let (env, path) = (&cluster.env, cluster.path("responses"));
    let at = cluster.http_url(aggregator);
    let send = async |envelope: &ResponseEnvelope| post(env, &at, &path, envelope).await;
    let counters = cluster.handle(aggregator).counters();
    let accepted = |answer: &Answer, counted: bool| {
        assert_eq!((answer.status, &answer.body["counted"]), (200, &json!(counted)), "{answer:?}");
    };

    // Too early for the aggregator to look at it, it is parked; sent again, it is counted at the latest now.
    let honest = other.good(task, b"task");
    while send(&honest).await.body["counted"] != json!(true) {}
    accepted(&send(&honest).await, true);
    accepted(&send(&honest).await, true);

    let stranger = ResponseEnvelope { node: NodeId(1 << 40), ..bad.plain(task, logic::payload(task, 0, b"task")) };
    let forged = bad.plain(task, logic::payload(task, 0, b"task")).signed(&third.node_key);
    let mut tampered = bad.good(task, b"task");
    tampered.extension = vec![1].into();
    let unsigned = bad.plain(task, logic::payload(task, 0, b"task"));
    let wrong_key = ResponseKey::new(b"other".to_vec()).unwrap();
    let own = Sender::of(&cluster, aggregator).plain(task, logic::payload(task, 0, b"task"));
    let cases: Vec<(&str, ResponseEnvelope, u16, &str)> = vec![
        ("the aggregator's own, unsigned", own, 403, "bad-envelope"),
        ("non-member", stranger.signed(&bad.node_key), 403, "not-a-member"),
        ("forged envelope", forged, 403, "bad-envelope"),
        ("tampered envelope", tampered, 403, "bad-envelope"),
        ("unsigned envelope", unsigned, 403, "bad-envelope"),
        ("other cluster", bad.with(task, |e| e.cluster_id = ClusterId(B256::repeat_byte(9))), 409, "wrong-cluster"),
        ("other epoch", bad.with(task, |e| e.epoch = Epoch(1)), 409, "wrong-cluster"),
        ("forgotten task", bad.good(forgotten, b"task"), 410, "task-ended"),
        ("ended task", bad.good(ended, b"task"), 410, "task-ended"),
        ("wrong digest", bad.with(task, |e| e.digest = B256::repeat_byte(1)), 422, "wrong-digest"),
        ("other key", bad.with(task, |e| e.key = wrong_key), 422, "wrong-digest"),
        (
            "another task's answer",
            bad.plain(task, logic::payload(ended, 0, b"task")).signed(&bad.node_key),
            422,
            "wrong-digest",
        ),
        ("refused by the logic", bad.with(task, |e| e.payload = vec![1].into()), 422, "no-answer"),
        ("a mine", bad.with(task, |e| e.payload = logic::payload(task, 0, logic::MINE)), 503, "plugin-trap"),
        ("off the curve", bad.with(task, |e| e.signature = vec![1; 64].into()), 422, "malformed-signature"),
        ("cut signature", bad.with(task, |e| e.signature = e.signature.slice(..63)), 422, "malformed-signature"),
        ("point at infinity", bad.with(task, |e| e.signature = vec![0; 64].into()), 422, "malformed-signature"),
        (
            "somebody else's signature",
            bad.with(task, |e| e.signature = third.sign(&e.payload)),
            422,
            "incorrect-signature",
        ),
        (
            "signature over something else",
            bad.with(task, |e| e.signature = bad.sign(&logic::payload(task, 7, b""))),
            422,
            "incorrect-signature",
        ),
        (
            "a second answer",
            other.plain(task, logic::payload(task, 1, b"task")).signed(&other.node_key),
            422,
            "equivocation",
        ),
    ];
    for (what, envelope, status, code) in cases {
        let before = counters.get("response-refused", code);
        let answer = send(&envelope).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{what}: {answer:?}");
        assert!(counters.get("response-refused", code) > before, "{what}: counted");
    }
    // What the logic makes up is no label: it could make up any number of them.
    let metrics = text(env, &at, "/metrics").await;
    let line = |code: &str| format!("events_total{{avs=\"{AVS}\",event=\"response-refused\",code=\"{code}\"}}");
    assert!(metrics.contains(&line("other")) && metrics.contains(&line("task-ended")), "{metrics}");
    assert!(!metrics.contains(&line("no-answer")), "{metrics}");
    until("the evidence is kept", || counters.get("equivocation", "kept") == 1).await;
    let listed = ask(env, &at, "GET", &cluster.path("evidence"), &[], &[]).await;
    let evidence: Vec<eigenshift_engine::evidence::Evidence> = serde_json::from_value(listed.body).unwrap();
    let [evidence] = evidence.as_slice() else { panic!("{evidence:?}") };
    assert!(evidence.holds());
    // Whoever judges it runs the logic on both payloads.
    for answer in [&evidence.first, &evidence.second] {
        assert_eq!(logic::digest(&answer.payload), answer.digest);
    }

    // A task that may come: parked, not counted.
    accepted(&send(&bad.good(task + 1, b"task")).await, false);
    // Somebody who does not aggregate says who does.
    let elsewhere = (aggregator + 1) % 4;
    let answer = post(env, &cluster.http_url(elsewhere), &path, &third.good(task, b"task")).await;
    assert_eq!(answer.refusal(), (409, "not-aggregator".to_owned()));

    for (body, status, code) in [
        (b"{".to_vec(), 400, "malformed"),
        (b"{}".to_vec(), 400, "malformed"),
        (vec![b' '; 161 * 1024], 413, "too-large"),
    ] {
        let before = counters.get("response-refused", code);
        let answer = ask(env, &at, "POST", &path, &[], &body).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()));
        assert_eq!(counters.get("response-refused", code), before + 1);
    }

    cluster.set_gates(true);
    let (closed, outcome) = cluster.ended(task).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(closed.certificates[&logic::key()].payload, logic::payload(task, 0, b"task"));
    cluster.end().await;
}

/// Guessing costs something: after so many wrong signatures a sender is not listened to for this task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_floods_is_cut_off_and_the_task_is_done() {
    let cluster = Cluster::start(Plan { settings: sticky, ..Plan::of(4) }).await;
    let aggregator = cluster.leader().await;
    let flooder = (aggregator + 1) % 4;
    cluster.set_gates(false);
    let task = cluster.request("open", *b"task").await;
    let sender = Sender::of(&cluster, flooder);
    let counters = cluster.handle(aggregator).counters();
    let receive = async |envelope| cluster.handle(aggregator).receive(envelope).await;
    let early = |result: &Result<_, _>| matches!(result, Ok(eigenshift_engine::Ack { counted: false, .. }));
    let mut sent = 0_u32;
    loop {
        // Always another one, so that no memory of the last one makes it cheap.
        let envelope = sender.with(task, |e| e.payload = sent.to_be_bytes()[2..].to_vec().into());
        let result = receive(envelope).await;
        if early(&result) {
            continue;
        }
        sent += 1;
        let code = result.unwrap_err().code().to_owned();
        if code == "too-many-responses" {
            break;
        }
        assert_eq!(code, "no-answer");
        assert!(sent < 1000, "never cut off");
    }
    until("the refusals are counted", || counters.get("response-refused", "too-many-responses") > 0).await;
    cluster.set_gates(true);
    assert_eq!(cluster.ended(task).await.1, Outcome::Done);
    cluster.end().await;
}
