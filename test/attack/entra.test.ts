/** Entra as a process: what scenarios ask of it takes effect there, and what it cannot do reaches them as an error. */

import { createPrivateKey, createPublicKey, randomUUID, verify, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Agent, fetch } from "undici";
import { decodeJws, signJws } from "../emulator/jws.ts";
import { type Participant, startParticipant } from "./children.ts";
import { askProcess, entraBehind, type Facts, passQuestions, whenReady } from "./entra.ts";

let participant: Participant;
let attacker: Participant;
let facts: Facts;
let dispatcher: Agent;
const entra = entraBehind((question) => askProcess(participant, question));

beforeAll(async () => {
  participant = startParticipant("./entra-main.ts", ["3"]);
  attacker = startParticipant("./attacker-main.ts", ["a7-two-accounts"], true);
  facts = await whenReady(participant, attacker);
  dispatcher = new Agent({ connect: { ca: readFileSync(setting("NODE_EXTRA_CA_CERTS"), "utf8") } });
});
afterAll(async () => {
  await dispatcher?.destroy();
  await Promise.all([participant?.end(), attacker?.end()]);
});

function setting(name: string): string {
  const value = facts.env[name];
  if (value === undefined) throw new Error(`the facts do not name ${name}`);
  return value;
}

const addressOf = (path: string) => `${setting("AZURE_AUTHORITY_HOST")}${setting("AZURE_TENANT_ID")}${path}`;
const claimsOf = (token: string | undefined) => decodeJws(token ?? "")?.payload ?? {};
const newUser = async () => (await entra.addUsers(1))[0] ?? "";
const tokenOf = async (user: string) => (await entra.mintTokens([{ user }]))[0] ?? "";

/** As the gateway exchanges it, with the certificate that it is given. */
async function exchange(assertion: string) {
  const pem = readFileSync(setting("AZURE_CLIENT_CERTIFICATE_PATH"), "utf8");
  const { fingerprint256 } = new X509Certificate(pem);
  const clientId = setting("AZURE_CLIENT_ID");
  const seconds = Math.floor(Date.now() / 1000);
  const clientAssertion = signJws(
    {
      alg: "PS256",
      typ: "JWT",
      "x5t#S256": Buffer.from(fingerprint256.replaceAll(":", ""), "hex").toString("base64url"),
    },
    {
      aud: addressOf("/oauth2/v2.0/token"),
      iss: clientId,
      sub: clientId,
      jti: randomUUID(),
      iat: seconds,
      nbf: seconds,
      exp: seconds + 600,
    },
    createPrivateKey(pem),
  );
  const began = performance.now();
  const response = await fetch(addressOf("/oauth2/v2.0/token"), {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      requested_token_use: "on_behalf_of",
      client_id: clientId,
      scope: "https://graph.microsoft.com/.default",
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: clientAssertion,
      assertion,
    }),
    dispatcher,
  });
  const body = (await response.json()) as { error_codes?: readonly number[] };
  return {
    status: response.status,
    code: body.error_codes?.[0],
    retryAfter: response.headers.get("retry-after"),
    ms: performance.now() - began,
  };
}

async function publishedKeys() {
  const response = await fetch(addressOf("/discovery/v2.0/keys"), { dispatcher });
  const { keys } = (await response.json()) as { keys: readonly { kid: string; n: string; e: string }[] };
  return keys;
}

