import { chmodSync, mkdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { openReloadingFile, type ReloadingFileOptions } from "../../src/credential/reloading-value.ts";
import { createDirectory, type Directory } from "./files.ts";

let directory: Directory;
let now: number;
let parsed: { text: string; mode: number; generation: number }[];
let events: string[];

beforeEach(() => {
  directory = createDirectory();
  now = 1_000_000;
  parsed = [];
  events = [];
});
afterEach(() => directory.remove());

type Parsed = { readonly text: string; readonly expiresAt: number };
const open = (path: string, options: Partial<ReloadingFileOptions<Parsed>> = {}) =>
  openReloadingFile<Parsed>(
    {
      source: "certificate",
      setting: "THE_FILE",
      path,
      maxBytes: 8,
      intervalMs: 0,
      marginMs: 0,
      async parse(content, { mode, generation }) {
        const text = content.toString();
        parsed.push({ text, mode: mode & 0o777, generation });
        return { text, expiresAt: 9_000_000 };
      },
      ...options,
    },
    {
      now: () => now,
      emit: ({ type, message }) => events.push(`${type}: ${message}`),
      canary: undefined,
    },
  );

describe("a file", () => {
  test("is parsed with its mode, and again with the next generation when it is replaced", async () => {
    const path = directory.write("f", "one", 0o640);
    const file = await open(path);
    directory.write("f", "two");
    expect(await file.read()).toMatchObject({ generation: 2, value: { text: "two" } });
    expect(parsed).toEqual([
      { text: "one", mode: 0o640, generation: 1 },
      { text: "two", mode: 0o600, generation: 2 },
    ]);
    expect(events).toEqual([`reloaded: ${path} gave a new certificate credential, which serves now`]);
  });

  test("that is the same or was only touched is not parsed again", async () => {
    const path = directory.write("f", "one");
    const file = await open(path);
    await file.read();
    utimesSync(path, 77, 77);
    expect((await file.read()).generation).toBe(1);
    directory.write("f", "one");
    await file.look(true);
    expect((await file.read()).generation).toBe(1);
    expect(parsed).toHaveLength(1);
  });

  test("is not looked at more often than its interval, unless that is forced or the clock was set back", async () => {
    const path = directory.write("f", "one");
    const file = await open(path, { intervalMs: 5_000 });
    directory.write("f", "two");
    now += 4_999;
    expect((await file.read()).value.text).toBe("one");
    now += 1;
    expect((await file.read()).value.text).toBe("two");
    directory.write("f", "three");
    await file.look(true);
    expect((await file.read()).value.text).toBe("three");
    directory.write("f", "four");
    now -= 1;
    expect((await file.read()).value.text).toBe("four");
    directory.write("f", "five");
    expect((await file.read()).value.text).toBe("four");
  });

  test("may have as many bytes as its setting allows", async () => {
    await open(directory.write("f", "12345678"));
    const path = directory.write("f", "123456789");
    await expect(open(path)).rejects.toMatchObject({
      faults: [
        {
          path: "THE_FILE",
          problem: `${path} is larger than 8 bytes, so it is not what this setting is for`,
        },
      ],
    });
  });

  test.each([
    ["that is empty", () => directory.write("f", ""), "is empty"],
    ["that is not there", () => join(directory.path, "g"), "does not exist"],
    ["below a file", () => join(directory.write("f", "x"), "g"), "does not exist"],
    ["that is a directory", () => directory.path, "is not a regular file"],
    ["that never ends", () => "/dev/zero", "is not a regular file"],
    ["with a name that is too long", () => `/${"x".repeat(300)}`, "cannot be read (ENAMETOOLONG)"],
  ])("%s is a fault of its setting", async (_, make, problem) => {
    const path = make();
    await expect(open(path)).rejects.toMatchObject({
      faults: [{ path: "THE_FILE", problem: `${path} ${problem}` }],
    });
  });

  // Root may read everything.
  (process.getuid?.() === 0 ? test.skip : test)(
    "that may not be read is a fault that says for whom",
    async () => {
      const path = directory.write("f", "x");
      chmodSync(path, 0);
      await expect(open(path)).rejects.toMatchObject({
        faults: [{ problem: expect.stringContaining("may not be read by the user this process runs as") }],
      });
    },
  );

  test("that goes and comes again with the same content is told of, and parsed once", async () => {
    const path = directory.write("f", "one");
    const content = readFileSync(path);
    const file = await open(path);
    directory.remove();
    await file.look(false);
    mkdirSync(directory.path);
    directory.write("f", content);
    await file.look(false);
    expect(events).toEqual([
      `reload_failed: THE_FILE: ${path} does not exist`,
      `reloaded: ${path} is usable again`,
    ]);
    expect(parsed).toHaveLength(1);
  });
});
