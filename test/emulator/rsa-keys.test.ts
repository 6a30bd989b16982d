/** The sequence of RSA keys that the files of a test run share. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, expect, jest, test } from "@jest/globals";
import type { RsaPair } from "./rsa-keys.ts";

const ofRun = process.env.TEST_RSA_KEYS_DIRECTORY;
const directories: string[] = [];
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "rsa-keys-"));
  directories.push(directory);
  process.env.TEST_RSA_KEYS_DIRECTORY = directory;
});
afterAll(() => {
  if (ofRun === undefined) delete process.env.TEST_RSA_KEYS_DIRECTORY;
  else process.env.TEST_RSA_KEYS_DIRECTORY = ofRun;
  for (const path of directories) rmSync(path, { recursive: true });
});

/** The module as a file of tests gets it that has taken no key yet. */
async function asAnotherFile() {
  jest.resetModules();
  return await import("./rsa-keys.ts");
}

/** Short, for these are only compared. */
const SHORT = { modulusLength: 1024 };

const modulus = ({ publicKey }: RsaPair) => publicKey.export({ format: "jwk" }).n;

test("a file takes the keys that an earlier file of the run made, in their order, and none twice", async () => {
  const earlier = await asAnotherFile();
  const made = [
    await earlier.generateRsaPair(SHORT),
    earlier.generateRsaPairSync(SHORT),
    earlier.generateRsaPairSync(SHORT),
  ];
  const later = await asAnotherFile();
  const taken = [
    later.generateRsaPairSync(SHORT),
    await later.generateRsaPair(SHORT),
    later.generateRsaPairSync(SHORT),
  ];

  expect(taken.map(modulus)).toEqual(made.map(modulus));
  expect(new Set(made.map(modulus)).size).toBe(3);
});

test("a key of another length or exponent is not taken for an ordinary one", async () => {
  const { generateRsaPairSync } = await asAnotherFile();
  const details = [{}, { modulusLength: 1024 }, { publicExponent: 3 }].map(
    (options) => generateRsaPairSync(options).privateKey.asymmetricKeyDetails,
  );
  expect(details).toEqual([
    { modulusLength: 2048, publicExponent: 65_537n },
    { modulusLength: 1024, publicExponent: 65_537n },
    { modulusLength: 2048, publicExponent: 3n },
  ]);
});

test("each child process takes other keys than its parent and its siblings", async () => {
  const parent = await asAnotherFile();
  const places = [parent.keysOfChild(), parent.keysOfChild()].map((env) => env.TEST_RSA_KEYS_DIRECTORY);
  expect(new Set([directory, ...places]).size).toBe(3);
  const again = await asAnotherFile();
  expect(again.keysOfChild().TEST_RSA_KEYS_DIRECTORY).toBe(places[0]);
});

test("the files are for this user alone", async () => {
  (await asAnotherFile()).generateRsaPairSync(SHORT);
  const modes = readdirSync(directory).map((name) => statSync(join(directory, name)).mode & 0o777);
  expect(modes).toEqual([0o600]);
});

test("without a run every key is new and nothing is written", async () => {
  delete process.env.TEST_RSA_KEYS_DIRECTORY;
  const first = (await asAnotherFile()).generateRsaPairSync(SHORT);
  const second = (await asAnotherFile()).generateRsaPairSync(SHORT);
  expect(modulus(first)).not.toBe(modulus(second));
  expect((await asAnotherFile()).keysOfChild()).toEqual({});
});

test("the run makes the directory outside of the repository, and removes it with its keys", () => {
  const program = `
    const { default: begin } = await import("./test/support/run/begin.ts");
    const { default: end } = await import("./test/support/run/end.ts");
    const { statSync, existsSync } = await import("node:fs");
    begin();
    const made = process.env.TEST_RSA_KEYS_DIRECTORY;
    const mode = (statSync(made).mode & 0o777).toString(8);
    end();
    console.log(JSON.stringify({ made, mode, left: existsSync(made) }));
  `;
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const child = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
    cwd: root,
    encoding: "utf8",
  });
  const { made, mode, left } = JSON.parse(child.stdout);
  expect(made.startsWith(join(tmpdir(), "gateway-test-keys-"))).toBe(true);
  expect(made.startsWith(root)).toBe(false);
  expect({ mode, left }).toEqual({ mode: "700", left: false });
});
