import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { type FileWatch, watchFile } from "../../src/foundation/file-watch.ts";

const INTERVAL_MS = 20;
let directory: string;
let watch: FileWatch;
let changes = 0;
let notify = () => {};
const path = (name: string) => join(directory, name);

/** Waits for the next change; without one the test runs into its limit. */
const changed = () =>
  new Promise<void>((resolve) => {
    notify = resolve;
  });
/** Long enough that several looks have passed. */
const looks = () => delay(INTERVAL_MS * 6);

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "watch-"));
  writeFileSync(path("one"), "one");
  writeFileSync(path("two"), "two");
  symlinkSync("one", path("file"));
  changes = 0;
  watch = watchFile(path("file"), {
    intervalMs: INTERVAL_MS,
    onChange() {
      changes += 1;
      notify();
    },
  });
  await looks();
});
afterEach(() => {
  watch.close();
  rmSync(directory, { recursive: true });
});

test("a file that stays as it is is no change", async () => {
  await looks();
  expect(changes).toBe(0);
});

test("a file that is written, replaced, or reached by another link is one change", async () => {
  const written = changed();
  writeFileSync(path("one"), "written");
  await written;
  expect(changes).toBe(1);

  const linked = changed();
  symlinkSync("two", path("new"));
  renameSync(path("new"), path("file"));
  await linked;
  expect(changes).toBe(2);

  const replaced = changed();
  writeFileSync(path("new"), "new");
  renameSync(path("new"), path("two"));
  await replaced;
  expect(changes).toBe(3);
});

test("a file that is gone is no change, and its return is one", async () => {
  unlinkSync(path("file"));
  await looks();
  expect(changes).toBe(0);
  const returned = changed();
  symlinkSync("two", path("file"));
  await returned;
  expect(changes).toBe(1);
});

test("a writer in the middle of its work is waited for", async () => {
  watch.close();
  let reported = 0;
  // Slow enough that a busy machine does not make the pauses between two pieces look like the end.
  watch = watchFile(path("file"), {
    intervalMs: 300,
    onChange() {
      reported += 1;
      notify();
    },
  });
  await delay(350);
  const done = changed();
  for (let piece = 1; piece <= 10; piece += 1) {
    writeFileSync(path("one"), "x".repeat(piece));
    await delay(70);
  }
  expect(reported).toBe(0);
  await done;
  expect(reported).toBe(1);
});

test("nothing is reported after the end", async () => {
  watch.close();
  writeFileSync(path("one"), "written");
  await looks();
  expect(changes).toBe(0);
});
