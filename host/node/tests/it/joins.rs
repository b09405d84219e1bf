//! Bad joins over HTTP: each is refused with its own code, counted, and changes nothing.

use eigenshift_chain::{Chain, Wallet};
use eigenshift_engine::join::Challenge;
use eigenshift_types::{Address, B256, BlockRef, ClusterId, Join, NodeId, NodeKey, SignedJoin};
use serde_json::Value;

use crate::cluster::{Cluster, Plan};
use crate::http::{Answer, ask, post};

/// How often a join whose block grew old on the way is made anew.
const TRIES: usize = 20;

/// Joins of operator 1 to a cluster that operator 0 runs alone.
struct Door {
    cluster: Cluster,
    url: String,
}

impl Door {
    async fn open() -> Self {
        let cluster = Cluster::start(Plan { running: 1, ..Plan::of(2) }).await;
        let url = cluster.http_url(0);
        Self { cluster, url }
    }

    async fn challenge(&self) -> Challenge {
        let path = self.cluster.path("join/challenge");
        let answer = post(&self.cluster.env, &self.url, &path, &()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_value(answer.body).unwrap()
    }

    /// What operator 1 would say in good faith.
    async fn message(&self) -> Join {
        let challenge = self.challenge().await;
        Join {
            service: challenge.service,
            cluster_id: challenge.cluster_id,
            operator: self.wallet().address(),
            raft_url: "https://127.0.0.1:9".to_owned(),
            http_url: "http://127.0.0.1:9".to_owned(),
            node_key: NodeKey::from_seed(&[9; 32]).public(),
            block: self.cluster.chain.head().await.unwrap().block,
            issuer: challenge.issuer,
            challenge: challenge.challenge,
        }
    }

    fn wallet(&self) -> &Wallet {
        &self.cluster.operators[1].keys.wallet
    }

    async fn send(&self, signed: &SignedJoin) -> Answer {
        post(&self.cluster.env, &self.url, &self.cluster.path("join"), signed).await
    }

    fn members(&self) -> usize {
        self.cluster.handle(0).read(|state| state.members.len())
    }

    fn count(&self, code: &str) -> u64 {
        self.cluster.handle(0).counters().get("join-refused", code)
    }

    /// A good join, changed, then signed by `wallet`: what comes back.
    async fn refused(&self, what: &str, wallet: &Wallet, change: impl Fn(&mut Join), expected: (u16, &str)) {
        for _ in 0..TRIES {
            let mut join = self.message().await;
            change(&mut join);
            let before = self.count(expected.1);
            let answer = self.send(&wallet.sign_join(join).unwrap()).await;
            let found = answer.refusal();
            // On a busy machine two blocks may pass on the way.
            if found.1 == "stale-block" && expected.1 != "stale-block" {
                continue;
            }
            assert_eq!(found, (expected.0, expected.1.to_owned()), "{what}: {answer:?}");
            assert_eq!(self.count(expected.1), before + 1, "{what}: counted");
            assert_eq!(self.members(), 1, "{what}: nobody joined");
            return;
        }
        panic!("{what}: the block was too old {TRIES} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_join_has_its_code_and_lets_nobody_in() {
    let door = Door::open().await;
    let own = door.wallet().clone();
    let stranger = Wallet::random(&door.cluster.env).unwrap();
    let (env, path) = (door.cluster.env.clone(), door.cluster.path("join"));

    for (what, body, status, code) in [
        ("no JSON", b"{\"join\":".to_vec(), 400, "malformed"),
        ("no join", b"{}".to_vec(), 400, "malformed"),
        ("not even text", vec![0xff, 0xfe, 0], 400, "malformed"),
        ("nothing", Vec::new(), 400, "malformed"),
        ("too large", vec![b' '; 17 * 1024], 413, "too-large"),
    ] {
        let before = door.count(code);
        let answer = ask(&env, &door.url, "POST", &path, &[], &body).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{what}: {answer:?}");
        assert_eq!(door.count(code), before + 1, "{what}");
    }
    let mut extra = serde_json::to_value(own.sign_join(door.message().await).unwrap()).unwrap();
    extra["trust-me"] = Value::Bool(true);
    let answer = post(&env, &door.url, &path, &extra).await;
    assert_eq!(answer.refusal(), (400, "malformed".to_owned()), "an unknown field");

    let old = door.cluster.chain.header_by_number(1).await.unwrap().unwrap().block;
    door.refused("unknown challenge", &own, |join| join.challenge = B256::repeat_byte(1), (403, "unknown-challenge"))
        .await;
    door.refused("another issuer's", &own, |join| join.issuer = NodeId(77), (403, "unknown-challenge")).await;
    door.refused("stale block", &own, |join| join.block = old, (409, "stale-block")).await;
    let made_up = |join: &mut Join| join.block = BlockRef { hash: B256::repeat_byte(2), ..join.block };
    door.refused("made-up block", &own, made_up, (409, "stale-block")).await;
    let far = |join: &mut Join| join.block.number += 1_000_000;
    door.refused("future block", &own, far, (409, "stale-block")).await;
    let other_avs = |join: &mut Join| join.service.avs = "other".parse().unwrap();
    door.refused("another AVS", &own, other_avs, (409, "wrong-avs")).await;
    door.refused("another chain", &own, |join| join.service.chain_id += 1, (409, "wrong-avs")).await;
    let other_manager = |join: &mut Join| join.service.service_manager = Address::repeat_byte(8);
    door.refused("another service manager", &own, other_manager, (409, "wrong-avs")).await;
    let other_cluster = |join: &mut Join| join.cluster_id = ClusterId(B256::repeat_byte(3));
    door.refused("another cluster", &own, other_cluster, (409, "wrong-cluster")).await;
    let unregistered = |join: &mut Join| join.operator = stranger.address();
    door.refused("unregistered", &stranger, unregistered, (403, "not-registered")).await;
    for url in ["", "ftp://127.0.0.1:1", "http://127.0.0.1", "127.0.0.1:80", "http://:80", "not a url"] {
        door.refused(url, &own, |join| join.http_url = url.to_owned(), (422, "bad-url")).await;
        door.refused(url, &own, |join| join.raft_url = url.to_owned(), (422, "bad-url")).await;
    }
    let tls = |join: &mut Join| join.http_url = join.http_url.replacen("http", "https", 1);
    door.refused("responses over TLS, which nobody could post", &own, tls, (422, "bad-url")).await;
    let long = format!("http://{}.example:80", "a".repeat(300));
    door.refused("long URL", &own, |join| join.http_url.clone_from(&long), (422, "bad-url")).await;
    door.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_its_operator_did_not_sign_is_refused() {
    let door = Door::open().await;
    let own = door.wallet().clone();
    let stranger = Wallet::random(&door.cluster.env).unwrap();
    // Signed by somebody else: the wallet refuses to, so the signature is put together by hand.
    let join = door.message().await;
    let signature = stranger.sign_hash(join.signing_hash()).unwrap();
    let forged = SignedJoin { join, signature };
    // Changed after it was signed.
    let mut changed = own.sign_join(door.message().await).unwrap();
    changed.join.http_url = "http://127.0.0.1:10".to_owned();
    let cut = SignedJoin { signature: vec![1; 64].into(), ..own.sign_join(door.message().await).unwrap() };
    for (what, signed) in [("forged", forged), ("changed", changed), ("cut", cut)] {
        let answer = door.send(&signed).await;
        assert_eq!(answer.refusal(), (403, "bad-signature".to_owned()), "{what}");
    }
    assert_eq!((door.count("bad-signature"), door.members()), (3, 1));
    door.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_counts_once() {
    let door = Door::open().await;
    for _ in 0..TRIES {
        let signed = door.wallet().sign_join(door.message().await).unwrap();
        let answer = door.send(&signed).await;
        if answer.status == 409 && answer.body["code"] == "stale-block" {
            continue;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(door.members(), 2);
        let applied = door.cluster.handle(0).read(|state| state.members.keys().copied().collect::<Vec<_>>());
        let again = door.send(&signed).await;
        assert_eq!(again.refusal(), (403, "unknown-challenge".to_owned()));
        assert_eq!(door.cluster.handle(0).read(|state| state.members.keys().copied().collect::<Vec<_>>()), applied);
        assert_eq!(door.count("unknown-challenge"), 1);
        door.cluster.end().await;
        return;
    }
    panic!("the block was too old {TRIES} times");
}
