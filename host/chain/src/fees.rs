//! Gas and fees of a transaction.

/// Added to every estimate besides half of it. An estimate is the gas that was used; a call that is given an explicit
/// amount (a precompile under try/catch, a signature check) may need more than it uses, and fails below that.
const GAS_MARGIN: u64 = 100_000;

/// No transaction may ask for more: the cap of EIP-7825 (Osaka), which holds on newer chains.
const GAS_CAP: u64 = 1 << 24;

/// Gas limit for an estimate.
pub(crate) fn gas_limit(estimate: u64) -> u64 {
    estimate.saturating_add(estimate / 2).saturating_add(GAS_MARGIN).min(GAS_CAP.max(estimate))
}

/// EIP-1559 fees, wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fees {
    pub(crate) max: u128,
    pub(crate) tip: u128,
}

impl Fees {
    /// Fees that outlive six full blocks' rise of the base fee (12.5 % each doubles it).
    pub(crate) fn for_base_fee(base_fee: u128, tip: u128) -> Self {
        Self { max: base_fee.saturating_mul(2).saturating_add(tip), tip }
    }

    /// Both fees, raised by 12.5 % (rounded up) `steps` times.
    pub(crate) fn bumped(self, steps: u32) -> Self {
        let raise = |fee: u128| fee.saturating_add(fee.div_ceil(8));
        // After 760 steps any fee is at the end of the range.
        (0..steps.min(1000)).fold(self, |fees, _| Self { max: raise(fees.max), tip: raise(fees.tip) })
    }

    /// The higher of both, each.
    pub(crate) fn at_least(self, floor: Self) -> Self {
        Self { max: self.max.max(floor.max), tip: self.tip.max(floor.tip) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_enough_for_a_pool_that_asks_for_ten_percent() {
        for start in [1, 7, 9, 1_000_000_000, u128::MAX / 3] {
            let mut last = Fees { max: start, tip: start };
            for step in 1..20 {
                let next = Fees { max: start, tip: start }.bumped(step);
                assert!(next.max - last.max >= last.max / 10 || next.max == u128::MAX, "{start}, step {step}");
                assert!(next.max > last.max || next.max == u128::MAX);
                last = next;
            }
        }
        assert_eq!(Fees { max: 1, tip: 0 }.bumped(u32::MAX), Fees { max: u128::MAX, tip: 0 });
    }

    #[test]
    fn gas_has_a_margin_below_the_cap_and_is_never_below_the_estimate() {
        assert_eq!(gas_limit(200_000), 400_000);
        assert_eq!(gas_limit(16_000_000), GAS_CAP);
        assert_eq!(gas_limit(20_000_000), 20_000_000);
        assert_eq!(gas_limit(u64::MAX), u64::MAX);
    }
}
