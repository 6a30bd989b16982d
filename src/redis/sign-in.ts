/** Keeps a token of Entra at hand with which Redis is signed in to, renewed before it ends for as long as Redis is used. */

import { setTimeout as delay } from "node:timers/promises";
import type { RedisToken, RedisTokenSource } from "./contract.ts";

/** Part of a token's lifetime after which the next one is asked for. */
const RENEWAL_SHARE = 0.75;
/** Of long-lived tokens the next one is asked for this long before the end at the latest, ms. */
const RENEWAL_MARGIN_MS = 5 * 60_000;
/** Longest step of the wait, ms: a clock that was set, or a machine that slept, is noticed after one step. */
const STEP_MS = 15_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
const LONGEST_ASKED_FOR_MS = 5 * 60_000;
/** Shortest time between two tokens, ms, when Redis does not accept the one that is at hand. */
const REFUSED_RENEWAL_MS = 60_000;

export interface SignInOptions {
  readonly source: RedisTokenSource;
  /** A new token is at hand. Called synchronously; must not throw. */
  readonly onToken: () => void;
  /** None could be had; the problem is the end of a sentence. It is asked for again. */
  readonly onFailure: (problem: string) => void;
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: (() => number) | undefined;
  /** Milliseconds of a clock that only goes forward. Default `performance.now`. */
  readonly elapsed?: (() => number) | undefined;
  /** Default: a timer that does not keep the process alive. Rejects when the signal fires. */
  readonly pause?: ((milliseconds: number, signal: AbortSignal) => Promise<void>) | undefined;
}

export interface SignIn {
  /** Undefined while there is none that is valid. */
  current(): RedisToken | undefined;
  /** Redis does not accept the token: another one is asked for soon, since this one may have been revoked. */
  refused(): void;
  close(): void;
}

/** Asks for the first token at once, in the background; neither the start nor a request waits for it. */
export function openSignIn(options: SignInOptions): SignIn {
  const { source, onToken, onFailure, now = Date.now, pause = pauseUnreferenced } = options;
  const { elapsed = () => performance.now() } = options;
  let held: { readonly token: RedisToken; readonly at: number; readonly elapsedAt: number } | undefined;
  let failures = 0;
  /** By the clock that only goes forward. */
  let retryAt = Number.NEGATIVE_INFINITY;
  let wasRefused = false;
  const closing = new AbortController();

  /** Time since the token was requested, by whichever clock has gone further: one may be set, the other stops in sleep. */
  function ageMs({ at, elapsedAt }: NonNullable<typeof held>): number {
    return Math.max(now() - at, elapsed() - elapsedAt);
  }

  function isDue(): boolean {
    if (elapsed() < retryAt) return false;
    if (held === undefined) return true;
    const lifetimeMs = held.token.expiresAt - held.at;
    const age = ageMs(held);
    if (wasRefused && age >= Math.min(REFUSED_RENEWAL_MS, lifetimeMs * RENEWAL_SHARE)) return true;
    const share = lifetimeMs * RENEWAL_SHARE;
    return age >= Math.max(Math.min(share, lifetimeMs - RENEWAL_MARGIN_MS), lifetimeMs / 2);
  }

  async function renew(): Promise<void> {
    const at = now();
    const elapsedAt = elapsed();
    const answer = await source();
    if (closing.signal.aborted) return;
    if ("problem" in answer) {
      const backoffMs = Math.min(FIRST_RETRY_MS * 2 ** failures, LONGEST_RETRY_MS);
      const askedForMs = Math.min((answer.retryAfterSeconds ?? 0) * 1_000, LONGEST_ASKED_FOR_MS);
      failures += 1;
      retryAt = elapsed() + Math.max(backoffMs * (0.8 + Math.random() * 0.4), askedForMs);
      onFailure(answer.problem);
      return;
    }
    failures = 0;
    wasRefused = false;
    held = { token: answer, at, elapsedAt };
    onToken();
  }

  /** Until the next look: soon for tokens that live for seconds, as in tests; a step for those of Entra. */
  function stepMs(): number {
    if (held === undefined || elapsed() < retryAt) return Math.min(STEP_MS, FIRST_RETRY_MS);
    return Math.max(50, Math.min(STEP_MS, (held.token.expiresAt - held.at) / 20));
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      if (isDue()) await renew();
      else await pause(stepMs(), closing.signal);
    }
  }
  // Ends by the signal.
  run().catch((error: unknown) => {
    if (!closing.signal.aborted) throw error;
  });

  return {
    current: () =>
      held !== undefined && ageMs(held) < held.token.expiresAt - held.at ? held.token : undefined,
    refused() {
      wasRefused = true;
    },
    close: () => closing.abort(),
  };
}

async function pauseUnreferenced(milliseconds: number, signal: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, { ref: false, signal });
}
