/** A gateway inside another program, which may be less careful about its end than the process of its own is. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { loadConfig } from "../../src/config.ts";
import { startGateway } from "../../src/start.ts";
import { TEST_YAML } from "../support/gateway.ts";

test("whoever asks it to stop a second time waits for the same end", async () => {
  const directory = await mkdtemp(join(tmpdir(), "embedding-"));
  try {
    const file = join(directory, "gateway.yaml");
    await writeFile(file, TEST_YAML);
    const lines: string[] = [];
    const config = loadConfig({
      GATEWAY_CONFIG: file,
      HOST: "127.0.0.1",
      PORT: "0",
      ADMIN_PORT: "0",
      AZURE_TENANT_ID: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01",
      AZURE_CLIENT_ID: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01",
      AZURE_AUTHORITY_HOST: "https://localhost:1",
      AZURE_CLIENT_SECRET: "for a test",
      GRAPH_URL: "http://127.0.0.1:1",
    });
    const gateway = await startGateway(config, { logSink: { write: (line) => void lines.push(line) } });
    await Promise.all([gateway.stop(), gateway.stop()]);
    await gateway.stop();
    expect(lines.filter((line) => line.includes('"stopped"'))).toHaveLength(1);
  } finally {
    await rm(directory, { recursive: true });
  }
});
