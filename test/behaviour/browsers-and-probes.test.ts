/** What browsers, load balancers and older clients ask of the public port besides plain requests. */

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import supertest from "supertest";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

const YAML = TEST_YAML.replace("methods: [GET, HEAD, POST, PUT]", "methods: [GET, POST]").replace(
  "http:\n",
  `http:
  probePath: /healthz
  cors: { origins: ["https://app.example", "https://*.contoso.com"], exposedHeaders: [X-Of-Ours, etag] }
`,
);

let emulator: Emulator;
let api: Server;
let gateway: TestGateway;
let token: string;
let asked: string[] = [];

beforeAll(async () => {
  emulator = await startEmulator();
  api = createServer((request, response) => {
    asked.push(`${request.method} ${request.headers.upgrade ?? "-"}`);
    response.setHeader("content-length", 2).end(request.method === "HEAD" ? undefined : "{}");
  }).listen(0, "127.0.0.1");
  await once(api, "listening");
  const { port } = api.address() as AddressInfo;
  gateway = await startTestGateway({
    emulator,
    yaml: YAML,
    env: { GRAPH_URL: `http://127.0.0.1:${port}/v1.0` },
  });
  token = emulator.mintUserToken({ user: "ada" });
  await gateway.get("/graph/me", token).expect(200);
});
afterAll(async () => {
  await gateway.stop();
  api.closeAllConnections();
  api.close();
  await emulator.close();
});

const authorized = { authorization: () => `Bearer ${token}` };

describe("a route that takes GET", () => {
  test("takes HEAD, and says so", async () => {
    asked = [];
    const { status, headers } = await supertest(gateway.url)
      .head("/graph/me")
      .set("authorization", authorized.authorization());
    expect([status, headers["content-length"]]).toEqual([200, "2"]);
    expect(asked).toEqual(["HEAD -"]);
    const refused = await gateway.send("put", "/graph/me", token).expect(405);
    expect(refused.headers.allow).toBe("GET, POST, HEAD");
  });
});

describe("a request for another protocol", () => {
  test.each(["websocket", "WebSocket", "websocket, h2c", "IRC/6.9"])("is refused: %s", async (protocol) => {
    asked = [];
    const { body, headers } = await gateway
      .get("/graph/me", token)
      .set({ upgrade: protocol, connection: "Upgrade" })
      .expect(400);
    expect(body).toMatchObject({ code: "request_malformed", reason: "upgrade" });
    expect(headers.connection).toBe("close");
    expect(asked).toEqual([]);
  });

  test("is served in this one where HTTP/2 is offered, as clients in Java do with each request", async () => {
    asked = [];
    await gateway
      .get("/graph/me", token)
      .set({ upgrade: "h2c", connection: "Upgrade, HTTP2-Settings", "http2-settings": "AAMAAABk" })
      .expect(200);
    expect(asked).toEqual(["GET -"]);
  });
});

describe("a field that names another method", () => {
  test.each(["X-HTTP-Method", "X-HTTP-Method-Override", "X-HTTP-Methods-Override", "X-Method-Override"])(
    "is refused, and the POST does not go on: %s",
    async (name) => {
      asked = [];
      const { body } = await gateway.send("post", "/graph/me", token).set(name, "MERGE").expect(400);
      expect(body).toMatchObject({ code: "request_malformed", reason: "method_override" });
      expect(body.detail).toContain(name.toLowerCase());
      expect(asked).toEqual([]);
    },
  );

  test("is of no consequence where it names the same", async () => {
    await gateway.send("post", "/graph/me", token).set("x-http-method", "POST").expect(200);
  });
});

describe("the probe on the public port", () => {
  test("asks for no token, says nothing of the gateway, and is no request in log and metrics", async () => {
    const before = gateway.logs.length;
    const { text, headers } = await gateway.get("/healthz").expect(200);
    expect(text).toBe('{"ready":true}');
    expect(headers).toMatchObject({ "cache-control": "no-store", "x-content-type-options": "nosniff" });
    await supertest(gateway.url).head("/healthz").expect(200);
    expect(gateway.logs.slice(before)).toEqual([]);
  });

  test("stands at this one path for GET and HEAD alone", async () => {
    for (const path of ["/healthz/", "/healthz/x", "/HEALTHZ", "/health", "/livez", "/"])
      await gateway.get(path).expect(404);
    await gateway.send("post", "/healthz").expect(404);
  });
});

describe("a browser", () => {
  const answer = (origin: string) => gateway.get("/graph/me", token).set("origin", origin);

  test.each(["https://app.example", "https://preview-42.contoso.com", "https://x.contoso.com"])(
    "may call from %s",
    async (origin) => {
      const { headers } = await answer(origin);
      expect(headers["access-control-allow-origin"]).toBe(origin);
      expect(headers.vary).toMatch(/origin/i);
    },
  );

  test.each([
    "https://contoso.com",
    "https://a.b.contoso.com",
    "https://x.contoso.com.evil.example",
    "https://xcontoso.com",
    "https://x.contoso.com:8443",
    "http://x.contoso.com",
    "https://x-contoso.com",
    "https://.contoso.com",
    "https://xXcontosoXcom",
  ])("may not call from %s", async (origin) => {
    expect((await answer(origin)).headers["access-control-allow-origin"]).toBeUndefined();
  });

  test("reads the fields that are configured, and those it needs to act on a refusal", async () => {
    const exposed = (await answer("https://app.example")).headers["access-control-expose-headers"];
    expect(exposed?.split(",")).toEqual([
      "www-authenticate",
      "retry-after",
      "ratelimit",
      "ratelimit-policy",
      "x-correlation-id",
      "x-of-ours",
      "etag",
    ]);
  });
});
