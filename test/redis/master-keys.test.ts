import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import type { RedisEvent } from "../../src/redis/contract.ts";
import {
  findKeyFileFaults,
  type KeyFile,
  openKeyFile,
  parseMasterKeys,
} from "../../src/redis/master-keys.ts";
import { createFollowingSealing, createSealing } from "../../src/redis/sealing.ts";

const newKey = () => randomBytes(32).toString("base64");

describe("master keys", () => {
  const [one, other] = [newKey(), newKey()];
  test.each([
    ["one", one, 1],
    ["two with a comma", `${one},${other}`, 2],
    ["two with a comma and blanks", ` ${one} , ${other} `, 2],
    ["two on lines of their own, as an editor ends them", `${one}\r\n${other}\r\n`, 2],
    ["eight", Array(8).fill(one).join(), 8],
  ])("are read: %s", (_, text, count) => {
    expect(parseMasterKeys(text)).toHaveLength(count);
  });

  test.each([
    ["nothing", ""],
    ["a comma", ","],
    ["a comma at the end", `${one},`],
    ["nine", Array(9).fill(one).join()],
    ["a key of 31 bytes", randomBytes(31).toString("base64")],
    ["a key of 33 bytes", randomBytes(33).toString("base64")],
    ["a key without its padding", one.slice(0, -1)],
    ["base64url", `${"_".repeat(42)}A=`],
    ["a key in which a bit is set that belongs to no byte", `${one.slice(0, 42)}B=`],
    ["quotes around it", `"${one}"`],
    ["a good key and another text", `${one},key`],
  ])("are not read: %s", (_, text) => {
    expect(parseMasterKeys(text)).toBeUndefined();
  });
});

describe("a file of master keys", () => {
  let directory: string;
  let path: string;
  let versions = 0;
  let opened: KeyFile | undefined;
  const events: RedisEvent[] = [];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "keys-"));
    path = join(directory, "token-cache-keys");
    events.length = 0;
    await symlink(join("..data", "token-cache-keys"), path);
  });
  afterEach(async () => {
    opened?.close();
    opened = undefined;
    await rm(directory, { recursive: true });
  });

  /** As the Secrets Store CSI driver does it: another directory, and one link that is renamed over the one before. */
  async function swap(content: string | Buffer | undefined): Promise<void> {
    versions += 1;
    const version = `..version-${versions}`;
    await mkdir(join(directory, version));
    if (content !== undefined) await writeFile(join(directory, version, "token-cache-keys"), content);
    await symlink(version, join(directory, "..data_tmp"));
    await rename(join(directory, "..data_tmp"), join(directory, "..data"));
  }
  async function open(content: string): Promise<KeyFile> {
    await swap(content);
    opened = await openKeyFile(path, (event) => events.push(event));
    return opened;
  }
  const revealed = (file: KeyFile) => file.keys().map((key) => key.reveal());

  test("that is swapped gives its new keys at the next look, and what older keys sealed opens", async () => {
    const [old, fresh] = [newKey(), newKey()];
    const file = await open(old);
    const sealing = createFollowingSealing(file.keys);
    const assertion = new Secret("header.payload.signature");
    const before = sealing.places(assertion, "binding")[0];
    const sealed = before.seal("token");
    await swap(`${fresh},${old}\n`);
    await file.look();
    expect(revealed(file)).toEqual([fresh, old]);
    const [first, second] = sealing.places(assertion, "binding");
    expect(first.name).toBe(createSealing([new Secret(fresh)]).places(assertion, "binding")[0].name);
    expect([second?.name, second?.open(sealed)]).toEqual([before.name, "token"]);
    expect(sealing.userNames("ann")[0]).toBe(createSealing([new Secret(fresh)]).userNames("ann")[0]);
    expect(events).toEqual([{ type: "shared_keys_taken", keys: 2 }]);
  });

  test("that is written anew with the same keys changes nothing", async () => {
    const key = newKey();
    const file = await open(key);
    const keys = file.keys();
    await swap(`${key}\n`);
    await file.look();
    expect([file.keys(), events]).toEqual([keys, []]);
    expect(file.keys()).toBe(keys);
  });

  test.each<[string, string | Buffer | undefined, RegExp]>([
    ["is gone", undefined, /^TOKEN_CACHE_KEYS_FILE: .*token-cache-keys does not exist$/],
    ["is empty", "", /is empty$/],
    ["holds another text", "not a key", /whose content must be at most 8 keys of 32 bytes in base64/],
    ["holds half of a key", newKey().slice(0, 20), /whose content must be/],
    ["is far too large", Buffer.alloc(5_000, 65), /is larger than 4096 bytes/],
  ])("that %s keeps the keys before it, and is reported once", async (_, content, problem) => {
    const key = newKey();
    const file = await open(key);
    await swap(content);
    await file.look();
    await file.look();
    expect(revealed(file)).toEqual([key]);
    expect(events).toEqual([{ type: "shared_keys_kept", problem: expect.stringMatching(problem) }]);
    expect(JSON.stringify(events)).not.toContain("not a key");
    await swap(key);
    await file.look();
    expect(events.at(-1)).toEqual({ type: "shared_keys_taken", keys: 1 });
  });

  test("is looked at every ten seconds without being asked", async () => {
    jest.useFakeTimers();
    const fresh = newKey();
    let file: KeyFile;
    try {
      await swap(newKey());
      file = await openKeyFile(path, (event) => events.push(event));
      await swap(fresh);
      jest.advanceTimersByTime(10_000);
    } finally {
      jest.useRealTimers();
    }
    for (let attempt = 0; attempt < 200 && events.length === 0; attempt += 1)
      await new Promise((resolve) => setTimeout(resolve, 10));
    file.close();
    expect(revealed(file)).toEqual([fresh]);
  });

  test("in UTF-16, as Windows writes it, is read", async () => {
    const key = newKey();
    await swap(Buffer.from(`\ufeff${key}\r\n`, "utf16le"));
    expect(await findKeyFileFaults(path)).toEqual([]);
  });

  test("that is a directory or missing is a fault of the configuration, which quotes nothing", async () => {
    expect(await findKeyFileFaults(directory)).toEqual([
      { path: "TOKEN_CACHE_KEYS_FILE", problem: `${directory} is not a regular file` },
    ]);
    expect(await findKeyFileFaults(path)).toEqual([
      { path: "TOKEN_CACHE_KEYS_FILE", problem: `${path} does not exist` },
    ]);
    await swap("s3cret");
    const [fault] = await findKeyFileFaults(path);
    expect(fault?.problem).toMatch(/must be at most 8 keys of 32 bytes/);
    expect(fault?.problem).not.toContain("s3cret");
  });
});
