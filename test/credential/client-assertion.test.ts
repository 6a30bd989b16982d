import { createHash, createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { createAssertionSigner } from "../../src/credential/client-assertion.ts";
import { generateRsa, issue, NOON } from "./keys.ts";

const key = generateRsa();
const rootKey = generateRsa();
const root = issue({ key: rootKey, name: "root", authority: true });
const leaf = issue({ key, issuer: { name: "root", key: rootKey } });
const chain = [new X509Certificate(leaf.der), new X509Certificate(root.der)] as const;
const request = { clientId: "client", tokenEndpoint: "https://login.example/tenant/oauth2/v2.0/token" };

function signerAt(clock: { now: number }, sendChain = false) {
  const sign = createAssertionSigner({
    privateKey: key,
    chain: [chain[0], chain[1]],
    sendChain,
    now: () => clock.now,
  });
  return async (asked = request) => (await sign(asked)).reveal();
}

describe("a client assertion", () => {
  test("verifies as PS256 with the claims and the thumbprint that Entra asks for", async () => {
    const clock = { now: NOON + 999 };
    const assertion = await signerAt(clock)();
    const { payload, protectedHeader } = await jwtVerify(assertion, createPublicKey(key), {
      algorithms: ["PS256"],
      currentDate: new Date(clock.now),
    });
    expect(protectedHeader).toEqual({
      alg: "PS256",
      typ: "JWT",
      "x5t#S256": createHash("sha256").update(leaf.der).digest("base64url"),
    });
    expect(payload).toEqual({
      aud: request.tokenEndpoint,
      iss: "client",
      sub: "client",
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
      iat: NOON / 1000,
      nbf: NOON / 1000,
      exp: NOON / 1000 + 600,
    });
  });

  test("carries the chain as standard base64 DER, leaf first, when asked to", async () => {
    const header = decodeProtectedHeader(await signerAt({ now: NOON }, true)());
    expect(header.x5c).toEqual([leaf.der.toString("base64"), root.der.toString("base64")]);
  });

  test("is reused while it has more than a minute left, and signed anew from then on", async () => {
    const clock = { now: NOON };
    const assertion = signerAt(clock);
    const first = await assertion();
    clock.now = NOON + 540_000 - 1;
    expect(await assertion()).toBe(first);
    clock.now = NOON + 540_000;
    const second = await assertion();
    expect(decodeJwt(second).exp).toBe(clock.now / 1000 + 600);
    expect(decodeJwt(second).jti).not.toBe(decodeJwt(first).jti);
  });

  test("is signed anew when the clock was set back before its beginning", async () => {
    const clock = { now: NOON };
    const assertion = signerAt(clock);
    await assertion();
    clock.now = NOON - 3_600_000;
    expect(decodeJwt(await assertion()).nbf).toBe(clock.now / 1000);
  });

  test("is signed once for everyone who asks at the same time", async () => {
    const assertion = signerAt({ now: NOON });
    const all = await Promise.all(Array.from({ length: 20 }, () => assertion()));
    expect(new Set(all).size).toBe(1);
  });

  test("is never shared between token endpoints or clients", async () => {
    const assertion = signerAt({ now: NOON });
    const other = { ...request, tokenEndpoint: "https://login.example/other/oauth2/v2.0/token" };
    const [one, two, three] = await Promise.all([
      assertion(),
      assertion(other),
      assertion({ ...request, clientId: "other" }),
    ]);
    expect(decodeJwt(one ?? "").aud).toBe(request.tokenEndpoint);
    expect(decodeJwt(two ?? "").aud).toBe(other.tokenEndpoint);
    expect(decodeJwt(three ?? "").iss).toBe("other");
  });

  test("that could not be signed is not kept: the next request tries anew", async () => {
    const { privateKey } = generateKeyPairSync("ed25519");
    const sign = createAssertionSigner({ privateKey, chain: [...chain], sendChain: false, now: () => NOON });
    const failure = () => sign(request).catch((error: unknown) => error);
    const first = await failure();
    expect(String(first)).toMatch(/error/i);
    expect(await failure()).not.toBe(first);
  });

  test("of the tenant that was asked for longest ago is the one forgotten when there are too many", async () => {
    const assertion = signerAt({ now: NOON });
    const forTenant = (index: number) =>
      assertion({ ...request, tokenEndpoint: `https://login.example/${index}` });
    const first = await forTenant(0);
    const second = await forTenant(1);
    for (let index = 2; index < 256; index += 1) await forTenant(index);
    expect(await forTenant(0)).toBe(first);
    await forTenant(256);
    expect(await forTenant(0)).toBe(first);
    expect(await forTenant(1)).not.toBe(second);
  });
});
