import { beforeEach, describe, expect, test } from "@jest/globals";
import { openClientAssertionCallback } from "../../src/credential/client-assertion-callback.ts";
import type { ClientAssertionCallback } from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { generateRsa, NOON, serviceAccountToken } from "./keys.ts";

const key = generateRsa();
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };
const token = await serviceAccountToken(key, NOON + 60_000);

let clock: { now: number };
beforeEach(() => {
  clock = { now: NOON };
});

const open = (callback: ClientAssertionCallback, timeoutMs?: number) =>
  openClientAssertionCallback(
    { callback, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
    { now: () => clock.now, emit: () => {} },
  );

test("the callback is told what each proof is for, and its assertion is used unchanged", async () => {
  const asked: unknown[] = [];
  const credential = await open(async ({ clientId, tokenEndpoint }) => {
    asked.push({ clientId, tokenEndpoint });
    return token;
  });
  const { authentication } = await credential.prove(request);
  expect(authentication.method === "client_assertion" && authentication.clientAssertion.reveal()).toBe(token);
  await credential.prove({ ...request, clientId: "other" });
  expect(asked).toEqual([request, { ...request, clientId: "other" }]);
});

describe("a callback that gives nothing usable makes the credential unavailable", () => {
  test.each([
    ["when it rejects", () => Promise.reject(new Error("vault is sealed")), "the callback failed"],
    [
      "when it throws",
      () => {
        throw new Error("vault is sealed");
      },
      "the callback failed",
    ],
    ["when it gives no JWT", async () => "hello", "does not hold a JWT"],
    ["when it gives something else", async () => undefined as unknown as string, "the callback failed"],
    ["when its assertion is over", () => serviceAccountToken(key, NOON), "has ended already"],
    ["when it never ends", () => new Promise<string>(() => {}), "nothing within 20 ms"],
  ])("%s", async (_, callback, problem) => {
    // A signature can take 20 ms on a busy machine, so only the endless one is given so little.
    const credential = await open(callback, problem.includes("20 ms") ? 20 : undefined);
    await expect(credential.prove(request)).rejects.toMatchObject({
      code: "credential_unavailable",
      diagnostics: { problem: expect.stringContaining(problem) },
    });
    clock.now += 1_000;
    await expect(credential.prove(request)).rejects.toThrow();
    expect(credential.status()).toMatchObject({ state: "unusable", fault: { since: NOON } });
  });
});

test("a callback that works again is found by a look, so an idle gateway recovers", async () => {
  let works = false;
  const credential = await open(async () => (works ? token : ""));
  await expect(credential.prove(request)).rejects.toThrow();
  works = true;
  await credential.look(false);
  expect(credential.status()).toEqual({ source: "client-assertion", state: "usable", generation: 1 });
});

test("an embedding program's callback comes before a secret, which serves when the callback fails", async () => {
  const clientSecret = new Secret("development");
  const credential = await openCredential({
    sendCertificateChain: false,
    clientAssertion: () => Promise.reject(new Error("vault is sealed")),
    clientSecret,
  });
  expect(credential.source).toBe("client-assertion");
  expect(await credential.authenticate(request)).toEqual({ method: "client_secret", clientSecret });
});
