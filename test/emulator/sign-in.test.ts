import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { decodeJws } from "./jws.ts";
import {
  DEVICE,
  deviceRequest,
  gatewayScope,
  PAGE,
  pageRequest,
  personAt,
  redeemAtPage,
  signInAtPage,
} from "./sign-in-requests.ts";
import { aadsts, type Client, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterEach(() => client.emulator.clearRefusals());
afterAll(() => client.close());

const MFA = JSON.stringify({ access_token: { capolids: { essential: true, values: ["p"] } } });
const CONTEXT = JSON.stringify({ access_token: { acrs: { essential: true, value: "c1" } } });

describe("a person signs in", () => {
  test("on one page, and the client gets a code, its state and the account in the fragment", async () => {
    const { journey, answer } = await signInAtPage(client, { user: "ada" }, { client_info: "1" });
    expect(journey.pages.map(({ title }) => title)).toEqual(["Sign in"]);
    expect(journey.location?.href).toMatch(new RegExp(`^${PAGE}#code=`));
    expect(journey.answer).toMatchObject({ state: "as-sent", session_state: expect.any(String) });
    const { users, tenantId } = client.emulator;
    expect(JSON.parse(Buffer.from(journey.answer.client_info ?? "", "base64url").toString())).toEqual({
      uid: users.ada.objectId,
      utid: tenantId,
    });
    expect(answer.status).toBe(200);
  });

  test("and the tokens speak for her: access token for the gateway, ID token for the client", async () => {
    const { clientId, frontEndClientId, tenantId, users } = client.emulator;
    const { answer } = await signInAtPage(client, { user: "ada" });
    expect(answer.body.scope).toBe(gatewayScope(client.emulator));
    expect(decodeJws(String(answer.body.access_token))?.payload).toMatchObject({
      aud: clientId,
      azp: frontEndClientId,
      azpacr: "0",
      oid: users.ada.objectId,
      scp: "access_as_user",
      tid: tenantId,
      ver: "2.0",
    });
    const idToken = decodeJws(String(answer.body.id_token))?.payload;
    expect(idToken).toMatchObject({
      aud: frontEndClientId,
      iss: `${client.emulator.authorityHost}${tenantId}/v2.0`,
      nonce: "n-0S6_WzA2Mj",
      preferred_username: "ada@home.example",
    });
    expect(idToken).not.toHaveProperty("auth_time");
  });

  test("and the gateway exchanges the token that came of it", async () => {
    const { answer } = await signInAtPage(client, { user: "ada" });
    expect(aadsts(await client.exchange({ assertion: String(answer.body.access_token) }))).toBe(0);
  });

  test.each([
    ["query", new RegExp(`^${DEVICE.replace("?", "\\?")}\\?code=`)],
    ["fragment", new RegExp(`^${DEVICE}#code=`)],
    ["form_post", new RegExp(`^${DEVICE}$`)],
    [undefined, new RegExp(`^${DEVICE}\\?code=`)],
  ])("and is answered by response_mode %s", async (mode, location) => {
    const { url } = deviceRequest(client.emulator, { response_mode: mode });
    const { location: reached, answer } = await personAt(client).signIn(url, { user: "ada" });
    expect(reached?.href).toMatch(location);
    expect(answer).toMatchObject({ code: expect.any(String), state: "as-sent" });
  });

  test("with the request in the body of a POST as well", async () => {
    const { url } = pageRequest(client.emulator);
    const person = personAt(client);
    const journey = await person.open(`${url.origin}${url.pathname}`, {
      method: "POST",
      body: url.searchParams.toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    expect(journey.pages.map(({ title }) => title)).toEqual(["Sign in"]);
  });

  test.each(["common", "organizations"])("at %s in her own tenant", async (segment) => {
    const { url, redeem } = pageRequest(client.emulator, {}, segment);
    const { answer } = await personAt(client).signIn(url, { user: "linus" });
    const body = { ...redeem, code: answer.code };
    const tokens = await client.postToken(body, {
      tenant: segment,
      headers: { origin: "http://localhost:4711" },
    });
    expect(decodeJws(String(tokens.body.access_token))?.payload.tid).toBe(client.emulator.secondTenant.id);
  });

  test.each([
    ["of another tenant", "linus", 50020],
    ["that does not exist", "nobody@home.example", 50034],
  ])("but not as a user %s", async (_, user, code) => {
    const { pages, location } = await personAt(client).signIn(pageRequest(client.emulator).url, { user });
    expect(location).toBeUndefined();
    expect(pages.at(-1)?.fault).toMatch(new RegExp(`^AADSTS${code}: `));
  });

  test("but not with a disabled account", async () => {
    client.emulator.disableUser("edsger");
    const { pages } = await personAt(client).signIn(pageRequest(client.emulator).url, { user: "edsger" });
    client.emulator.enableUser("edsger");
    expect(pages.at(-1)?.fault).toMatch(/^AADSTS50057: /);
  });

  test("and the client hears when she is not assigned to the application", async () => {
    client.emulator.unassignUser("edsger");
    const { answer } = await personAt(client).signIn(pageRequest(client.emulator).url, { user: "edsger" });
    client.emulator.assignUser("edsger");
    expect(answer).toMatchObject({
      error: "access_denied",
      error_description: expect.stringMatching(/^AADSTS50105: /),
      state: "as-sent",
    });
  });

  test("and a page belongs to its sign-in: forged or after half an hour it leads nowhere", async () => {
    const person = personAt(client);
    const { pages } = await person.open(pageRequest(client.emulator).url);
    const [page] = pages;
    if (page === undefined) throw new Error("no page");
    const forged = { ...page, html: page.html.replace(/name="step" value="1\./, 'name="step" value="1.x') };
    const refused = await person.press(forged, { user: "ada" });
    expect(refused.pages[0]).toMatchObject({ status: 400, fault: expect.stringMatching(/^AADSTS50089: /) });
    client.emulator.advanceClock(31 * 60_000);
    expect((await person.press(page, { user: "ada" })).pages[0]?.fault).toMatch(/^AADSTS50089: /);
  });
});

describe("the browser remembers", () => {
  test("who signed in, so the second time no page is shown", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    const { pages, answer } = await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    expect(pages).toEqual([]);
    expect(answer.code).toEqual(expect.any(String));
  });

  test("in a cookie that scripts cannot read", async () => {
    const { emulator } = client;
    const person = personAt(client);
    const { pages } = await person.open(pageRequest(emulator).url);
    const step = /name="step" value="([^"]*)"/.exec(pages[0]?.html ?? "")?.[1] ?? "";
    const response = await client.fetch(`${emulator.authorityHost}${emulator.tenantId}/login`, {
      method: "POST",
      redirect: "manual",
      body: new URLSearchParams({ step, user: "ada" }),
    });
    const cookie = response.headers.getSetCookie().find((line) => line.startsWith("ESTSAUTH")) ?? "";
    expect(cookie).toMatch(/; Path=\/; HttpOnly; Secure; SameSite=None$/);
    expect(cookie).not.toContain(emulator.users.ada.objectId);
  });

  test.each([
    ["login", 1],
    ["select_account", 1],
    ["consent", 1],
    ["none", 0],
  ])("and prompt=%s shows %i page(s) all the same", async (prompt, count) => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    const { pages, answer } = await person.signIn(pageRequest(client.emulator, { prompt }).url, {
      user: "ada",
    });
    expect(pages).toHaveLength(count);
    expect(answer.code).toEqual(expect.any(String));
  });

  test("several accounts, and asks which one unless a hint names it", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    await person.signIn(pageRequest(client.emulator, { prompt: "login" }).url, { user: "grace" });
    const { pages } = await person.open(pageRequest(client.emulator).url);
    expect(pages[0]?.title).toBe("Pick an account");
    expect(pages[0]?.buttons.filter(({ name }) => name === "account")).toHaveLength(2);
    const none = await person.open(pageRequest(client.emulator, { prompt: "none" }).url);
    expect(none.answer).toMatchObject({
      error: "interaction_required",
      error_description: expect.stringMatching(/^AADSTS16000: /),
    });
    const { url, redeem } = pageRequest(client.emulator, { prompt: "none", login_hint: "ada@home.example" });
    const { answer } = await person.open(url);
    const tokens = await redeemAtPage(client, { ...redeem, code: answer.code });
    expect(decodeJws(String(tokens.body.access_token))?.payload.oid).toBe(client.emulator.users.ada.objectId);
  });

  test("and a picked account is not asked to prove itself again", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    const { pages } = await person.open(pageRequest(client.emulator, { prompt: "select_account" }).url);
    const [page] = pages;
    if (page === undefined) throw new Error("no page");
    const { answer } = await person.press(page, { account: client.emulator.users.ada.objectId });
    expect(answer.code).toEqual(expect.any(String));
  });

  test("no user before the first sign-in: prompt=none is login_required", async () => {
    const { answer } = await personAt(client).open(pageRequest(client.emulator, { prompt: "none" }).url);
    expect(answer).toMatchObject({
      error: "login_required",
      error_description: expect.stringMatching(/^AADSTS50058: /),
      state: "as-sent",
    });
    expect(answer.code).toBeUndefined();
  });

  test.each([
    ["revoked sessions", () => client.emulator.revokeSessions("ada")],
    ["a changed password", () => client.emulator.changePassword("ada", { by: "user" })],
  ])("nothing after %s", async (_, end) => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    end();
    const { answer } = await person.open(pageRequest(client.emulator, { prompt: "none" }).url);
    expect(answer.error).toBe("login_required");
  });

  test("no sign-in that is older than max_age or the policy's frequency allows; auth_time says how old it is", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    const began = Math.floor(client.emulator.now() / 1000);
    client.emulator.advanceClock(60_000);
    const { url, redeem } = pageRequest(client.emulator, { prompt: "none", max_age: "60" });
    const { answer } = await person.open(url);
    const tokens = await redeemAtPage(client, { ...redeem, code: answer.code });
    expect(decodeJws(String(tokens.body.id_token))?.payload.auth_time).toBe(began);
    const younger = await person.open(pageRequest(client.emulator, { prompt: "none", max_age: "59" }).url);
    expect(younger.answer.error).toBe("login_required");
    const anew = await person.signIn(pageRequest(client.emulator, { max_age: "0" }).url, { user: "ada" });
    expect(anew.pages).toHaveLength(1);
    client.emulator.advanceClock(60_000);
    const policy = client.emulator.requireSignInFrequency("ada", 60);
    expect((await person.open(pageRequest(client.emulator, { prompt: "none" }).url)).answer.error).toBe(
      "login_required",
    );
    policy.remove();
    expect(
      (await person.open(pageRequest(client.emulator, { prompt: "none" }).url)).answer.code,
    ).toBeDefined();
  });

  test("and offers only users of the hinted domain", async () => {
    const url = pageRequest(client.emulator, { domain_hint: "second.example" }, "common").url;
    const { pages } = await personAt(client).open(url);
    expect(pages[0]?.buttons.map(({ value }) => value)).toEqual(["linus@second.example"]);
  });
});

