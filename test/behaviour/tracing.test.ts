/** What a tracing backend sees of requests, over the wire of a real collector. */

import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { type CollectedSpan, type Collector, startCollector } from "../support/otlp-collector.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

let emulator: Emulator;
let collector: Collector;
const running: TestGateway[] = [];
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());
beforeEach(async () => {
  collector = await startCollector();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
  await collector.close();
});

async function start(env: Readonly<Record<string, string>> = {}): Promise<TestGateway> {
  const gateway = await startTestGateway({
    emulator,
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      // So late that only the end of the process can have sent anything.
      OTEL_BSP_SCHEDULE_DELAY: "3600000",
      ...env,
    },
  });
  running.push(gateway);
  return gateway;
}

/** The gateway's end sends what is left. */
async function spansOf(gateway: TestGateway): Promise<CollectedSpan[]> {
  running.splice(running.indexOf(gateway), 1);
  await gateway.stop();
  return collector.spans();
}

function named(spans: readonly CollectedSpan[], name: string): CollectedSpan {
  const found = spans.filter((span) => span.name === name);
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`${found.length} spans named ${name} among ${spans.map((span) => span.name)}`);
  return found[0];
}

describe("a traced request", () => {
  test("is one span with one for each room, as part of the caller's trace, and all are there when the process ends", async () => {
    const gateway = await start({
      OTEL_SERVICE_NAME: "gateway-of-the-test",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test,team=a%2Cb",
    });
    const user = emulator.addUser();
    const answer = await gateway
      .get("/graph/me?$select=id&secret=hush", emulator.mintUserToken({ user }))
      .set("traceparent", `00-${TRACE}-${PARENT}-01`)
      .set("tracestate", "vendor=opaque")
      .expect(200);
    const line = await gateway.line(answer.headers["x-correlation-id"] as string);
    expect(line.traceId).toBe(TRACE);
    const spans = await spansOf(gateway);

    const [server, verify, exchange, asked, forward] = [
      "GET /graph",
      "verify",
      "exchange",
      "token request",
      "forward",
    ].map((name) => named(spans, name)) as [
      CollectedSpan,
      CollectedSpan,
      CollectedSpan,
      CollectedSpan,
      CollectedSpan,
    ];
    expect(spans).toHaveLength(5);
    expect(spans.every(({ traceId }) => traceId === TRACE)).toBe(true);
    expect(server).toMatchObject({ kind: 2, parentSpanId: PARENT, status: 0 });
    for (const room of [verify, exchange, forward]) expect(room.parentSpanId).toBe(server.spanId);
    expect(asked).toMatchObject({ kind: 3, parentSpanId: exchange.spanId });
    for (const span of spans) {
      expect(span.startMs).toBeGreaterThanOrEqual(server.startMs - 1);
      expect(span.endMs).toBeLessThanOrEqual(server.endMs + 1);
    }

    expect(server.attributes).toEqual({
      "http.request.method": "GET",
      "http.route": "/graph",
      "http.response.status_code": 200,
      "url.scheme": "http",
      "network.protocol.version": "1.1",
      "obo_gateway.code": "granted",
      "obo_gateway.correlation_id": answer.headers["x-correlation-id"],
      "obo_gateway.tid": emulator.tenantId,
      "obo_gateway.oid": user.objectId,
      "obo_gateway.azp": line.azp,
    });
    expect(exchange.attributes).toEqual({ "obo_gateway.origin": "authority" });
    expect(asked.attributes).toMatchObject({
      "server.address": "localhost",
      "http.response.status_code": 200,
    });
    expect(forward).toMatchObject({
      kind: 3,
      attributes: {
        "http.request.method": "GET",
        "server.address": "localhost",
        "server.port": Number(new URL(emulator.graphUrl).port),
        "http.response.status_code": 200,
        "obo_gateway.api": "graph",
      },
    });
    expect(server.resource).toMatchObject({
      "service.name": "gateway-of-the-test",
      "deployment.environment.name": "test",
      team: "a,b",
    });

    const sent = emulator.requests.graph.at(-1)?.headers;
    expect(sent?.traceparent).toBe(`00-${TRACE}-${forward.spanId}-01`);
    expect(sent?.tracestate).toBe("vendor=opaque");
    expect(JSON.stringify(collector.posts.map(({ body }) => body.toString()))).not.toMatch(/eyJ|hush|secret/);
  });

  test("tells where the token came from, and asks Entra nothing on a hit", async () => {
    const gateway = await start();
    const token = emulator.mintUserToken({ user: emulator.addUser() });
    await gateway.get("/graph/me", token).expect(200);
    await gateway.get("/graph/me", token).expect(200);
    const spans = await spansOf(gateway);
    const origins = spans.filter(({ name }) => name === "exchange").map(({ attributes }) => attributes);
    expect(origins).toEqual([{ "obo_gateway.origin": "authority" }, { "obo_gateway.origin": "cache" }]);
    named(spans, "token request");
    // Two callers without a trace of their own have one each.
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(2);
  });

  test("of two callers who share an exchange, each has an exchange of its own and one has the token request", async () => {
    const gateway = await start();
    const token = emulator.mintUserToken({ user: emulator.addUser() });
    await Promise.all(Array.from({ length: 5 }, () => gateway.get("/graph/me", token).expect(200)));
    const spans = await spansOf(gateway);
    expect(spans.filter(({ name }) => name === "exchange")).toHaveLength(5);
    const asked = named(spans, "token request");
    const first = spans.find(({ spanId }) => spanId === asked.parentSpanId);
    expect(first?.attributes).toEqual({ "obo_gateway.origin": "authority" });
  });

  test("to a handler in code has a span for each call that it makes, side by side", async () => {
    const gateway = await start();
    await gateway.get("/api/profile", emulator.mintUserToken({ user: "ada" })).expect(200);
    const spans = await spansOf(gateway);
    const server = named(spans, "GET /api/profile");
    const calls = spans.filter(({ name }) => name === "forward");
    expect(calls.length).toBeGreaterThan(1);
    expect(new Set(calls.map(({ parentSpanId }) => parentSpanId))).toEqual(new Set([server.spanId]));
    const sent = emulator.requests.graph.slice(-calls.length).map(({ headers }) => headers.traceparent);
    expect(sent.toSorted()).toEqual(
      calls.map(({ spanId }) => `00-${server.traceId}-${spanId}-01`).toSorted(),
    );
  });

  test("that is refused says why, and is no error of the gateway", async () => {
    const gateway = await start();
    await gateway.get("/graph/me").expect(401);
    const spans = await spansOf(gateway);
    expect(named(spans, "verify")).toMatchObject({
      status: 2,
      attributes: { "error.type": "token_missing" },
    });
    const server = named(spans, "GET /graph");
    expect(server).toMatchObject({ status: 0, attributes: { "obo_gateway.code": "token_missing" } });
    expect(spans).toHaveLength(2);
  });

  test("whose API cannot be reached is an error, where it failed", async () => {
    const gateway = await start();
    await gateway.get("/nobody-listens/me", emulator.mintUserToken({ user: "ada" })).expect(502);
    const spans = await spansOf(gateway);
    const type = { attributes: { "error.type": "downstream_unreachable" } };
    expect(named(spans, "forward")).toMatchObject({ status: 2, ...type });
    expect(named(spans, "GET /nobody-listens")).toMatchObject({ status: 2, ...type });
  });

  test("that Entra refuses has the refusal on the token request and on the room", async () => {
    const gateway = await start();
    const user = emulator.addUser();
    emulator.refuse({ code: 65001, user });
    await gateway.get("/graph/me", emulator.mintUserToken({ user })).expect(403);
    const spans = await spansOf(gateway);
    for (const name of ["token request", "exchange"])
      expect(named(spans, name)).toMatchObject({
        status: 2,
        attributes: { "error.type": "consent_required" },
      });
  });

  test("with a method that nobody knows does not name its span by it", async () => {
    const gateway = await start();
    await fetch(`${gateway.url}/nowhere`, { method: "PROPFIND" });
    expect((await spansOf(gateway)).map(({ name }) => name)).toEqual(["_OTHER"]);
  });
});

