import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import {
  isAllowed,
  type LockedPackage,
  type Lockfile,
  productionPackages,
  supplyChainFaults,
} from "./licences.ts";

const lockfile = JSON.parse(readFileSync("package-lock.json", "utf8")) as Lockfile;

describe("production dependencies", () => {
  test("carry allowed licences, need no install script and are pinned", () => {
    expect(supplyChainFaults(lockfile)).toEqual([]);
  });

  const sound: LockedPackage = { version: "1.0.0", license: "MIT", integrity: "sha512-AAAA" };
  test.each<[string, LockedPackage, string[]]>([
    ["a sound one", sound, []],
    [
      "an unknown licence",
      { ...sound, license: "GPL-3.0-only" },
      ["@a/b@1.0.0: the licence GPL-3.0-only is not on the list"],
    ],
    ["no licence", { version: "1.0.0", integrity: "sha512-AAAA" }, ["@a/b@1.0.0: names no licence"]],
    [
      "an install script",
      { ...sound, hasInstallScript: true },
      ["@a/b@1.0.0: needs an install script, and none may run"],
    ],
    ["a weak hash", { ...sound, integrity: "sha1-AAAA" }, ["@a/b@1.0.0: is not pinned by a SHA-512"]],
    ["no production dependency", { dev: true, license: "GPL-3.0-only", hasInstallScript: true }, []],
  ])("%s is judged as it should be", (_, entry, faults) => {
    expect(supplyChainFaults({ packages: { "": {}, "node_modules/c/node_modules/@a/b": entry } })).toEqual(
      faults,
    );
  });
});

test.each([
  ["MIT", true],
  ["(BSD-3-Clause OR GPL-2.0)", true],
  ["GPL-2.0 OR BSD-3-Clause", true],
  ["MIT AND Zlib", true],
  ["MIT AND GPL-2.0", false],
  ["MIT OR GPL-2.0 AND LGPL-3.0", true],
  ["(MIT OR GPL-2.0) AND LGPL-3.0", false],
  ["GPL-2.0 AND (MIT OR ISC)", false],
  ["Apache-2.0 WITH LLVM-exception", false],
  ["SEE LICENSE IN LICENSE.txt", false],
  ["UNLICENSED", false],
  ["(MIT", false],
  ["", false],
])("the expression %j is allowed: %j", (expression, allowed) => {
  expect(isAllowed(expression)).toBe(allowed);
});

test("the bill of materials names every production package, with its version, hash and licence", () => {
  const directory = mkdtempSync(join(tmpdir(), "sbom-"));
  try {
    const file = join(directory, "sbom.json");
    const args = ["--import", "tsx", "test/deploy/supply-chain/sbom.ts", file];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const sbom = JSON.parse(readFileSync(file, "utf8"));
    expect(sbom).toMatchObject({
      bomFormat: "CycloneDX",
      specVersion: expect.stringMatching(/^1\.\d$/),
      metadata: { component: { name: "obo-gateway" } },
    });
    const named = sbom.components.map(
      (one: { name: string; version: string }) => `${one.name}@${one.version}`,
    );
    expect(named.toSorted()).toEqual(
      [...new Set(productionPackages(lockfile).map(({ id }) => id))].toSorted(),
    );
    for (const component of sbom.components)
      expect(component).toMatchObject({
        purl: expect.stringMatching(/^pkg:npm\//),
        hashes: [{ alg: "SHA-512", content: expect.stringMatching(/^[0-9a-f]{128}$/) }],
        licenses: [expect.anything()],
      });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
