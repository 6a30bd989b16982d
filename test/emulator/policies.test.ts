import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { ERRORS, SIGN_IN_ERRORS } from "./entra/errors.ts";
import { aadsts, type Client, GRAPH_DEFAULT, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterEach(() => client.emulator.clearRefusals());
afterAll(() => client.close());

const exchangeAs = (user: string, options: object = {}) =>
  client.exchange({ assertion: client.emulator.mintUserToken({ user, ...options }) });

describe("a refusal on demand", () => {
  test.each(Object.entries({ ...ERRORS, ...SIGN_IN_ERRORS }))(
    "AADSTS%s has the wire form of its row",
    async (code, row) => {
      client.emulator.refuse({ code: Number(code) });
      const answer = await client.exchange();
      expect([answer.status, answer.body.error, answer.body.suberror, aadsts(answer)]).toEqual([
        row.status,
        row.error,
        row.suberror,
        Number(code),
      ]);
    },
  );

  test("meets only the requests that it describes, and only so often", async () => {
    client.emulator.refuse({ code: 50105, user: "grace", scope: GRAPH_DEFAULT, times: 1 });
    expect(aadsts(await exchangeAs("ada"))).toBe(0);
    expect(aadsts(await exchangeAs("grace"))).toBe(50105);
    expect(aadsts(await exchangeAs("grace"))).toBe(0);
  });

  test("of a number without a row needs its error, or it is no refusal at all", async () => {
    expect(() => client.emulator.refuse({ code: 1 })).toThrow(/no row for AADSTS1/);
    client.emulator.refuse({ code: 1, error: "invalid_grant" });
    expect(aadsts(await exchangeAs("ada"))).toBe(1);
  });

  test("can be worded in every way that was seen", async () => {
    client.emulator.refuse({
      code: 50076,
      spelling: "basic-action",
      description: "crlf",
      errorUri: false,
      claims: true,
      retryAfterSeconds: 7,
    });
    const { body, headers } = await client.exchange();
    expect(body).toMatchObject({ error: "invalid_grant", suberror: "basic_action" });
    expect(body.error_description).toContain("\r\nTrace ID: ");
    expect(body).not.toHaveProperty("error_uri");
    expect(JSON.parse(String(body.claims))).toHaveProperty("access_token.capolids.values");
    expect(headers.get("retry-after")).toBe("7");
  });
});

describe("multi-factor authentication", () => {
  test("is asked for with claims, and a token of a sign-in that met them is exchanged", async () => {
    client.emulator.requireMfa("ada");
    const refused = await exchangeAs("ada");
    expect([aadsts(refused), refused.body.error]).toEqual([50076, "interaction_required"]);
    expect(aadsts(await exchangeAs("grace"))).toBe(0);
    expect(aadsts(await exchangeAs("ada", { claimsRequest: String(refused.body.claims) }))).toBe(0);
  });

  test("is not asked for again by an exchange that merely passes a policy's challenge on", async () => {
    const claims = JSON.stringify({ access_token: { capolids: { essential: true, values: ["p"] } } });
    expect(aadsts(await client.exchange({ claims }))).toBe(0);
  });

  test("by authentication context asks for acrs and accepts a token that holds it", async () => {
    client.emulator.requireMfa("ada", { authContext: "c1", spelling: "basic-action" });
    const refused = await exchangeAs("ada");
    expect(refused.body).toMatchObject({
      error: "invalid_grant",
      suberror: "basic_action",
      claims: '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}',
    });
    expect(aadsts(await exchangeAs("ada", { claims: { acrs: ["c2"] } }))).toBe(50076);
    expect(aadsts(await exchangeAs("ada", { claims: { acrs: ["c1"] } }))).toBe(0);
  });

  test("a context that the client asks for must already be in the user's token", async () => {
    const claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
    const refused = await client.exchange({ claims });
    expect([aadsts(refused), refused.body.claims]).toEqual([50076, claims]);
    const assertion = client.emulator.mintUserToken({ user: "ada", claimsRequest: claims });
    expect(aadsts(await client.exchange({ claims, assertion }))).toBe(0);
  });
});

describe("the directory", () => {
  test("revoked sessions void older tokens of that user, not newer ones", async () => {
    const old = client.emulator.mintUserToken({ user: "edsger" });
    client.emulator.revokeSessions("edsger");
    const refused = await client.exchange({ assertion: old });
    expect(refused.body).toMatchObject({
      error: "invalid_grant",
      suberror: "bad_token",
      error_codes: [50173],
    });
    expect(aadsts(await exchangeAs("edsger"))).toBe(0);
    expect(aadsts(await exchangeAs("ada"))).toBe(0);
  });

  test("a disabled user and an unassigned user are refused until that ends", async () => {
    client.emulator.disableUser("ada");
    expect(aadsts(await exchangeAs("ada"))).toBe(50057);
    client.emulator.enableUser("ada");
    client.emulator.unassignUser("ada");
    expect(aadsts(await exchangeAs("ada"))).toBe(50105);
    client.emulator.assignUser("ada");
    expect(aadsts(await exchangeAs("ada"))).toBe(0);
  });

  test("without consent nothing is issued; one user's consent serves that user alone", async () => {
    const { emulator } = client;
    emulator.revokeConsent({ resource: "https://graph.microsoft.com" });
    expect((await exchangeAs("ada")).body).toMatchObject({
      suberror: "consent_required",
      error_codes: [65001],
    });
    emulator.grantConsent({ scopes: ["User.Read"], user: "ada" });
    expect(aadsts(await exchangeAs("ada"))).toBe(0);
    expect(aadsts(await exchangeAs("grace"))).toBe(65001);
    emulator.grantConsent({ scopes: ["User.Read", "Mail.Read"] });
    expect(aadsts(await exchangeAs("grace"))).toBe(0);
  });

  test("a user added later gets tokens of their own", async () => {
    const user = client.emulator.addUser({ displayName: "Barbara Liskov" });
    expect(aadsts(await client.exchange({ assertion: client.emulator.mintUserToken({ user }) }))).toBe(0);
  });

  test("a name that nobody has is a mistake of the test, not a refusal", () => {
    expect(() => client.emulator.mintUserToken({ user: "nobody" })).toThrow("knows no user nobody");
  });
});
