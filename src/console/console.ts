/** The flow console: requests as they end, and the state beside them, for those who watch on the admin port. */

import { createHmac, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { ACTOR_OF, type GatewayErrorCode } from "../errors.ts";
import type { RequestEnd, RequestRecord } from "../http/contract.ts";
import type {
  Console,
  ConsolePage,
  ExplainNumbers,
  ShownRequest,
  WatchedSignals,
  WatchedState,
} from "./contract.ts";
import { createRates } from "./rates.ts";

/** Events go to the listener's thread so often, ms; a flood of requests is a few messages. */
const BATCH_MS = 100;
/** More in one batch are not drawn by any page; they are counted instead. */
const MOST_IN_BATCH = 200;
const STATE_MS = 1_000;

export async function createConsole(options: {
  readonly explain: ExplainNumbers;
  readonly now: () => number;
}): Promise<Console> {
  const { explain, now } = options;
  const pages = await readPages();
  // A digest that is not the user's in any other place: a list of object ids must not lead back to users.
  const key = randomBytes(32);
  const rates = createRates(now);
  const breakers = new Map<string, "open" | "closed">();
  const counts = {
    connections: 0,
    inFlight: 0,
    limited: 0,
    shed: 0,
    keyEvents: { refreshed: 0, failed: 0, unknown: 0 },
  };
  let state: WatchedState | undefined;
  let watched = 0;
  let send = (_events: readonly string[], _isKept: boolean): void => {};
  let batch: string[] = [];
  let passedOver = 0;
  let batchTimer: NodeJS.Timeout | undefined;
  let stateTimer: NodeJS.Timeout | undefined;

  function flush(): void {
    batchTimer = undefined;
    const events =
      passedOver === 0 ? batch : [...batch, JSON.stringify({ kind: "passed_over", requests: passedOver })];
    batch = [];
    passedOver = 0;
    send(events, true);
  }

  function show(request: ShownRequest): void {
    if (batch.length >= MOST_IN_BATCH) passedOver += 1;
    else batch.push(JSON.stringify(request));
    batchTimer ??= setTimeout(flush, BATCH_MS).unref();
  }

  function describe(
    record: RequestRecord,
    { method, status, completed }: RequestEnd,
    ms: number,
  ): ShownRequest {
    const { refusal, caller, tokenRequest } = record;
    const code = refusal?.code ?? (completed ? "granted" : "cut");
    return {
      kind: "request",
      at: now(),
      correlationId: record.correlationId,
      user: caller && digest(`${caller.principal.tenantId} ${caller.principal.objectId}`),
      route: record.route ?? "none",
      method,
      status,
      code,
      reason: refusal?.reason,
      actor: ACTOR_OF[code as GatewayErrorCode],
      fix: fixOf(refusal?.diagnostics),
      completed,
      ms,
      verifyMs: record.verifyMs,
      exchangeMs: record.exchangeMs,
      downstreamMs: record.downstreamMs,
      origin: record.tokenOrigin,
      credential: tokenRequest?.source,
      generation: tokenRequest?.generation,
      downstreamStatus: record.downstreamStatus,
    };
  }

  function digest(text: string): string {
    return createHmac("sha256", key).update(text).digest("hex").slice(0, 8);
  }

  function fixOf(diagnostics: object | undefined): string | undefined {
    const numbers = (diagnostics as { readonly error_codes?: unknown } | undefined)?.error_codes;
    if (!Array.isArray(numbers)) return undefined;
    const row = explain(numbers);
    return row && `AADSTS${numbers[0]}: ${row.meaning}. Fix: ${row.fix}.`;
  }

  function showState(): void {
    const credential = state?.credential();
    const cached = state && {
      entries: state.cached.entries(),
      bytes: state.cached.bytes(),
      users: state.cached.users(),
    };
    const event = {
      kind: "state",
      at: now(),
      credential,
      keysReady: state?.keysReady(),
      cache: cached,
      breakers: Object.fromEntries(breakers),
      ...counts,
      rates: rates.summary(),
    };
    send([JSON.stringify(event)], false);
  }

  return {
    pages,
    onEvents(listener) {
      send = listener;
    },
    viewers(count) {
      const before = watched;
      watched = count;
      if (count === 0) {
        clearInterval(stateTimer);
        clearTimeout(batchTimer);
        stateTimer = undefined;
        batchTimer = undefined;
        batch = [];
        passedOver = 0;
      } else if (count > before) {
        showState();
        stateTimer ??= setInterval(showState, STATE_MS).unref();
      }
    },
    watch(watchedState) {
      state = watchedState;
    },
    tap: (signals) => ({
      ...signals,
      requests: {
        began(record, incoming) {
          counts.inFlight += 1;
          signals.requests.began(record, incoming);
        },
        ended(record, end) {
          counts.inFlight -= 1;
          const ms = performance.now() - record.startedAt;
          rates.count(ms, record.refusal !== undefined);
          if (watched > 0) show(describe(record, end, ms));
          signals.requests.ended(record, end);
        },
      },
      ...tapEvents(signals, counts, breakers),
    }),
    close() {
      clearInterval(stateTimer);
      clearTimeout(batchTimer);
    },
  };
}

interface Counts {
  connections: number;
  limited: number;
  shed: number;
  readonly keyEvents: { refreshed: number; failed: number; unknown: number };
}

/** What is counted without viewers too, since it cannot be had later. */
function tapEvents(
  signals: WatchedSignals,
  counts: Counts,
  breakers: Map<string, "open" | "closed">,
): Omit<WatchedSignals, "requests"> {
  return {
    identity(event) {
      if (event.type === "key_set_refreshed") counts.keyEvents.refreshed += 1;
      else if (event.type === "key_set_failed") counts.keyEvents.failed += 1;
      else if (event.type === "key_unknown") counts.keyEvents.unknown += 1;
      signals.identity(event);
    },
    downstream(event) {
      breakers.set(event.api, event.type === "breaker_opened" ? "open" : "closed");
      signals.downstream(event);
    },
    rateLimit(event) {
      counts.limited += 1;
      signals.rateLimit(event);
    },
    load(event) {
      if (event.type === "shed") counts.shed += 1;
      signals.load(event);
    },
    connection(event) {
      if (event === "opened") counts.connections += 1;
      else if (event === "closed") counts.connections -= 1;
      signals.connection(event);
    },
  };
}

/** `default-src 'self'` and nothing else: no script of the page stands in its text. */
const HEADERS = {
  "content-security-policy":
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

async function readPages(): Promise<Readonly<Record<string, ConsolePage>>> {
  const page = async (file: string, contentType: string): Promise<ConsolePage> => ({
    status: 200,
    contentType: `${contentType}; charset=utf-8`,
    body: await readFile(new URL(`./page/${file}`, import.meta.url), "utf8"),
    headers: HEADERS,
  });
  return {
    "/console": await page("index.html", "text/html"),
    "/console/app.js": await page("app.js", "text/javascript"),
    "/console/style.css": await page("style.css", "text/css"),
  };
}
