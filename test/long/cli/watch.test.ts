/** `obo-gateway start --watch`: code that changes is served by a new process, a gateway that ended waits for a change. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "@jest/globals";

const LIMIT_MS = 60_000;
const directory = mkdtempSync(join(tmpdir(), "watch-"));
const path = (name: string) => join(directory, name);

const YAML = `
identity: { tenants: ["*"], audiences: [a] }
downstreamApis:
  graph: { baseUrl: "https://graph.microsoft.com/v1.0", scopes: [https://graph.microsoft.com/.default] }
routes:
  - { path: /graph, downstreamApi: graph, allow: ["/me"] }
`;
const MODULE = `import { path } from "./parts/path.mjs";
export const routes = [{ method: "get", path, policy: {}, uses: [], handler() {} }];`;

let child: ChildProcess;
const lines: string[] = [];
let notify = () => {};

/** Waits for the next line that holds the text, in the order of their appearance. */
async function said(text: string): Promise<string> {
  for (;;) {
    const index = lines.findIndex((line) => line.includes(text));
    if (index !== -1) return lines.splice(0, index + 1).at(-1) ?? "";
    await new Promise<void>((resolve) => {
      notify = resolve;
    });
  }
}
const servedRoutes = async (): Promise<readonly string[]> =>
  JSON.parse(await said('"msg":"listening"')).routes;

beforeAll(() => {
  mkdirSync(path("parts"));
  mkdirSync(path("node_modules"));
  writeFileSync(path("gateway.yaml"), YAML);
  writeFileSync(path("index.mjs"), MODULE);
  writeFileSync(path("parts/path.mjs"), 'export const path = "/one";');
  child = spawn(
    process.execPath,
    ["--import", "tsx", "src/cli/main.ts", "start", "--watch", "--config", path("gateway.yaml")],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH ?? "",
        AZURE_TENANT_ID: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01",
        AZURE_CLIENT_ID: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01",
        AZURE_CLIENT_SECRET: "for a test",
        AZURE_AUTHORITY_HOST: "https://localhost:1/",
        GATEWAY_HANDLERS: path("index.mjs"),
        PORT: "0",
        ADMIN_PORT: "0",
      },
    },
  );
  for (const output of [child.stdout, child.stderr])
    if (output !== null)
      createInterface({ input: output }).on("line", (line) => {
        lines.push(line);
        notify();
      });
});
afterAll(() => {
  child.kill("SIGKILL");
  rmSync(directory, { recursive: true });
});

test(
  "a file that the module imports is served anew when it changes",
  async () => {
    expect(await servedRoutes()).toEqual(["GET /graph/**: API graph", "GET,HEAD /one: code"]);
    writeFileSync(path("parts/path.mjs"), 'export const path = "/another";');
    await said("path.mjs has changed; starting again");
    expect(await servedRoutes()).toEqual(["GET,HEAD /another: code", "GET /graph/**: API graph"]);
  },
  LIMIT_MS,
);

test(
  "gateway.yaml is taken over by the running gateway; one that has ended starts with the corrected file",
  async () => {
    writeFileSync(path("gateway.yaml"), YAML.replace("/graph,", "/ms-graph,"));
    await said("the changed configuration is taken over");
    writeFileSync(path("gateway.yaml"), YAML.replace("allow", "alow"));
    await said("the changed configuration is refused");
    // The new process reads the file that the old one refused.
    writeFileSync(path("parts/path.mjs"), 'export const path = "/third";');
    await said("the gateway has ended with code 2; waiting for a change");
    writeFileSync(path("gateway.yaml"), YAML);
    await said("gateway.yaml has changed; starting again");
    expect(await servedRoutes()).toEqual(["GET /graph/**: API graph", "GET,HEAD /third: code"]);
  },
  LIMIT_MS,
);

test(
  "what was installed beside the module is not looked at, and SIGTERM ends both in order",
  async () => {
    writeFileSync(path("node_modules/package.mjs"), "export {};");
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    await said('"msg":"stopped"');
    expect(await exit).toEqual([0, null]);
    expect(lines.filter((line) => line.includes("starting again"))).toEqual([]);
  },
  LIMIT_MS,
);
