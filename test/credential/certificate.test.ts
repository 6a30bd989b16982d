import { createPublicKey } from "node:crypto";
import { chmodSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { jwtVerify } from "jose";
import { openCertificate } from "../../src/credential/certificate.ts";
import type { CredentialEvent } from "../../src/credential/contract.ts";
import type { SourceCredential } from "../../src/credential/source.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { createDirectory, createProjectedVolume, type Directory } from "./files.ts";
import { DAY_MS, generateRsa, issue, keyAndCertificate, NOON, pkcs8 } from "./keys.ts";

const key = generateRsa();
const nextKey = generateRsa();
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

const open = (path: string, password?: string) =>
  openCertificate(
    { from: { path }, password: password === undefined ? undefined : new Secret(password), sendChain: false },
    { now: () => clock.now, emit: (event) => events.push(event) },
  );

async function signedBy(credential: SourceCredential): Promise<"first key" | "next key"> {
  const { authentication } = await credential.prove(request);
  if (authentication.method !== "client_assertion") throw new Error("not an assertion");
  const assertion = authentication.clientAssertion.reveal();
  const options = { algorithms: ["PS256"], currentDate: new Date(clock.now) };
  const byFirst = await jwtVerify(assertion, createPublicKey(key), options).catch(() => undefined);
  if (byFirst !== undefined) return "first key";
  await jwtVerify(assertion, createPublicKey(nextKey), options);
  return "next key";
}

describe("at the start", () => {
  test("a file with key and certificate signs", async () => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    expect(await signedBy(credential)).toBe("first key");
    expect(credential.status()).toEqual({
      source: "certificate",
      state: "usable",
      generation: 1,
      expiresAt: NOON + 365 * DAY_MS,
    });
    expect(events).toEqual([]);
  });

  test.each([
    ["an expired certificate", { notAfter: NOON }, "ended at 2026-11-21T12:00:00.000Z"],
    [
      "a certificate that is not valid yet",
      { notBefore: NOON + 1000 },
      "not valid before 2026-11-21T12:00:01",
    ],
  ])("%s is a fault that says when", async (_, dates, problem) => {
    const file = directory.write("gateway.pem", keyAndCertificate(key, dates));
    await expect(open(file)).rejects.toMatchObject({
      faults: [{ path: "AZURE_CLIENT_CERTIFICATE_PATH", problem: expect.stringContaining(problem) }],
    });
  });

  test("a file has at most a megabyte", async () => {
    const text = keyAndCertificate(key);
    const filled = (length: number) => text + "\n".repeat(length - text.length);
    await open(directory.write("gateway.pem", filled(1024 * 1024)));
    const file = directory.write("gateway.pem", filled(1024 * 1024 + 1));
    await expect(open(file)).rejects.toMatchObject({
      faults: [{ problem: expect.stringContaining("is larger than 1048576 bytes") }],
    });
  });

  test("the file and the setting at fault are named", async () => {
    const encrypted = key
      .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "right" })
      .toString();
    const file = directory.write("gateway.pem", encrypted + issue({ key }).pem);
    await expect(open(file)).rejects.toMatchObject({
      faults: [
        {
          path: "AZURE_CLIENT_CERTIFICATE_PASSWORD",
          problem: `${file} holds an encrypted private key, and no password is set`,
        },
      ],
    });
    await expect(open(join(directory.path, "nowhere.pem"))).rejects.toMatchObject({
      faults: [
        {
          path: "AZURE_CLIENT_CERTIFICATE_PATH",
          problem: expect.stringContaining("nowhere.pem does not exist"),
        },
      ],
    });
    expect(await signedBy(await open(file, "right"))).toBe("first key");
  });
});

