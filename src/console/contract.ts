/** Types of the console room: what it listens to, what it shows, and how the admin listener feeds its viewers. */

import type { CredentialStatus } from "../credential/contract.ts";
import type { TransportEvent } from "../downstream/contract.ts";
import type { ConnectionEvent, LoadEvent, RateLimitEvent, RequestObserver } from "../http/contract.ts";
import type { TokenVerifierEvent } from "../identity/contract.ts";

/** The signals that the console reads on their way to log and metrics. */
export interface WatchedSignals {
  readonly requests: RequestObserver;
  identity(event: TokenVerifierEvent): void;
  downstream(event: TransportEvent): void;
  rateLimit(event: RateLimitEvent): void;
  load(event: LoadEvent): void;
  connection(event: ConnectionEvent): void;
}

/** The row of the AADSTS table for Entra's numbers. */
export type ExplainNumbers = (
  numbers: readonly number[],
) => { readonly meaning: string; readonly fix: string } | undefined;

export interface WatchedState {
  readonly credential: () => CredentialStatus;
  readonly cached: { entries(): number; bytes(): number; users(): number };
  readonly keysReady: () => boolean;
}

/** A request that has ended, as viewers see it. Digests, codes and numbers only. */
export interface ShownRequest {
  readonly kind: "request";
  readonly at: number;
  readonly correlationId: string;
  /** First 8 hex digits of a SHA-256 over tenant and object id, under a key of this process. */
  readonly user: string | undefined;
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly code: string;
  readonly reason: string | undefined;
  readonly actor: string | undefined;
  readonly fix: string | undefined;
  readonly completed: boolean;
  readonly ms: number;
  readonly verifyMs: number | undefined;
  readonly exchangeMs: number | undefined;
  readonly downstreamMs: number | undefined;
  readonly origin: string | undefined;
  readonly credential: string | undefined;
  readonly generation: number | undefined;
  readonly downstreamStatus: number | undefined;
}

/** One file of the page. */
export interface ConsolePage {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What a listener needs to show the console. */
export interface ConsoleFeed {
  /** By path: `/console` and what it loads. */
  readonly pages: Readonly<Record<string, ConsolePage>>;
  /** Tells how many viewers are connected; without any, nothing is prepared. */
  viewers(count: number): void;
  onEvents(send: SendEvents): void;
}

/** Events as JSON texts, several at a time, while a viewer is connected; newcomers see kept ones of the time before. */
export type SendEvents = (kept: readonly string[], passing: readonly string[]) => void;

export interface Console extends ConsoleFeed {
  /** The same signals, seen by the console before they go on. */
  tap<Signals extends WatchedSignals>(signals: Signals): Signals;
  watch(state: WatchedState): void;
  close(): void;
}