describe("Entra's process", () => {
  test("exchanges the token of the second user and those of the newcomers, who are all different users", async () => {
    const tokens = [facts.token, ...facts.newcomers];
    expect(new Set(tokens.map((token) => claimsOf(token).oid)).size).toBe(4);
    for (const token of tokens) expect(await exchange(token)).toMatchObject({ status: 200 });
  });

  test("mints many tokens for one question, each as it is wanted, in order", async () => {
    const user = await newUser();
    const clientId = "00000000-0000-4000-8000-000000000001";
    const wanted = Array.from({ length: 30 }, (_, index) => ({ user, claims: { uti: `token-${index}` } }));
    const tokens = await entra.mintTokens([...wanted, { user, clientId, capabilities: ["cp1"] }, {}]);
    const claims = tokens.map(claimsOf);
    expect(claims.slice(0, 30).map(({ uti }) => uti)).toEqual(wanted.map(({ claims }) => claims.uti));
    expect(claims.slice(0, 31).every(({ oid }) => oid === user)).toBe(true);
    expect(claims[30]).toMatchObject({ azp: clientId, xms_cc: ["cp1"] });
    expect(claims[31]?.oid).not.toBe(user);
    expect(await exchange(tokens[29] ?? "")).toMatchObject({ status: 200 });
  });

  test("counts the requests for one user's tokens", async () => {
    const [user, other] = await entra.addUsers(2);
    await exchange(await tokenOf(user ?? ""));
    await exchange(await tokenOf(user ?? ""));
    expect(await entra.tokenRequests(user ?? "")).toBe(2);
    expect(await entra.tokenRequests(other ?? "")).toBe(0);
  });

  test("refuses the users that it was asked to refuse, and no others", async () => {
    const [one = "", other = "", third = ""] = await entra.addUsers(3);
    await entra.refuse({ users: [one, other], code: 50196, retryAfterSeconds: 300 });
    for (const user of [one, other]) {
      expect(await exchange(await tokenOf(user))).toMatchObject({
        status: 400,
        code: 50196,
        retryAfter: "300",
      });
    }
    expect(await exchange(await tokenOf(third))).toMatchObject({ status: 200 });
  });

  test("exchanges no token that is older than the revocation of its user's sessions", async () => {
    const user = await newUser();
    const token = await tokenOf(user);
    await entra.revokeSessions(user);
    expect(await exchange(token)).toMatchObject({ status: 400, code: 50173 });
    expect(await exchange(await tokenOf(user))).toMatchObject({ status: 200 });
  });

  test("signs with a key that no key set showed before the rollover and every one shows after it", async () => {
    const reads = await entra.keyReads();
    const before = await publishedKeys();
    await entra.rollKeys();
    const token = await tokenOf(await newUser());
    const kid = decodeJws(token)?.header.kid;
    expect(before.map((key) => key.kid)).not.toContain(kid);
    expect((await publishedKeys()).map((key) => key.kid)).toContain(kid);
    expect(await entra.keyReads()).toBe(reads + 2);
  });

  test("says why it cannot do what it was asked for", async () => {
    await expect(entra.mintTokens([{ user: "of-no-tenant" }])).rejects.toThrow(
      /^Entra was asked for mintTokens: .*of-no-tenant/,
    );
    // And goes on.
    expect(await entra.tokenRequests(await newUser())).toBe(0);
  });
});

describe("the attacker's process", () => {
  test("starts beside Entra's, and attacks with tokens that Entra's process signed, another one for each call", async () => {
    const tokens: string[] = [];
    const gateway = createServer((request, response) => {
      tokens.push(request.headers.authorization?.slice("Bearer ".length) ?? "");
      response.writeHead(429).end();
    }).listen(0, "127.0.0.1");
    try {
      await once(gateway, "listening");
      const { port } = gateway.address() as AddressInfo;
      attacker.tell({ order: { port, adminPort: port, ms: 700 } });
      expect(await attacker.heard("found")).toMatchObject({ connections: { opened: 2 } });
    } finally {
      await attacker.end();
      gateway.close();
    }
    // The first calls, and the next ones after every 200 ms: two of these at least on the slowest machine.
    expect(tokens.length).toBeGreaterThanOrEqual(6);
    expect(new Set(tokens).size).toBe(tokens.length);
    expect(new Set(tokens.map((token) => claimsOf(token).oid)).size).toBe(2);
    const keys = await publishedKeys();
    for (const token of tokens) {
      const decoded = decodeJws(token);
      const key = keys.find(({ kid }) => kid === decoded?.header.kid);
      if (decoded === undefined || key === undefined) throw new Error("a token is of no published key");
      const publicKey = createPublicKey({ key: { kty: "RSA", n: key.n, e: key.e }, format: "jwk" });
      expect(verify("sha256", Buffer.from(decoded.signingInput), publicKey, decoded.signature)).toBe(true);
    }
    expect(await exchange(tokens[0] ?? "")).toMatchObject({ status: 400, code: 50196 });
  });

  test("fails with its reason, whether its questions or its findings are waited for", async () => {
    const other = startParticipant("./attacker-main.ts", ["a0-unheard-of"], true);
    const reason = "no scenario is named a0-unheard-of";
    try {
      await passQuestions(other, participant);
      await expect(other.heard("ready")).rejects.toThrow(reason);
      await expect(other.heard("found")).rejects.toThrow(reason);
    } finally {
      await other.end();
    }
  });
});

describe("Entra's process, at its end", () => {
  test("answers as late as it was asked to", async () => {
    const token = await tokenOf(await newUser());
    await entra.delayTokens(300);
    // A timer may be a millisecond early.
    expect((await exchange(token)).ms).toBeGreaterThanOrEqual(299);
  });

  test("ends when the run lets go of it, removes its files, and questions that come later reject", async () => {
    expect(existsSync(setting("NODE_EXTRA_CA_CERTS"))).toBe(true);
    await participant.end();
    expect(existsSync(setting("NODE_EXTRA_CA_CERTS"))).toBe(false);
    await expect(entra.keyReads()).rejects.toThrow(
      "Entra was asked for keyReads: ./entra-main.ts ended with 0",
    );
  });
});
