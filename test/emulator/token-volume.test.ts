import { existsSync } from "node:fs";
import { lstat, mkdtemp, readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "./emulator.ts";
import { decodeJws } from "./jws.ts";
import { aadsts, type Client, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

describe("a mounted service-account token", () => {
  test("has the kubelet's layout: a dated directory, a ..data link to it, a file link through that", async () => {
    const { directory, tokenFile } = await client.emulator.kubernetes.mountServiceAccountToken();
    const data = await readlink(join(directory, "..data"));
    expect(data).toMatch(/^\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d{9}$/);
    expect(await readlink(tokenFile)).toBe("..data/azure-identity-token");
    expect((await readdir(directory)).sort()).toEqual(["..data", data, "azure-identity-token"].sort());
    expect((await stat(tokenFile)).mode & 0o777).toBe(0o640);
  });

  test("changes by a swap of ..data: a new inode, a new token, the old directory gone", async () => {
    const { directory, tokenFile, rotate } = await client.emulator.kubernetes.mountServiceAccountToken();
    const before = {
      token: await readFile(tokenFile, "utf8"),
      inode: (await stat(tokenFile)).ino,
      link: (await lstat(tokenFile)).ino,
    };
    await rotate({ serviceAccount: "other" });
    const after = await readFile(tokenFile, "utf8");
    expect(decodeJws(after)?.payload.sub).toBe("system:serviceaccount:obo-gateway:other");
    expect(after).not.toBe(before.token);
    expect((await stat(tokenFile)).ino).not.toBe(before.inode);
    expect((await lstat(tokenFile)).ino).toBe(before.link);
    expect(await readdir(directory)).toHaveLength(3);
  });

  test("can be missing, empty or half written, and a rotation mends it", async () => {
    const { tokenFile, breakWith, rotate } = await client.emulator.kubernetes.mountServiceAccountToken();
    await breakWith("missing");
    await expect(readFile(tokenFile)).rejects.toMatchObject({ code: "ENOENT" });
    await breakWith("empty");
    expect(await readFile(tokenFile, "utf8")).toBe("");
    await breakWith("half-written");
    const half = await readFile(tokenFile, "utf8");
    expect(half.length).toBeGreaterThan(100);
    expect(decodeJws(half)).toBeUndefined();
    await rotate();
    expect(aadsts(await client.exchange({ client_assertion: await readFile(tokenFile, "utf8") }))).toBe(0);
  });
});

test("close() leaves neither listeners nor files", async () => {
  const emulator = await startEmulator();
  const root = dirname(emulator.files.caCertificate);
  await emulator.kubernetes.mountServiceAccountToken();
  expect(existsSync(emulator.files.federatedToken)).toBe(true);
  await Promise.all([emulator.close(), emulator.close()]);
  expect(existsSync(root)).toBe(false);
  await expect(fetch(`${emulator.controlUrl}/facts`)).rejects.toThrow();
});

test("a directory that was handed in stays, empty, and survives remains of a run that was killed", async () => {
  const stateDirectory = await mkdtemp(join(tmpdir(), "obo-emulator-test-"));
  try {
    const killed = await startEmulator({ stateDirectory });
    const second = await startEmulator({ stateDirectory });
    expect(await readFile(second.files.federatedToken, "utf8")).not.toBe("");
    expect((await stat(second.files.federatedToken)).mode & 0o777).toBe(0o644);
    await second.close();
    expect(await readdir(stateDirectory)).toEqual([]);
    await killed.close();
  } finally {
    await rm(stateDirectory, { recursive: true, force: true });
  }
});

test("a taken port is an error and leaves no other port open", async () => {
  const taken = client.emulator.ports.control;
  await expect(startEmulator({ ports: { graph: taken } })).rejects.toMatchObject({ code: "EADDRINUSE" });
});
