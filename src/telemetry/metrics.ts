/** Prometheus metrics: every name, label and bucket in one place. Labels come from closed sets, never from a request. */

import { STATUS_CODES } from "node:http";
import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { ConnectionEvent } from "../http/contract.ts";

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
  /** A tool of an MCP server was called: `granted`, or why not. */
  toolCalled(route: string, tool: string, code: string): void;
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
  /** Something happened to a delegation: `created`, `used`, `ended`, … */
  delegationEvent(event: string): void;
  /** Turned away before anything of it was looked at, because the event loop lags. */
  requestShed(): void;
  /** An operation of the shared tier came to nothing: `timeout`, `OOM`, … */
  sharedTierFailed(reason: string): void;
  /** From now on each exposition shows by how much this host's clock is ahead of Entra's, ms, once that is known. */
  watchClock(driftMs: () => number | undefined): void;
  /** From now on each exposition shows which configuration serves. */
  watchConfiguration(
    read: () => { readonly generation: number; readonly needRestart: readonly string[] },
  ): void;
  /** From now on each exposition shows how routes and granted permissions differ. */
  watchPermissions(
    drift: () => { readonly missing: readonly string[]; readonly unused: readonly string[] },
  ): void;
  /** A configuration was taken over, was the same (`unchanged`), or was refused. */
  configurationRead(outcome: "taken_over" | "unchanged" | "refused"): void;
  /** Lines of a stream that will never be written. */
  linesLost(stream: "log" | "audit", lines: number): void;
  /** From now on each exposition tells how the event loop keeps up, as load shedding sees it. */
  watchLoad(shedding: { readonly load: { readonly isShedding: boolean }; lagMs(): number }): void;
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
  const tools = counter(
    "obo_gateway_mcp_tool_calls_total",
    "Calls of tools of MCP servers, by route, tool (those that rules name or a server lists, else other) and decision",
    ["route", "tool", "code"],
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
  const delegations = counter(
    "obo_gateway_delegation_events_total",
    "What happened to delegations: created, used by a job, refused to one, renewed, ended",
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
  const reloads = counter(
    "obo_gateway_configuration_reloads_total",
    "Configurations that were read while the process ran: taken_over, unchanged or refused",
    ["outcome"],
  );
  for (const outcome of ["taken_over", "unchanged", "refused"]) reloads.add(0, outcome);
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
    toolCalled: tools.inc,
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
    delegationEvent: delegations.inc,
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
    watchConfiguration(read) {
      watch(
        "obo_gateway_configuration_generation",
        "Counts the configurations that served since the start",
        () => read().generation,
      );
      watch(
        "obo_gateway_configuration_needs_restart",
        "Settings that changed in the configuration and wait for a restart",
        () => read().needRestart.length,
      );
    },
    watchPermissions(drift) {
      watch(
        "obo_gateway_permissions_missing",
        "Delegated permissions of Graph that routes need and that Entra did not grant, by its latest answer",
        () => drift().missing.length,
      );
      watch(
        "obo_gateway_permissions_unused",
        "Delegated permissions of Graph that Entra granted and that no route needs, by its latest answer",
        () => drift().unused.length,
      );
    },
    configurationRead: reloads.inc,
    linesLost: (stream, lines) => linesLost.add(lines, stream),
    watchLoad({ load, lagMs }) {
      const lag = "Worst lag of the event loop in the last half second";
      watch("obo_gateway_event_loop_lag_seconds", lag, () => lagMs() / 1000);
      watch("obo_gateway_shedding", "Whether new requests are turned away: 1 or 0", () =>
        Number(load.isShedding),
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

export interface RoomMetrics {
  /** A caller's token was verified or refused. */
  verified(verdict: "verified" | "refused", seconds: number): void;
  /** A delegated token was had, or not (`none`), all waits included. */
  tokenAwaited(origin: string, seconds: number): void;
  /** A pause that an API asked for was made. */
  throttleWaited(route: string, seconds: number): void;
  /** Requests to APIs; durations in ms, since the request was handed over. */
  readonly transfers: {
    sent(api: string): void;
    repeated(api: string): void;
    left(api: string, waitedMs: number): void;
    answered(api: string, status: number, afterMs: number): void;
    failed(api: string, code: string, afterMs: number): void;
  };
}

const STATUS_CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"];

export function createRoomMetrics({ counter, gauge, histogram }: Instruments): RoomMetrics {
  const verify = histogram(
    "obo_gateway_verify_duration_seconds",
    "Time to check a caller's token, by verdict (verified or refused)",
    ["verdict"],
  );
  const token = histogram(
    "obo_gateway_token_duration_seconds",
    "Time of a request in the exchange, by the token's origin (none: refused)",
    ["origin"],
  );
  const waits = counter(
    "obo_gateway_throttle_waits_total",
    "Requests in which the gateway waited out an API's Retry-After",
    ["route"],
  );
  const waitSeconds = counter("obo_gateway_throttle_wait_seconds_total", "Time that they waited", ["route"]);
  const waiting = gauge(
    "obo_gateway_downstream_requests_waiting",
    "Requests that wait for a connection to an API",
    ["api"],
  );
  const connection = histogram(
    "obo_gateway_downstream_wait_seconds",
    "Time until a request had a connection to its API, making one included",
    ["api"],
  );
  const duration = histogram(
    "obo_gateway_downstream_duration_seconds",
    "Time until the headers of an API's answer, by class of status, or why there was none",
    ["api", "outcome"],
  );
  const throttled = counter(
    "obo_gateway_downstream_throttled_total",
    "Answers of an API with status 429 or 503",
    ["api", "status"],
  );

  const repeated = counter(
    "obo_gateway_downstream_repeats_total",
    "Requests sent again because their connection could not be made, or was lost before an answer",
    ["api"],
  );

  return {
    verified: (verdict, seconds) => verify.observe(seconds, verdict),
    tokenAwaited: (origin, seconds) => token.observe(seconds, origin),
    throttleWaited(route, seconds) {
      waits.inc(route);
      waitSeconds.add(seconds, route);
    },
    transfers: {
      sent: (api) => waiting.add(1, api),
      repeated: repeated.inc,
      left(api, waitedMs) {
        waiting.add(-1, api);
        connection.observe(waitedMs / 1000, api);
      },
      answered(api, status, afterMs) {
        duration.observe(afterMs / 1000, api, STATUS_CLASSES[Math.floor(status / 100) - 1] ?? "other");
        if (status === 429 || status === 503) throttled.inc(api, status);
      },
      failed: (api, code, afterMs) => duration.observe(afterMs / 1000, api, code),
    },
  };
}

type LabelValue = string | number;

export interface Counter {
  /** Adds one; label values in the order of the names. */
  inc(...labels: LabelValue[]): void;
  add(amount: number, ...labels: LabelValue[]): void;
}

export interface Histogram {
  observe(seconds: number, ...labels: LabelValue[]): void;
}

export interface Instruments {
  counter(name: string, help: string, labelNames: readonly string[]): Counter;
  /** Goes up and down by `add`. */
  gauge(name: string, help: string, labelNames: readonly string[]): Pick<Counter, "add">;
  histogram(name: string, help: string, labelNames: readonly string[]): Histogram;
  /** Prometheus' text format 0.0.4. */
  exposition(): string;
}

/** Upper bounds of a histogram's buckets, seconds. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createInstruments(): Instruments {
  const families: (() => string)[] = [];

  function single(type: "counter" | "gauge"): Instruments["counter"] {
    return (name, help, labelNames) => {
      const children = createChildren(() => ({ value: 0 }));
      // Without labels it is there from the start, so that an alert can tell 0 from nothing.
      if (labelNames.length === 0) children.of([]);
      families.push(() => {
        const lines = children.all().map(([child, values]) => {
          return `${name}${labelText(labelNames, values)} ${child.value}`;
        });
        return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join("\n");
      });
      return {
        inc(...labels) {
          children.of(labels).value += 1;
        },
        add(amount, ...labels) {
          children.of(labels).value += amount;
        },
      };
    };
  }

  return {
    counter: single("counter"),
    gauge: single("gauge"),

    histogram(name, help, labelNames) {
      // One more than there are bounds, for what is above the last.
      const children = createChildren(() => ({ counts: new Float64Array(BOUNDS.length + 1), sum: 0 }));
      families.push(() => {
        const lines = children
          .all()
          .flatMap(([child, values]) => histogramLines(name, labelNames, values, child));
        return [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`, ...lines].join("\n");
      });
      return {
        observe(seconds, ...labels) {
          const child = children.of(labels);
          let bucket = 0;
          while (bucket < BOUNDS.length && seconds > (BOUNDS[bucket] as number)) bucket++;
          child.counts[bucket] = (child.counts[bucket] as number) + 1;
          child.sum += seconds;
        },
      };
    },

    exposition: () => families.map((family) => `${family()}\n`).join("\n"),
  };
}

/** What is counted for each combination of label values, made when one is first seen. */
function createChildren<Child>(create: () => Child) {
  type Level = Map<LabelValue, Level | Child>;
  const root: Level = new Map();
  const known: [child: Child, values: readonly LabelValue[]][] = [];

  return {
    of(values: readonly LabelValue[]): Child {
      let level = root;
      const last = values.length - 1;
      for (let index = 0; index < last; index++) {
        const value = values[index] as LabelValue;
        let next = level.get(value) as Level | undefined;
        if (next === undefined) {
          next = new Map();
          level.set(value, next);
        }
        level = next;
      }
      const value = values[last] as LabelValue;
      let child = level.get(value) as Child | undefined;
      if (child === undefined) {
        child = create();
        level.set(value, child);
        known.push([child, [...values]]);
      }
      return child;
    },
    all: () => known,
  };
}

function histogramLines(
  name: string,
  labelNames: readonly string[],
  values: readonly LabelValue[],
  { counts, sum }: { readonly counts: Float64Array; readonly sum: number },
): string[] {
  const lines: string[] = [];
  let count = 0;
  for (const [bucket, own] of counts.entries()) {
    count += own;
    const le = BOUNDS[bucket] ?? "+Inf";
    lines.push(`${name}_bucket${labelText([...labelNames, "le"], [...values, le])} ${count}`);
  }
  const labels = labelText(labelNames, values);
  return [...lines, `${name}_sum${labels} ${sum}`, `${name}_count${labels} ${count}`];
}

function labelText(names: readonly string[], values: readonly LabelValue[]): string {
  const pairs = names.map((name, index) => `${name}="${escaped(String(values[index] ?? ""))}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
