/** Who calls too often is told so, and nobody else notices. */

import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { codeRoute } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator, MintOptions } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const HOUR = "perSeconds: 3600";
const LIMITED = (limits: string, redis = "") =>
  TEST_YAML.replace("  timeoutMs: ", `${redis}  timeoutMs: `).replace("http:\n", `${limits}http:\n`);
const PER_USER = `limits: { perUser: { requests: 2, ${HOUR} } }\n`;

const policy = { callers: "any", requiredScopes: [], requiredRoles: [], allowedClients: [] } as const;
const ping = codeRoute({
  method: "get",
  path: "/api/ping",
  policy,
  uses: [],
  handler: (_request, response) => void response.json({ pong: true }),
});
const machine = codeRoute({ ...ping, path: "/api/machine", policy: { ...policy, requiredRoles: ["Run"] } });
const rare = codeRoute({
  ...ping,
  path: "/api/rare",
  limits: { perUser: { requests: 1, perSeconds: 3600 } },
});

let emulator: Emulator;
const running: TestGateway[] = [];

beforeAll(async () => {
  emulator = await startEmulator();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
});
afterAll(() => emulator.close());

async function start(yaml: string, env: Readonly<Record<string, string>> = {}): Promise<TestGateway> {
  const gateway = await startTestGateway({ emulator, yaml, env, routes: [ping, machine, rare] });
  running.push(gateway);
  return gateway;
}

/** Somebody whom nobody has seen before. */
const somebody = ({ claims, ...options }: MintOptions = {}) =>
  emulator.mintUserToken({ ...options, claims: { oid: randomUUID(), ...claims } });

async function statuses(gateway: TestGateway, path: string, tokens: readonly string[]): Promise<number[]> {
  const seen: number[] = [];
  for (const token of tokens) seen.push((await gateway.get(path, token)).status);
  return seen;
}

