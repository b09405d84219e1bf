//! The plugin's answers and refusals, natively.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use eigenshift_guest::testing::FakeChain;
use eigenshift_guest::{Address, Avs, B256, BlockId, Peer, Service, Task, TaskError, U256};
use incredible_squaring::{IncredibleSquaring, Request, Response};

fn task(number: U256) -> Task<Request> {
    Task {
        index: 4,
        request: Request { numberToBeSquared: number },
        service: Service { avs: "squaring".into(), chain_id: 1, service_manager: Address::ZERO },
        reference_block: BlockId { number: 1, hash: B256::ZERO },
        reference_time: 0,
    }
}

fn square(number: U256) -> Result<Vec<Response>, TaskError> {
    IncredibleSquaring::on_task_request(&task(number), &FakeChain::new().chain())
}

#[test]
fn the_answer_is_the_exact_square_under_the_task_s_own_number() {
    let largest = (U256::from(1) << 128) - U256::from(1);
    for (number, squared) in
        [(U256::ZERO, U256::ZERO), (U256::from(12), U256::from(144)), (largest, largest.wrapping_mul(largest))]
    {
        assert_eq!(square(number), Ok(vec![Response { taskIndex: 4, numberSquared: squared }]));
    }
}

#[test]
fn a_square_beyond_uint256_is_an_invalid_task_never_a_wrapped_number() {
    for number in [U256::from(1) << 128, U256::MAX] {
        assert!(matches!(square(number), Err(TaskError::InvalidTask(_))));
    }
}

#[test]
fn an_answer_to_another_task_is_rejected() {
    let peer = Peer { operator_id: B256::ZERO, extension: None };
    let response = |task_index| Response { taskIndex: task_index, numberSquared: U256::from(144) };
    assert!(IncredibleSquaring::check(&task(U256::from(12)), &peer, &response(4)).is_ok());
    let rejection = IncredibleSquaring::check(&task(U256::from(12)), &peer, &response(5)).unwrap_err();
    assert_eq!(rejection.code, "wrong-task");
}
