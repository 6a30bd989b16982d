import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type {
  CredentialEvent,
  CredentialOptions,
  CredentialRing,
  CredentialSource,
} from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { generateRsa, NOON, serviceAccountToken } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const MINUTE_MS = 60_000;
const JOB_TOKEN = "token-of-the-job";
const CONNECTION = "8f1c1b6e-0000-4000-8000-000000000001";
const key = generateRsa();
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };

interface Platform {
  readonly name: string;
  readonly source: CredentialSource;
  readonly setting: string;
  readonly options: Partial<CredentialOptions>;
  /** What the platform's endpoint finds wrong with a request; undefined grants it. */
  readonly refusal: (incoming: IncomingMessage, url: URL) => number | undefined;
  readonly answer: (token: string) => object;
}

const github: Platform = {
  name: "GitHub Actions",
  source: "github-actions",
  setting: "ACTIONS_ID_TOKEN_REQUEST_URL",
  options: {
    githubActions: {
      requestUrl: "https://actions.example/run/1/idtoken?api-version=2.0",
      requestToken: new Secret(JOB_TOKEN),
    },
  },
  refusal({ method, headers }, url) {
    if (headers.authorization !== `Bearer ${JOB_TOKEN}`) return 401;
    if (headers.accept !== "application/json") return 406;
    if (method !== "GET" || url.pathname !== "/run/1/idtoken") return 404;
    if (url.searchParams.get("api-version") !== "2.0") return 400;
    return url.searchParams.get("audience") === "api://AzureADTokenExchange" ? undefined : 400;
  },
  answer: (token) => ({ count: token.length, value: token }),
};

const pipelines: Platform = {
  name: "Azure Pipelines",
  source: "azure-pipelines",
  setting: "SYSTEM_OIDCREQUESTURI",
  options: {
    azurePipelines: {
      requestUri: "https://dev.example/org/project/_apis/distributedtask/hubs/build/plans/1/jobs/2/oidctoken",
      accessToken: new Secret(JOB_TOKEN),
      serviceConnectionId: CONNECTION,
    },
  },
  refusal({ method, headers }, url) {
    if (headers["x-tfs-fedauthredirect"] !== "Suppress") return 302;
    if (headers.authorization !== `Bearer ${JOB_TOKEN}`) return 401;
    if (headers.accept !== "application/json") return 406;
    if (method !== "POST" || !url.pathname.endsWith("/oidctoken")) return 404;
    if (!String(headers["content-type"]).startsWith("application/json")) return 415;
    if (url.searchParams.get("api-version") !== "7.1") return 400;
    return url.searchParams.get("serviceConnectionId") === CONNECTION ? undefined : 404;
  },
  answer: (token) => ({ oidcToken: token }),
};

let clock: { now: number };
let events: CredentialEvent[];
let server: Server;
let endpoint: { issued: number; lifetimeMs: number; override: { status: number; body: string } | undefined };

async function startEndpoint({ refusal, answer }: Platform): Promise<Fetch> {
  server = createServer(async (incoming, outgoing) => {
    const status = refusal(incoming, new URL(incoming.url ?? "", "http://localhost")) ?? 200;
    const { override } = endpoint;
    if (override !== undefined || status !== 200) {
      outgoing.writeHead(override?.status ?? status).end(override?.body);
      return;
    }
    endpoint.issued += 1;
    const token = await serviceAccountToken(key, clock.now + endpoint.lifetimeMs, endpoint.issued);
    outgoing.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer(token)));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  // The platforms speak https; their fake listens on loopback.
  return (input, init) => fetch(input.replace(/^https:\/\/[^/]+/, `http://127.0.0.1:${port}`), init);
}

