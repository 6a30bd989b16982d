import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { decodeJws } from "./jws.ts";
import {
  deviceRequest,
  gatewayScope,
  PAGE_ORIGIN,
  pageRequest,
  personAt,
  redeemAtPage,
  type SignInRequest,
} from "./sign-in-requests.ts";
import { aadsts, type Client, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

/** A form that redeems a fresh code of ada's. */
async function freshForm({ url, redeem }: SignInRequest, user = "ada") {
  const { answer } = await personAt(client).signIn(url, { user });
  return { ...redeem, code: answer.code };
}

describe("a code of a single-page application", () => {
  test("is redeemed from its origin, with headers that let the page read the answer", async () => {
    const answer = await redeemAtPage(client, await freshForm(pageRequest(client.emulator)));
    expect(answer.status).toBe(200);
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    expect(answer.headers.get("cache-control")).toBe("no-store, no-cache");
    expect(Object.keys(answer.body).sort()).toEqual([
      "access_token",
      "expires_in",
      "ext_expires_in",
      "id_token",
      "refresh_token",
      "scope",
      "token_type",
    ]);
  });

  test("after a preflight", async () => {
    const response = await client.fetch(
      `${client.emulator.authorityHost}${client.emulator.tenantId}/oauth2/v2.0/token`,
      {
        method: "OPTIONS",
        headers: {
          origin: PAGE_ORIGIN,
          "access-control-request-method": "POST",
          "access-control-request-headers": "x-ms-lib",
        },
      },
    );
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    expect(response.headers.get("access-control-allow-headers")).toBe("x-ms-lib");
    expect(response.headers.get("access-control-allow-methods")).toContain("POST");
  });

  test("not from anywhere else: without an origin it is AADSTS9002327", async () => {
    const answer = await client.postToken(await freshForm(pageRequest(client.emulator)));
    expect([answer.status, answer.body.error, aadsts(answer)]).toEqual([400, "invalid_request", 9002327]);
  });

  test("not by a client that shows a credential", async () => {
    const client_secret = client.emulator.addClientSecret(client.emulator.frontEndClientId);
    const answer = await redeemAtPage(client, {
      ...(await freshForm(pageRequest(client.emulator))),
      client_secret,
    });
    expect([answer.status, answer.body.error, aadsts(answer)]).toEqual([401, "invalid_client", 700025]);
  });
});

test("a page may not redeem the code of a program: AADSTS9002326, which the page can read", async () => {
  const answer = await redeemAtPage(client, await freshForm(deviceRequest(client.emulator)));
  expect([answer.status, answer.body.error, aadsts(answer)]).toEqual([400, "invalid_request", 9002326]);
  expect(answer.headers.get("access-control-allow-origin")).toBe("*");
});

describe("a code", () => {
  test("is good once", async () => {
    const form = await freshForm(deviceRequest(client.emulator));
    expect((await client.postToken(form)).status).toBe(200);
    const again = await client.postToken(form);
    expect([again.status, again.body.error, aadsts(again)]).toEqual([400, "invalid_grant", 54005]);
  });

  test("is good for ten minutes", async () => {
    const early = await freshForm(deviceRequest(client.emulator));
    const late = await freshForm(deviceRequest(client.emulator));
    client.emulator.advanceClock(10 * 60_000 - 1);
    expect(aadsts(await client.postToken(early))).toBe(0);
    client.emulator.advanceClock(1);
    expect(aadsts(await client.postToken(late))).toBe(70008);
  });

  test.each<[string, number, Record<string, string | undefined>]>([
    ["of garbage", 9002313, { code: "1.AAAA" }],
    ["that is a refresh token", 9002313, { code: "refresh" }],
    ["that is missing", 900144, { code: undefined }],
    ["with another redirect URI", 500112, { redirect_uri: "http://localhost:5822" }],
    ["with another verifier", 501481, { code_verifier: "x".repeat(43) }],
    ["without a verifier", 50148, { code_verifier: undefined }],
    ["with a verifier that is too short", 501491, { code_verifier: "short" }],
    ["for another API than was agreed to", 65001, { scope: "https://graph.microsoft.com/Calendars.Read" }],
    ["for two spellings of nothing", 500011, { scope: "api://nowhere/x" }],
  ])("%s is AADSTS%i", async (_, code, changes) => {
    const form = await freshForm(deviceRequest(client.emulator));
    const refreshed = changes.code === "refresh" ? await client.postToken(form) : undefined;
    const token = refreshed === undefined ? {} : { code: String(refreshed.body.refresh_token) };
    const answer = await client.postToken({ ...form, ...changes, ...token });
    expect([answer.status, aadsts(answer)]).toEqual([400, code]);
  });

  test("belongs to the client that asked for it", async () => {
    const form = await freshForm(deviceRequest(client.emulator));
    const answer = await client.postToken({ ...form, client_id: client.emulator.frontEndClientId });
    expect([answer.body.error, aadsts(answer)]).toEqual(["invalid_grant", 70000]);
  });

  test("belongs to its tenant, and to this emulator", async () => {
    const form = await freshForm(deviceRequest(client.emulator));
    const tenant = client.emulator.secondTenant.id;
    expect(aadsts(await client.postToken(form, { tenant }))).toBe(70000);
    const other = await startClient();
    expect(aadsts(await other.postToken(form))).toBe(9002313);
    await other.close();
  });

  test.each<[string, number, () => void, () => void]>([
    ["revoked", 50173, () => client.emulator.revokeSessions("ada"), () => {}],
    ["disabled", 50057, () => client.emulator.disableUser("ada"), () => client.emulator.enableUser("ada")],
    ["unassigned", 50105, () => client.emulator.unassignUser("ada"), () => client.emulator.assignUser("ada")],
  ])("of a user who was %s meanwhile is AADSTS%i", async (_, code, act, undo) => {
    const form = await freshForm(deviceRequest(client.emulator));
    act();
    const answer = await client.postToken(form);
    undo();
    expect(aadsts(answer)).toBe(code);
  });

  test("gives long-lived tokens to a client that declared cp1 at sign-in", async () => {
    const claims = JSON.stringify({ access_token: { xms_cc: { values: ["cp1"] } } });
    const { body } = await client.postToken(await freshForm(deviceRequest(client.emulator, { claims })));
    expect(decodeJws(String(body.access_token))?.payload.xms_cc).toEqual(["CP1"]);
    expect(body.expires_in).toBe(86_399);
  });

  test("without offline_access gives no refresh token, without openid no ID token", async () => {
    const scope = gatewayScope(client.emulator);
    const { body } = await client.postToken(await freshForm(deviceRequest(client.emulator, { scope })));
    expect([body.refresh_token, body.id_token]).toEqual([undefined, undefined]);
  });

  test("for identity alone gives a token for Graph that says who the user is", async () => {
    const { body } = await client.postToken(
      await freshForm(deviceRequest(client.emulator, { scope: "openid profile" })),
    );
    expect(body.scope).toBe("openid profile");
    expect(decodeJws(String(body.access_token))?.payload).toMatchObject({
      aud: "https://graph.microsoft.com",
      scp: "openid profile",
    });
  });
});

describe("a code for a web application", () => {
  const request = () => {
    const { url, redeem } = deviceRequest(client.emulator, {
      client_id: client.emulator.clientId,
      redirect_uri: "http://localhost:8080/consented",
      scope: "https://graph.microsoft.com/User.Read offline_access",
      code_challenge: undefined,
      code_challenge_method: undefined,
    });
    return { url, verifier: "", redeem: { ...redeem, code_verifier: undefined } };
  };

  test("needs no challenge, and the server's credential", async () => {
    const form = await freshForm(request());
    expect(aadsts(await client.postToken(form))).toBe(7000218);
  });

  test("is redeemed with it", async () => {
    const client_secret = client.emulator.addClientSecret(client.emulator.clientId);
    const answer = await client.postToken({ ...(await freshForm(request())), client_secret });
    expect(aadsts(answer)).toBe(0);
    expect(decodeJws(String(answer.body.access_token))?.payload.appidacr).toBe("1");
  });

  test("and not from a page", async () => {
    const client_secret = client.emulator.addClientSecret(client.emulator.clientId);
    expect(aadsts(await redeemAtPage(client, { ...(await freshForm(request())), client_secret }))).toBe(
      9002326,
    );
  });
});
