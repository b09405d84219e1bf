//! An AVS with native Rust callbacks: three operators in one process count the words of a text.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_chain::{Chain, EmbeddedChain, EmbeddedOptions, Wallet};
use eigenshift_env::Env;
use eigenshift_ledger::Settings;
use eigenshift_ledger::settings::Policy;
use eigenshift_node::local::{deploy_registry, enrol, loopback, setup};
use eigenshift_node::native::{
    NativeAvs, OperatorRaftConfig, Rejection, SignedTaskResponse, TaskConsensusCallbacks, TaskConsensusManager,
    new_avs_consensus_engine,
};
use eigenshift_node::{Curve, OperatorKeys};
use eigenshift_types::{Address, B256, Outcome, ResponseKey, Service, TaskIndex, keccak256};
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};

/// `T`: what is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Text {
    text: String,
}

/// `K`: what is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    task: TaskIndex,
    words: u64,
}

/// `S`: the answer, and which version of the counter gave it.
type Signed = SignedTaskResponse<Count>;

type Manager = TaskConsensusManager<Text, Count, Signed>;

/// What a contract would compute of the answer.
fn digest(count: &Count) -> B256 {
    keccak256([count.task.to_be_bytes().as_slice(), &count.words.to_be_bytes()].concat())
}

fn key() -> Result<ResponseKey, Rejection> {
    ResponseKey::new(b"words".to_vec())
        .map_err(|error| Rejection { code: "bad-key".into(), message: error.to_string() })
}

fn callbacks(chain: &Arc<dyn Chain>, registry: Address) -> TaskConsensusCallbacks<Text, Count, Signed> {
    let directory = Arc::clone(chain);
    TaskConsensusCallbacks {
        version: "word-counter 1".into(),
        max_keys: 1,
        on_task_request: Box::new(|task| {
            async move {
                let words = task.request.text.split_whitespace().count() as u64;
                Ok(vec![Count { task: task.index, words }])
            }
            .boxed()
        }),
        on_submit_task_to_leader: Box::new(|_, counts, signer| {
            async move {
                for count in counts {
                    let (signed, digest) = (Signed { response: count.clone() }, digest(&count));
                    // A key of fixed length is never refused.
                    if let Ok(key) = key() {
                        signer.sign(key, &signed, digest).await?;
                    }
                }
                Ok(())
            }
            .boxed()
        }),
        on_leader_process_task_response: Box::new(|task, _operator, signed| {
            if signed.response.task != task.index {
                return Err(Rejection { code: "wrong-task".into(), message: "the answer is to another task".into() });
            }
            Ok((task.index, key()?, digest(&signed.response)))
        }),
        is_registered_operator: Box::new(move |block, operator| {
            let chain = Arc::clone(&directory);
            async move {
                let registered =
                    eigenshift_chain::registry::is_registered(chain.as_ref(), registry, operator, block.hash);
                registered.await.map_err(|error| eigenshift_node::native::CallError::Unavailable(error.to_string()))
            }
            .boxed()
        }),
        // This AVS keeps no list of URLs: the one in the join is taken.
        fetch_operator_url: Box::new(|_, _| async { Ok(None) }.boxed()),
        reports_submissions: true,
    }
}

