import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { CredentialEvent } from "../../src/credential/contract.ts";
import type { SourceCredential } from "../../src/credential/source.ts";
import { openWorkloadIdentity } from "../../src/credential/workload-identity.ts";
import { createDirectory, createProjectedVolume, type Directory } from "./files.ts";
import { generateRsa, NOON, serviceAccountToken } from "./keys.ts";

const HOUR_MS = 3_600_000;
const key = generateRsa();
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };

let directory: Directory;
let clock: { now: number };
let events: CredentialEvent[];

beforeEach(() => {
  directory = createDirectory();
  clock = { now: NOON };
  events = [];
});
afterEach(() => directory.remove());

const tokenUntil = (expiresAt: number, id?: string | number) => serviceAccountToken(key, expiresAt, id);
const open = (path: string, audience = "api://AzureADTokenExchange") =>
  openWorkloadIdentity({ path, audience }, { now: () => clock.now, emit: (event) => events.push(event) });

async function assertionOf(credential: SourceCredential): Promise<string> {
  const { authentication } = await credential.prove(request);
  if (authentication.method !== "client_assertion") throw new Error("not an assertion");
  return authentication.clientAssertion.reveal();
}

describe("at the start", () => {
  test("the token of the file is the client assertion, without the line end", async () => {
    const token = await tokenUntil(NOON + HOUR_MS);
    const credential = await open(directory.write("token", `${token}\n`));
    expect(await assertionOf(credential)).toBe(token);
    expect(credential.status()).toEqual({
      source: "workload-identity",
      state: "usable",
      generation: 1,
      expiresAt: NOON + HOUR_MS,
    });
  });

  test.each([
    ["a missing file", () => join(directory.path, "nowhere"), "does not exist"],
    ["an empty file", () => directory.write("token", ""), "is empty"],
    ["a file of blanks", () => directory.write("token", " \n"), "is empty"],
    ["a directory", () => directory.path, "not a regular file"],
    ["a file that is far too large", () => directory.write("token", "x".repeat(70_000)), "larger than"],
    ["something that is no JWT", () => directory.write("token", "hello"), "does not hold a JWT"],
    ["a JWT with an unreadable header", () => directory.write("token", "YQ.YQ.YQ"), "header cannot be read"],
    [
      "a JWT without exp",
      () => directory.write("token", `${segment({ alg: "RS256" })}.${segment({})}.YQ`),
      "exp",
    ],
  ])("%s is a fault that names AZURE_FEDERATED_TOKEN_FILE", async (_, file, problem) => {
    await expect(open(file())).rejects.toMatchObject({
      name: "ConfigurationError",
      faults: [{ path: "AZURE_FEDERATED_TOKEN_FILE", problem: expect.stringContaining(problem) }],
    });
  });

  test("a token that is over is a fault that says since when", async () => {
    const file = directory.write("token", await tokenUntil(NOON - 60_000));
    await expect(open(file)).rejects.toThrow("ended at 2026-11-21T11:59:00.000Z");
  });

  test("a device is refused without being read, since it might never end", async () => {
    await expect(open("/dev/zero")).rejects.toThrow("/dev/zero is not a regular file");
  });
});

describe("a token that Entra is likely to refuse serves, with a warning that says what to check", () => {
  test("when its audience is not this cloud's", async () => {
    const file = directory.write("token", await tokenUntil(NOON + HOUR_MS));
    await assertionOf(await open(file, "api://AzureADTokenExchangeUSGov"));
    expect(events).toEqual([
      {
        type: "audience_unexpected",
        source: "workload-identity",
        generation: 1,
        message:
          `AZURE_FEDERATED_TOKEN_FILE: the aud of the token in ${file} is not api://AzureADTokenExchangeUSGov; ` +
          "set that audience on the projected token, unless the federated credential names another one",
      },
    ]);
  });

  test.each([
    ["by minutes", 5 * 60_000, ["clock_doubtful"]],
    ["by less than the seconds that clocks differ", 59_000, []],
  ])("when this machine's clock is behind the issuer's %s", async (_, behindMs, expected) => {
    const file = directory.write("token", await tokenUntil(NOON + HOUR_MS));
    clock.now = NOON - behindMs;
    await assertionOf(await open(file));
    expect(events.map(({ type }) => type)).toEqual(expected);
    for (const { message } of events)
      expect(message).toContain("2026-11-21T12:00:00.000Z; is the clock right?");
  });
});

