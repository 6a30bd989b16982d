/** A gateway with sign-in for MCP clients, a small MCP server behind it, and a person at the browser. */

import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { Agent, fetch as undiciFetch } from "undici";
import type { Emulator } from "../emulator/handle.ts";
import { createPerson, type Person } from "../emulator/person.ts";
import { freePort } from "./free-port.ts";
import { startTestGateway, type TestGateway, type TestGatewayOptions } from "./gateway.ts";

export interface TestMcpServer {
  readonly url: string;
  /** Tool calls that reached it, each with the `scp` of the token. */
  readonly calls: readonly { readonly tool: string; readonly audience: unknown }[];
  /** Requests of any kind. */
  readonly requests: { count: number };
  close(): Promise<void>;
}

/** One session per request, as servers without state answer. */
export async function startMcpServer(): Promise<TestMcpServer> {
  const calls: { tool: string; audience: unknown }[] = [];
  const requests = { count: 0 };
  const http = createServer(async (incoming, outgoing) => {
    requests.count += 1;
    if (incoming.method !== "POST") {
      outgoing.writeHead(405, { allow: "POST" }).end();
      return;
    }
    const [, payload = ""] = (incoming.headers.authorization ?? "").split(".");
    const { aud } = JSON.parse(Buffer.from(payload, "base64url").toString() || "{}") as { aud?: unknown };
    const server = new McpServer({ name: "orders", version: "1.0.0" });
    server.registerTool("whoami", { description: "Says for whom it is called." }, () => {
      calls.push({ tool: "whoami", audience: aud });
      return { content: [{ type: "text", text: "called on behalf of a user" }] };
    });
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: undefined,
      enableJsonResponse: true,
    } as unknown as ConstructorParameters<typeof StreamableHTTPServerTransport>[0]);
    outgoing.on("close", () => void transport.close());
    await server.connect(transport as unknown as Parameters<typeof server.connect>[0]);
    await transport.handleRequest(incoming, outgoing);
  });
  await new Promise<void>((resolve) => {
    http.listen(0, "127.0.0.1", resolve);
  });
  const { port } = http.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    requests,
    async close() {
      http.closeAllConnections();
      await new Promise((resolve) => {
        http.close(resolve);
      });
    },
  };
}

export interface McpGatewayOptions extends Omit<TestGatewayOptions, "yaml"> {
  readonly server: Pick<TestMcpServer, "url">;
  /** Members of `mcp` besides the client id. */
  readonly mcp?: string;
  readonly tenants?: string;
  /** A line of `routes` besides. */
  readonly route?: string;
  /** Added to the file. */
  readonly more?: string;
  readonly port?: number;
  /** Delegated tokens that are kept. With 1, the call of another user makes the next one exchange again. */
  readonly cachedTokens?: number;
  /** Default: where it listens. */
  readonly publicUrl?: string;
  /** Appended to the gateway's address. */
  readonly slash?: string;
}

export interface McpGateway extends TestGateway {
  /** `issuer` of the metadata. */
  readonly publicUrl: string;
}

export const KNOWN_CLIENT = "https://client.example/oauth/client.json";
export const OTHER_CLIENT = "https://other.example/client.json";

/** MCP routes: `/mcp`, `/step-up` (authentication context c1), `/admin` (a scope that no user has); and `/plain`, which is none. */
export async function startMcpGateway(options: McpGatewayOptions): Promise<McpGateway> {
  const { server, mcp = "register: true", tenants = '["${AZURE_TENANT_ID}"]', more = "" } = options;
  const port = options.port ?? (await freePort());
  const publicUrl = options.publicUrl ?? `http://127.0.0.1:${port}${options.slash ?? ""}`;
  const route = `downstreamApi: orders, allow: ["/"], methods: [GET, POST, DELETE]`;
  const yaml = `
identity:
  tenants: ${tenants}
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
exchange:
  refusalMemoryMs: 0
  cache: { maxEntries: ${options.cachedTokens ?? 1000}, redis: { url: "\${REDIS_URL:-}" } }
downstreamApis:
  orders:
    baseUrl: "${server.url}"
    scopes: ["api://${options.emulator.ordersApi.clientId}/orders.read"]
    allowPrivateNetwork: true
routes:
  - { path: /mcp, mcp: true, requiredScopes: [access_as_user], ${route} }
  - { path: /step-up, mcp: true, requiredScopes: [access_as_user], authContext: c1, ${route} }
  - { path: /admin, mcp: true, requiredScopes: [admin.read, admin.write], ${route} }
  - { path: /plain, requiredScopes: [access_as_user], ${route} }
  - { path: /plain-admin, requiredScopes: [admin.read], ${route} }
  - { path: /plain-step-up, requiredScopes: [access_as_user], authContext: c1, ${route} }
${options.route ?? ""}
http: { publicUrl: "${publicUrl}" }
mcp:
  clientId: ${options.emulator.publicClientId}
  clients:
    "${KNOWN_CLIENT}": {}
    "${OTHER_CLIENT}": { redirectUris: ["https://vscode.dev/redirect"] }
  ${mcp}
${more}
`;
  const gateway = await startTestGateway({ ...options, yaml, env: { PORT: String(port), ...options.env } });
  return { ...gateway, publicUrl };
}

