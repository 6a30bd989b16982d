import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { MintOptions } from "./handle.ts";
import { decodeJws, encode } from "./jws.ts";
import { aadsts, type Client, NOON, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

const exchangeFor = (options: MintOptions, tenant?: string) =>
  client.exchange(
    { assertion: client.emulator.mintUserToken({ user: "ada", ...options }) },
    tenant === undefined ? {} : { tenant },
  );

describe("an access token is accepted as user assertion", () => {
  test.each<[string, () => MintOptions]>([
    ["of version 2", () => ({})],
    ["of version 1 with the App ID URI as audience", () => ({ version: "1.0" })],
    [
      "of version 1 with the client id as audience",
      () => ({ version: "1.0", audience: client.emulator.clientId }),
    ],
    ["in its last second", () => ({ expiresInSeconds: 1 })],
    [
      "with 200 groups, 16 KB long",
      () => ({ claims: { groups: Array.from({ length: 200 }, () => crypto.randomUUID()) } }),
    ],
  ])("%s", async (_, options) => {
    expect(aadsts(await exchangeFor(options()))).toBe(0);
  });

  test("of a user of the second tenant, at that tenant's endpoint", async () => {
    const { secondTenant } = client.emulator;
    const claims = { aud: `${client.emulator.authorityHost}${secondTenant.id}/oauth2/v2.0/token` };
    const answer = await client.exchange(
      {
        assertion: client.emulator.mintUserToken({ user: "linus" }),
        client_assertion: client.clientAssertion({ claims }),
      },
      { tenant: secondTenant.id },
    );
    expect(aadsts(answer)).toBe(0);
  });
});

describe("an access token is refused as user assertion", () => {
  test.each<[string, number, () => MintOptions]>([
    ["for another application", 500131, () => ({ audience: client.emulator.frontEndClientId })],
    ["for Graph", 500131, () => ({ version: "1.0", audience: "https://graph.microsoft.com" })],
    [
      "whose App ID URI is in capitals",
      500131,
      () => ({ version: "1.0", audience: `api://${client.emulator.clientId.toUpperCase()}` }),
    ],
    ["at the second of its exp", 500133, () => ({ expiresInSeconds: 0 })],
    ["expired by one second", 500133, () => ({ expiresInSeconds: -1 })],
    ["without exp", 500133, () => ({ claims: { exp: undefined } })],
    ["before its nbf", 500133, () => ({ claims: { nbf: NOON / 1000 + 1 } })],
    ["of an application", 7000114, () => ({ appOnly: true })],
    ["without scp", 7000114, () => ({ claims: { scp: undefined } })],
    ["of a user whom nobody knows", 50034, () => ({ claims: { oid: crypto.randomUUID() } })],
    ["of another tenant", 50013, () => ({ user: "linus" })],
    ["whose tid is not its issuer's", 50013, () => ({ claims: { tid: client.emulator.secondTenant.id } })],
    ["of the production cloud", 50013, () => ({ authorityHost: "https://login.microsoftonline.com/" })],
    ["with a kid that nobody knows", 50013, () => ({ header: { kid: "unknown" } })],
    ["without kid", 50013, () => ({ header: { kid: undefined } })],
    ["with the kid of another key", 50013, () => ({ signWith: "next", header: { kid: activeKid() } })],
    ["signed with an unpublished key", 50013, () => ({ signWith: "unpublished" })],
    ["signed with the consumer accounts' key", 50013, () => ({ signWith: "consumer-accounts" })],
    ["signed with another cloud's key", 50013, () => ({ signWith: "other-cloud" })],
    ["without signature", 50027, () => ({ header: { alg: "none" } })],
    ["signed with the public key as secret", 50027, () => ({ header: { alg: "HS256" } })],
    ["under an algorithm that Entra does not use", 50027, () => ({ header: { alg: "PS256" } })],
  ])("%s (AADSTS%i)", async (_, code, options) => {
    const answer = await exchangeFor(options());
    expect([answer.status, aadsts(answer)]).toEqual([400, code]);
  });

  test("when its payload was changed", async () => {
    const [header, payload, signature] = client.emulator.mintUserToken({ user: "ada" }).split(".");
    const changed = encode({
      ...decodeJws(`${header}.${payload}.`)?.payload,
      oid: client.emulator.users.grace.objectId,
    });
    expect(aadsts(await client.exchange({ assertion: `${header}.${changed}.${signature}` }))).toBe(50013);
  });

  test("when it is no JWT", async () => {
    expect(aadsts(await client.exchange({ assertion: "opaque" }))).toBe(50027);
  });
});

describe("key roll-over", () => {
  test("a token of the next key is accepted before and after it becomes active", async () => {
    expect(aadsts(await exchangeFor({ signWith: "next" }))).toBe(0);
    await client.emulator.rollKeys();
    expect(aadsts(await exchangeFor({}))).toBe(0);
  });

  test("a token of an unpublished new key is accepted only once the key is published", async () => {
    const { activeKid, previousKid } = await client.emulator.rollKeys({ publish: false });
    expect(activeKid).not.toBe(previousKid);
    expect(aadsts(await exchangeFor({}))).toBe(50013);
    client.emulator.publishKey(activeKid);
    expect(aadsts(await exchangeFor({}))).toBe(0);
    client.emulator.retireKey(previousKid);
    expect(aadsts(await exchangeFor({ signWith: previousKid }))).toBe(50013);
  });
});

function activeKid(): unknown {
  return decodeJws(client.emulator.mintUserToken())?.header.kid;
}
