/** File descriptors bound the connections that are taken. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { connectionsFor, readFileDescriptors } from "../../src/foundation/file-descriptors.ts";

test.each([
  { limit: 64, open: 22, connections: 12 },
  { limit: 1_024, open: 30, connections: 488 },
  { limit: 20_000, open: 30, connections: 9_976 },
  { limit: 32, open: 30, connections: 1 },
  { limit: Number.POSITIVE_INFINITY, open: 30, connections: Number.POSITIVE_INFINITY },
])(
  "$limit descriptors, of which $open are open, are enough for $connections connections",
  ({ connections, ...given }) => {
    expect(connectionsFor(given)).toBe(connections);
  },
);

test("two descriptors for each connection never exceed the limit", () => {
  for (let limit = 32; limit < 4_096; limit += 7) {
    const most = connectionsFor({ limit, open: 18 });
    if (most > 1) expect(18 + 2 * most).toBeLessThan(limit);
  }
});

(existsSync("/proc/self/limits") ? test : test.skip)(
  "the limit that the process was started with is read",
  () => {
    const read = `
    import { readFileDescriptors } from "./src/foundation/file-descriptors.ts";
    console.log(JSON.stringify(readFileDescriptors()));`;
    const { stdout } = spawnSync(
      "sh",
      ["-c", `ulimit -n 77; exec "${process.execPath}" --import tsx --input-type=module -e '${read}'`],
      { encoding: "utf8" },
    );
    const { limit, open } = JSON.parse(stdout);
    expect(limit).toBe(77);
    expect(open).toBeGreaterThan(3);
    expect(open).toBeLessThan(77);
    expect(readFileDescriptors()?.limit).toBeGreaterThan(77);
  },
);
