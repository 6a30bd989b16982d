/** Prometheus metrics: every name, label and bucket in one place. Labels come from closed sets, never from a request. */

import { STATUS_CODES } from "node:http";
import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { ConnectionEvent } from "../http/contract.ts";
import { createInstruments } from "./instruments.ts";
import { createRoomMetrics, type RoomMetrics } from "./room-metrics.ts";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** An API may answer with any number of three digits, and a label needs a bound. */
function statusLabel(status: number): number | "other" {
  return String(status) in STATUS_CODES ? status : "other";
}

export interface RequestObservation {
  readonly route: string;
  readonly method: string;
  readonly status: number;
  /** The refusal's code, or `granted`. */
  readonly code: string;
  readonly seconds: number;
}

export interface WatchedTokenCache {
  entries(): number;
  bytes(): number;
  users(): number;
  readonly sharedAvailable: (() => boolean) | undefined;
}

export interface Metrics extends RoomMetrics {
  readonly contentType: string;
  exposition(): Promise<string>;
  requestStarted(): void;
  requestEnded(observation: RequestObservation): void;
  /** A delegated token was handed out: from where. */
  tokenObtained(origin: string): void;
  /** A token was accepted: from the verified-token cache, or by its signature. */
  tokenVerified(origin: string): void;
  /** Something happened in the exchange: `hit`, `miss`, `joined`, … */
  exchangeEvent(event: string): void;
  /** An exchange with Entra ended, retries included: `granted` or the refusal's code. */
  exchangeEnded(outcome: string, seconds: number): void;
  /** From now on each exposition tells how full the token cache is, and whether the shared tier answers if there is one. */
  watchTokenCache(cache: WatchedTokenCache): void;
  /** Something happened to the signing keys: `refreshed`, `failed`, … */
  keySetEvent(event: string): void;
  /** Something happened to a downstream API: `breaker_opened`, … */
  downstreamEvent(api: string, event: string): void;
  /** A rate limit was not counted as configured: `counted_alone`, … */
  rateLimitEvent(event: string): void;
  /** Turned away before anything of it was looked at, because the event loop lags. */
  requestShed(): void;
  /** An operation of the shared tier came to nothing: `timeout`, `OOM`, … */
  sharedTierFailed(reason: string): void;
  /** From now on each exposition shows by how much this host's clock is ahead of Entra's, ms, once that is known. */
  watchClock(driftMs: () => number | undefined): void;
  /** Lines of a stream that will never be written. */
  linesLost(stream: "log" | "audit", lines: number): void;
  /** From now on each exposition tells how the event loop keeps up, as load shedding sees it. */
  watchLoad(load: { isOverloaded(): boolean; lagMs(): number }): void;
  connection(event: ConnectionEvent): void;
  /** Something happened to a credential: `reloaded`, `unusable`, … */
  credentialEvent(source: string, event: string): void;
  /** Asked at each scrape for what is known of the gateway's own credentials. */
  watchCredential(read: () => CredentialReading): void;
}

export interface CredentialReading {
  readonly serving: string;
  readonly sources: readonly {
    readonly source: string;
    readonly state: string;
    readonly generation: number;
    /** Ms since the epoch. */
    readonly expiresAt?: number;
  }[];
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const instruments = createInstruments();
  const { counter, histogram, exposition } = instruments;

  let inFlight = 0;
  watch("obo_gateway_requests_in_flight", "Requests being served right now", () => inFlight);
  const requests = counter(
    "obo_gateway_requests_total",
    "Requests answered, by route, method, status and decision (granted, or why not)",
    ["route", "method", "status", "code"],
  );
  const duration = histogram(
    "obo_gateway_request_duration_seconds",
    "Time from the request's headers to the end of its answer",
    ["route", "code"],
  );
  const tokens = counter(
    "obo_gateway_downstream_tokens_total",
    "Delegated tokens handed out, by origin: cache, shared (another replica's), flight (shared with a concurrent request) or authority",
    ["origin"],
  );
  const verified = counter(
    "obo_gateway_tokens_verified_total",
    "Callers' tokens accepted, by origin: cache, or signature",
    ["origin"],
  );
  const exchangeEvents = counter("obo_gateway_exchange_events_total", "What happened in the token exchange", [
    "event",
  ]);
  const exchanges = histogram(
    "obo_gateway_exchange_duration_seconds",
    "Time of one exchange with Entra, retries included, by outcome (granted, or why not)",
    ["outcome"],
  );
  const keySet = counter(
    "obo_gateway_key_set_events_total",
    "What happened to the authority's signing keys",
    ["event"],
  );
  const downstream = counter(
    "obo_gateway_downstream_events_total",
    "What happened to downstream APIs: breakers that opened and closed",
    ["api", "event"],
  );
  const credential = counter(
    "obo_gateway_credential_events_total",
    "What happened to the gateway's own credentials",
    ["source", "event"],
  );
  const rateLimits = counter(
    "obo_gateway_rate_limit_events_total",
    "Requests counted by this instance alone because Redis did not answer, and counts forgotten for want of room",
    ["event"],
  );
  const shed = counter(
    "obo_gateway_requests_shed_total",
    "Requests turned away because the event loop lagged; they are in no other metric, and not in the log",
    [],
  );
  const sharedFailures = counter(
    "obo_gateway_shared_cache_failures_total",
    "Operations of the shared tier (Redis) that came to nothing, by reason (timeout, OOM: its memory is full, …)",
    ["reason"],
  );
  const linesLost = counter(
    "obo_gateway_log_lines_lost_total",
    "Lines of the log and of the audit stream that were lost, because the output was blocked or failed",
    ["stream"],
  );
  // They are there from the start, so that an alert can tell 0 from nothing.
  for (const stream of ["log", "audit"]) linesLost.add(0, stream);
  const dropped = counter(
    "obo_gateway_connections_dropped_total",
    "Connections closed at once, because http.connections.max were open",
    [],
  );
  const cut = counter(
    "obo_gateway_connections_cut_total",
    "Connections closed by the gateway: a newcomer took the place (gave_way), the answer was not read (unread), or it would have held up the end (held_up)",
    ["reason"],
  );
  let connections = 0;
  watch("obo_gateway_connections", "Connections of callers open right now", () => connections);

