/** A gateway inside another program, which may be less careful about its end than the process of its own is. */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import { loadConfig } from "../../src/config.ts";
import { ConfigurationError } from "../../src/errors.ts";
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

test("a start that fails for want of a credential leaves no connection to Redis behind", async () => {
  let connections = 0;
  const redis = createServer(() => connections++).listen(0, "127.0.0.1");
  await once(redis, "listening");
  const { port } = redis.address() as AddressInfo;
  const yaml = TEST_YAML.replace(
    "exchange:\n",
    `credential: { sources: [github-actions] }\nexchange:\n  cache: { redis: { url: "redis://127.0.0.1:${port}" } }\n`,
  );
  const config = await configured(yaml, { TOKEN_CACHE_KEYS: randomBytes(32).toString("base64") });
  await expect(startGateway(config, { logSink: { write() {} } })).rejects.toThrow(ConfigurationError);
  // Time enough for a connection that has been asked for.
  await sleep(200);
  expect(connections).toBe(0);
  await new Promise((resolve) => redis.close(resolve));
});
