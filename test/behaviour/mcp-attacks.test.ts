/** Attacks on the bridge and its handles: each is refused in the words of OAuth, and nothing reaches Entra or the server. */

import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import { createBridge } from "../../src/mcp/bridge.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import type { Person } from "../emulator/person.ts";
import {
  authorizeRequest,
  callTool,
  type Form,
  KNOWN_CLIENT,
  locationOf,
  type McpGateway,
  type OAuthAnswer,
  OTHER_CLIENT,
  personAtEmulator,
  postForm,
  REDIRECT,
  readAnswer,
  scopeOf,
  signIn,
  startMcpGateway,
  startMcpServer,
  type TestMcpServer,
  type Tokens,
} from "../support/mcp.ts";

const KEY = randomBytes(32).toString("base64");
const HANDLE = "urn:obo-gateway:claims:";

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
let person: Person & { close(): Promise<void> };
let clock = Date.now();
/** Texts that the attacker has come by, each genuine once. */
const loot = {
  handle: "",
  expired: "",
  used: "",
  otherGateway: "",
  otherKeys: "",
  nonce: "",
  raw: "",
  wrapped: "",
  pending: "",
};

beforeAll(async () => {
  [emulator, server] = await Promise.all([startEmulator({ now: () => clock }), startMcpServer()]);
  gateway = await startMcpGateway({ emulator, server, now: () => clock, env: { TOKEN_CACHE_KEYS: KEY } });
  person = personAtEmulator(emulator);

  loot.expired = await challengeOf("grace");
  clock += 11 * 60_000;
  loot.used = await challengeOf("ada");
  await signIn(gateway, emulator, person, { changes: { scope: loot.used } });
  loot.handle = await challengeOf("grace");
  const { location } = await locationOf(authorizeRequest(gateway, emulator, { scope: loot.handle }).url);
  loot.nonce = location?.searchParams.get("nonce") ?? "";
  [loot.otherGateway, loot.otherKeys] = await Promise.all([
    foreignHandle({ publicUrl: "https://elsewhere.example", key: KEY }),
    foreignHandle({ publicUrl: gateway.publicUrl, key: randomBytes(32).toString("base64") }),
  ]);
  loot.wrapped = (await signIn(gateway, emulator, person)).tokens.refresh_token;
  loot.raw = await rawRefreshToken();
  const edsger = personAtEmulator(emulator);
  loot.pending = (await signIn(gateway, emulator, edsger, { user: "edsger" })).tokens.refresh_token;
  await edsger.close();
  await challengeOf("edsger");
});
afterAll(async () => {
  await person.close();
  await gateway.stop();
  await Promise.all([server.close(), emulator.close()]);
});

/** Scope of the step-up's challenge to this user: the route's own, and the handle. */
async function challengeOf(user: string): Promise<string> {
  const token = emulator.mintUserToken({ user, clientId: emulator.publicClientId });
  const scope = scopeOf(await callTool(gateway, "/step-up", token));
  if (!scope.includes(HANDLE)) throw new Error(`no handle in ${scope}`);
  return scope;
}

/** A handle of a gateway that differs in its keys or in its address. */
async function foreignHandle({ publicUrl, key }: { publicUrl: string; key: string }): Promise<string> {
  const appIdUri = `api://${emulator.clientId}`;
  const bridge = createBridge({
    clientId: emulator.publicClientId,
    clients: {},
    redirectUris: ["http://localhost/**"],
    publicUrl,
    appIdUri,
    routes: [{ path: "/mcp", scopes: ["access_as_user"] }],
    register: false,
    tenants: [emulator.tenantId],
    authorityOrigin: emulator.authorityHost,
    authorizeEndpoint: () => "https://unused.example",
    tokenEndpoint: () => "https://unused.example",
    keys: () => [new Secret(key)],
    redis: undefined,
    fetch: () => Promise.reject(new Error("nothing is fetched")),
    timeoutMs: 1_000,
    now: () => clock,
  });
  const { objectId, tenantId } = emulator.users.grace;
  const carried = await bridge.carry(
    { objectId, tenantId, clientId: emulator.publicClientId, tokenDigest: "a-digest" },
    { kind: "login" },
  );
  if (carried.kind !== "carried") throw new Error("the foreign gateway carries nothing");
  return `${appIdUri}/access_as_user ${carried.scope}`;
}

