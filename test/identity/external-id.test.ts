import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { resolveAuthority } from "../../src/identity/authority.ts";
import type { Authority, TokenVerifier, TokenVerifierEvent } from "../../src/identity/contract.ts";
import { createTokenVerifier } from "../../src/identity/token-verifier.ts";
import {
  API,
  bearer,
  type FakeAuthority,
  generateKey,
  type Json,
  jwkOf,
  OTHER_TENANT,
  sign,
  startFakeAuthority,
  TENANT,
  userClaims,
} from "./fake-authority.ts";
import { CACHE, KEY_SET } from "./verifier-settings.ts";

const key = generateKey("key-1");
const EXTERNAL = `https://${TENANT}.ciamlogin.com/${TENANT}/v2.0`;
const OTHER_EXTERNAL = `https://${OTHER_TENANT}.ciamlogin.com/${OTHER_TENANT}/v2.0`;

let server: FakeAuthority;
let verifier: TokenVerifier;
let events: TokenVerifierEvent[];
let clock: number;
beforeEach(async () => {
  server = await startFakeAuthority([jwkOf(key)]);
  events = [];
  clock = Date.now();
});
afterEach(async () => {
  verifier.close();
  await server.close();
});

async function create(
  host: string,
  options: { tenants?: string[]; name?: "jose" | "passport-azure-ad" } = {},
): Promise<Authority> {
  const authority = resolveAuthority(host);
  verifier = await createTokenVerifier({
    verifier: options.name ?? "jose",
    authority,
    tenants: options.tenants ?? [TENANT],
    audiences: [API],
    allowedClients: [],
    clockToleranceSeconds: 60,
    fetch: server.fetch,
    now: () => clock,
    keySet: { ...KEY_SET, failureBackoffMs: 1, unknownKeySpacingMs: 0 },
    cache: CACHE,
    onEvent: (event) => events.push(event),
  });
  return authority;
}

let serial = 0;
async function outcomeOf(iss: string, claims: Json = {}): Promise<string> {
  serial += 1;
  const verification = await verifier.verify(
    bearer(sign(key, userClaims({ iss, uti: String(serial), ...claims }))),
  );
  return verification.outcome === "verified" ? "verified" : `${verification.error.reason}`;
}

const hosts = () => [...new Set(server.requests.map((request) => request.split("/")[0]))];

describe.each(["jose", "passport-azure-ad"] as const)("External ID, verified by %s", (name) => {
  test.each(["https://contoso.ciamlogin.com/", `https://${TENANT}.ciamlogin.com`])(
    "at %s issues under the tenant's id, and under no other name",
    async (host) => {
      await create(host, { name });
      await verifier.warmUp();
      expect(verifier.ready()).toBe(true);
      expect(hosts()).toEqual([new URL(host).host]);
      expect(await outcomeOf(EXTERNAL)).toBe("verified");
      expect(await outcomeOf(`https://contoso.ciamlogin.com/${TENANT}/v2.0`)).toBe("issuer");
      expect(await outcomeOf(`${EXTERNAL}/`)).toBe("issuer");
      expect(await outcomeOf(OTHER_EXTERNAL)).toBe("issuer");
      expect(await outcomeOf(OTHER_EXTERNAL, { tid: OTHER_TENANT })).toBe("tenant");
      expect(await outcomeOf(`https://login.microsoftonline.com/${TENANT}/v2.0`)).toBe("other_cloud");
    },
  );
});

