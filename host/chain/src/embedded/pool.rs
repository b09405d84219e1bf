//! Transactions that wait for a block.

use std::collections::BTreeMap;

use alloy::consensus::transaction::Transaction;
use alloy::consensus::{TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256};
use revm::context::TxEnv;

use super::evm::{BASE_FEE, BLOCK_GAS};
use crate::Error;

/// What geth's pool takes at most, bytes.
const MAX_RAW: usize = 128 * 1024;
/// How many wait at most, over all senders.
const MAX_WAITING: usize = 4096;
/// How far a nonce may be ahead of its account's.
const MAX_AHEAD: u64 = 64;

/// A transaction whose signature was checked.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) hash: B256,
    pub(super) from: Address,
    pub(super) body: TxEip1559,
    arrival: u64,
}

impl Checked {
    /// Decodes and checks what does not depend on the state.
    pub(super) fn decode(raw: &[u8], chain_id: u64) -> Result<Self, Error> {
        let refused = |why: &str| Error::refused(-32000, why);
        if raw.len() > MAX_RAW {
            return Err(refused("oversized transaction: at most 131072 bytes"));
        }
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| refused(&format!("the bytes are no signed transaction: {error}")))?;
        let TxEnvelope::Eip1559(signed) = envelope else {
            return Err(refused("only EIP-1559 transactions (type 2) are taken"));
        };
        let body = signed.tx();
        if body.chain_id != chain_id {
            return Err(refused(&format!("signed for chain {}, this is {chain_id}", body.chain_id)));
        }
        // EIP-2: a high s would give the same transaction a second hash.
        if signed.signature().normalize_s().is_some() {
            return Err(refused("the signature's s is in the upper half"));
        }
        let from = signed
            .signature()
            .recover_address_from_prehash(&signed.signature_hash())
            .map_err(|_| refused("the signature belongs to no account"))?;
        if body.gas_limit > BLOCK_GAS {
            return Err(refused("the gas limit is above the block's"));
        }
        if body.max_fee_per_gas < BASE_FEE.into() || body.max_priority_fee_per_gas > body.max_fee_per_gas {
            return Err(refused("max_fee_per_gas is below the base fee or below the priority fee"));
        }
        Ok(Self { hash: *signed.hash(), from, body: body.clone(), arrival: 0 })
    }

    pub(super) fn to_env(&self) -> TxEnv {
        TxEnv::builder()
            .caller(self.from)
            .kind(self.body.to)
            .data(self.body.input.clone())
            .value(self.body.value)
            .gas_limit(self.body.gas_limit)
            .max_fee_per_gas(self.body.max_fee_per_gas)
            .gas_priority_fee(Some(self.body.max_priority_fee_per_gas))
            .nonce(self.body.nonce)
            .chain_id(self.body.chain_id())
            .access_list(self.body.access_list.clone())
            .build_fill()
    }
}

/// Waiting transactions by sender and nonce.
#[derive(Debug, Default)]
pub(super) struct Pool {
    senders: BTreeMap<Address, BTreeMap<u64, Checked>>,
    waiting: usize,
    arrivals: u64,
}

impl Pool {
    /// Takes a transaction, whose sender's next nonce is `account_nonce`; one with the same nonce is replaced when both its
    /// fees are a tenth higher.
    pub(super) fn add(&mut self, mut transaction: Checked, account_nonce: u64) -> Result<(), Error> {
        let nonce = transaction.body.nonce;
        if nonce > account_nonce.saturating_add(MAX_AHEAD) {
            return Err(Error::refused(-32000, "the nonce is more than 64 ahead of the account's"));
        }
        self.arrivals += 1;
        transaction.arrival = self.arrivals;
        let sender = self.senders.entry(transaction.from).or_default();
        match sender.get(&nonce) {
            Some(present) if present.hash == transaction.hash => return Ok(()),
            Some(present) if !replaces(&transaction.body, &present.body) => {
                return Err(Error::refused(-32000, "a replacement must offer a tenth more, in both fees"));
            }
            Some(_) => {}
            None if self.waiting >= MAX_WAITING => {
                return Err(Error::Unavailable("4096 transactions wait".to_owned()));
            }
            None => self.waiting += 1,
        }
        sender.insert(nonce, transaction);
        Ok(())
    }

    /// Takes out the transaction that came first among those whose turn it is and that fit into `gas`.
    pub(super) fn next(&mut self, account_nonce: impl Fn(Address) -> u64, gas: u64) -> Option<Checked> {
        let turn = |(from, waiting): (&Address, &BTreeMap<u64, Checked>)| {
            let first = waiting.get(&account_nonce(*from))?;
            (first.body.gas_limit <= gas).then_some((first.arrival, *from, first.body.nonce))
        };
        let (_, from, nonce) = self.senders.iter().filter_map(turn).min()?;
        let waiting = self.senders.get_mut(&from)?;
        let transaction = waiting.remove(&nonce)?;
        self.waiting -= 1;
        if waiting.is_empty() {
            self.senders.remove(&from);
        }
        Some(transaction)
    }
}

fn replaces(new: &TxEip1559, old: &TxEip1559) -> bool {
    let enough = |new: u128, old: u128| new >= old.saturating_add(old.div_ceil(10));
    enough(new.max_fee_per_gas, old.max_fee_per_gas)
        && enough(new.max_priority_fee_per_gas, old.max_priority_fee_per_gas)
}