describe("a second factor", () => {
  test.each([
    ["a challenge of a policy behind the gateway", MFA, { amr: ["pwd", "mfa"] }],
    ["an authentication context", CONTEXT, { amr: ["pwd", "mfa"], acrs: ["c1"] }],
  ])("is asked for where the claims request holds %s, and the token shows it", async (_, claims, held) => {
    const { journey, answer } = await signInAtPage(client, { user: "grace" }, { claims });
    expect(journey.pages.map(({ title }) => title)).toEqual(["Sign in", "Approve the sign-in request"]);
    expect(decodeJws(String(answer.body.access_token))?.payload).toMatchObject(held);
  });

  test("satisfies the policy that challenged: the exchange goes on", async () => {
    client.emulator.requireMfa("grace");
    const plain = await signInAtPage(client, { user: "grace" });
    expect(plain.journey.pages).toHaveLength(1);
    const refused = await client.exchange({ assertion: String(plain.answer.body.access_token) });
    expect(aadsts(refused)).toBe(50076);
    const stepped = await signInAtPage(client, { user: "grace" }, { claims: String(refused.body.claims) });
    expect(aadsts(await client.exchange({ assertion: String(stepped.answer.body.access_token) }))).toBe(0);
  });

  test("is remembered: the next request with the same challenge shows no page", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator, { claims: MFA }).url, { user: "grace" });
    const { pages, answer } = await person.signIn(
      pageRequest(client.emulator, { claims: MFA, prompt: "none" }).url,
      { user: "grace" },
    );
    expect([pages, typeof answer.code]).toEqual([[], "string"]);
  });

  test("of a policy that covers the front door is asked for at every sign-in", async () => {
    client.emulator.requireMfa("grace", { atSignIn: true });
    const { journey } = await signInAtPage(client, { user: "grace" });
    expect(journey.pages).toHaveLength(2);
  });

  test("cannot be given silently: prompt=none is interaction_required with the claims to ask for", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "grace" });
    const { answer } = await person.open(pageRequest(client.emulator, { claims: MFA, prompt: "none" }).url);
    expect(answer).toMatchObject({
      error: "interaction_required",
      error_description: expect.stringMatching(/^AADSTS50076: /),
      claims: expect.stringContaining("capolids"),
    });
  });

  test("denied: the page says so; cancelled: the client hears it", async () => {
    const url = () => pageRequest(client.emulator, { claims: MFA }).url;
    const denied = await personAt(client).signIn(url(), { user: "grace", secondFactor: "deny" });
    expect(denied.pages.at(-1)?.fault).toMatch(/^AADSTS500121: /);
    const cancelled = await personAt(client).signIn(url(), { user: "grace", secondFactor: "cancel" });
    expect(cancelled.answer).toMatchObject({ error: "access_denied", error_subcode: "cancel" });
  });

  test("a refusal on demand reaches the client at the authorize endpoint only when it is named", async () => {
    client.emulator.refuse({ code: 53003 });
    expect(
      (await personAt(client).signIn(pageRequest(client.emulator).url, { user: "ada" })).answer.code,
    ).toBeDefined();
    client.emulator.clearRefusals();
    client.emulator.refuse({ code: 50079, grant: "authorize", claims: true });
    const { answer } = await personAt(client).signIn(pageRequest(client.emulator).url, { user: "ada" });
    expect(answer).toMatchObject({
      error: "interaction_required",
      claims: expect.stringContaining("capolids"),
    });
    expect((await client.exchange()).status).toBe(200);
  });
});

