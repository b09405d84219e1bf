"""The component's exports: the logic in `squaring`, between the host's types and its own.

An error that the host is to see is raised as `Err` of its WIT value; any other exception ends the call as a trap.
"""

from functools import wraps
from traceback import walk_tb

import squaring
from componentize_py_types import Err
from wit_world.exports.task_lifecycle import AggregateKey, Descriptor, PeerResponse, Rejection, Signable
from wit_world.imports import log
from wit_world.imports.types import Task, TaskError_InvalidTask, TaskError_Other


def reported(callback):
    """Writes what the callback did not expect to the operator's log: a trap has no text of its own."""

    @wraps(callback)
    def wrapper(*arguments):
        try:
            return callback(*arguments)
        except squaring.InvalidTask as error:
            raise Err(TaskError_InvalidTask(str(error)))
        except Err:
            raise
        except Exception as error:
            # Without the lines themselves: there are no files in the sandbox, and looking for them is a trap.
            where = " > ".join(f"{frame.f_code.co_qualname}:{line}" for frame, line in walk_tb(error.__traceback__))
            log.emit(log.Level.ERROR, f"{type(error).__name__}: {error} at {where}")
            raise

    return wrapper


class TaskLifecycle:
    def describe(self) -> Descriptor:
        return Descriptor("incredible-squaring-py", "0.1.0", squaring.SCHEMA)

    @reported
    def on_task_request(self, task: Task) -> list[bytes]:
        return [squaring.answer(task.index, task.request)]

    @reported
    def on_submit_task_to_leader(self, task: Task, responses: list[bytes]) -> list[Signable]:
        squaring.asked(task.request)
        try:
            for payload in responses:
                squaring.answered(payload)
        except squaring.Rejected as error:
            raise Err(TaskError_Other(f"own response: {error}"))
        if len(responses) > 1:
            raise Err(TaskError_Other('two responses under the key "0": give each a key of its own'))
        return [Signable(squaring.KEY, payload, squaring.keccak256(payload), b"") for payload in responses]

    @reported
    def on_leader_process_task_response(self, task: Task, response: PeerResponse) -> AggregateKey:
        try:
            digest = squaring.check(task.index, task.request, response.payload, response.extension)
        except squaring.Rejected as error:
            raise Err(Rejection(error.code, error.message))
        return AggregateKey(task.index, squaring.KEY, digest)
