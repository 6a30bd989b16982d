/** Where the local API listens: the loopback address or a Unix socket, when it is configured, and until the last answer. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, lstat, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { loadConfig } from "../../src/config/load.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";
import { ask, bearer, LOCAL_YAML } from "./support.ts";

let emulator: Emulator;
let directory: string;
let socket: string;
let gateway: TestGateway | undefined;

beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "local-"));
  socket = join(directory, "local.sock");
});
afterEach(async () => {
  emulator.faults.clear();
  await gateway?.stop();
  gateway = undefined;
  await rm(directory, { recursive: true });
});

const start = async (env: Record<string, string>, yaml = LOCAL_YAML) => {
  gateway = await startTestGateway({ emulator, yaml, env });
  return gateway;
};
const overSocket = (path: string, headers: Record<string, string> = {}) =>
  ask("http://localhost", path, { headers, socketPath: socket });

function faultsOf(env: Record<string, string>, file: string) {
  try {
    loadConfig({
      GATEWAY_CONFIG: file,
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      GRAPH_URL: "https://graph.example/v1.0",
      ...env,
    });
  } catch (error) {
    if (error instanceof ConfigurationError) return error.faults;
    throw error;
  }
  return [];
}

describe("without `local:`", () => {
  test("nothing listens, and the variable is reported to have no effect", async () => {
    await start({ LOCAL_SOCKET: socket }, TEST_YAML);
    await expect(lstat(socket)).rejects.toThrow("ENOENT");
    expect(gateway?.logs.find(({ setting }) => setting === "LOCAL_SOCKET")).toMatchObject({
      level: "warn",
      msg: "LOCAL_SOCKET has no effect: gateway.yaml has no part named local",
    });
  });
});

describe("a port", () => {
  test("is one of the loopback address, whatever HOST says", async () => {
    const { localUrl, logs } = await start({ LOCAL_PORT: "0", HOST: "0.0.0.0" });
    expect((await ask(localUrl, "/healthz")).status).toBe(200);
    expect(logs.find(({ msg }) => msg === "listening")).toMatchObject({
      localPort: Number(new URL(localUrl).port),
    });
    const outside = Object.values(networkInterfaces())
      .flatMap((all) => all ?? [])
      .filter(({ internal, family }) => !internal && family === "IPv4");
    for (const { address } of outside) {
      const probe: Socket = connect(Number(new URL(localUrl).port), address);
      await expect(once(probe, "connect")).rejects.toThrow("ECONNREFUSED");
    }
  });

  test("that is in use is a fault of LOCAL_PORT, and nothing is left half-started", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    await expect(start({ LOCAL_PORT: String(port) })).rejects.toMatchObject({
      faults: [
        { path: "LOCAL_PORT", problem: expect.stringContaining(`port ${port} on 127.0.0.1 is in use`) },
      ],
    });
    taken.close();
  });
});

describe("a Unix socket", () => {
  test("may be opened by its owner and group alone, from the first moment on", async () => {
    const before = process.umask(0o000);
    try {
      await start({ LOCAL_SOCKET: socket });
      expect(process.umask()).toBe(0o000);
    } finally {
      process.umask(before);
    }
    const { mode } = await stat(socket);
    expect((mode & 0o777).toString(8)).toBe("660");
    const token = emulator.mintUserToken();
    expect((await overSocket("/AuthorizationHeader/graph", bearer(token))).status).toBe(200);
    const decided = await overSocket("/forward-auth/graph", {
      ...bearer(token),
      "x-original-uri": "/graph/me",
      "x-original-method": "GET",
    });
    expect(decided.status).toBe(200);
  });

  test("is protected as a port is", async () => {
    await start({ LOCAL_SOCKET: socket });
    expect((await overSocket("/healthz", { host: "evil.example" })).status).toBe(421);
    expect((await overSocket("/healthz", { origin: "https://evil.example" })).status).toBe(403);
  });

  test("is gone after the end", async () => {
    const { stop } = await start({ LOCAL_SOCKET: socket });
    await stop();
    gateway = undefined;
    await expect(lstat(socket)).rejects.toThrow("ENOENT");
  });

  test("that a killed process left behind is replaced", async () => {
    const listening = `require("node:net").createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, "SIGKILL"))`;
    const [, signal] = await once(spawn(process.execPath, ["-e", listening]), "exit");
    expect([signal, (await lstat(socket)).isSocket()]).toEqual(["SIGKILL", true]);
    await start({ LOCAL_SOCKET: socket });
    expect((await overSocket("/healthz")).status).toBe(200);
  });

  test("of another process that answers is left alone", async () => {
    const other = createServer((one) => one.on("error", () => {}).end("mine")).listen(socket);
    await once(other, "listening");
    await expect(start({ LOCAL_SOCKET: socket })).rejects.toMatchObject({
      faults: [{ path: "LOCAL_SOCKET", problem: expect.stringContaining("is in use") }],
    });
    const probe = connect(socket);
    expect(String((await once(probe, "data"))[0])).toBe("mine");
    probe.destroy();
    other.close();
  });

  test("does not take the place of a file, nor of a missing directory", async () => {
    await writeFile(socket, "a file");
    await expect(start({ LOCAL_SOCKET: socket })).rejects.toMatchObject({
      faults: [{ path: "LOCAL_SOCKET" }],
    });
    expect((await lstat(socket)).isFile()).toBe(true);
    const nowhere = join(directory, "gone", "local.sock");
    await expect(start({ LOCAL_SOCKET: nowhere })).rejects.toMatchObject({
      faults: [{ path: "LOCAL_SOCKET" }],
    });
  });
});

describe("the end", () => {
  test("waits for a request in flight, and takes no new connection after it", async () => {
    const running = await start({ LOCAL_PORT: "0" });
    gateway = undefined;
    const token = emulator.mintUserToken({ user: emulator.addUser() });
    emulator.faults.inject({ endpoint: "token", behaviour: { kind: "delay", ms: 300 } });
    emulator.requests.clear();
    const answer = ask(running.localUrl, "/AuthorizationHeader/graph", { headers: bearer(token) });
    await emulator.requests.until(({ pending, counts }) => pending.token + counts.token > 0);
    const stopped = running.stop();
    expect((await answer).status).toBe(200);
    await stopped;
    await expect(ask(running.localUrl, "/healthz")).rejects.toThrow("ECONNREFUSED");
  });
});

describe("configuration", () => {
  let file: string;
  beforeEach(async () => {
    file = join(directory, "gateway.yaml");
    await writeFile(file, LOCAL_YAML);
    await chmod(file, 0o644);
  });

  test("with neither port nor socket, and with both, is a fault", () => {
    expect(faultsOf({}, file)).toEqual([
      { path: "local", problem: "needs LOCAL_PORT or LOCAL_SOCKET in the environment" },
    ]);
    expect(faultsOf({ LOCAL_PORT: "1", LOCAL_SOCKET: "/x" }, file)).toEqual([
      { path: "LOCAL_SOCKET", problem: "is set beside LOCAL_PORT; only one of them may be" },
    ]);
  });

  test("with a socket that has no absolute path, or one too long for the system, is a fault", () => {
    for (const path of ["local.sock", `/${"x".repeat(110)}`])
      expect(faultsOf({ LOCAL_SOCKET: path }, file)).toMatchObject([{ path: "LOCAL_SOCKET" }]);
  });

  test.each([
    ["an unknown API", "apis: { grpah: {} }", "local.apis.grpah"],
    [
      "application tokens of several scopes",
      "apis: { many: { applicationTokens: true } }",
      "local.apis.many.applicationTokens",
    ],
    [
      "one field for two facts",
      "forwardAuth: { identityFields: { user: X-Who, tenant: x-who } }",
      "local.forwardAuth.identityFields",
    ],
    [
      "Authorization as a field for the user",
      "forwardAuth: { identityFields: { user: Authorization } }",
      "local.forwardAuth.identityFields.user",
    ],
    [
      "a field of the proxy's as one for the user",
      "forwardAuth: { identityFields: { user: X-Accel-Redirect } }",
      "local.forwardAuth.identityFields.user",
    ],
    ["a host with a port", "hosts: ['app.example:80']", "local.hosts[0]"],
    [
      "an override that there is not",
      "apis: { graph: { overrides: [claims] } }",
      "local.apis.graph.overrides[0]",
    ],
  ])("with %s is a fault", async (_, part, path) => {
    const [before = ""] = LOCAL_YAML.split("local:");
    const many = "  many: { baseUrl: https://many.example, scopes: [api://x/A, api://x/B] }\nroutes:";
    await writeFile(file, `${before.replace("routes:", many)}local: { ${part} }\n`);
    expect(faultsOf({ LOCAL_PORT: "0" }, file)).toMatchObject([{ path }]);
  });

  test("that says nothing but local gives users' tokens of every API", async () => {
    const [before = ""] = LOCAL_YAML.split("local:");
    const { localUrl } = await start({ LOCAL_PORT: "0" }, `${before}local: {}\n`);
    const token = emulator.mintUserToken();
    for (const name of ["graph", "hidden", "daemon"])
      expect((await ask(localUrl, `/AuthorizationHeader/${name}`, { headers: bearer(token) })).status).toBe(
        200,
      );
    expect((await ask(localUrl, "/AuthorizationHeaderUnauthenticated/daemon")).status).toBe(403);
  });
});
