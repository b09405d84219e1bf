//! An account that signs transactions and joins.

use std::fmt;
use std::sync::Arc;

use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::eips::eip2718::Encodable2718;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy_primitives::{Address, B256, Bytes, TxKind, keccak256};
use eigenshift_env::Env;
use eigenshift_types::{Join, SignedJoin};
use zeroize::Zeroizing;

use crate::fees::Fees;
use crate::{Error, SignedTransaction, TransactionRequest};

/// An Ethereum account with its secret key. Clones share one key, which is zeroised when the last goes.
#[derive(Clone)]
pub struct Wallet(Arc<PrivateKeySigner>);

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.address())
    }
}

impl Wallet {
    /// The account of a secret key.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] unless it is above zero and below the group's order.
    pub fn from_bytes(secret: &[u8; 32]) -> Result<Self, Error> {
        PrivateKeySigner::from_bytes(&B256::from(*secret))
            .map(|signer| Self(Arc::new(signer)))
            .map_err(|_| Error::InvalidInput("a secp256k1 key is above 0 and below the group's order".to_owned()))
    }

    /// The account of a secret key in hexadecimal, with or without `0x`; white space around it is ignored.
    ///
    /// # Errors
    /// [`Error::InvalidInput`], which never repeats the text.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let mut secret = Zeroizing::new([0_u8; 32]);
        let text = text.trim();
        alloy_primitives::hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), secret.as_mut_slice())
            .map_err(|_| Error::InvalidInput("a secp256k1 key is 64 hexadecimal digits".to_owned()))?;
        Self::from_bytes(&secret)
    }

    /// A new account.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the random source gave no key, with probability 2^-128.
    pub fn random(env: &Env) -> Result<Self, Error> {
        Self::from_bytes(&Zeroizing::new(env.random_32()))
    }

    /// The account's address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Signs a hash: 65 bytes r, s, v (27 or 28), with low s.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the signature degenerates, with probability 2^-128.
    pub fn sign_hash(&self, hash: B256) -> Result<Bytes, Error> {
        Ok(Bytes::copy_from_slice(&self.signature(hash)?.as_bytes()))
    }

    /// Signs a join, which names this account as its operator.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when it names another one.
    pub fn sign_join(&self, join: Join) -> Result<SignedJoin, Error> {
        if join.operator != self.address() {
            let message = format!("the join is for operator {}, this account is {}", join.operator, self.address());
            return Err(Error::InvalidInput(message));
        }
        let signature = self.sign_hash(join.signing_hash())?;
        Ok(SignedJoin { join, signature })
    }

    fn signature(&self, hash: B256) -> Result<alloy_primitives::Signature, Error> {
        self.0.sign_hash_sync(&hash).map_err(|error| Error::InvalidInput(error.to_string()))
    }

    pub(crate) fn sign_transaction(
        &self,
        chain_id: u64,
        request: &TransactionRequest,
        nonce: u64,
        gas_limit: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let transaction = TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fees.max,
            max_priority_fee_per_gas: fees.tip,
            to: request.to.map_or(TxKind::Create, TxKind::Call),
            value: request.value,
            access_list: Default::default(),
            input: request.data.clone(),
        };
        let signature = self.signature(transaction.signature_hash())?;
        let signed = transaction.into_signed(signature);
        Ok(SignedTransaction {
            hash: *signed.hash(),
            raw: signed.encoded_2718().into(),
            nonce,
            from: self.address(),
            calldata_hash: keccak256(&request.data),
        })
    }
}
