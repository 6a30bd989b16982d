/** What a configuration exposes, as OpenAPI 3.1: for the command and for callers that discover the gateway. */

import { readFileSync } from "node:fs";
import type { CheckedConfig } from "./checked-config.ts";
import type { DelegationsConfig, GatewayConfig } from "./config/load.ts";
import { ACTOR_OF, type GatewayErrorCode } from "./errors.ts";
import type { RateLimitRules } from "./http/contract.ts";
import { statusOf } from "./http/public-side.ts";
import { methodsOf } from "./http/route-table.ts";
import { resolveAuthority } from "./identity/authority.ts";
import type { RoutePolicy } from "./identity/contract.ts";

type Json = Readonly<Record<string, unknown>>;

/** One operation before paths that differ only in names of parameters are brought together. */
interface Exposed {
  readonly path: string;
  readonly methods: readonly string[];
  readonly summary: string;
  readonly policy: RoutePolicy;
  readonly limits: RateLimitRules | undefined;
  /** Largest body that is forwarded, bytes; undefined where code reads it. */
  readonly maxRequestBytes?: number;
  /** Whether a job may call for a user who delegated, by a field of the request. */
  readonly takesDelegations?: boolean | undefined;
  /** Where the route is the gateway's own. */
  readonly answers?: Readonly<Record<string, Json>>;
}

/** Methods that an OpenAPI path item has. */
const METHODS = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"];
const WITH_BODY = ["PUT", "POST", "PATCH"];

export function openapiDocument({ config, codeRoutes }: CheckedConfig, server?: string): Json {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  const exposed: readonly Exposed[] = [
    ...codeRoutes.map((route) => ({
      path: route.path.replace(/[:*]([A-Za-z_]\w*)/g, "{$1}"),
      methods: methodsOf(route).filter((method) => method !== "HEAD"),
      summary: `Answered by ${route.name === undefined ? "code" : `the handler ${route.name}`}.`,
      policy: route.policy,
      limits: route.limits,
      takesDelegations: route.takesDelegations,
    })),
    ...(config.delegations === undefined ? [] : delegationsExposed(config.delegations)),
    ...config.routes.flatMap(({ target, api, policy, limits, as, takesDelegations }) =>
      target.allow.map((pattern) => ({
        path: target.path + templated(pattern),
        methods: target.methods,
        summary: `Forwarded to ${api.name} as ${as === "app" ? "the application" : "the user"}: ${pattern}.`,
        policy,
        limits,
        maxRequestBytes: api.maxRequestBytes,
        takesDelegations,
      })),
    ),
  ];
  const scopes = [...new Set(exposed.flatMap(({ policy }) => policy.requiredScopes))];
  const url = server ?? config.http.publicUrl;
  return {
    openapi: "3.1.0",
    info: {
      title: "obo-gateway",
      version,
      description:
        "Routes of one configuration of the gateway. A status of the API behind a route passes through with its body.",
    },
    ...(url !== undefined && { servers: [{ url }] }),
    paths: pathsOf(exposed, config),
    components: {
      securitySchemes: { entra: securityScheme(config, scopes) },
      schemas: { Problem: PROBLEM },
    },
  };
}

const DELEGATION: Json = {
  type: "object",
  required: ["id", "createdAt", "expiresAt", "clients"],
  properties: {
    id: { type: "string" },
    createdAt: { type: "string", format: "date-time" },
    expiresAt: { type: "string", format: "date-time" },
    clients: { type: "array", items: { type: "string" } },
  },
};

function delegationsExposed({ requiredScopes, adminRole }: DelegationsConfig): readonly Exposed[] {
  const policy: RoutePolicy = { callers: "user", requiredScopes, requiredRoles: [], allowedClients: [] };
  const json = (description: string, schema: Json): Json => ({
    description,
    content: { "application/json": { schema } },
  });
  const handle = { type: "object", required: ["handle"], properties: { handle: { type: "string" } } };
  const list = {
    type: "object",
    required: ["delegations"],
    properties: { delegations: { type: "array", items: DELEGATION } },
  };
  const enders = adminRole === undefined ? "its user" : `its user, or a holder of the role ${adminRole}`;
  const one = { limits: undefined, policy };
  return [
    {
      ...one,
      path: "/delegations",
      methods: ["POST"],
      summary: "Leaves the jobs of the list a delegation.",
      answers: { 201: json("The delegation, with its handle.", { allOf: [DELEGATION, handle] }) },
    },
    {
      ...one,
      path: "/delegations",
      methods: ["GET"],
      summary: "Lists the user's delegations, without handles.",
      answers: { 200: json("The user's delegations.", list) },
    },
    {
      ...one,
      path: "/delegations/{id}",
      methods: ["DELETE"],
      summary: `Ends a delegation, for ${enders}.`,
      policy: { ...policy, callers: "any", requiredScopes: [] },
      answers: { 204: { description: "The delegation is over." } },
    },
  ];
}

/** OpenAPI has parameters of one segment alone: `*` becomes one, and `**` one whose description says that it is several. */
function templated(pattern: string): string {
  let count = 0;
  return pattern
    .split("/")
    .map((segment) => {
      if (segment === "**") return "{path}";
      return segment.replaceAll("*", () => {
        count += 1;
        return `{segment${count}}`;
      });
    })
    .join("/")
    .replace(/(.)\/$/, "$1");
}

