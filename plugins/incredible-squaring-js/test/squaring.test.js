// The plugin's answers and refusals, in Node: no host, no WebAssembly.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keccak256 } from '../build/keccak.js';
import { encode, onLeaderProcessTaskResponse, onSubmitTaskToLeader, onTaskRequest } from '../build/squaring.js';

const none = new Uint8Array();
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const task = (request) => ({ index: 4, request });
const twelve = task(encode(12n));

/** What a call throws, as the host gets it. */
function thrown(call) {
  try {
    call();
  } catch (error) {
    return error;
  }
  assert.fail('nothing was thrown');
}

test('keccak256 has its known values, also where padding fills a block', () => {
  for (const [length, hash] of [
    [0, 'c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470'],
    [64, '002030bde3d4cf89919649775cd71875c4d0ab1708a380e03fefc3a28aa24831'],
    [135, 'cbdfd9dee5faad3818d6b06f95a219fd290b0e1706f6a82e5a595b9ce9faca62'],
    [136, '7ce759f1ab7f9ce437719970c26b0a66ff11fe3e38e17df89cf5d29c7d7f807e'],
    [272, '8e2476e65823b24d96ebe239f2c1534cdf763e689e2410c3b1cb0c74e6177bfc'],
  ]) {
    assert.equal(hex(keccak256(Uint8Array.from({ length }, (_, i) => i % 251))), hash, `${length} bytes`);
  }
});

test("the answer is the exact square under the task's own number", () => {
  for (const number of [0n, 12n, 2n ** 128n - 1n]) {
    assert.deepEqual(onTaskRequest(task(encode(number))), [encode(4n, number * number)]);
  }
});

test('a square beyond uint256 is an invalid task, never a wrapped number', () => {
  for (const number of [2n ** 128n, 2n ** 256n - 1n]) {
    const val = `the square of ${number} exceeds uint256`;
    assert.deepEqual(thrown(() => onTaskRequest(task(encode(number)))), { tag: 'invalid-task', val });
  }
});

test('a request that is none is an invalid task', () => {
  for (const request of [none, new Uint8Array(31)]) {
    assert.equal(thrown(() => onTaskRequest(task(request))).tag, 'invalid-task');
  }
});

test('what is to be signed is what the aggregator counts', () => {
  const [signable] = onSubmitTaskToLeader(twelve, onTaskRequest(twelve));
  const counted = onLeaderProcessTaskResponse(twelve, { payload: signable.payload, extension: signable.extension });
  assert.deepEqual(counted, { taskIndex: 4, key: signable.key, digest: signable.digest });
});

test('a response that cannot be right is rejected with a code', () => {
  for (const [payload, extension, code] of [
    [encode(5n, 144n), none, 'wrong-task'],
    [encode(4n), none, 'malformed'],
    [encode(2n ** 32n, 144n), none, 'malformed'],
    [encode(4n, 144n, 0n), none, 'non-canonical'],
    [encode(4n, 144n), Uint8Array.of(1), 'malformed-extension'],
  ]) {
    assert.equal(thrown(() => onLeaderProcessTaskResponse(twelve, { payload, extension })).code, code);
  }
});
