/** The places of requests at one API: a number under way and a number in line, and of both a share for each caller. */

import { GatewayError } from "../../errors.ts";
import { createBudget, type Exhausted, type Owner } from "../../foundation/budget.ts";

export interface PlaceHolder {
  readonly owner: Owner;
  /** Called when the holder's request may begin: within `enter`, or later. */
  admitted(): void;
}

export interface Places {
  /** Gives a place, or one in line. Otherwise the refusal. */
  enter(holder: PlaceHolder): GatewayError | undefined;
  /** Gives back the holder's place of either kind, and lets the next in line begin. */
  leave(holder: PlaceHolder): void;
  /** Requests under way and in line. */
  taken(): number;
}

export interface PlacesOptions {
  readonly maxUnderWay: number;
  readonly maxWaiting: number;
  readonly userShare: number;
  readonly clientShare: number;
}

/** A caller past its share waits like one at a full API, and only its further requests are refused. */
export function createPlaces({ maxUnderWay, maxWaiting, ...shares }: PlacesOptions): Places {
  const underWay = createBudget({ total: maxUnderWay, ...shares });
  const inLine = createBudget({ total: maxWaiting, ...shares });
  const holding = new Set<PlaceHolder>();
  const waiting = new Set<PlaceHolder>();

  function begin(holder: PlaceHolder): void {
    holding.add(holder);
    holder.admitted();
  }

  /** In the order of their arrival, but for those whose caller holds its share of places already. */
  function admitNext(): void {
    for (const holder of waiting) {
      if (underWay.used() === maxUnderWay) return;
      if (underWay.take(holder.owner) !== undefined) continue;
      waiting.delete(holder);
      inLine.give(holder.owner);
      begin(holder);
    }
  }

  return {
    enter(holder) {
      const full = underWay.take(holder.owner);
      if (full === undefined) {
        begin(holder);
        return undefined;
      }
      const crowded = inLine.take(holder.owner);
      if (crowded !== undefined) return refusal(crowded === "process" ? full : crowded);
      waiting.add(holder);
      return undefined;
    },
    leave(holder) {
      if (waiting.delete(holder)) {
        inLine.give(holder.owner);
      } else if (holding.delete(holder)) {
        underWay.give(holder.owner);
        admitNext();
      }
    },
    taken: () => underWay.used() + inLine.used(),
  };
}

function refusal(exhausted: Exhausted): GatewayError {
  if (exhausted === "process") {
    return new GatewayError("overloaded", {
      detail: "Too many requests are waiting for the downstream API.",
      reason: "downstream_queue_full",
      retryAfterSeconds: 1,
    });
  }
  return new GatewayError("rate_limited", {
    detail: `Too many requests of this ${exhausted} are waiting for the downstream API.`,
    reason: `${exhausted}_share`,
    retryAfterSeconds: 1,
  });
}
