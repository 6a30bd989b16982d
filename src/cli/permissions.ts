/** `obo-gateway permissions`: which delegated permission each route needs, without a call to Graph. */

import { writeFileSync } from "node:fs";
import { isGraph } from "../downstream/target/downstream-api.ts";
import { ConfigurationError } from "../errors.ts";
import { configuredApi } from "../http/code-route.ts";
import {
  type PermissionReport,
  type ReportedNeed,
  type ReportedRoute,
  reportPermissions,
} from "../permissions/report.ts";
import type { PermissionTable } from "../permissions/table.ts";
import { readTableFile } from "../permissions/table-file.ts";
import { type Configured, environmentWith, readConfiguration } from "./configuration.ts";
import { tableText } from "./table.ts";

export interface PermissionsOptions {
  readonly config?: string;
  readonly table?: string;
  readonly granted?: string;
  readonly writeCompact?: string;
  readonly json?: true;
  readonly az?: true;
  readonly bicep?: true;
  readonly consent?: true;
}

/** Application id of Microsoft Graph, the same in every tenant. */
const GRAPH_APPLICATION = "00000003-0000-0000-c000-000000000000";

export async function permissions(options: PermissionsOptions): Promise<void> {
  const table = readTable(options.table ?? environmentWith(options.config).PERMISSIONS_TABLE);
  if (options.writeCompact !== undefined) {
    writeFileSync(options.writeCompact, `${JSON.stringify(table.compact)}\n`);
    return;
  }
  const configured = await readConfiguration(options.config);
  const granted = options.granted?.split(/[\s,]+/).filter((name) => name !== "");
  const report = reportPermissions(graphRoutes(configured), table, granted);
  // A script that deploys can stop here; ranges and unknown calls are for people to look at.
  process.exitCode = report.missing.length === 0 ? 0 : 1;
  const { clientId, tenantId, authorityHost } = configured.config.application;
  if (options.json) console.log(JSON.stringify(report, null, 2));
  else if (options.az) console.log(azCommands(report, clientId));
  else if (options.bicep) console.log(bicepText(report));
  else if (options.consent) console.log(consentUrl(report, { clientId, tenantId, authorityHost }));
  else console.log(reportText(report));
}

function readTable(file: string | undefined): PermissionTable {
  if (file !== undefined && file !== "") return readTableFile(file);
  const problem =
    "is not set; name Graph's permissions.json (microsoftgraph/microsoft-graph-devx-content, permissions/new) or a compact form of it";
  throw new ConfigurationError([{ path: "PERMISSIONS_TABLE", problem }]);
}

/** Routes that reach Graph, with the calls that they open or declare. */
export function graphRoutes({ config, codeRoutes }: Configured): readonly ReportedRoute[] {
  const forwarding = config.routes
    .filter(({ api, as }) => isGraph(api) && as === "user")
    .map(({ target, api }) => ({
      path: `${target.path}/**`,
      answeredBy: `API ${api.name}`,
      api: api.name,
      needs: target.methods
        .filter((method) => method !== "HEAD" && method !== "OPTIONS")
        .flatMap((method) => target.allow.map((pattern) => `${method} ${pattern}`)),
    }));
  const coded = codeRoutes
    .filter((route) => (route.as ?? "user") === "user")
    .flatMap((route) =>
      route.uses.flatMap((use, position) => {
        const api = config.downstreamApis[configuredApi(route, use)];
        if (api === undefined || !isGraph(api)) return [];
        return [
          {
            path: `${route.method.toUpperCase()} ${route.path}`,
            answeredBy: route.name === undefined ? "code" : `handler ${route.name}`,
            api: api.name,
            needs: route.needs && needsOf(route.needs, use, position === 0),
          },
        ];
      }),
    );
  return [...forwarding, ...coded];
}

/** `GET /me` is a call of the first API that the handler uses, `orders: GET /orders` one of the API of that name. */
function needsOf(needs: readonly string[], use: string, isFirst: boolean): readonly string[] {
  return needs.flatMap((need) => {
    const [, name, call = need] = /^([A-Za-z][\w-]*):\s*(.+)$/.exec(need) ?? [];
    return name === use || (name === undefined && isFirst) ? [call] : [];
  });
}

function reportText(report: PermissionReport): string {
  const rows = report.routes.flatMap(({ path, answeredBy, needs }) =>
    needs === "undeclared"
      ? [[path, answeredBy, "-", "undeclared", "the handler declares no needs"]]
      : needs.map((need) => [path, answeredBy, need.need, stateText(need), leastText(need)]),
  );
  const list = (names: readonly string[]) => (names.length === 0 ? "none" : names.join(", "));
  return [
    tableText(["route", "answered by", "call", "state", "least permission"], rows),
    "",
    ...(report.granted === undefined
      ? ["Granted: not known; name what the registration has with --granted."]
      : [
          `Granted: ${list(report.granted)}`,
          `Missing: ${list(report.missing)}`,
          `Unused:  ${isWhole(report) ? list(report.unused) : "not known while a call is unknown or a handler declares none"}`,
        ]),
  ].join("\n");
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
