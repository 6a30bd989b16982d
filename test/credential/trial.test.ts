import { createPublicKey } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { jwtVerify, SignJWT } from "jose";
import type {
  ClientAuthentication,
  CredentialEvent,
  CredentialOptions,
  TrialVerdict,
} from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import { createDirectory, type Directory } from "./files.ts";
import { DAY_MS, generateRsa, keyAndCertificate, NOON, serviceAccountToken } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const HOUR_MS = 3_600_000;
const keys = [generateRsa(), generateRsa(), generateRsa()] as const;
const request = { clientId: "client", tokenEndpoint: "https://login.example/foreign/token" };
const home = { clientId: "client", tokenEndpoint: "https://login.example/home/token" };

let directory: Directory;
let clock: { now: number };
let events: CredentialEvent[];
/** Trials under way, each to be answered by the test. */
let trials: { readonly proof: ClientAuthentication; answer(verdict: TrialVerdict): Promise<void> }[];

beforeEach(() => {
  directory = createDirectory();
  clock = { now: NOON };
  events = [];
  trials = [];
});
afterEach(() => directory.remove());

const open = (options: Partial<CredentialOptions>) =>
  openCredential({
    ...SETTINGS,
    now: () => clock.now,
    onEvent: (event) => events.push(event),
    canary: {
      request: home,
      proveWith: (proof) =>
        new Promise((resolve) => {
          trials.push({
            proof,
            async answer(verdict) {
              resolve(verdict);
              await new Promise(setImmediate);
            },
          });
        }),
    },
    ...options,
  });

/** A trial begins behind the caller's back, so it may come a moment after the call that set it off. */
async function answerTrial(index: number, verdict: TrialVerdict): Promise<void> {
  while (trials[index] === undefined) await new Promise(setImmediate);
  await trials[index]?.answer(verdict);
}

async function signerOf(proof: ClientAuthentication): Promise<number> {
  if (proof.method !== "client_assertion") throw new Error("not an assertion");
  for (const [index, key] of keys.entries()) {
    const options = { algorithms: ["PS256"], currentDate: new Date(clock.now) };
    const verified = await jwtVerify(proof.clientAssertion.reveal(), createPublicKey(key), options).catch(
      () => undefined,
    );
    if (verified !== undefined) return index;
  }
  throw new Error("signed by none of the keys");
}

const put = (index: 0 | 1 | 2, notAfter = NOON + 90 * DAY_MS) =>
  directory.write("gateway.pem", keyAndCertificate(keys[index], { notAfter }));

/** A gateway with the first certificate, whose file was just replaced by the second one. */
async function replaced(notAfter?: number) {
  const credential = await open({ certificatePath: put(0, notAfter) });
  const signer = async () => signerOf(await credential.authenticate(request));
  put(1);
  clock.now += 5_000;
  expect(await signer()).toBe(0);
  return { credential, signer, status: () => credential.status().sources[0] };
}

