/** The flow console: requests as they end, and the state beside them, for those who watch on the admin port. */

import { createHmac, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { ACTOR_OF, type GatewayErrorCode } from "../errors.ts";
import { createBoundedMap } from "../foundation/bounded-map.ts";
import type { RequestEnd, RequestRecord } from "../http/contract.ts";
import type {
  Console,
  ConsolePage,
  ExplainNumbers,
  SendEvents,
  ShownRequest,
  WatchedSignals,
  WatchedState,
} from "./contract.ts";
import { createRates } from "./rates.ts";

/**
 * Requests are written out, and handed to the listener's thread with the state that is due, so often, ms: a flood of
 * requests is a few messages, each of which wakes that thread and is one write to each viewer.
 */
const TURN_MS = 250;
/**
 * Granted requests that one turn shows, and as many refused ones: 200 of each a second are more than a page lists and a
 * person reads. What goes beyond is counted instead, the granted ones of a flood before its refusals.
 */
const MOST_IN_TURN = 50;
const TURNS_OF_STATE = 4;
/** Digests that are remembered: an HMAC costs more than all else that is shown of a request. */
const MOST_DIGESTS = 1_000;

export async function createConsole(options: {
  readonly explain: ExplainNumbers;
  readonly now: () => number;
}): Promise<Console> {
  const { explain, now } = options;
  const pages = await readPages();
  const rates = createRates();
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
  let send: SendEvents = () => {};
  const turns = createTurns({
    describe: createDescription(explain),
    stateNow,
    send: (kept, passing) => send(kept, passing),
  });

  function stateNow(): string {
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
      rates: rates.summary(now()),
    };
    return JSON.stringify(event);
  }

  return {
    pages,
    onEvents(listener) {
      send = listener;
    },
    viewers(count) {
      const before = watched;
      watched = count;
      if (count === 0) turns.end();
      else if (before === 0) turns.begin();
      if (count > before) send([], [stateNow()]);
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
          const at = now();
          rates.count(at, ms, record.refusal !== undefined);
          if (watched > 0) turns.show({ record, end, at, ms });
          signals.requests.ended(record, end);
        },
      },
      ...tapEvents(signals, counts, breakers),
    }),
    close: turns.end,
  };
}

/** A request that a viewer is to see. */
interface EndedRequest {
  readonly record: RequestRecord;
  readonly end: RequestEnd;
  readonly at: number;
  readonly ms: number;
}

interface TurnsOptions {
  readonly describe: (request: EndedRequest) => ShownRequest;
  readonly stateNow: () => string;
  readonly send: SendEvents;
}

/** Gathers what has ended, and hands it over turn by turn while viewers watch. */
function createTurns({ describe, stateNow, send }: TurnsOptions) {
  let batch: EndedRequest[] = [];
  let room = { granted: MOST_IN_TURN, refused: MOST_IN_TURN };
  let passedOver = 0;
  let turns = 0;
  let timer: NodeJS.Timeout | undefined;

  function turn(): void {
    turns += 1;
    const passing = turns % TURNS_OF_STATE === 0 ? [stateNow()] : [];
    if (batch.length === 0 && passing.length === 0) return;
    const kept = batch.map((request) => JSON.stringify(describe(request)));
    if (passedOver > 0) kept.push(JSON.stringify({ kind: "passed_over", requests: passedOver }));
    empty();
    send(kept, passing);
  }

  function empty(): void {
    batch = [];
    room = { granted: MOST_IN_TURN, refused: MOST_IN_TURN };
    passedOver = 0;
  }

  return {
    begin() {
      turns = 0;
      timer = setInterval(turn, TURN_MS).unref();
    },

    end() {
      clearInterval(timer);
      empty();
    },

    /** Only what is at hand is kept until the turn. */
    show(request: EndedRequest) {
      const kind = request.record.refusal === undefined ? "granted" : "refused";
      if (room[kind] === 0) {
        passedOver += 1;
        return;
      }
      room[kind] -= 1;
      batch.push(request);
    },
  };
}

/** A request as viewers see it: times, facts of telemetry, and a digest in the place of the user. */
function createDescription(explain: ExplainNumbers): (request: EndedRequest) => ShownRequest {
  // A digest that is not the user's in any other place: a list of object ids must not lead back to users.
  const key = randomBytes(32);
  const digests = createBoundedMap<string>({ maxEntries: MOST_DIGESTS });

  function digest(text: string): string {
    const known = digests.get(text, 0);
    if (known !== undefined) return known;
    const made = createHmac("sha256", key).update(text).digest("hex").slice(0, 8);
    digests.set(text, made);
    return made;
  }

  function fixOf(diagnostics: object | undefined): string | undefined {
    const numbers = (diagnostics as { readonly error_codes?: unknown } | undefined)?.error_codes;
    if (!Array.isArray(numbers)) return undefined;
    const row = explain(numbers);
    return row && `AADSTS${numbers[0]}: ${row.meaning}. Fix: ${row.fix}.`;
  }

  return ({ record, end, at, ms }) => {
    const { method, status, completed } = end;
    const { refusal, caller, tokenRequest } = record;
    const code = refusal?.code ?? (completed ? "granted" : "cut");
    return {
      kind: "request",
      at,
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
      ms: rounded(ms),
      verifyMs: rounded(record.verifyMs),
      exchangeMs: rounded(record.exchangeMs),
      downstreamMs: rounded(record.downstreamMs),
      origin: record.tokenOrigin,
      credential: tokenRequest?.source,
      generation: tokenRequest?.generation,
      downstreamStatus: record.downstreamStatus,
    };
  };
}

/** To a hundredth: a clock's sixteen digits would be a sixth of what viewers are sent. */
function rounded<Time extends number | undefined>(ms: Time): Time {
  return (ms === undefined ? ms : Math.round(ms * 100) / 100) as Time;
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
