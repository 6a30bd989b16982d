/** `obo-gateway permissions`: which delegated permission each route needs, without a call to Graph. */

import { writeFileSync } from "node:fs";
import type { GatewayConfig } from "../config/load.ts";
import { ConfigurationError } from "../errors.ts";
import {
  type PermissionReport,
  type ReportedNeed,
  type ReportedRoute,
  reportPermissions,
} from "../permissions/report.ts";
import { loadPermissionTable, type PermissionTable } from "../permissions/table.ts";
import type { ObservedPermissions } from "../permissions/watch.ts";
import { reportedRoutes } from "../reported-routes.ts";
import { environmentWith, readConfiguration } from "./configuration.ts";
import { tableText } from "./table.ts";

export interface PermissionsOptions {
  readonly config?: string;
  readonly table?: string;
  readonly granted?: string;
  /** Admin address of a running gateway; true is the one of the configuration. */
  readonly observed?: string | true;
  readonly writeCompact?: string;
  readonly json?: true;
  readonly az?: true;
  readonly bicep?: true;
  readonly consent?: true;
}

/** Application id of Microsoft Graph, the same in every tenant. */
const GRAPH_APPLICATION = "00000003-0000-0000-c000-000000000000";

export async function permissions(options: PermissionsOptions): Promise<void> {
  const table = tableOf(options.table ?? environmentWith(options.config).PERMISSIONS_TABLE);
  if (options.writeCompact !== undefined) {
    writeFileSync(options.writeCompact, `${JSON.stringify(table.compact)}\n`);
    return;
  }
  const configured = await readConfiguration(options.config);
  const { config, codeRoutes } = configured;
  const observed =
    options.observed === undefined ? undefined : await readObserved(adminUrl(options.observed, config));
  const granted = options.granted?.split(/[\s,]+/).filter((name) => name !== "") ?? observed?.granted;
  const routes = observed === undefined ? reportedRoutes(config, codeRoutes) : routesOf(observed);
  const report = reportPermissions(routes, table, granted);
  // A script that deploys can stop here; ranges and unknown calls are for people to look at.
  process.exitCode = report.missing.length === 0 ? 0 : 1;
  const { clientId, tenantId, authorityHost } = configured.config.application;
  if (options.json) console.log(JSON.stringify({ ...report, ...(observed && { observed }) }, null, 2));
  else if (options.az) console.log(azCommands(report, clientId));
  else if (options.bicep) console.log(bicepText(report));
  else if (options.consent) console.log(consentUrl(report, { clientId, tenantId, authorityHost }));
  else console.log(observed === undefined ? reportText(report) : observedText(report, observed));
}

/** An empty table and "Missing: none" would read as a registration that has all it needs. */
const NO_GRAPH =
  "No route calls Graph for a user, so nothing was compared. An API is Graph by its host, or by kind: graph at another address.";

const OBSERVED_LIMIT_MS = 5_000;

function adminUrl(observed: string | true, { listen }: GatewayConfig): string {
  return observed === true ? `http://127.0.0.1:${listen.adminPort}` : observed;
}

/** @throws {ConfigurationError} when no gateway answers there, or it counts no calls. */
async function readObserved(admin: string): Promise<ObservedPermissions> {
  const refuse = (problem: string, cause?: unknown) =>
    new ConfigurationError([{ path: "--observed", problem: `${admin} ${problem}` }], { cause });
  if (!URL.canParse("/permissions", admin)) throw refuse("is no URL");
  let response: Response;
  try {
    response = await fetch(new URL("/permissions", admin), {
      signal: AbortSignal.timeout(OBSERVED_LIMIT_MS),
    });
  } catch (cause) {
    throw refuse("is not the admin port of a running gateway", cause);
  }
  if (response.status === 404) throw refuse("counts no calls; start the gateway with PERMISSIONS_TABLE");
  if (!response.ok) throw refuse(`answered with status ${response.status}`);
  return (await response.json()) as ObservedPermissions;
}

/** What was called stands in the place of what the routes open. */
function routesOf({ calls }: ObservedPermissions): readonly ReportedRoute[] {
  return [...new Set(calls.map(({ api }) => api))].map((api) => ({
    path: "observed",
    answeredBy: `API ${api}`,
    api,
    needs: calls.filter((one) => one.api === api).map(({ call }) => call),
  }));
}

function observedText(report: PermissionReport, { calls, uncounted }: ObservedPermissions): string {
  const rows = report.routes.flatMap(({ api, needs }) =>
    needs === "undeclared"
      ? []
      : needs.map((need) => {
          const counted = calls.find((one) => one.api === api && one.call === need.need);
          const times = [counted?.count ?? 0, counted?.forbidden ?? 0].map(String);
          return [need.need, api, ...times, stateText(need), leastText(need)];
        }),
  );
  return [
    tableText(["call", "API", "times", "403", "state", "least permission"], rows),
    ...(uncounted === 0 ? [] : [`${uncounted} further calls were not counted by themselves.`]),
    "",
    ...grantText(report),
  ].join("\n");
}

