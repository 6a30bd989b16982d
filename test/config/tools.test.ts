/** `routes[].mcp` and `routes[].tools` of gateway.yaml: what they default to, and what is refused in which words. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type GatewayConfig, loadConfig } from "../../src/config/load.ts";
import { ConfigurationError } from "../../src/errors.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "tools-config-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function load(route: string, more = ""): GatewayConfig {
  const file = join(directory, "gateway.yaml");
  writeFileSync(
    file,
    `
identity: { tenants: ["*"], audiences: [a] }
downstreamApis:
  tools: { baseUrl: "https://tools.example/mcp", scopes: [api://tools/.default] }
  graph: { baseUrl: "https://graph.microsoft.com/v1.0", scopes: [https://graph.microsoft.com/.default] }
routes:
  - { path: /mcp, ${route} }
${more}
`,
  );
  return loadConfig({
    GATEWAY_CONFIG: file,
    AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
    AZURE_CLIENT_ID: "22222222-2222-4222-8222-222222222222",
  });
}

function faultsOf(route: string, more = ""): readonly string[] {
  try {
    load(route, more);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.faults.map(({ path, problem }) => `${path}: ${problem}`);
  }
  return [];
}

test("a route to an MCP server takes the transport's methods at the base URL, unless the file says otherwise", () => {
  const [usual] = load("downstreamApi: tools, mcp: true").routes;
  expect(usual).toMatchObject({ mcp: true, tools: undefined });
  expect(usual?.target).toEqual({ path: "/mcp", methods: ["POST", "GET", "DELETE"], allow: ["/"] });
  const [narrow] = load('downstreamApi: tools, mcp: true, methods: [POST], allow: ["/v2"]').routes;
  expect(narrow?.target).toMatchObject({ methods: ["POST"], allow: ["/v2"] });
  const [other] = load('downstreamApi: tools, allow: ["/"]').routes;
  expect(other?.target.methods).toEqual(["GET"]);
});

test("rules for tools come with their defaults", () => {
  const [route] = load("downstreamApi: tools, mcp: true, tools: { allow: [a] }").routes;
  expect(route?.tools).toEqual({ allow: ["a"], deny: [], scopes: {}, limits: {} });
  const [limited] = load(
    "downstreamApi: tools, mcp: true, tools: { limits: { a: { perUser: { requests: 1 } } } }",
  ).routes;
  expect(limited?.tools?.limits).toEqual({ a: { perUser: { requests: 1, perSeconds: 60 } } });
});

test("handler: graph-mcp speaks MCP without a further word, and may name the methods of its calls", () => {
  const [usual] = load('handler: graph-mcp, allow: ["/me"]').handlerRoutes;
  expect(usual).toMatchObject({ mcp: true, methods: ["GET"] });
  const [writing] = load(
    'handler: graph-mcp, allow: ["/me"], methods: [GET, POST], tools: { deny: [graph_call] }',
  ).handlerRoutes;
  expect(writing).toMatchObject({ methods: ["GET", "POST"], tools: { deny: ["graph_call"] } });
});

test.each<[string, string, RegExp]>([
  [
    "rules without MCP",
    'downstreamApi: tools, allow: ["/"], tools: { deny: [a] }',
    /^routes\[0\]\.tools: goes only with mcp: true/,
  ],
  [
    "rules for another handler",
    "handler: profile, tools: { deny: [a] }",
    /^routes\[0\]\.tools: goes only with mcp: true/,
  ],
  [
    "methods of another handler",
    "handler: profile, methods: [GET]",
    /^routes\[0\]\.methods: goes only with forwarding/,
  ],
  ["an empty list", "downstreamApi: tools, mcp: true, tools: { allow: [] }", /^routes\[0\]\.tools\.allow: /],
  [
    "a name that no tool has",
    'downstreamApi: tools, mcp: true, tools: { allow: ["a b"] }',
    /^routes\[0\]\.tools\.allow\[0\]: must be the name of a tool/,
  ],
  [
    "a scope of none",
    "downstreamApi: tools, mcp: true, tools: { scopes: { a: [] } }",
    /^routes\[0\]\.tools\.scopes\.a: /,
  ],
  [
    "a key that is not known",
    "downstreamApi: tools, mcp: true, tools: { allowed: [a] }",
    /^routes\[0\]\.tools\.allowed: /,
  ],
  [
    "a limit that is none",
    "downstreamApi: tools, mcp: true, tools: { limits: { a: { perUser: 3 } } }",
    /^routes\[0\]\.tools\.limits\.a\.perUser: /,
  ],
])("%s is a fault that names its place", (_, route, fault) => {
  expect(faultsOf(route)).toEqual([expect.stringMatching(fault)]);
});

test("sign-in counts the handler as a route, and asks it for scopes", () => {
  const more =
    'http: { publicUrl: "https://gw.example" }\nmcp: { clientId: 33333333-3333-4333-8333-333333333333 }';
  expect(faultsOf('handler: graph-mcp, allow: ["/me"], requiredScopes: [access_as_user]', more)).toEqual([]);
  expect(faultsOf('handler: graph-mcp, allow: ["/me"]', more)).toEqual([
    expect.stringMatching(/^routes\[0\]\.requiredScopes: is missing/),
  ]);
});
