/** The arguments of `npm run demo`: help, and what is no argument. */

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";

const LIMIT_MS = 60_000;

function demo(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", "test/demo/main.ts", ...args],
    { cwd: fileURLToPath(new URL("../../..", import.meta.url)), encoding: "utf8" },
  );
  return { code: status, stdout, stderr };
}

test.each(["--help", "-h"])(
  "%s prints the options, starts nothing and exits 0",
  (option) => {
    const { code, stdout, stderr } = demo(option);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const name of ["--once", "--mcp", "--credential"]) expect(stdout).toContain(name);
  },
  LIMIT_MS,
);

test.each([
  ["an unknown option", ["--onec"], /^Unknown option '--onec'/],
  ["a credential that the demo cannot show", ["--credential", "secret"], /^npm run demo -- \[options\]/],
  ["an option without its value", ["--credential"], /argument missing/],
])(
  "%s exits 2 with the options and no stack",
  (_, args, message) => {
    const { code, stdout, stderr } = demo(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr).toContain("npm run demo -- [options]");
    expect(stderr).not.toMatch(/^\s+at /m);
  },
  LIMIT_MS,
);
