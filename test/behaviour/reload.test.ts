/** A changed configuration is taken over while requests run, and one at fault is not. */

import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Agent, request as httpRequest } from "undici";
import { faultText, findFaults } from "../../src/checked-config.ts";
import { codeRoute, routeHandler } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

/** An API that answers when it is told to. */
interface PatientApi {
  readonly url: string;
  /** The next request that arrives, not answered yet. */
  next(): Promise<ServerResponse>;
  /** Connections that are open. */
  connections(): Promise<number>;
  close(): void;
}

async function startPatientApi(): Promise<PatientApi> {
  const arrived: ServerResponse[] = [];
  let notify = () => {};
  const server: Server = createServer((_request, response) => {
    arrived.push(response);
    notify();
  });
  // Only the gateway closes a connection that rests.
  server.keepAliveTimeout = 0;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async next() {
      while (arrived.length === 0)
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      return arrived.shift() as ServerResponse;
    },
    connections: () =>
      new Promise((resolve, reject) =>
        server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      ),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const policy = { callers: "any", requiredScopes: [], requiredRoles: [], allowedClients: [] } as const;
const ping = codeRoute({
  method: "get",
  path: "/api/ping",
  policy,
  uses: [],
  handler: (_request, response) => void response.json({ pong: true }),
});

/** Calls its API when the test lets it. */
const waiting = { entered: () => {}, release: () => {} };
const later = routeHandler({
  method: "get",
  uses: ["patient"],
  async handler(_request, response, { downstream: { patient: api } }) {
    waiting.entered();
    await new Promise<void>((resolve) => {
      waiting.release = resolve;
    });
    await (await api.get("/late")).stream(response);
  },
});

/** The configuration of the tests with other routes, APIs or parts. */
const changedBy = (change: { readonly apis?: string; readonly routes?: string; readonly parts?: string }) =>
  TEST_YAML.replace("routes:\n", `${change.apis ?? ""}routes:\n${change.routes ?? ""}`).replace(
    "http:\n",
    `${change.parts ?? ""}http:\n`,
  );

let emulator: Emulator;
let gateway: TestGateway;
let api: PatientApi;
beforeAll(async () => {
  [emulator, api] = await Promise.all([startEmulator(), startPatientApi()]);
  gateway = await startTestGateway({ emulator, routes: [ping], handlers: { later } });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
  api.close();
});
beforeEach(async () => {
  await gateway.reconfigure(TEST_YAML);
});

const token = () => emulator.mintUserToken({ user: "ada" });
const newUser = () => emulator.mintUserToken({ user: emulator.addUser() });
const patient = (options = "") => `  patient:
    baseUrl: "${api.url}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
    connections: { keepAliveMs: 600000 }
${options}`;
const PATIENT_ROUTE = '  - { path: /patient, downstreamApi: patient, allow: ["/**"] }\n';
const generation = async (): Promise<number> => (await gateway.admin("/readyz")).body.generation;
const lastLine = (msg: string) => gateway.logs.findLast((line) => line.msg === msg);

describe("a changed configuration is taken over", () => {
  test("with its routes: new ones are served, those that are gone are 404", async () => {
    const user = token();
    expect((await gateway.get("/also/me", user)).status).toBe(404);
    await gateway.reconfigure(
      changedBy({ routes: '  - { path: /also, downstreamApi: graph, allow: ["/me"] }\n' }),
    );
    expect((await gateway.get("/also/me", user)).status).toBe(200);
    expect((await gateway.get("/also/me/manager", user)).status).toBe(403);
    expect((await gateway.get("/api/ping", user)).body).toEqual({ pong: true });
    await gateway.reconfigure(TEST_YAML);
    expect((await gateway.get("/also/me", user)).status).toBe(404);
  });

  test("with handlers that the file mounts, and their policies", async () => {
    const user = token();
    const elsewhere = TEST_YAML.replace("/api/profile, handler", "/api/who, handler");
    await gateway.reconfigure(elsewhere);
    expect((await gateway.get("/api/who", user)).status).toBe(200);
    expect((await gateway.get("/api/profile", user)).status).toBe(404);
    await gateway.reconfigure(
      elsewhere.replace("profile, requiredScopes: [access_as_user]", "profile, requiredScopes: [other]"),
    );
    expect((await gateway.get("/api/who", user)).status).toBe(403);
  });

  test("with its limits; counts of those that stay go on", async () => {
    const user = newUser();
    const limited = (more = "") =>
      changedBy({
        parts: "limits: { perUser: { requests: 3, perSeconds: 3600 } }\n",
        routes: more,
      });
    await gateway.reconfigure(limited());
    expect((await gateway.get("/graph/me", user)).headers.ratelimit).toMatch(/r=2/);
    await gateway.reconfigure(limited('  - { path: /also, downstreamApi: graph, allow: ["/me"] }\n'));
    expect((await gateway.get("/graph/me", user)).headers.ratelimit).toMatch(/r=1/);
    // A configuration that is refused takes no count along either.
    await gateway.reconfigure(limited("  - { path: /also, downstreamApi: grpah }\n"));
    await gateway.reconfigure(limited('  - { path: /other, downstreamApi: graph, allow: ["/me"] }\n'));
    expect((await gateway.get("/other/me", user)).headers.ratelimit).toMatch(/r=0/);
    expect((await gateway.get("/other/me", user)).status).toBe(429);
    await gateway.reconfigure(TEST_YAML);
    expect((await gateway.get("/graph/me", user)).status).toBe(200);
  });

  test("with its origins, in answers, preflights and refusals alike", async () => {
    const ORIGIN = "https://app.example.org";
    const allowed = async (path: string) =>
      (await gateway.get(path).set("origin", ORIGIN)).headers["access-control-allow-origin"];
    expect(await allowed("/graph/me")).toBeUndefined();
    await gateway.reconfigure(TEST_YAML.replace("http:\n", `http:\n  cors: { origins: ["${ORIGIN}"] }\n`));
    expect(await allowed("/graph/me")).toBe(ORIGIN);
    expect(await allowed("/nowhere")).toBe(ORIGIN);
    await gateway.reconfigure(TEST_YAML);
    expect(await allowed("/graph/me")).toBeUndefined();
  });

  test("with its public address, in the metadata and in challenges", async () => {
    const METADATA = "/.well-known/oauth-protected-resource";
    expect((await gateway.get(METADATA)).status).toBe(404);
    await gateway.reconfigure(
      TEST_YAML.replace("http:\n", "http:\n  publicUrl: https://gateway.example.org\n"),
    );
    expect((await gateway.get(METADATA)).body.resource).toBe("https://gateway.example.org");
    expect((await gateway.get("/graph/me")).headers["www-authenticate"]).toContain("resource_metadata");
  });

  test("with the description of its routes, which is there only where it is switched on", async () => {
    const DESCRIPTION = "/.well-known/openapi.json";
    expect((await gateway.get(DESCRIPTION)).status).toBe(404);
    const on = "http:\n  openapi: true\n";
    await gateway.reconfigure(TEST_YAML.replace("http:\n", on));
    const { status, headers, body } = await gateway.get(DESCRIPTION);
    expect({ status, type: headers["content-type"] }).toEqual({
      status: 200,
      type: "application/json; charset=utf-8",
    });
    expect(await new Validator().validate(body)).toEqual({ valid: true });
    expect(body.paths["/api/ping"].get.summary).toBe("Answered by code.");
    expect(body.paths["/also/me"]).toBeUndefined();
    const also = '  - { path: /also, downstreamApi: graph, allow: ["/me"] }\n';
    await gateway.reconfigure(changedBy({ routes: also }).replace("http:\n", on));
    expect((await gateway.get(DESCRIPTION)).body.paths["/also/me"]).toBeDefined();
  });

  test("and its generation is in /readyz, in the metrics and in the log", async () => {
    const before = await generation();
    const event = await gateway.reconfigure(changedBy({ parts: "limits: { perUser: { requests: 9 } }\n" }));
    expect(event).toMatchObject({
      outcome: "taken_over",
      generation: before + 1,
      changed: ["limits.perUser"],
    });
    expect(await generation()).toBe(before + 1);
    expect(lastLine("the changed configuration is taken over")).toMatchObject({
      generation: before + 1,
      changed: ["limits.perUser"],
    });
    const { text } = await gateway.admin("/metrics");
    expect(text).toContain(`obo_gateway_configuration_generation ${before + 1}`);
    expect(text).toMatch(/obo_gateway_configuration_reloads_total\{outcome="taken_over"\} [1-9]/);
  });

  test("and one that says the same is no new generation", async () => {
    const before = await generation();
    expect(await gateway.reconfigure(`# a comment\n${TEST_YAML}`)).toMatchObject({ outcome: "unchanged" });
    expect(await generation()).toBe(before);
  });
});

describe("requests under way end by the configuration that they began with", () => {
  test("also where their route and API are gone, whose connection closes after them", async () => {
    await gateway.reconfigure(changedBy({ apis: patient(), routes: PATIENT_ROUTE }));
    const answered = gateway.get("/patient/slow", token()).then((answer) => answer);
    const response = await api.next();
    expect(await api.connections()).toBe(1);
    await gateway.reconfigure(TEST_YAML);
    expect((await gateway.get("/patient/slow", token())).status).toBe(404);
    response.writeHead(200, { "content-type": "text/plain" }).end("as before");
    expect(await answered).toMatchObject({ status: 200, text: "as before" });
    await expect(gone(api)).resolves.toBe(0);
  });

  test("also where they reach for the API only when it is gone, or has changed", async () => {
    const route = "  - { path: /later, handler: later }\n";
    const withApi = (options = "") => changedBy({ apis: patient(options), routes: route });
    for (const next of [TEST_YAML, withApi("    timeoutMs: 25000\n")]) {
      await gateway.reconfigure(withApi());
      const entered = new Promise<void>((resolve) => {
        waiting.entered = resolve;
      });
      const answered = gateway.get("/later", token()).then((answer) => answer);
      await entered;
      expect(await gateway.reconfigure(next)).toMatchObject({ outcome: "taken_over" });
      waiting.release();
      (await api.next()).end("late");
      expect(await answered).toMatchObject({ status: 200 });
    }
    await gateway.reconfigure(TEST_YAML);
    await expect(gone(api)).resolves.toBe(0);
  });

  test("an API that changes gets new connections, one that stays keeps its own", async () => {
    const withApi = (options: string, more = "") =>
      changedBy({ apis: patient(options), routes: PATIENT_ROUTE + more });
    const call = async () => {
      const answered = gateway.get("/patient/x", token()).then((answer) => answer);
      const response = await api.next();
      const { remotePort } = response.req.socket;
      response.end("x");
      expect((await answered).status).toBe(200);
      return remotePort;
    };
    await gateway.reconfigure(withApi("    timeoutMs: 20000\n"));
    const first = await call();
    await gateway.reconfigure(
      withApi("    timeoutMs: 20000\n", '  - { path: /also, downstreamApi: graph, allow: ["/me"] }\n'),
    );
    expect(await call()).toBe(first);
    await gateway.reconfigure(withApi("    timeoutMs: 25000\n"));
    expect(await call()).not.toBe(first);
  });

  test("places that a user holds at an API that stays count on", async () => {
    const withApi = (more = "") =>
      changedBy({
        apis: patient("    maxConcurrent: 1\n    maxWaiting: 1\n"),
        routes: PATIENT_ROUTE + more,
      });
    await gateway.reconfigure(withApi());
    const first = gateway.get("/patient/1", token()).then((answer) => answer);
    const held = await api.next();
    const second = gateway.get("/patient/2", token()).then((answer) => answer);
    await gateway.reconfigure(withApi('  - { path: /also, downstreamApi: graph, allow: ["/me"] }\n'));
    // Wherever the second one is by now, one more than both has no place.
    const third = gateway.get("/patient/3", token()).then((answer) => answer);
    expect(await Promise.race([second, third])).toMatchObject({ status: 503, body: { code: "overloaded" } });
    held.end("1");
    (await api.next()).end("2");
    expect((await first).text).toBe("1");
    expect((await Promise.all([second, third])).map(({ status }) => status).sort()).toEqual([200, 503]);
  });
});

/** Waits until no connection is open; a connection that stays makes the test fail by its time. */
async function gone(of: PatientApi): Promise<number> {
  for (;;) {
    const open = await of.connections();
    if (open === 0) return 0;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("settings that only a start reads", () => {
  test("are named, wait, and do not keep the rest from taking effect", async () => {
    const yaml = changedBy({
      routes: '  - { path: /also, downstreamApi: graph, allow: ["/me"] }\n',
      parts: "fairness: { userShare: 0.5 }\nlog: { granted: none }\n",
    })
      .replace("shutdownGraceSeconds: 2", "connections: { max: 100 }")
      .replace("  verifier: ", "  clockToleranceSeconds: 30\n  verifier: ");
    const settings = [
      "identity.clockToleranceSeconds",
      "fairness.userShare",
      "log.granted",
      "http.connections.max",
    ];
    const event = await gateway.reconfigure(yaml);
    expect(event).toMatchObject({ outcome: "taken_over", changed: ["routes"], needRestart: settings });
    expect((await gateway.get("/also/me", token())).status).toBe(200);
    const warned = gateway.logs.findLast((line) => String(line.msg).startsWith("settings have changed"));
    expect(warned).toMatchObject({ level: "warn", settings });
    expect(warned?.msg).toContain(settings.join(", "));
    const { status, body } = await gateway.admin("/readyz");
    expect(status).toBe(200);
    expect(body.checks).toContainEqual({
      name: "configuration",
      ready: true,
      detail: { needRestart: settings },
    });
    // They are compared with what serves, and not with the file before.
    expect(await gateway.reconfigure(yaml)).toMatchObject({ outcome: "unchanged", needRestart: settings });
    expect(await gateway.reconfigure(TEST_YAML)).toMatchObject({ needRestart: [] });
  });
});

/** Twenty ways to be at fault: syntax, shape, references, rules across keys, handlers, patterns and policies. */
const FAULTY: readonly [name: string, yaml: string][] = [
  ["broken syntax", `${TEST_YAML}\nroutes: [`],
  ["an empty file", ""],
  ["a list", "- identity\n"],
  ["an alias without an anchor", "identity: *nowhere\n"],
  ["an unknown key", TEST_YAML.replace("identity:", "identty: {}\nidentity:")],
  ["a misspelt key in a part", TEST_YAML.replace("audiences:", "audience:")],
  ["an unknown API", TEST_YAML.replace("downstreamApi: graph", "downstreamApi: grpah")],
  ["an unknown handler", TEST_YAML.replace("handler: inbox", "handler: inbx")],
  [
    "two routes at one path",
    changedBy({ routes: '  - { path: /graph, downstreamApi: graph, allow: ["/x"] }\n' }),
  ],
  [
    "a route that meets one of a handler",
    changedBy({ routes: '  - { path: /api/files/x, downstreamApi: graph, allow: ["/x"] }\n' }),
  ],
  ["a route without allow", changedBy({ routes: "  - { path: /bare, downstreamApi: graph }\n" })],
  ["a pattern that is no path", TEST_YAML.replace('allow: ["/me"]', 'allow: ["me"]')],
  ["a pattern with a dot segment", TEST_YAML.replace('allow: ["/me"]', 'allow: ["/me/.."]')],
  ["a path with a trailing slash", TEST_YAML.replace("path: /step-up", "path: /step-up/")],
  ["a number past its limit", TEST_YAML.replace("maxRequestBytes: 1048576", "maxRequestBytes: -1")],
  [
    "http without leave to enter a private network",
    TEST_YAML.replaceAll("    allowPrivateNetwork: true\n", ""),
  ],
  [
    "applications on a route of users",
    changedBy({
      routes: '  - { path: /machine, downstreamApi: graph, requireUser: false, allow: ["/x"] }\n',
    }),
  ],
  [
    "an application route that names nobody",
    changedBy({ routes: '  - { path: /machine, downstreamApi: graph, as: app, allow: ["/x"] }\n' }),
  ],
  ["a variable that is not set", TEST_YAML.replace("/me/**", "/$" + "{NOT_SET}")],
  [
    "faults in several parts",
    TEST_YAML.replace("tenants:", "tenant:")
      .replace("handler: files", "handler: file")
      .replace("/users/*", "users"),
  ],
];

describe("a configuration at fault is refused, with the text of check in one line, and the one before serves on", () => {
  test.each(FAULTY)("%s", async (_, yaml) => {
    const before = await generation();
    const event = await gateway.reconfigure(yaml);
    const { faults } = await findFaults(gateway.variables);
    expect(faults.length).toBeGreaterThan(0);
    expect(event).toEqual({ outcome: "refused", generation: before, faults });
    const lines = gateway.logs.filter(({ msg }) => String(msg).includes("is refused"));
    expect(lines.at(-1)).toMatchObject({ level: "error", generation: before, faults: faults.map(faultText) });
    const { status, body } = await gateway.admin("/readyz");
    expect({ status, ...body }).toMatchObject({ status: 200, ready: true, generation: before });
    expect((await gateway.get("/graph/me", token())).status).toBe(200);
  });
});

test("fifty changes while requests run lose none of them and cost no exchange", async () => {
  const users = Array.from({ length: 4 }, () => token());
  const agent = new Agent({ connections: 8, pipelining: 1 });
  const tally = new Map<string, number>();
  const paths = ["/graph/me", "/graph/me/messages", "/api/profile", "/api/ping"];
  const call = async (path: string, user: string, body?: string) => {
    const answer = await httpRequest(gateway.url + path, {
      method: body === undefined ? "GET" : "POST",
      dispatcher: agent,
      headers: { authorization: `Bearer ${user}`, "content-type": "application/json" },
      ...(body !== undefined && { body }),
    });
    await answer.body.text();
    const outcome = `${path} ${answer.statusCode}`;
    tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
  };
  for (const user of users) for (const path of paths) await call(path, user);
  emulator.requests.clear();
  tally.clear();

  let changing = true;
  const traffic = users.map(async (user) => {
    for (let count = 0; changing; count += 1) await call(paths[count % paths.length] ?? "", user);
  });
  const before = await generation();
  for (let count = 1; count <= 50; count += 1) {
    const event = await gateway.reconfigure(
      changedBy({
        routes: `  - { path: /extra-${count}, downstreamApi: graph, allow: ["/me"] }\n`,
        apis: `  other-${count}: { baseUrl: "https://other.example.org", scopes: [api://other/.default] }\n`,
        parts: `limits: { perUser: { requests: ${100_000 + count} } }\n`,
      })
        // Every other one changes the API that the requests go to.
        .replace("maxRequestBytes: 1048576", `maxRequestBytes: ${1_048_576 + Math.floor(count / 2)}`)
        .replace("http:\n", `http:\n  cors: { origins: ["https://app-${count}.example.org"] }\n`),
    );
    expect(event).toMatchObject({ outcome: "taken_over", generation: before + count });
    expect((await gateway.get(`/extra-${count}/me`, users[0])).status).toBe(200);
  }
  changing = false;
  await Promise.all(traffic);
  await agent.close();

  expect([...tally.keys()].sort()).toEqual(paths.map((path) => `${path} 200`).sort());
  expect([...tally.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(100);
  expect(emulator.requests.counts.token).toBe(0);
}, 180_000);