async fn wait_for(env: &Env, what: &str, mut check: impl AsyncFnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let deadline = env.clock.monotonic() + Duration::from_secs(60);
    while !check().await {
        if env.clock.monotonic() > deadline {
            return Err(format!("{what}: not within a minute").into());
        }
        env.clock.sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Puts a certificate on chain: here a plain transaction that carries the digest.
async fn submit(env: &Env, chain: &dyn Chain, wallet: &Wallet, digest: B256) -> Result<B256, Box<dyn Error>> {
    let receipt = setup(chain, env, wallet).send(wallet.address(), digest.to_vec()).await?;
    Ok(receipt.tx)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // One provider for whatever speaks TLS in this process; a second call would change nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let env = Env::real();
    let folder = tempfile::tempdir()?;
    let owner = Wallet::random(&env)?;
    let operators = (0..3).map(|_| OperatorKeys::random(&env, Curve::Bn254)).collect::<Result<Vec<_>, _>>()?;
    let mut funded: Vec<Address> = operators.iter().map(|operator| operator.wallet.address()).collect();
    funded.push(owner.address());
    let block_interval = Duration::from_millis(100);
    let chain = EmbeddedChain::start(EmbeddedOptions { funded, block_interval, ..EmbeddedOptions::default() }, &env)?;
    let chain: Arc<dyn Chain> = Arc::new(chain);
    let by_owner = setup(chain.as_ref(), &env, &owner);
    let registry = deploy_registry(&by_owner, Curve::Bn254).await?;
    enrol(&by_owner, registry, &operators).await?;

    let service = Service { avs: "word-counter".parse()?, chain_id: chain.chain_id(), service_manager: registry };
    let mut settings = Settings::new(registry);
    settings.confirmations = Some(1);
    settings.rotation.policy = Policy::Sticky;
    let manager = |number: usize, keys: &OperatorKeys| -> Manager {
        let options = loopback(&folder.path().join(format!("operator-{number}")));
        let config = OperatorRaftConfig {
            raft: options.raft,
            http: options.http,
            storage: options.data_dir,
            timing: options.timing,
            patience: options.patience,
        };
        let avs = NativeAvs { service: service.clone(), settings: settings.clone() };
        new_avs_consensus_engine(
            env.clone(),
            callbacks(&chain, registry),
            config,
            avs,
            keys.clone(),
            Arc::clone(&chain),
        )
    };
    let managers: Vec<Manager> = operators.iter().enumerate().map(|(number, keys)| manager(number, keys)).collect();
    let [first, second, third] = managers.as_slice() else { return Err("three operators".into()) };

    first.initialize_raft_rpc_server(true, operators.first().ok_or("an operator")?.wallet.address()).await?;
    let url = first.http_binding_url().await?;
    println!("operator 1 founded the cluster; it is at {url}");
    for joining in [second, third] {
        joining.join_existing_operator_cluster(&url, chain.head().await?.block).await?;
        println!("an operator joined; it is at {}", joining.http_binding_url().await?);
    }
    let avs = first.avs().await?;
    wait_for(&env, "three voters", async || avs.read(|state| state.voters.len() == 3)).await?;

    let mut certificates = pin!(third.certificates().await?);
    for (number, text) in ["one two three", "to be or not to be"].into_iter().enumerate() {
        let request = Text { text: text.into() };
        let index = first.leader_send_task_request_to_followers(&format!("text-{number}"), &request).await?;
        let certified = certificates.next().await.ok_or("a certificate")?;
        let count = certified.response.ok_or("a count")?;
        println!(
            "task {index}: {:?} has {} words, signed by {} operators",
            text,
            count.words,
            certified.certificate.signers.count()
        );
        if count.words != text.split_whitespace().count() as u64 {
            return Err("the certified count is wrong".into());
        }
        // Only the task's aggregator may report; the others' reports are refused.
        let tx = submit(&env, chain.as_ref(), &owner, certified.certificate.digest).await?;
        let reports = [
            first.report_submitted(index, tx).await,
            second.report_submitted(index, tx).await,
            third.report_submitted(index, tx).await,
        ];
        println!("transaction {tx} reported by {} operator", reports.iter().filter(|report| report.is_ok()).count());
        wait_for(&env, "the task is finalized", async || {
            matches!(avs.task(index).and_then(|task| task.outcome), Some(Outcome::Finalized { .. }))
        })
        .await?;
        println!("task {index} is finalized");
    }
    // The settings leave leadership where it is, until somebody asks for an election.
    let (_, before) = first.is_leader().await?;
    third.trigger_election().await?;
    wait_for(
        &env,
        "somebody else leads",
        async || matches!(first.is_leader().await, Ok((_, Some(url))) if Some(&url) != before.as_ref()),
    )
    .await?;
    let (leads, leader) = first.is_leader().await?;
    println!("operator 1 leads: {leads}; the leader is at {}", leader.unwrap_or_default());
    for manager in &managers {
        manager.shutdown().await;
    }
    Ok(())
}
