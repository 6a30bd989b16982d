/** Requests to a local API over real sockets, with every field under the test's control. */

import { once } from "node:events";
import { type IncomingHttpHeaders, request as send } from "node:http";

export interface LocalAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly text: string;
  // The shape is the test's expectation.
  // biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
  readonly body: any;
}

export interface LocalRequest {
  readonly method?: string;
  /** Names and values in turn, so that a field can stand twice; or an object. */
  readonly headers?: Readonly<Record<string, string>> | readonly string[];
  readonly body?: string | Buffer;
  readonly socketPath?: string;
}

/** A request as it is written: no client adds, joins or corrects a field. */
export async function ask(url: string, path: string, options: LocalRequest = {}): Promise<LocalAnswer> {
  const { method = "GET", headers = {}, body, socketPath } = options;
  const { hostname, port, host } = new URL(url);
  const lines = Array.isArray(headers) ? [...headers] : Object.entries(headers).flat();
  if (!lines.some((name, index) => index % 2 === 0 && name.toLowerCase() === "host"))
    lines.unshift("Host", host);
  if (body !== undefined) lines.push("Content-Length", String(Buffer.byteLength(body)));
  const outgoing = send({
    ...(socketPath === undefined ? { hostname, port } : { socketPath }),
    path,
    method,
    headers: lines as unknown as Record<string, string>,
    agent: false,
  });
  outgoing.end(body);
  const [incoming] = await once(outgoing, "response");
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString("utf8");
  return {
    status: incoming.statusCode,
    headers: incoming.headers,
    rawHeaders: incoming.rawHeaders,
    text,
    body: text !== "" && /json/.test(incoming.headers["content-type"] ?? "") ? JSON.parse(text) : undefined,
  };
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Claims of a token, unverified. */
export function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
}

/** APIs with and without rules of their own. */
export const LOCAL_YAML = `
identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    kind: graph
    allowPrivateNetwork: true
  open:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/User.Read]
    allowPrivateNetwork: true
  daemon:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
  narrow:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
  hidden:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
  unknown-resource:
    baseUrl: "\${GRAPH_URL}"
    scopes: [api://nobody-registered-this/.default]
    allowPrivateNetwork: true
routes:
  - path: /graph
    downstreamApi: graph
    methods: [GET, POST]
    requiredScopes: [access_as_user]
    allow: ["/me", "/me/**", "/users/*", "/$batch"]
  - { path: /graph/me/admin, downstreamApi: graph, requiredScopes: [admin.read], allow: ["/me"] }
  - { path: /graph/other, downstreamApi: open, allow: ["/me"] }
  - { path: /step-up, downstreamApi: graph, authContext: c1, allow: ["/me"] }
  - path: /tools
    downstreamApi: open
    mcp: true
    methods: [GET, POST]
    allow: ["/"]
    tools: { allow: [echo] }
  - { path: /unknown-resource, downstreamApi: unknown-resource, allow: ["/me"] }
local:
  hosts: [App.example]
  maxBodyBytes: 65536
  apis:
    graph: {}
    open: { overrides: [scopes] }
    daemon: { applicationTokens: true, overrides: [tenant] }
    narrow: { requiredScopes: [admin.read], allow: ["/me"] }
    unknown-resource: { applicationTokens: true }
  forwardAuth:
    cacheSeconds: \${CACHE_SECONDS:-0}
    identityFields: { user: X-Auth-Request-User, tenant: X-Auth-Request-Tenant, client: X-Auth-Request-Client, scopes: X-Auth-Request-Scopes, roles: X-Auth-Request-Roles }
`;
