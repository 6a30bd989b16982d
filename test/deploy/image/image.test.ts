/** What docker/test-image.sh judges by: each rule finds an image that was broken for it. The run itself takes an engine. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { type Held, type ImageFacts, imageFaults, type LockedPackages, secretFaults } from "./rules.ts";

const { packages: locked } = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
  packages: LockedPackages;
};
const production = Object.keys(locked).filter((path) => path !== "" && locked[path]?.dev !== true);
const EXPECTED = { limitBytes: 200e6, containerBytes: 256 * 2 ** 20, locked };

const none = "0000000000000000";
const intact = {
  user: "10001:10001",
  command: ["node", "dist/main.js"],
  inside: {
    status: {
      Uid: "10001\t10001\t10001\t10001",
      CapInh: none,
      CapPrm: none,
      CapEff: none,
      CapBnd: none,
      CapAmb: none,
      NoNewPrivs: "1",
      Seccomp: "2",
    },
    writing: { "/": "EROFS", "/app": "EROFS", "/tmp": null },
    heapLimitBytes: 200 * 2 ** 20,
    files: [
      "/usr/local/bin/node",
      "/lib/x86_64-linux-gnu/libstdc++.so.6",
      "/lib64/ld-linux-x86-64.so.2",
      "/etc/passwd",
      "/app/package.json",
      "/app/dist/main.js",
      ...production.map((path) => `/app/${path}/package.json`),
    ],
    unpackedBytes: 170e6,
  },
} satisfies ImageFacts;

interface Changes {
  readonly user?: string;
  readonly command?: readonly string[];
  readonly status?: Readonly<Record<string, string>>;
  readonly writing?: Readonly<Record<string, string | null>>;
  readonly added?: string;
  readonly removed?: string;
  readonly unpackedBytes?: number;
  readonly heapLimitBytes?: number;
}

function changed({ user, command, status, writing, added, removed, ...rest }: Changes): ImageFacts {
  const { inside } = intact;
  const files = [...inside.files, ...(added === undefined ? [] : [added])];
  return {
    user: user ?? intact.user,
    command: command ?? intact.command,
    inside: {
      ...inside,
      ...rest,
      status: { ...inside.status, ...status },
      writing: { ...inside.writing, ...writing },
      files: files.filter((file) => file !== removed),
    },
  };
}

test("an image as it should be has no fault", () => {
  expect(imageFaults(intact, EXPECTED)).toEqual([]);
});

test.each<[string, Changes]>([
  ["the image's user is root or not a number", { user: "node" }],
  ["the image's user is root or not a number", { user: "0:0" }],
  ["the gateway runs as uid 0 0 0 0", { status: { Uid: "0 0 0 0" } }],
  ["the gateway runs as uid 10001 0 0 10001", { status: { Uid: "10001 0 0 10001" } }],
  ["the gateway has capabilities: CapBnd 00000000a80425fb", { status: { CapBnd: "00000000a80425fb" } }],
  ["the gateway may gain privileges", { status: { NoNewPrivs: "0" } }],
  ["the gateway runs without a seccomp filter", { status: { Seccomp: "0" } }],
  ["something stands between the runtime and node", { command: ["sh", "-c", "node dist/main.js"] }],
  ["/app is not read-only: a file could be written", { writing: { "/app": null } }],
  ["/app is not read-only: EACCES", { writing: { "/app": "EACCES" } }],
  ["/tmp cannot be written: EROFS", { writing: { "/tmp": "EROFS" } }],
  ["/bin/sh has no place in the image", { added: "/bin/sh" }],
  ["/usr/local/bin/npm has no place in the image", { added: "/usr/local/bin/npm" }],
  ["/app/.npmrc has no place in the image", { added: "/app/.npmrc" }],
  ["/app/src/main.ts has no place in the image", { added: "/app/src/main.ts" }],
  ["/app/dist/main.js.map is of no use in the image", { added: "/app/dist/main.js.map" }],
  ["/app/config/client.pem is of no use in the image", { added: "/app/config/client.pem" }],
  [
    "node_modules/typescript is a development dependency",
    { added: "/app/node_modules/typescript/package.json" },
  ],
  ["node_modules/express is missing", { removed: "/app/node_modules/express/package.json" }],
  ["the image holds 200.0 MB, 200.0 MB are allowed", { unpackedBytes: 200e6 }],
  ["V8's heap may outgrow the container", { heapLimitBytes: 259 * 2 ** 20 }],
])("a broken image is found out: %s", (fault, changes) => {
  expect(imageFaults(changed(changes), EXPECTED)).toEqual([fault]);
});

describe("what a container holds", () => {
  const allowed = { token: "/tokens/azure-identity-token", keys: "/keys/token-cache-keys" };
  const projected = "/tokens/..2026/azure-identity-token";
  const jwt = "eyJhbGciOiJub25lIn0.e30.c2ln";
  const key = Buffer.alloc(32, 7).toString("base64");
  const held = {
    token: projected,
    environment: {
      AZURE_CLIENT_ID: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01",
      REDIS_URL: "rediss://name.region.redis.azure.net:10000",
      TOKEN_CACHE_KEYS_FILE: allowed.keys,
    },
    files: { [projected]: jwt, [allowed.keys]: key, "/ca.pem": "-----BEGIN CERTIFICATE-----" },
  } satisfies Held;

  test("has no fault with the projected token and the sealing keys alone", () => {
    expect(secretFaults(held, allowed)).toEqual([]);
  });

  test.each<[string, Readonly<Record<string, string>>, Readonly<Record<string, string>>]>([
    ["the variable AZURE_CLIENT_SECRET is set", { AZURE_CLIENT_SECRET: "s" }, {}],
    ["the variable TOKEN_CACHE_KEYS is set", { TOKEN_CACHE_KEYS: "k" }, {}],
    ["the variable REDIS_URL holds a password in a URL", { REDIS_URL: "rediss://:p@host:10000" }, {}],
    ["the variable OTHER holds a token", { OTHER: jwt }, {}],
    ["the variable OTHER holds a key", { OTHER: key }, {}],
    ["/ca.pem holds a private key", {}, { "/ca.pem": "-----BEGIN PRIVATE KEY-----" }],
    ["/other holds a token", {}, { "/other": jwt }],
    ["/keys/token-cache-keys holds a token", {}, { [allowed.keys]: jwt }],
    ["/tokens/..2026/azure-identity-token holds a key", {}, { [projected]: `${jwt} ${key}` }],
  ])("%s", (fault, environment, files) => {
    const changed = {
      ...held,
      environment: { ...held.environment, ...environment },
      files: { ...held.files, ...files },
    };
    expect(secretFaults(changed, allowed)).toEqual([fault]);
  });
});

describe("docker/test-image.sh", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "path-"));
    for (const tool of ["dirname", "id", "cat"]) {
      const found = ["/usr/bin", "/bin"].map((place) => join(place, tool)).find((file) => existsSync(file));
      symlinkSync(found ?? tool, join(directory, tool));
    }
    symlinkSync(process.execPath, join(directory, "node"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const run = (...args: string[]) =>
    spawnSync("/bin/bash", ["docker/test-image.sh", ...args], {
      encoding: "utf8",
      env: { PATH: directory },
    });

  test("says so, with an exit status of its own, where nothing can build an image", () => {
    const { status, stderr } = run();
    expect({ status, stderr }).toEqual({
      status: 77,
      stderr: expect.stringContaining("left out: no docker"),
    });
  });

  test.each([
    [["--engine", "containerd"], "--engine: docker or podman"],
    [["--limit-mb", "2e3"], "--limit-mb: a whole number"],
    [["--image"], "--image needs a value"],
    [["--push"], "unknown option --push"],
  ])("refuses %j", (args, message) => {
    const { status, stderr } = run(...args);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(message) });
  });
});
