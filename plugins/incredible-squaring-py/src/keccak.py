"""keccak256 as contracts compute it: Keccak-f[1600] of FIPS 202, rate 136 bytes, but the older padding, 0x01."""

MASK = (1 << 64) - 1
RATE = 136


def _rotate(lane: int, by: int) -> int:
    return (lane << by | lane >> (64 - by)) & MASK


def _walk() -> list[tuple[int, int]]:
    """Where each lane of the state goes in pi, and by how much rho rotates it, along the walk that FIPS 202 defines."""
    steps, x, y = [], 1, 0
    for t in range(1, 25):
        x, y = y, (2 * x + 3 * y) % 5
        steps.append((x + 5 * y, t * (t + 1) // 2 % 64))
    return steps


def _constants() -> list[int]:
    """What iota adds in each round: bits of a linear feedback shift register."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            constant |= (register & 1) << (2**j - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


# Computed when the component is built, not in calls: the interpreter's memory is a snapshot from after this.
WALK, CONSTANTS = _walk(), _constants()


def _permute(state: list[int]) -> None:
    for constant in CONSTANTS:
        parity = [state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20] for x in range(5)]
        mixed = [parity[x - 1] ^ _rotate(parity[(x + 1) % 5], 1) for x in range(5)]
        for i in range(25):
            state[i] ^= mixed[i % 5]
        lane = state[1]
        for to, by in WALK:
            lane, state[to] = state[to], _rotate(lane, by)
        for row in range(0, 25, 5):
            old = state[row : row + 5]
            for x in range(5):
                state[row + x] = old[x] ^ (~old[(x + 1) % 5] & MASK & old[(x + 2) % 5])
        state[0] ^= constant


def keccak256(data: bytes) -> bytes:
    """The hash of `data`: 32 bytes."""
    padded = bytearray(data) + bytes(RATE - len(data) % RATE)
    padded[len(data)] ^= 0x01
    padded[-1] ^= 0x80
    state = [0] * 25
    for block in range(0, len(padded), RATE):
        for lane in range(RATE // 8):
            start = block + 8 * lane
            state[lane] ^= int.from_bytes(padded[start : start + 8], "little")
        _permute(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])
