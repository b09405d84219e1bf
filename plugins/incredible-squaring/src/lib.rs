//! Square a number: the smallest AVS that is one, and the plugin to copy.
//!
//! *Guarantees*: one answer a task; it is the exact square, or the task is refused.
//! *Not here*: where tasks come from (an administrator's trigger carries the request) and any contract.

use eigenshift_guest::{Avs, Chain, Peer, Rejection, Task, TaskError, abi_payload, sol};

sol! {
    /// What is asked.
    #[derive(Debug, PartialEq)]
    struct Request { uint256 numberToBeSquared; }

    /// The answer. It names its task, so that no answer counts for another one.
    #[derive(Debug, PartialEq)]
    struct Response { uint32 taskIndex; uint256 numberSquared; }
}
abi_payload!(Request, Response);

/// The plugin.
pub struct IncredibleSquaring;

impl Avs for IncredibleSquaring {
    type Request = Request;
    type Response = Response;
    type Extension = ();
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SCHEMA: &'static str = "(uint256 numberToBeSquared) -> (uint32 taskIndex, uint256 numberSquared)";

    fn on_task_request(task: &Task<Request>, _chain: &Chain) -> Result<Vec<Response>, TaskError> {
        let number = task.request.numberToBeSquared;
        let squared = number.checked_mul(number);
        let squared =
            squared.ok_or_else(|| TaskError::InvalidTask(format!("the square of {number} exceeds uint256")))?;
        Ok(vec![Response { taskIndex: task.index, numberSquared: squared }])
    }

    fn check(task: &Task<Request>, _peer: &Peer<()>, response: &Response) -> Result<(), Rejection> {
        if response.taskIndex != task.index {
            return Err(Rejection::new("wrong-task", format!("the response is for task {}", response.taskIndex)));
        }
        Ok(())
    }
}

eigenshift_guest::export!(IncredibleSquaring);
