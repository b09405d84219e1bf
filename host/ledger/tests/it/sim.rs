//! A cluster of four operators whose log is written by the test.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bytes};
use eigenshift_aggregation::operators::assemble;
use eigenshift_bls::bn254::{G1, SecretKey};
use eigenshift_ledger::command::{Bootstrap, CreateTask, Intent};
use eigenshift_ledger::settings::{Mode, Settings};
use eigenshift_ledger::{Command, Entry, Machine, Payload, Reply, SignedCommand, State, TriggerId};
use eigenshift_types::{
    Bitmap, BlockRef, Certificate, ClusterId, CommandId, Epoch, Join, NodeId, NodeKey, OperatorRecord, OperatorSet,
    ResponseKey, Service, SignedJoin, Stake, TaskIndex, TaskSpec,
};
use k256::ecdsa::SigningKey;

pub struct Operator {
    pub node: NodeId,
    pub key: NodeKey,
    pub bls: SecretKey,
    pub account: SigningKey,
}

impl Operator {
    pub fn address(&self) -> Address {
        Address::from_public_key(self.account.verifying_key())
    }
}

pub struct Sim {
    pub machine: Machine,
    pub operators: Vec<Operator>,
    pub set: OperatorSet,
    pub index: u64,
    pub term: u64,
    pub leader: NodeId,
    pub next_id: u64,
    pub log: Vec<Entry>,
}

pub fn service() -> Service {
    Service { avs: "test".parse().unwrap(), chain_id: 31_337, service_manager: Address::repeat_byte(7) }
}

pub const CLUSTER: ClusterId = ClusterId(B256::repeat_byte(0xc1));
pub const EPOCH: Epoch = Epoch(0);

pub fn digest(answer: u8) -> B256 {
    B256::repeat_byte(answer)
}

pub fn key(name: &str) -> ResponseKey {
    ResponseKey::new(name.as_bytes().to_vec()).unwrap()
}

pub fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::left_padding_from(&number.to_be_bytes()) }
}

pub fn sign_hash(account: &SigningKey, hash: B256) -> Bytes {
    let (signature, recovery) = account.sign_prehash_recoverable(hash.as_slice()).unwrap();
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + recovery.to_byte());
    bytes.into()
}

impl Sim {
    /// Before the bootstrap.
    pub fn empty() -> Self {
        let mut operators: Vec<Operator> = (1..=4_u8)
            .map(|n| Operator {
                node: NodeId(0),
                key: NodeKey::from_seed(&[n; 32]),
                bls: SecretKey::from_bytes(&[n; 32]).unwrap(),
                account: SigningKey::from_bytes(&[n; 32].into()).unwrap(),
            })
            .collect();
        operators.sort_by_key(|operator| operator.bls.operator_id());
        let record = |operator: &Operator| OperatorRecord {
            id: operator.bls.operator_id(),
            address: operator.address(),
            g1: operator.bls.g1().encode().to_vec().into(),
            g2: operator.bls.g2().encode().to_vec().into(),
            stakes: vec![Stake::new(100).unwrap()],
        };
        let set = assemble(block(5), &[0], operators.iter().map(record).collect()).unwrap();
        Self {
            machine: Machine::default(),
            operators,
            set,
            index: 1,
            term: 1,
            leader: NodeId(1),
            next_id: 0,
            log: Vec::new(),
        }
    }

    /// Four members that all vote; operator 0 is node 1 and leads.
    pub fn new(mode: Mode) -> Self {
        Self::with(|settings| {
            settings.rotation.mode = mode;
            settings.max_open_tasks = if mode == Mode::Leadership { 1 } else { 8 };
        })
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut sim = Self::empty();
        let mut settings = Settings::new(Address::repeat_byte(9));
        settings.retention = 8;
        change(&mut settings);
        let bootstrap = sim.bootstrap(settings);
        sim.operators[0].node = NodeId(1);
        assert!(matches!(sim.log_as(0, &bootstrap), Reply::Accepted(_)));
        for operator in 1..4 {
            let node = NodeId(sim.index + 1);
            let join = sim.join(operator, B256::repeat_byte(operator as u8));
            assert!(matches!(sim.log_as(0, &Command::AddOperator { join: Box::new(join) }), Reply::Accepted(_)));
            sim.operators[operator].node = node;
        }
        let voters: BTreeSet<NodeId> = sim.operators.iter().map(|operator| operator.node).collect();
        sim.append(Payload::Voters(voters));
        let set = Command::OperatorSet(Box::new(sim.set.clone()));
        assert!(matches!(sim.log_as(0, &set), Reply::Accepted(_)));
        sim
    }

