//! The callbacks of a task's life.

use crate::{AggregateKey, B256, Chain, Payload, Peer, Rejection, ResponseKey, Signable, Task, TaskError, keccak256};

/// An AVS's logic. Only the types, the name and [`on_task_request`](Self::on_task_request) are needed; the rest has
/// defaults for an AVS with one response a task whose contract checks `keccak256(abi.encode(response))`.
///
/// Everything but `on_task_request` must be a pure function of its arguments: every node re-runs it and must get the same.
pub trait Avs: Sized {
    /// `T`: what a task asks.
    type Request: Payload;
    /// `K`: an answer. It should name its task, so that an answer to one task is none to another.
    type Response: Payload;
    /// What goes beside a response to the aggregator, unsigned: `()` for nothing.
    type Extension: Payload + Default;

    /// Name of the logic, for people.
    const NAME: &'static str;
    /// Version of the logic, for people.
    const VERSION: &'static str;
    /// How `T` and `K` are encoded, for people: Solidity types or a JSON schema.
    const SCHEMA: &'static str;

    /// Does the work, at every operator, for every task. Chain reads are bound to the task's reference block.
    fn on_task_request(task: &Task<Self::Request>, chain: &Chain) -> Result<Vec<Self::Response>, TaskError>;

    /// What a response is about. Several responses a task need a key each.
    fn key(task: &Task<Self::Request>, response: &Self::Response) -> ResponseKey {
        let _ = (task, response);
        ResponseKey::single()
    }

    /// What is signed, and what the contract must compute again. It should bind the task and, when the response does not,
    /// the chain and the contract: a signature over a bare value counts wherever that value is asked.
    fn digest(task: &Task<Self::Request>, response: &Self::Response) -> B256 {
        let _ = task;
        keccak256(response.encode())
    }

    /// What to send beside a response.
    fn extension(task: &Task<Self::Request>, response: &Self::Response) -> Self::Extension {
        let _ = (task, response);
        Self::Extension::default()
    }

    /// Refuses a response that cannot be right: another task's number, a value out of range. Treat it as hostile.
    fn check(
        task: &Task<Self::Request>,
        peer: &Peer<Self::Extension>,
        response: &Self::Response,
    ) -> Result<(), Rejection> {
        let _ = (task, peer, response);
        Ok(())
    }

    /// Turns the answers into what is to be signed: each with its key, digest and extension. Two answers under one key are
    /// an error.
    #[expect(clippy::type_complexity, reason = "an alias would hide which of the AVS's types are meant")]
    fn on_submit_task_to_leader(
        task: &Task<Self::Request>,
        responses: Vec<Self::Response>,
    ) -> Result<Vec<Signable<Self::Response, Self::Extension>>, TaskError> {
        let mut signables: Vec<Signable<_, _>> = Vec::with_capacity(responses.len());
        for response in responses {
            let key = Self::key(task, &response);
            if signables.iter().any(|earlier| earlier.key == key) {
                let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
                return Err(TaskError::Other(format!(
                    "two responses under the key {key:?}: give each a key of its own"
                )));
            }
            let digest = Self::digest(task, &response);
            let extension = Self::extension(task, &response);
            signables.push(Signable { key, response, digest, extension });
        }
        Ok(signables)
    }

    /// Says where an answer counts, after [`check`](Self::check). Called at the aggregator for each answer received, at
    /// every operator for its own before it signs, and at every node for a certificate's.
    fn on_leader_process_task_response(
        task: &Task<Self::Request>,
        peer: &Peer<Self::Extension>,
        response: &Self::Response,
    ) -> Result<AggregateKey, Rejection> {
        Self::check(task, peer, response)?;
        Ok(AggregateKey {
            task_index: task.index,
            key: Self::key(task, response),
            digest: Self::digest(task, response),
        })
    }
}
