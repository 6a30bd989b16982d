/** Prometheus metrics: every name, label and bucket in one place. Labels come from closed sets, never from a request. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

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

export interface Metrics {
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
  /** From now on each exposition tells how the event loop keeps up, as load shedding sees it. */
  watchLoad(load: { isOverloaded(): boolean; lagMs(): number }): void;
  connection(event: "opened" | "closed" | "dropped"): void;
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

  const inFlight = new Gauge({
    name: "obo_gateway_requests_in_flight",
    help: "Requests being served right now",
    registers,
  });
  const requests = new Counter({
    name: "obo_gateway_requests_total",
    help: "Requests answered, by route, method, status and decision (granted, or why not)",
    labelNames: ["route", "method", "status", "code"],
    registers,
  });
  const duration = new Histogram({
    name: "obo_gateway_request_duration_seconds",
    help: "Time from the request's headers to the end of its answer",
    labelNames: ["route", "code"],
    buckets: SECONDS,
    registers,
  });
  const tokens = new Counter({
    name: "obo_gateway_downstream_tokens_total",
    help: "Delegated tokens handed out, by origin: cache, shared (another replica's), flight (shared with a concurrent request) or authority",
    labelNames: ["origin"],
    registers,
  });
  const verified = new Counter({
    name: "obo_gateway_tokens_verified_total",
    help: "Callers' tokens accepted, by origin: cache, or signature",
    labelNames: ["origin"],
    registers,
  });
  const exchangeEvents = new Counter({
    name: "obo_gateway_exchange_events_total",
    help: "What happened in the token exchange",
    labelNames: ["event"],
    registers,
  });
  const exchanges = new Histogram({
    name: "obo_gateway_exchange_duration_seconds",
    help: "Time of one exchange with Entra, retries included, by outcome (granted, or why not)",
    labelNames: ["outcome"],
    buckets: SECONDS,
    registers,
  });
  const keySet = new Counter({
    name: "obo_gateway_key_set_events_total",
    help: "What happened to the authority's signing keys",
    labelNames: ["event"],
    registers,
  });
  const downstream = new Counter({
    name: "obo_gateway_downstream_events_total",
    help: "What happened to downstream APIs: breakers that opened and closed",
    labelNames: ["api", "event"],
    registers,
  });
  const rateLimits = new Counter({
    name: "obo_gateway_rate_limit_events_total",
    help: "Requests counted by this instance alone because Redis did not answer, and counts forgotten for want of room",
    labelNames: ["event"],
    registers,
  });
  const shed = new Counter({
    name: "obo_gateway_requests_shed_total",
    help: "Requests turned away because the event loop lagged; they are in no other metric, and not in the log",
    registers,
  });
  const connections = new Gauge({
    name: "obo_gateway_connections",
    help: "Connections of callers open right now",
    registers,
  });
  const dropped = new Counter({
    name: "obo_gateway_connections_dropped_total",
    help: "Connections closed at once, because http.connections.max were open",
    registers,
  });
  const credential = new Counter({
    name: "obo_gateway_credential_events_total",
    help: "What happened to the gateway's own credentials",
    labelNames: ["source", "event"],
    registers,
  });

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
    contentType: registry.contentType,
    exposition: () => registry.metrics(),
    requestStarted: () => inFlight.inc(),
    requestEnded({ route, method, status, code, seconds }) {
      inFlight.dec();
      requests.inc({ route, method: METHODS.has(method) ? method : "other", status, code });
      duration.observe({ route, code }, seconds);
    },
    tokenObtained: (origin) => tokens.inc({ origin }),
    tokenVerified: (origin) => verified.inc({ origin }),
    exchangeEvent: (event) => exchangeEvents.inc({ event }),
    watchTokenCache({ entries, bytes, users, sharedAvailable }) {
      watch("obo_gateway_token_cache_entries", "Delegated tokens held in memory", entries);
      watch("obo_gateway_token_cache_bytes", "Memory that they take, estimated", bytes);
      watch("obo_gateway_token_cache_users", "Users of whom at least one token is held", users);
      if (sharedAvailable !== undefined)
        watch("obo_gateway_shared_cache_available", "Whether the shared tier (Redis) answers: 1 or 0", () =>
          sharedAvailable() ? 1 : 0,
        );
    },
    exchangeEnded: (outcome, seconds) => exchanges.observe({ outcome }, seconds),
    keySetEvent: (event) => keySet.inc({ event }),
    downstreamEvent: (api, event) => downstream.inc({ api, event }),
    rateLimitEvent: (event) => rateLimits.inc({ event }),
    requestShed: () => shed.inc(),
    watchLoad({ isOverloaded, lagMs }) {
      const lag = "Worst lag of the event loop in the last half second";
      watch("obo_gateway_event_loop_lag_seconds", lag, () => lagMs() / 1000);
      watch("obo_gateway_shedding", "Whether new requests are turned away: 1 or 0", () =>
        Number(isOverloaded()),
      );
    },
    connection(event) {
      if (event === "opened") connections.inc();
      else if (event === "closed") connections.dec();
      else dropped.inc();
    },
    credentialEvent: (source, event) => credential.inc({ source, event }),
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
