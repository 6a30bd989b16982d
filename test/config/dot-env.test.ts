import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { DOT_ENV_FILE, withDotEnv } from "../../src/config/load.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dot-env-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const TEXT = "FIRST=one\n# a comment\nSECOND='two words'\nTHIRD=three\n";
const EXPECTED = { FIRST: "one", SECOND: "two words", THIRD: "three" };

function read(content: Buffer | string, env: Record<string, string> = {}) {
  const file = join(directory, ".env");
  writeFileSync(file, content);
  return withDotEnv(env, pathToFileURL(file));
}

describe("a .env file", () => {
  test.each<[string, Buffer | string]>([
    ["in UTF-8", TEXT],
    ["with a byte order mark", `\ufeff${TEXT}`],
    ["with Windows' line ends", TEXT.replaceAll("\n", "\r\n")],
    ["with a byte order mark and Windows' line ends", `\ufeff${TEXT.replaceAll("\n", "\r\n")}`],
    ["in UTF-16 LE, as PowerShell writes it", Buffer.from(`\ufeff${TEXT}`, "utf16le")],
    ["in UTF-16 LE without a mark", Buffer.from(TEXT, "utf16le")],
    ["in UTF-16 BE", Buffer.from(`\ufeff${TEXT}`, "utf16le").swap16()],
  ])("%s gives every variable, the first one included", (_, content) => {
    expect(read(content)).toEqual(EXPECTED);
  });

  test("never wins over the environment", () => {
    expect(read(TEXT, { FIRST: "set" })).toEqual({ ...EXPECTED, FIRST: "set" });
  });

  test("may be empty or missing", () => {
    expect(read("")).toEqual({});
    expect(withDotEnv({ A: "b" }, pathToFileURL(join(directory, "nowhere")))).toEqual({ A: "b" });
  });

  test("that cannot be read is a fault", () => {
    mkdirSync(join(directory, "folder"));
    expect(() => withDotEnv({}, pathToFileURL(join(directory, "folder")))).toThrow(/\.env: cannot be read/);
  });

  test("stands beside package.json", () => {
    expect(existsSync(new URL("package.json", DOT_ENV_FILE))).toBe(true);
  });
});
