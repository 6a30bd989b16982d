/** Real nginx, Caddy and HAProxy in front of an API, with the configurations of docker/: what passes, and what the caller sees of a refusal. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { ACTOR_OF, GatewayError, type GatewayErrorCode } from "../../../src/errors.ts";
import { createPlainSide } from "../../../src/http/plain-side.ts";
import { problemInField } from "../../../src/local/forward-auth.ts";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { ask, bearer, claimsOf } from "../../local/support.ts";
import { describeWith } from "../../support/describe-with.ts";
import { type Front, programOf, type RunningFront, startFront } from "../../support/front.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";

interface Reached {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage["headers"];
  readonly bytes: number;
}

const YAML = `
identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
downstreamApis:
  orders: { baseUrl: "\${GRAPH_URL}", scopes: [https://graph.microsoft.com/.default], allowPrivateNetwork: true }
routes:
  - path: /orders
    downstreamApi: orders
    methods: [GET, POST]
    requiredScopes: [access_as_user]
    allow: ["/me", "/me/**", "/users/*"]
local:
  forwardAuth:
    cacheSeconds: 3600
    identityFields: { user: X-Auth-Request-User }
`;

let emulator: Emulator;
let gateway: TestGateway;
let api: Server;
let apiPort: number;
let reached: Reached[] = [];

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, yaml: YAML, env: { LOCAL_PORT: "0" } });
  api = createServer(async (request, response) => {
    let bytes = 0;
    for await (const chunk of request) bytes += chunk.length;
    const { method, url, rawHeaders, headers } = request;
    reached.push({ method, url, rawHeaders, headers, bytes });
    response.setHeader("content-type", "text/plain").end("the API's own answer");
  }).listen(0, "127.0.0.1");
  await once(api, "listening");
  apiPort = (api.address() as AddressInfo).port;
});
afterAll(async () => {
  api.close();
  api.closeAllConnections();
  await gateway.stop();
  await emulator.close();
});
beforeEach(() => {
  reached = [];
});
afterEach(() => emulator.clearRefusals());

const original = (uri: string, method = "GET") => ({ "x-original-uri": uri, "x-original-method": method });

const FRONTS: readonly Front[] = ["nginx", "nginx with its cache", "nginx with Lua", "caddy", "haproxy"];

for (const front of FRONTS)
  describeWith(front, `${front} in front`, programOf(front) !== undefined, () => {
    let proxy: RunningFront;
    beforeAll(async () => {
      proxy = await startFront(front, { gateway: Number(new URL(gateway.localUrl).port), api: apiPort });
    });
    afterAll(() => proxy.stop());

    test("carries a request that passes, with the field for the API in the place of the caller's", async () => {
      const user = emulator.addUser();
      const token = emulator.mintUserToken({ user });
      const answer = await ask(proxy.url, "/orders/me/items?x=1", {
        method: "POST",
        headers: {
          ...bearer(token),
          "x-auth-request-user": "smuggled",
          "x-auth-request-roles": "smuggled",
          "x-correlation-id": `${front.replaceAll(" ", "-")}-1`,
        },
        body: "x".repeat(100_000),
      });
      expect([answer.status, answer.text]).toEqual([200, "the API's own answer"]);
      const [{ method, url, headers, rawHeaders, bytes } = {} as Reached] = reached;
      expect({ method, url, bytes }).toEqual({ method: "POST", url: "/me/items?x=1", bytes: 100_000 });
      const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
      expect(names.filter((name) => name === "authorization")).toHaveLength(1);
      const delegated = headers.authorization?.replace("Bearer ", "") ?? "";
      expect(claimsOf(delegated)).toMatchObject({ oid: user.objectId });
      expect(rawHeaders.join("\n")).not.toContain(token);
      expect(headers["x-auth-request-user"]).toBe(user.objectId);
      expect(headers["x-correlation-id"]).toBe(`${front.replaceAll(" ", "-")}-1`);
    });

    test("lets none of a caller's two fields Authorization through", async () => {
      const token = emulator.mintUserToken();
      for (const [one, other] of [
        [token, "smuggled"],
        ["smuggled", token],
      ]) {
        const answer = await ask(proxy.url, "/orders/me", {
          headers: ["Authorization", `Bearer ${one}`, "Authorization", `Bearer ${other}`],
        });
        expect([400, 401]).toContain(answer.status);
      }
      expect(reached).toEqual([]);
    });

    test.each([
      ["no token", "/orders/me", "GET", () => ({}), 401, "token_missing"],
      [
        "a forged token",
        "/orders/me",
        "GET",
        () => bearer(emulator.mintUserToken({ signWith: "unpublished" })),
        401,
        "token_rejected",
      ],
      [
        "a scope missing",
        "/orders/me",
        "GET",
        () => bearer(emulator.mintUserToken({ scopes: ["other"] })),
        403,
        "scope_insufficient",
      ],
      [
        "a path that is not open",
        "/orders/secret",
        "GET",
        () => bearer(emulator.mintUserToken()),
        403,
        "target_forbidden",
      ],
      [
        "a method that is not open",
        "/orders/me",
        "PUT",
        () => bearer(emulator.mintUserToken()),
        405,
        "method_not_allowed",
      ],
      [
        "a double encoding",
        "/orders/me/%252e%252e",
        "GET",
        () => bearer(emulator.mintUserToken()),
        400,
        "request_malformed",
      ],
    ] as const)(
      "passes the refusal of %s on, as forward-auth gave it",
      async (_, path, method, headers, status, code) => {
        const given = headers();
        const direct = await ask(gateway.localUrl, "/forward-auth/orders", {
          headers: { ...given, ...original(path, method), "x-correlation-id": "same" },
        });
        const through = await ask(proxy.url, path, {
          method,
          headers: { ...given, "x-correlation-id": "same" },
        });
        expect([direct.status, direct.body.code]).toEqual([status, code]);
        expect(facts(through)).toEqual(facts(direct));
        expect(reached).toEqual([]);
      },
    );

    test("passes a claims challenge and a throttling of Entra's on", async () => {
      const challenged = emulator.addUser();
      const throttled = emulator.addUser();
      emulator.refuse({ code: 50076, claims: true, user: challenged });
      emulator.refuse({ code: 50196, user: throttled });
      for (const [user, status] of [
        [challenged, 401],
        [throttled, 503],
      ] as const) {
        const given = bearer(emulator.mintUserToken({ user, capabilities: ["cp1"] }));
        const direct = await ask(gateway.localUrl, "/forward-auth/orders", {
          headers: { ...given, ...original("/orders/me"), "x-correlation-id": "same" },
        });
        const through = await ask(proxy.url, "/orders/me", {
          headers: { ...given, "x-correlation-id": "same" },
        });
        expect(direct.status).toBe(status);
        expect(facts(through)).toEqual(facts(direct));
      }
      expect(reached).toEqual([]);
    });

    test.each([
      "/orders/../secret",
      "/orders/me/..%2f..%2fsecret",
      "/orders//me",
      "/orders/me/%2e%2e/%2e%2e/x",
      "/orders/./me",
    ])("lets %s, which servers read in two ways, not through", async (path) => {
      const answer = await ask(proxy.url, path, { headers: bearer(emulator.mintUserToken()) });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(reached).toEqual([]);
    });

    const inChunks = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
    const ofLength = (text: string) => `content-length: ${text.length}`;
    test.each<[string, (hidden: string) => { framing: string; pieces: readonly [string, string] }]>([
      ["behind its answer", (hidden) => ({ framing: ofLength(hidden), pieces: ["", hidden] })],
      ["with its head", (hidden) => ({ framing: ofLength(hidden), pieces: [hidden, ""] })],
      [
        "in part with its head, up to where a request begins",
        (hidden) => ({ framing: ofLength(hidden.repeat(2)), pieces: [hidden, hidden] }),
      ],
      [
        "in chunks behind its answer",
        (hidden) => ({ framing: "transfer-encoding: chunked", pieces: ["", inChunks(hidden)] }),
      ],
      [
        "in chunks with its head",
        (hidden) => ({ framing: "transfer-encoding: chunked", pieces: [inChunks(hidden), ""] }),
      ],
    ])("reads the body of a refused request as no request: one that comes %s", async (_, sent) => {
      const token = emulator.mintUserToken();
      const { host, port } = new URL(proxy.url);
      const hidden = `GET /orders/me HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n\r\n`;
      const { framing, pieces } = sent(hidden);
      const socket = connect(Number(port), "127.0.0.1");
      let answers = "";
      socket.setEncoding("latin1").on("data", (text) => {
        answers += text;
      });
      socket.on("error", () => {});
      const isOver = once(socket, "close");
      const head = `POST /orders/secret HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n${framing}\r\n\r\n`;
      socket.write(head + pieces[0]);
      // The answer may come before the rest of the body does.
      await sleep(100);
      socket.write(pieces[1]);
      socket.write(`GET /orders/none HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      await isOver;
      expect(reached).toEqual([]);
      expect(answers).toMatch(/^HTTP\/1\.1 403 /);
      expect(answers).not.toMatch(/^HTTP\/1\.1 200 /m);
    });

    test("believes none of a caller's own fields about the original request", async () => {
      const answer = await ask(proxy.url, "/orders/secret", {
        headers: {
          ...bearer(emulator.mintUserToken()),
          ...original("/orders/me"),
          "x-forwarded-uri": "/orders/me",
          "x-forwarded-method": "GET",
          "x-envoy-original-path": "/orders/me",
        },
      });
      expect(answer.status).toBe(403);
      expect(reached).toEqual([]);
    });
  });

for (const front of FRONTS)
  describeWith(
    front,
    `${front} in front of every row of the error table`,
    programOf(front) !== undefined,
    () => {
      let proxy: RunningFront;
      let refusing: Server;
      let refusal: GatewayError;
      beforeAll(async () => {
        const side = createPlainSide({
          challenge: {
            clientId: emulator.clientId,
            authorizeEndpoint: (tenant) => `https://login.example/${tenant}/authorize`,
            resourceMetadata: "https://gateway.example/.well-known/oauth-protected-resource",
          },
          own: { lines: [], text: "", names: new Set() },
          observer: { began() {}, ended() {} },
          auditIsAtRisk: undefined,
          onInternalError() {},
          adapt: problemInField,
        });
        refusing = createServer((request, response) => side.refuse(refusal)(request, response)).listen(
          0,
          "127.0.0.1",
        );
        await once(refusing, "listening");
        proxy = await startFront(front, { gateway: (refusing.address() as AddressInfo).port, api: apiPort });
      });
      afterAll(async () => {
        await proxy.stop();
        refusing.close();
        refusing.closeAllConnections();
      });

      test.each(Object.keys(ACTOR_OF) as GatewayErrorCode[])("%s arrives unchanged", async (code) => {
        refusal = new GatewayError(code, {
          detail: 'A sentence with "quotes", a \\ and an ä.',
          retryAfterSeconds: 17,
          claims: '{"access_token":{"nbf":{"essential":true,"value":"1"}}}',
          requiredScopes: ["a", "b"],
          consentUri: "https://login.example/consent?a=b&c=d",
          reason: "some_reason",
        });
        const headers = { "x-correlation-id": "same" };
        const { port } = refusing.address() as AddressInfo;
        const direct = await ask(`http://127.0.0.1:${port}`, "/forward-auth/orders", { headers });
        const through = await ask(proxy.url, "/orders/me", { headers });
        expect(direct.body.code).toBe(code);
        expect(facts(through)).toEqual(facts(direct));
        expect(reached).toEqual([]);
      });

      test("and a gateway that is not there lets nothing through", async () => {
        const alone = await startFront(front, { gateway: 1, api: apiPort });
        try {
          const answer = await ask(alone.url, "/orders/me", { headers: bearer(emulator.mintUserToken()) });
          expect([502, 503, 504]).toContain(answer.status);
          expect(reached).toEqual([]);
        } finally {
          await alone.stop();
        }
      });
    },
  );

const KEEPING: readonly Front[] = ["nginx with its cache", "nginx with Lua"];

for (const front of KEEPING)
  describeWith(front, `the decisions that ${front} keeps`, programOf(front) !== undefined, () => {
    let proxy: RunningFront;
    beforeAll(async () => {
      proxy = await startFront(front, {
        gateway: Number(new URL(gateway.localUrl).port),
        api: apiPort,
      });
    });
    afterAll(() => proxy.stop());
    const questions = () =>
      gateway.logs.filter(({ msg, via }) => msg === "request" && via === "forward-auth").length;

    test("are for one caller, one path and one method", async () => {
      const [one, other] = [emulator.addUser(), emulator.addUser()];
      const tokens = [emulator.mintUserToken({ user: one }), emulator.mintUserToken({ user: other })];
      const before = questions();
      for (let count = 0; count < 3; count += 1)
        for (const token of tokens) {
          const answer = await ask(proxy.url, "/orders/me", { headers: bearer(token) });
          expect(answer.status).toBe(200);
        }
      expect(questions() - before).toBe(2);
      expect(reached.map(({ headers }) => headers["x-auth-request-user"])).toEqual(
        [one, other, one, other, one, other].map(({ objectId }) => objectId),
      );
      for (const { headers } of reached)
        expect(claimsOf(headers.authorization?.replace("Bearer ", "") ?? "").oid).toBe(
          headers["x-auth-request-user"],
        );
      const [token = ""] = tokens;
      await ask(proxy.url, "/orders/me", { method: "POST", headers: bearer(token) });
      await ask(proxy.url, "/orders/users/1", { headers: bearer(token) });
      expect(questions() - before).toBe(4);
      const secret = await ask(proxy.url, "/orders/secret", { headers: bearer(token) });
      expect([secret.status, questions() - before]).toEqual([403, 5]);
    });

    test("are none that refuse", async () => {
      const before = questions();
      const forged = emulator.mintUserToken({ signWith: "unpublished" });
      for (let count = 0; count < 2; count += 1)
        expect((await ask(proxy.url, "/orders/me", { headers: bearer(forged) })).status).toBe(401);
      expect(questions() - before).toBe(2);
    });
  });

for (const front of KEEPING)
  describeWith(front, `how long ${front} keeps a decision`, programOf(front) !== undefined, () => {
    let deciding: Server;
    let proxy: RunningFront;
    let lifetime: Record<string, string>;
    let questions: IncomingMessage["headers"][] = [];
    beforeAll(async () => {
      deciding = createServer((request, response) => {
        questions.push(request.headers);
        const serial = `decision-${questions.length}`;
        response.writeHead(200, { authorization: serial, "x-correlation-id": "c", ...lifetime }).end();
      }).listen(0, "127.0.0.1");
      await once(deciding, "listening");
      proxy = await startFront(front, { gateway: (deciding.address() as AddressInfo).port, api: apiPort });
    });
    afterAll(async () => {
      await proxy.stop();
      deciding.close();
      deciding.closeAllConnections();
    });
    beforeEach(() => {
      questions = [];
    });
    const keptFor = (seconds: number) => ({
      "x-accel-expires": String(seconds),
      "cache-control": `private, max-age=${seconds}`,
    });
    const sent = () => reached.map(({ headers }) => headers.authorization);
    const call = (token: string, more = {}) =>
      ask(proxy.url, "/orders/me", { headers: { ...bearer(token), ...more } });

    test("for as long as the gateway says, and no longer", async () => {
      lifetime = keptFor(1);
      await call("short");
      await call("short");
      expect(sent()).toEqual(["decision-1", "decision-1"]);
      // The proxy's own clock, of whole seconds.
      await sleep(2_100);
      await call("short");
      expect(sent()).toEqual(["decision-1", "decision-1", "decision-2"]);
    });

    test("not at all where the gateway says no-store", async () => {
      lifetime = { "cache-control": "no-store" };
      await call("unkept");
      await call("unkept");
      expect(sent()).toEqual(["decision-1", "decision-2"]);
    });

    test("not for a request with Delegation, nor from one", async () => {
      lifetime = keptFor(600);
      await call("job");
      lifetime = { "cache-control": "no-store" };
      await call("job", { delegation: "handle" });
      await call("job", { delegation: "handle" });
      await call("job");
      expect(sent()).toEqual(["decision-1", "decision-2", "decision-3", "decision-1"]);
      expect(questions.map(({ delegation }) => delegation)).toEqual([undefined, "handle", "handle"]);
      expect(reached.map(({ headers }) => headers.delegation)).toEqual(Array(4).fill(undefined));
    });

    test.each([
      ["at its end", "one", "two"],
      ["in its length", "three", "thre"],
    ])("for no token that differs %s", async (_, one, other) => {
      lifetime = keptFor(600);
      await call(`${"x".repeat(4_000)}${one}`);
      await call(`${"x".repeat(4_000)}${other}`);
      expect(sent()).toEqual(["decision-1", "decision-2"]);
    });

    test("a 200 without the field for the API lets nothing through", async () => {
      const field = { authorization: "" };
      lifetime = { ...keptFor(600), ...field };
      const answer = await call("empty");
      if (front === "nginx with Lua") expect(answer.status).toBe(503);
      expect(sent().filter(Boolean)).toEqual([]);
    });
  });

/** What the caller of a proxy sees of a decision. */
function facts({ status, headers, rawHeaders, body }: Awaited<ReturnType<typeof ask>>) {
  const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  return {
    status,
    challenge: headers["www-authenticate"],
    challenges: names.filter((name) => name === "www-authenticate").length,
    retryAfter: headers["retry-after"],
    allow: headers.allow,
    correlationId: headers["x-correlation-id"],
    type: headers["content-type"],
    cacheControl: headers["cache-control"],
    body,
  };
}
