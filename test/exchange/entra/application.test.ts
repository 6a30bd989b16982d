import { describe, expect, test } from "@jest/globals";
import type { ExchangeEvent } from "../../../src/exchange/contract.ts";
import {
  applicationSubject,
  createCredentialCheck,
  createManagedIdentityToken,
  createRedisToken,
} from "../../../src/exchange/entra/application.ts";
import type { INetworkModule, SendGrant } from "../../../src/exchange/entra/msal.ts";
import { FetchFailure } from "../../../src/foundation/bounded-fetch.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { resolveAuthority } from "../../../src/identity/authority.ts";

const HOME = "11111111-aaaa-4aaa-8aaa-111111111111";
const CLIENT = "33333333-cccc-4ccc-8ccc-333333333333";
const WIRE = {
  clientId: CLIENT,
  authorityHost: "https://login.example/",
  tokenEndpoint: (tenant: string) => `https://login.example/${tenant}/token`,
  authorizeEndpoint: (tenant: string) => `https://login.example/${tenant}/authorize`,
  homeTenantId: HOME,
  fetch: globalThis.fetch,
  timeoutMs: 1_000,
};

function verdictOf(status: number, body: object) {
  const check = createCredentialCheck(WIRE, async () => ({
    status,
    headers: new Headers(),
    text: JSON.stringify(body),
  }));
  return check({ method: "client_secret", clientSecret: new Secret("s") });
}

describe("what Entra says to a proof that no request depends on", () => {
  test.each([
    ["a wrong secret", 401, "invalid_client", 7000215],
    ["an unregistered certificate", 401, "invalid_client", 700027],
    ["a subject without federated credential", 401, "invalid_client", 700213],
    ["a client that the tenant does not know", 400, "unauthorized_client", 700016],
    ["a disabled application", 400, "unauthorized_client", 7000112],
    ["a tenant that does not exist", 400, "invalid_request", 90002],
    ["a refused client without a number", 401, "invalid_client", 0],
  ])("is a definite refusal for %s", async (_, status, error, number) => {
    const body = { error, ...(number !== 0 && { error_codes: [number] }) };
    expect(await verdictOf(status, body)).toEqual({
      verdict: "refused",
      problem:
        number === 0
          ? "client_rejected: invalid_client"
          : expect.stringMatching(new RegExp(`^\\w+: \\w+ \\(AADSTS${number}\\)$`)),
    });
  });

  test.each([
    ["an answer of a busy authority", 503, { error: "temporarily_unavailable" }],
    ["a throttled request", 429, {}],
    ["an error without a name", 400, {}],
    ["an error that nobody knows", 400, { error: "something_new" }],
    ["a request that Entra cannot read", 400, { error: "invalid_request" }],
    ["a policy for workload identities", 400, { error: "invalid_grant", error_codes: [53003] }],
    ["a page of something else", 200, { html: true }],
  ])("decides nothing for %s", async (_, status, body) => {
    expect(await verdictOf(status, body)).toMatchObject({ verdict: "undecided" });
  });

  test("is a definite refusal of the client by the name of the error, and names all numbers", async () => {
    expect(await verdictOf(400, { error: "unauthorized_client" })).toEqual({
      verdict: "refused",
      problem: "client_rejected: unauthorized_client",
    });
    expect(await verdictOf(401, { error: "invalid_client", error_codes: [7000215, 1] })).toEqual({
      verdict: "refused",
      problem: "client_rejected: secret_wrong (AADSTS7000215, 1)",
    });
  });

  test.each([
    ["no answer comes", new FetchFailure("timeout"), "authority_timeout: timeout"],
    [
      "the request cannot be formed",
      new TypeError("quotes the proof"),
      "the token request could not be formed",
    ],
  ])("decides nothing where %s", async (_, failure, problem) => {
    const check = createCredentialCheck(WIRE, () => Promise.reject(failure));
    expect(await check({ method: "client_secret", clientSecret: new Secret("s") })).toEqual({
      verdict: "undecided",
      problem,
    });
  });

  test("is asked with a request for the gateway itself, of no permission, within the time", async () => {
    const asked: Parameters<SendGrant>[0][] = [];
    const check = createCredentialCheck(WIRE, async (grant) => {
      asked.push(grant);
      throw new FetchFailure("timeout");
    });
    const authentication = { method: "client_secret", clientSecret: new Secret("s") } as const;
    await check(authentication);
    expect(asked).toEqual([
      {
        assertion: applicationSubject(HOME, CLIENT),
        scopes: [`${CLIENT}/.default`],
        correlationId: expect.stringMatching(/^[\da-f-]{36}$/),
        authentication,
        timeoutMs: 1_000,
      },
    ]);
  });

  test("is an acceptance for a token", async () => {
    const body = { access_token: "t", token_type: "Bearer", expires_in: 3599 };
    expect(await verdictOf(200, body)).toEqual({ verdict: "accepted" });
  });
});

