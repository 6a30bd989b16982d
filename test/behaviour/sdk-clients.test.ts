/** Clients of the Azure SDKs and of Graph in a route's handler, with the gateway's credential, against the emulator. */

import type { TokenCredential } from "@azure/core-auth";
import {
  bearerTokenAuthenticationPolicy,
  createDefaultHttpClient,
  createEmptyPipeline,
  createPipelineRequest,
  tlsPolicy,
} from "@azure/core-rest-pipeline";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Client } from "@microsoft/microsoft-graph-client";
import { TokenCredentialAuthenticationProvider } from "@microsoft/microsoft-graph-client/authProviders/azureTokenCredentials/index.js";
import { Agent, fetch as undiciFetch } from "undici";
import { codeRoute, type OnBehalfOf } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";

const SCOPE = "https://graph.microsoft.com/.default";
const policy = { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] } as const;

let emulator: Emulator;
let gateway: TestGateway;
let agent: Agent;
const globalFetch = globalThis.fetch;

/** The SDKs' own pipeline, with its bearer policy; TLS as the emulator's CA wants it. */
async function viaPipeline(credential: TokenCredential, scopes: string | string[], times = 1) {
  const pipeline = createEmptyPipeline();
  pipeline.addPolicy(bearerTokenAuthenticationPolicy({ credential, scopes }));
  pipeline.addPolicy(tlsPolicy({ ca: emulator.caCertificate }));
  const client = createDefaultHttpClient();
  const statuses: number[] = [];
  let body: unknown;
  for (let count = 0; count < times; count += 1) {
    const answer = await pipeline.sendRequest(
      client,
      createPipelineRequest({ url: `${emulator.graphUrl}/me` }),
    );
    statuses.push(answer.status);
    body = JSON.parse(answer.bodyAsText ?? "null");
  }
  return { statuses, body };
}

function graphClient(credential: TokenCredential): Client {
  return Client.initWithMiddleware({
    authProvider: new TokenCredentialAuthenticationProvider(credential, { scopes: [SCOPE] }),
    baseUrl: emulator.graphUrl.replace(/\/v1\.0$/, "/"),
    customHosts: new Set(["localhost"]),
  });
}

let ask: (onBehalfOf: OnBehalfOf<"graph" | "unknown-resource">) => Promise<unknown>;
const route = codeRoute({
  method: "get",
  path: "/api/sdk",
  policy,
  uses: ["graph", "unknown-resource"],
  async handler(_request, response, onBehalfOf) {
    response.json((await ask(onBehalfOf)) ?? null);
  },
});

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, routes: [route] });
  agent = new Agent({ connect: { ca: emulator.caCertificate } });
  // The Graph client knows no other fetch than the global one.
  globalThis.fetch = ((input: string, init: object) =>
    undiciFetch(input, { ...init, dispatcher: agent })) as unknown as typeof fetch;
});
afterAll(async () => {
  globalThis.fetch = globalFetch;
  await agent.close();
  await gateway.stop();
  await emulator.close();
});
beforeEach(() => emulator.requests.clear());
afterEach(() => {
  emulator.graph.clearChallenges();
  emulator.clearRefusals();
});

const call = (token = emulator.mintUserToken({ user: "ada" })) => gateway.get("/api/sdk", token);