describe("a request that is wrong", () => {
  test.each<[string, number, Record<string, string | undefined>]>([
    ["an unknown client", 700016, { client_id: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1cff" }],
    ["a client id that is no GUID", 700016, { client_id: "https://client.example/metadata.json" }],
    ["no client id", 900144, { client_id: undefined }],
    ["a redirect URI that is not registered", 50011, { redirect_uri: "https://evil.example/" }],
    ["a path that is not registered", 50011, { redirect_uri: `${PAGE}elsewhere` }],
    ["the path in another case", 50011, { redirect_uri: "http://localhost:4711/REDIRECT" }],
    ["a loopback address that is not registered", 50011, { redirect_uri: "http://127.0.0.1:4711/" }],
    ["https in place of http", 50011, { redirect_uri: "https://localhost:4711/" }],
    ["a host that only begins like localhost", 50011, { redirect_uri: "http://localhost.evil.example/" }],
    ["user information before the host", 50011, { redirect_uri: "http://localhost@evil.example/" }],
    ["a port that is none", 50011, { redirect_uri: "http://localhost:80@evil.example/" }],
  ])("%s is AADSTS%i on a page, and nothing is sent anywhere", async (_, code, changes) => {
    const journey = await personAt(client).open(pageRequest(client.emulator, changes).url);
    expect(journey.location).toBeUndefined();
    expect(journey.pages[0]).toMatchObject({
      status: 400,
      fault: expect.stringMatching(new RegExp(`^AADSTS${code}: `)),
    });
  });

  test("an unknown tenant is AADSTS90002 on a page", async () => {
    const { pages } = await personAt(client).open(pageRequest(client.emulator, {}, "nowhere.example").url);
    expect(pages[0]?.fault).toMatch(/^AADSTS90002: /);
  });

  test.each<[string, string, number, Record<string, string | undefined>]>([
    ["no code challenge", "invalid_request", 9002325, { code_challenge: undefined }],
    ["a plain challenge", "invalid_request", 50149, { code_challenge_method: "plain" }],
    ["no challenge method, which is plain", "invalid_request", 50149, { code_challenge_method: undefined }],
    ["a challenge that is too short", "invalid_request", 501491, { code_challenge: "short" }],
    ["an implicit response type", "unsupported_response_type", 700054, { response_type: "id_token token" }],
    ["no response type", "invalid_request", 900144, { response_type: undefined }],
    ["an unknown prompt", "invalid_request", 90023, { prompt: "create" }],
    ["an unknown response mode", "invalid_request", 70007, { response_mode: "web_message" }],
    ["no scope", "invalid_request", 900144, { scope: undefined }],
    ["claims that are no JSON", "invalid_request", 90023, { claims: "acrs" }],
    ["a max_age that is no number", "invalid_request", 90023, { max_age: "soon" }],
  ])("%s is %s, AADSTS%i, at the client's address", async (_, error, code, changes) => {
    for (const make of [pageRequest, deviceRequest]) {
      const { answer, location } = await personAt(client).open(make(client.emulator, changes).url);
      expect(location).toBeDefined();
      expect(answer).toMatchObject({
        error,
        error_description: expect.stringMatching(new RegExp(`^AADSTS${code}: `)),
        error_uri: expect.stringMatching(new RegExp(`code=${code}$`)),
        state: "as-sent",
      });
    }
  });

  test("a scope of an unknown API is refused once it is known whose tenant decides", async () => {
    const { url } = pageRequest(client.emulator, { scope: "api://nowhere/read" });
    const { answer } = await personAt(client).signIn(url, { user: "ada" });
    expect(answer).toMatchObject({ error: "invalid_resource" });
  });
});

describe("redirect URIs", () => {
  test.each([
    ["http://localhost", "http://localhost:1/"],
    ["http://localhost:9/", "http://localhost:65535"],
    ["http://localhost/redirect", "http://localhost:4711/redirect"],
  ])("%s and %s are the same: the port of localhost does not count", async (...uris) => {
    for (const redirect_uri of uris) {
      const { pages } = await personAt(client).open(pageRequest(client.emulator, { redirect_uri }).url);
      expect(pages[0]?.title).toBe("Sign in");
    }
  });

  test("127.0.0.1 counts only as it is registered, port included", async () => {
    const open = async (redirect_uri: string) =>
      (await personAt(client).open(deviceRequest(client.emulator, { redirect_uri }).url)).pages[0]?.title;
    expect(await open("http://127.0.0.1:33418")).toBe("Sign in");
    expect(await open("http://127.0.0.1:33418/")).toBe("Sign in");
    expect(await open("http://127.0.0.1:33419")).toBe("We could not sign you in");
  });

  test("a new one counts from its registration on", async () => {
    const redirect_uri = "https://app.example/back?tab=1";
    const url = () => pageRequest(client.emulator, { redirect_uri, response_mode: "query" }).url;
    expect((await personAt(client).open(url())).pages[0]?.fault).toMatch(/^AADSTS50011/);
    client.emulator.registerRedirectUri(client.emulator.frontEndClientId, { uri: redirect_uri, type: "spa" });
    const { location } = await personAt(client).signIn(url(), { user: "ada" });
    expect(location?.href).toMatch(/^https:\/\/app\.example\/back\?tab=1&code=/);
  });
});

describe("signing out", () => {
  const leave = (parameters: Record<string, string>) =>
    `${client.emulator.authorityHost}${client.emulator.tenantId}/oauth2/v2.0/logout?${new URLSearchParams(parameters)}`;

  test("ends the session and goes back to a registered address, state in hand", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    const { location } = await person.open(leave({ post_logout_redirect_uri: PAGE, state: "bye" }));
    expect(location?.href).toBe(`${PAGE}?state=bye`);
    const { answer } = await person.open(pageRequest(client.emulator, { prompt: "none" }).url);
    expect(answer.error).toBe("login_required");
  });

  test("with a hint ends one account only", async () => {
    const person = personAt(client);
    await person.signIn(pageRequest(client.emulator).url, { user: "ada" });
    await person.signIn(pageRequest(client.emulator, { prompt: "login" }).url, { user: "grace" });
    await person.open(leave({ logout_hint: "ada@home.example" }));
    const { url, redeem } = pageRequest(client.emulator, { prompt: "none" });
    const tokens = await redeemAtPage(client, { ...redeem, code: (await person.open(url)).answer.code });
    expect(decodeJws(String(tokens.body.access_token))?.payload.oid).toBe(
      client.emulator.users.grace.objectId,
    );
  });

  test("never leads to an address that is not registered", async () => {
    const { location, pages } = await personAt(client).open(
      leave({ post_logout_redirect_uri: "https://evil.example/" }),
    );
    expect([location, pages[0]?.title]).toEqual([undefined, "You signed out"]);
  });
});

test("pages forbid framing, scripts and storing, and show what was sent as text", async () => {
  const { url } = pageRequest(client.emulator, { login_hint: `"><script>alert(1)</script>` });
  const response = await client.fetch(url.href);
  expect(response.headers.get("content-security-policy")).toMatch(
    /default-src 'none'.*frame-ancestors 'none'/,
  );
  expect(response.headers.get("cache-control")).toBe("no-store, no-cache");
  const html = await response.text();
  expect(html).not.toContain("<script");
  expect(html).toContain('lang="en"');
  expect(html).toContain('<label for="user">');
});

test("the record says what was asked for, never a code", async () => {
  client.emulator.requests.clear();
  const { journey } = await signInAtPage(client, { user: "ada" }, { resource: undefined, login_hint: "ada" });
  const { authorize, counts } = client.emulator.requests;
  expect(counts.authorize).toBe(2);
  expect(authorize[0]).toMatchObject({
    clientId: client.emulator.frontEndClientId,
    redirectUri: PAGE,
    loginHint: "ada",
    challengeMethod: "S256",
    aadsts: undefined,
    status: 200,
  });
  expect(authorize[1]).toMatchObject({ path: expect.stringMatching(/\/login$/), aadsts: 0, status: 302 });
  expect(JSON.stringify(client.emulator.requests)).not.toContain(journey.answer.code);
});
