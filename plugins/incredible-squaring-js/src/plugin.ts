// The component's exports: the logic in `squaring`, with what it did not expect in the operator's log.

import { emit } from 'eigenshift:avs/log@0.1.0';
import type { Descriptor } from 'eigenshift:avs/task-lifecycle@0.1.0';
import * as squaring from './squaring.js';

/** A trap has no text of its own: the operator would not learn what went wrong. */
function report(error: unknown): never {
  if (error instanceof Error) emit('error', `${error}\n${error.stack}`);
  throw error;
}

/** Callbacks may be `async`, too. */
function reported<A extends unknown[], R>(callback: (...parameters: A) => R): (...parameters: A) => R {
  return (...parameters) => {
    try {
      const result = callback(...parameters);
      return result instanceof Promise ? (result.catch(report) as R) : result;
    } catch (error) {
      return report(error);
    }
  };
}

export const taskLifecycle = {
  describe: (): Descriptor => ({ name: 'incredible-squaring-js', version: '0.1.0', schema: squaring.SCHEMA }),
  onTaskRequest: reported(squaring.onTaskRequest),
  onSubmitTaskToLeader: reported(squaring.onSubmitTaskToLeader),
  onLeaderProcessTaskResponse: reported(squaring.onLeaderProcessTaskResponse),
};
