//! Follows transactions that create tasks on chain: at the leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use eigenshift_chain::{Error, TransactionRequest};
use eigenshift_ledger::TriggerId;
use eigenshift_ledger::command::{Command, PlanTask};

use crate::context::Context;
use crate::drivers::transactions::{Flight, is_confirmed};

/// What the leader remembers of the plans it follows.
#[derive(Default)]
struct Plans {
    flights: BTreeMap<TriggerId, Flight>,
    /// Head number when this node first saw another account's plan as leader.
    found_at: BTreeMap<TriggerId, u64>,
}

pub(crate) async fn run(context: Arc<Context>, flights: tokio::sync::mpsc::Receiver<(TriggerId, Flight)>) {
    let mut incoming = flights;
    let mut plans = Plans::default();
    loop {
        tokio::select! {
            () = context.env.clock.sleep(context.patience.tick) => {}
            flight = incoming.recv() => match flight {
                Some((trigger, flight)) => drop(plans.flights.insert(trigger, flight)),
                None => return,
            },
            () = context.stop.cancelled() => return,
        }
        if !context.leads() {
            plans = Plans::default();
            continue;
        }
        let open: Vec<PlanTask> = context.ledger.read(|state| state.plans.values().cloned().collect());
        plans.flights.retain(|trigger, _| open.iter().any(|plan| plan.trigger == *trigger));
        plans.found_at.retain(|trigger, _| open.iter().any(|plan| plan.trigger == *trigger));
        for plan in open {
            if let Err(why) = plans.follow(&context, &plan).await {
                context.counters.count("plan", "retried");
                tracing::debug!(avs = %context.service.avs, ?plan.trigger, "plan: {why}");
            }
        }
    }
}

/// Signs the transaction, announces it, sends it: in this order.
pub(crate) async fn announce(
    context: &Context,
    trigger: &TriggerId,
    request: TransactionRequest,
    replaces: Option<(u64, u32)>,
) -> Result<Flight, String> {
    let to = request.to.ok_or("a task is created by a call, not by a deployment")?;
    let data = request.data.clone();
    let flight = Flight::prepare(context, request, replaces).await.map_err(|error| error.to_string())?;
    let plan = PlanTask {
        trigger: trigger.clone(),
        to,
        data,
        sender: flight.signed.from,
        nonce: flight.signed.nonce,
        tx: flight.signed.hash,
    };
    if let Err(error) = context.ledger.propose(&Command::PlanTask(Box::new(plan))).await {
        if replaces.is_none() {
            context.nonces.give_back(flight.signed.nonce);
        }
        return Err(error.to_string());
    }
    // Announced: from here on following it is what sends it again, should this fail.
    if let Err(error) = context.chain.send(&flight.signed).await {
        tracing::debug!(avs = %context.service.avs, "the plan's transaction was not taken yet: {error}");
    }
    Ok(flight)
}

impl Plans {
    async fn follow(&mut self, context: &Context, plan: &PlanTask) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        if let Some(receipt) = context.chain.receipt(plan.tx).await.map_err(text)? {
            if is_confirmed(context, receipt.block).await.map_err(text)? {
                if !receipt.success {
                    context.counters.count("plan", "reverted");
                    tracing::warn!(avs = %context.service.avs, tx = %plan.tx, "the transaction that creates a task failed");
                }
                let command = Command::ClosePlan { trigger: plan.trigger.clone() };
                context.ledger.propose(&command).await.map_err(|error| error.to_string())?;
            }
            return Ok(());
        }
        let own = context.wallet.address();
        let used = context.chain.transaction_count(plan.sender).await.map_err(text)? > plan.nonce;
        if plan.sender == own && !used {
            let flight = self.flights.get(&plan.trigger).filter(|flight| flight.signed.hash == plan.tx);
            if let Some(flight) = flight.filter(|flight| !flight.is_stuck(context)) {
                return context.chain.send(&flight.signed).await.map_err(text);
            }
            // Stuck, or announced before a restart and perhaps never sent: the same again, dearer.
            let bump = flight.map_or(0, |flight| flight.bump);
            return self.again(context, plan, Some((plan.nonce, bump))).await;
        }
        if !used {
            let grace =
                context.ledger.read(|state| state.settings.as_ref().map_or(0, |settings| settings.reassign_grace));
            let head = context.chain.head().await.map_err(text)?.block.number;
            let found_at = *self.found_at.entry(plan.trigger.clone()).or_insert(head);
            if head < found_at.saturating_add(grace) {
                return Ok(());
            }
        }
        self.again(context, plan, None).await
    }

    async fn again(&mut self, context: &Context, plan: &PlanTask, replaces: Option<(u64, u32)>) -> Result<(), String> {
        let request = TransactionRequest::call(plan.to, plan.data.clone());
        let flight = announce(context, &plan.trigger, request, replaces).await?;
        self.flights.insert(plan.trigger.clone(), flight);
        Ok(())
    }
}
