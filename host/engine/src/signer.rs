//! Signing for one task, under the guard.

use std::sync::Arc;

use eigenshift_plugin::{CallError, PeerResponse, ProcessError, Signable, Task};
use eigenshift_types::Bytes;

use crate::callbacks::{Callbacks, caught};
use crate::context::Context;
use crate::guard::{GuardError, Signed};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// None, or more than the cluster and the bundle allow.
    #[error("{found} responses: expected 1 to {most}")]
    Count {
        /// How many there are.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// The aggregator's side of the logic rejects it.
    #[error("the logic rejects its own response ({code}): {message}")]
    Rejected {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// The aggregator's side of the logic comes to something else.
    #[error("the logic asks to sign what its aggregator side does not derive from the response")]
    Derivation,
    /// A callback failed.
    #[error(transparent)]
    Call(CallError),
    /// The guard.
    #[error(transparent)]
    Guard(#[from] GuardError),
}

/// Signs responses to one task with the operator's BLS key, and nothing else.
///
/// Before it signs, it asks the aggregator's side of the logic whether task, key and digest follow from the response;
/// before a signature is given away, the guard has stored it.
pub struct TaskSigner {
    context: Arc<Context>,
    task: Task,
    logic: Arc<dyn Callbacks>,
}

impl TaskSigner {
    pub(crate) fn new(context: Arc<Context>, task: Task, logic: Arc<dyn Callbacks>) -> Self {
        Self { context, task, logic }
    }

    /// Signs one response: the BLS signature over its digest, uncompressed: 64 bytes of BN254, 192 of BLS12-381.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign(&self, response: &Signable) -> Result<Bytes, SignError> {
        let signed = self.sign_all(vec![response.clone()]).await?;
        let found = signed.len();
        signed.into_iter().next().map(|signed| signed.signature).ok_or(SignError::Count { found, most: 1 })
    }

    pub(crate) async fn sign_all(&self, responses: Vec<Signable>) -> Result<Vec<Signed>, SignError> {
        let context = &self.context;
        let settled =
            context.ledger.read(|state| state.settings.as_ref().map_or(0, |settings| settings.keys_per_task as usize));
        let most = settled.min(self.logic.max_keys());
        if responses.is_empty() || responses.len() > most {
            return Err(SignError::Count { found: responses.len(), most });
        }
        for response in &responses {
            self.check(response).await?;
        }
        let bls = Arc::clone(&context.bls);
        let signing = move || -> Vec<Signed> {
            let sign = |response: Signable| Signed {
                signature: bls.sign(response.digest).encode(),
                key: response.key,
                payload: response.payload,
                digest: response.digest,
                extension: response.extension,
            };
            responses.into_iter().map(sign).collect()
        };
        let signed = context.bls_pool.run(signing).await.map_err(|_| GuardError::Closed)?;
        let (guard, index, record) = (context.guard.clone(), self.task.index, signed.clone());
        context.io_pool.run(move || guard.record(index, &record)).await.map_err(|_| GuardError::Closed)??;
        Ok(signed)
    }

    async fn check(&self, response: &Signable) -> Result<(), SignError> {
        let own = PeerResponse {
            operator_id: self.context.operator_id,
            payload: response.payload.clone(),
            extension: response.extension.clone(),
        };
        let place = caught(self.logic.on_leader_process_task_response(&self.task, &own)).await;
        let place = place.map_err(|error| match error {
            ProcessError::Call(error) => SignError::Call(error),
            ProcessError::Rejected { code, message } => SignError::Rejected { code, message },
        })?;
        if (place.task_index, &place.key, place.digest) == (self.task.index, &response.key, response.digest) {
            Ok(())
        } else {
            Err(SignError::Derivation)
        }
    }
}