describe("External ID", () => {
  test("may serve keys and endpoints from the host of the tenant's id", async () => {
    server.metadata = {
      jwks_uri: `https://${TENANT}.ciamlogin.com/${TENANT}/discovery/v2.0/keys`,
      token_endpoint: `https://${TENANT}.ciamlogin.com/${TENANT}/oauth2/v2.0/token`,
    };
    const authority = await create("https://contoso.ciamlogin.com/");
    expect(authority.tokenEndpoint(TENANT)).toBe(`https://contoso.ciamlogin.com/${TENANT}/oauth2/v2.0/token`);
    expect(await outcomeOf(EXTERNAL)).toBe("verified");
    expect(hosts()).toEqual(["contoso.ciamlogin.com", `${TENANT}.ciamlogin.com`]);
    expect(authority.tokenEndpoint(TENANT)).toBe(
      `https://${TENANT}.ciamlogin.com/${TENANT}/oauth2/v2.0/token`,
    );
    // What one tenant's document states holds for that tenant alone.
    expect(authority.tokenEndpoint(OTHER_TENANT)).toBe(
      `https://contoso.ciamlogin.com/${OTHER_TENANT}/oauth2/v2.0/token`,
    );
  });

  test.each([
    ["another tenant's host", `https://${OTHER_TENANT}.ciamlogin.com`],
    ["a host that begins alike", `https://${TENANT}.ciamlogin.com.evil.test`],
    ["a host above the tenant's", "https://ciamlogin.com"],
    ["plain http", `http://${TENANT}.ciamlogin.com`],
    ["another port", `https://${TENANT}.ciamlogin.com:8443`],
    ["a host with user information", `https://x@${TENANT}.ciamlogin.com`],
  ])("is not believed about keys and endpoints at %s", async (_, origin) => {
    server.metadata = {
      token_endpoint: `${origin}/${TENANT}/oauth2/v2.0/token`,
      authorization_endpoint: `${origin}/${TENANT}/oauth2/v2.0/authorize`,
    };
    const authority = await create("https://contoso.ciamlogin.com/");
    expect(await outcomeOf(EXTERNAL)).toBe("verified");
    expect(authority.tokenEndpoint(TENANT)).toContain("https://contoso.ciamlogin.com/");
    expect(authority.authorizeEndpoint(TENANT)).toContain("https://contoso.ciamlogin.com/");
    verifier.close();

    server.metadata = { jwks_uri: `${origin}/${TENANT}/keys` };
    await create("https://contoso.ciamlogin.com/");
    expect(await outcomeOf(EXTERNAL)).toBe("jwks_uri");
  });

  test("binds keys that state an issuer to the tenant's id", async () => {
    const template = "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0";
    server.keys = [jwkOf(key, { issuer: template })];
    await create("https://contoso.ciamlogin.com/");
    expect(await outcomeOf(EXTERNAL)).toBe("verified");
    verifier.close();
    server.keys = [jwkOf(key, { issuer: OTHER_EXTERNAL })];
    await create("https://contoso.ciamlogin.com/");
    expect(await outcomeOf(EXTERNAL)).toBe("issuer");
  });
});

describe("a custom domain", () => {
  const own = `https://login.contoso.com/${TENANT}/v2.0`;

  test("issues under External ID's name when its document states that, and then under no other", async () => {
    server.metadata = { issuer: EXTERNAL };
    await create("https://login.contoso.com/");
    // Also while the keys are not read yet.
    expect(await outcomeOf(own)).toBe("issuer");
    expect(await outcomeOf(EXTERNAL)).toBe("verified");
    expect(await outcomeOf(own)).toBe("issuer");
    expect(hosts()).toEqual(["login.contoso.com"]);
  });

  test("issues under its name when its document states that, and then under no other", async () => {
    await create("https://login.contoso.com/");
    expect(await outcomeOf(EXTERNAL)).toBe("issuer");
    expect(await outcomeOf(own)).toBe("verified");
  });

  test.each([
    ["another tenant", OTHER_EXTERNAL],
    ["Entra's public cloud", `https://login.microsoftonline.com/${TENANT}/v2.0`],
    ["a template, for a document of one tenant", "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0"],
  ])("whose document states the issuer of %s gives no keys", async (_, issuer) => {
    server.metadata = { issuer };
    await create("https://login.contoso.com/");
    expect(await outcomeOf(EXTERNAL)).toBe("issuer");
    expect(events).toContainEqual(
      expect.objectContaining({ error: expect.objectContaining({ diagnostics: { document: "metadata" } }) }),
    );
  });

  test("for any tenant binds the issuer to each token's tid", async () => {
    server.metadata = { issuer: "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0" };
    const authority = await create("https://login.contoso.com/", { tenants: ["*"] });
    expect(await outcomeOf(EXTERNAL)).toBe("verified");
    expect(await outcomeOf(OTHER_EXTERNAL, { tid: OTHER_TENANT })).toBe("verified");
    expect(await outcomeOf(OTHER_EXTERNAL)).toBe("issuer");
    expect(authority.isTrusted("https://common.ciamlogin.com/keys", "common")).toBe(false);
  });

  test("that states another issuer from now on drops the tokens that were verified before", async () => {
    await create("https://login.contoso.com/");
    const token = bearer(sign(key, userClaims({ iss: own })));
    expect((await verifier.verify(token)).outcome).toBe("verified");
    server.metadata = { issuer: EXTERNAL };
    await verifier.warmUp();
    const again = await verifier.verify(token);
    expect(again).toMatchObject({ outcome: "rejected", error: { reason: "issuer" } });
  });
});

test("a host of a listed cloud is not moved by what its document states", async () => {
  server.metadata = {
    token_endpoint: `https://${TENANT}.ciamlogin.com/${TENANT}/oauth2/v2.0/token`,
    authorization_endpoint: "https://login.microsoftonline.com/other",
  };
  const authority = await create("https://login.microsoftonline.com/");
  expect(await outcomeOf(`https://login.microsoftonline.com/${TENANT}/v2.0`)).toBe("verified");
  expect(authority.tokenEndpoint(TENANT)).toBe(
    `https://login.microsoftonline.com/${TENANT}/oauth2/v2.0/token`,
  );
  expect(authority.authorizeEndpoint(TENANT)).toBe(
    `https://login.microsoftonline.com/${TENANT}/oauth2/v2.0/authorize`,
  );
  expect(await outcomeOf(EXTERNAL)).toBe("issuer");
});
