//! Ends tasks: at their aggregator. With `task-submission` the certificates go on chain; without, they are the outcome.
//!
//! A transaction is announced in the ledger before it is sent, so that whoever takes over knows what may still be mined.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_aggregation::contract_parts;
use eigenshift_chain::{Error, TransactionRequest};
use eigenshift_ledger::command::{Command, Intent};
use eigenshift_ledger::settings::Expiry;
use eigenshift_ledger::{Phase, Task};
use eigenshift_plugin::{CallError, Decision, SubmissionCertificate, Transaction};
use eigenshift_types::{Outcome, TaskIndex};
use tokio::sync::watch;

use crate::callbacks::caught;
use crate::context::{Backoff, Context};
use crate::drivers::transactions::{Flight, is_confirmed};
use crate::drivers::workers::Workers;

const NOT_LOADED: &str = "the task's bundle is not loaded here yet";

/// What of a task concerns its submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    assignment_epoch: u64,
    certificates: usize,
    intents: usize,
    disputed: bool,
}

/// Failed transactions after which a task is given up.
const MAX_REVERTS: usize = 3;

pub(crate) async fn run(context: Arc<Context>) {
    let mut changes = context.ledger.changes();
    let mut workers: Workers<View> = Workers::default();
    loop {
        let node = context.identity.node;
        let mine: BTreeMap<TaskIndex, View> = context.ledger.read(|state| {
            let mine = state.unsettled_tasks().filter(|task| task.aggregator == node);
            let view = |task: &Task| View {
                assignment_epoch: task.assignment_epoch,
                certificates: task.certificates.len(),
                intents: task.intents.len(),
                disputed: task.disputed,
            };
            mine.map(|task| (task.spec.index, view(task))).collect()
        });
        workers.reconcile(mine, |index, view| {
            let submission = Submission::new(Arc::clone(&context), index);
            Some(context.env.spawn(submission.work(view)).abort_handle())
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.stop.cancelled() => return,
        }
    }
}

/// When to look again, if nothing changes before.
enum Next {
    /// After a pause that grows.
    Retry,
    /// After this time.
    In(Duration),
}

struct Submission {
    context: Arc<Context>,
    index: TaskIndex,
    /// Monotonic time at which this node took the task on.
    since: Duration,
    /// How many certificates the plugin was last asked about, and whether that was the final call.
    asked: Option<(usize, bool)>,
    flight: Option<Flight>,
    /// Head number when this node found another aggregator's transactions.
    found_at: Option<u64>,
    /// Head number when the contract was first seen to hold an answer without a receipt to it.
    foreign_since: Option<u64>,
}

impl Submission {
    fn new(context: Arc<Context>, index: TaskIndex) -> Self {
        let since = context.env.clock.monotonic();
        Self { context, index, since, asked: None, flight: None, found_at: None, foreign_since: None }
    }

    async fn work(mut self, mut view: watch::Receiver<View>) {
        let mut backoff = Backoff::new(&self.context.patience);
        let mut last = *view.borrow_and_update();
        loop {
            let node = self.context.identity.node;
            let task = self.context.ledger.read(|state| state.tasks.get(&self.index).cloned());
            let Some(task) = task.filter(|task| task.is_unsettled() && task.aggregator == node) else { return };
            let next = match task.phase {
                Phase::Open => self.consider(&task).await,
                // A disputed task is followed like one that has not ended: until a receipt is there that holds.
                Phase::Submitting | Phase::Closed(_) => self.follow(&task).await,
            };
            let pause = match next {
                Ok(Next::In(pause)) => pause,
                Ok(Next::Retry) => backoff.next(),
                Err(why) => {
                    self.context.counters.count("submission", "retried");
                    tracing::debug!(avs = %self.context.service.avs, task = self.index, "submission: {why}");
                    backoff.next()
                }
            };
            tokio::select! {
                changed = view.changed() => if changed.is_err() { return },
                () = self.context.env.clock.sleep(pause) => {}
                () = self.context.stop.cancelled() => return,
            }
            let now = *view.borrow_and_update();
            if now != last {
                last = now;
                backoff = Backoff::new(&self.context.patience);
            }
        }
    }

    /// Ends the task, or says where a disputed one's answer is now.
    async fn close(&self, outcome: Outcome) -> Result<Next, String> {
        let command = Command::Close { task: self.index, outcome, at: None };
        self.context.ledger.propose(&command).await.map_err(|error| error.to_string())?;
        Ok(Next::Retry)
    }

    async fn is_final(&self, task: &Task) -> Result<bool, String> {
        let Some(expiry) = self.context.ledger.read(|state| state.settings.as_ref().map(|settings| settings.expiry))
        else {
            return Ok(false);
        };
        match expiry {
            Expiry::Ms(ms) => {
                let life = Duration::from_millis(ms);
                let left = life.saturating_sub(self.context.env.clock.monotonic().saturating_sub(self.since));
                Ok(left <= self.context.patience.final_call.min(life / 2))
            }
            Expiry::Blocks(blocks) => {
                let head = self.context.chain.head().await.map_err(|error| error.to_string())?;
                let end = task.spec.reference_block.number.saturating_add(blocks);
                Ok(head.block.number.saturating_add(blocks.div_ceil(4)) >= end)
            }
        }
    }

    /// An open task: done, or to be submitted, or to be waited for.
    async fn consider(&mut self, task: &Task) -> Result<Next, String> {
        let certified = task.certificates.len();
        if !task.submits {
            if certified >= task.spec.keys_expected as usize {
                return self.close(Outcome::Done).await;
            }
            return Ok(Next::In(self.context.patience.retry_most));
        }
        let Some(logic) = self.context.logic_of(&task.spec) else { return Err(NOT_LOADED.to_owned()) };
        if logic.submission().is_none() {
            // The team submits by itself, and reports the transaction.
            return Ok(Next::In(self.context.patience.retry_most));
        }
        let is_final = self.is_final(task).await?;
        if certified == 0 || self.asked == Some((certified, is_final)) {
            return Ok(Next::In(self.context.patience.tick));
        }
        match self.decide(task, is_final).await? {
            Decision::Submit(transaction) => {
                self.announce(task, request(transaction), None).await?;
                Ok(Next::In(self.context.patience.tick))
            }
            Decision::NotYet => {
                self.asked = Some((certified, is_final));
                Ok(Next::In(self.context.patience.tick))
            }
            Decision::Fail(reason) => self.close(Outcome::Failed { reason }).await,
        }
    }

    async fn decide(&self, task: &Task, is_final: bool) -> Result<Decision, String> {
        let logic = self.context.logic_of(&task.spec).ok_or(NOT_LOADED)?;
        let submission = logic.submission().ok_or("the task's bundle submits nothing")?;
        let head = self.context.chain.head().await.map_err(|error| error.to_string())?;
        let certificates = self.certificates(task).await?;
        let view = self.context.task(&task.spec);
        let deciding = submission.submit(&view, &certificates, is_final, head.block);
        caught(deciding).await.map_err(|error| describe(&error))
    }

    async fn certificates(&self, task: &Task) -> Result<Vec<SubmissionCertificate>, String> {
        let (context, task) = (Arc::clone(&self.context), task.clone());
        let work = move || -> Option<Vec<SubmissionCertificate>> {
            let set = context.ledger.read(|state| state.sets.get(&task.spec.set_digest).cloned())?;
            let operators = context.sets.decoded(&set)?;
            let convert = |certificate: &eigenshift_types::Certificate| {
                let parts = contract_parts(&operators, &task.spec.quorums, certificate).ok()?;
                Some(SubmissionCertificate {
                    key: certificate.key.clone(),
                    payload: certificate.payload.clone(),
                    digest: certificate.digest,
                    non_signers: parts.non_signers,
                    quorum_aggregate_keys: parts.quorum_aggregate_keys,
                    quorums: parts.quorums,
                    signers_aggregate_key: parts.signers_aggregate_key,
                    signature: parts.signature,
                })
            };
            task.certificates.values().map(convert).collect()
        };
        let done = self.context.bls_pool.run(work).await.map_err(|closed| closed.to_string())?;
        done.ok_or_else(|| "a certificate does not fit its operator set".to_owned())
    }

    /// Signs a transaction, announces it, sends it: in this order.
    async fn announce(
        &mut self,
        task: &Task,
        request: TransactionRequest,
        replaces: Option<(u64, u32)>,
    ) -> Result<(), String> {
        let flight = Flight::prepare(&self.context, request, replaces).await.map_err(|error| error.to_string())?;
        let intent = Intent {
            task: self.index,
            assignment_epoch: task.assignment_epoch,
            sender: flight.signed.from,
            nonce: flight.signed.nonce,
            calldata_hash: flight.signed.calldata_hash,
            tx: flight.signed.hash,
        };
        if let Err(error) = self.context.ledger.propose(&Command::Intent(intent)).await {
            if replaces.is_none() {
                self.context.nonces.give_back(flight.signed.nonce);
            }
            return Err(error.to_string());
        }
        let sent = self.context.chain.send(&flight.signed).await;
        self.flight = Some(flight);
        sent.map_err(|error| error.to_string())
    }

    /// A task with announced transactions: finalized when one of them is confirmed.
    async fn follow(&mut self, task: &Task) -> Result<Next, String> {
        let mut reverted = 0;
        for intent in &task.intents {
            let receipt = self.context.chain.receipt(intent.tx).await.map_err(|error| error.to_string())?;
            let Some(receipt) = receipt else { continue };
            if !receipt.success {
                reverted += 1;
                continue;
            }
            if is_confirmed(&self.context, receipt.block).await.map_err(|error| error.to_string())? {
                let outcome = Outcome::Finalized { tx: intent.tx, block_hash: receipt.block.hash };
                if task.phase == Phase::Closed(outcome.clone()) {
                    // The disputed receipt is there after all: nothing is to be sent, and only the others can say so.
                    return Ok(Next::In(self.context.patience.retry_most));
                }
                return self.close(outcome).await;
            }
            return Ok(Next::In(self.context.patience.tick));
        }
        let Some(logic) = self.context.logic_of(&task.spec) else { return Err(NOT_LOADED.to_owned()) };
        if logic.submission().is_none() {
            return Ok(Next::In(self.context.patience.tick));
        }
        if self.may_be_mined(task).await? {
            return self.push(task).await;
        }
        // Whatever was announced can no longer be mined: is there an answer all the same?
        let head = self.context.chain.head().await.map_err(|error| error.to_string())?;
        let submission = logic.submission().ok_or("the task's bundle submits nothing")?;
        let view = self.context.task(&task.spec);
        let answered = caught(submission.is_answered(&view, head.block)).await.map_err(|error| describe(&error))?;
        if answered {
            // A transaction may have been mined since its receipt was looked for, and an endpoint's answers may be of
            // different ages: only an answer that stays without a receipt is somebody else's.
            let since = *self.foreign_since.get_or_insert(head.block.number);
            let grace = self.grace();
            if head.block.number > since.saturating_add(grace)
                && is_confirmed(&self.context, head.block).await.map_err(|error| error.to_string())?
            {
                let reason = "the contract holds an answer that none of the announced transactions gave".to_owned();
                return self.close(Outcome::Failed { reason }).await;
            }
            return Ok(Next::In(self.context.patience.tick));
        }
        if reverted >= MAX_REVERTS {
            return self
                .close(Outcome::Failed { reason: format!("{reverted} transactions were mined and failed") })
                .await;
        }
        match self.decide(task, true).await? {
            Decision::Submit(transaction) => {
                self.announce(task, request(transaction), None).await?;
                Ok(Next::In(self.context.patience.tick))
            }
            Decision::NotYet => Ok(Next::Retry),
            Decision::Fail(reason) => self.close(Outcome::Failed { reason }).await,
        }
    }

    /// Whether a transaction that was announced, and has no receipt, may still be mined.
    async fn may_be_mined(&mut self, task: &Task) -> Result<bool, String> {
        let error = |error: Error| error.to_string();
        let head = self.context.chain.head().await.map_err(error)?.block.number;
        let own = |intent: &&Intent| intent.assignment_epoch == task.assignment_epoch;
        let Some(latest) = task.intents.iter().filter(own).last().or(task.intents.last()) else { return Ok(false) };
        if self.context.chain.transaction_count(latest.sender).await.map_err(error)? > latest.nonce {
            return Ok(false);
        }
        if latest.sender == self.context.wallet.address() {
            return Ok(true);
        }
        // Another aggregator's: given up after the grace.
        let grace = self.grace();
        let found_at = *self.found_at.get_or_insert(head);
        Ok(head < found_at.saturating_add(grace))
    }

    fn grace(&self) -> u64 {
        self.context.ledger.read(|state| state.settings.as_ref().map_or(0, |settings| settings.reassign_grace))
    }

    /// Makes sure that this node's own transaction is under way.
    async fn push(&mut self, task: &Task) -> Result<Next, String> {
        let Some(latest) = task.intents.last().filter(|intent| intent.sender == self.context.wallet.address()) else {
            return Ok(Next::In(self.context.patience.tick));
        };
        match &self.flight {
            Some(flight) if flight.signed.hash == latest.tx && !flight.is_stuck(&self.context) => {
                self.context.chain.send(&flight.signed).await.map_err(|error| error.to_string())?;
            }
            Some(flight) => {
                let (request, replaces) = (flight.request.clone(), (flight.signed.nonce, flight.bump));
                self.announce(task, request, Some(replaces)).await?;
            }
            // Announced before a restart, and perhaps never sent: the same again, dearer.
            None => {
                if let Decision::Submit(transaction) = self.decide(task, true).await? {
                    let tries = u32::try_from(task.intents.len()).unwrap_or(u32::MAX);
                    self.announce(task, request(transaction), Some((latest.nonce, tries))).await?;
                }
            }
        }
        Ok(Next::In(self.context.patience.tick))
    }
}

fn request(transaction: Transaction) -> TransactionRequest {
    TransactionRequest { to: Some(transaction.to), data: transaction.data, value: transaction.value, gas: None }
}

fn describe(error: &CallError) -> String {
    format!("{} ({error})", error.code())
}
