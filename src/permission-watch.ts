/** Ties the watch of permissions to what the rooms tell: grants of Entra, answers of Graph, log lines, metrics. */

import type { GatewayConfig } from "./config/load.ts";
import type { Target, TransferObserver } from "./downstream/contract.ts";
import { isGraph, readBaseUrl } from "./downstream/target/downstream-api.ts";
import { createLogThrottles } from "./foundation/throttled-log.ts";
import type { ServedCodeRoute } from "./http/code-route.ts";
import type { RequestRecord } from "./http/contract.ts";
import { loadPermissionTable } from "./permissions/table.ts";
import {
  type AnsweredCall,
  createPermissionWatch,
  type ForbiddenCall,
  type PermissionDrift,
  type PermissionWatch,
} from "./permissions/watch.ts";
import { reportedRoutes } from "./reported-routes.ts";
import type { Observability } from "./telemetry/observability.ts";

export interface WatchedPermissions extends Pick<PermissionWatch, "observed"> {
  /** From now on the routes of this configuration are compared with what was granted. */
  compareWith(config: GatewayConfig, codeRoutes: readonly ServedCodeRoute[]): void;
  readonly signals: Observability["signals"];
}

/** One line for each call in so long, ms: a front end that calls on would fill the log. */
const SAME_CALL_MS = 600_000;

/** @throws {ConfigurationError} when the table cannot be read. */
export function watchPermissions(
  table: string,
  { log, metrics, signals }: Pick<Observability, "log" | "metrics" | "signals">,
): WatchedPermissions {
  // The calls are those of the table, a closed set.
  const lines = createLogThrottles(SAME_CALL_MS);
  const watch = createPermissionWatch({
    table: loadPermissionTable(table),
    onDrift(drift) {
      log.warn({ ...drift }, driftText(drift));
    },
    onForbidden(forbidden) {
      if (lines.due(`${forbidden.api} ${forbidden.call}`) === undefined) return;
      log.warn({ ...forbidden }, forbiddenText(forbidden));
    },
  });
  metrics.watchPermissions(watch.drift);
  let applicationRoutes: ReadonlySet<string | undefined> = new Set();

  return {
    compareWith(config, codeRoutes) {
      applicationRoutes = new Set(codeRoutes.filter(({ as }) => as === "app").map(({ path }) => path));
      watch.compareWith(reportedRoutes(config, codeRoutes));
    },
    observed: watch.observed,
    signals: {
      ...signals,
      exchange(event) {
        if (event.type === "exchanged" && event.grantedScopes !== undefined) {
          const { grant, objectId, tenantId, scopes } = event.facts;
          if (grant === "on_behalf_of" && objectId !== undefined)
            watch.granted({ tenantId, objectId, scopes }, event.grantedScopes);
        }
        signals.exchange(event);
      },
      requests: {
        began(record, incoming) {
          signals.requests.began(record, incoming);
          record.transfers = noting(record.transfers, (status, method, target) => {
            if (applicationRoutes.has(record.route)) return;
            const call = callOf(record, status, method, target);
            if (call !== undefined) watch.answered(call);
          });
        },
        ended: signals.requests.ended,
      },
    },
  };
}

/** The observer of a request, and besides a note of each answer. */
function noting(
  transfers: TransferObserver | undefined,
  note: (status: number, method: string, target: Target) => void,
): TransferObserver {
  return {
    sent: (api) => transfers?.sent(api),
    repeated: (api) => transfers?.repeated(api),
    left: (api, waitedMs) => transfers?.left(api, waitedMs),
    failed: (api, code, afterMs) => transfers?.failed(api, code, afterMs),
    answered(api, status, afterMs, method, target) {
      transfers?.answered(api, status, afterMs, method, target);
      note(status, method, target);
    },
  };
}

/** The call to Graph for the user of the record; undefined for every other. */
function callOf(
  { caller }: RequestRecord,
  status: number,
  method: string,
  { api, origin, path }: Target,
): AnsweredCall | undefined {
  // The gateway's own permissions are others, and a host that a redirect leads to is none of Graph's.
  if (caller === undefined || api.actsAs === "app" || !isGraph(api)) return undefined;
  const base = readBaseUrl(api);
  if (origin !== base.origin) return undefined;
  const { tenantId, objectId } = caller.principal;
  return {
    api: api.name,
    method,
    path: path.slice(base.path.length).replace(/\?.*$/s, ""),
    status,
    holder: { tenantId, objectId, scopes: api.scopes },
  };
}

/** As one reads it in the log: what is missing for routes, and what is granted for nothing. */
function driftText({ missing, unused }: PermissionDrift): string {
  const parts = [
    ...(missing.length > 0 ? [`routes need ${missing.join(", ")}, which Entra did not grant`] : []),
    ...(unused.length > 0 ? [`Entra granted ${unused.join(", ")}, which no route needs`] : []),
  ];
  return `${parts.join("; ")}; obo-gateway permissions lists what each route needs`;
}

function forbiddenText({ call, accepted, granted }: ForbiddenCall): string {
  const has =
    granted === undefined
      ? "what the token has is not known"
      : `the token has ${granted.join(", ") || "none"}`;
  return `${call} needs one of ${accepted.join(", ")}; ${has}`;
}