describe("a route asks for its whole policy where limits are configured, too", () => {
  const GENEROUS = `limits: { perUser: { requests: 1000, ${HOUR} }, perClient: { requests: 1000, ${HOUR} } }\n`;
  const ROUTES = `routes:
  - { path: /role, downstreamApi: graph, requiredRoles: [Reader], allow: ["/me"] }
  - { path: /client, downstreamApi: graph, allowedClients: ["b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01"], allow: ["/me"] }
`;
  let gateway: TestGateway;
  beforeAll(async () => {
    const yaml = LIMITED(GENEROUS).replace("routes:\n", ROUTES);
    gateway = await startTestGateway({ emulator, yaml, routes: [ping, machine, rare] });
  });
  afterAll(() => gateway.stop());

  test.each<[what: string, path: string, lacks: MintOptions, has: MintOptions, status: number, code: string]>(
    [
      ["scope", "/admin/me", {}, { claims: { scp: "admin.read" } }, 403, "scope_insufficient"],
      ["role", "/role/me", {}, { claims: { roles: ["Reader"] } }, 403, "scope_insufficient"],
      [
        "client",
        "/client/me",
        {},
        { claims: { azp: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01" } },
        403,
        "scope_insufficient",
      ],
      [
        "authentication context",
        "/step-up/me",
        {},
        { claims: { acrs: ["c1"] } },
        401,
        "interaction_required",
      ],
      ["role, in code", "/api/machine", {}, { claims: { roles: ["Run"] } }, 403, "scope_insufficient"],
    ],
  )("%s", async (_, path, lacks, has, status, code) => {
    const refused = await gateway.get(path, somebody(lacks));
    expect([refused.status, JSON.parse(refused.text).code]).toEqual([status, code]);
    expect((await gateway.get(path, emulator.mintUserToken({ user: "ada", ...has }))).status).toBe(200);
  });
});

describe.each(["passport-azure-ad", "jose"])("behind %s", (verifier) => {
  const limited = (limits: string) => start(LIMITED(limits), { VERIFIER: verifier });

  test("rate_limited: 429 says what the limit is, and when to come back", async () => {
    const gateway = await limited(PER_USER);
    const ada = emulator.mintUserToken({ user: "ada" });
    const first = await gateway.get("/graph/me", ada).expect(200);
    expect(first.headers["ratelimit-policy"]).toBe('"user";q=2;w=3600');
    expect(first.headers.ratelimit).toBe('"user";r=1;t=3600');
    await gateway.get("/graph/me", ada).expect(200);
    const refused = await gateway.get("/graph/me", ada).expect(429);
    expect(refused.headers).toMatchObject({
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      "retry-after": expect.stringMatching(/^3[56]\d\d$/),
      ratelimit: expect.stringMatching(/^"user";r=0;t=3[56]\d\d$/),
    });
    expect(refused.headers["www-authenticate"]).toBeUndefined();
    expect(JSON.parse(refused.text)).toEqual({
      type: "urn:obo-gateway:problem:rate_limited",
      title: "Too many requests",
      status: 429,
      code: "rate_limited",
      detail: expect.stringMatching(
        /^This user or application may send 2 requests in 3600 seconds, and has\. Send /,
      ),
      correlationId: refused.headers["x-correlation-id"],
    });
    expect(await gateway.line(refused.headers["x-correlation-id"] ?? "")).toMatchObject({
      granted: false,
      code: "rate_limited",
      reason: "user",
    });
    expect((await gateway.admin("/metrics")).text).toMatch(/requests_total\{.*code="rate_limited"\} 1/);
  });

  test("a user's other tokens do not help, and other users are not touched", async () => {
    const gateway = await limited(PER_USER);
    const claims = { oid: randomUUID() };
    const mine = [0, 1, 2].map(() => somebody({ claims: { ...claims, uti: randomUUID() } }));
    expect(await statuses(gateway, "/api/ping", mine)).toEqual([200, 200, 429]);
    expect(await statuses(gateway, "/api/ping", [somebody()])).toEqual([200]);
  });

  test("a client's limit covers all of its users, and no other client", async () => {
    const gateway = await limited(`limits: { perClient: { requests: 3, ${HOUR} } }\n`);
    const everybody = [0, 1, 2, 3].map(() => somebody());
    expect(await statuses(gateway, "/api/ping", everybody)).toEqual([200, 200, 200, 429]);
    const other = somebody({ claims: { azp: randomUUID() } });
    expect(await statuses(gateway, "/api/ping", [other])).toEqual([200]);
  });

  test("an application without a user counts by its own id and as its client", async () => {
    const gateway = await limited(
      `limits: { perUser: { requests: 2, ${HOUR} }, perClient: { requests: 3, ${HOUR} } }\n`,
    );
    const oid = randomUUID();
    const daemon = somebody({ appOnly: true, claims: { oid, sub: oid, roles: ["Run"] } });
    expect(await statuses(gateway, "/api/machine", [daemon, daemon, daemon])).toEqual([200, 200, 429]);
    expect(await statuses(gateway, "/api/ping", [somebody(), somebody()])).toEqual([200, 429]);
  });
});

test("who is past the own limit uses up nothing of the client's", async () => {
  const gateway = await start(
    LIMITED(`limits: { perUser: { requests: 1, ${HOUR} }, perClient: { requests: 2, ${HOUR} } }\n`),
  );
  const greedy = somebody();
  expect(await statuses(gateway, "/api/ping", Array(5).fill(greedy))).toEqual([200, 429, 429, 429, 429]);
  const answer = await gateway.get("/api/ping", somebody()).expect(200);
  expect(answer.headers.ratelimit).toMatch(/^"user";r=0;t=3600, "client";r=0;t=3[56]\d\d$/);
});

test("without limits nothing is counted, and nothing said about it", async () => {
  const gateway = await start(TEST_YAML);
  const ada = emulator.mintUserToken({ user: "ada" });
  const answer = await gateway.get("/graph/me", ada).expect(200);
  expect(Object.keys(answer.headers).filter((name) => name.startsWith("ratelimit"))).toEqual([]);
});

test("a request without an acceptable token counts for nobody", async () => {
  const gateway = await start(LIMITED(PER_USER));
  const claims = { oid: randomUUID() };
  const expired = somebody({ claims, expiresInSeconds: -600 });
  expect(await statuses(gateway, "/api/ping", [expired, expired, expired])).toEqual([401, 401, 401]);
  expect(await statuses(gateway, "/api/ping", [somebody({ claims })])).toEqual([200]);
});

test("what is refused for another reason counts as well", async () => {
  const gateway = await start(LIMITED(PER_USER));
  const ada = somebody();
  expect(await statuses(gateway, "/admin/me", [ada, ada, ada])).toEqual([403, 403, 429]);
  const ben = somebody();
  for (const status of [405, 405, 429]) await gateway.send("post", "/api/ping", ben).expect(status);
});

test("all routes share one count, but a route with a limit of its own has its own", async () => {
  const gateway = await start(
    LIMITED(PER_USER).replace(
      "  - path: /step-up\n",
      `  - path: /step-up\n    limits: { perUser: { requests: 1, ${HOUR} } }\n`,
    ),
  );
  const ada = emulator.mintUserToken({ user: "ada", claims: { acrs: ["c1"] } });
  await gateway.get("/step-up/me", ada).expect(200);
  await gateway.get("/step-up/me", ada).expect(429);
  await gateway.get("/api/rare", ada).expect(200);
  await gateway.get("/api/rare", ada).expect(429);
  await gateway.get("/graph/me", ada).expect(200);
  await gateway.get("/api/ping", ada).expect(200);
  await gateway.get("/graph/me", ada).expect(429);
});

test("browsers may read it, and a preflight is neither counted nor refused", async () => {
  const origin = "https://app.example";
  const gateway = await start(
    LIMITED(PER_USER).replace("http:\n", `http:\n  cors: { origins: [${origin}] }\n`),
  );
  const ada = somebody();
  const preflight = () =>
    fetch(`${gateway.url}/api/ping`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "GET", authorization: `Bearer ${ada}` },
    });
  for (let time = 0; time < 3; time += 1) expect((await preflight()).status).toBe(204);
  expect(await statuses(gateway, "/api/ping", [ada, ada])).toEqual([200, 200]);
  const refused = await gateway.get("/api/ping", ada).set("origin", origin).expect(429);
  expect(refused.headers["access-control-allow-origin"]).toBe(origin);
  expect(refused.headers["access-control-expose-headers"]?.split(",")).toEqual(
    expect.arrayContaining(["retry-after", "ratelimit", "ratelimit-policy"]),
  );
  expect((await preflight()).status).toBe(204);
});

