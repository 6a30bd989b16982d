/** Replaces tokens in use before they end, so that no caller waits for the exchange that must come. */

import type { ExchangeEvent, ExchangeRequest } from "./contract.ts";

export interface RefreshOptions {
  /** Most refreshes under way at once. They are a luxury: past it they are left out, and a later hit asks again. */
  readonly maxConcurrent: number;
}

export interface RefreshPorts {
  /** Starts or joins the exchange; rejects when it fails. */
  readonly exchange: (request: ExchangeRequest, endingAfter: number) => Promise<unknown>;
  readonly onEvent: (event: ExchangeEvent) => void;
}

/** Returns at once, whatever becomes of it. */
export type RefreshAhead = (request: ExchangeRequest, endingAfter: number) => void;

export function createRefreshAhead({ maxConcurrent }: RefreshOptions, ports: RefreshPorts): RefreshAhead {
  let underWay = 0;

  return (request, endingAfter) => {
    if (underWay >= maxConcurrent) return;
    underWay += 1;
    ports.onEvent({ type: "refreshed_ahead", tenantId: request.assertion.tenantId });
    // The caller whose request met the token may leave; the refresh is not part of that request, nor of its trace.
    const { signal: _, trace: _trace, ...lasting } = request;
    ports
      .exchange(lasting, endingAfter)
      // The exchange's own event reports its failure; the cached token serves on, and what Entra revoked was purged.
      .catch(() => {})
      .finally(() => {
        underWay -= 1;
      });
  };
}
