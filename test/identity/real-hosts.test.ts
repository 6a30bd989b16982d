import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { Agent, buildConnector, fetch as undiciFetch } from "undici";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import { resolveAuthority } from "../../src/identity/authority.ts";
import type { TokenVerifier } from "../../src/identity/contract.ts";
import { createTokenVerifier, type TokenVerifierOptions } from "../../src/identity/token-verifier.ts";
import { type Emulator, startEmulator } from "../emulator/emulator.ts";
import type { MintOptions } from "../emulator/handle.ts";
import { bearer } from "./fake-authority.ts";
import { CACHE, KEY_SET } from "./verifier-settings.ts";

let emulator: Emulator;
let agent: Agent;
let verifier: TokenVerifier;
beforeAll(async () => {
  emulator = await startEmulator();
  agent = openAgent();
});
afterEach(() => verifier.close());
afterAll(async () => {
  await agent.destroy();
  await emulator.close();
});

/** Every host leads to loopback and is still verified under its own name. */
function openAgent(): Agent {
  const connect = buildConnector({ ca: emulator.caCertificate });
  return new Agent({
    connect: (options, callback) =>
      connect(
        {
          ...options,
          hostname: "127.0.0.1",
          port: String(emulator.ports.authority),
          servername: options.hostname,
        },
        callback,
      ),
  });
}

const fetch: Fetch = (input, init) =>
  undiciFetch(input, { ...init, dispatcher: agent } as object) as unknown as Promise<Response>;

async function create(host: string, options: Partial<TokenVerifierOptions> = {}): Promise<void> {
  verifier = await createTokenVerifier({
    verifier: "passport-azure-ad",
    authority: resolveAuthority(host),
    tenants: [emulator.tenantId],
    audiences: [emulator.clientId, emulator.gateway.identifierUris[0] ?? ""],
    allowedClients: [],
    clockToleranceSeconds: 60,
    fetch,
    keySet: { ...KEY_SET, failureBackoffMs: 1, unknownKeyCooldownMs: 0, unknownKeySpacingMs: 0 },
    cache: CACHE,
    ...options,
  });
}

async function outcomeOf(options: MintOptions): Promise<string> {
  const verification = await verifier.verify(bearer(emulator.mintUserToken(options)));
  if (verification.outcome === "verified") return verification.caller.principal.tokenVersion;
  return `${verification.outcome}: ${verification.error.reason}`;
}

const HOSTS = [
  "https://login.microsoftonline.com/",
  "https://login.microsoftonline.us/",
  "https://login.partner.microsoftonline.cn/",
];

describe.each(["passport-azure-ad", "jose"] as const)("%s, over TLS under the true names", (name) => {
  test.each(HOSTS)("verifies both versions of tokens of %s, and no other cloud's", async (host) => {
    await create(host, { verifier: name });
    expect(await outcomeOf({ user: "ada", authorityHost: host })).toBe("2.0");
    expect(await outcomeOf({ user: "ada", authorityHost: host, version: "1.0" })).toBe("1.0");
    for (const other of HOSTS.filter((one) => one !== host))
      expect(await outcomeOf({ user: "ada", authorityHost: other })).toBe("rejected: other_cloud");
  });

  test("takes an alias of a host for the host", async () => {
    await create("login.windows.net", { verifier: name });
    expect(await outcomeOf({ user: "ada", authorityHost: HOSTS[0] ?? "" })).toBe("2.0");
  });

  test("finds its way in the mixed key set of all tenants", async () => {
    const authorityHost = HOSTS[0] ?? "";
    await create(authorityHost, { verifier: name, tenants: ["*"] });
    for (const tenant of [emulator.homeTenant, emulator.secondTenant, emulator.foreignTenant])
      for (const version of ["1.0", "2.0"] as const)
        expect(await outcomeOf({ tenantId: tenant.id, authorityHost, version })).toBe(version);
    expect(await outcomeOf({ authorityHost, signWith: "consumer-accounts" })).toBe("rejected: issuer");
    expect(await outcomeOf({ authorityHost, signWith: "other-cloud" })).toBe("rejected: unknown_key");
    expect(await outcomeOf({ authorityHost, signWith: "unpublished" })).toBe("rejected: unknown_key");
  });

  test("knows an application's own token, and a user's whose groups are elsewhere", async () => {
    await create(emulator.authorityHost, { verifier: name });
    const app = await verifier.verify(bearer(emulator.mintUserToken({ appOnly: true })));
    expect(app).toMatchObject({ outcome: "verified", caller: { principal: { kind: "app", scopes: [] } } });
    const claims = { groups: undefined, _claim_names: { groups: "src1" }, _claim_sources: { src1: {} } };
    const many = await verifier.verify(bearer(emulator.mintUserToken({ claims })));
    expect(many).toMatchObject({ caller: { principal: { kind: "user", groups: { kind: "overage" } } } });
  });

  test("follows a roll-over that nobody announced", async () => {
    await create(emulator.authorityHost, { verifier: name });
    expect(await outcomeOf({})).toBe("2.0");
    const { activeKid } = await emulator.rollKeys({ publish: false });
    expect(await outcomeOf({})).toBe("rejected: unknown_key");
    emulator.publishKey(activeKid);
    expect(await outcomeOf({})).toBe("2.0");
  });

  test("trusts no server under a certificate of another authority", async () => {
    await create(emulator.authorityHost, { verifier: name });
    // Connections that are open already would not notice.
    await agent.close();
    agent = openAgent();
    const fault = emulator.faults.wrongCertificate("authority");
    expect(await outcomeOf({})).toBe("unavailable: network");
    expect(verifier.ready()).toBe(false);
    fault.end();
    expect(await outcomeOf({})).toBe("2.0");
  });
});