/** Two paths that differ in the names of parameters alone are one path to OpenAPI; the first one's names stay. */
function pathsOf(exposed: readonly Exposed[], config: GatewayConfig): Json {
  const paths = new Map<string, { path: string; item: Record<string, unknown> }>();
  for (const one of exposed) {
    const key = one.path.replaceAll(/\{[^}]*\}/g, "{}");
    const known = paths.get(key) ?? { path: one.path, item: {} };
    paths.set(key, known);
    for (const method of one.methods.filter((name) => METHODS.includes(name)))
      known.item[method.toLowerCase()] ??= operation(method, { ...one, path: known.path }, config);
  }
  return Object.fromEntries([...paths.values()].map(({ path, item }) => [path, item]));
}

function operation(method: string, exposed: Exposed, config: GatewayConfig): Json {
  const { path, summary, policy, limits, maxRequestBytes, takesDelegations, answers } = exposed;
  const names = [...path.matchAll(/\{([^}]*)\}/g)].map(([, name = ""]) => name);
  const parameters = [...names.map(pathParameter), ...(takesDelegations === true ? [HANDLE_FIELD] : [])];
  const hasBody = WITH_BODY.includes(method) && answers === undefined;
  // As the gateway counts: a rule of the route stands in the place of the one for all routes.
  const rules = { ...config.limits, ...limits };
  return {
    summary,
    description: policyText(policy),
    operationId: `${method.toLowerCase()}${path.replace(/[^A-Za-z0-9]+/g, "_")}`.replace(/_+$/, ""),
    ...(parameters.length > 0 && { parameters }),
    ...(hasBody && { requestBody: { content: { "*/*": { schema: {} } } } }),
    ...(hasBody && maxRequestBytes !== undefined && { "x-max-request-bytes": maxRequestBytes }),
    // Each entry is an alternative, as any one scope suffices.
    security:
      policy.requiredScopes.length === 0
        ? [{ entra: [] }]
        : policy.requiredScopes.map((scope) => ({ entra: [qualified(scope, config)] })),
    responses: {
      ...(answers ?? { default: { description: "The answer of the route." } }),
      ...problemResponses(),
    },
    ...(Object.keys(rules).length > 0 && { "x-rate-limits": rules }),
  };
}

function pathParameter(name: string): Json {
  return {
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
    ...(name === "path" && { description: "Any number of segments, slashes included." }),
  };
}

const HANDLE_FIELD: Json = {
  name: "Delegation",
  in: "header",
  required: false,
  schema: { type: "string" },
  description: "Handle by which a listed application, with its own token, acts for the user who delegated.",
};

function policyText({ callers, requiredRoles, allowedClients, authContext }: RoutePolicy): string {
  return [
    callers === "user" ? "Users only." : "Users and applications.",
    ...(requiredRoles.length > 0 ? [`Any one of the roles ${requiredRoles.join(", ")}.`] : []),
    ...(allowedClients.length > 0 ? [`Clients: ${allowedClients.join(", ")}.`] : []),
    ...(authContext === undefined ? [] : [`Authentication context ${authContext}.`]),
  ].join(" ");
}

function qualified(scope: string, config: GatewayConfig): string {
  const { appIdUri } = config.exchange.consent;
  return scope.includes("/") ? scope : `${appIdUri}/${scope}`;
}

function securityScheme(config: GatewayConfig, scopes: readonly string[]): Json {
  const authority = resolveAuthority(config.application.authorityHost);
  const tenant = config.identity.tenants.includes("*")
    ? "organizations"
    : (config.identity.tenants[0] ?? config.application.tenantId);
  return {
    type: "oauth2",
    description: "A token of Microsoft Entra ID for this gateway, in the Authorization header.",
    flows: {
      authorizationCode: {
        authorizationUrl: authority.authorizeEndpoint(tenant),
        tokenUrl: authority.tokenEndpoint(tenant),
        scopes: Object.fromEntries(
          scopes.map((scope) => [qualified(scope, config), `The scope ${scope} of the gateway.`]),
        ),
      },
    },
  };
}

function problemResponses(): Json {
  const byStatus = new Map<number, GatewayErrorCode[]>();
  for (const code of Object.keys(ACTOR_OF) as GatewayErrorCode[]) {
    const status = statusOf(code);
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus]
      .toSorted(([one], [other]) => one - other)
      .map(([status, codes]) => [
        String(status),
        {
          description: `Problems of the gateway: ${codes.join(", ")}.`,
          ...(RETRYABLE.includes(status) && {
            headers: { "retry-after": { description: "Seconds to wait.", schema: { type: "integer" } } },
          }),
          content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
        },
      ]),
  );
}

const RETRYABLE = [429, 503, 504];

/** RFC 9457 with the members of `http/problem.ts`. */
const PROBLEM: Json = {
  type: "object",
  required: ["type", "title", "status", "code", "detail", "correlationId"],
  properties: {
    type: { type: "string", format: "uri" },
    title: { type: "string" },
    status: { type: "integer" },
    code: { type: "string", enum: Object.keys(ACTOR_OF) },
    detail: { type: "string" },
    correlationId: { type: "string" },
    reason: { type: "string" },
    requiredScopes: { type: "array", items: { type: "string" } },
    consentUri: { type: "string", format: "uri" },
    claims: { type: "string", description: "Claims request of Entra, decoded JSON." },
  },
};
