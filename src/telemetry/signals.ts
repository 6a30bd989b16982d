/** What the rooms tell, turned into metrics and log lines. Rooms know nothing of this; they call back. */

import type { CredentialEvent } from "../credential/contract.ts";
import type { DelegationEvent } from "../delegations/contract.ts";
import type { TransportEvent } from "../downstream/contract.ts";
import type { GatewayErrorCode } from "../errors.ts";
import type { ExchangeEvent, SharedCacheEvent } from "../exchange/contract.ts";
import { createLogThrottle, createLogThrottles } from "../foundation/throttled-log.ts";
import type {
  ConnectionEvent,
  LoadEvent,
  RateLimitEvent,
  RequestObserver,
  RequestRecord,
} from "../http/contract.ts";
import type { TokenVerifierEvent } from "../identity/contract.ts";
import type { Audit } from "./audit.ts";
import type { ConfigurationEvent, Logger, Tracing } from "./contract.ts";
import type { LogRequest } from "./log.ts";
import type { Metrics } from "./metrics.ts";

export interface Signals {
  identity(event: TokenVerifierEvent): void;
  credential(event: CredentialEvent): void;
  exchange(event: ExchangeEvent): void;
  delegation(event: DelegationEvent): void;
  downstream(event: TransportEvent): void;
  rateLimit(event: RateLimitEvent): void;
  load(event: LoadEvent): void;
  configuration(event: ConfigurationEvent): void;
  connection(event: ConnectionEvent): void;
  requests: RequestObserver;
  internalError(error: unknown, record: RequestRecord): void;
}

/** Events of a credential that somebody should look at; the rest is the ordinary course of a rotation. */
const WORTH_A_WARNING: ReadonlySet<CredentialEvent["type"]> = new Set([
  "absent",
  "reload_failed",
  "trial_failed",
  "unusable",
  "refused",
  "expiring",
  "file_exposed",
  "audience_unexpected",
  "clock_doubtful",
  "secret_in_production",
]);

/** Why keys cannot be had, by the reason of `key_set_unavailable`, with what to look at. */
const KEY_SET_CAUSES: Readonly<Record<string, string>> = {
  status:
    "the authority answers with an error status; with 400 or 404 it does not know the tenant: compare AZURE_TENANT_ID and identity.tenants",
  content: "the answer is no JSON object; a proxy or a captive portal may answer in the authority's place",
  issuer: "the metadata names another issuer; compare AZURE_AUTHORITY_HOST with the tenant's cloud",
  jwks_uri: "the metadata points to keys on another host, or to none",
  no_keys: "the authority publishes no usable key for this cloud",
  timeout: "the authority did not answer in time; look at egress, network policy and proxy",
  too_large: "the answer is far too large to be the authority's",
  aborted: "the gateway stopped meanwhile",
  network:
    "the authority cannot be connected to; err.cause names the failure (ENOTFOUND: DNS, ECONNREFUSED: address, CERT: NODE_EXTRA_CA_CERTS)",
};

const CONNECTION_WARNINGS: Partial<Readonly<Record<ConnectionEvent, string>>> = {
  dropped:
    "more connections than http.connections.max, or than file descriptors are enough for; new ones are closed",
  gave_way:
    "connections without a request are closed to make room for new ones; see http.connections.max and ulimit -n",
  unread: "connections are closed whose callers do not read their answers",
  held_up: "connections are closed whose requests would hold up the end of the process",
};

/** The doctor's too: a clock that is off by less harms nothing. */
const NOTABLE_DRIFT_MS = 10_000;

const UNKNOWN_CALLER = { tenantId: undefined, objectId: undefined, clientId: undefined };

const RATE_LIMIT_WARNINGS: Readonly<Record<RateLimitEvent["type"], string>> = {
  counted_alone: "Redis does not answer; each replica counts rate limits by itself",
  window_forgotten: "too many callers are counted at once; the oldest counts were forgotten",
};

