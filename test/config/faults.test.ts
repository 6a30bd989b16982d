/** Faults of the file in words that say what to write. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { loadConfig } from "../../src/config/load.ts";
import { ConfigurationError } from "../../src/errors.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "faults-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function faultsOf(yaml: string): Record<string, string> {
  const file = join(directory, "gateway.yaml");
  writeFileSync(file, yaml);
  try {
    loadConfig({
      GATEWAY_CONFIG: file,
      AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
      AZURE_CLIENT_ID: "22222222-2222-4222-8222-222222222222",
      TOKEN_CACHE_KEYS: Buffer.alloc(32, 1).toString("base64"),
    });
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return Object.fromEntries(
      error.faults.map(({ path, problem }) => [path.replace(directory, ""), problem]),
    );
  }
  return {};
}

const FILE = `
identity: { tenants: ["*"], audiences: [a] }
downstreamApis:
  graph: { baseUrl: "https://graph.microsoft.com/v1.0", scopes: [https://graph.microsoft.com/.default] }
routes:
  - { path: /graph, downstreamApi: graph, allow: ["/me"] }
`;
const changed = (from: string, to: string) => {
  if (!FILE.includes(from)) throw new Error(`the file does not hold ${from}`);
  return FILE.replace(from, to);
};
const added = (section: string) => `${FILE}${section}\n`;

describe("a value of the wrong type is said to be, and how to write it", () => {
  test.each<[yaml: string, path: string, problem: string]>([
    [
      changed('["/me"]', "/me"),
      "routes[0].allow",
      'must be a list, also of one value; write it as a list: ["/me"]',
    ],
    [
      changed("[https://graph.microsoft.com/.default]", "https://graph.microsoft.com/.default"),
      "downstreamApis.graph.scopes",
      'must be a list, also of one value; write it as a list: ["https://graph.microsoft.com/.default"]',
    ],
    [
      added("exchange: { timeoutMs: 10s }"),
      "exchange.timeoutMs",
      "must be milliseconds, as a number; write 10000, without quotes and unit",
    ],
    [
      added('exchange: { timeoutMs: "500" }'),
      "exchange.timeoutMs",
      "must be milliseconds, as a number; write 500, without quotes and unit",
    ],
    [
      added("http: { shutdownGraceSeconds: 2m }"),
      "http.shutdownGraceSeconds",
      "must be seconds, as a number; write 120, without quotes and unit",
    ],
    [
      added("exchange: { cache: { maxBytes: 64MiB } }"),
      "exchange.cache.maxBytes",
      "must be bytes, as a number; write 67108864, without quotes and unit",
    ],
    [added("exchange: { timeoutMs: soon }"), "exchange.timeoutMs", "must be milliseconds, as a number"],
    [added("exchange: { cache: { maxEntries: [] } }"), "exchange.cache.maxEntries", "must be a number"],
    [
      changed("allow:", "requireUser: 'no', allow:"),
      "routes[0].requireUser",
      "must be true or false, without quotes; write false",
    ],
    [
      changed("downstreamApi: graph", "downstreamApi: 7"),
      "routes[0].downstreamApi",
      'must be text; put it in quotes: "7"',
    ],
    [
      added("http: [1]"),
      "http",
      "must be keys with values, and is a list; leave out the [ ] or the dash before it",
    ],
    [
      added("limits: { perUser: 5 }"),
      "limits.perUser",
      "must be keys with values, such as perUser: { … }, and is a number",
    ],
    [added("http:"), "http", "is missing; expected keys with values"],
  ])("%#: %s", (yaml, path, problem) => {
    expect(faultsOf(yaml)).toMatchObject({ [path]: problem });
  });
});

describe("a value out of range is said to be, with the bound", () => {
  test.each<[yaml: string, path: string, problem: string]>([
    [added("exchange: { timeoutMs: 1 }"), "exchange.timeoutMs", "must be at least 100"],
    [added("exchange: { timeoutMs: 1000000 }"), "exchange.timeoutMs", "must be at most 120000"],
    [added("fairness: { userShare: 0 }"), "fairness.userShare", "must be more than 0"],
    [
      changed("audiences: [a]", "audiences: []"),
      "identity.audiences",
      "must name at least 1; the list is empty or too short",
    ],
  ])("%#: %s", (yaml, path, problem) => {
    expect(faultsOf(yaml)).toMatchObject({ [path]: problem });
  });
});

describe("what is hard to see is named", () => {
  test.each<[yaml: string, path: string, problem: RegExp]>([
    [changed("path: /graph", 'path: "/graph "'), "routes[0].path", /begins or ends with a blank/],
    [
      changed("path: /graph", "path: \"'/graph'\""),
      "routes[0].path",
      /quotes around it, which are part of the value/,
    ],
    [
      changed('tenants: ["*"]', 'tenants: [" 11111111-1111-4111-8111-111111111111"]'),
      "identity.tenants[0]",
      /blank/,
    ],
  ])("%#: %s", (yaml, path, problem) => {
    expect(faultsOf(yaml)).toMatchObject({ [path]: expect.stringMatching(problem) });
  });

  test("an empty file is named", () => {
    for (const text of ["", "\n\n", "# nothing but a comment\n"])
      expect(faultsOf(text)).toEqual({ "/gateway.yaml": expect.stringMatching(/^is empty/) });
  });
});

describe("forms of a Redis address are told apart, and nothing of them is quoted", () => {
  test.each([
    [
      "contoso.redis.cache.windows.net:6380,password=s3cretKey=,ssl=True,abortConnect=False",
      /connection string of Azure's portal/,
    ],
    ["redis.internal:6379", /lacks its scheme/],
    ["redis.internal", /lacks its scheme/],
    ["rediss://:s3cret%zz@redis.internal", /write it as %25/],
    [" redis://redis.internal", /blank/],
  ])("%s", (url, problem) => {
    const faults = faultsOf(added(`exchange: { cache: { redis: { url: "${url}" } } }`));
    expect(faults["exchange.cache.redis.url"]).toMatch(problem);
    expect(JSON.stringify(faults)).not.toContain("s3cret");
  });
});
