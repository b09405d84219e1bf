"""Square a number: the AVS's logic. Nothing of the host is used here, so tests need none."""

from keccak import keccak256

SCHEMA = "(uint256 numberToBeSquared) -> (uint32 taskIndex, uint256 numberSquared)"
KEY = b"0"
"""The key of the only answer to a task."""


class InvalidTask(Exception):
    """The task itself is wrong."""


class Rejected(Exception):
    """A response that cannot be right: a code for machines, a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def encode(*values: int) -> bytes:
    """`abi.encode` of unsigned integers: a big-endian word each."""
    return b"".join(value.to_bytes(32, "big") for value in values)


def decode(data: bytes, *bits: int) -> list[int]:
    """`abi.decode` of unsigned integers of so many bits. More bytes may follow."""
    if len(data) < 32 * len(bits):
        raise ValueError(f"not decodable: {len(data)} bytes, needs {32 * len(bits)}")
    values = [int.from_bytes(data[32 * i : 32 * i + 32], "big") for i in range(len(bits))]
    if any(value >> size for value, size in zip(values, bits)):
        raise ValueError("not decodable: a value is too large for its type")
    return values


def asked(request: bytes) -> int:
    """The number that a task asks about."""
    try:
        return decode(request, 256)[0]
    except ValueError as error:
        raise InvalidTask(f"the request is {error}") from None


def answered(payload: bytes) -> int:
    """The number of the task that a response is for. Only one spelling of a response is taken."""
    try:
        index, _ = decode(payload, 32, 256)
    except ValueError as error:
        raise Rejected("malformed", str(error)) from None
    if len(payload) != 64:
        raise Rejected("non-canonical", "the bytes are not the canonical encoding of the value they stand for")
    return index


def answer(index: int, request: bytes) -> bytes:
    """The response to a task."""
    number = asked(request)
    squared = number * number
    # An int has no bounds; the contract's type has.
    if squared >> 256:
        raise InvalidTask(f"the square of {number} exceeds uint256")
    return encode(index, squared)


def check(index: int, request: bytes, payload: bytes, extension: bytes) -> bytes:
    """The digest of somebody's response, if it can be right."""
    try:
        asked(request)
    except InvalidTask as error:
        raise Rejected("invalid-task", str(error)) from None
    try:
        found = answered(payload)
    except Rejected as error:
        if error.code == "malformed":
            raise Rejected(error.code, f"the response is {error}; expected {SCHEMA}") from None
        raise
    if extension:
        raise Rejected("malformed-extension", "the extension is not decodable: no bytes expected")
    if found != index:
        raise Rejected("wrong-task", f"the response is for task {found}")
    return keccak256(payload)