function tableOf(file: string | undefined): PermissionTable {
  if (file !== undefined && file !== "") return loadPermissionTable(file);
  const problem =
    "is not set; name Graph's permissions.json (microsoftgraph/microsoft-graph-devx-content, permissions/new) or a compact form of it";
  throw new ConfigurationError([{ path: "PERMISSIONS_TABLE", problem }]);
}

function reportText(report: PermissionReport): string {
  const rows = report.routes.flatMap(({ path, answeredBy, needs }) =>
    needs === "undeclared"
      ? [[path, answeredBy, "-", "undeclared", "the handler declares no needs"]]
      : needs.map((need) => [path, answeredBy, need.need, stateText(need), leastText(need)]),
  );
  if (rows.length === 0) return NO_GRAPH;
  const heads = ["route", "answered by", "call", "state", "least permission"];
  return [tableText(heads, rows), "", ...grantText(report)].join("\n");
}

function grantText(report: PermissionReport): readonly string[] {
  const list = (names: readonly string[]) => (names.length === 0 ? "none" : names.join(", "));
  if (report.granted === undefined)
    return [
      "Granted: not known; name what the registration has with --granted, or ask a running gateway with --observed.",
    ];
  return [
    `Granted: ${list(report.granted)}`,
    `Missing: ${list(report.missing)}`,
    `Unused:  ${isWhole(report) ? list(report.unused) : "not known while a call is unknown or a handler declares none"}`,
  ];
}

function isWhole({ routes }: PermissionReport): boolean {
  return routes.every(
    ({ needs }) => needs !== "undeclared" && needs.every(({ state }) => state !== "unknown"),
  );
}

function stateText({ state, calls }: ReportedNeed): string {
  if (state === "missing") return "MISSING";
  if (state !== "range") return state.replace("_", " ");
  const closed = calls?.closed === undefined ? "" : `, ${calls.closed} without a granted permission`;
  return `range of ${calls?.known} calls${closed}`;
}

function leastText({ state, least, accepted }: ReportedNeed): string {
  if (state === "unknown") return "unknown: the table does not have this call";
  if (state === "range") return `${least.length} distinct`;
  if (least.length > 0) return least.join(" or ");
  return `no mark; accepted: ${accepted.join(", ")}`;
}

function azCommands({ missing }: PermissionReport, clientId: string): string {
  if (missing.length === 0) return "# nothing is missing";
  return [
    ...missing.map(
      (name) =>
        `az ad app permission add --id ${clientId} --api ${GRAPH_APPLICATION} --api-permissions "$(az ad sp show --id ${GRAPH_APPLICATION} --query "oauth2PermissionScopes[?value=='${name}'].id | [0]" --output tsv)=Scope"`,
    ),
    "# then an administrator consents:",
    `az ad app permission admin-consent --id ${clientId}`,
  ].join("\n");
}

/** The ids of Graph's scopes come from its service principal, so that none is copied here. */
function bicepText({ missing, granted = [] }: PermissionReport): string {
  const names = [...new Set([...granted, ...missing])];
  return [
    "extension microsoftGraphV1",
    "",
    "resource graph 'Microsoft.Graph/servicePrincipals@v1.0' existing = {",
    `  appId: '${GRAPH_APPLICATION}'`,
    "}",
    "",
    `var delegatedPermissions = [${names.map((name) => `'${name}'`).join(", ")}]`,
    "",
    "// requiredResourceAccess of the gateway's application:",
    "var graphAccess = {",
    `  resourceAppId: '${GRAPH_APPLICATION}'`,
    "  resourceAccess: [for name in delegatedPermissions: {",
    "    id: filter(graph.oauth2PermissionScopes, scope => scope.value == name)[0].id",
    "    type: 'Scope'",
    "  }]",
    "}",
  ].join("\n");
}

function consentUrl(
  { missing, granted = [] }: PermissionReport,
  {
    clientId,
    tenantId,
    authorityHost,
  }: { readonly clientId: string; readonly tenantId: string; readonly authorityHost: string },
): string {
  const url = new URL(`${tenantId}/v2.0/adminconsent`, authorityHost);
  url.searchParams.set("client_id", clientId);
  const names = [...new Set([...granted, ...missing])];
  url.searchParams.set("scope", names.map((name) => `https://graph.microsoft.com/${name}`).join(" "));
  return url.href;
}
