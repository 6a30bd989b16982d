import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { decodeJws } from "./jws.ts";
import { deviceRequest, gatewayScope, pageRequest, personAt, redeemAtPage } from "./sign-in-requests.ts";
import { type Answer, ASSERTION_TYPE, aadsts, type Client, GRAPH_DEFAULT, startClient } from "./support.ts";

const DAY_MS = 24 * 3_600_000;

let client: Client;
/** Another emulator, which ends a refresh token a minute after its first use. */
let strict: Client;
beforeAll(async () => {
  [client, strict] = await Promise.all([startClient(), startClient({ refreshTokenOverlapSeconds: 60 })]);
});
afterEach(() => client.emulator.clearRefusals());
afterAll(() => Promise.all([client.close(), strict.close()]));

/** The gateway's refresh token of an exchange for ada. */
async function exchanged(user = "ada", to = client): Promise<string> {
  const { body } = await to.exchange({
    assertion: to.emulator.mintUserToken({ user }),
    scope: `${GRAPH_DEFAULT} offline_access`,
  });
  return String(body.refresh_token);
}

function renew(token: unknown, form: Record<string, string | undefined> = {}, at = client): Promise<Answer> {
  return at.postToken({
    grant_type: "refresh_token",
    client_id: at.emulator.clientId,
    refresh_token: String(token),
    scope: GRAPH_DEFAULT,
    client_assertion_type: ASSERTION_TYPE,
    client_assertion: at.clientAssertion(),
    ...form,
  });
}

/** A program's refresh token after ada signed in. */
async function signedIn(): Promise<string> {
  const { url, redeem } = deviceRequest(client.emulator);
  const { answer } = await personAt(client).signIn(url, { user: "ada" });
  return String((await client.postToken({ ...redeem, code: answer.code })).body.refresh_token);
}

function renewAtDevice(token: unknown, form: Record<string, string | undefined> = {}): Promise<Answer> {
  return client.postToken({
    grant_type: "refresh_token",
    client_id: client.emulator.publicClientId,
    refresh_token: String(token),
    scope: gatewayScope(client.emulator),
    ...form,
  });
}