const IDENTITY_EVENTS: ReadonlySet<ExchangeEvent["type"]> = new Set([
  "shared_refused",
  "shared_accepted",
  "shared_token_failed",
  "shared_keys_taken",
  "shared_keys_kept",
]);

/** What Redis does not accept, and what to change. */
function refusalOf(reason: string, objectId: string | undefined): string {
  const refused =
    reason === "NOPERM"
      ? "the shared token cache (Redis) does not let the gateway do what it needs (NOPERM)"
      : `the shared token cache (Redis) does not accept who the gateway is (${reason})`;
  if (objectId !== undefined)
    return `${refused}; assign an access policy of the Redis to object id ${objectId} (az redisenterprise database access-policy-assignment create), requests go on without Redis`;
  return reason === "NOPERM"
    ? `${refused}; allow its user GETRANGE, SET, EXISTS, DEL and EVAL on all keys, requests go on without Redis`
    : `${refused}; compare user name and password of exchange.cache.redis.url with those of the server, requests go on without Redis`;
}

/** Codes of answers that were cut while their caller stayed. */
const CUT_CODES: Readonly<Record<string, GatewayErrorCode>> = {
  idle: "downstream_timeout",
  downstream_failed: "downstream_unreachable",
};

/** What an event says besides the delegation that it is about. */
function particularsOf(event: DelegationEvent): Record<string, string | undefined> {
  switch (event.type) {
    case "created":
      return { expiresAt: new Date(event.expiresAt).toISOString() };
    case "refused":
      return { reason: event.reason };
    case "user_needed":
      return { code: event.code, claims: event.claims, consentUri: event.consentUri };
    case "ended":
      return { by: event.by, reason: event.reason };
    default:
      return {};
  }
}

/** What the log says of the token cache that replicas share. */
function sharedCacheLines(log: Logger, metrics: Metrics) {
  const losses = createLogThrottle();
  const fullTier = createLogThrottle();
  const identityWarnings = createLogThrottles();
  let lossLogged = false;

  /** Only the turns are logged, and of a Redis that comes and goes not each of them: the metrics have them all. */
  function turned(event: SharedCacheEvent): void {
    if (event.type === "shared_suspended" && losses.due() !== undefined) {
      lossLogged = true;
      log.warn({ reason: event.reason }, "the shared token cache does not answer; going on without it");
    }
    if (event.type === "shared_resumed" && lossLogged) {
      lossLogged = false;
      log.info("the shared token cache answers again");
    }
  }

  /** A full Redis takes nothing and is otherwise well: requests go on, each of them without it. */
  function failed(reason: string): void {
    metrics.sharedTierFailed(reason);
    if (reason !== "OOM" || fullTier.due() === undefined) return;
    log.warn(
      { reason },
      "the memory of the shared token cache (Redis) is full and it evicts nothing; set maxmemory-policy to allkeys-lru",
    );
  }

  /** Who the gateway is to Redis, and with which keys it seals: each of these lasts until an operator acts. */
  function identityTurned(event: SharedCacheEvent): void {
    if (event.type === "shared_refused" && identityWarnings.due(event.reason) !== undefined) {
      const { reason, objectId } = event;
      log.warn({ reason, ...(objectId !== undefined && { objectId }) }, refusalOf(reason, objectId));
    }
    if (event.type === "shared_accepted")
      log.info("the shared token cache (Redis) accepts the gateway again");
    if (event.type === "shared_token_failed" && identityWarnings.due("token") !== undefined) {
      const { problem, expiresAt } = event;
      const until =
        expiresAt === undefined
          ? "going on without Redis"
          : `the one before serves until ${new Date(expiresAt).toISOString()}`;
      log.warn({ problem }, `Entra gave no token for Redis (${problem}); ${until}`);
    }
    if (event.type === "shared_keys_taken")
      log.info(
        { keys: event.keys },
        "the file of the master keys has changed; its first key seals from now on",
      );
    if (event.type === "shared_keys_kept")
      log.warn(`the master keys cannot be read anew, and those before serve on: ${event.problem}`);
  }

  return { turned, failed, identityTurned };
}

