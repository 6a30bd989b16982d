import { describe, expect, test } from "@jest/globals";
import { GatewayError } from "../../../src/errors.ts";
import { applicationSubject } from "../../../src/exchange/entra/application.ts";
import { createMsalWire, type TokenGrant, type WireOptions } from "../../../src/exchange/entra/msal.ts";
import { FetchFailure, type FetchRequest } from "../../../src/foundation/bounded-fetch.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { assertionOf, CLIENT, GRAPH, HOME, HOST } from "../fake-entra.ts";

/** What the wire fetched, and its answer. */
async function sent(over: Partial<WireOptions & TokenGrant> = {}, text = "{}") {
  const { authorityHost = HOST, assertion = assertionOf("ann") } = over;
  const asked: { readonly url: URL; readonly init: FetchRequest }[] = [];
  const send = createMsalWire({
    clientId: CLIENT,
    authorityHost,
    tokenEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/token`,
    authorizeEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/authorize`,
    fetch: async (url, init) => {
      asked.push({ url: new URL(url), init });
      return new Response(text);
    },
    ...over,
  });
  const answer = await send({
    assertion,
    scopes: GRAPH,
    correlationId: "correlation",
    authentication: { method: "client_secret", clientSecret: new Secret("s") },
    timeoutMs: 1_000,
    ...over,
  });
  const [{ url, init } = { url: new URL("about:blank"), init: {} as FetchRequest }] = asked;
  return { url, init, form: Object.fromEntries(new URLSearchParams(String(init.body))), answer };
}

describe("the address of a token request", () => {
  test.each([
    ["login.microsoftonline.com", "login.microsoft.com"],
    ["login.windows.net", "login.microsoft.com"],
    ["login.microsoft.com", "login.microsoft.com"],
    ["sts.windows.net", "login.microsoft.com"],
    ["login.microsoftonline.us", "login.microsoftonline.us"],
    ["login.partner.microsoftonline.cn", "login.partner.microsoftonline.cn"],
  ])("of a region is the region's name before that of its cloud: %s", async (host, regional) => {
    const { url } = await sent({ authorityHost: `https://${host}/`, regionalAuthority: "westeurope" });
    expect(url.origin + url.pathname).toBe(`https://westeurope.${regional}/${HOME}/oauth2/v2.0/token`);
    expect((await sent({ authorityHost: `https://${host}/` })).url.host).toBe(host);
  });
});

test("the gateway itself is granted a token by its credentials alone", async () => {
  const { init, form } = await sent({ assertion: applicationSubject(HOME, CLIENT) });
  expect([init.method, form]).toEqual([
    "POST",
    expect.objectContaining({
      grant_type: "client_credentials",
      client_id: CLIENT,
      client_secret: "s",
      scope: GRAPH[0],
    }),
  ]);
  expect(form).not.toHaveProperty("assertion");
});

test("an answer may have a mebibyte, and no byte more", async () => {
  const { answer } = await sent({}, "x".repeat(1_048_576));
  expect(answer.text).toHaveLength(1_048_576);
  await expect(sent({}, "x".repeat(1_048_577))).rejects.toMatchObject(new FetchFailure("too_large"));
});

test("a request that a defect keeps from being formed is an error of the gateway, with the defect as its cause", async () => {
  const authorityHost = "no address";
  const tokenEndpoint = (tenantId: string) => `${HOST}${tenantId}/oauth2/v2.0/token`;
  const refusal = await sent({ authorityHost, tokenEndpoint }).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(GatewayError);
  expect(refusal).toMatchObject({
    code: "internal",
    reason: "request_not_formed",
    diagnostics: undefined,
    cause: expect.any(TypeError),
  });
});