test("the gateway itself has no token, no end, and a digest that no token has", () => {
  expect(applicationSubject(HOME, CLIENT)).toEqual({
    token: undefined,
    digest: "application",
    tenantId: HOME,
    objectId: CLIENT,
    expiresAt: Number.POSITIVE_INFINITY,
  });
});

test.each([
  "https://contoso.ciamlogin.com/",
  "https://login.contoso.com/",
  "https://login.microsoftonline.us/",
])(
  "the token request goes to the token endpoint that the authority at %s names, and to no other address",
  async (authorityHost) => {
    const { tokenEndpoint, authorizeEndpoint } = resolveAuthority(authorityHost);
    const asked: string[] = [];
    const check = createCredentialCheck({
      clientId: "33333333-cccc-4ccc-8ccc-333333333333",
      authorityHost,
      tokenEndpoint,
      authorizeEndpoint,
      homeTenantId: HOME,
      fetch: async (url) => {
        const { origin, pathname } = new URL(url);
        asked.push(origin + pathname);
        return new Response(JSON.stringify({ access_token: "t", token_type: "Bearer", expires_in: 3599 }), {
          headers: { "content-type": "application/json" },
        });
      },
      timeoutMs: 1_000,
    });
    expect(await check({ method: "client_secret", clientSecret: new Secret("s") })).toEqual({
      verdict: "accepted",
    });
    expect(asked).toEqual([`${authorityHost}${HOME}/oauth2/v2.0/token`]);
  },
);