export function createSignals(
  log: Logger,
  logRequest: LogRequest,
  audit: Audit,
  metrics: Metrics,
  tracing: Tracing | undefined,
): Signals {
  const keySetFailures = createLogThrottles();
  const limitWarnings = createLogThrottles();
  const drifts = createLogThrottle();
  const connectionWarnings = createLogThrottles();
  const lostRenewals = createLogThrottle();
  const shared = sharedCacheLines(log, metrics);

  /** Below the tolerance for callers' tokens (60 s by default) nothing is refused yet, and it is time to look. */
  function clockDrifted(driftMs: number): void {
    if (Math.abs(driftMs) < NOTABLE_DRIFT_MS || drifts.due() === undefined) return;
    const seconds = Math.round(Math.abs(driftMs) / 1_000);
    log.warn(
      { driftMs },
      `this host's clock is ${seconds} s ${driftMs > 0 ? "ahead of" : "behind"} Entra's; past identity.clockToleranceSeconds ` +
        "fresh sign-ins are refused. Synchronise it (NTP, chrony; on AKS the node's)",
    );
  }

  function roomTimes(record: RequestRecord, route: string): void {
    const { verifyMs, exchangeMs, throttleMs, caller, tokenOrigin = "none" } = record;
    if (verifyMs !== undefined)
      metrics.verified(caller === undefined ? "refused" : "verified", verifyMs / 1000);
    if (exchangeMs !== undefined) metrics.tokenAwaited(tokenOrigin, exchangeMs / 1000);
    if (throttleMs !== undefined) metrics.throttleWaited(route, throttleMs / 1000);
  }

  /** Each call of a tool has a line of its own in the audit stream, since most of them need no exchange. */
  function toolsCalled(record: RequestRecord, route: string, code: string): void {
    const { mcp, caller, correlationId, tokenRequest, downstreamStatus } = record;
    if (mcp === undefined) return;
    for (const label of mcp.labels) metrics.toolCalled(route, label, code);
    const { tenantId, objectId, clientId } = caller?.principal ?? UNKNOWN_CALLER;
    const reason = record.refusal?.reason;
    const { token } = mcp;
    for (const tool of mcp.tools)
      audit.tool({
        correlationId,
        route,
        tool,
        tenantId,
        objectId,
        clientId,
        code,
        reason,
        token,
        tokenRequest,
        downstreamStatus,
      });
  }

  return {
    identity(event) {
      if (event.type === "token_verified") {
        metrics.tokenVerified(event.origin);
        return;
      }
      metrics.keySetEvent(event.type);
      if (event.type === "key_set_failed") {
        // Warm-up asks every second; the metric counts each failure, the log need not repeat it that often.
        const { reason = "unknown", diagnostics } = event.error;
        if (keySetFailures.due(`${event.keySet} ${reason}`) === undefined) return;
        const facts = { keySet: event.keySet, reason, ...diagnostics, err: event.error };
        log.warn(facts, `signing keys could not be fetched: ${KEY_SET_CAUSES[reason] ?? reason}`);
      }
      if (event.type === "key_set_refreshed" && event.changed)
        log.info({ keySet: event.keySet, keys: event.keys }, "signing keys changed");
    },

    credential({ type, source, generation, message, expiresAt }) {
      metrics.credentialEvent(source, type);
      const facts = { source, generation, event: type, ...(expiresAt !== undefined && { expiresAt }) };
      log[WORTH_A_WARNING.has(type) ? "warn" : "info"](facts, message);
      // That the credential is accepted shows in each exchange; the audit stream has what changes.
      if (type !== "accepted") audit.credential(type, source, generation, message);
    },

    exchange(event) {
      metrics.exchangeEvent(event.type);
      if (event.type === "clock_drift") clockDrifted(event.driftMs);
      if (event.type === "shared_failed") shared.failed(event.reason);
      if (event.type === "shared_suspended" || event.type === "shared_resumed") shared.turned(event);
      if (IDENTITY_EVENTS.has(event.type)) shared.identityTurned(event as SharedCacheEvent);
      if (event.type === "exchanged") {
        metrics.exchangeEnded("granted", event.durationMs / 1000);
        audit.exchange(event.facts, event.durationMs);
      }
      if (event.type === "refused") {
        const { code, reason, diagnostics, durationMs } = event;
        metrics.exchangeEnded(code, durationMs / 1000);
        audit.exchange(event.facts, durationMs, { code, reason, diagnostics });
      }
    },

    delegation(event) {
      metrics.delegationEvent(event.type);
      if ("facts" in event) audit.delegation(event.type, event.facts, particularsOf(event));
      if (event.type !== "renewal_lost" || lostRenewals.due() === undefined) return;
      log.warn("a refresh token of a delegation could not be kept in Redis; the one before it goes on");
    },

    downstream({ type, api }) {
      metrics.downstreamEvent(api, type);
      if (type === "breaker_opened") log.warn({ api }, "downstream API cannot be connected to");
      else log.info({ api }, "downstream API can be connected to again");
    },

    rateLimit({ type }) {
      metrics.rateLimitEvent(type);
      if (limitWarnings.due(type) === undefined) return;
      log.warn({ event: type }, RATE_LIMIT_WARNINGS[type]);
    },

    load(event) {
      if (event.type === "shed") metrics.requestShed();
      else if (event.type === "shedding_ended") log.info({ lagMs: event.lagMs }, "requests are served again");
      else log.warn({ lagMs: event.lagMs }, "the event loop lags; new requests are turned away");
    },

    configuration(event) {
      metrics.configurationRead(event.outcome);
      const { outcome, generation } = event;
      if (outcome === "refused") {
        // As `obo-gateway check` prints them, so that a search for the one finds the other.
        const faults = event.faults.map(({ path, problem }) => `${path}: ${problem}`);
        log.error({ generation, faults }, "the changed configuration is refused; the one before serves on");
        return;
      }
      if (outcome === "taken_over")
        log.info({ generation, changed: event.changed }, "the changed configuration is taken over");
      else log.info({ generation }, "the configuration was read again and serves as before");
      if (event.needRestart.length > 0)
        log.warn(
          { generation, settings: event.needRestart },
          `settings have changed that only a start reads: ${event.needRestart.join(", ")}; restart to use them`,
        );
    },

    connection(event) {
      metrics.connection(event);
      const message = CONNECTION_WARNINGS[event];
      if (message === undefined || connectionWarnings.due(event) === undefined) return;
      log.warn(message);
    },

    requests: {
      began(record, incoming) {
        metrics.requestStarted();
        record.trace = tracing?.request(incoming);
        record.transfers = metrics.transfers;
      },
      ended(record, { method, status, completed }) {
        const elapsedMs = performance.now() - record.startedAt;
        const code =
          record.refusal?.code ?? (completed ? "granted" : (CUT_CODES[record.cut ?? ""] ?? "abandoned"));
        const route = record.route ?? "none";
        metrics.requestEnded({ route, method, status, code, seconds: elapsedMs / 1000 });
        roomTimes(record, route);
        if (record.tokenOrigin !== undefined) metrics.tokenObtained(record.tokenOrigin);
        toolsCalled(record, route, code);
        logRequest(record, { method, route, status, code, completed, elapsedMs });
        if (record.trace === undefined) return;
        const { route: matched, correlationId, caller, refusal } = record;
        const { tenantId, objectId, clientId } = caller?.principal ?? UNKNOWN_CALLER;
        const decision = { status, code, reason: refusal?.reason, completed };
        const { mcp } = record;
        record.trace.ended({ route: matched, ...decision, correlationId, tenantId, objectId, clientId, mcp });
      },
    },

    internalError(err, record) {
      log.error({ correlationId: record.correlationId, err }, "internal error");
    },
  };
}
