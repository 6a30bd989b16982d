import { once } from "node:events";
import http from "node:http";
import { describe, expect, test } from "@jest/globals";
import { createDownstreamClient } from "../../../src/downstream/client.ts";
import type { TransportEvent } from "../../../src/downstream/contract.ts";
import {
  callerResponseHeaders,
  downstreamRequestHeaders,
  headerRulesOf,
} from "../../../src/downstream/headers/headers.ts";
import { ConfigurationError } from "../../../src/errors.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { apiAt, HELD_BYTES } from "../api-options.ts";
import { bodyOf, call, createInbox, listen, startApi, startGateway, transportFor } from "../support.ts";

test("a host that refuses connections is not asked again until its time is over, and then once", async () => {
  const server = http.createServer((_request, response) => response.end("back"));
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  const clock = { now: 1_000_000 };
  const events: TransportEvent[] = [];
  const api = apiAt(port, { breaker: { failures: 2, openMs: 5000 } });
  const client = createDownstreamClient({
    maxBytes: HELD_BYTES,
    transport: transportFor(api, { now: () => clock.now, onEvent: (event) => events.push(event) }),
    api,
    correlationId: "c",
    obtainToken: async () => ({ accessToken: new Secret("t"), expiresAt: 0 }),
  });
  const reason = () =>
    client.get("/me").then(
      ({ status }) => status,
      (error) => error.reason,
    );
  expect([await reason(), await reason(), await reason()]).toEqual(["refused", "refused", "breaker_open"]);
  await expect(client.get("/me")).rejects.toMatchObject({ retryAfterSeconds: 5 });

  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  expect(await reason()).toBe("breaker_open");
  clock.now += 5000;
  expect([await reason(), await reason()]).toEqual([200, 200]);
  expect(events.map(({ type }) => type)).toEqual(["breaker_opened", "breaker_closed"]);
});

test("requests past an API's concurrency and queue are refused with a time to come back", async () => {
  const port = await startApi((_request, response) => response.end());
  const api = apiAt(port, { maxConcurrent: 1, maxWaiting: 1 });
  const transport = transportFor(api);
  const target = { api, origin: `http://127.0.0.1:${port}`, path: "/v1.0/me" };
  const ends = createInbox<string>();
  for (const name of ["first", "second", "third"]) {
    transport.send(
      { target, method: "GET", headers: [], body: undefined },
      {
        head() {},
        chunk() {},
        end: () => ends.put(`${name} answered`),
        failed: (error) => ends.put(`${name} ${error.code}, again after ${error.retryAfterSeconds} s`),
      },
    );
  }
  expect([await ends.next(), await ends.next(), await ends.next()]).toEqual([
    "third overloaded, again after 1 s",
    "first answered",
    "second answered",
  ]);
});