/** A person whose browser trusts the emulator; gateway and client are plain HTTP on loopback. */
export function personAtEmulator(emulator: Emulator): Person & { close(): Promise<void> } {
  const agent = new Agent({ connect: { ca: emulator.caCertificate } });
  const person = createPerson(emulator.authorityHost, (url, init) =>
    undiciFetch(url, { ...init, dispatcher: agent }),
  );
  return { ...person, close: () => agent.close() };
}

export const REDIRECT = "http://localhost:33418/callback";

export type Form = Readonly<Record<string, string | undefined>>;

/** A complete authorization request with PKCE, and what to change in it; `undefined` leaves a parameter out. */
export function authorizeRequest(gateway: Pick<McpGateway, "url">, emulator: Emulator, changes: Form = {}) {
  const verifier = randomBytes(32).toString("base64url");
  const url = new URL(`${gateway.url}/oauth2/authorize`);
  const parameters: Form = {
    response_type: "code",
    client_id: emulator.publicClientId,
    redirect_uri: REDIRECT,
    scope: `api://${emulator.clientId}/access_as_user`,
    state: "as-sent",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...changes,
  };
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  const redeem: Form = {
    grant_type: "authorization_code",
    client_id: parameters.client_id,
    redirect_uri: parameters.redirect_uri,
    code_verifier: verifier,
  };
  return { url, verifier, redeem };
}

export interface OAuthAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

export async function postForm(
  url: string,
  form: Form,
  headers: Record<string, string> = {},
): Promise<OAuthAnswer> {
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries(form)) if (value !== undefined) body.set(name, value);
  const response = await fetch(url, { method: "POST", body, headers, redirect: "manual" });
  return await readAnswer(response);
}

export async function readAnswer(response: Response): Promise<OAuthAnswer> {
  const text = await response.text();
  let body: Record<string, unknown> = {};
  try {
    body = JSON.parse(text) as Record<string, unknown>;
  } catch {
    body = { text };
  }
  return { status: response.status, headers: response.headers, body };
}

/** Where the gateway sends the browser to. */
export async function locationOf(
  url: string | URL,
): Promise<{ readonly answer: OAuthAnswer; readonly location: URL | undefined }> {
  const response = await fetch(url, { redirect: "manual" });
  const location = response.headers.get("location");
  return { answer: await readAnswer(response), location: location === null ? undefined : new URL(location) };
}

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
}

/** Signs in through the bridge, and redeems the code there. */
export async function signIn(
  gateway: Pick<McpGateway, "url">,
  emulator: Emulator,
  person: Person,
  options: { readonly user?: string; readonly changes?: Form; readonly redeem?: Form } = {},
): Promise<OAuthAnswer & { readonly tokens: Tokens; readonly pages: number }> {
  const { url, redeem } = authorizeRequest(gateway, emulator, options.changes);
  const { answer, location } = await locationOf(url);
  if (location === undefined) throw new Error(`the bridge does not redirect: ${JSON.stringify(answer.body)}`);
  const journey = await person.signIn(location, { user: options.user ?? "ada" });
  const { code } = journey.answer;
  if (code === undefined)
    throw new Error(`no code: ${JSON.stringify(journey.answer)} ${journey.pages.at(-1)?.fault}`);
  const redeemed = await postForm(`${gateway.url}/oauth2/token`, { ...redeem, code, ...options.redeem });
  return { ...redeemed, tokens: redeemed.body as unknown as Tokens, pages: journey.pages.length };
}

/** A `tools/call` by hand. */
export async function callTool(
  gateway: Pick<McpGateway, "url">,
  path: string,
  token: string | undefined,
): Promise<OAuthAnswer> {
  const response = await fetch(`${gateway.url}${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "whoami", arguments: {} },
    }),
  });
  return await readAnswer(response);
}

/** `scope` of a challenge. */
export function scopeOf({ headers }: Pick<OAuthAnswer, "headers">): string {
  return /scope="([^"]*)"/.exec(headers.get("www-authenticate") ?? "")?.[1] ?? "";
}
