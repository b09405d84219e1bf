//! Memory and tables of a call, summed.

use wasmtime::ResourceLimiter;

/// wasmtime keeps a pointer per table element.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// Core instances of a component: the guest itself and what `wit-component` puts around it (shim, fixups, adapter). Python's
/// has 38, since its native modules stay apart.
pub(crate) const MAX_CORE_INSTANCES: u32 = 64;
/// Memories of a component, over all its core instances.
pub(crate) const MAX_MEMORIES: u32 = 2;
/// Tables of a component, over all its core instances.
pub(crate) const MAX_TABLES: u32 = 4;

/// The machine had no memory for a growth that the limit allows. Other operators' machines may have: the call has no
/// result, instead of one that differs.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this machine has no memory left for the plugin")]
pub(crate) struct OutOfMemory;

/// Grants growth while the sum over all memories and tables of the store stays within a limit. wasmtime's own
/// `StoreLimits` would allow each memory that much.
///
/// Invariant: `used <= limit`.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    limit: usize,
    /// What a failed growth added is not taken back: the call ends with it.
    used: usize,
    /// Whether any growth was refused: a trap after that is blamed on memory.
    refused: bool,
}

impl Limiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0, refused: false }
    }

    /// Bytes in use at the end; nothing is ever given back during a call.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// For another call in the same instance, whose memories stay as large as they are.
    pub(crate) fn begin_again(&mut self) {
        self.refused = false;
    }

    fn grow(&mut self, added: usize, fits_its_own_maximum: bool) -> bool {
        let sum = self.used.saturating_add(added);
        if sum > self.limit || !fits_its_own_maximum {
            self.refused = true;
            return false;
        }
        self.used = sum;
        true
    }

    /// A growth failed: one that was allowed, or one beyond what its type can have, for which nobody was asked. The engine
    /// has but a text for the second, and it is the same everywhere.
    fn failed(&mut self, error: &wasmtime::Error) -> wasmtime::Result<()> {
        if error.is::<&'static str>() || error.is::<String>() {
            self.refused = true;
            return Ok(());
        }
        tracing::error!("no memory for a plugin: {error:#}");
        Err(OutOfMemory.into())
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current), maximum.is_none_or(|maximum| desired <= maximum)))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed(&error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let added = desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES);
        Ok(self.grow(added, maximum.is_none_or(|maximum| desired <= maximum)))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed(&error)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::{ELEMENT_BYTES, Limiter, OutOfMemory};
    use wasmtime::ResourceLimiter;

    #[test]
    fn memories_and_tables_share_one_sum() {
        let mut limiter = Limiter::new(100 * ELEMENT_BYTES);
        assert!(limiter.memory_growing(0, 40 * ELEMENT_BYTES, None).unwrap());
        assert!(limiter.memory_growing(0, 40 * ELEMENT_BYTES, None).unwrap());
        assert!(limiter.table_growing(0, 20, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.table_growing(20, 21, None).unwrap());
        assert!(limiter.refused());
        assert_eq!(limiter.used(), 100 * ELEMENT_BYTES);
    }

    #[test]
    fn what_the_machine_fails_to_give_ends_the_call_instead_of_being_told_to_the_guest() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 900, None).unwrap());
        let error = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        assert!(limiter.memory_grow_failed(error.into()).unwrap_err().is::<OutOfMemory>());
        let error = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        assert!(limiter.table_grow_failed(error.into()).unwrap_err().is::<OutOfMemory>());
        assert!(!limiter.refused(), "not the guest's doing");
    }

    #[test]
    fn a_growth_beyond_its_type_is_the_guests_business_and_gives_nothing_back() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 900, None).unwrap());
        limiter.memory_grow_failed(wasmtime::format_err!("memory growth exceeds memory type's limits")).unwrap();
        limiter.memory_grow_failed(wasmtime::format_err!("more than {}", 5)).unwrap();
        assert!(limiter.refused());
        assert_eq!(limiter.used(), 900);
        assert!(!limiter.memory_growing(900, 1001, None).unwrap());
    }

    #[test]
    fn a_memory_that_starts_too_large_is_refused_without_overflow() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 10, None).unwrap());
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
        assert_eq!(limiter.used(), 10);
    }
}
