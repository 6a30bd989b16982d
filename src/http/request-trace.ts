/** The trace of one request as the rooms see it; there is none unless the environment asks for traces. */

import type { TransferTrace } from "../downstream/contract.ts";
import type { AuthorityTrace } from "../exchange/contract.ts";

/** The span of a room that the request walks through. */
export interface RoomSpan extends AuthorityTrace {
  /** @param origin Where what the room gave came from. */
  granted(origin?: string): void;
  refused(error: unknown): void;
}

export interface RequestTrace extends TransferTrace {
  /** 32 hex digits. */
  readonly traceId: string;
  room(name: "verify" | "exchange"): RoomSpan;
  ended(end: TraceEnd): void;
}

/** What is known at the end of a request. */
export interface TraceEnd {
  readonly route: string | undefined;
  readonly status: number;
  readonly code: string;
  readonly reason: string | undefined;
  readonly completed: boolean;
  readonly correlationId: string;
  readonly tenantId: string | undefined;
  readonly objectId: string | undefined;
  readonly clientId: string | undefined;
}