describe("a client of the Azure SDKs", () => {
  test("acts for the user, and shares the gateway's cache with every other way to the API", async () => {
    ask = async ({ credential, downstream }) => {
      await downstream.graph.get("/me");
      return viaPipeline(credential("graph"), SCOPE, 2);
    };
    const token = emulator.mintUserToken({ user: "ada" });
    const { body } = await call(token).expect(200);
    expect(body).toMatchObject({ statuses: [200, 200], body: { id: emulator.users.ada.objectId } });
    await gateway.get("/api/sdk", token).expect(200);
    expect(emulator.requests.counts).toMatchObject({ token: 1, graph: 6 });
  });

  test("and others at the same time share one exchange", async () => {
    ask = ({ credential }) =>
      Promise.all(Array.from({ length: 5 }, () => viaPipeline(credential("graph"), SCOPE)));
    await call().expect(200);
    expect(emulator.requests.counts).toMatchObject({ token: 1, graph: 5 });
  });

  test("meets a claims challenge of continuous access evaluation with a new token", async () => {
    ask = ({ credential }) => viaPipeline(credential("graph"), SCOPE, 2);
    const token = emulator.mintUserToken({ user: "ada" });
    await call(token).expect(200);
    emulator.requests.clear();
    emulator.graph.challenge("ada");
    const { body } = await call(token).expect(200);
    expect(body.statuses).toEqual([200, 200]);
    expect(emulator.requests.graph.map(({ status }) => status)).toEqual([401, 200, 200]);
    expect(emulator.requests.token).toHaveLength(1);
    expect(emulator.requests.token[0]?.claims).toContain("nbf");
  });

  test("gets a token with the times that it needs to keep it", async () => {
    ask = ({ credential }) => credential("graph").getToken(SCOPE, { enableCae: true });
    const before = Date.now();
    const { body } = await call(emulator.mintUserToken({ expiresInSeconds: 3600 })).expect(200);
    expect(body).toMatchObject({ tokenType: "Bearer", token: expect.stringMatching(/^eyJ/) });
    // Never past the end of the user's own token.
    expect(body.expiresOnTimestamp).toBeLessThanOrEqual(Date.now() + 3_600_000);
    expect(body.expiresOnTimestamp).toBeGreaterThan(before + 3_500_000);
    expect(body.refreshAfterTimestamp).toBe(body.expiresOnTimestamp - 300_000);
  });
});

describe("the Graph client", () => {
  test("acts for the user", async () => {
    ask = ({ credential }) => graphClient(credential("graph")).api("/me").get();
    const { body } = await call(emulator.mintUserToken({ user: "grace" })).expect(200);
    expect(body.id).toBe(emulator.users.grace.objectId);
  });

  test("leaves the caller with the refusal that the exchange met, not with an internal error", async () => {
    ask = ({ credential }) => graphClient(credential("graph")).api("/me").get();
    emulator.refuse({ code: 50105 });
    const { body } = await call().expect(403);
    expect(body.code).toBe("not_assigned");
  });
});

describe("a credential fails", () => {
  /** What the credential threw, as a chain of credentials would look at it. */
  const failureOf = (act: (onBehalfOf: Parameters<typeof ask>[0]) => Promise<unknown>) =>
    new Promise<unknown>((resolve) => {
      ask = async (onBehalfOf) => resolve(await act(onBehalfOf).catch((error: unknown) => error));
      call().then(() => {});
    });

  test.each<[string, (onBehalfOf: Parameters<typeof ask>[0]) => Promise<unknown>, string]>([
    [
      "for another resource's scopes",
      ({ credential }) => credential("graph").getToken("https://vault.azure.net/.default"),
      "credential_scopes",
    ],
    [
      "for another tenant",
      ({ credential }) => credential("graph").getToken(SCOPE, { tenantId: emulator.secondTenant.id }),
      "credential_tenant",
    ],
    [
      "for proof of possession",
      ({ credential }) =>
        (credential("graph") as TokenCredential).getToken(SCOPE, {
          proofOfPossessionOptions: {
            nonce: "n",
            resourceRequestMethod: "GET",
            resourceRequestUrl: "https://graph.microsoft.com/",
          },
        }),
      "credential_proof_of_possession",
    ],
  ])("%s as unavailable, without asking Entra", async (_, act, reason) => {
    expect(await failureOf(act)).toMatchObject({
      name: "CredentialUnavailableError",
      cause: { code: "downstream_misconfigured", reason },
    });
    expect(emulator.requests.counts.token).toBe(0);
  });

  test("as authentication failed when Entra says no, and the caller gets what the user must do", async () => {
    emulator.refuse({ code: 50076, times: 1, claims: true });
    const failure = await failureOf(({ credential }) => credential("graph").getToken(SCOPE));
    expect(failure).toMatchObject({ name: "AuthenticationError", cause: { code: "interaction_required" } });

    ask = ({ credential }) => viaPipeline(credential("graph"), SCOPE);
    emulator.refuse({ code: 50076, times: 1, claims: true });
    const { body } = await call().expect(401);
    expect(body).toMatchObject({ code: "interaction_required", claims: expect.anything() });
  });

  test("for an API that the route does not use, by not existing", async () => {
    ask = async ({ credential }) => credential("nobody-listens" as "graph");
    await call().expect(500);
  });

  test("with the reason of the client's signal when that fires", async () => {
    const failure = await failureOf(({ credential }) =>
      credential("graph").getToken(SCOPE, { abortSignal: AbortSignal.abort() }),
    );
    expect(failure).toMatchObject({ name: "AbortError" });
  });
});
