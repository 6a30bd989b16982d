import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { ClientCredential } from "../../../src/credential/contract.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import {
  assertionOf,
  CLAIMS,
  CLIENT,
  exchangeWith,
  type FakeEntra,
  FOREIGN,
  granted,
  HOME,
  HOST,
  refusalOf,
  requestOf,
  startFakeEntra,
} from "../fake-entra.ts";

let entra: FakeEntra;
beforeEach(async () => {
  entra = await startFakeEntra();
});
afterEach(() => entra.close());

const assertionCredential: ClientCredential = {
  source: "workload-identity",
  authenticate: async ({ clientId, tokenEndpoint }) => ({
    method: "client_assertion",
    clientAssertion: new Secret(`proof ${clientId} ${tokenEndpoint}`),
  }),
};

describe("the request to Entra", () => {
  test("is one on-behalf-of grant to the token endpoint of the assertion's tenant", async () => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: FOREIGN }) }));
    expect(entra.urls).toHaveLength(1);
    const { method, path, query, form, headers } = entra.requests[0] ?? {};
    expect([method, path]).toEqual(["POST", `/${FOREIGN}/oauth2/v2.0/token`]);
    expect(headers?.["content-type"]).toBe("application/x-www-form-urlencoded;charset=utf-8");
    expect(query?.get("client-request-id")).toBe("correlation-of-ann");
    expect(Object.fromEntries(form ?? [])).toMatchObject({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      requested_token_use: "on_behalf_of",
      client_id: CLIENT,
      client_secret: "the-client-secret",
      assertion: "assertion-of-ann-1",
      scope: "https://graph.microsoft.com/.default openid profile offline_access",
    });
  });

  test("proves the gateway's identity with an assertion for that tenant's token endpoint", async () => {
    const { exchange } = exchangeWith(entra, { credential: assertionCredential });
    await exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: FOREIGN }) }));
    const form = Object.fromEntries(entra.requests[0]?.form ?? []);
    expect(form).toMatchObject({
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: `proof ${CLIENT} ${HOST}${FOREIGN}/oauth2/v2.0/token`,
    });
    expect(form).not.toHaveProperty("client_secret");
  });

  test("declares cp1, and merges it with the claims of a challenge", async () => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann"));
    await exchange(requestOf("ann", { claims: CLAIMS }));
    const [plain, challenged] = entra.requests.map(
      ({ form }) => JSON.parse(form.get("claims") ?? "") as object,
    );
    expect(plain).toMatchObject({ access_token: { xms_cc: { values: ["cp1"] } } });
    expect(challenged).toMatchObject({
      access_token: { xms_cc: { values: ["cp1"] }, nbf: { essential: true, value: "1768478400" } },
    });
  });

  test.each([
    ["a host with a port", "https://login.example.test:8443/"],
    ["an alias of the public cloud", "https://login.windows.net/"],
    ["a sovereign cloud", "https://login.microsoftonline.us/"],
    ["a host nobody knows", "https://sts.internal.example/"],
  ])("needs no discovery and keeps its host: %s", async (_, authorityHost) => {
    const { exchange } = exchangeWith(entra, {
      authorityHost,
      tokenEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/token`,
      authorizeEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/authorize`,
    });
    await exchange(requestOf("ann"));
    expect(entra.urls).toEqual([
      `${authorityHost}${HOME}/oauth2/v2.0/token?client-request-id=correlation-of-ann`,
    ]);
  });

  test("may go to a token endpoint of any scheme and port, as an emulator has", async () => {
    const { exchange } = exchangeWith(entra, {
      tokenEndpoint: (tenantId) => `http://127.0.0.1:9/${tenantId}/oauth2/v2.0/token`,
    });
    await exchange(requestOf("ann"));
    expect(entra.urls[0]).toMatch(/^http:\/\/127\.0\.0\.1:9\//);
  });

  test.each([
    [HOST, "westeurope.login.microsoft.com"],
    ["https://login.microsoftonline.us/", "westeurope.login.microsoftonline.us"],
  ])(
    "goes to the region that is configured, with a proof for the global endpoint: %s",
    async (authorityHost, host) => {
      const { exchange } = exchangeWith(entra, {
        credential: assertionCredential,
        authorityHost,
        tokenEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/token`,
        regionalAuthority: "westeurope",
      });
      await exchange(requestOf("ann"));
      expect(new URL(entra.urls[0] ?? "").host).toBe(host);
      expect(entra.requests[0]?.form.get("client_assertion")).toContain(`${authorityHost}${HOME}/`);
    },
  );

  test("that MSAL will not phrase ends in an error of the gateway's own", async () => {
    const empty: ClientCredential = {
      source: "client-secret",
      authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("") }),
    };
    const { exchange } = exchangeWith(entra, { credential: empty });
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["internal", "request_not_formed"]);
    expect(refusal.diagnostics).toEqual({ error: "invalid_client_credential" });
    expect(entra.urls).toHaveLength(0);
  });

  test("does not touch the caller's request object", async () => {
    const { exchange } = exchangeWith(entra);
    const request = Object.freeze(requestOf("ann"));
    const before = inspect(request, { depth: 5 });
    await exchange(request);
    expect(inspect(request, { depth: 5 })).toBe(before);
  });
});

describe("an answer that does not come whole", () => {
  test("a stall before the headers ends at the deadline", async () => {
    entra.respond(() => () => {});
    const { exchange } = exchangeWith(entra, { timeoutMs: 60, now: Date.now });
    const refusal = await refusalOf(
      exchange(requestOf("ann", { assertion: assertionOf("ann", { expiresAt: 9e15 }) })),
    );
    expect([refusal.code, refusal.reason]).toEqual(["authority_timeout", "timeout"]);
  });

  test("a stall amid the body ends at the deadline", async () => {
    entra.respond(() => (response) => response.writeHead(200).write('{"token_type":"Bearer",'));
    const { exchange } = exchangeWith(entra, { timeoutMs: 60, now: Date.now });
    const refusal = await refusalOf(
      exchange(requestOf("ann", { assertion: assertionOf("ann", { expiresAt: 9e15 }) })),
    );
    expect(refusal.code).toBe("authority_timeout");
  });

  test("one attempt may be shorter than the exchange, and then is repeated", async () => {
    entra.respond((request, count) => (count === 1 ? () => {} : granted(request, count)));
    const { exchange, events } = exchangeWith(entra, { attemptTimeoutMs: 60 });
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
    expect(events).toContainEqual({ type: "retried", tenantId: HOME, cause: "transient" });
  });

  test("a connection cut amid the body is an outage", async () => {
    entra.respond(() => (response) => {
      response.writeHead(200, { "content-length": "100" }).write('{"token_type":');
      setTimeout(() => response.destroy(), 5);
    });
    const { exchange } = exchangeWith(entra);
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["authority_unavailable", "network"]);
    expect(entra.requests).toHaveLength(2);
  });

  test("a cut-off JSON text is an outage", async () => {
    entra.respond(() => ({ body: '{"token_type":"Bearer","expires_in":3600,"access_tok' }));
    const { exchange } = exchangeWith(entra);
    expect((await refusalOf(exchange(requestOf("ann")))).code).toBe("authority_unavailable");
  });

  test("a body without end is not read to its end", async () => {
    let closed = false;
    entra.respond(() => (response) => {
      response.on("close", () => {
        closed = true;
      });
      response.writeHead(200);
      const more = () => {
        while (!closed && response.write("x".repeat(65_536)));
      };
      response.on("drain", more);
      more();
    });
    const { exchange } = exchangeWith(entra);
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["authority_unavailable", "too_large"]);
    while (!closed) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test("a host that refuses connections is an outage, tried once more", async () => {
    await entra.close();
    const { exchange } = exchangeWith(entra);
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["authority_unavailable", "network"]);
    expect(entra.urls).toHaveLength(2);
    expect(inspect(refusal, { depth: 10 })).not.toMatch(/assertion-of|the-client-secret/);
  });

  test("a redirect is not followed", async () => {
    entra.respond(() => ({
      status: 307,
      headers: { location: "https://elsewhere.example.test/" },
      body: "",
    }));
    const { exchange } = exchangeWith(entra);
    expect((await refusalOf(exchange(requestOf("ann")))).code).toBe("authority_unavailable");
    expect(entra.urls).toHaveLength(1);
  });
});