describe("a throttled request", () => {
  async function startThrottled(answers: readonly [status: number, retryAfter?: string][]) {
    const bodies: string[] = [];
    const port = await startApi((request, response) => {
      void bodyOf(request).then((body) => {
        bodies.push(`${body}`);
        const [status, retryAfter] = answers[bodies.length - 1] ?? [200];
        response
          .writeHead(status, retryAfter === undefined ? {} : { "retry-after": retryAfter })
          .end(`${status}`);
      });
    });
    return { port, bodies };
  }

  test.each<[string, string, [number, string?][], number, number]>([
    ["429 is repeated, with its body", "POST", [[429, "0"]], 200, 2],
    ["503 is repeated when that is harmless", "PUT", [[503, "0"]], 200, 2],
    ["503 is passed on when something may have been done", "POST", [[503, "0"]], 503, 1],
    ["429 without a pause is passed on", "GET", [[429]], 429, 1],
    ["429 with a longer pause is passed on", "GET", [[429, "2"]], 429, 1],
    [
      "429 for the third time is passed on",
      "GET",
      [
        [429, "0"],
        [429, "0"],
        [429, "0"],
      ],
      429,
      3,
    ],
    ["500 is passed on", "GET", [[500, "0"]], 500, 1],
  ])("%s: %s", async (_, method, answers, status, attempts) => {
    const { port, bodies } = await startThrottled(answers);
    const gateway = await startGateway({ api: apiAt(port, { maxThrottleWaitMs: 1000 }) });
    const body = method === "GET" ? undefined : "hello";
    expect((await call(gateway.url("/graph/me"), { method, body })).status).toBe(status);
    expect(bodies).toEqual(Array.from({ length: attempts }, () => body ?? ""));

    const again = await startThrottled(answers);
    const api = apiAt(again.port, { maxThrottleWaitMs: 1000 });
    const client = createDownstreamClient({
      maxBytes: HELD_BYTES,
      transport: transportFor(api),
      api,
      correlationId: "c",
      obtainToken: async () => ({ accessToken: new Secret("t"), expiresAt: 0 }),
    });
    const verb = method.toLowerCase() as "get" | "post" | "put";
    const answer = await client[verb]("/me", body === undefined ? {} : { body });
    expect([answer.status, again.bodies.length]).toEqual([status, attempts]);
  });

  test("is passed on by default", async () => {
    const { port, bodies } = await startThrottled([[429, "0"]]);
    const gateway = await startGateway({ api: apiAt(port) });
    expect([(await call(gateway.url("/graph/me"))).status, bodies.length]).toEqual([429, 1]);
  });

  test("whose caller leaves during the pause is not repeated", async () => {
    const asked = createInbox<string | undefined>();
    const port = await startApi((request, response) => {
      asked.put(request.url);
      response.writeHead(429, { "retry-after": "5" }).end();
    });
    const gateway = await startGateway({ api: apiAt(port, { maxThrottleWaitMs: 9000 }) });
    const request = http.get(gateway.url("/graph/me"), { agent: false });
    request.on("error", () => {});
    await asked.next();
    request.destroy();
    expect(await gateway.outcomes.next()).toEqual({ kind: "abandoned" });
  });
});

describe("an API's own header rules", () => {
  const api = apiAt(1, {
    headers: {
      request: { allow: ["Cookie", "X-Forwarded-Prefix"], deny: ["Prefer"] },
      response: { allow: ["Set-Cookie"], deny: ["X-Powered-By"] },
    },
  });
  const ours = { token: new Secret("t"), correlationId: "c", contentLength: undefined };

  test("let pass what the default drops, and drop what it lets pass", () => {
    const lines = ["cookie", "a=b", "x-forwarded-prefix", "/p", "x-forwarded-for", "1.2.3.4", "prefer", "x"];
    const sent = downstreamRequestHeaders(lines, ours, headerRulesOf(api).request);
    expect(sent).toEqual(expect.arrayContaining(["cookie", "a=b", "x-forwarded-prefix", "/p"]));
    expect(sent).not.toContain("x-forwarded-for");
    expect(sent).not.toContain("prefer");
    const answer = { "set-cookie": ["a=b"], "x-powered-by": "PHP", etag: '"1"', "alt-svc": "h3" };
    expect(callerResponseHeaders(200, answer, headerRulesOf(api).response)).toEqual([
      "set-cookie",
      "a=b",
      "etag",
      '"1"',
    ]);
  });

  test.each([
    "Authorization",
    "Connection",
    "Transfer-Encoding",
    "Host",
    "X-Original-URL",
    "x_real_ip",
    "a b",
  ])("cannot open %s", (name) => {
    for (const side of ["request", "response"] as const) {
      expect(() => headerRulesOf(apiAt(1, { headers: { [side]: { allow: [name] } } }))).toThrow(
        ConfigurationError,
      );
    }
  });

  test.each([
    [
      { for: "192.0.2.1", proto: "https", host: "api.example" },
      'for=192.0.2.1;proto=https;host="api.example"',
    ],
    [{ for: "2001:db8::1", proto: "http", host: undefined }, 'for="[2001:db8::1]";proto=http'],
    [{ for: "192.0.2.1", proto: "http", host: 'a";for="10.0.0.1' }, "for=192.0.2.1;proto=http"],
  ])("tell of the hop %j as %s, whatever the caller says", (forwarded, expected) => {
    const caller = ["forwarded", "for=10.0.0.1", "x-forwarded-for", "10.0.0.1", "connection", "forwarded"];
    const sent = downstreamRequestHeaders(caller, { ...ours, forwarded });
    expect(sent[sent.indexOf("forwarded") + 1]).toBe(expected);
    expect(sent[sent.indexOf("x-forwarded-for") + 1]).toBe(forwarded.for);
    expect(sent).not.toContain("10.0.0.1");
    expect(sent.filter((name) => name === "forwarded")).toHaveLength(1);
  });
});
