/** The part `mcp` of gateway.yaml: what it refuses, and in which words. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type GatewayConfig, loadConfig } from "../../src/config/load.ts";
import { ConfigurationError } from "../../src/errors.ts";

const GATEWAY = "22222222-2222-4222-8222-222222222222";
const PUBLIC = "33333333-3333-4333-8333-333333333333";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "mcp-config-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function load(yaml: string): GatewayConfig {
  const file = join(directory, "gateway.yaml");
  writeFileSync(file, yaml);
  return loadConfig({
    GATEWAY_CONFIG: file,
    AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
    AZURE_CLIENT_ID: GATEWAY,
  });
}

function faultsOf(yaml: string): readonly string[] {
  try {
    load(yaml);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.faults.map(({ path, problem }) => `${path}: ${problem}`);
  }
  return [];
}

interface Parts {
  readonly identity?: string;
  readonly http?: string;
  readonly mcp?: string;
  readonly route?: string;
}

const yamlOf = ({
  identity = "",
  http = "publicUrl: https://gw.example",
  mcp = `clientId: ${PUBLIC}`,
  route = "path: /mcp, mcp: true, requiredScopes: [access_as_user]",
}: Parts = {}) => `
identity: { tenants: ["*"], audiences: [a]${identity} }
downstreamApis:
  tools: { baseUrl: "https://tools.example/mcp", scopes: [api://tools/.default] }
routes:
  - { downstreamApi: tools, allow: ["/"], ${route} }
http: { ${http} }
${mcp === "" ? "" : `mcp: { ${mcp} }`}
`;

test("without mcp, a route of an MCP server is a route like any other", () => {
  const config = load(yamlOf({ mcp: "", http: "", route: "path: /mcp, mcp: true" }));
  expect(config.mcp).toBeUndefined();
  expect(config.routes.map(({ mcp }) => mcp)).toEqual([true]);
  expect(load(yamlOf({ mcp: "", http: "", route: "path: /plain" })).routes.map(({ mcp }) => mcp)).toEqual([
    false,
  ]);
});

test("defaults: loopback addresses, no client known by URL, no registration", () => {
  expect(load(yamlOf()).mcp).toEqual({
    clientId: PUBLIC,
    clients: {},
    redirectUris: ["http://localhost/**", "http://127.0.0.1/**"],
    register: false,
  });
});

describe("what sign-in through the gateway cannot work without is a fault", () => {
  test.each<[string, Parts, readonly RegExp[]]>([
    ["no public address", { http: "" }, [/^http\.publicUrl: is missing/]],
    [
      "a public address in clear text",
      { http: "publicUrl: http://gw.example" },
      [/^http\.publicUrl: must be https/],
    ],
    [
      "a public address with a query",
      { http: "publicUrl: 'https://gw.example/?a'" },
      [/^http\.publicUrl: must not hold/],
    ],
    ["no route", { route: "path: /mcp, requiredScopes: [a]" }, [/^mcp: has no route to sign in for/]],
    [
      "a route without scopes",
      { route: "path: /mcp, mcp: true" },
      [/^routes\[0\]\.requiredScopes: is missing/],
    ],
    ["the gateway as its client", { mcp: `clientId: ${GATEWAY}` }, [/^mcp\.clientId: .*AADSTS90009/]],
    [
      "the gateway in capitals",
      { mcp: `clientId: ${GATEWAY.toUpperCase()}` },
      [/^mcp\.clientId: .*AADSTS90009/],
    ],
    ["no client id", { mcp: "register: true" }, [/^mcp\.clientId: is missing/]],
    [
      "a list of clients without it",
      { identity: `, allowedClients: [${GATEWAY}]` },
      [/^identity\.allowedClients: lacks mcp\.clientId/],
    ],
    [
      "a route's list of clients without it",
      { route: `path: /mcp, mcp: true, requiredScopes: [a], allowedClients: [${GATEWAY}]` },
      [/^routes\[0\]\.allowedClients: lacks mcp\.clientId/],
    ],
    [
      "a route above an endpoint",
      { route: "path: /oauth2, mcp: true, requiredScopes: [a]" },
      [/^routes\[0\]\.path: \/oauth2 meets \/oauth2\/authorize/],
    ],
    [
      "a route below an endpoint",
      { route: "path: /oauth2/token/x, mcp: true, requiredScopes: [a]" },
      [/^routes\[0\]\.path: \/oauth2\/token\/x meets \/oauth2\/token/],
    ],
    [
      "a route among the documents",
      { route: "path: /.well-known/oauth-authorization-server, mcp: true, requiredScopes: [a]" },
      [/^routes\[0\]\.path: .* meets \/\.well-known/],
    ],
    [
      "a probe at an endpoint",
      { http: "publicUrl: https://gw.example, probePath: /oauth2/token" },
      [/^http\.probePath: \/oauth2\/token is an endpoint of mcp/],
    ],
  ])("%s", (_, parts, expected) => {
    const faults = faultsOf(yamlOf(parts));
    expect(faults).toHaveLength(expected.length);
    expected.forEach((pattern, index) => {
      expect(faults[index]).toMatch(pattern);
    });
  });

  test.each<[string, Parts]>([
    ["a loopback address in clear text", { http: "publicUrl: http://127.0.0.1:8080" }],
    ["a public address with a path", { http: "publicUrl: https://gw.example/gateway/" }],
    ["lists of clients that hold it", { identity: `, allowedClients: [${GATEWAY}, ${PUBLIC}]` }],
    ["a route beside the endpoints", { route: "path: /oauth2/tokens, mcp: true, requiredScopes: [a]" }],
  ])("%s is none", (_, parts) => {
    expect(faultsOf(yamlOf(parts))).toEqual([]);
  });
});

describe("a redirect URI", () => {
  test.each([
    "http://localhost",
    "http://localhost/callback",
    "http://127.0.0.1:33418/**",
    "http://[::1]/callback",
    "https://vscode.dev/redirect",
    "https://chatgpt.com/connector/oauth/*",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "com.example.client:/callback",
  ])("may be %s", (uri) => {
    expect(faultsOf(yamlOf({ mcp: `clientId: ${PUBLIC}, redirectUris: ["${uri}"]` }))).toEqual([]);
    expect(
      faultsOf(
        yamlOf({
          mcp: `clientId: ${PUBLIC}, clients: { "https://c.example/id": { redirectUris: ["${uri}"] } }`,
        }),
      ),
    ).toEqual([]);
  });

  test.each([
    "http://client.example/callback",
    "https://*.example/callback",
    "https://client.example/callback?a=1",
    "https://client.example/callback#a",
    "https://user@client.example/callback",
    "javascript://client.example/%0Aalert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "/callback",
    "*",
    "https://",
    "custom:*",
  ])("may not be %s", (uri) => {
    expect(faultsOf(yamlOf({ mcp: `clientId: ${PUBLIC}, redirectUris: ["${uri}"]` }))).toEqual([
      expect.stringMatching(/^mcp\.redirectUris\[0\]: must be an https URL/),
    ]);
  });
});

describe("the id of a client that is known by URL", () => {
  test.each(["https://client.example/oauth/client.json", "https://client.example:8443/id"])(
    "may be %s",
    (url) => {
      expect(faultsOf(yamlOf({ mcp: `clientId: ${PUBLIC}, clients: { "${url}": {} }` }))).toEqual([]);
    },
  );

  test.each([
    "http://client.example/id",
    "https://client.example",
    "https://client.example/",
    "https://client.example/id#part",
    "https://user:word@client.example/id",
    "https://client.example/a/../id",
    "https://CLIENT.example/id",
    PUBLIC,
  ])("may not be %s", (url) => {
    expect(faultsOf(yamlOf({ mcp: `clientId: ${PUBLIC}, clients: { "${url}": {} }` }))).toHaveLength(1);
  });
});
