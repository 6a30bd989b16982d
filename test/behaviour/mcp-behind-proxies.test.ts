/** A proxy in front asks about requests to MCP servers, and its callers can follow the challenges as at the gateway itself. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { ask } from "../local/support.ts";
import {
  type McpGateway,
  personAtEmulator,
  scopeOf,
  signIn,
  startMcpGateway,
  startMcpServer,
  type TestMcpServer,
} from "../support/mcp.ts";

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
const clock = Date.now();
beforeAll(async () => {
  [emulator, server] = await Promise.all([startEmulator({ now: () => clock }), startMcpServer()]);
  gateway = await startMcpGateway({
    emulator,
    server,
    now: () => clock,
    more: "local: {}",
    env: { LOCAL_PORT: "0" },
  });
});
afterAll(async () => {
  await gateway.stop();
  await Promise.all([server.close(), emulator.close()]);
});

const mint = (options = {}) => emulator.mintUserToken({ clientId: emulator.publicClientId, ...options });

/** Of one POST, by the gateway's own proxy and by the decision for another. */
async function answersAt(path: string, token: string | undefined) {
  const bearer: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const headers = { ...bearer, "content-type": "application/json" };
  const own = await ask(gateway.url, path, { method: "POST", headers, body: "{}" });
  const asked = await ask(gateway.localUrl, `/forward-auth${path}`, {
    headers: { ...bearer, "x-original-uri": path, "x-original-method": "POST" },
  });
  return [own, asked].map(({ status, headers: fields, body }) => ({
    status,
    challenge: fields["www-authenticate"],
    code: body?.code,
  }));
}

test.each<[string, string, () => string | undefined]>([
  ["no token at an MCP route", "/mcp", () => undefined],
  ["a token that is none at an MCP route", "/mcp", () => "none"],
  ["a token without the scope", "/admin", mint],
  ["a sign-in that is too weak", "/step-up", mint],
  [
    "a client that answers claims challenges by itself",
    "/step-up",
    () => emulator.mintUserToken({ claims: { xms_cc: ["cp1"] } }),
  ],
  ["an application", "/mcp", () => mint({ appOnly: true })],
  ["no token at another route", "/plain", () => undefined],
  ["a token without the scope at another route", "/plain-admin", mint],
  ["a sign-in that is too weak at another route", "/plain-step-up", mint],
])("%s is challenged alike on both ways", async (_, path, token) => {
  const [own, asked] = await answersAt(path, token());
  expect(own?.challenge ?? own?.code).toEqual(expect.any(String));
  expect(asked).toEqual(own);
});

test("a client follows the challenge that the proxy in front passes on, and gets through", async () => {
  const person = personAtEmulator(emulator);
  const headers = { "x-original-uri": "/step-up", "x-original-method": "POST" };
  const decide = (token: string) =>
    ask(gateway.localUrl, "/forward-auth/step-up", {
      headers: { ...headers, authorization: `Bearer ${token}` },
    });
  const { tokens } = await signIn(gateway, emulator, person, { user: "grace" });
  const refused = await decide(tokens.access_token);
  const scope = scopeOf({
    headers: new Headers({ "www-authenticate": String(refused.headers["www-authenticate"]) }),
  });
  expect(scope).toContain("urn:obo-gateway:claims:");
  const { tokens: stronger } = await signIn(gateway, emulator, person, { user: "grace", changes: { scope } });
  expect((await decide(stronger.access_token)).status).toBe(200);
  await person.close();
});
