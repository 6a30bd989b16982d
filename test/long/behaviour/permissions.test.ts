/** A gateway that knows Graph's table: it explains 403, notices drift, and counts what is called. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { codeRoute } from "../../../src/http/code-route.ts";
import { startEmulator } from "../../emulator/emulator.ts";
import { PERMISSION_TABLE } from "../../emulator/graph/permissions.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../../support/gateway.ts";

const TABLE = fileURLToPath(PERMISSION_TABLE);
const LIMIT_MS = 60_000;
const YAML = TEST_YAML.replace("maxRequestBytes: 1048576", "maxRequestBytes: 1048576\n    kind: graph");

/** Calls `/users` with the permissions of the gateway itself, which are none of the user's. */
const asApplication = codeRoute({
  method: "get",
  path: "/api/people",
  as: "app",
  policy: { requiredScopes: ["access_as_user"] },
  uses: ["graph"],
  async handler(_request, response, { downstream }) {
    const answer = await downstream.graph?.get("/users/0c4a7d90-2b6e-4f13-a5d8-91e7c3b0f002");
    response.status(answer?.status ?? 500).end();
  },
});

let emulator: Emulator;
let gateway: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator();
  emulator.revokeConsent({});
  emulator.grantConsent({ scopes: ["User.Read", "Files.ReadWrite"] });
  gateway = await startTestGateway({
    emulator,
    yaml: YAML,
    env: { PERMISSIONS_TABLE: TABLE },
    routes: [asApplication],
  });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});

const ada = () => emulator.mintUserToken({ user: "ada" });
const warnings = (part: string) => gateway.logs.filter(({ msg }) => String(msg).includes(part));

test("Graph's 403 gets a line that names what opens the call and what the token has, once for each call", async () => {
  const token = ada();
  expect((await gateway.get("/graph/me", token)).status).toBe(200);
  for (let count = 0; count < 3; count += 1)
    expect((await gateway.get("/graph/me/manager?$select=id", token)).status).toBe(403);
  expect((await gateway.get("/graph/me/messages/AAMkAGI2", token)).status).toBe(403);
  expect(warnings("GET /me/manager needs one of").map(({ msg, level }) => [level, msg])).toEqual([
    [
      "warn",
      expect.stringMatching(
        /^GET \/me\/manager needs one of User\.Read\.All, Directory\.Read\.All; the token has .*User\.Read/,
      ),
    ],
  ]);
  expect(warnings("GET /me/messages/{id} needs one of")).toHaveLength(1);
});

test("calls of handlers are explained as well, and those of the application are not", async () => {
  const before = warnings("needs one of").length;
  await gateway.get("/api/people", ada());
  expect(warnings("needs one of")).toHaveLength(before);
  await gateway.get("/api/inbox", ada());
  expect(warnings("GET /me/messages needs one of")).toHaveLength(1);
});

test("the drift between routes and grants is one line and two metrics", async () => {
  await gateway.get("/graph/me", ada());
  const lines = warnings("which Entra did not grant");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({
    level: "warn",
    missing: expect.arrayContaining(["Mail.ReadBasic", "User.Read.All"]),
  });
  const { text } = await gateway.admin("/metrics");
  expect(text).toMatch(/^obo_gateway_permissions_missing [1-9]\d*$/m);
  expect(text).toMatch(/^obo_gateway_permissions_unused \d+$/m);
});

test("what was called stands at /permissions of the admin port, without ids", async () => {
  await gateway.get("/graph/users/0c4a7d90-2b6e-4f13-a5d8-91e7c3b0f002", ada());
  const { status, body, text } = await gateway.admin("/permissions");
  expect(status).toBe(200);
  expect(body.granted).toContain("User.Read");
  const calls = body.calls.map(({ call }: { readonly call: string }) => call);
  expect(calls).toEqual(expect.arrayContaining(["GET /me", "GET /me/manager", "GET /users/{id}"]));
  expect(text).not.toMatch(/AAMkAGI2|91e7c3b0f002/);
});

test(
  "the command reports what was called and granted",
  async () => {
    const { stdout, code } = await command("permissions", "--observed", gateway.adminUrl);
    expect(stdout).toMatch(/^call\s+API\s+times\s+403\s+state\s+least permission$/m);
    expect(stdout).toMatch(/^GET \/me\/manager\s+graph\s+\d+\s+\d+\s+MISSING\s+User\.Read\.All$/m);
    expect(stdout).toMatch(/^GET \/me\s+graph\s+\d+\s+0\s+granted\s+User\.Read$/m);
    expect(stdout).toMatch(/^Granted: .*User\.Read/m);
    expect(stdout).toMatch(/^Missing: .*Mail\.ReadBasic/m);
    expect(code).toBe(1);
    const dead = await command("permissions", "--observed", "http://127.0.0.1:1");
    expect(dead).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--observed: http://127.0.0.1:1 is not the admin port"),
    });
  },
  LIMIT_MS,
);

test("without a table nothing of it is there", async () => {
  const plain = await startTestGateway({ emulator, yaml: YAML });
  await plain.get("/graph/me/manager", ada());
  expect((await plain.admin("/permissions")).status).toBe(404);
  expect((await plain.admin("/metrics")).text).not.toContain("obo_gateway_permissions_");
  await plain.stop();
});

async function command(...args: readonly string[]) {
  const child = spawn(process.execPath, ["--import", "tsx", "src/cli/main.ts", ...args, "--table", TABLE], {
    env: { ...process.env, ...gateway.variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, "close");
  return { stdout, stderr, code };
}
