/** Counts that processes keep together: a script that runs over one name in the Redis that they share. */

import type { RedisStore, Sealing, SharedCounters } from "./contract.ts";

export function createSharedCounters({
  sealing,
  store,
}: {
  readonly sealing: Sealing;
  readonly store: Pick<RedisStore, "run">;
}): SharedCounters {
  return {
    nameOf(subject) {
      const [name] = sealing.userNames(`counter\n${subject}`);
      return `obo:{${name}}:count`;
    },
    run: (script, name, args) => store.run(script, name, args),
  };
}
