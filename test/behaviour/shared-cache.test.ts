/** Two gateways as processes of their own in front of one Redis, as replicas run. */

import { randomBytes } from "node:crypto";
import { Agent, request } from "node:http";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import {
  type EmulatorProcess,
  type GatewayProcess,
  startEmulatorProcess,
  startGatewayProcess,
} from "../support/processes.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const LIMIT_MS = 60_000;
const USERS = 24;

describeWithRedis("replicas behind one Redis", () => {
  let emulator: EmulatorProcess;
  let redis: RedisServer;
  let gateways: GatewayProcess[];
  const tokens: string[] = [];

  beforeAll(async () => {
    [emulator, redis] = await Promise.all([startEmulatorProcess(), startRedis()]);
    const env = { REDIS_URL: redis.url, TOKEN_CACHE_KEYS: randomBytes(32).toString("base64") };
    gateways = await Promise.all(
      [0, 1].map(() => startGatewayProcess(emulator.facts, { credential: "certificate", env })),
    );
    for (let user = 0; user < USERS; user += 1) tokens.push(await mint());
    await Promise.all(gateways.map(connected));
  }, LIMIT_MS);
  afterAll(async () => {
    await Promise.all(gateways.map((gateway) => gateway.stop()));
    await Promise.all([emulator.stop(), redis.close()]);
  });

  /** A token like no other, so that each is a user's first call. */
  async function mint(): Promise<string> {
    const response = await fetch(`${emulator.facts.controlUrl}/tokens`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ user: "ada", claims: { uti: randomBytes(12).toString("base64url") } }),
    });
    return ((await response.json()) as { token: string }).token;
  }

  async function metric(gateway: GatewayProcess, line: string): Promise<number> {
    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text();
    const value = text.split("\n").find((one) => one.startsWith(`${line} `));
    return Number(value?.slice(line.length + 1) ?? 0);
  }

  async function connected(gateway: GatewayProcess): Promise<void> {
    for (let attempt = 0; attempt < 400; attempt += 1) {
      if ((await metric(gateway, "obo_gateway_shared_cache_available")) === 1) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error("the gateway does not reach Redis");
  }

  async function posts(): Promise<number> {
    const { counts } = (await (await fetch(`${emulator.facts.controlUrl}/requests`)).json()) as {
      counts: { token: number };
    };
    return counts.token;
  }

  function status(gateway: GatewayProcess, token: string, agent: Agent): Promise<number> {
    return new Promise((resolve, reject) => {
      request(
        `${gateway.url}/graph/me`,
        { agent, headers: { authorization: `Bearer ${token}` } },
        (response) => {
          response.resume();
          response.on("end", () => resolve(response.statusCode ?? 0));
          response.on("error", reject);
        },
      )
        .on("error", reject)
        .end();
    });
  }

  test(
    "every user at both at once: one exchange each",
    async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 8 });
      // Each replica has tried its credential once at its start.
      const before = await posts();
      const calls = tokens.flatMap((token) => gateways.map((gateway) => status(gateway, token, agent)));
      expect(new Set(await Promise.all(calls))).toEqual(new Set([200]));
      agent.destroy();
      expect((await posts()) - before).toBe(USERS);
    },
    LIMIT_MS,
  );

  test(
    "Redis killed and restarted under load: no request fails, readiness stays, and it is used again",
    async () => {
      const seen: number[] = [];
      let over = false;
      const load = gateways.flatMap((gateway) =>
        [0, 1].map(async () => {
          const agent = new Agent({ keepAlive: true, maxSockets: 1 });
          // New assertions among the known ones, so that the shared tier is asked all the time.
          for (let call = 0; !over; call += 1)
            seen.push(await status(gateway, call % 3 === 0 ? await mint() : (tokens[0] ?? ""), agent));
          agent.destroy();
        }),
      );
      const after = async (count: number) => {
        const goal = seen.length + count;
        while (seen.length < goal) await new Promise((resolve) => setTimeout(resolve, 5));
      };
      await after(100);
      await redis.kill();
      await after(200);
      const ready = await Promise.all(gateways.map(({ adminUrl }) => fetch(`${adminUrl}/readyz`)));
      expect(ready.map((response) => response.status)).toEqual([200, 200]);
      await redis.restart();
      await after(100);
      await Promise.all(gateways.map(connected));
      await after(100);
      over = true;
      await Promise.all(load);
      expect(seen.filter((one) => one !== 200)).toEqual([]);
      expect((await redis.inspect.keys("*:token")).length).toBeGreaterThan(0);
    },
    LIMIT_MS,
  );
});
