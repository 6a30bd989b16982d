/** What processes count together: a script that runs over one name in the Redis of the shared tier. */

import type { SharedCache, Unavailable } from "./connection.ts";
import type { Sealing } from "./sealing.ts";

export interface SharedCounters {
  /** A keyed hash: who reads Redis learns neither who is counted nor, by trying known ids, whether somebody is. */
  nameOf(subject: string): string;
  /**
   * Runs a script, atomically, with the name as `KEYS[1]`. Ends within the tier's time budget and never rejects;
   * `undefined` means that it may or may not have run.
   */
  run(script: string, name: string, args: readonly string[]): Promise<unknown | Unavailable>;
}

export function createSharedCounters({
  sealing,
  cache,
}: {
  readonly sealing: Sealing;
  readonly cache: Pick<SharedCache, "run">;
}): SharedCounters {
  return {
    nameOf(subject) {
      const [name] = sealing.userNames(`counter\n${subject}`);
      return `obo:{${name}}:count`;
    },
    run: (script, name, args) => cache.run(script, name, args),
  };
}
