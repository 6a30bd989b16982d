/** Both SDKs through the bridge: each demand on the user ends in an answered call or in one refusal, and none in a circle. */

import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator, User } from "../../emulator/handle.ts";
import type { Person } from "../../emulator/person.ts";
import {
  callTool,
  KNOWN_CLIENT,
  type McpGateway,
  personAtEmulator,
  startMcpGateway,
  startMcpServer,
  type TestMcpServer,
} from "../../support/mcp.ts";
import { type Agent, createAgent, type Sdk } from "../../support/mcp-clients.ts";

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
const open: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  // Version 2 of the SDK says on the console that it drops tokens which the bridge refuses to renew.
  jest.spyOn(console, "warn").mockImplementation(() => {});
  [emulator, server] = await Promise.all([startEmulator(), startMcpServer()]);
  gateway = await startMcpGateway({ emulator, server, cachedTokens: 1 });
});
afterAll(async () => {
  await gateway.stop();
  await Promise.all([server.close(), emulator.close()]);
  jest.restoreAllMocks();
});
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  emulator.clearRefusals();
});

/** A user of her own for each test, so that none meets the marks of another. */
function agentOf(
  sdk: Sdk,
  more: {
    readonly path?: string;
    readonly renews?: boolean;
    readonly user?: Partial<User>;
    readonly forgets?: boolean;
    readonly clientMetadataUrl?: string;
  } = {},
) {
  const user: User = emulator.addUser(more.user);
  const person: Person & { close(): Promise<void> } = personAtEmulator(emulator);
  const agent: Agent = createAgent({
    sdk,
    url: `${gateway.publicUrl}${more.path ?? "/mcp"}`,
    person,
    user: user.name,
    renews: more.renews ?? true,
    forgets: more.forgets ?? true,
    ...(more.clientMetadataUrl === undefined ? {} : { clientMetadataUrl: more.clientMetadataUrl }),
  });
  open.push(agent, person);
  return { agent, user, person };
}

const toolCalls = () => server.calls.length;
const lines = (route: string) =>
  gateway.logs.filter((line) => line.msg === "request" && line.route === route).length;