/** As a client gets it that signs in at Entra itself. */
async function rawRefreshToken(): Promise<string> {
  const { url, redeem } = authorizeRequest(gateway, emulator);
  const { location } = await locationOf(url);
  const { answer } = await person.signIn(String(location), { user: "ada" });
  const { fetch, Agent } = await import("undici");
  const agent = new Agent({ connect: { ca: emulator.caCertificate } });
  const body = new URLSearchParams({ ...(redeem as Record<string, string>), code: answer.code ?? "" });
  const response = await fetch(`${emulator.authorityHost}${emulator.tenantId}/oauth2/v2.0/token`, {
    method: "POST",
    body: body.toString(),
    headers: { "content-type": "application/x-www-form-urlencoded" },
    dispatcher: agent,
  });
  const { refresh_token } = (await response.json()) as Tokens;
  await agent.close();
  return refresh_token;
}

/** Runs an attack, and asserts what holds for all of them. */
async function refusedOf(attack: () => Promise<OAuthAnswer>): Promise<OAuthAnswer> {
  const before = [emulator.requests.counts.token, server.requests.count];
  const answer = await attack();
  expect(answer.headers.get("location")).toBeNull();
  expect(answer.body.access_token).toBeUndefined();
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(answer.status).toBeLessThan(500);
  expect([emulator.requests.counts.token, server.requests.count]).toEqual(before);
  return answer;
}

