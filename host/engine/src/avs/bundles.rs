//! Bundles that an operator brings, has come back, or approves.

use eigenshift_ledger::Command;
use eigenshift_ledger::command::{ProposeBundle, Shadow};
use eigenshift_plugin::Bundle;
use eigenshift_types::{B256, Bytes};

use super::{AvsHandle, RequestError};
use crate::ledger::CommandError;

fn command_refused(error: CommandError) -> RequestError {
    match error {
        CommandError::Refused { code, message } => RequestError { code, message },
        error => RequestError { code: "not-now".to_owned(), message: error.to_string() },
    }
}

impl AvsHandle {
    /// Brings a bundle: kept here, and proposed to all members, each of which fetches, loads and reports on it. With
    /// enough stake ready the leader activates it. `sequence` and the publisher's signature are those of
    /// [`activation_hash`](eigenshift_ledger::command::activation_hash).
    ///
    /// # Errors
    /// [`RequestError`]: `no-bundle`, `native`, or the ledger's refusal.
    pub async fn propose_bundle(
        &self,
        bundle: Bytes,
        sequence: u64,
        publisher_signature: Bytes,
    ) -> Result<B256, RequestError> {
        self.propose(bundle, sequence, None, publisher_signature).await
    }

    /// As [`AvsHandle::propose_bundle`]; before a member says that it has it ready, the bundle runs beside the active one
    /// there, on real tasks, and is compared. The signature is one of
    /// [`shadow_hash`](eigenshift_ledger::command::shadow_hash).
    ///
    /// # Errors
    /// As [`AvsHandle::propose_bundle`].
    pub async fn propose_shadowed(
        &self,
        bundle: Bytes,
        sequence: u64,
        shadow: Shadow,
        publisher_signature: Bytes,
    ) -> Result<B256, RequestError> {
        self.propose(bundle, sequence, Some(shadow), publisher_signature).await
    }

    async fn propose(
        &self,
        bundle: Bytes,
        sequence: u64,
        shadow: Option<Shadow>,
        publisher_signature: Bytes,
    ) -> Result<B256, RequestError> {
        let refused = |code: &str, message: &dyn std::fmt::Display| RequestError {
            code: code.to_owned(),
            message: message.to_string(),
        };
        let parsed = Bundle::from_bytes(&bundle).ok_or_else(|| {
            refused("no-bundle", &"the bytes are no bundle: length of the manifest, manifest, component")
        })?;
        let bundles = self.context.bundles.as_ref();
        let bundles = bundles.ok_or_else(|| refused("native", &"this AVS has native logic, which is not swapped"))?;
        let digest = parsed.digest();
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let command = Command::ProposeBundle(Box::new(ProposeBundle {
            digest,
            component_bytes: size(parsed.component().len()),
            manifest_bytes: size(parsed.manifest().len()),
            sequence,
            shadow,
            publisher_signature,
        }));
        // First: what nobody proposed is nobody's, and is cleared away. Whoever hears of it before the bytes are here asks
        // again.
        self.context.ledger.propose(&command).await.map_err(command_refused)?;
        bundles.keep(digest, bundle).await.map_err(|error| refused("not-now", &error))?;
        Ok(digest)
    }

    /// Has a former bundle come back, signed by a publisher like a new one; its bytes are where they were.
    ///
    /// # Errors
    /// [`RequestError`]: the ledger's refusal.
    pub async fn propose_former(
        &self,
        digest: B256,
        sequence: u64,
        publisher_signature: Bytes,
    ) -> Result<(), RequestError> {
        if !self.read(|state| state.former_bundles.contains(&digest)) {
            let message = format!("bundle {digest} was not active among the last 16: deploy it");
            return Err(RequestError { code: "unknown-bundle".to_owned(), message });
        }
        let proposal = ProposeBundle {
            digest,
            component_bytes: 0,
            manifest_bytes: 0,
            sequence,
            shadow: None,
            publisher_signature,
        };
        let command = Command::ProposeBundle(Box::new(proposal));
        self.context.ledger.propose(&command).await.map(drop).map_err(command_refused)
    }

    /// Lets a proposed bundle become active, as far as this operator is concerned: for one that wants to be asked.
    ///
    /// # Errors
    /// [`RequestError`]: `unknown-bundle`, `native`, or `not-now` when the disk fails.
    pub async fn approve_bundle(&self, digest: B256) -> Result<(), RequestError> {
        let refused = |code: &str, message: String| RequestError { code: code.to_owned(), message };
        let native = || refused("native", "this AVS has native logic, which is not swapped".to_owned());
        let bundles = self.context.bundles.as_ref().ok_or_else(native)?;
        if !self.read(|state| state.proposals.contains_key(&digest)) {
            return Err(refused("unknown-bundle", format!("nobody proposed bundle {digest}")));
        }
        bundles.approve(digest).await.map_err(|error| refused("not-now", error.to_string()))?;
        self.context.ledger.nudge();
        Ok(())
    }
}
