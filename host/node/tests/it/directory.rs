//! Data directories: in use, corrupt, another AVS's, a removed node's. Nothing is overwritten.

use std::path::PathBuf;

use eigenshift_engine::avs::StartError;
use eigenshift_engine::guard::GuardError;
use eigenshift_node::{Logic, Node, NodeError, identity};
use eigenshift_types::{Address, Outcome};

use crate::cluster::{AVS, Cluster, Plan, until, within};

fn refused<T>(result: Result<T, NodeError>) -> NodeError {
    result.err().expect("the node must not start")
}

impl Cluster {
    fn file(&self, number: usize, name: &str) -> PathBuf {
        self.operators[number].directory.join(name)
    }

    fn identity_file(&self) -> PathBuf {
        self.file(0, &format!("avs/{AVS}/identity"))
    }

    async fn refused(&self) -> NodeError {
        refused(self.try_run(0, self.native(0)).await)
    }

    /// Whether operator 0, sound again, works.
    async fn works(mut self) {
        let logic: Logic = self.native(0);
        self.run(0, logic).await;
        let index = self.request("works", *b"works").await;
        assert_eq!(self.ended(index).await.1, Outcome::Done);
        self.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_used_by_one_node_at_a_time() {
    let mut cluster = Cluster::start(Plan::of(1)).await;
    let directory = cluster.operators[0].directory.clone();
    let second = Node::start(cluster.env.clone(), cluster.node_options(0, &directory)).await;
    assert!(matches!(refused(second), NodeError::InUse(path) if path == directory));
    let index = cluster.request("undisturbed", *b"x").await;
    assert_eq!(cluster.ended(index).await.1, Outcome::Done);
    cluster.stop(0).await;
    cluster.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_files_stop_the_start_and_stay_as_they_are() {
    let mut cluster = Cluster::start(Plan::of(1)).await;
    let index = cluster.request("before", *b"x").await;
    cluster.ended(index).await;
    cluster.stop(0).await;
    let guard = format!("avs/{AVS}/guard.redb");
    let record = format!("avs/{AVS}/identity");
    for name in [record.as_str(), "raft/raft.redb", guard.as_str(), "node.key"] {
        let path = cluster.file(0, name);
        let sound = std::fs::read(&path).unwrap();
        let mut flipped = sound.clone();
        flipped[0] ^= 0xff;
        for corrupt in [flipped, sound[..sound.len() / 2].to_vec(), vec![0x5a; sound.len() + 1]] {
            std::fs::write(&path, &corrupt).unwrap();
            let error = cluster.refused().await;
            let expected = match &error {
                NodeError::Directory { path: named, .. } => *named == path,
                NodeError::Consensus(_) => name == "raft/raft.redb",
                // Any 32 bytes are a key; that it is not this node's shows at the guard.
                NodeError::Engine(StartError::Guard(GuardError::OtherNode { .. })) => name == "node.key",
                NodeError::Engine(StartError::Guard(_)) => name == guard,
                _ => false,
            };
            assert!(expected, "{name}: {error:?}");
            assert!(std::fs::read(&path).unwrap() == corrupt, "{name}: overwritten");
        }
        std::fs::write(&path, &sound).unwrap();
    }
    let guard = cluster.file(0, &guard);
    let sound = std::fs::read(&guard).unwrap();
    std::fs::remove_file(&guard).unwrap();
    let error = cluster.refused().await;
    assert!(matches!(error, NodeError::Engine(StartError::Guard(GuardError::Missing))), "{error:?}");
    assert!(!guard.exists());
    std::fs::write(&guard, sound).unwrap();
    cluster.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_avs_under_the_same_name_is_refused() {
    let mut cluster = Cluster::start(Plan::of(1)).await;
    cluster.stop(0).await;
    let before = std::fs::read(cluster.identity_file()).unwrap();
    let right = cluster.service.clone();
    cluster.service.service_manager = Address::repeat_byte(0x77);
    assert!(matches!(cluster.refused().await, NodeError::OtherRecord));
    cluster.service = right.clone();
    cluster.service.chain_id += 1;
    assert!(matches!(cluster.refused().await, NodeError::OtherRecord));
    cluster.service = right;
    assert!(std::fs::read(cluster.identity_file()).unwrap() == before);
    cluster.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_avs_twice_on_one_node_is_refused() {
    let mut cluster = Cluster::start(Plan::of(1)).await;
    let options = cluster.avs_options(0, cluster.native(0)).await;
    let (node, _) = cluster.operators[0].running.as_mut().unwrap();
    assert!(matches!(refused(node.add(options).await), NodeError::Duplicate));
    let index = cluster.request("undisturbed", *b"x").await;
    assert_eq!(cluster.ended(index).await.1, Outcome::Done);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_joins_anew_replaces_its_node_which_does_not_start_again() {
    let mut cluster = Cluster::start(Plan::of(3)).await;
    let old_directory = cluster.operators[2].directory.clone();
    let (old_node, old_handle) = cluster.operators[2].running.take().unwrap();
    let old_id = old_handle.identity().node;
    cluster.operators[2].directory = cluster.directory.path().join("operator-2-again");
    cluster.run(2, cluster.native(2)).await;
    assert_ne!(cluster.handle(2).identity().node, old_id);
    let mut removed = old_handle.group().removed();
    within("the old node is told", removed.wait_for(|removed| *removed)).await.unwrap();
    let record = || {
        let directory = old_directory.join("avs").join(AVS);
        identity::read(&cluster.env, &directory).unwrap().unwrap()
    };
    until("the removal is on disk", || record().removed).await;
    assert_eq!(record().node, old_id);
    drop(old_handle);
    within("the old node's end", old_node.shutdown()).await;
    let before = record();

    let new_directory = std::mem::replace(&mut cluster.operators[2].directory, old_directory.clone());
    let error = refused(cluster.try_run(2, cluster.native(2)).await);
    assert!(matches!(error, NodeError::Removed { node } if node == old_id), "{error:?}");
    let directory = old_directory.join("avs").join(AVS);
    assert_eq!(identity::read(&cluster.env, &directory).unwrap().unwrap(), before);
    cluster.operators[2].directory = new_directory;

    // All three are needed for 67 percent: the new node signs.
    let index = cluster.request("after", *b"x").await;
    let (task, outcome) = cluster.ended(index).await;
    assert_eq!((outcome, cluster.signers(&task)), (Outcome::Done, vec![0, 1, 2]));
    cluster.end().await;
}