describe("sampling and propagation", () => {
  test.each<[string, Record<string, string>, string, boolean]>([
    ["a caller's decision not to sample is kept, and told to the API", {}, "00", false],
    ["a sampler that asks nobody overrides it", { OTEL_TRACES_SAMPLER: "always_on" }, "00", true],
    [
      "a share of nothing samples nothing",
      { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "0" },
      "01",
      false,
    ],
  ])("%s", async (_, env, flags, sampled) => {
    const gateway = await start(env);
    await gateway
      .get("/graph/me", emulator.mintUserToken({ user: "ada" }))
      .set("traceparent", `00-${TRACE}-${PARENT}-${flags}`)
      .expect(200);
    const sent = emulator.requests.graph.at(-1)?.headers.traceparent ?? "";
    expect(sent).toMatch(new RegExp(`^00-${TRACE}-(?!${PARENT})[0-9a-f]{16}-0${sampled ? 1 : 0}$`));
    expect((await spansOf(gateway)).length > 0).toBe(sampled);
  });

  test("without a propagator the caller's trace is not joined, and passes to the API as any field", async () => {
    const gateway = await start({ OTEL_PROPAGATORS: "none" });
    const given = `00-${TRACE}-${PARENT}-01`;
    await gateway
      .get("/graph/me", emulator.mintUserToken({ user: "ada" }))
      .set("traceparent", given)
      .expect(200);
    expect(emulator.requests.graph.at(-1)?.headers.traceparent).toBe(given);
    for (const { traceId } of await spansOf(gateway)) expect(traceId).not.toBe(TRACE);
  });

  test("a traceparent that is none begins a new trace, and does not reach the API", async () => {
    const gateway = await start();
    await gateway
      .get("/graph/me", emulator.mintUserToken({ user: "ada" }))
      .set("traceparent", "00-not-a-trace-01")
      .expect(200);
    expect(emulator.requests.graph.at(-1)?.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  });
});

describe("the collector", () => {
  test("gets protobuf by default, compressed and with headers where that is asked for", async () => {
    const gateway = await start({
      OTEL_EXPORTER_OTLP_PROTOCOL: "",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
      OTEL_EXPORTER_OTLP_HEADERS: "x-api-key=hush%2C1",
    });
    await gateway.get("/graph/me").expect(401);
    await spansOf(gateway);
    expect(collector.posts).toHaveLength(1);
    const [{ path, headers, body }] = collector.posts as [Collector["posts"][number]];
    expect({ path, type: headers["content-type"], key: headers["x-api-key"] }).toEqual({
      path: "/v1/traces",
      type: "application/x-protobuf",
      key: "hush,1",
    });
    expect(body.includes("GET /graph")).toBe(true);
    expect(JSON.stringify(gateway.logs)).not.toContain("hush");
  });

  test("may be at any path, where its own variable says so", async () => {
    const gateway = await start({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/elsewhere` });
    await gateway.get("/graph/me").expect(401);
    await spansOf(gateway);
    expect(collector.posts.map(({ path }) => path)).toEqual(["/elsewhere"]);
  });

  test("may refuse: requests go on, and the log says so once", async () => {
    collector.answer(400);
    const gateway = await start({ OTEL_BSP_SCHEDULE_DELAY: "1", OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "1" });
    for (let repeat = 0; repeat < 5; repeat++) await gateway.get("/graph/me").expect(401);
    await spansOf(gateway);
    const told = gateway.logs.filter(({ msg }) => msg === "spans could not be sent");
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({ level: "warn", lost: expect.any(Number) });
  });
});

describe("without any OTEL_ variable", () => {
  /** Modules of OpenTelemetry in a process that has put a gateway together. */
  function loaded(env: Readonly<Record<string, string>>): string[] {
    const script = `
      import { createRequire } from "node:module";
      const { createGateway } = await import("./src/gateway.ts");
      const { loadConfig } = await import("./src/config/load.ts");
      const gateway = await createGateway(loadConfig(process.env));
      await gateway.close();
      const { cache } = createRequire(import.meta.url);
      const names = Object.keys(cache).map((file) => /@opentelemetry.([^/\\\\\\\\]+)/.exec(file)?.[1]);
      console.log("LOADED " + JSON.stringify([...new Set(names.filter(Boolean))]));
    `;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "--eval", script],
      {
        encoding: "utf8",
        env: {
          PATH: process.env.PATH,
          AZURE_TENANT_ID: emulator.tenantId,
          AZURE_CLIENT_ID: emulator.clientId,
          AZURE_CLIENT_SECRET: "s",
          ...env,
        },
      },
    );
    const found = /^LOADED (.*)$/m.exec(stdout)?.[1];
    if (found === undefined) throw new Error(stderr);
    return JSON.parse(found) as string[];
  }

  test("nothing of OpenTelemetry's SDK is loaded, no field is added and no line names a trace", async () => {
    // prom-client takes the API, which does nothing by itself.
    expect(loaded({}).filter((name) => name !== "api")).toEqual([]);
    expect(loaded({ OTEL_SDK_DISABLED: "true", OTEL_TRACES_EXPORTER: "otlp" })).not.toContain("sdk-trace");
    expect(loaded({ OTEL_TRACES_EXPORTER: "otlp" })).toContain("sdk-trace");

    const gateway = await startTestGateway({ emulator });
    running.push(gateway);
    const answer = await gateway.get("/graph/me", emulator.mintUserToken({ user: "ada" })).expect(200);
    expect(emulator.requests.graph.at(-1)?.headers).not.toHaveProperty("traceparent");
    expect(await gateway.line(answer.headers["x-correlation-id"] as string)).not.toHaveProperty("traceId");
  });
});