describeWithRedis("gateways that share a Redis", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.close());

  const LIMIT = 6;
  async function replicas(timeoutMs = 1_000): Promise<[TestGateway, TestGateway]> {
    const yaml = LIMITED(
      `limits: { perUser: { requests: ${LIMIT}, ${HOUR} } }\n`,
      `  cache: { redis: { url: "\${REDIS_URL}", timeoutMs: ${timeoutMs} } }\n`,
    );
    const env = { REDIS_URL: redis.url, TOKEN_CACHE_KEYS: randomBytes(32).toString("base64") };
    const both = await Promise.all([start(yaml, env), start(yaml, env)]);
    await Promise.all(both.map((gateway) => until(gateway, "obo_gateway_shared_cache_available 1")));
    return both;
  }

  async function until(gateway: TestGateway, line: string): Promise<void> {
    for (let attempt = 0; attempt < 400; attempt += 1) {
      if ((await gateway.admin("/metrics")).text.includes(`${line}\n`)) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`the metrics never say ${line}`);
  }

  test("count together, and Redis holds no id of anybody", async () => {
    const [one, other] = await replicas();
    const oid = randomUUID();
    const ada = somebody({ claims: { oid } });
    expect(await statuses(one, "/api/ping", Array(4).fill(ada))).toEqual(Array(4).fill(200));
    expect(await statuses(other, "/api/ping", Array(4).fill(ada))).toEqual([200, 200, 429, 429]);
    expect(await statuses(one, "/api/ping", [ada])).toEqual([429]);
    const names = await redis.inspect.keys("*");
    expect(names).toEqual([expect.stringMatching(/^obo:\{[A-Za-z0-9_-]{43}\}:count$/)]);
    expect(await redis.inspect.ttl(names[0] ?? "")).toBeGreaterThan(3500);
    expect((await redis.dump()).toString("latin1")).not.toContain(oid);
  });

  test("a Redis that hangs keeps nobody waiting: its callers are counted without it", async () => {
    const [gateway] = await replicas(20);
    const ada = somebody();
    expect(await statuses(gateway, "/api/ping", [ada])).toEqual([200]);
    redis.freeze();
    try {
      const seen = await statuses(gateway, "/api/ping", Array(LIMIT + 1).fill(ada));
      expect(seen).toEqual([...Array(LIMIT).fill(200), 429]);
      const { text } = await gateway.admin("/metrics");
      expect(text).toMatch(new RegExp(`rate_limit_events_total\\{event="counted_alone"\\} ${LIMIT + 1}\\n`));
    } finally {
      redis.resume();
    }
  });

  test("a Redis killed midway: each counts by itself, says so, and they find together again", async () => {
    const [one, other] = await replicas();
    const ada = somebody();
    const eve = somebody();
    await statuses(one, "/api/ping", [ada, ...Array(LIMIT).fill(eve)]);
    await redis.kill();
    expect(await statuses(one, "/api/ping", Array(LIMIT + 1).fill(ada))).toEqual([
      ...Array(LIMIT).fill(200),
      429,
    ]);
    expect(await statuses(other, "/api/ping", [ada])).toEqual([200]);
    // Whoever was known to be past the limit stays refused.
    expect(await statuses(one, "/api/ping", [eve])).toEqual([429]);
    expect((await one.admin("/metrics")).text).toMatch(
      new RegExp(`rate_limit_events_total\\{event="counted_alone"\\} ${LIMIT + 1}\\n`),
    );
    const warnings = one.logs.filter(({ event }) => event === "counted_alone");
    expect(warnings).toEqual([expect.objectContaining({ level: "warn" })]);

    await redis.restart();
    const returned = async (gateway: TestGateway) => {
      for (let attempt = 0; (await redis.inspect.dbsize()) === 0; attempt += 1) {
        if (attempt > 400) throw new Error("Redis is never asked again");
        await gateway.get("/api/ping", somebody()).expect(200);
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      await redis.inspect.flushall();
    };
    await returned(one);
    await returned(other);
    const ben = somebody();
    await statuses(one, "/api/ping", Array(LIMIT - 1).fill(ben));
    expect(await statuses(other, "/api/ping", [ben, ben])).toEqual([200, 429]);
  });
});
