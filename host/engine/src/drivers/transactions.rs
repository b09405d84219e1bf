//! What the drivers that send transactions share: nonces, confirmations, transactions under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eigenshift_chain::{Error, SignedTransaction, TransactionRequest};
use eigenshift_ledger::TriggerId;
use eigenshift_types::BlockRef;
use parking_lot::Mutex;

use crate::context::Context;

/// Nonces of an account that are under way. All that this host sends from the account goes through here.
#[derive(Default)]
pub(crate) struct Nonces(Mutex<BTreeSet<u64>>);

impl Nonces {
    /// The lowest nonce that is neither mined nor under way: it fills gaps that failed tries left.
    pub fn take(&self, mined: u64, announced: impl IntoIterator<Item = u64>) -> u64 {
        let mut taken = self.0.lock();
        taken.extend(announced);
        taken.retain(|nonce| *nonce >= mined);
        let free = (mined..).find(|nonce| !taken.contains(nonce)).unwrap_or(mined);
        taken.insert(free);
        free
    }

    /// The nonce was not used after all.
    pub fn give_back(&self, nonce: u64) {
        self.0.lock().remove(&nonce);
    }
}

/// A transaction that this process signed.
#[derive(Clone)]
pub(crate) struct Flight {
    pub request: TransactionRequest,
    pub signed: SignedTransaction,
    pub bump: u32,
    /// Monotonic time of the signing.
    pub since: Duration,
}

impl Flight {
    /// Prepares a transaction under a fresh nonce, or as the replacement of (nonce, bump).
    pub async fn prepare(
        context: &Context,
        request: TransactionRequest,
        replaces: Option<(u64, u32)>,
    ) -> Result<Self, Error> {
        let (nonce, bump) = match replaces {
            Some((nonce, bump)) => (nonce, bump.saturating_add(1)),
            None => {
                let mined = context.chain.transaction_count(context.wallet.address()).await?;
                (context.nonces.take(mined, announced(context)), 0)
            }
        };
        match context.chain.prepare(&context.wallet, &request, nonce, bump).await {
            Ok(signed) => Ok(Self { request, signed, bump, since: context.env.clock.monotonic() }),
            Err(error) => {
                if replaces.is_none() {
                    context.nonces.give_back(nonce);
                }
                Err(error)
            }
        }
    }

    pub fn is_stuck(&self, context: &Context) -> bool {
        context.env.clock.monotonic().saturating_sub(self.since) >= context.patience.stuck_after
    }
}

/// Nonces of this account that the ledger knows to be under way: an earlier process may have announced them.
fn announced(context: &Context) -> Vec<u64> {
    let own = context.wallet.address();
    context.ledger.read(|state| {
        let intents = state.live_tasks().flat_map(|task| &task.intents).map(|intent| (intent.sender, intent.nonce));
        let plans = state.plans.values().map(|plan| (plan.latest.sender, plan.latest.nonce));
        intents.chain(plans).filter(|(sender, _)| *sender == own).map(|(_, nonce)| nonce).collect()
    })
}

/// Transactions of this process that create tasks, by trigger. Known here before the ledger knows of them, so that
/// whoever follows a plan does not take it for an earlier process's.
#[derive(Default)]
pub(crate) struct Flights(Mutex<BTreeMap<TriggerId, Flight>>);

impl Flights {
    pub fn insert(&self, trigger: &TriggerId, flight: Flight) {
        self.0.lock().insert(trigger.clone(), flight);
    }

    pub fn remove(&self, trigger: &TriggerId) {
        self.0.lock().remove(trigger);
    }

    pub fn get(&self, trigger: &TriggerId) -> Option<Flight> {
        self.0.lock().get(trigger).cloned()
    }
}

/// Whether a block is buried deep enough to count, and still canonical.
pub(crate) async fn is_confirmed(context: &Context, block: BlockRef) -> Result<bool, Error> {
    let newest = confirmed_number(context).await?;
    Ok(newest.is_some_and(|newest| newest >= block.number) && context.chain.is_canonical(block).await?)
}

/// The newest block number that counts; none on a chain that is too young.
pub(crate) async fn confirmed_number(context: &Context) -> Result<Option<u64>, Error> {
    let confirmations =
        context.ledger.read(|state| state.settings.as_ref().and_then(|settings| settings.confirmations));
    match confirmations {
        Some(blocks) => Ok(context.chain.head().await?.block.number.checked_sub(blocks)),
        None => match context.chain.finalized().await {
            Ok(header) => Ok(Some(header.block.number)),
            Err(Error::NotFinalized) => Ok(None),
            Err(error) => Err(error),
        },
    }
}
