/** Strict readers of what the bridge publishes, a client as a process of its own, and the contrast: Entra without the bridge. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import * as oauth from "oauth4webapi";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import type { Person } from "../emulator/person.ts";
import {
  callTool,
  locationOf,
  type McpGateway,
  personAtEmulator,
  REDIRECT,
  startMcpGateway,
  startMcpServer,
  type TestMcpServer,
} from "../support/mcp.ts";
import { createAgent, type Sdk } from "../support/mcp-clients.ts";

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
let person: Person & { close(): Promise<void> };

beforeAll(async () => {
  jest.spyOn(console, "warn").mockImplementation(() => {});
  [emulator, server] = await Promise.all([startEmulator(), startMcpServer()]);
  gateway = await startMcpGateway({ emulator, server, cachedTokens: 1 });
  person = personAtEmulator(emulator);
});
afterAll(async () => {
  await person.close();
  await gateway.stop();
  await Promise.all([server.close(), emulator.close()]);
  jest.restoreAllMocks();
});

describe("oauth4webapi", () => {
  const insecure = { [oauth.allowInsecureRequests]: true };

  async function serverOf(algorithm: "oauth2" | "oidc"): Promise<oauth.AuthorizationServer> {
    const resource = new URL(`${gateway.publicUrl}/mcp`);
    const document = await oauth.processResourceDiscoveryResponse(
      resource,
      await oauth.resourceDiscoveryRequest(resource, insecure),
    );
    const [issuer = ""] = document.authorization_servers ?? [];
    const url = new URL(issuer);
    return await oauth.processDiscoveryResponse(
      url,
      await oauth.discoveryRequest(url, { algorithm, ...insecure }),
    );
  }

  test.each(["oauth2", "oidc"] as const)(
    "finds the authorization server by %s from the address of the MCP server alone",
    async (algorithm) => {
      const found = await serverOf(algorithm);
      expect(found.issuer).toBe(gateway.publicUrl);
      expect(found.code_challenge_methods_supported).toEqual(["S256"]);
    },
  );

  test("registers, signs in, renews, and reads the challenges of the route", async () => {
    const as = await serverOf("oauth2");
    const registered = await oauth.processDynamicClientRegistrationResponse(
      await oauth.dynamicClientRegistrationRequest(
        as,
        { redirect_uris: [REDIRECT], grant_types: ["authorization_code", "refresh_token"] },
        insecure,
      ),
    );
    const client: oauth.Client = { client_id: registered.client_id, token_endpoint_auth_method: "none" };
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const resource = `${gateway.publicUrl}/mcp`;
    const authorize = new URL(as.authorization_endpoint ?? "");
    for (const [name, value] of Object.entries({
      client_id: client.client_id,
      redirect_uri: REDIRECT,
      response_type: "code",
      scope: `api://${emulator.clientId}/access_as_user`,
      state,
      resource,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
    }))
      authorize.searchParams.set(name, value);
    const { location } = await locationOf(authorize);
    const journey = await person.signIn(String(location), { user: "ada" });
    const parameters = oauth.validateAuthResponse(as, client, journey.location ?? new URL(REDIRECT), state);
    const tokens = await oauth.processAuthorizationCodeResponse(
      as,
      client,
      await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), parameters, REDIRECT, verifier, {
        additionalParameters: { resource },
        ...insecure,
      }),
    );
    const renewed = await oauth.processRefreshTokenResponse(
      as,
      client,
      await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token ?? "", insecure),
    );
    expect((await callTool(gateway, "/mcp", renewed.access_token)).status).toBe(200);

    const request = oauth.protectedResourceRequest(
      "bad-token",
      "POST",
      new URL(resource),
      new Headers(),
      null,
      insecure,
    );
    const refusal = await request.catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(oauth.WWWAuthenticateChallengeError);
    expect((refusal as oauth.WWWAuthenticateChallengeError).cause).toMatchObject([
      { scheme: "bearer", parameters: { error: "invalid_token", resource_metadata: expect.any(String) } },
    ]);
  });

  test("reads a carried challenge as insufficient_scope, with the handle in its scope", async () => {
    const token = emulator.mintUserToken({ user: "grace", clientId: emulator.publicClientId });
    const request = oauth.protectedResourceRequest(
      token,
      "POST",
      new URL(`${gateway.publicUrl}/step-up`),
      new Headers(),
      null,
      insecure,
    );
    const refusal = await request.catch((error: unknown) => error);
    const [challenge] = (refusal as oauth.WWWAuthenticateChallengeError).cause;
    expect(challenge?.parameters.error).toBe("insufficient_scope");
    expect(challenge?.parameters.scope).toMatch(
      new RegExp(`^api://${emulator.clientId}/access_as_user urn:obo-gateway:claims:[A-Za-z0-9_-]+$`),
    );
  });
});

/** An MCP server as many are published: its metadata names Entra itself. */
async function startDirectServer(): Promise<{ readonly url: string; readonly server: Server }> {
  const direct = createServer((request, response) => {
    const { port } = direct.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/mcp`;
    const json = (value: unknown) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(value));
    };
    if (request.url?.startsWith("/.well-known/oauth-protected-resource") === true)
      return json({
        resource: url,
        authorization_servers: [`http://127.0.0.1:${port}/entra`],
        scopes_supported: [`api://${emulator.clientId}/access_as_user`],
      });
    // Entra's own document lacks PKCE, at which strict clients stop before anything is asked for. Here it is added, as
    // people do who put a document of their own in front, so that the clients come as far as Entra.
    if (request.url?.startsWith("/.well-known/") === true) {
      const base = `${emulator.authorityHost}${emulator.tenantId}/oauth2/v2.0`;
      return json({
        issuer: `http://127.0.0.1:${port}/entra`,
        authorization_endpoint: `${base}/authorize`,
        token_endpoint: `${base}/token`,
        response_types_supported: ["code"],
        code_challenge_methods_supported: ["S256"],
        token_endpoint_auth_methods_supported: ["none"],
      });
    }
    response.writeHead(401, {
      "www-authenticate": `Bearer resource_metadata="http://127.0.0.1:${port}/.well-known/oauth-protected-resource/mcp"`,
    });
    response.end();
  });
  await new Promise<void>((resolve) => {
    direct.listen(0, "127.0.0.1", resolve);
  });
  const { port } = direct.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/mcp`, server: direct };
}

describe("without the bridge", () => {
  test.each<Sdk>(["v1", "v2"])(
    "SDK %s is refused by Entra for its resource parameter (AADSTS9010010)",
    async (sdk) => {
      const direct = await startDirectServer();
      try {
        const agent = createAgent({
          sdk,
          url: direct.url,
          person,
          user: "ada",
          clientId: emulator.publicClientId,
          renews: true,
          // Entra's page is the first one.
          browse: (url) => Promise.resolve(url),
        });
        const outcome = await agent.call();
        expect(outcome).toMatchObject({ result: "refused", signIns: 1 });
        expect(outcome.message).toMatch(/AADSTS9010010/);
        await agent.close();
      } finally {
        direct.server.closeAllConnections();
        direct.server.close();
      }
    },
  );
});

/** A browser that comes back faster than any person: the client begins to listen only after it has shown the address. */
async function reach(address: URL): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await fetch(address);
      return;
    } catch (error) {
      if (attempt === 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

describe("mcp-remote", () => {
  const proxy = fileURLToPath(new URL("../../node_modules/mcp-remote/dist/proxy.js", import.meta.url));

  test("signs in through the bridge as a process of its own, and is carried through MFA in mid-session", async () => {
    const home = await mkdtemp(join(tmpdir(), "mcp-remote-"));
    const child: ChildProcess = spawn(
      process.execPath,
      [proxy, `${gateway.publicUrl}/mcp`, "--allow-http", "--host", "localhost"],
      {
        stdio: ["pipe", "pipe", "pipe"],
        // No browser may be opened here; the address stands in its lines all the same.
        env: { PATH: join(home, "nothing"), HOME: home, MCP_REMOTE_CONFIG_DIR: home, BROWSER: "none" },
      },
    );
    const said: string[] = [];
    const answers = new Map<unknown, Record<string, unknown>>();
    let signIns = 0;
    try {
      const seen = (async () => {
        for await (const line of createInterface({ input: child.stderr as NodeJS.ReadableStream })) {
          said.push(line);
          const url = /(http:\/\/127\.0\.0\.1:\d+\/oauth2\/authorize\?\S+)/.exec(line)?.[1];
          if (url === undefined) continue;
          signIns += 1;
          const { location } = await locationOf(url);
          const journey = await person.signIn(String(location), { user: "ada" });
          if (journey.location === undefined) throw new Error(`no way back: ${journey.pages.at(-1)?.fault}`);
          await reach(journey.location);
        }
      })();
      const heard = (async () => {
        for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
          const message = JSON.parse(line) as Record<string, unknown>;
          answers.set(message.id, message);
        }
      })();
      const send = (message: object) =>
        child.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
      const answerTo = async (id: number) => {
        for (let attempt = 0; attempt < 600 && !answers.has(id); attempt += 1) {
          if (child.exitCode !== null) break;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        const answer = answers.get(id);
        if (answer === undefined) throw new Error(`mcp-remote gave no answer:\n${said.join("\n")}`);
        return answer;
      };
      send({
        id: 1,
        method: "initialize",
        params: {
          protocolVersion: "2025-06-18",
          capabilities: {},
          clientInfo: { name: "test", version: "1" },
        },
      });
      expect(await answerTo(1)).toHaveProperty("result.serverInfo.name", "orders");
      send({ method: "notifications/initialized" });
      send({ id: 2, method: "tools/call", params: { name: "whoami", arguments: {} } });
      expect(await answerTo(2)).toHaveProperty("result.content");
      expect(signIns).toBe(1);

      // Takes the one place in the cache, so that the next call needs an exchange.
      await callTool(gateway, "/mcp", emulator.mintUserToken({ user: "grace" }));
      emulator.requireMfa("ada");
      send({ id: 3, method: "tools/call", params: { name: "whoami", arguments: {} } });
      expect(await answerTo(3)).toHaveProperty("result.content");
      expect(signIns).toBe(2);
      child.kill();
      await Promise.allSettled([seen, heard]);
    } finally {
      child.kill("SIGKILL");
      await rm(home, { recursive: true, force: true });
    }
  });
});
