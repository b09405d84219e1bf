// keccak256 as contracts compute it: Keccak-f[1600] of FIPS 202, rate 136 bytes, but the older padding, 0x01.
//
// The state's 64-bit lanes are pairs of 32-bit words, low and high: with BigInt a call takes 2.5 times the fuel.

const RATE = 136;

// The tables are computed when the component is built, not in calls: the engine starts from a snapshot.

/** The word that each lane goes to in pi, and by how much rho rotates it, along the walk that FIPS 202 defines. */
const WALK: { to: number; by: number }[] = [];
for (let t = 1, x = 1, y = 0; t <= 24; t++) {
  [x, y] = [y, (2 * x + 3 * y) % 5];
  WALK.push({ to: 2 * (x + 5 * y), by: ((t * (t + 1)) / 2) % 64 });
}

/** What iota adds in each round: bits of a linear feedback shift register. */
const CONSTANTS: { low: number; high: number }[] = [];
for (let round = 0, register = 1; round < 24; round++) {
  const constant = { low: 0, high: 0 };
  for (let j = 0; j < 7; j++) {
    if (register & 1) constant[j < 6 ? 'low' : 'high'] |= 1 << (2 ** j - 1);
    register = (register << 1) ^ (register & 0x80 ? 0x171 : 0);
  }
  CONSTANTS.push(constant);
}

/** One word of a lane rotated left by less than 32, given the lane's other word. */
function rotated(word: number, other: number, by: number): number {
  return (word << by) | (other >>> (32 - by));
}

// Plain loops and variables: taking arrays apart is the dearest thing that an interpreter does.
function permute(state: Int32Array): void {
  const parity = new Int32Array(10);
  const old = new Int32Array(10);
  for (const { low, high } of CONSTANTS) {
    for (let i = 0; i < 10; i++) parity[i] = state[i] ^ state[i + 10] ^ state[i + 20] ^ state[i + 30] ^ state[i + 40];
    for (let i = 0; i < 10; i++) {
      const after = (i + 2) % 10;
      const mixed = parity[(i + 8) % 10] ^ rotated(parity[after], parity[after ^ 1], 1);
      for (let j = i; j < 50; j += 10) state[j] ^= mixed;
    }
    let l = state[2];
    let h = state[3];
    for (let step = 0; step < 24; step++) {
      const { to, by } = WALK[step];
      // Rotating by 32 exchanges the words.
      const a = by < 32 ? l : h;
      const b = by < 32 ? h : l;
      l = state[to];
      h = state[to + 1];
      state[to] = rotated(a, b, by % 32);
      state[to + 1] = rotated(b, a, by % 32);
    }
    for (let row = 0; row < 50; row += 10) {
      for (let i = 0; i < 10; i++) old[i] = state[row + i];
      for (let i = 0; i < 10; i++) state[row + i] ^= ~old[(i + 2) % 10] & old[(i + 4) % 10];
    }
    state[0] ^= low;
    state[1] ^= high;
  }
}

/** The hash of `bytes`: 32 bytes. */
export function keccak256(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil((bytes.length + 1) / RATE) * RATE);
  padded.set(bytes);
  padded[bytes.length] ^= 0x01;
  padded[padded.length - 1] ^= 0x80;
  const view = new DataView(padded.buffer);
  const state = new Int32Array(50);
  for (let block = 0; block < padded.length; block += RATE) {
    for (let i = 0; i < RATE / 4; i++) state[i] ^= view.getInt32(block + 4 * i, true);
    permute(state);
  }
  const hash = new DataView(new ArrayBuffer(32));
  for (let i = 0; i < 8; i++) hash.setInt32(4 * i, state[i], true);
  return new Uint8Array(hash.buffer);
}
