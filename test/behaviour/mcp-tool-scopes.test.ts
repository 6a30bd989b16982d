/** A tool that needs a scope of its own: clients meet the challenge by a sign-in, and end in an answer or in one refusal. */

import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import {
  authorizeRequest,
  callTool,
  locationOf,
  type McpGateway,
  personAtEmulator,
  scopeOf,
  startMcpGateway,
  startMcpServer,
  type TestMcpServer,
} from "../support/mcp.ts";
import { createAgent, type Sdk } from "../support/mcp-clients.ts";

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
let qualified: (scope: string) => string;
beforeAll(async () => {
  // Version 2 of the SDK says on the console what it does with tokens.
  jest.spyOn(console, "warn").mockImplementation(() => {});
  [emulator, server] = await Promise.all([startEmulator(), startMcpServer()]);
  qualified = (scope) => `api://${emulator.clientId}/${scope}`;
  gateway = await startMcpGateway({
    emulator,
    server,
    route:
      '  - { path: /tools, mcp: true, requiredScopes: [access_as_user], downstreamApi: orders, tools: { scopes: { "who*": [tools.write] } } }',
  });
});
afterAll(async () => {
  await gateway?.stop();
  await Promise.all([server?.close(), emulator?.close()]);
  jest.restoreAllMocks();
});

describe.each<Sdk>(["v1", "v2"])("SDK %s", (sdk) => {
  test.each([
    ["cannot renew", false, { result: "answered", signIns: 2 }],
    [
      "renews without its user",
      true,
      // Version 1 takes the renewed token for the widened one, and gives up when that is refused.
      sdk === "v1" ? { result: "refused", signIns: 1 } : { result: "answered", signIns: 2 },
    ],
  ])("that %s ends in one outcome", async (_, renews, expected) => {
    const person = personAtEmulator(emulator);
    const user = emulator.addUser().name;
    const agent = createAgent({ sdk, url: `${gateway.publicUrl}/tools`, person, user, renews });
    try {
      expect(await agent.call()).toMatchObject(expected);
      if (expected.result === "answered")
        expect(await agent.call()).toMatchObject({ result: "answered", signIns: 0 });
    } finally {
      await agent.close();
      await person.close();
    }
  });
});

test("the challenge names what the token has and the scope of the tool, qualified", async () => {
  const answer = await callTool(gateway, "/tools", emulator.mintUserToken());
  expect(answer.status).toBe(403);
  expect(scopeOf(answer).split(" ")).toEqual([qualified("access_as_user"), qualified("tools.write")]);
  expect(answer.headers.get("www-authenticate")).toMatch(/resource_metadata="[^"]*\/tools"/);
});

test.each([
  ["nothing", "openid", "access_as_user"],
  ["the route's scope", "api://GATEWAY/access_as_user", "access_as_user"],
  ["the tool's too", "api://GATEWAY/access_as_user api://GATEWAY/tools.write", "access_as_user tools.write"],
  ["one of another route", "api://GATEWAY/admin.read api://GATEWAY/access_as_user", "access_as_user"],
])("a sign-in that asks for %s gets no more than that", async (_, scope, expected) => {
  const { url } = authorizeRequest(gateway, emulator, {
    scope: scope.replaceAll("GATEWAY", emulator.clientId),
    resource: `${gateway.publicUrl}/tools`,
  });
  const { location } = await locationOf(url);
  const asked = (location?.searchParams.get("scope") ?? "")
    .split(" ")
    .filter((one) => one.startsWith("api://"));
  expect(asked).toEqual(expected.split(" ").map(qualified));
});

test("the documents show no scope of a tool before a challenge does", async () => {
  const { scopes_supported } = (await (
    await fetch(`${gateway.url}/.well-known/oauth-protected-resource/tools`)
  ).json()) as { scopes_supported: string[] };
  expect(scopes_supported).toEqual([qualified("access_as_user")]);
});
