/** What only some configurations use is loaded by the start or by a reload: where that fails, so do they, and no request does. */

import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { freePort } from "../support/free-port.ts";
import { startTestGateway, type TestGateway, type TestGatewayOptions } from "../support/gateway.ts";
import { yamlOf } from "../support/yaml.ts";

const PLAIN = yamlOf({ routes: ['{ path: /graph, downstreamApi: graph, allow: ["/me"] }'] });
const OPENAPI = `${PLAIN}http: { openapi: true }\n`;
const MCP = PLAIN.replace("routes:\n", "routes:\n  - { path: /mcp, downstreamApi: graph, mcp: true }\n");
const HANDLER = PLAIN.replace("routes:\n", "routes:\n  - { path: /api/profile, handler: profile }\n");
const LIMITS = `${PLAIN}limits: { perUser: { requests: 1000, perSeconds: 60 } }\n`;
const LOCAL = `${PLAIN}local: {}\n`;

/** What asks for each module, of each way in which modules are asked for. */
const ASKING: readonly (readonly [string, Partial<TestGatewayOptions>])[] = [
  ["src/openapi.ts", { yaml: OPENAPI }],
  ["src/console/console.ts", { yaml: `${PLAIN}console: { enabled: true }\n` }],
  ["src/downstream/client.ts", { yaml: HANDLER }],
  ["src/handlers/mount.ts", { yaml: HANDLER }],
  ["src/local/local-side.ts", { yaml: LOCAL, env: { LOCAL_PORT: "0" } }],
  ["src/http/second-side.ts", { yaml: LOCAL, env: { LOCAL_PORT: "0" } }],
  ["src/http/mcp-gate.ts", { yaml: MCP }],
  ["src/http/rate-limits.ts", { yaml: LIMITS }],
  ["src/identity/jose.ts", { yaml: PLAIN.replace("identity:\n", "identity:\n  verifier: jose\n") }],
  ["src/credential/certificate.ts", { credential: "certificate" }],
];

const missing = (module: string) => `there is no ${module}`;
const lost: string[] = [];
function lose(module: string): void {
  const path = `../../${module}`;
  lost.push(path);
  jest.unstable_mockModule(path, () => {
    throw new Error(missing(module));
  });
}
afterEach(() => {
  for (const path of lost.splice(0)) jest.unstable_unmockModule(path);
});

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());

/** Resolves with the reason why there is no connection, or with `undefined` when there is one. */
function refusalOf(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(undefined);
    }).once("error", ({ code }: NodeJS.ErrnoException) => resolve(code));
  });
}

describe("a gateway whose reload cannot load what it asks for", () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ emulator, yaml: PLAIN });
  });
  afterAll(() => gateway.stop());

  const statusOf = async (path: string) => {
    const { status } = await gateway.get(path, emulator.mintUserToken({ user: "ada" }));
    return status;
  };

  test.each([
    ["src/openapi.ts", OPENAPI, "/.well-known/openapi.json"],
    ["src/http/mcp-gate.ts", MCP, "/mcp"],
    ["src/handlers/mount.ts", HANDLER, "/api/profile"],
    ["src/http/rate-limits.ts", LIMITS, "/limited"],
  ])("serves on as before without %s", async (module, yaml, path) => {
    lose(module);
    await expect(gateway.reconfigure(yaml)).rejects.toThrow(missing(module));
    expect([await statusOf("/graph/me"), await statusOf(path)]).toEqual([200, 404]);
  });

  test("takes over the next configuration, which asks for nothing that is not there", async () => {
    const renamed = PLAIN.replace("path: /graph", "path: /directory");
    expect(await gateway.reconfigure(renamed)).toMatchObject({ outcome: "taken_over", generation: 2 });
    expect(await statusOf("/directory/me")).toBe(200);
  });
});

test.each(ASKING)(
  "the start fails when %s cannot be loaded, and nothing listens",
  async (module, options) => {
    lose(module);
    const [port, adminPort] = [await freePort(), await freePort()];
    const env = { ...options.env, PORT: `${port}`, ADMIN_PORT: `${adminPort}` };
    const start = startTestGateway({ emulator, yaml: PLAIN, ...options, env });
    await expect(start).rejects.toThrow(missing(module));
    expect([await refusalOf(port), await refusalOf(adminPort)]).toEqual(["ECONNREFUSED", "ECONNREFUSED"]);
  },
);
