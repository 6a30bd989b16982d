/** A gateway inside another program, which may be less careful about its end than the process of its own is. */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import { loadConfig } from "../../src/config/load.ts";
import type { CodeRoute } from "../../src/http/code-route.ts";
import { startGateway } from "../../src/start.ts";
import { TEST_YAML } from "../support/gateway.ts";

const ENVIRONMENT = {
  HOST: "127.0.0.1",
  PORT: "0",
  ADMIN_PORT: "0",
  AZURE_TENANT_ID: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01",
  AZURE_CLIENT_ID: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01",
  AZURE_AUTHORITY_HOST: "https://localhost:1",
  AZURE_CLIENT_SECRET: "for a test",
  GRAPH_URL: "http://127.0.0.1:1",
};

async function configured(yaml: string, env: Readonly<Record<string, string>> = {}) {
  const directory = await mkdtemp(join(tmpdir(), "embedding-"));
  try {
    const file = join(directory, "gateway.yaml");
    await writeFile(file, yaml);
    return loadConfig({ ...ENVIRONMENT, GATEWAY_CONFIG: file, ...env });
  } finally {
    await rm(directory, { recursive: true });
  }
}

test("whoever asks it to stop a second time waits for the same end", async () => {
  const lines: string[] = [];
  const logSink = { write: (line: string) => void lines.push(line) };
  const gateway = await startGateway(await configured(TEST_YAML), { logSink });
  await Promise.all([gateway.stop(), gateway.stop()]);
  await gateway.stop();
  expect(lines.filter((line) => line.includes('"stopped"'))).toHaveLength(1);
});

const MALFORMED_ROUTE: CodeRoute = {
  method: "get",
  path: "/api/:",
  policy: { requiredScopes: [], requiredRoles: [], allowedClients: [], callers: "user" },
  uses: [],
  handler() {},
};

test.each<[string, string, readonly CodeRoute[]]>([
  ["for want of a credential", "credential: { sources: [github-actions] }\n", []],
  ["over a route in code", "", [MALFORMED_ROUTE]],
])("a start that fails %s leaves no connection to Redis behind", async (_, more, routes) => {
  const connections = new Set<Socket>();
  const redis = createServer((socket) => {
    connections.add(socket.on("close", () => connections.delete(socket)).on("error", () => {}));
  }).listen(0, "127.0.0.1");
  await once(redis, "listening");
  const { port } = redis.address() as AddressInfo;
  const yaml = TEST_YAML.replace(
    "exchange:\n",
    `exchange:\n  cache: { redis: { url: "redis://127.0.0.1:${port}" } }\n`,
  );
  const config = await configured(more + yaml, { TOKEN_CACHE_KEYS: randomBytes(32).toString("base64") });
  await expect(startGateway(config, { routes, logSink: { write() {} } })).rejects.toThrow();
  // Time enough for a connection that has been asked for.
  await sleep(200);
  expect(connections.size).toBe(0);
  await new Promise((resolve) => redis.close(resolve));
});
