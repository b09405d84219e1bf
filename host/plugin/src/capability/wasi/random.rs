//! Random bytes that are none: they follow from the task and the callback.

use eigenshift_types::{B256, keccak256};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::sandbox::imports::CallState;

/// Bytes that a call may draw. They cost the host far more than the guest, whose fuel would not end it.
const MAX_BYTES: u64 = 1024 * 1024;

/// Bytes that follow from a seed: keccak of seed, name and counter, block by block. The same in every version of this host
/// and of every library, which generators made for speed do not promise.
struct Seeded {
    seed: B256,
    block: B256,
    counter: u64,
    used: usize,
}

impl Seeded {
    fn new(seed: B256, name: &str) -> Self {
        let seed = keccak256([seed.as_slice(), name.as_bytes()].concat());
        Self { seed, block: B256::ZERO, counter: 0, used: B256::len_bytes() }
    }

    fn byte(&mut self) -> u8 {
        if self.used >= B256::len_bytes() {
            let mut input = [0; 40];
            let (seed, counter) = input.split_at_mut(32);
            seed.copy_from_slice(self.seed.as_slice());
            counter.copy_from_slice(&self.counter.to_be_bytes());
            self.block = keccak256(input);
            self.counter += 1;
            self.used = 0;
        }
        let byte = self.block.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        byte
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn list(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    fn number(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }
}

/// The random bytes of one call.
pub(super) struct Random {
    secure: Seeded,
    insecure: Seeded,
    seed: (u64, u64),
    left: u64,
}

impl Random {
    pub(super) fn new(seed: B256) -> Self {
        let mut own = Seeded::new(seed, "seed");
        let seed_of_guest = (own.number(), own.number());
        let (secure, insecure) = (Seeded::new(seed, "secure"), Seeded::new(seed, "insecure"));
        Self { secure, insecure, seed: seed_of_guest, left: MAX_BYTES }
    }

    /// Takes so many from what the call may draw; the interfaces know no error, so that it is a trap.
    fn draw(&mut self, len: u64) -> wasmtime::Result<()> {
        match self.left.checked_sub(len) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(wasmtime::Error::msg(format!("a call may draw {MAX_BYTES} random bytes"))),
        }
    }
}

impl random::Host for CallState {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let random = self.random();
        random.draw(len)?;
        Ok(random.secure.list(len))
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        let random = self.random();
        random.draw(8)?;
        Ok(random.secure.number())
    }
}

impl insecure::Host for CallState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let random = self.random();
        random.draw(len)?;
        Ok(random.insecure.list(len))
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        let random = self.random();
        random.draw(8)?;
        Ok(random.insecure.number())
    }
}

impl insecure_seed::Host for CallState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.random().seed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn random_bytes_are_pinned_and_differ_by_seed_and_name() {
        let draw = |seed: u8, name| Seeded::new(B256::repeat_byte(seed), name).list(70);
        assert_eq!(draw(1, "secure"), draw(1, "secure"));
        assert_ne!(draw(1, "secure"), draw(2, "secure"));
        assert_ne!(draw(1, "secure"), draw(1, "insecure"));
        let block = |counter: u64| {
            let seed = keccak256([&[1; 32][..], b"secure"].concat());
            keccak256([seed.as_slice(), &counter.to_be_bytes()].concat())
        };
        let expected = [block(0).0, block(1).0, block(2).0].concat();
        assert_eq!(draw(1, "secure"), expected.get(..70).unwrap(), "across blocks");
    }

    #[test]
    fn a_call_draws_so_much_and_no_more() {
        let mut random = Random::new(B256::ZERO);
        random.draw(MAX_BYTES - 1).unwrap();
        assert!(random.draw(2).is_err());
        random.draw(1).unwrap();
        assert!(random.draw(1).is_err() && random.draw(u64::MAX).is_err());
    }
}
