/** Puts a demand on the user into a challenge that MCP clients follow: the handle rides in `scope`. */

import type { Bridge, Carried } from "../contract.ts";
import { digestOf, type Handles } from "./handles.ts";
import type { Marks } from "./marks.ts";
import { MOST_MET } from "./met.ts";

/** Longest scope of a handle. Clients repeat it in a URL, and proxies bound header fields. */
const MOST_SCOPE_LENGTH = 1_500;
/** Sign-ins that one demand may lead to within the life of a handle. */
const MOST_TURNS = 8;
/**
 * Challenges of one user and client without a sign-in, after which the next one is plain. An agent that calls several
 * tools at once meets several; a client that goes in circles meets no more than these.
 */
const MOST_CHALLENGES = 20;

export function createCarry({
  handles,
  marks,
  now,
}: {
  readonly handles: Handles;
  readonly marks: Marks;
  readonly now: () => number;
}): Bridge["carry"] {
  return async ({ tenantId, objectId, clientId, tokenDigest }, demand): Promise<Carried> => {
    const met = await marks.metBy(tokenDigest);
    const digest = digestOf(demand);
    if (met.length >= MOST_MET || met.some((one) => one.demand === digest)) return { kind: "unmet" };
    for (let turn = 0; turn < MOST_TURNS; turn++) {
      const { scope, id } = handles.scopeOf({ demand, met, tenantId, objectId, turn }, now());
      if (scope.length > MOST_SCOPE_LENGTH) return { kind: "plain" };
      if (await marks.isUsed(id)) continue;
      const count = await marks.challenged({ tenantId, objectId, clientId });
      return count > MOST_CHALLENGES ? { kind: "plain" } : { kind: "carried", scope };
    }
    return { kind: "plain" };
  };
}
