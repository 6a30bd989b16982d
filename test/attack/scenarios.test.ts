/** The catalogue of attacks: what can be chosen, and that its hostile inputs are what they claim to be. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { HEAP_MIB } from "./children.ts";
import { HOSTILE_KINDS, hostileDocument } from "./hostile-documents.ts";
import type { Scenario } from "./scenario.ts";
import { spellingsOf } from "./scenarios/a8-exchange-slots.ts";
import { CALM, chosen, SCENARIOS } from "./scenarios/all.ts";

const names = (scenarios: readonly Scenario[]) => scenarios.map(({ name }) => name);

describe("the catalogue", () => {
  test("no two scenarios share a name", () => {
    expect(new Set(names(SCENARIOS)).size).toBe(SCENARIOS.length);
  });

  test("every family of hostile input is in it, and the short form takes one of each but the slow rollover", () => {
    const families = Array.from({ length: 10 }, (_, index) => `a${index + 1}`);
    for (const family of families)
      expect(chosen(SCENARIOS, { only: [family], quick: false }).length).toBeGreaterThanOrEqual(2);
    const short = names(chosen(SCENARIOS, { quick: true }));
    for (const family of families.filter((one) => one !== "a9"))
      expect(short.filter((name) => name.startsWith(`${family}-`)).length).toBeGreaterThanOrEqual(1);
  });

  test("no scenario is measured for longer than twenty seconds", () => {
    for (const { ms = 0 } of SCENARIOS) expect(ms).toBeLessThanOrEqual(20_000);
  });

  test("a1 chooses its family and not a10, a whole name itself alone", () => {
    const family = names(chosen(SCENARIOS, { only: ["a1"], quick: false }));
    expect(family.every((name) => name.startsWith("a1-"))).toBe(true);
    expect(family.length).toBeGreaterThan(3);
    expect(names(chosen(SCENARIOS, { only: ["a3-values"], quick: false }))).toEqual(["a3-values"]);
    expect(chosen(SCENARIOS, { only: ["nothing"], quick: false })).toEqual([]);
  });

  test("what is named is played in the short form, too, and the calm run is never chosen", () => {
    expect(names(chosen(SCENARIOS, { only: ["a9-bogus-keys"], quick: true }))).toEqual(["a9-bogus-keys"]);
    expect(chosen(SCENARIOS, { quick: false })).not.toContain(CALM);
    expect(chosen(SCENARIOS, { only: ["calm"], quick: false })).toEqual([]);
  });
});

describe("hostile documents", () => {
  test.each(HOSTILE_KINDS)("%s is JSON of about the size that was asked for", (kind) => {
    const text = hostileDocument(kind, 100_000);
    expect(() => JSON.parse(text)).not.toThrow();
    expect(text.length).toBeGreaterThan(80_000);
    expect(text.length).toBeLessThanOrEqual(100_100);
  });
});

test("a signature of 256 bytes has sixteen spellings that a lax reader takes for one", () => {
  const signature = Buffer.alloc(256, 0xa7);
  const spellings = spellingsOf(`head.claims.${signature.toString("base64url")}`);
  expect(new Set(spellings).size).toBe(16);
  for (const spelling of spellings) {
    const [head, claims, last = ""] = spelling.split(".");
    expect([head, claims]).toEqual(["head", "claims"]);
    expect(Buffer.from(last, "base64url")).toEqual(signature);
  }
});

test("the gateway is attacked with the heap that it has in its pod", () => {
  const deployment = readFileSync("docker/aks/base/deployment.yaml", "utf8");
  const image = readFileSync("docker/Dockerfile", "utf8");
  const limitMiB = Number(/limits:[^}]*?memory: (\d+)Mi/.exec(deployment)?.[1]);
  const percentage = Number(/max-old-space-size-percentage=(\d+)/.exec(image)?.[1]);
  expect((limitMiB * percentage) / 100).toBe(HEAP_MIB);
});
