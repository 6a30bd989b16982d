/** A `fetch` for pages: puts the user's token in, meets what the gateway asks of the user, and repeats the request once. */

import { openConsentWindow } from "./consent-window.ts";
import type { Demand, GatewayFetch, GatewayFetchOptions, TokenRequest } from "./contract.ts";
import { GatewayRefusal, type RefusalFacts, readRefusal } from "./refusal.ts";
import { isRepeatable, mergedHeaders, resumableOf } from "./repeatable.ts";

/** A demand that is being met, or was: requests that were sent before its token came share that token. */
interface Answered {
  readonly demand: string;
  /** Counts the demands; a request remembers the newest one that had ended when it began. */
  readonly serial: number;
  readonly token: Promise<string | undefined>;
}

interface DemandRefusal extends RefusalFacts {
  readonly code: Demand;
}

const MEASURES: Readonly<Record<Demand, "renewing" | "signing_in" | "consenting">> = {
  token_rejected: "renewing",
  claims_challenged: "signing_in",
  interaction_required: "signing_in",
  consent_required: "consenting",
};

/**
 * Requests to other origins are passed on without a token. A redirect to another origin loses the token by the Fetch
 * standard (HTTP-redirect fetch, step 13). Errors of `fetch` and of an abort signal stay what they are.
 */
export function createGatewayFetch(options: GatewayFetchOptions): GatewayFetch {
  const { acquireToken, openConsent = openConsentWindow, onEvent = () => {} } = options;
  const send: GatewayFetch = options.fetch ?? ((input, init) => fetch(input, init));
  const base = new URL(options.gateway);
  let newest: Answered | undefined;
  let ended = 0;

  /** One demand at a time, as a sign-in library has one window; the same demand of several requests is met once. */
  function meet(refusal: DemandRefusal, endedBefore: number, resumable: TokenRequest) {
    const { code, claims = "", consentUri = "" } = refusal;
    const demand = `${code} ${claims} ${consentUri}`;
    const before = newest;
    if (before?.demand === demand && before.serial > endedBefore) {
      onEvent({ type: "joined", code });
      return before.token;
    }
    // How another demand ended matters to its requests alone.
    const token = Promise.allSettled([before?.token]).then(() => {
      onEvent({ type: MEASURES[code], code });
      if (code === "consent_required") return consented(consentUri);
      return acquireToken({ ...tokenFor(refusal), ...resumable });
    });
    const serial = (before?.serial ?? 0) + 1;
    newest = { demand, serial, token };
    const end = () => {
      ended = serial;
    };
    token.then(end, end);
    return token;
  }

  async function consented(uri: string): Promise<string | undefined> {
    // A page is opened at this address, so no other scheme may run in it.
    if (!/^https?:/i.test(uri) || !(await openConsent(uri))) return undefined;
    // The gateway remembers the refusal for the token that it was given for.
    return await acquireToken({ renew: true });
  }

  return async (input, init = {}) => {
    const request = input instanceof Request ? input : undefined;
    const url = new URL(request?.url ?? String(input), base);
    const target = request ?? url;
    if (url.origin !== base.origin) return send(target, init);

    const signal = init.signal ?? request?.signal;
    const attempt = (token: string) => {
      const headers = mergedHeaders(request, init);
      headers.set("authorization", `Bearer ${token}`);
      return send(target, { ...init, headers });
    };

    const endedBefore = ended;
    const response = await attempt(await unlessAborted(() => acquireToken({}), signal));
    const refusal = await readRefusal(response);
    if (refusal === undefined) return response;
    onEvent({ type: "refused", code: refusal.code, correlationId: refusal.correlationId });
    if (!isDemand(refusal)) throw new GatewayRefusal(refusal);

    const resumable = resumableOf(url, request, init);
    const token = await unlessAborted(() => meet(refusal, endedBefore, resumable), signal).catch((cause) => {
      throw signal?.aborted ? cause : new GatewayRefusal(refusal, { cause });
    });
    // The demand is met for the next request; a stream that is gone cannot be sent again by this one.
    if (token === undefined || !isRepeatable(request, init)) throw new GatewayRefusal(refusal);
    onEvent({ type: "repeated", code: refusal.code });
    const second = await attempt(token);
    const again = await readRefusal(second);
    if (again === undefined) return second;
    onEvent({ type: "refused", code: again.code, correlationId: again.correlationId });
    throw new GatewayRefusal(again);
  };
}

function isDemand(refusal: RefusalFacts): refusal is DemandRefusal {
  return refusal.code in MEASURES;
}

function tokenFor({ code, claims }: DemandRefusal): TokenRequest {
  if (code === "token_rejected") return { renew: true };
  return claims === undefined ? { interactive: true } : { claims };
}

/** The wait of this request alone ends: what was begun may serve others, and the next one. */
async function unlessAborted<T>(start: () => Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
  signal?.throwIfAborted();
  const started = start();
  if (!signal) return started;
  const { promise, stop } = aborted(signal);
  return await Promise.race([started, promise]).finally(stop);
}

function aborted(signal: AbortSignal): { readonly promise: Promise<never>; readonly stop: () => void } {
  let stop = () => {};
  const promise = new Promise<never>((_resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort);
    stop = () => signal.removeEventListener("abort", abort);
  });
  return { promise, stop };
}