  function watch(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  }

  return {
    ...createRoomMetrics(instruments),
    contentType: registry.contentType,
    exposition: async () => `${exposition()}\n${await registry.metrics()}`,
    requestStarted() {
      inFlight += 1;
    },
    requestEnded({ route, method, status, code, seconds }) {
      inFlight -= 1;
      requests.inc(route, METHODS.has(method) ? method : "other", statusLabel(status), code);
      duration.observe(seconds, route, code);
    },
    tokenObtained: tokens.inc,
    tokenVerified: verified.inc,
    exchangeEvent: exchangeEvents.inc,
    watchTokenCache({ entries, bytes, users, sharedAvailable }) {
      watch("obo_gateway_token_cache_entries", "Delegated tokens held in memory", entries);
      watch("obo_gateway_token_cache_bytes", "Memory that they take, estimated", bytes);
      watch("obo_gateway_token_cache_users", "Users of whom at least one token is held", users);
      if (sharedAvailable !== undefined)
        watch("obo_gateway_shared_cache_available", "Whether the shared tier (Redis) answers: 1 or 0", () =>
          sharedAvailable() ? 1 : 0,
        );
    },
    exchangeEnded: (outcome, seconds) => exchanges.observe(seconds, outcome),
    keySetEvent: keySet.inc,
    downstreamEvent: downstream.inc,
    credentialEvent: credential.inc,
    rateLimitEvent: rateLimits.inc,
    requestShed: () => shed.inc(),
    sharedTierFailed: sharedFailures.inc,
    watchClock(driftMs) {
      new Gauge({
        name: "obo_gateway_clock_drift_seconds",
        help: "By how much this host's clock is ahead of Entra's (negative: behind), by Entra's latest answers",
        registers,
        collect() {
          const drift = driftMs();
          if (drift !== undefined) this.set(drift / 1000);
          else this.reset();
        },
      });
    },
    linesLost: (stream, lines) => linesLost.add(lines, stream),
    watchLoad({ isOverloaded, lagMs }) {
      const lag = "Worst lag of the event loop in the last half second";
      watch("obo_gateway_event_loop_lag_seconds", lag, () => lagMs() / 1000);
      watch("obo_gateway_shedding", "Whether new requests are turned away: 1 or 0", () =>
        Number(isOverloaded()),
      );
    },
    connection(event) {
      if (event === "opened") connections += 1;
      else if (event === "closed") connections -= 1;
      else if (event === "dropped") dropped.inc();
      else cut.inc(event);
    },
    watchCredential: (read) => credentialGauges(read, registers),
  };
}

function credentialGauges(read: () => CredentialReading, registers: Registry[]): void {
  const gauge = (
    name: string,
    help: string,
    valueFor: (one: CredentialReading["sources"][number], serving: string) => number | undefined,
  ) =>
    new Gauge({
      name: `obo_gateway_credential_${name}`,
      help,
      labelNames: ["source"],
      registers,
      collect() {
        const { serving, sources } = read();
        for (const one of sources) {
          const value = valueFor(one, serving);
          if (value !== undefined) this.set({ source: one.source }, value);
        }
      },
    });
  gauge("serving", "1 for the source that proves the gateway now", ({ source }, serving) =>
    Number(source === serving),
  );
  gauge("usable", "1 while the source has something that Entra has not refused", ({ state }) =>
    Number(state === "usable"),
  );
  gauge("generation", "Counts the contents that served since the start", ({ generation }) => generation);
  gauge(
    "expiry_timestamp_seconds",
    "End of the certificate or federated token that the source serves",
    ({ expiresAt }) => (expiresAt === undefined ? undefined : Math.floor(expiresAt / 1000)),
  );
}