describe("when the file is replaced", () => {
  test("the new certificate signs once the file is looked at again", async () => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    await signedBy(credential);
    directory.write("gateway.pem", keyAndCertificate(nextKey));
    clock.now += 4_999;
    expect(await signedBy(credential)).toBe("first key");
    clock.now += 1;
    expect(await signedBy(credential)).toBe("next key");
    expect(events).toMatchObject([{ type: "reloaded", generation: 2 }]);
  });

  test("is told of with what it is and where it comes from", async () => {
    const file = directory.write("gateway.pem", keyAndCertificate(key));
    const credential = await open(file);
    directory.write("gateway.pem", keyAndCertificate(nextKey));
    clock.now += 5_000;
    await credential.prove(request);
    expect(events).toEqual([
      {
        type: "reloaded",
        source: "certificate",
        generation: 2,
        message: `${file} gave a new certificate credential, which serves now`,
        expiresAt: NOON + 365 * DAY_MS,
      },
    ]);
  });

  test("is looked for every five seconds and no sooner", async () => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    directory.write("gateway.pem", keyAndCertificate(nextKey));
    clock.now += 4_999;
    expect(await signedBy(credential)).toBe("first key");
    clock.now += 1;
    expect(await signedBy(credential)).toBe("next key");
  });

  test("a clock that was set back does not postpone the next look", async () => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    directory.write("gateway.pem", keyAndCertificate(nextKey));
    clock.now -= 3_600_000;
    expect(await signedBy(credential)).toBe("next key");
  });

  test("a look that is forced does not wait until it is due", async () => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    directory.write("gateway.pem", keyAndCertificate(nextKey));
    await credential.look(true);
    expect(await signedBy(credential)).toBe("next key");
  });

  test.each([
    ["is broken", () => directory.write("gateway.pem", pkcs8(nextKey)), "no certificate"],
    [
      "is expired",
      () => directory.write("gateway.pem", keyAndCertificate(nextKey, { notAfter: NOON - 1 })),
      "ended at",
    ],
    ["is gone", () => rmSync(join(directory.path, "gateway.pem")), "does not exist"],
  ])("the old certificate serves on while the replacement %s, told once", async (_, replace, problem) => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    replace();
    for (let look = 0; look < 3; look += 1) {
      clock.now += 5_000;
      expect(await signedBy(credential)).toBe("first key");
    }
    expect(events).toMatchObject([{ type: "reload_failed", generation: 1 }]);
    expect(events[0]?.message).toContain(problem);
    expect(credential.status()).toMatchObject({ generation: 1, fault: { since: NOON + 5_000 } });
  });

  test("a replacement that was not valid yet takes over when it is, without another write", async () => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    directory.write("gateway.pem", keyAndCertificate(nextKey, { notBefore: NOON + 60_000 }));
    clock.now += 30_000;
    expect(await signedBy(credential)).toBe("first key");
    clock.now += 30_000;
    expect(await signedBy(credential)).toBe("next key");
    expect(credential.status().fault).toBeUndefined();
  });

  test("a proof names the generation that signed it, though the file changes meanwhile", async () => {
    const credential = await open(directory.write("gateway.pem", keyAndCertificate(key)));
    const proof = credential.prove(request);
    directory.write("gateway.pem", keyAndCertificate(nextKey));
    const reloaded = credential.look(true);
    expect((await proof).generation).toBe(1);
    await reloaded;
    expect((await credential.prove(request)).generation).toBe(2);
  });
});

describe("the end of the certificate", () => {
  test("is told from thirty days before, once a day", async () => {
    const credential = await open(
      directory.write("gateway.pem", keyAndCertificate(key, { notAfter: NOON + 31 * DAY_MS })),
    );
    await signedBy(credential);
    expect(events).toEqual([]);
    clock.now = NOON + DAY_MS;
    await signedBy(credential);
    await signedBy(credential);
    expect(events).toMatchObject([{ type: "expiring", expiresAt: NOON + 31 * DAY_MS }]);
    clock.now += DAY_MS;
    await credential.look(true);
    expect(events).toHaveLength(2);
  });

  test("is told at the start when it is near already", async () => {
    await open(directory.write("gateway.pem", keyAndCertificate(key, { notAfter: NOON + DAY_MS })));
    expect(events).toEqual([
      {
        type: "expiring",
        source: "certificate",
        generation: 1,
        expiresAt: NOON + DAY_MS,
        message: expect.stringMatching(
          /^AZURE_CLIENT_CERTIFICATE_PATH: the certificate in .*gateway\.pem ends at 2026-11-22T12:00:00\.000Z; replace/,
        ),
      },
    ]);
  });

  test("is awaited to the last moment", async () => {
    const credential = await open(
      directory.write("gateway.pem", keyAndCertificate(key, { notAfter: NOON + 60_000 })),
    );
    clock.now = NOON + 60_000 - 1;
    expect((await credential.prove(request)).generation).toBe(1);
  });

  test("ends its use, since Entra would refuse it", async () => {
    const credential = await open(
      directory.write("gateway.pem", keyAndCertificate(key, { notAfter: NOON + 60_000 })),
    );
    clock.now = NOON + 60_000;
    await expect(credential.prove(request)).rejects.toMatchObject({
      code: "credential_unavailable",
      reason: "expired",
    });
    expect(credential.status().state).toBe("unusable");
  });
});

