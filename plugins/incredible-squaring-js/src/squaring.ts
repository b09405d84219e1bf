// Square a number: the AVS's logic. Nothing of the host is used here, so tests need none.
//
// An error that the host is to see is thrown as the WIT value that it is; any other exception ends the call as a trap.

import type {
  AggregateKey, PeerResponse, Rejection, Signable, Task, TaskError,
} from 'eigenshift:avs/task-lifecycle@0.1.0';
import { keccak256 } from './keccak.js';

export const SCHEMA = '(uint256 numberToBeSquared) -> (uint32 taskIndex, uint256 numberSquared)';

/** The key of the only answer to a task. */
const KEY = new TextEncoder().encode('0');

/** `abi.encode` of unsigned integers: a big-endian word each. */
export function encode(...values: bigint[]): Uint8Array {
  const words = values.map((value) => value.toString(16).padStart(64, '0')).join('');
  return Uint8Array.from(words.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

/** `abi.decode` of unsigned integers of so many bits, or what is wrong with the bytes. More bytes may follow. */
export function decode(bytes: Uint8Array, ...bits: number[]): bigint[] | string {
  const length = 32 * bits.length;
  if (bytes.length < length) return `not decodable: ${bytes.length} bytes, needs ${length}`;
  const words = Array.from(bytes.subarray(0, length), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const values = bits.map((_, i) => BigInt(`0x${words.slice(64 * i, 64 * i + 64)}`));
  const fit = values.every((value, i) => value >> BigInt(bits[i]) === 0n);
  return fit ? values : 'not decodable: a value is too large for its type';
}

/** The number that a task asks about, or what is wrong with the request. */
function asked(task: Task): bigint | string {
  const decoded = decode(task.request, 256);
  return typeof decoded === 'string' ? `the request is ${decoded}` : decoded[0];
}

/** The number of the task that a response is for, or what is wrong. Only one spelling of a response is taken. */
function answered(payload: Uint8Array): bigint | Rejection {
  const decoded = decode(payload, 32, 256);
  if (typeof decoded === 'string') return { code: 'malformed', message: decoded };
  const message = 'the bytes are not the canonical encoding of the value they stand for';
  return payload.length === 64 ? decoded[0] : { code: 'non-canonical', message };
}

export function onTaskRequest(task: Task): Uint8Array[] {
  const number = asked(task);
  if (typeof number === 'string') throw { tag: 'invalid-task', val: number } satisfies TaskError;
  const squared = number * number;
  // A BigInt has no bounds; the contract's type has.
  const overflow = `the square of ${number} exceeds uint256`;
  if (squared >> 256n) throw { tag: 'invalid-task', val: overflow } satisfies TaskError;
  return [encode(BigInt(task.index), squared)];
}

export function onSubmitTaskToLeader(task: Task, responses: Uint8Array[]): Signable[] {
  const number = asked(task);
  if (typeof number === 'string') throw { tag: 'invalid-task', val: number } satisfies TaskError;
  for (const index of responses.map(answered)) {
    if (typeof index !== 'bigint') throw { tag: 'other', val: `own response: ${index.message}` } satisfies TaskError;
  }
  const twice = 'two responses under the key "0": give each a key of its own';
  if (responses.length > 1) throw { tag: 'other', val: twice } satisfies TaskError;
  return responses.map((payload) => ({ key: KEY, payload, digest: keccak256(payload), extension: new Uint8Array() }));
}

export function onLeaderProcessTaskResponse(task: Task, { payload, extension }: PeerResponse): AggregateKey {
  const refused = (code: string, message: string): Rejection => ({ code, message });
  const number = asked(task);
  if (typeof number === 'string') throw refused('invalid-task', number);
  const index = answered(payload);
  if (typeof index !== 'bigint') {
    const { code, message } = index;
    throw code === 'malformed' ? refused(code, `the response is ${message}; expected ${SCHEMA}`) : index;
  }
  if (extension.length) throw refused('malformed-extension', 'the extension is not decodable: no bytes expected');
  if (index !== BigInt(task.index)) throw refused('wrong-task', `the response is for task ${index}`);
  return { taskIndex: task.index, key: KEY, digest: keccak256(payload) };
}
