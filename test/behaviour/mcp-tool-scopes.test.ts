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
  signIn,
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
    ["cannot renew", false],
    ["renews without its user", true],
  ])("that %s signs in once more, and calls the tool", async (_, renews) => {
    const expected = { result: "answered", signIns: 2 };
    const person = personAtEmulator(emulator);
    const user = emulator.addUser().name;
    const agent = createAgent({ sdk, url: `${gateway.publicUrl}/tools`, person, user, renews });
    try {
      expect(await agent.call()).toMatchObject(expected);
      expect(await agent.call()).toMatchObject({ result: "answered", signIns: 0 });
    } finally {
      await agent.close();
      await person.close();
    }
  });
});

test.each([
  ["the clients of the gateway, with a handle", true],
  ["a client that signs in at Entra, without one", false],
])("the challenge names what the token has and the scope of the tool, for %s", async (_, isOurs) => {
  const more = isOurs ? { clientId: emulator.publicClientId } : {};
  const answer = await callTool(gateway, "/tools", emulator.mintUserToken({ user: "grace", ...more }));
  expect(answer.status).toBe(403);
  const handle = isOurs ? [expect.stringMatching(/^urn:obo-gateway:claims:/)] : [];
  expect(scopeOf(answer).split(" ")).toEqual([
    qualified("access_as_user"),
    qualified("tools.write"),
    ...handle,
  ]);
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

test("a sign-in that does not bring the scope is not asked for again", async () => {
  const ours = { user: emulator.addUser().name, clientId: emulator.publicClientId };
  const first = await callTool(gateway, "/tools", emulator.mintUserToken(ours));
  const person = personAtEmulator(emulator);
  try {
    // The user signs in with the handle alone, as a client might ask that drops what it does not know.
    const scope = `${qualified("access_as_user")} ${scopeOf(first).split(" ").at(-1)}`;
    const { tokens } = await signIn(gateway, emulator, person, { user: ours.user, changes: { scope } });
    const second = await callTool(gateway, "/tools", tokens.access_token);
    expect([second.status, second.body.code]).toEqual([403, "blocked_by_policy"]);
    expect(second.headers.get("www-authenticate")).toBeNull();
  } finally {
    await person.close();
  }
});

test("the documents show no scope of a tool before a challenge does", async () => {
  const { scopes_supported } = (await (
    await fetch(`${gateway.url}/.well-known/oauth-protected-resource/tools`)
  ).json()) as { scopes_supported: string[] };
  expect(scopes_supported).toEqual([qualified("access_as_user")]);
});