describe("a key that everyone may read", () => {
  test.each([
    ["is a warning", 0o644, ["file_exposed"]],
    ["is not suspected where only the group may read it", 0o640, []],
    ["is not suspected where others may do all but read it", 0o643, []],
  ])("%s", async (_, mode, expected) => {
    const file = directory.write("gateway.pem", keyAndCertificate(key));
    chmodSync(file, mode);
    const link = join(directory.path, "link.pem");
    symlinkSync(file, link);
    const credential = await open(link);
    expect(await signedBy(credential)).toBe("first key");
    expect(events.map(({ type, source }) => [type, source])).toEqual(
      expected.map((type) => [type, "certificate"]),
    );
    for (const { message } of events)
      expect(message).toBe(
        `AZURE_CLIENT_CERTIFICATE_PATH: ${link} holds a private key that every user may read; chmod 600`,
      );
  });

  test("is nothing to warn about on Windows, whose files have no such modes", async () => {
    const file = directory.write("gateway.pem", keyAndCertificate(key));
    chmodSync(file, 0o644);
    const platform = Object.getOwnPropertyDescriptor(process, "platform") as PropertyDescriptor;
    Object.defineProperty(process, "platform", { ...platform, value: "win32" });
    try {
      await open(file);
    } finally {
      Object.defineProperty(process, "platform", platform);
    }
    expect(events).toEqual([]);
  });

  test("is nothing to warn about in a volume of the kubelet, where only this pod sees it", async () => {
    const volume = createProjectedVolume(directory, "gateway.pem", keyAndCertificate(key));
    expect(await signedBy(await open(volume.file))).toBe("first key");
    expect(events).toEqual([]);
  });
});

describe("a certificate in a variable", () => {
  const openText = (text: string, password?: string) =>
    openCertificate(
      {
        from: { text: new Secret(text) },
        password: password === undefined ? undefined : new Secret(password),
        sendChain: false,
      },
      { now: () => clock.now, emit: (event) => events.push(event) },
    );

  test("signs as one in a file does, whatever became of its line ends", async () => {
    for (const text of [keyAndCertificate(key), keyAndCertificate(key).replaceAll("\n", "\\n")])
      expect(await signedBy(await openText(text))).toBe("first key");
    const packed = Buffer.from(keyAndCertificate(key)).toString("base64");
    const credential = await openText(packed);
    expect(await signedBy(credential)).toBe("first key");
    await credential.look(true);
    expect(credential.status()).toMatchObject({ state: "usable", generation: 1 });
  });

  test("serves until its last moment, and its end is announced under the name of the variable", async () => {
    const credential = await openText(keyAndCertificate(key, { notAfter: NOON + DAY_MS }));
    expect(events).toMatchObject([
      {
        type: "expiring",
        message: expect.stringMatching(/^AZURE_CLIENT_CERTIFICATE: the certificate in its text ends at/),
      },
    ]);
    clock.now = NOON + DAY_MS - 1;
    await credential.prove(request);
    clock.now += 1;
    await expect(credential.prove(request)).rejects.toMatchObject({ code: "credential_unavailable" });
  });

  test("is refused under the name of the variable, and nothing of it is repeated", async () => {
    const error: unknown = await openText("canary").catch((cause: unknown) => cause);
    expect(error).toMatchObject({
      faults: [
        { path: "AZURE_CLIENT_CERTIFICATE", problem: expect.stringMatching(/^its text holds no PEM/) },
      ],
    });
    expect(String(error)).not.toContain("canary");
    await expect(openText(keyAndCertificate(key, { notAfter: NOON - 1_000 }))).rejects.toMatchObject({
      faults: [{ path: "AZURE_CLIENT_CERTIFICATE", problem: expect.stringContaining("ended at") }],
    });
  });
});