beforeEach(() => {
  clock = { now: NOON };
  events = [];
  endpoint = { issued: 0, lifetimeMs: 5 * MINUTE_MS, override: undefined };
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

const open = async (platform: Platform, options: Partial<CredentialOptions> = {}) =>
  openCredential({
    ...SETTINGS,
    now: () => clock.now,
    onEvent: (event) => events.push(event),
    fetch: await startEndpoint(platform),
    ...platform.options,
    ...options,
  });

async function tokenId(credential: CredentialRing): Promise<unknown> {
  const proof = await credential.authenticate(request);
  if (proof.method !== "client_assertion") throw new Error("not an assertion");
  const [, payload = ""] = proof.clientAssertion.reveal().split(".");
  return JSON.parse(Buffer.from(payload, "base64url").toString()).jti;
}

describe.each([github, pipelines])("$name", (platform) => {
  test("gives a token to the request it documents, which serves until its last minute", async () => {
    const credential = await open(platform);
    expect(credential.status().sources).toMatchObject([{ source: platform.source }]);
    expect(await tokenId(credential)).toBe("1");
    clock.now += 4 * MINUTE_MS;
    expect(await tokenId(credential)).toBe("1");
    clock.now += 1;
    expect(await Promise.all([tokenId(credential), tokenId(credential)])).toEqual(["2", "2"]);
    expect(endpoint.issued).toBe(2);
  });

  test.each([
    ["a refusal", { status: 403, body: "" }, "answered 403"],
    ["a redirect to a sign-in page", { status: 302, body: "" }, "answered 302"],
    ["an answer that is no JSON", { status: 200, body: "<html>" }, "is empty"],
    ["an answer without a token", { status: 200, body: "{}" }, "is empty"],
    ["a token that is none", { status: 200, body: '{"value":"x","oidcToken":"x"}' }, "does not hold a JWT"],
    ["far too long an answer", { status: 200, body: "x".repeat(70_000) }, "too_large"],
  ])("is a fault of its setting when the answer at the start is %s", async (_, override, problem) => {
    endpoint.override = override;
    await expect(open(platform)).rejects.toMatchObject({
      faults: [{ path: platform.setting, problem: expect.stringContaining(problem) }],
    });
  });

  test("is a fault when it issues tokens that are over already", async () => {
    endpoint.lifetimeMs = 0;
    await expect(open(platform)).rejects.toThrow("ended already");
  });

  test("that stops answering leaves the last token serving until it ends, and is not asked all the time", async () => {
    const credential = await open(platform);
    clock.now += 4.5 * MINUTE_MS;
    endpoint.override = { status: 503, body: "" };
    expect(await tokenId(credential)).toBe("1");
    endpoint.override = undefined;
    clock.now += 4_999;
    expect(await tokenId(credential)).toBe("1");
    clock.now += 1;
    expect(await tokenId(credential)).toBe("2");
    expect(events.map(({ type }) => type)).toEqual(["reload_failed", "reloaded"]);
  });

  test("is asked for another token when Entra refuses one that is not fresh, but not again right after", async () => {
    const credential = await open(platform);
    clock.now += 2 * MINUTE_MS;
    expect(await credential.refused(await credential.authenticate(request))).toBe(true);
    expect(await credential.refused(await credential.authenticate(request))).toBe(false);
    expect(endpoint.issued).toBe(2);
  });

  test("shows neither the job's token nor its own when it is printed", async () => {
    const credential = await open(platform);
    const proof = await credential.authenticate(request);
    const everything = inspect([credential, proof, credential.status(), events], { depth: Infinity });
    for (const secret of [JOB_TOKEN, "eyJ"]) expect(everything).not.toContain(secret);
  });
});

test("a platform's endpoint without TLS is refused, since the job's token would travel in the clear", async () => {
  const requestUrl = "http://actions.example/idtoken";
  const options = { githubActions: { requestUrl, requestToken: new Secret(JOB_TOKEN) } };
  await expect(open(github, options)).rejects.toThrow("ACTIONS_ID_TOKEN_REQUEST_URL: is not an https URL");
});

test("a token of another cloud is asked for with that cloud's audience", async () => {
  // The fake accepts the public cloud's audience only.
  const federationAudience = "api://AzureADTokenExchangeUSGov";
  await expect(open(github, { federationAudience })).rejects.toThrow("answered 400");
});

describe.each([github, pipelines])("$name that does not answer", ({ setting, options }) => {
  test.each<[string, Fetch]>([
    [
      "at all",
      (_url, init) =>
        new Promise((_, reject) =>
          init?.signal?.addEventListener("abort", () => reject(new Error("aborted"))),
        ),
    ],
    [
      "beyond its head",
      async (_url, init) =>
        new Response(
          new ReadableStream({
            start: (controller) =>
              init?.signal?.addEventListener("abort", () => controller.error(new Error("aborted"))),
          }),
        ),
    ],
  ])("%s is given up after its time, which is ten seconds unless set", async (_, fetch) => {
    const began = performance.now();
    const error: unknown = await openCredential({
      ...SETTINGS,
      now: () => NOON,
      ...options,
      fetch,
      issuerTimeoutMs: 50,
    }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({
      faults: [{ path: setting, problem: expect.stringContaining("gave no answer (timeout)") }],
    });
    expect(performance.now() - began).toBeLessThan(4_000);
  });
});

test.each([github, pipelines])(
  "$name has ten seconds for an answer unless that is set",
  async ({ options }) => {
    const limits = jest.spyOn(globalThis, "setTimeout");
    try {
      await openCredential({
        ...SETTINGS,
        now: () => NOON,
        ...options,
        fetch: () => Promise.reject(new Error("no network")),
      }).catch(() => {});
      expect(limits.mock.calls.map(([, ms]) => ms)).toEqual([10_000]);
    } finally {
      limits.mockRestore();
    }
  },
);
