//! Follows transactions that create tasks on chain: at the leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use eigenshift_chain::{Error, TransactionRequest};
use eigenshift_ledger::TriggerId;
use eigenshift_ledger::command::{Command, PlanTask};
use eigenshift_ledger::state::Plan;

use crate::context::Context;
use crate::drivers::transactions::{Flight, is_confirmed};

/// Head number when this node first saw another account's plan as leader.
type FoundAt = BTreeMap<TriggerId, u64>;

pub(crate) async fn run(context: Arc<Context>) {
    let mut changes = context.ledger.changes();
    let mut found_at = FoundAt::new();
    loop {
        if !context.leads() {
            found_at.clear();
            if context.wait_to_lead().await.is_none() {
                return;
            }
        }
        changes.borrow_and_update();
        if context.ledger.read(|state| state.plans.is_empty()) {
            found_at.clear();
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = context.stop.cancelled() => return,
            }
            continue;
        }
        if !context.pause(context.patience.tick).await {
            return;
        }
        let open: Vec<Plan> = context.ledger.read(|state| state.plans.values().cloned().collect());
        found_at.retain(|trigger, _| open.iter().any(|plan| plan.latest.trigger == *trigger));
        for plan in open {
            if let Err(why) = follow(&context, &plan, &mut found_at).await {
                context.counters.count("plan", "retried");
                tracing::debug!(avs = %context.service.avs, trigger = ?plan.latest.trigger, "plan: {why}");
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
    context.flights.insert(trigger, flight.clone());
    if let Err(error) = context.ledger.propose(&Command::PlanTask(Box::new(plan))).await {
        context.flights.remove(trigger);
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

async fn follow(context: &Context, plan: &Plan, found_at: &mut FoundAt) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let latest = &plan.latest;
    // Any of the announced ones may have been mined: an older leader's, or one that was replaced too late.
    for tx in plan.txs.iter().rev() {
        let Some(receipt) = context.chain.receipt(*tx).await.map_err(text)? else { continue };
        if is_confirmed(context, receipt.block).await.map_err(text)? {
            if !receipt.success {
                context.counters.count("plan", "reverted");
                tracing::warn!(avs = %context.service.avs, %tx, "the transaction that creates a task failed");
            }
            let command = Command::ClosePlan { trigger: latest.trigger.clone() };
            context.ledger.propose(&command).await.map_err(|error| error.to_string())?;
            context.flights.remove(&latest.trigger);
        }
        return Ok(());
    }
    let own = latest.sender == context.wallet.address();
    let used = context.chain.transaction_count(latest.sender).await.map_err(text)? > latest.nonce;
    if own && !used {
        let flight = context.flights.get(&latest.trigger).filter(|flight| flight.signed.hash == latest.tx);
        return match flight {
            Some(flight) if !flight.is_stuck(context) => context.chain.send(&flight.signed).await.map_err(text),
            // Stuck, or announced before a restart and perhaps never sent: the same again, dearer.
            flight => again(context, latest, Some((latest.nonce, flight.map_or(0, |flight| flight.bump)))).await,
        };
    }
    // Another leader's, which may still be mined; or a nonce that was used, whose receipt may not be seen yet.
    let grace = context.ledger.read(|state| state.settings.as_ref().map_or(0, |settings| settings.reassign_grace));
    let head = context.chain.head().await.map_err(text)?.block.number;
    let since = *found_at.entry(latest.trigger.clone()).or_insert(head);
    if head < since.saturating_add(grace) {
        return Ok(());
    }
    again(context, latest, None).await
}

async fn again(context: &Context, plan: &PlanTask, replaces: Option<(u64, u32)>) -> Result<(), String> {
    let request = TransactionRequest::call(plan.to, plan.data.clone());
    announce(context, &plan.trigger, request, replaces).await.map(drop)
}
