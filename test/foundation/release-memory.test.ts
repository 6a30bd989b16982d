import { spawnSync } from "node:child_process";
import { expect, test } from "@jest/globals";

/** Runs a script in a process of its own, in which it may import from src, and has the JSON that it writes. */
function run(script: string): unknown {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "--eval", script],
    { encoding: "utf8" },
  );
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout);
}

test("memory that loading took and no longer needs is given back, without a port or a word", () => {
  const script = `
    import { url } from "node:inspector";
    import { releaseMemory } from "./src/foundation/release-memory.ts";
    // Lives long enough to grow the young generation, then no longer.
    let loaded = Array.from({ length: 300_000 }, (_, n) => ({ n, text: "module " + n }));
    loaded = undefined;
    const before = process.memoryUsage().heapTotal;
    await releaseMemory();
    const after = process.memoryUsage().heapTotal;
    console.log(JSON.stringify({ share: after / before, inspector: url() ?? "closed" }));
  `;
  const { share, inspector } = run(script) as { share: number; inspector: string };
  expect(share).toBeLessThan(0.6);
  expect(inspector).toBe("closed");
});

test("where no inspector may be had, nothing is given back and nothing fails", () => {
  const script = `
    import inspector from "node:inspector/promises";
    import { syncBuiltinESMExports } from "node:module";
    inspector.Session = class { constructor() { throw new Error("not permitted"); } };
    syncBuiltinESMExports();
    const { releaseMemory } = await import("./src/foundation/release-memory.ts");
    await releaseMemory();
    console.log(JSON.stringify("still here"));
  `;
  expect(run(script)).toBe("still here");
});
