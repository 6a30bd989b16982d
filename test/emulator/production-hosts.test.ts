import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Agent, buildConnector, fetch } from "undici";
import { decodeJws } from "./jws.ts";
import { type Client, startClient } from "./support.ts";

let client: Client;
let agent: Agent;
beforeAll(async () => {
  client = await startClient();
  const { ports, caCertificate } = client.emulator;
  const connect = buildConnector({ ca: caCertificate });
  // Every host leads to loopback under its own TLS name.
  agent = new Agent({
    connect: (options, callback) => {
      const port = options.hostname.startsWith("graph.") ? ports.graph : ports.authority;
      connect(
        { ...options, hostname: "127.0.0.1", port: String(port), servername: options.hostname },
        callback,
      );
    },
  });
});
afterAll(async () => {
  await agent.destroy();
  await client.close();
});

const AUTHORITY = "https://login.microsoftonline.com/";

test("a client led to loopback exchanges and calls Graph under the production names", async () => {
  const { emulator } = client;
  const tokenEndpoint = `${AUTHORITY}${emulator.tenantId}/oauth2/v2.0/token`;
  const assertion = emulator.mintUserToken({ user: "ada", authorityHost: AUTHORITY });
  expect(decodeJws(assertion)?.payload.iss).toBe(`${AUTHORITY}${emulator.tenantId}/v2.0`);
  const exchange = await fetch(tokenEndpoint, {
    dispatcher: agent,
    method: "POST",
    body: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      requested_token_use: "on_behalf_of",
      client_id: emulator.clientId,
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: client.clientAssertion({ claims: { aud: tokenEndpoint } }),
      assertion,
      scope: "https://graph.microsoft.com/.default",
    }),
  });
  const { access_token: token } = (await exchange.json()) as { access_token: string };
  const messages = await fetch("https://graph.microsoft.com/v1.0/me/messages?$top=5", {
    dispatcher: agent,
    headers: { authorization: `Bearer ${token}` },
  });
  expect(await messages.json()).toMatchObject({
    "@odata.nextLink": expect.stringMatching(/^https:\/\/graph\.microsoft\.com\/v1\.0\/me\/messages\?/),
  });
});

test("only production names ask browsers for HTTPS alone; localhost would lose its plain-HTTP pages", async () => {
  const { emulator } = client;
  const header = "strict-transport-security";
  const atProduction = await Promise.all([
    fetch(`${AUTHORITY}${emulator.tenantId}/oauth2/v2.0/token`, { dispatcher: agent, method: "POST" }),
    fetch("https://graph.microsoft.com/v1.0/me", { dispatcher: agent }),
  ]);
  expect(atProduction.map(({ headers }) => headers.has(header))).toEqual([true, true]);
  const atLocalhost = [
    await client.exchange(),
    await client.getJson(`${emulator.graphUrl}/me`, {
      authorization: `Bearer ${await client.graphToken("ada")}`,
    }),
  ];
  expect(atLocalhost.map(({ status, headers }) => [status, headers.has(header)])).toEqual([
    [200, false],
    [200, false],
  ]);
});