describe("a middle tier renews what it exchanged", () => {
  test("with its own client assertion, and gets tokens for the same user and a new refresh token", async () => {
    const first = await exchanged();
    const { body } = await renew(first);
    expect(decodeJws(String(body.access_token))?.payload).toMatchObject({
      oid: client.emulator.users.ada.objectId,
      appid: client.emulator.clientId,
      appidacr: "2",
      aud: "https://graph.microsoft.com",
    });
    expect(body.refresh_token).not.toBe(first);
    expect(aadsts(await renew(body.refresh_token))).toBe(0);
  });

  test("for another API that its user's consent covers", async () => {
    const { ordersApi } = client.emulator;
    const { body } = await renew(await exchanged(), { scope: `api://${ordersApi.clientId}/orders.read` });
    expect(decodeJws(String(body.access_token))?.payload.aud).toBe(ordersApi.clientId);
  });

  test("with the old refresh token, too: a use does not end it", async () => {
    const first = await exchanged();
    await renew(first);
    expect(aadsts(await renew(first))).toBe(0);
  });

  test.each<[string, number, Record<string, string | undefined>]>([
    ["without a credential", 7000218, { client_assertion: undefined }],
    ["with a credential that is none", 7000215, { client_assertion: undefined, client_secret: "wrong" }],
    ["as another client", 70000, { client_id: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c03" }],
    ["with garbage", 9002313, { refresh_token: "0.AAAA" }],
    ["with nothing", 900144, { refresh_token: undefined }],
    ["for a permission that was not granted", 65001, { scope: "https://graph.microsoft.com/Calendars.Read" }],
  ])("but not %s: AADSTS%i", async (_, code, form) => {
    expect(aadsts(await renew(await exchanged(), form))).toBe(code);
  });

  test("but not in another tenant, nor at another emulator", async () => {
    const token = await exchanged();
    const { secondTenant, authorityHost, clientId } = client.emulator;
    const elsewhere = await client.postToken(
      {
        grant_type: "refresh_token",
        client_id: clientId,
        refresh_token: token,
        scope: GRAPH_DEFAULT,
        client_assertion_type: ASSERTION_TYPE,
        client_assertion: client.clientAssertion({
          claims: { aud: `${authorityHost}${secondTenant.id}/oauth2/v2.0/token` },
        }),
      },
      { tenant: secondTenant.id },
    );
    expect(aadsts(elsewhere)).toBe(70000);
    expect(aadsts(await renew(token, {}, strict))).toBe(9002313);
  });

  test.each<[string, number, string | undefined, () => void, () => void]>([
    ["revoked sessions", 50173, "bad_token", () => client.emulator.revokeSessions("grace"), () => {}],
    ["a password reset", 50173, "bad_token", () => client.emulator.changePassword("grace"), () => {}],
    [
      "a disabled account",
      50057,
      undefined,
      () => client.emulator.disableUser("grace"),
      () => client.emulator.enableUser("grace"),
    ],
    [
      "a lost assignment",
      50105,
      undefined,
      () => client.emulator.unassignUser("grace"),
      () => client.emulator.assignUser("grace"),
    ],
    [
      "a policy that asks for a second factor",
      50076,
      undefined,
      () => void client.emulator.requireMfa("grace"),
      () => {},
    ],
    [
      "a sign-in frequency",
      70043,
      "token_expired",
      () => void client.emulator.requireSignInFrequency("grace", 0),
      () => {},
    ],
  ])("until %s: invalid_grant or interaction, AADSTS%i", async (_, code, suberror, act, undo) => {
    const token = await exchanged("grace");
    act();
    const answer = await renew(token);
    undo();
    expect([answer.status, aadsts(answer), answer.body.suberror]).toEqual([400, code, suberror]);
    expect(typeof answer.body.claims).toBe(code === 50076 ? "string" : "undefined");
  });

  test("and a token of after the revocation is good again", async () => {
    client.emulator.revokeSessions("grace");
    expect(aadsts(await renew(await exchanged("grace")))).toBe(0);
  });

  test("through a password that the user herself changed, as documented for confidential clients", async () => {
    const token = await exchanged("grace");
    client.emulator.changePassword("grace", { by: "user" });
    expect(aadsts(await renew(token))).toBe(0);
  });

  test("until consent is taken away", async () => {
    const token = await exchanged("ada", strict);
    const { body } = await renew(token, {}, strict);
    const scopes = String(body.scope)
      .split(" ")
      .map((scope) => scope.split("/").at(-1) ?? "");
    strict.emulator.revokeConsent({ resource: "https://graph.microsoft.com" });
    const answer = await renew(token, {}, strict);
    strict.emulator.grantConsent({ scopes });
    expect([aadsts(answer), answer.body.suberror]).toEqual([65001, "consent_required"]);
  });

  test("for ninety idle days, each use starting them anew", async () => {
    const token = await exchanged();
    client.emulator.advanceClock(90 * DAY_MS - 1000);
    const { body } = await renew(token);
    client.emulator.advanceClock(1000);
    expect(aadsts(await renew(token))).toBe(700082);
    client.emulator.advanceClock(89 * DAY_MS);
    expect(aadsts(await renew(body.refresh_token))).toBe(0);
  });

  test("and, where an overlap is set, an old token ends so long after its first use", async () => {
    const token = await exchanged("ada", strict);
    await renew(token, {}, strict);
    strict.emulator.advanceClock(60_000);
    expect(aadsts(await renew(token, {}, strict))).toBe(0);
    strict.emulator.advanceClock(1);
    expect(aadsts(await renew(token, {}, strict))).toBe(50173);
  });

  test("and the record shows which refresh token came, by its digest", async () => {
    const token = await exchanged();
    await renew(token);
    expect(client.emulator.requests.token.at(-1)).toMatchObject({
      grantType: "refresh_token",
      credential: "certificate",
      refreshTokenSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      aadsts: 0,
    });
    expect(JSON.stringify(client.emulator.requests.token)).not.toContain(token);
  });

  test("on demand the refresh alone is refused", async () => {
    const token = await exchanged();
    client.emulator.refuse({ code: 53003, grant: "refresh-token", times: 1 });
    expect((await client.exchange()).status).toBe(200);
    expect(aadsts(await renew(token))).toBe(53003);
    expect(aadsts(await renew(token))).toBe(0);
  });
});

describe("a program renews what its user signed in for", () => {
  test("without any credential", async () => {
    const { body } = await renewAtDevice(await signedIn());
    expect(decodeJws(String(body.access_token))?.payload).toMatchObject({
      aud: client.emulator.clientId,
      azpacr: "0",
    });
    expect(body.refresh_token).toEqual(expect.any(String));
  });

  test("not with one, and not from a page", async () => {
    const token = await signedIn();
    expect(aadsts(await renewAtDevice(token, { client_secret: "x" }))).toBe(700025);
    const form = {
      grant_type: "refresh_token",
      client_id: client.emulator.publicClientId,
      refresh_token: token,
    };
    expect(aadsts(await redeemAtPage(client, form))).toBe(9002326);
  });

  test("without a scope it gets a token for Graph, which is of no use to the gateway", async () => {
    const { body } = await renewAtDevice(await signedIn(), { scope: undefined });
    expect(decodeJws(String(body.access_token))?.payload.aud).toBe("https://graph.microsoft.com");
  });

  test("but a challenge of a policy behind the gateway needs the user herself", async () => {
    const claims = JSON.stringify({ access_token: { capolids: { essential: true, values: ["p"] } } });
    const answer = await renewAtDevice(await signedIn(), { claims });
    expect([aadsts(answer), answer.body.error]).toEqual([50076, "interaction_required"]);
    expect(answer.body.claims).toContain("capolids");
  });

  test("a policy behind the gateway does not concern the token for the gateway", async () => {
    const token = await signedIn();
    client.emulator.requireMfa("ada");
    expect(aadsts(await renewAtDevice(token))).toBe(0);
    client.emulator.requireMfa("ada", { atSignIn: true });
    expect(aadsts(await renewAtDevice(token))).toBe(50076);
  });

  test("ends with the user's own change of password", async () => {
    const token = await signedIn();
    client.emulator.changePassword("ada", { by: "user" });
    expect(aadsts(await renewAtDevice(token))).toBe(50173);
  });
});

describe("a single-page application renews for 24 hours from its sign-in", () => {
  test("and no use extends it", async () => {
    const { url, redeem } = pageRequest(client.emulator);
    const { answer } = await personAt(client).signIn(url, { user: "ada" });
    const tokens = await redeemAtPage(client, { ...redeem, code: answer.code });
    const again = (token: unknown) =>
      redeemAtPage(client, {
        grant_type: "refresh_token",
        client_id: client.emulator.frontEndClientId,
        refresh_token: String(token),
        scope: gatewayScope(client.emulator),
      });
    client.emulator.advanceClock(DAY_MS - 1);
    const late = await again(tokens.body.refresh_token);
    expect(aadsts(late)).toBe(0);
    client.emulator.advanceClock(1);
    const ended = await again(late.body.refresh_token);
    expect([ended.body.error, aadsts(ended)]).toEqual(["invalid_grant", 700084]);
  });

  test("only from a page", async () => {
    const { url, redeem } = pageRequest(client.emulator);
    const { answer } = await personAt(client).signIn(url, { user: "ada" });
    const tokens = await redeemAtPage(client, { ...redeem, code: answer.code });
    const form = {
      grant_type: "refresh_token",
      client_id: client.emulator.frontEndClientId,
      refresh_token: String(tokens.body.refresh_token),
      scope: gatewayScope(client.emulator),
    };
    expect(aadsts(await client.postToken(form))).toBe(9002327);
  });
});

test("an application gets a token for Redis that names it by its object id", async () => {
  const { body } = await client.exchange({
    grant_type: "client_credentials",
    scope: "https://redis.azure.com/.default",
    assertion: undefined,
    requested_token_use: undefined,
  });
  expect(decodeJws(String(body.access_token))?.payload).toMatchObject({
    aud: "https://redis.azure.com",
    appid: client.emulator.clientId,
    oid: client.emulator.gatewayPrincipalId,
    sub: client.emulator.gatewayPrincipalId,
    idtyp: "app",
  });
  expect(body.scope).toBeUndefined();
});