describe.each<Sdk>(["v1", "v2"])("SDK %s", (sdk) => {
  test.each([
    ["registers", undefined],
    ["is known by URL", KNOWN_CLIENT],
  ])("signs in once where it %s, and calls its tool", async (_, clientMetadataUrl) => {
    const { agent } = agentOf(sdk, clientMetadataUrl === undefined ? {} : { clientMetadataUrl });
    const before = toolCalls();
    expect(await agent.call()).toEqual({ result: "answered", message: "", signIns: 1 });
    expect(toolCalls()).toBe(before + 1);
    expect(await agent.call()).toMatchObject({ result: "answered", signIns: 0 });
  });

  test("ends in an answer or in one refusal where it keeps tokens that are not renewed", async () => {
    const { agent, user } = agentOf(sdk, { forgets: false });
    expect(await agent.call()).toMatchObject({ result: "answered", signIns: 1 });
    await callTool(gateway, "/mcp", emulator.mintUserToken({ user: "grace" }));
    emulator.requireMfa(user);
    const before = lines("/mcp");
    const outcome = await agent.call();
    // Version 1 tries the same refresh token twice, and then shows its user the bridge's refusal.
    if (sdk === "v1")
      expect(outcome).toMatchObject({
        result: "refused",
        signIns: 0,
        message: expect.stringMatching(/sign in again/),
      });
    else expect(outcome).toMatchObject({ result: "answered", signIns: 1 });
    expect(lines("/mcp") - before).toBeLessThanOrEqual(3);
  });

  describe.each([
    ["renews without its user", true],
    ["cannot renew", false],
  ])("that %s", (_, renews) => {
    /** Challenged after a first call that was answered. */
    async function challengedBy(raise: (user: User) => void, path?: string) {
      const { agent, user, person } = agentOf(sdk, { renews, ...(path === undefined ? {} : { path }) });
      expect(await agent.call()).toMatchObject({ result: "answered", signIns: 1 });
      // Takes the one place in the cache, so that the next call needs an exchange.
      await callTool(gateway, "/mcp", emulator.mintUserToken({ user: "grace" }));
      raise(user);
      const before = lines(path ?? "/mcp");
      const outcome = await agent.call();
      return { outcome, user, person, agent, requests: lines(path ?? "/mcp") - before };
    }

    test("is carried through MFA by one sign-in", async () => {
      const { outcome, requests, agent } = await challengedBy((user) => void emulator.requireMfa(user));
      expect(outcome).toEqual({ result: "answered", message: "", signIns: 1 });
      expect(requests).toBeLessThanOrEqual(3);
      expect(await agent.call()).toMatchObject({ result: "answered", signIns: 0 });
    });

    // The gateway of the emulator asks for permissions that need an administrator, and consent is for all of them.
    test.each([
      ["an administrator, who consents", true, { result: "answered", message: "", signIns: 2 }],
      [
        "a user, who may not",
        false,
        { result: "refused", message: "sign-in ended at Entra: Approval required", signIns: 2 },
      ],
    ])("is carried to the page of consent of %s", async (_who, administrator, expected) => {
      const { ordersApi, clientId } = emulator;
      emulator.revokeConsent({ clientId, resource: ordersApi.clientId });
      try {
        const { agent } = agentOf(sdk, { renews, user: { administrator } });
        // The first sign-in asks for the gateway alone; the call then lacks what lies behind.
        expect(await agent.call()).toEqual(expected);
      } finally {
        emulator.grantConsent({ clientId, resource: ordersApi.clientId, scopes: ["orders.read"] });
      }
    });

    test("is carried through a step-up by one sign-in", async () => {
      const { agent } = agentOf(sdk, { renews, path: "/step-up" });
      const outcome = await agent.call();
      expect(outcome).toEqual({ result: "answered", message: "", signIns: 2 });
      expect(agent.opened.at(-1)?.searchParams.get("scope")).toContain("urn:obo-gateway:claims:");
    });

    test("signs in again after its user's sessions were revoked", async () => {
      const { outcome, requests } = await challengedBy((user) => emulator.revokeSessions(user));
      expect(outcome).toMatchObject({ result: "answered", signIns: 1 });
      expect(requests).toBeLessThanOrEqual(3);
    });

    test("is refused once, and clearly, where the demand stands after the sign-in", async () => {
      const claims =
        '{"access_token":{"capolids":{"essential":true,"values":["a-policy-that-nothing-meets"]}}}';
      const { outcome, requests } = await challengedBy((user) => {
        emulator.refuse({ code: 50076, user, grant: "on-behalf-of", claims });
      });
      expect(outcome).toMatchObject({ result: "refused", signIns: 1 });
      expect(outcome.message).toMatch(/blocked_by_policy/);
      expect(requests).toBeLessThanOrEqual(4);
    });

    test("is refused once where a policy blocks its user", async () => {
      const { outcome, requests } = await challengedBy((user) => {
        emulator.refuse({ code: 53003, user, grant: "on-behalf-of" });
      });
      expect(outcome).toMatchObject({ result: "refused", signIns: 0 });
      expect(outcome.message).toMatch(/blocked_by_policy/);
      expect(requests).toBeLessThanOrEqual(2);
    });

    test("is refused once where the person declines", async () => {
      const { agent, user, person } = agentOf(sdk, { renews });
      expect(await agent.call()).toMatchObject({ result: "answered", signIns: 1 });
      await callTool(gateway, "/mcp", emulator.mintUserToken({ user: "grace" }));
      emulator.requireMfa(user);
      const signIn = person.signIn;
      jest
        .spyOn(person, "signIn")
        .mockImplementation((url, options) => signIn(url, { ...options, secondFactor: "cancel" }));
      const outcome = await agent.call();
      expect(outcome).toMatchObject({ result: "refused", signIns: 1 });
      expect(outcome.message).toMatch(/sign-in ended at Entra/);
    });
  });
});