    pub fn bootstrap(&self, settings: Settings) -> Command {
        let mut join = self.join(0, B256::ZERO);
        join.join.issuer = NodeId(0);
        join.signature = sign_hash(&self.operators[0].account, join.join.signing_hash());
        Command::Bootstrap(Box::new(Bootstrap {
            service: service(),
            epoch: EPOCH,
            settings,
            join,
            bundle_digest: B256::repeat_byte(0xb0),
            start_block: 3,
        }))
    }

    pub fn join(&self, operator: usize, challenge: B256) -> SignedJoin {
        let join = Join {
            service: service(),
            cluster_id: CLUSTER,
            operator: self.operators[operator].address(),
            raft_url: format!("https://127.0.0.1:{}", 7000 + operator),
            http_url: format!("http://127.0.0.1:{}", 8000 + operator),
            node_key: self.operators[operator].key.public(),
            block: block(5),
            issuer: NodeId(1),
            challenge,
        };
        let signature = sign_hash(&self.operators[operator].account, join.signing_hash());
        SignedJoin { join, signature }
    }

    pub fn state(&self) -> &State {
        self.machine.state()
    }

    pub fn append(&mut self, payload: Payload) -> Reply {
        self.index += 1;
        let entry = Entry { index: self.index, term: self.term, leader: self.leader, payload };
        self.log.push(entry.clone());
        self.machine.apply(&[entry]).pop().unwrap()
    }

    pub fn signed(&mut self, operator: usize, command: &Command) -> SignedCommand {
        self.next_id += 1;
        let author = &self.operators[operator];
        SignedCommand::new(&author.key, CLUSTER, EPOCH, author.node, CommandId(self.next_id), command)
    }

    /// Logs a command of an operator.
    pub fn log_as(&mut self, operator: usize, command: &Command) -> Reply {
        let signed = self.signed(operator, command);
        self.append(Payload::Command(signed.encode().into()))
    }

    /// Leadership moves to an operator.
    pub fn elect(&mut self, operator: usize) {
        self.term += 1;
        self.leader = self.operators[operator].node;
        self.append(Payload::Blank);
    }

    pub fn leader_operator(&self) -> usize {
        self.operators.iter().position(|operator| operator.node == self.leader).unwrap()
    }

    pub fn spec(&self, index: TaskIndex) -> TaskSpec {
        TaskSpec {
            index,
            request: Bytes::from_static(b"request"),
            keys_expected: 1,
            quorums: self.state().settings.as_ref().unwrap().quorums.clone(),
            set_digest: self.set.digest,
            reference_block: block(10 + u64::from(index)),
            reference_time: 1_000,
            bundle_digest: B256::repeat_byte(0xb0),
        }
    }

    pub fn create(&self, index: TaskIndex, submits: bool) -> Command {
        let trigger = TriggerId::Request { key: format!("task-{index}") };
        Command::CreateTask(Box::new(CreateTask { trigger, spec: self.spec(index), submits }))
    }

    /// A certificate of these operators (by number, ascending) for an answer.
    pub fn certificate(&self, task: TaskIndex, name: &str, signers: &[usize], answer: u8) -> Certificate {
        let signatures = signers.iter().map(|signer| (self.operators[*signer].bls.sign(digest(answer)), 1));
        Certificate {
            task,
            key: key(name),
            payload: Bytes::copy_from_slice(&[answer]),
            digest: digest(answer),
            signers: Bitmap::from_fn(4, |position| signers.contains(&position)),
            signature: G1::weighted_sum(signatures).encode().to_vec().into(),
        }
    }

    pub fn certify(&self, task: TaskIndex, name: &str, signers: &[usize], answer: u8) -> Command {
        let assignment_epoch = self.state().tasks.get(&task).map_or(0, |task| task.assignment_epoch);
        Command::Certificate { assignment_epoch, certificate: Box::new(self.certificate(task, name, signers, answer)) }
    }

    pub fn intent(&self, task: TaskIndex, nonce: u64, tx: u8) -> Command {
        Command::Intent(Intent {
            task,
            assignment_epoch: self.state().tasks.get(&task).map_or(0, |task| task.assignment_epoch),
            sender: Address::repeat_byte(1),
            nonce,
            calldata_hash: B256::repeat_byte(2),
            tx: B256::repeat_byte(tx),
        })
    }
}

/// `accepted`, `no-op`, or the code of the refusal.
pub fn outcome(reply: &Reply) -> &str {
    match reply {
        Reply::Accepted(_) => "accepted",
        Reply::NoOp => "no-op",
        Reply::Refused { code, .. } => code,
    }
}