function segment(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

describe("when the kubelet rotates the token", () => {
  test("the next proof carries the new one, through the ..data link", async () => {
    const [first, second] = await Promise.all([
      tokenUntil(NOON + HOUR_MS, 1),
      tokenUntil(NOON + 2 * HOUR_MS, 2),
    ]);
    const volume = createProjectedVolume(directory, "token", first);
    const credential = await open(volume.file);
    expect(await assertionOf(credential)).toBe(first);
    volume.publish(second);
    expect(await assertionOf(credential)).toBe(second);
    expect(events).toMatchObject([{ type: "reloaded", generation: 2, expiresAt: NOON + 2 * HOUR_MS }]);
  });

  test("no proof under interleaved calls is older than the token published before it was asked for", async () => {
    const tokens = await Promise.all(Array.from({ length: 12 }, (_, id) => tokenUntil(NOON + HOUR_MS, id)));
    const volume = createProjectedVolume(directory, "token", tokens[0] ?? "");
    const credential = await open(volume.file);
    const proofs: Promise<{ readonly published: number; readonly served: number }>[] = [];
    for (const [published, token] of tokens.entries()) {
      if (published > 0) volume.publish(token);
      for (let call = 0; call < 10; call += 1) {
        proofs.push(assertionOf(credential).then((got) => ({ published, served: tokens.indexOf(got) })));
        // Lets looks begin and end between the calls, at a different point in each round.
        for (let turn = 0; turn < (published * 10 + call) % 4; turn += 1) await new Promise(setImmediate);
      }
    }
    for (const { published, served } of await Promise.all(proofs))
      expect(served).toBeGreaterThanOrEqual(published);
    expect(credential.status().generation).toBeGreaterThan(1);
  });

  test("a file that was only touched is no new generation", async () => {
    const token = await tokenUntil(NOON + HOUR_MS);
    const credential = await open(directory.write("token", token));
    directory.write("token", token);
    await assertionOf(credential);
    await credential.look(true);
    expect(credential.status().generation).toBe(1);
    expect(events).toEqual([]);
  });

  test("a file that is rewritten in place is noticed as well", async () => {
    const [first, second] = await Promise.all([tokenUntil(NOON + HOUR_MS, 1), tokenUntil(NOON + HOUR_MS, 2)]);
    const credential = await open(directory.write("token", first));
    writeFileSync(join(directory.path, "token"), second);
    expect(await assertionOf(credential)).toBe(second);
  });
});

describe("while the file is of no use", () => {
  test.each([
    ["missing", () => rmSync(join(directory.path, "token")), "does not exist"],
    ["empty", () => directory.write("token", ""), "is empty"],
    [
      "cut inside the payload",
      (next: string) => directory.write("token", next.slice(0, 90)),
      "does not hold a JWT",
    ],
    [
      "cut inside the signature",
      (next: string) => directory.write("token", next.slice(0, -40)),
      "is cut short",
    ],
  ])(
    "%s, the last token serves until it ends, and the new one from its return on",
    async (_, spoil, problem) => {
      const [first, second] = await Promise.all([
        tokenUntil(NOON + HOUR_MS, 1),
        tokenUntil(NOON + 3 * HOUR_MS, 2),
      ]);
      const credential = await open(directory.write("token", first));
      spoil(second);
      expect(await assertionOf(credential)).toBe(first);
      expect(await assertionOf(credential)).toBe(first);
      expect(events).toMatchObject([{ type: "reload_failed", generation: 1 }]);
      expect(events[0]?.message).toContain(problem);
      expect(credential.status()).toMatchObject({ state: "usable", fault: { since: NOON } });

      clock.now = NOON + HOUR_MS - 10_000;
      await expect(assertionOf(credential)).rejects.toMatchObject({
        code: "credential_unavailable",
        reason: "unreadable",
        diagnostics: { problem: expect.stringContaining(join(directory.path, "token")) },
      });
      expect(credential.status().state).toBe("unusable");

      directory.write("token", second);
      expect(await assertionOf(credential)).toBe(second);
      expect(credential.status()).toMatchObject({ state: "usable", generation: 2 });
      expect(credential.status().fault).toBeUndefined();
    },
  );

  test("a token that nobody renews is not used in its last ten seconds", async () => {
    const credential = await open(directory.write("token", await tokenUntil(NOON + HOUR_MS)));
    clock.now = NOON + HOUR_MS - 10_001;
    await assertionOf(credential);
    clock.now += 1;
    await expect(assertionOf(credential)).rejects.toMatchObject({ reason: "expired" });
  });

  test("an idle credential is not called unusable before anybody has looked again", async () => {
    const [first, second] = await Promise.all([
      tokenUntil(NOON + HOUR_MS, 1),
      tokenUntil(NOON + 9 * HOUR_MS, 2),
    ]);
    const credential = await open(directory.write("token", first));
    clock.now = NOON + 8 * HOUR_MS;
    directory.write("token", second);
    expect(credential.status().state).toBe("usable");
    expect(await assertionOf(credential)).toBe(second);
  });
});
