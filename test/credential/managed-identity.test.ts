import { beforeEach, expect, test } from "@jest/globals";
import type { CredentialEvent, ManagedIdentityToken } from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import { generateRsa, NOON, serviceAccountToken } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const DAY_MS = 24 * 3_600_000;
const key = generateRsa();
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };

let clock: { now: number };
let events: CredentialEvent[];
let asked: string[];
let answer: ManagedIdentityToken;
beforeEach(() => {
  clock = { now: NOON };
  events = [];
  asked = [];
  answer = async () => ({ token: await serviceAccountToken(key, clock.now + DAY_MS, asked.length) });
});

const open = () =>
  openCredential({
    ...SETTINGS,
    federationAudience: "api://federation",
    managedIdentityToken: (audience) => {
      asked.push(audience);
      return answer(audience);
    },
    now: () => clock.now,
    onEvent: (event) => events.push(event),
  });

test("the platform's token for the federation's audience proves the gateway, and is kept", async () => {
  const credential = await open();
  const proof = await credential.authenticate(request);
  expect(proof).toMatchObject({ method: "client_assertion" });
  expect(credential.originOf?.(proof)).toEqual({ source: "managed-identity", generation: 1 });
  expect(await credential.authenticate(request)).toEqual(proof);
  expect(asked).toEqual(["api://federation"]);
});

test("the token serves on while a new one is sought, from ten minutes before its end", async () => {
  const credential = await open();
  const proof = async () => {
    const authentication = await credential.authenticate(request);
    return authentication.method === "client_assertion" && authentication.clientAssertion.reveal();
  };
  const first = await proof();
  clock.now += DAY_MS - 10 * 60_000;
  await proof();
  expect(asked).toHaveLength(1);
  clock.now += 1;
  expect(await proof()).toBe(first);
  while (events.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(asked).toHaveLength(2);
  expect(await proof()).not.toBe(first);
});

test("a platform that gives no token is a fault of the setting, which says what to check", async () => {
  answer = async () => ({ problem: "does not answer" });
  await expect(open()).rejects.toMatchObject({
    faults: [
      {
        path: "credential.managedIdentityClientId",
        problem: "the managed identity does not answer; is it assigned to this machine or app?",
      },
    ],
  });
});
