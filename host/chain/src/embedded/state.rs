//! Accounts and storage, each value with the block it was written in.

use std::collections::HashMap;
use std::convert::Infallible;

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::DatabaseRef;
use revm::state::{AccountInfo, Bytecode, EvmState};

/// A value's history: (block, value), ascending.
///
/// Invariant: blocks ascend strictly; at most one entry is older than the horizon of the last write.
#[derive(Debug)]
struct Versions<V>(Vec<(u64, V)>);

impl<V> Default for Versions<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Versions<V> {
    fn at(&self, block: u64) -> Option<&V> {
        let newer = self.0.partition_point(|(written, _)| *written <= block);
        newer.checked_sub(1).and_then(|position| self.0.get(position)).map(|(_, value)| value)
    }

    fn set(&mut self, block: u64, value: V, horizon: u64) {
        match self.0.last_mut() {
            Some((written, last)) if *written == block => *last = value,
            _ => self.0.push((block, value)),
        }
        // The newest value at the horizon is what the oldest kept block reads; what is before it, nobody does.
        let unreachable = self.0.partition_point(|(written, _)| *written <= horizon).saturating_sub(1);
        self.0.drain(..unreachable);
    }
}

#[derive(Clone, Copy, Debug)]
struct Account {
    balance: U256,
    nonce: u64,
    code_hash: B256,
}

/// All accounts, over the kept blocks.
#[derive(Debug, Default)]
pub(super) struct State {
    accounts: HashMap<Address, Versions<Option<Account>>>,
    storage: HashMap<(Address, U256), Versions<U256>>,
    codes: HashMap<B256, Bytecode>,
}

impl State {
    pub(super) fn fund(&mut self, address: Address, balance: U256) {
        let account = Account { balance, nonce: 0, code_hash: KECCAK256_EMPTY };
        self.accounts.entry(address).or_default().set(0, Some(account), 0);
    }

    pub(super) fn nonce(&self, address: Address, at: u64) -> u64 {
        self.account(address, at).map_or(0, |account| account.nonce)
    }

    pub(super) fn balance(&self, address: Address, at: u64) -> U256 {
        self.account(address, at).map_or(U256::ZERO, |account| account.balance)
    }

    fn account(&self, address: Address, at: u64) -> Option<&Account> {
        self.accounts.get(&address)?.at(at)?.as_ref()
    }

    /// Takes over what a transaction of `block` changed; blocks before `horizon` are not read any more.
    pub(super) fn apply(&mut self, block: u64, horizon: u64, changes: EvmState) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            let versions = self.accounts.entry(address).or_default();
            // Since Cancun only an account made in the same transaction can destruct itself: it has no older storage.
            if account.is_selfdestructed() || account.info.is_empty() {
                versions.set(block, None, horizon);
                continue;
            }
            let AccountInfo { balance, nonce, code_hash, code, .. } = account.info;
            versions.set(block, Some(Account { balance, nonce, code_hash }), horizon);
            if let Some(code) = code.filter(|_| code_hash != KECCAK256_EMPTY) {
                self.codes.entry(code_hash).or_insert(code);
            }
            for (slot, value) in account.storage {
                if value.is_changed() {
                    self.storage.entry((address, slot)).or_default().set(block, value.present_value, horizon);
                }
            }
        }
    }
}

/// The state at the end of a block, as the EVM reads it.
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) at: u64,
    /// Hash of a kept block.
    pub(super) hashes: &'a dyn Fn(u64) -> Option<B256>,
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        let Some(account) = self.state.account(address, self.at) else {
            return Ok(None);
        };
        let code = self.state.codes.get(&account.code_hash).cloned().unwrap_or_default();
        Ok(Some(AccountInfo::new(account.balance, account.nonce, account.code_hash, code)))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.codes.get(&code_hash).cloned().unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let versions = self.state.storage.get(&(address, slot));
        Ok(versions.and_then(|versions| versions.at(self.at)).copied().unwrap_or_default())
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok((self.hashes)(number).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_block_reads_what_was_written_last_at_or_before_it() {
        let mut versions = Versions::default();
        for block in [3, 5, 9] {
            versions.set(block, block * 10, 0);
        }
        versions.set(9, 91, 0);
        let read: Vec<_> = (0..12).map(|block| versions.at(block).copied()).collect();
        let (none, three, five, nine) = (None, Some(30), Some(50), Some(91));
        assert_eq!(read, [none, none, none, three, three, five, five, five, five, nine, nine, nine]);
    }

    #[test]
    fn what_no_kept_block_reads_is_dropped_and_nothing_else() {
        let mut versions = Versions::default();
        for block in 0..1000_u64 {
            versions.set(block, block, block.saturating_sub(10));
            assert!(versions.0.len() <= 11);
            assert_eq!(versions.at(block.saturating_sub(10)), Some(&block.saturating_sub(10)));
        }
    }
}
