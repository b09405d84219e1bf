//! What the AVSs of one host share.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use eigenshift_env::Env;
use eigenshift_types::Address;
use parking_lot::Mutex;

use crate::drivers::transactions::Nonces;
use crate::http::HttpClient;

/// What the AVSs of one host share: connections to other operators, and the nonces of accounts that several of them send
/// from. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    pub(crate) http: HttpClient,
    nonces: Arc<Mutex<ByAccount>>,
}

/// By chain and account; none once no AVS sends from it.
type ByAccount = BTreeMap<(u64, Address), Weak<Nonces>>;

impl Shared {
    /// For a host over the environment's network.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        Self { http: HttpClient::new(env), nonces: Arc::default() }
    }

    pub(crate) fn nonces(&self, chain_id: u64, account: Address) -> Arc<Nonces> {
        let mut known = self.nonces.lock();
        known.retain(|_, nonces| nonces.strong_count() > 0);
        let place = known.entry((chain_id, account)).or_default();
        place.upgrade().unwrap_or_else(|| {
            let nonces = Arc::new(Nonces::default());
            *place = Arc::downgrade(&nonces);
            nonces
        })
    }
}

#[cfg(test)]
mod tests {
    use eigenshift_env::sim::World;

    use super::*;

    #[test]
    fn avss_that_send_from_one_account_on_one_chain_never_take_the_same_nonce() {
        let shared = Shared::new(&Env::simulated(&World::default(), 1));
        let (account, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let (first, second) = (shared.nonces(1, account), shared.nonces(1, account));
        assert_eq!((first.take(5, []), second.take(5, []), first.take(5, [])), (5, 6, 7));
        second.give_back(6);
        assert_eq!(first.take(5, []), 6, "the gap is filled");
        assert_eq!(shared.nonces(1, other).take(5, []), 5);
        assert_eq!(shared.nonces(2, account).take(5, []), 5);
        drop((first, second));
        assert_eq!(shared.nonces(1, account).take(5, []), 5, "nothing is kept of what nobody sends from");
    }
}