describe("a token of the gateway's own for Redis", () => {
  const NOW = 1_800_000_000_000;
  const jwt = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.AAAA`;

  function redisToken(
    answer: () => Promise<{ status: number; body: object; headers?: Record<string, string> }>,
  ) {
    const events: ExchangeEvent[] = [];
    const asked: Parameters<SendGrant>[0][] = [];
    const authentication = { method: "client_secret", clientSecret: new Secret("s") } as const;
    const source = createRedisToken(
      {
        ...WIRE,
        now: () => NOW,
        credential: {
          source: "client-secret",
          authenticate: async () => authentication,
          refused: async () => false,
        },
        onEvent: (event) => events.push(event),
      },
      async (grant) => {
        asked.push(grant);
        const { status, body, headers } = await answer();
        return { status, headers: new Headers(headers), text: JSON.stringify(body) };
      },
    );
    return { source, events, asked };
  }

  const granted = (token: string) => async () => ({
    status: 200,
    body: { access_token: token, token_type: "Bearer", expires_in: 3_600, scope: "a b" },
  });

  test("is asked for anew each time, as the application, and comes with its object id and its end", async () => {
    const token = jwt({ oid: "object" });
    const { source, events, asked } = redisToken(granted(token));
    for (const _ of [1, 2]) {
      const found = await source();
      expect("token" in found && { ...found, token: found.token.reveal() }).toEqual({
        token,
        objectId: "object",
        expiresAt: NOW + 3_600_000,
      });
    }
    expect(asked).toHaveLength(2);
    expect(asked[0]).toMatchObject({
      scopes: ["https://redis.azure.com/.default"],
      assertion: { tenantId: HOME, objectId: CLIENT, token: undefined },
    });
    expect(asked[0]?.correlationId).toMatch(/^[0-9a-f-]{36}$/);
    expect(asked[1]?.correlationId).not.toBe(asked[0]?.correlationId);
    expect(events[0]).toEqual({
      type: "exchanged",
      tenantId: HOME,
      durationMs: 0,
      grantedScopes: ["a", "b"],
      facts: {
        correlationId: asked[0]?.correlationId,
        grant: "client_credentials",
        tenantId: HOME,
        objectId: undefined,
        assertion: undefined,
        scopes: ["https://redis.azure.com/.default"],
        challenged: false,
        ahead: false,
        tokenRequest: expect.anything(),
        token: new Secret(token).fingerprint(),
        expiresAt: NOW + 3_600_000,
      },
    });
  });

  test.each([
    ["an empty one", jwt({ oid: "" })],
    ["a number", jwt({ oid: 7 })],
    ["none", jwt({})],
    ["no claims", "opaque"],
  ])("does not do where its object id is %s, and time does not mend it", async (_, token) => {
    const { source } = redisToken(granted(token));
    expect(await source()).toEqual({ problem: "the token names no object id", isPassing: false });
  });

  test("that Entra refuses is a problem that names the refusal, and is asked for again the next time", async () => {
    const { source, events, asked } = redisToken(async () => ({
      status: 400,
      body: { error: "unauthorized_client", error_codes: [700016] },
    }));
    for (const _ of [1, 2])
      expect(await source()).toEqual({
        problem: expect.stringMatching(/^client_rejected: \w+ \(AADSTS700016\)$/),
        isPassing: false,
        retryAfterSeconds: undefined,
      });
    expect(asked).toHaveLength(2);
    expect(events).toContainEqual(
      expect.objectContaining({ type: "refused", code: "client_rejected", durationMs: 0, tenantId: HOME }),
    );
  });

  test("that Entra does not give at the moment may come later, after the wait that Entra named", async () => {
    const { source } = redisToken(async () => ({
      status: 429,
      body: {},
      headers: { "retry-after": "7" },
    }));
    expect(await source()).toEqual({
      problem: "authority_throttled: too_many_requests",
      isPassing: true,
      retryAfterSeconds: 7,
    });
  });

  test.each([
    [new TypeError("eyJ.secret"), "TypeError"],
    ["eyJ.secret", "string"],
  ])("that a defect keeps away is a problem that quotes nothing of it: %p", async (defect, kind) => {
    const { source, events } = redisToken(() => Promise.reject(defect));
    expect(await source()).toEqual({ problem: `the token request failed (${kind})`, isPassing: false });
    expect(events).toEqual([]);
  });
});

describe("a managed identity's token", () => {
  class AuthError extends Error {
    readonly errorCode: string;
    constructor(errorCode: string) {
      super("quotes the platform");
      this.errorCode = errorCode;
    }
  }
  type Application = { readonly system?: { readonly networkClient?: INetworkModule } };

  /** MSAL without a platform: what it was made with, and what it does when asked for a token. */
  function identity(
    acquire: (network: INetworkModule) => Promise<string>,
    answer: (url: string, init: RequestInit) => Promise<Response> = async () => new Response("{}"),
  ) {
    const made: Application[] = [];
    const asked: object[] = [];
    class ManagedIdentityApplication {
      readonly network: INetworkModule;
      constructor(options: Application) {
        made.push(options);
        this.network = options.system?.networkClient as INetworkModule;
      }
      async acquireToken(parameters: object) {
        asked.push(parameters);
        return { accessToken: await acquire(this.network) };
      }
    }
    const token = createManagedIdentityToken(
      {
        clientId: "identity",
        fetch: (url, init) => answer(String(url), init as RequestInit),
        timeoutMs: 1_000,
      },
      async () => ({ AuthError, ManagedIdentityApplication }) as never,
    );
    return { token, made, asked };
  }

  test("is asked for anew each time, of one application, without MSAL's own retries", async () => {
    const { token, made, asked } = identity(async () => "platform's");
    for (const _ of [1, 2]) expect(await token("api://audience")).toEqual({ token: "platform's" });
    expect(made).toEqual([
      {
        managedIdentityIdParams: { userAssignedClientId: "identity" },
        system: { networkClient: expect.anything(), disableInternalRetries: true },
      },
    ]);
    expect(asked).toEqual(Array(2).fill({ resource: "api://audience", forceRefresh: true }));
  });

  test("is fetched by the gateway's own client, with what MSAL sends and all of the answer", async () => {
    const sent: unknown[] = [];
    const answers: unknown[] = [];
    const { token } = identity(
      async (network) => {
        answers.push(
          await network.sendGetRequestAsync("http://169.254.169.254/get", { headers: { metadata: "true" } }),
          await network.sendPostRequestAsync("http://169.254.169.254/post", { body: "a=b" }),
        );
        return "t";
      },
      async (url, { method, headers, body }) => {
        sent.push([method, url, new Headers(headers).get("metadata"), body]);
        return new Response(method === "GET" ? '{"a":1}' : "no JSON", {
          status: method === "GET" ? 200 : 404,
          headers: { "x-of": "platform" },
        });
      },
    );
    await token("api://audience");
    expect(sent).toEqual([
      ["GET", "http://169.254.169.254/get", "true", undefined],
      ["POST", "http://169.254.169.254/post", null, "a=b"],
    ]);
    expect(answers).toEqual([
      { status: 200, headers: expect.objectContaining({ "x-of": "platform" }), body: { a: 1 } },
      { status: 404, headers: expect.objectContaining({ "x-of": "platform" }), body: {} },
    ]);
  });

  const get = async (network: INetworkModule) => {
    await network.sendGetRequestAsync("http://platform.example/");
    return "";
  };
  const failing = (code: string | undefined) => async (network: INetworkModule) => {
    await get(network);
    throw code === undefined ? new TypeError("a bug") : new AuthError(code);
  };
  test.each<[string, (network: INetworkModule) => Promise<string>, number, string]>([
    ["an empty token", get, 200, "gave no token (status 200)"],
    ["a refusal", failing("invalid_resource"), 400, "gave no token (status 400)"],
    ["an answer that MSAL cannot read", failing("no_token"), 200, "gave no token (no_token)"],
    ["a defect after the answer", failing(undefined), 200, "gave no token (unexpected)"],
    [
      "what MSAL does not begin",
      () => Promise.reject(new AuthError("no_platform")),
      200,
      "gave no answer (no_platform)",
    ],
    ["a defect before it", () => Promise.reject(new TypeError("a bug")), 200, "gave no answer (unexpected)"],
    ["silence", get, 0, "gave no answer (network)"],
    ["far too long an answer", get, -1, "gave no answer (too_large)"],
  ])("that does not come for %s is a problem in one word", async (_, acquire, status, problem) => {
    const { token } = identity(acquire, async () => {
      if (status === 0) throw new TypeError("fetch failed");
      if (status < 0) return new Response("x".repeat(64 * 1024 + 1));
      return new Response("{}", { status });
    });
    expect(await token("api://audience")).toEqual({ problem });
  });

  test("that failed once says nothing of the next time", async () => {
    let status = 503;
    let begins = true;
    const { token } = identity(
      async (network) => {
        if (!begins) throw new AuthError("no_platform");
        await get(network);
        throw new AuthError("busy");
      },
      async () => {
        if (status === 0) throw new TypeError("fetch failed");
        return new Response("{}", { status });
      },
    );
    expect(await token("a")).toEqual({ problem: "gave no token (status 503)" });
    status = 0;
    expect(await token("a")).toEqual({ problem: "gave no answer (network)" });
    begins = false;
    expect(await token("a")).toEqual({ problem: "gave no answer (no_platform)" });
    begins = true;
    status = 503;
    expect(await token("a")).toEqual({ problem: "gave no token (status 503)" });
    begins = false;
    expect(await token("a")).toEqual({ problem: "gave no answer (no_platform)" });
  });
});
