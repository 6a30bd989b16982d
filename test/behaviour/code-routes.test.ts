/** Handlers that gateway.yaml mounts by name, and routes that an embedding program writes in code. */

import { once } from "node:events";
import http from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { codeRoute, routeHandler } from "../../src/index.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());

describe("the shipped handlers", () => {
  let gateway: TestGateway;
  let ada: string;
  beforeAll(async () => {
    gateway = await startTestGateway({ emulator });
    ada = emulator.mintUserToken({ user: "ada", capabilities: ["cp1"] });
  });
  afterAll(() => gateway.stop());

  test("/api/inbox sends every message of every page, a line each", async () => {
    const busy = emulator.addUser({ messageCount: 120 });
    emulator.requests.clear();
    const answer = await gateway
      .get("/api/inbox", emulator.mintUserToken({ user: busy }))
      .buffer(true)
      .parse((response, done) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
        });
        response.on("end", () => done(null, text));
      })
      .expect(200)
      .expect("content-type", "application/x-ndjson")
      .expect("cache-control", "no-store");
    const lines = String(answer.body)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(120);
    expect(new Set(lines.map(({ id }) => id)).size).toBe(120);
    expect(Object.keys(lines[0])).toEqual(["id", "receivedDateTime", "subject"]);
    expect(emulator.requests.counts.graph).toBe(3);
  });

  test("/api/inbox tells a refusal of the first page as a problem, and cuts off at one of a later page", async () => {
    const fault = (status: number, match: string) =>
      emulator.faults.inject({
        endpoint: "graph",
        behaviour: { kind: "json", status },
        match: { path: match },
      });
    const first = fault(503, "/me/messages");
    const { body } = await gateway.get("/api/inbox", ada).expect(502);
    expect(body.code).toBe("downstream_unreachable");
    first.remove();

    const busy = emulator.mintUserToken({ user: emulator.addUser({ messageCount: 60 }) });
    const later = fault(503, "skiptoken");
    const request = http.get(`${gateway.url}/api/inbox`, { headers: { authorization: `Bearer ${busy}` } });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    response.resume();
    await once(response, "error");
    expect(response.complete).toBe(false);
    later.remove();
  });

  test("/api/files/:id hands on Graph's address for the bytes, and an id cannot be a path", async () => {
    const answer = await gateway.get("/api/files/abc", ada).redirects(0).expect(302);
    expect(answer.headers.location).toMatch(/\/download\//);
    await gateway.get("/api/files/..%2f..%2fmessages", ada).redirects(0).expect(400);
    expect(emulator.requests.graph.at(-1)?.path).toBe("/v1.0/me/drive/items/abc/content");
  });
});

