//! Who is not let in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eigenshift_consensus::{AskError, Error, Peer, PeerBook, Security, Transport, TransportOptions};
use eigenshift_env::Env;
use eigenshift_types::{B256, ClusterId, Epoch, NodeId};
use futures::FutureExt;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;

use crate::cluster::{Cluster, Node, Plan, key_of, loopback, soon};

const LIMIT: Duration = Duration::from_secs(10);

/// Answers everybody, and counts.
fn counting(node: &Node) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    node.group.on_ask(Arc::new(move |_, _, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(Bytes::new()) }.boxed()
    }));
    asked
}

/// Somebody who knows where the first node is, with a key and claims of its choice.
async fn caller(plan: &Plan, id: u64, seed: u8, target: &Node, directory: &TempDir) -> Node {
    let book = PeerBook::new();
    book.set(0, vec![target.peer()]);
    let path = directory.path().join(format!("{id}-{seed}-{}-{}", plan.cluster, plan.epoch));
    Node::start(plan, id, seed, loopback(), &path, book).await
}

fn code(result: Result<Bytes, AskError>) -> String {
    match result {
        Err(AskError::Refused { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_key_gets_no_further_than_the_handshake() {
    let cluster = Cluster::new(Plan::default());
    let first = cluster.first().await;
    let _second = cluster.learner(2, &first).await;
    let asked = counting(&first);
    // It claims to be the member that it is not.
    let stranger = caller(&cluster.plan, 2, 99, &first, &cluster.directory).await;
    let answer = stranger.group.ask(NodeId(1), "hello", Bytes::new(), LIMIT).await;
    assert!(matches!(answer, Err(AskError::Unreachable { .. } | AskError::NoAnswer { .. })), "{answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_at_a_members_url_is_not_talked_to() {
    let cluster = Cluster::new(Plan::default());
    let first = cluster.first().await;
    let second = cluster.learner(2, &first).await;
    let asked = counting(&second);
    let impostor = Peer { key: key_of(99).public(), ..second.peer() };
    let lost = Node::start(&cluster.plan, 3, 3, loopback(), &cluster.directory.path().join("3"), PeerBook::new()).await;
    lost.group.peers().set(0, vec![impostor]);
    let answer = lost.group.ask(NodeId(2), "hello", Bytes::new(), LIMIT).await;
    assert!(matches!(answer, Err(AskError::Unreachable { .. })), "{answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_members_key_does_not_speak_for_another_node_cluster_epoch_or_group() {
    let cluster = Cluster::new(Plan::default());
    let first = cluster.first().await;
    let second = cluster.learner(2, &first).await;
    let _third = cluster.learner(3, &first).await;
    let asked = counting(&first);
    assert_eq!(second.group.ask(NodeId(1), "hello", Bytes::new(), LIMIT).await.unwrap(), "");
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    let directory = TempDir::new().unwrap();
    let plan = &cluster.plan;
    let other = |plan: Plan, id| {
        let (first, directory) = (&first, &directory);
        async move {
            let node = caller(&plan, id, 2, first, directory).await;
            code(node.group.ask(NodeId(1), "hello", Bytes::new(), LIMIT).await)
        }
    };
    assert_eq!(other(plan.clone(), 3).await, "wrong-sender");
    assert_eq!(other(plan.clone(), 9).await, "stranger");
    assert_eq!(other(Plan { cluster: ClusterId(B256::repeat_byte(2)), ..plan.clone() }, 2).await, "wrong-cluster");
    assert_eq!(other(Plan { epoch: Epoch(1), ..plan.clone() }, 2).await, "wrong-epoch");
    assert_eq!(other(Plan { avs: "another".parse().unwrap(), ..plan.clone() }, 2).await, "unknown-group");

    // Addressed to somebody else at this URL.
    let node = caller(plan, 2, 2, &first, &TempDir::new().unwrap()).await;
    node.group.peers().set(1, vec![Peer { node: NodeId(8), ..first.peer() }]);
    assert_eq!(code(node.group.ask(NodeId(8), "hello", Bytes::new(), LIMIT).await), "wrong-receiver");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_is_refused_off_loopback_and_works_on_it() {
    let options = TransportOptions { listen: "0.0.0.0:0".parse().unwrap(), security: Security::InsecureLoopback };
    assert!(matches!(Transport::start(options, &Env::real()).await.map(drop), Err(Error::PlainTextOffLoopback(_))));

    let cluster = Cluster::new(Plan { secure: false, ..Plan::default() });
    let first = cluster.first().await;
    let second = cluster.voter(2, &first).await;
    let last = second.propose("in the clear").await;
    first.applied(last).await;
    assert_eq!(first.commands(), ["in the clear"]);
    first.group.peers().set(
        1_000,
        vec![
            first.peer(),
            second.peer(),
            Peer { node: NodeId(5), raft_url: "http://192.0.2.1:1".into(), key: key_of(5).public() },
        ],
    );
    let answer = first.group.ask(NodeId(5), "hello", Bytes::new(), LIMIT).await;
    assert!(matches!(&answer, Err(AskError::Unreachable { why, .. }) if why.contains("loopback")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_senseless_bodies_are_refused_and_the_group_goes_on() {
    let cluster = Cluster::new(Plan { secure: false, ..Plan::default() });
    let first = cluster.first().await;
    let stream = tokio::net::TcpStream::connect(first.url().strip_prefix("http://").unwrap()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (path, body, expected) in [
        ("/raft/1", vec![0; (8 << 20) + 1], 413),
        ("/raft/1", b"what?".to_vec(), 400),
        ("/raft/1", Vec::new(), 400),
        ("/", Vec::new(), 404),
    ] {
        let request =
            hyper::Request::post(format!("{}{path}", first.url())).body(Full::new(Bytes::from(body))).unwrap();
        let response = soon("a response", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{path}");
    }
    first.propose("unharmed").await;
}