describe("a certificate that replaces another one", () => {
  test("is proven by one request of its own before any user's request depends on it", async () => {
    const { signer, status } = await replaced();
    expect(trials).toHaveLength(1);
    const proof = trials[0]?.proof as ClientAuthentication;
    expect(await signerOf(proof)).toBe(1);
    if (proof.method !== "client_assertion") throw new Error("not an assertion");
    const { payload } = await jwtVerify(proof.clientAssertion.reveal(), createPublicKey(keys[1]), {
      currentDate: new Date(clock.now),
    });
    expect(payload.aud).toBe(home.tokenEndpoint);
    expect(await Promise.all([signer(), signer()])).toEqual([0, 0]);
    expect(trials).toHaveLength(1);
    expect(status()).toMatchObject({ generation: 1, candidate: { generation: 2, state: "on trial" } });
    await answerTrial(0, { verdict: "accepted" });
    expect(await signer()).toBe(1);
    expect(status()).toMatchObject({ state: "usable", generation: 2 });
    expect(status()).not.toHaveProperty("candidate");
    expect(events.map(({ type, generation }) => `${type} ${generation}`)).toEqual(["reloaded 2"]);
  });

  test("stays out while Entra refuses it, is tried again each minute, and told once", async () => {
    const { signer, status } = await replaced();
    const refusal = { verdict: "refused", problem: "client_rejected: unregistered (AADSTS700027)" } as const;
    await answerTrial(0, refusal);
    expect(await signer()).toBe(0);
    expect(status()).toMatchObject({
      state: "usable",
      generation: 1,
      candidate: { generation: 2, state: "refused" },
      fault: { since: clock.now, problem: expect.stringContaining("AADSTS700027") },
    });
    clock.now += 59_999;
    await signer();
    expect(trials).toHaveLength(1);
    clock.now += 1;
    await signer();
    expect(trials).toHaveLength(2);
    await answerTrial(1, refusal);
    expect(events.map(({ type }) => type)).toEqual(["trial_failed"]);
    clock.now += 60_000;
    await signer();
    await answerTrial(2, { verdict: "accepted" });
    expect(await signer()).toBe(1);
    expect(status()?.fault).toBeUndefined();
  });

  test("is tried again soon when an outage kept the trial from deciding anything", async () => {
    const { signer, status } = await replaced();
    await answerTrial(0, { verdict: "undecided", problem: "authority_timeout" });
    expect(status()?.candidate?.state).toBe("undecided");
    clock.now += 15_000;
    expect(await signer()).toBe(0);
    await answerTrial(1, { verdict: "accepted" });
    expect(await signer()).toBe(1);
  });

  test("takes over untried when Entra refuses the one before it", async () => {
    const { credential, signer } = await replaced();
    expect(await credential.refused(await credential.authenticate(request))).toBe(true);
    expect(await signer()).toBe(1);
    // The trial's late answer is about nothing that matters any more.
    await answerTrial(0, { verdict: "refused", problem: "late" });
    expect(await signer()).toBe(1);
    expect(events.map(({ type }) => type)).toEqual(["reloaded"]);
  });

  test("takes over untried when the one before it ends", async () => {
    const { signer } = await replaced(NOON + HOUR_MS);
    clock.now = NOON + HOUR_MS;
    expect(await signer()).toBe(1);
  });

  test("gives way to one that is newer still", async () => {
    const { signer } = await replaced();
    put(2);
    clock.now += 5_000;
    expect(await signer()).toBe(0);
    await answerTrial(0, { verdict: "accepted" });
    expect(await signer()).toBe(0);
    await answerTrial(1, { verdict: "accepted" });
    expect(await signer()).toBe(2);
  });
});

describe("a federated token that replaces another one", () => {
  const tokenOf = (subject: string, id: string) =>
    new SignJWT({ jti: id })
      .setProtectedHeader({ alg: "RS256" })
      .setIssuer("https://oidc.example/cluster/")
      .setSubject(subject)
      .setAudience("api://AzureADTokenExchange")
      .setExpirationTime((NOON + HOUR_MS) / 1000)
      .sign(keys[0]);

  test("serves at once when it is a renewal", async () => {
    const file = directory.write("token", await serviceAccountToken(keys[0], NOON + HOUR_MS, 1));
    const credential = await open({ federatedTokenFile: file });
    const renewed = await serviceAccountToken(keys[0], NOON + 2 * HOUR_MS, 2);
    directory.write("token", renewed);
    const proof = await credential.authenticate(request);
    expect(proof.method === "client_assertion" && proof.clientAssertion.reveal()).toBe(renewed);
    expect(trials).toHaveLength(0);
  });

  test("is proven first when it speaks for another subject", async () => {
    const credential = await open({
      federatedTokenFile: directory.write("token", await tokenOf("one", "1")),
    });
    const other = await tokenOf("two", "2");
    directory.write("token", other);
    const assertion = async () => {
      const proof = await credential.authenticate(request);
      return proof.method === "client_assertion" && proof.clientAssertion.reveal();
    };
    expect(await assertion()).not.toBe(other);
    expect(trials).toHaveLength(1);
    await answerTrial(0, { verdict: "accepted" });
    expect(await assertion()).toBe(other);
  });
});
