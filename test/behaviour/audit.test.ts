/** The audit stream and the request's line, of exchanges that Entra grants and refuses. */

import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
let gateway: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());
afterEach(() => gateway.stop());

const audit = () => gateway.logs.filter(({ stream }) => stream === "audit");
const fingerprint = (token: string) => createHash("sha256").update(token).digest("hex").slice(0, 8);
const UUID = expect.stringMatching(/^[0-9a-f-]{36}$/);

test("an exchange is one event, and a token from the cache is none", async () => {
  gateway = await startTestGateway({ emulator });
  const user = emulator.addUser();
  const token = emulator.mintUserToken({ user });
  const first = await gateway.get("/graph/me", token).expect(200);
  await gateway.get("/graph/me", token).expect(200);
  const correlationId = first.headers["x-correlation-id"] as string;
  expect(audit()).toEqual([
    {
      level: "info",
      time: expect.any(String),
      stream: "audit",
      event: "exchange_granted",
      correlationId,
      grant: "on_behalf_of",
      tid: emulator.tenantId,
      oid: user.objectId,
      assertion: fingerprint(token),
      token: expect.stringMatching(/^[0-9a-f]{8}$/),
      scopes: ["https://graph.microsoft.com/.default"],
      challenged: false,
      ahead: false,
      credential: "workload-identity",
      credentialGeneration: 1,
      entraRequestId: UUID,
      expiresAt: expect.stringMatching(/^\d{4}-.*Z$/),
      ms: expect.any(Number),
      msg: "audit",
    },
  ]);

  expect(await gateway.line(correlationId)).toMatchObject({
    tokenOrigin: "authority",
    credential: "workload-identity",
    credentialGeneration: 1,
    entraRequestId: audit()[0]?.entraRequestId,
    downstreamRequestId: first.headers["request-id"],
    downstreamMs: expect.any(Number),
  });
});

test("a hit of the cache names no credential and no request of Entra's", async () => {
  gateway = await startTestGateway({ emulator });
  const token = emulator.mintUserToken({ user: emulator.addUser() });
  await gateway.get("/graph/me", token).expect(200);
  const hit = await gateway.get("/graph/me", token).expect(200);
  const line = await gateway.line(hit.headers["x-correlation-id"] as string);
  expect(line.tokenOrigin).toBe("cache");
  for (const field of ["credential", "credentialGeneration", "entraRequestId"])
    expect(line).not.toHaveProperty(field);
});

test("a refusal says what Entra said of it, whatever the log's level", async () => {
  gateway = await startTestGateway({ emulator, env: { LOG_LEVEL: "error" } });
  const user = emulator.addUser();
  emulator.refuse({ code: 65001, user });
  await gateway.get("/graph/me", emulator.mintUserToken({ user })).expect(403);
  expect(audit()).toHaveLength(1);
  expect(audit()[0]).toMatchObject({
    event: "exchange_refused",
    code: "consent_required",
    oid: user.objectId,
    credential: "workload-identity",
    credentialGeneration: 1,
    entraRequestId: UUID,
    diagnostics: { error_codes: [65001], trace_id: UUID, correlation_id: UUID },
  });
  expect(audit()[0]).not.toHaveProperty("token");
  expect(gateway.logs.every(({ stream }) => stream === "audit")).toBe(true);
});

test("where the gateway acts for itself there is no user, and the grant says so", async () => {
  gateway = await startTestGateway({
    emulator,
    yaml: `${TEST_YAML.replace(
      "routes:",
      "routes:\n  - { path: /as-app, downstreamApi: graph, as: app, requiredScopes: [access_as_user], allow: ['/users/*'] }",
    )}`,
  });
  await gateway.get("/as-app/users/nobody", emulator.mintUserToken({ user: "ada" }));
  const [event] = audit();
  expect(event).toMatchObject({ grant: "client_credentials", tid: emulator.tenantId });
  expect(event).not.toHaveProperty("oid");
  expect(event).not.toHaveProperty("assertion");
});

test("with a file of its own the stream is there and nowhere else, and whole when the gateway has ended", async () => {
  const directory = await mkdtemp(join(tmpdir(), "audit-"));
  const file = join(directory, "audit.log");
  gateway = await startTestGateway({ emulator });
  const audited = await startTestGateway({ emulator, env: { AUDIT_LOG_FILE: file } });
  try {
    await audited.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() })).expect(200);
  } finally {
    await audited.stop();
  }
  expect(audited.logs.filter(({ stream }) => stream === "audit")).toEqual([]);
  const text = await readFile(file, "utf8");
  const events = text.trimEnd().split("\n");
  expect(events.map((line) => JSON.parse(line).event)).toEqual(["exchange_granted"]);
  expect(text).not.toMatch(/eyJ/);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  await rm(directory, { recursive: true });
});

test("a file that cannot be made ends the start", async () => {
  gateway = await startTestGateway({ emulator });
  const start = startTestGateway({ emulator, env: { AUDIT_LOG_FILE: "/nowhere/audit.log" } });
  await expect(start).rejects.toThrow("AUDIT_LOG_FILE: cannot write /nowhere/audit.log (ENOENT)");
});

test("a disk that is full costs the events, not the requests, and is told", async () => {
  gateway = await startTestGateway({ emulator, env: { AUDIT_LOG_FILE: "/dev/full" } });
  await gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() })).expect(200);
  while (!gateway.logs.some(({ msg }) => msg === "the audit stream cannot be written"))
    await new Promise((resolve) => setTimeout(resolve, 10));
  await gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() })).expect(200);
});