describe("the authorization endpoint", () => {
  const attack = (changes: Form | string) =>
    refusedOf(async () => {
      const { url } = authorizeRequest(gateway, emulator, typeof changes === "string" ? {} : changes);
      return (await locationOf(typeof changes === "string" ? `${url}${changes}` : url)).answer;
    });

  test("lets the request through that all of these change", async () => {
    const { url } = authorizeRequest(gateway, emulator);
    expect((await locationOf(url)).location?.origin).toBe(new URL(emulator.authorityHost).origin);
  });

  test.each<[string, string | undefined]>([
    ["another host", "https://evil.example/callback"],
    ["another host in clear text", "http://evil.example/callback"],
    ["localhost as user information", "http://localhost@evil.example/callback"],
    ["localhost and a port as user information", "http://localhost:80@evil.example/"],
    ["user information", "http://me@localhost/callback"],
    ["localhost as a part of the name", "http://localhost.evil.example/callback"],
    ["no scheme", "//evil.example/callback"],
    ["a script", "javascript:alert(document.domain)//http://localhost/"],
    ["a document in itself", "data:text/html,<script>1</script>"],
    ["a file", "file:///etc/passwd"],
    ["a backslash for a slash", "http://localhost\\@evil.example/"],
    ["a fragment", "http://localhost/callback#x"],
    ["a query", "http://localhost/callback?next=https://evil.example"],
    ["another spelling of the host", "http://LOCALHOST/callback"],
    ["dots that a browser folds", "http://localhost/a/../../evil"],
    ["encoded dots", "http://localhost/%2e%2e/evil"],
    ["an encoded slash", "http://localhost/callback%2fevil"],
    ["a short form of the address", "http://127.1/callback"],
    ["the address as a number", "http://2130706433/callback"],
    ["an address that stands for another", "http://[::ffff:127.0.0.1]/callback"],
    ["an encoded zero", "http://localhost%00.evil.example/callback"],
    ["a line break", "http://localhost/callback\r\nset-cookie: a=b"],
    ["a blank", "http://localhost/call back"],
    ["a tab in the scheme", "ht\ttp://localhost/callback"],
    ["another scheme on the same host", "ftp://localhost/callback"],
    ["https on the same host", "https://localhost/callback"],
    ["a scheme of an app", "evil-app://localhost/callback"],
    ["the redirect URI of another client", "https://vscode.dev/redirect"],
    ["a wildcard", "http://localhost/*"],
    ["two of them", "http://localhost/callback http://evil.example"],
    ["three thousand letters", `http://localhost/${"a".repeat(3_000)}`],
    ["nothing", undefined],
  ])("redirect URI: %s", async (_, redirect_uri) => {
    const { body } = await attack({ redirect_uri });
    expect(body.error).toBe("invalid_request");
  });

  test.each<[string, () => Form | string, string]>([
    [
      "redirect URI of a client, with dots",
      () => ({ client_id: OTHER_CLIENT, redirect_uri: "https://vscode.dev/redirect/../evil" }),
      "invalid_request",
    ],
    [
      "redirect URI of a client, host continued",
      () => ({ client_id: OTHER_CLIENT, redirect_uri: "https://vscode.dev.evil.example/redirect" }),
      "invalid_request",
    ],
    [
      "redirect URI of a client, another port",
      () => ({ client_id: OTHER_CLIENT, redirect_uri: "https://vscode.dev:8443/redirect" }),
      "invalid_request",
    ],
    [
      "redirect URI of a client, path continued",
      () => ({ client_id: OTHER_CLIENT, redirect_uri: "https://vscode.dev/redirect/evil" }),
      "invalid_request",
    ],
    ["redirect URI twice", () => "&redirect_uri=https://evil.example", "invalid_request"],
    [
      "redirect URI again under an encoded name",
      () => "&redirect%5Furi=https://evil.example",
      "invalid_request",
    ],
    ["client: none", () => ({ client_id: undefined }), "invalid_request"],
    [
      "client: an unknown one",
      () => ({ client_id: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1cff" }),
      "invalid_client",
    ],
    ["client: the gateway itself", () => ({ client_id: emulator.clientId }), "invalid_client"],
    ["client: the front end", () => ({ client_id: emulator.frontEndClientId }), "invalid_client"],
    ["client: twice", () => `&client_id=${KNOWN_CLIENT}`, "invalid_request"],
    [
      "CIMD: a document that is not listed",
      () => ({ client_id: "https://evil.example/client.json" }),
      "invalid_client",
    ],
    [
      "CIMD: an address inside the network",
      () => ({ client_id: "http://169.254.169.254/latest/meta-data" }),
      "invalid_client",
    ],
    [
      "CIMD: the gateway's own metrics",
      () => ({ client_id: `${gateway.adminUrl}/metrics` }),
      "invalid_client",
    ],
    ["CIMD: a listed one with a fragment", () => ({ client_id: `${KNOWN_CLIENT}#x` }), "invalid_client"],
    ["CIMD: a listed one with a query", () => ({ client_id: `${KNOWN_CLIENT}?x` }), "invalid_client"],
    ["CIMD: a listed one with a slash", () => ({ client_id: `${KNOWN_CLIENT}/` }), "invalid_client"],
    [
      "CIMD: a listed one with dots",
      () => ({ client_id: KNOWN_CLIENT.replace("/oauth/", "/x/../oauth/") }),
      "invalid_client",
    ],
    [
      "CIMD: a listed one in capitals",
      () => ({ client_id: KNOWN_CLIENT.replace("client.example", "CLIENT.example") }),
      "invalid_client",
    ],
    [
      "CIMD: a listed one with user information",
      () => ({ client_id: KNOWN_CLIENT.replace("https://", "https://x@") }),
      "invalid_client",
    ],
    ["CIMD: a member of every object", () => ({ client_id: "constructor" }), "invalid_client"],
    [
      "PKCE: none",
      () => ({ code_challenge: undefined, code_challenge_method: undefined }),
      "invalid_request",
    ],
    ["PKCE: plain", () => ({ code_challenge_method: "plain" }), "invalid_request"],
    ["PKCE: no method, which means plain", () => ({ code_challenge_method: undefined }), "invalid_request"],
    ["PKCE: too short", () => ({ code_challenge: "abc" }), "invalid_request"],
    ["PKCE: an empty one", () => ({ code_challenge: "" }), "invalid_request"],
    ["PKCE: twice", () => "&code_challenge=abc", "invalid_request"],
    ["response type: token", () => ({ response_type: "token" }), "unsupported_response_type"],
    [
      "response type: code and ID token",
      () => ({ response_type: "code id_token" }),
      "unsupported_response_type",
    ],
    ["response mode: a message to a window", () => ({ response_mode: "web_message" }), "invalid_request"],
    ["a request object", () => ({ request: "eyJhbGciOiJub25lIn0.e30." }), "request_not_supported"],
    [
      "a request object elsewhere",
      () => ({ request_uri: "https://evil.example/request" }),
      "request_not_supported",
    ],
    ["prompt: an unknown one", () => ({ prompt: "create" }), "invalid_request"],
    ["prompt: two", () => ({ prompt: "none login" }), "invalid_request"],
    ["resource: another host (mix-up)", () => ({ resource: "https://evil.example/mcp" }), "invalid_target"],
    ["resource: the gateway as a whole", () => ({ resource: gateway.publicUrl }), "invalid_target"],
    [
      "resource: a route of no MCP server",
      () => ({ resource: `${gateway.publicUrl}/plain` }),
      "invalid_target",
    ],
    [
      "resource: dots to another route",
      () => ({ resource: `${gateway.publicUrl}/mcp/../plain` }),
      "invalid_target",
    ],
    [
      "resource: user information",
      () => ({ resource: `${gateway.publicUrl}/mcp`.replace("http://", "http://x@") }),
      "invalid_target",
    ],
    ["resource: below a route", () => ({ resource: `${gateway.publicUrl}/mcp/below` }), "invalid_target"],
    ["resource: Microsoft Graph", () => ({ resource: "https://graph.microsoft.com" }), "invalid_target"],
    [
      "resource: two",
      () => `&resource=${gateway.publicUrl}/mcp&resource=https://graph.microsoft.com`,
      "invalid_request",
    ],
    ["scope: Microsoft Graph's", () => ({ scope: "https://graph.microsoft.com/.default" }), "invalid_scope"],
    ["scope: a bare one of Graph's", () => ({ scope: "Mail.ReadWrite offline_access" }), "invalid_scope"],
    [
      "scope: everything of the gateway",
      () => ({ scope: `api://${emulator.clientId}/.default` }),
      "invalid_scope",
    ],
    [
      "scope: the same name of another API",
      () => ({ scope: `api://${emulator.ordersApi.clientId}/access_as_user` }),
      "invalid_scope",
    ],
    [
      "scope: one of another route",
      () => ({ scope: `api://${emulator.clientId}/admin.read`, resource: `${gateway.publicUrl}/mcp` }),
      "invalid_scope",
    ],
    ["handle: cut", () => ({ scope: loot.handle.slice(0, -3) }), "invalid_scope"],
    [
      "handle: one letter changed",
      () => ({
        scope: loot.handle.replace(/.(.{40})$/, (all, rest) => (all.startsWith("A") ? "B" : "A") + rest),
      }),
      "invalid_scope",
    ],
    ["handle: letters that decoders pass over", () => ({ scope: `${loot.handle}==` }), "invalid_scope"],
    ["handle: continued", () => ({ scope: `${loot.handle}AAAA` }), "invalid_scope"],
    ["handle: expired", () => ({ scope: loot.expired }), "invalid_scope"],
    ["handle: replayed after its sign-in", () => ({ scope: loot.used }), "invalid_scope"],
    ["handle: of a gateway with other keys", () => ({ scope: loot.otherKeys }), "invalid_scope"],
    ["handle: of another gateway with the same keys", () => ({ scope: loot.otherGateway }), "invalid_scope"],
    ["handle: empty", () => ({ scope: `access_as_user ${HANDLE}` }), "invalid_scope"],
    ["handle: another URN", () => ({ scope: "access_as_user urn:evil:claims:x" }), "invalid_scope"],
    ["handle: in capitals", () => ({ scope: loot.handle.replace("urn:obo", "URN:OBO") }), "invalid_scope"],
    [
      "handle: the nonce of a sign-in",
      () => ({ scope: `access_as_user ${HANDLE}${loot.nonce}` }),
      "invalid_scope",
    ],
    [
      "handle: a refresh token",
      () => ({ scope: `access_as_user ${HANDLE}${loot.wrapped.slice(5)}` }),
      "invalid_scope",
    ],
    [
      "handle: written by the attacker",
      () => ({ scope: `access_as_user ${HANDLE}${Buffer.from('{"k":"login"}').toString("base64url")}` }),
      "invalid_scope",
    ],
    [
      "handle: a hundred of them",
      () => ({
        scope: `access_as_user ${Array.from({ length: 100 }, (_, at) => `${HANDLE}${at}`).join(" ")}`,
      }),
      "invalid_scope",
    ],
    ["a query past its bound", () => ({ state: "s".repeat(17_000) }), "invalid_request"],
    [
      "parameters past their bound",
      () => Array.from({ length: 80 }, (_, at) => `&p${at}=1`).join(""),
      "invalid_request",
    ],
  ])("%s", async (_, changes, error) => {
    const { body } = await attack(changes());
    expect(body.error).toBe(error);
    expect(typeof body.error_description).toBe("string");
  });

  test.each([
    ["expired", () => loot.expired, /time .* is over/],
    ["replayed", () => loot.used, /was met already/],
    ["foreign", () => loot.otherKeys, /not of this gateway/],
    ["foreign, with the same keys", () => loot.otherGateway, /not of this gateway/],
  ])("says of a handle why it is refused: %s", async (_, scope, description) => {
    const { body } = await attack({ scope: scope() });
    expect(body.error_description).toMatch(description);
  });

  test("sends nothing on that would smuggle: claims, resource and foreign scopes beside a genuine one", async () => {
    const { url } = authorizeRequest(gateway, emulator, {
      scope: `api://${emulator.clientId}/access_as_user https://graph.microsoft.com/Mail.Read ${loot.handle.split(" ")[1]}`,
      claims: '{"access_token":{"acrs":{"essential":true,"value":"c9"}}}',
      tenant: "evil",
      client_secret: "x",
      redirect_url: "https://evil.example",
      "client_id[]": "x",
    });
    const { location } = await locationOf(url);
    const sent = Object.fromEntries(location?.searchParams ?? []);
    expect(Object.keys(sent).toSorted()).toEqual([
      "claims",
      "client_id",
      "code_challenge",
      "code_challenge_method",
      "nonce",
      "redirect_uri",
      "response_type",
      "scope",
      "state",
    ]);
    expect(sent.scope).toBe(`api://${emulator.clientId}/access_as_user openid profile offline_access`);
    expect(JSON.parse(sent.claims ?? "")).toEqual({
      access_token: { acrs: { essential: true, value: "c1" } },
    });
  });
});

describe("the token endpoint", () => {
  const CODE: Form = {
    grant_type: "authorization_code",
    code: "a-code",
    redirect_uri: REDIRECT,
    code_verifier: "v".repeat(43),
  };
  const refresh = (refresh_token: string): Form => ({ grant_type: "refresh_token", refresh_token });

  test.each<[string, () => Form, string]>([
    ["no grant type", () => ({}), "invalid_request"],
    [
      "client credentials",
      () => ({ grant_type: "client_credentials", scope: "https://graph.microsoft.com/.default" }),
      "unsupported_grant_type",
    ],
    [
      "on behalf of",
      () => ({
        grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
        assertion: "x",
        requested_token_use: "on_behalf_of",
      }),
      "unsupported_grant_type",
    ],
    [
      "a password",
      () => ({ grant_type: "password", username: "ada", password: "x" }),
      "unsupported_grant_type",
    ],
    [
      "a device code",
      () => ({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: "x" }),
      "unsupported_grant_type",
    ],
    [
      "a token exchange",
      () => ({ grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", subject_token: "x" }),
      "unsupported_grant_type",
    ],
    ["a secret", () => ({ ...CODE, client_secret: "x" }), "invalid_client"],
    [
      "an assertion",
      () => ({ ...CODE, client_assertion: "x", client_assertion_type: "y" }),
      "invalid_client",
    ],
    [
      "an unknown client",
      () => ({ ...CODE, client_id: "https://evil.example/client.json" }),
      "invalid_client",
    ],
    ["the gateway as client", () => ({ ...CODE, client_id: emulator.clientId }), "invalid_client"],
    ["no client", () => ({ ...CODE, client_id: undefined }), "invalid_request"],
    ["a code without verifier (injection)", () => ({ ...CODE, code_verifier: undefined }), "invalid_request"],
    ["a verifier that is none", () => ({ ...CODE, code_verifier: "short" }), "invalid_request"],
    ["no code", () => ({ ...CODE, code: undefined }), "invalid_request"],
    ["no redirect URI", () => ({ ...CODE, redirect_uri: undefined }), "invalid_request"],
    [
      "a redirect URI elsewhere",
      () => ({ ...CODE, redirect_uri: "https://evil.example/callback" }),
      "invalid_request",
    ],
    [
      "the redirect URI of another client",
      () => ({ ...CODE, redirect_uri: "https://vscode.dev/redirect" }),
      "invalid_request",
    ],
    [
      "a resource of no route",
      () => ({ ...CODE, resource: "https://graph.microsoft.com" }),
      "invalid_target",
    ],
    [
      "a scope of another API",
      () => ({ ...CODE, scope: "https://graph.microsoft.com/Mail.Read" }),
      "invalid_scope",
    ],
    ["Entra's own refresh token", () => refresh(loot.raw), "invalid_grant"],
    ["a refresh token that is cut", () => refresh(loot.wrapped.slice(0, -2)), "invalid_grant"],
    [
      "a refresh token of another client",
      () => ({ ...refresh(loot.wrapped), client_id: KNOWN_CLIENT }),
      "invalid_grant",
    ],
    ["a refresh token without its mark", () => refresh(loot.wrapped.slice(5)), "invalid_grant"],
    ["a handle as refresh token", () => refresh(`obo1.${loot.handle.split(HANDLE)[1]}`), "invalid_grant"],
    ["a nonce as refresh token", () => refresh(`obo1.${loot.nonce}`), "invalid_grant"],
    ["no refresh token", () => ({ grant_type: "refresh_token" }), "invalid_request"],
    ["a refresh token past its bound", () => refresh(`obo1.${"A".repeat(20_000)}`), "invalid_grant"],
    [
      "a refresh token for another API",
      () => ({ ...refresh(loot.wrapped), scope: "https://graph.microsoft.com/.default" }),
      "invalid_scope",
    ],
    ["a renewal while a challenge is pending", () => refresh(loot.pending), "invalid_grant"],
  ])("%s", async (_, form, error) => {
    const { body } = await refusedOf(() =>
      postForm(`${gateway.url}/oauth2/token`, { client_id: emulator.publicClientId, ...form() }),
    );
    expect(body.error).toBe(error);
    expect(typeof body.error_description).toBe("string");
  });

  const send = (init: RequestInit, query = "") =>
    refusedOf(
      async () =>
        await readAnswer(await fetch(`${gateway.url}/oauth2/token${query}`, { method: "POST", ...init })),
    );
  const form = { "content-type": "application/x-www-form-urlencoded" };

  test.each<[string, () => Promise<OAuthAnswer>, number, string]>([
    [
      "a password of the client in Authorization",
      () => send({ headers: { ...form, authorization: "Basic eDp5" }, body: "grant_type=refresh_token" }),
      400,
      "invalid_client",
    ],
    [
      "a parameter twice",
      () => send({ headers: form, body: "grant_type=refresh_token&grant_type=password" }),
      400,
      "invalid_request",
    ],
    [
      "parameters in the address",
      () => send({ headers: form, body: "grant_type=refresh_token" }, "?client_id=x"),
      400,
      "invalid_request",
    ],
    [
      "JSON",
      () => send({ headers: { "content-type": "application/json" }, body: "{}" }),
      400,
      "request_malformed",
    ],
    [
      "no media type",
      () => send({ body: Buffer.from("grant_type=refresh_token") }),
      400,
      "request_malformed",
    ],
    [
      "a content coding",
      () => send({ headers: { ...form, "content-encoding": "gzip" }, body: "x" }),
      400,
      "request_malformed",
    ],
    [
      "a body past its bound",
      () => send({ headers: form, body: `a=${"b".repeat(70_000)}` }),
      413,
      "body_too_large",
    ],
    ["another method", () => send({ method: "PUT", headers: form, body: "a=b" }), 405, "method_not_allowed"],
  ])("%s", async (_, attack, status, error) => {
    const answer = await attack();
    expect([answer.status, answer.body.error ?? answer.body.code]).toEqual([status, error]);
  });

  test("a handle that another user follows gives no token, and stays good for its own user", async () => {
    const handle = await challengeOf("grace");
    const refused = await signIn(gateway, emulator, person, { user: "ada", changes: { scope: handle } });
    expect([refused.status, refused.body.error]).toEqual([400, "invalid_grant"]);
    expect(refused.body.access_token).toBeUndefined();
    const grace = personAtEmulator(emulator);
    const granted = await signIn(gateway, emulator, grace, { user: "grace", changes: { scope: handle } });
    expect(granted.status).toBe(200);
    await grace.close();
  });

  test("a code of one sign-in with the verifier of another is refused by Entra (injection)", async () => {
    const { url, redeem } = authorizeRequest(gateway, emulator);
    const { location } = await locationOf(url);
    const { answer } = await person.signIn(String(location), { user: "ada" });
    const injected = await postForm(`${gateway.url}/oauth2/token`, {
      ...redeem,
      code: answer.code,
      code_verifier: "x".repeat(64),
    });
    expect([injected.status, injected.body.error]).toEqual([400, "invalid_grant"]);
    expect(injected.body.access_token).toBeUndefined();
  });
});

describe("registration", () => {
  const register = (
    body: unknown,
    headers: Record<string, string> = { "content-type": "application/json" },
  ) =>
    refusedOf(
      async () =>
        await readAnswer(
          await fetch(`${gateway.url}/oauth2/register`, {
            method: "POST",
            headers,
            body: typeof body === "string" ? body : JSON.stringify(body),
          }),
        ),
    );

  test.each<[string, unknown, string]>([
    ["a redirect URI elsewhere", { redirect_uris: ["https://evil.example/"] }, "invalid_redirect_uri"],
    ["one of two elsewhere", { redirect_uris: [REDIRECT, "https://evil.example/"] }, "invalid_redirect_uri"],
    ["a script", { redirect_uris: ["javascript:alert(1)"] }, "invalid_redirect_uri"],
    [
      "a redirect URI of a listed client alone",
      { redirect_uris: ["https://vscode.dev/redirect"] },
      "invalid_redirect_uri",
    ],
    ["no redirect URI", { client_name: "x" }, "invalid_redirect_uri"],
    ["an empty list", { redirect_uris: [] }, "invalid_redirect_uri"],
    [
      "redirect URIs that are no text",
      { redirect_uris: [{ toString: "http://localhost" }] },
      "invalid_redirect_uri",
    ],
    [
      "a hundred redirect URIs",
      { redirect_uris: Array.from({ length: 100 }, () => REDIRECT) },
      "invalid_redirect_uri",
    ],
    [
      "tokens from the authorization endpoint",
      { redirect_uris: [REDIRECT], response_types: ["token"] },
      "invalid_client_metadata",
    ],
    [
      "client credentials",
      { redirect_uris: [REDIRECT], grant_types: ["client_credentials"] },
      "invalid_client_metadata",
    ],
    ["text that is no JSON", "{", "invalid_request"],
    ["a list", [], "invalid_request"],
    [
      "a body past its bound",
      { redirect_uris: [REDIRECT], client_name: "x".repeat(20_000) },
      "body_too_large",
    ],
  ])("%s", async (_, body, error) => {
    const answer = await register(body);
    expect(answer.body.error ?? answer.body.code).toBe(error);
  });

  test("a form", async () => {
    const { body } = await register("redirect_uris=x", {
      "content-type": "application/x-www-form-urlencoded",
    });
    expect(body.code).toBe("request_malformed");
  });
});

describe("what is not configured", () => {
  test("is not there: neither registration, nor any endpoint without mcp", async () => {
    const quiet = await startMcpGateway({ emulator, server, mcp: "register: false" });
    try {
      const metadata = await readAnswer(await fetch(`${quiet.url}/.well-known/oauth-authorization-server`));
      expect(metadata.body.registration_endpoint).toBeUndefined();
      const refused = await readAnswer(
        await fetch(`${quiet.url}/oauth2/register`, {
          method: "POST",
          body: "{}",
          headers: { "content-type": "application/json" },
        }),
      );
      expect([refused.status, refused.body.code]).toEqual([404, "route_unknown"]);
    } finally {
      await quiet.stop();
    }
  });
});
