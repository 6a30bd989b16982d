/** Replaces tokens in use before they end, so that no caller waits for the exchange that must come. */

import type { ExchangeEvent } from "./events.ts";
import type { ExchangeRequest } from "./exchange.ts";

export interface RefreshOptions {
  /** Most refreshes under way at once. They are a luxury: past it they are left out, and a later hit asks again. */
  readonly maxConcurrent: number;
}

export interface RefreshPorts {
  /** Starts or joins the exchange; rejects when it fails. */
  readonly exchange: (key: string, request: ExchangeRequest, endingAfter: number) => Promise<unknown>;
  readonly onEvent: (event: ExchangeEvent) => void;
}

/** Returns at once, whatever becomes of it. */
export type RefreshAhead = (key: string, request: ExchangeRequest, endingAfter: number) => void;

export function createRefreshAhead({ maxConcurrent }: RefreshOptions, ports: RefreshPorts): RefreshAhead {
  let underWay = 0;

  return (key, request, endingAfter) => {
    if (underWay >= maxConcurrent) return;
    underWay += 1;
    ports.onEvent({ type: "refreshed_ahead", tenantId: request.assertion.tenantId });
    // The caller who happened to ask may leave; the refresh is not theirs, nor part of their trace.
    const { signal: _, trace: _trace, ...lasting } = request;
    ports
      .exchange(key, lasting, endingAfter)
      // Told as any exchange's end is; the token at hand serves on, and what Entra revoked was purged.
      .catch(() => {})
      .finally(() => {
        underWay -= 1;
      });
  };
}