describe("a handler mounted by gateway.yaml", () => {
  const mounted = (route: string) =>
    TEST_YAML.replace("routes:\n", `routes:\n  - { path: /mine, ${route} }\n`);

  test("of the embedding program answers under the policy of its route", async () => {
    const handlers = {
      whoami: routeHandler({
        method: "get",
        uses: [],
        handler: ({ principal }, response) => void response.json({ oid: principal.objectId }),
      }),
    };
    const yaml = mounted("handler: whoami, requiredScopes: [access_as_user]");
    const gateway = await startTestGateway({ emulator, handlers, yaml });
    try {
      const { ada } = emulator.users;
      const { body } = await gateway.get("/mine", emulator.mintUserToken({ user: ada })).expect(200);
      expect(body).toEqual({ oid: ada.objectId });
      const unscoped = emulator.mintUserToken({ user: ada, scopes: ["other"] });
      expect((await gateway.get("/mine", unscoped).expect(403)).body.code).toBe("scope_insufficient");
    } finally {
      await gateway.stop();
    }
  });

  test("calls no other path than its route allows, and answers to the limits of its route", async () => {
    const yaml = mounted('handler: profile, allow: ["/me"], limits: { perUser: { requests: 2 } }');
    const gateway = await startTestGateway({ emulator, yaml });
    try {
      const token = emulator.mintUserToken({ user: emulator.addUser() });
      emulator.requests.clear();
      expect((await gateway.get("/mine", token).expect(403)).body.code).toBe("target_forbidden");
      expect(emulator.requests.graph.map(({ path }) => path)).not.toContainEqual(
        expect.stringContaining("/manager"),
      );
      await gateway.get("/mine", token).expect(403);
      expect((await gateway.get("/mine", token).expect(429)).body.code).toBe("rate_limited");
    } finally {
      await gateway.stop();
    }
  });

  test("hides no call that its route does not allow in a batch", async () => {
    const handlers = {
      hidden: routeHandler({
        method: "get",
        uses: ["graph"],
        async handler(_request, response, { downstream: { graph } }) {
          const batch = graph.batch();
          batch.get("/me");
          batch.get("/me/manager");
          await batch.send();
          response.end();
        },
      }),
    };
    const yaml = mounted('handler: hidden, allow: ["/me"]');
    const gateway = await startTestGateway({ emulator, handlers, yaml });
    try {
      emulator.requests.clear();
      const token = emulator.mintUserToken({ user: emulator.addUser() });
      expect((await gateway.get("/mine", token).expect(403)).body.code).toBe("target_forbidden");
      expect(emulator.requests.counts.graph).toBe(0);
    } finally {
      await gateway.stop();
    }
  });

  test("is absent where the file does not name it, and a name that no handler has ends the start", async () => {
    const bare = TEST_YAML.replace(/^ {2}- \{ path: \/api.*\n/gm, "");
    const gateway = await startTestGateway({ emulator, yaml: bare });
    try {
      const token = emulator.mintUserToken({ user: "ada" });
      for (const path of ["/api/profile", "/api/inbox", "/api/files/1"])
        expect((await gateway.get(path, token).expect(404)).body.code).toBe("route_unknown");
    } finally {
      await gateway.stop();
    }
    await expect(startTestGateway({ emulator, yaml: mounted("handler: profle") })).rejects.toMatchObject({
      faults: [{ path: "routes[0].handler", problem: 'no handler named "profle"; did you mean "profile"?' }],
    });
  });

  test("stands in the start's log line beside every other route that is served", async () => {
    const gateway = await startTestGateway({ emulator });
    await gateway.stop();
    const line = gateway.logs.find(({ msg }) => msg === "listening");
    expect(line?.routes).toEqual(
      expect.arrayContaining([
        "GET,HEAD,POST,PUT /graph/**: API graph",
        "GET,HEAD /api/files/:id: handler files",
        "GET,HEAD /api/profile: handler profile",
      ]),
    );
  });
});

test("a route in code that lies inside a route of gateway.yaml ends the start", async () => {
  const inside = codeRoute({
    method: "get",
    path: "/graph/mine",
    policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
    uses: [],
    handler() {},
  });
  await expect(startTestGateway({ emulator, routes: [inside] })).rejects.toMatchObject({
    faults: [{ path: "route GET /graph/mine", problem: expect.stringContaining("meets the route /graph ") }],
  });
});

describe("a route of one's own", () => {
  const overview = codeRoute({
    method: "get",
    path: "/api/overview",
    policy: { callers: "user", requiredScopes: ["access_as_user"], requiredRoles: [], allowedClients: [] },
    uses: ["graph"],
    async handler(request, response, { downstream: { graph } }) {
      const batch = graph.batch();
      const me = batch.get<{ displayName: string }>("/me");
      const manager = batch.get<{ displayName: string }>("/me/manager");
      const answers = await batch.send();
      response.json({
        oid: request.principal.objectId,
        name: answers.of(me).body.displayName,
        manager: answers.of(manager).ok ? answers.of(manager).body.displayName : null,
      });
    },
  });

  const manager = codeRoute({
    method: "get",
    path: "/api/manager",
    policy: { callers: "user", requiredScopes: ["access_as_user"], requiredRoles: [], allowedClients: [] },
    uses: ["graph"],
    async handler(request, response, { downstream }) {
      const answer = await downstream.graph.get("/me/manager");
      response.status(answer.status).json({ oid: request.principal.objectId, manager: await answer.json() });
    },
  });

  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ emulator, routes: [overview, manager] });
  });
  afterAll(() => gateway.stop());

  test("/api/manager answers for the user whose token it was", async () => {
    const { body } = await gateway.get("/api/manager", emulator.mintUserToken({ user: "ada" })).expect(200);
    expect(body.manager.displayName).toBe("Grace Hopper");
  });

  test("may send a batch for that user", async () => {
    const { body } = await gateway.get("/api/overview", emulator.mintUserToken({ user: "ada" })).expect(200);
    expect(body).toEqual({
      oid: emulator.users.ada.objectId,
      name: "Ada Lovelace",
      manager: "Grace Hopper",
    });
  });

  test("asks the user when Graph wants more of them", async () => {
    const challenge = emulator.graph.challenge("ada", { path: "/me/manager", satisfiedBy: "nothing" });
    const token = emulator.mintUserToken({ user: "ada", capabilities: ["cp1"] });
    const { headers } = await gateway.get("/api/overview", token).expect(401);
    expect(headers["www-authenticate"]).toMatch(/error="insufficient_claims"/);
    challenge.remove();
  });
});
