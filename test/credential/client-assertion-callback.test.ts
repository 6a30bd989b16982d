import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import { openClientAssertionCallback } from "../../src/credential/client-assertion-callback.ts";
import type { ClientAssertionCallback } from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { generateRsa, NOON, serviceAccountToken } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const key = generateRsa();
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };
const token = await serviceAccountToken(key, NOON + 60_000);

let clock: { now: number };
beforeEach(() => {
  clock = { now: NOON };
});

const open = (callback: ClientAssertionCallback, timeoutMs = 10_000) =>
  openClientAssertionCallback({ callback, timeoutMs }, { now: () => clock.now, emit: () => {} });

test("the callback is told what each proof is for, and its assertion is used unchanged", async () => {
  const asked: unknown[] = [];
  const timeout = jest.spyOn(AbortSignal, "timeout");
  const credential = await open(async ({ clientId, tokenEndpoint }) => {
    asked.push({ clientId, tokenEndpoint });
    return token;
  });
  const { authentication, generation } = await credential.prove(request);
  expect(generation).toBe(credential.status().generation);
  expect(timeout.mock.calls).toEqual([[10_000]]);
  timeout.mockRestore();
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
  ])("%s", async (when, callback, problem) => {
    // A signature can take 20 ms on a busy machine, so only the endless one is given so little.
    const credential = await open(callback, problem.includes("20 ms") ? 20 : undefined);
    const failure: unknown = await credential.prove(request).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: "credential_unavailable",
      diagnostics: { problem: expect.stringContaining(problem) },
    });
    const hasCause = ["when it rejects", "when it throws"].includes(when);
    if (hasCause) expect((failure as Error).cause).toMatchObject({ message: "vault is sealed" });
    clock.now += 1_000;
    await expect(credential.prove(request)).rejects.toThrow();
    expect(credential.status()).toMatchObject({ state: "unusable", fault: { since: NOON } });
  });
});

test("a callback that works again is found by a look, so an idle gateway recovers", async () => {
  let works = false;
  const asked: unknown[] = [];
  const credential = await open(async ({ clientId }) => {
    asked.push(clientId);
    return works ? token : "";
  });
  // Nothing has failed yet, so nothing is to be found out.
  await credential.look(true);
  expect(asked).toEqual([]);
  await expect(credential.prove(request)).rejects.toThrow();
  works = true;
  await credential.look(false);
  expect(asked).toEqual(["client", "client"]);
  expect(credential.status()).toStrictEqual({ source: "client-assertion", state: "usable", generation: 1 });
});

test("an embedding program's callback comes before a secret, which serves when the callback fails", async () => {
  const clientSecret = new Secret("development");
  const current = await serviceAccountToken(key, Date.now() + 3_600_000);
  const working = await openCredential({
    ...SETTINGS,
    clientAssertion: async () => current,
    clientSecret,
  });
  expect(await working.authenticate(request)).toMatchObject({ method: "client_assertion" });
  const credential = await openCredential({
    ...SETTINGS,
    clientAssertion: () => Promise.reject(new Error("vault is sealed")),
    clientSecret,
  });
  expect(credential.source).toBe("client-assertion");
  expect(await credential.authenticate(request)).toEqual({ method: "client_secret", clientSecret });
});
