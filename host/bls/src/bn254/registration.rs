//! The proof with which a key is registered: that its owner has the secret, and that it is for this operator.
//!
//! EigenLayer's registry coordinators, of M2 and of operator sets alike, have one EIP-712 domain, named
//! `AVSRegistryCoordinator`, version `v0.0.1`, and take a signature over the digest of
//! `BN254PubkeyRegistration(address operator)` in it, which later ones answer to
//! `calculatePubkeyRegistrationMessageHash(operator)`. `pubkeyRegistrationMessageHash(operator)` is [the
//! point](super::hash_to_g1) that it hashes to.

use eigenshift_types::{Address, B256, U256, keccak256};

use super::{G1, G2, SecretKey, matches, verify};

const DOMAIN: &str = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const NAME: &str = "AVSRegistryCoordinator";
const VERSION: &str = "v0.0.1";
const REGISTRATION: &str = "BN254PubkeyRegistration(address operator)";

/// Whom a key is registered with: a proof for one is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    /// The chain that it is on.
    pub chain_id: u64,
    /// Its address: the proxy's, which is the one that operators call.
    pub address: Address,
}

impl Coordinator {
    /// What the operator's key signs.
    #[must_use]
    pub fn registration_digest(&self, operator: Address) -> B256 {
        let domain = keccak256(
            [
                keccak256(DOMAIN).0,
                keccak256(NAME).0,
                keccak256(VERSION).0,
                U256::from(self.chain_id).to_be_bytes(),
                self.address.into_word().0,
            ]
            .concat(),
        );
        let registration = keccak256([keccak256(REGISTRATION), operator.into_word()].concat());
        keccak256([b"\x19\x01".as_slice(), domain.as_slice(), registration.as_slice()].concat())
    }

    /// Whether a proof is the one of these keys for this operator, as the contract checks it: both keys have one secret,
    /// and it signed. Never true for the identity.
    #[must_use]
    pub fn is_registration(&self, operator: Address, proof: &G1, g1: &G1, g2: &G2) -> bool {
        matches(g1, g2) && verify(g2, self.registration_digest(operator), proof)
    }
}

impl SecretKey {
    /// Proves to a registry to have the secret of the key that an operator registers.
    #[must_use]
    pub fn prove_registration(&self, coordinator: &Coordinator, operator: Address) -> G1 {
        self.sign(coordinator.registration_digest(operator))
    }
}
