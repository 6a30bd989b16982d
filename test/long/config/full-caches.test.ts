/** A process whose caches are full to the bounds lives on. */

import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";

/** Of a process whose old space is 256 MiB: with 0 the default bounds, else that part of its heap. */
function fill(part: number) {
  const args = ["--max-old-space-size=256", "--expose-gc", "--import", "tsx", "test/config/fill-caches.ts"];
  const output = execFileSync(process.execPath, [...args, String(part)], {
    encoding: "utf8",
    env: { PATH: process.env.PATH },
    timeout: 240_000,
  });
  return JSON.parse(output) as {
    readonly heapBytes: number;
    readonly bounds: { readonly tokens: number; readonly verified: number };
    readonly tokens: { readonly bytes: number };
    readonly verified: { readonly bytes: number };
    readonly usedBytes: number;
  };
}

test.each([
  ["by default", 0, 0.6],
  ["as large as a file may name them", 0.45, 0.7],
])(
  "a process with a heap of 256 MiB fills its caches to bounds %s, and has room left for requests",
  (_, part, most) => {
    const { heapBytes, bounds: given, tokens, verified, usedBytes } = fill(part);
    // To the bounds: no room for as much as one in twenty more.
    expect(tokens.bytes).toBeGreaterThan(0.95 * given.tokens);
    expect(verified.bytes).toBeGreaterThan(0.9 * given.verified);
    expect(usedBytes).toBeLessThan(most * heapBytes);
  },
  300_000,
);
