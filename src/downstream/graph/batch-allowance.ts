/** How many batches may be under way, and how many of their bytes the process holds: for each user, each client, and in all. */

import { GatewayError } from "../../errors.ts";
import { createBudget, type Exhausted, type Owner } from "../../foundation/budget.ts";
import type { BatchLimits } from "../contract.ts";

/** What one batch holds. */
export interface BatchHold {
  /** Takes memory for more of the body. @throws {GatewayError} `rate_limited` or `overloaded` when none is left. */
  take(bytes: number): void;
  /** Takes memory for more of the answer; false when there is none, and then the answer is passed on unread. */
  mayKeep(bytes: number): boolean;
  /** Gives everything back. Further calls do nothing. */
  release(): void;
}

/** Opens the account of one batch. The result throws `rate_limited` or `overloaded` before a byte of the batch is read. */
export type EnterBatch = (owner: Owner) => BatchHold;

export function createBatchAllowance({ places, bytes, ...shares }: BatchLimits): EnterBatch {
  const batches = createBudget({ total: places, ...shares });
  const memory = createBudget({ total: bytes, ...shares });
  return (owner) => {
    const refused = batches.take(owner);
    if (refused !== undefined) throw exhaustedError(refused, "batch_places");
    let held = 0;
    let isReleased = false;
    const keep = (more: number): Exhausted | undefined => {
      // A batch that has ended takes nothing any more: a late chunk of its body would never be given back.
      if (isReleased || more === 0) return undefined;
      const exhausted = memory.take(owner, more);
      if (exhausted === undefined) held += more;
      return exhausted;
    };
    return {
      take(more) {
        const exhausted = keep(more);
        if (exhausted !== undefined) throw exhaustedError(exhausted, "batch_bytes");
      },
      mayKeep: (more) => keep(more) === undefined,
      release() {
        if (isReleased) return;
        isReleased = true;
        batches.give(owner);
        if (held > 0) memory.give(owner, held);
      },
    };
  };
}

/** A user or a client that holds its share has to wait for itself; the process is full because of all. */
function exhaustedError(exhausted: Exhausted, reason: string): GatewayError {
  const whose = { user: "This user has", client: "This client has", process: "The gateway has" }[exhausted];
  return new GatewayError(exhausted === "process" ? "overloaded" : "rate_limited", {
    detail: `${whose} as many batches under way as may be. Send the request again.`,
    reason: `${reason}_${exhausted}`,
    retryAfterSeconds: 1,
  });
}
