/** A gateway without a password: it signs in to Redis with tokens that its credential earns, and seals with keys of a file. */

import { randomBytes } from "node:crypto";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { type EntraRedis, startEntraRedis } from "../../support/entra-redis.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../../support/gateway.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { until } from "../../support/until.ts";

const YAML = TEST_YAML.replace(
  "exchange:\n",
  'exchange:\n  cache: { expiryMarginSeconds: 0, redis: { url: "${REDIS_URL}", auth: "${REDIS_AUTH:-entra}", timeoutMs: 1000 } }\n',
);
/** Redis is signed in to again each second. */
const LIFETIME_SECONDS = 2;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

describeWithRedis("Redis by Entra", () => {
  let emulator: Emulator;
  let redis: EntraRedis;
  let directory: string;
  let keysFile: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "redis-by-entra-"));
    keysFile = join(directory, "token-cache-keys");
    await writeFile(keysFile, newKey());
    closing.push(() => rm(directory, { recursive: true }));
  });

  /** @param lifetime Of every token, the callers' excepted. */
  async function surround(lifetime = LIFETIME_SECONDS): Promise<void> {
    [emulator, redis] = await Promise.all([
      startEmulator({ tokenLifetimeSeconds: { plain: lifetime, longLived: lifetime } }),
      startEntraRedis(),
    ]);
    closing.push(emulator.close, redis.close);
  }

  const newKey = () => randomBytes(32).toString("base64");

  async function start(credential: "certificate" | "workload-identity" = "workload-identity") {
    const gateway = await startTestGateway({
      emulator,
      credential,
      yaml: YAML,
      env: { REDIS_URL: redis.url, TOKEN_CACHE_KEYS_FILE: keysFile },
    });
    closing.push(gateway.stop);
    return gateway;
  }
  const call = async (gateway: TestGateway) => {
    // Like no token before, so that each call is an exchange.
    const uti = randomBytes(12).toString("base64url");
    const token = emulator.mintUserToken({ user: "ada", expiresInSeconds: 600, claims: { uti } });
    return (await gateway.get("/graph/me", token)).status;
  };
  const metric = async (gateway: TestGateway, line: string) => {
    const { text } = await gateway.admin("/metrics");
    const found = text.split("\n").find((one: string) => one.startsWith(`${line} `));
    return Number(found?.slice(line.length + 1) ?? 0);
  };
  const isShared = async (gateway: TestGateway) =>
    (await metric(gateway, "obo_gateway_shared_cache_available")) === 1;
  /** After failures in a row only a request looks whether it is back. */
  const isUsed = async (gateway: TestGateway) => (await call(gateway)) === 200 && (await isShared(gateway));
  const outcomes = () => redis.signIns.map(({ outcome }) => outcome);

  test.each(["workload-identity", "certificate"] as const)(
    "with %s: tokens are shared, and the connection is signed in to again before each token ends",
    async (credential) => {
      // Half of it is left when it is renewed, which a busy machine must not use up.
      await surround(5);
      redis.grant(emulator.gatewayPrincipalId);
      const gateway = await start(credential);
      await until(() => isShared(gateway), "Redis is connected to");
      expect(await call(gateway)).toBe(200);
      await until(async () => (await redis.server.inspect.keys("*:token")).length > 0, "a token is shared");
      await until(() => redis.signIns.length >= 3, "three sign-ins");
      expect(new Set(redis.signIns.map(({ objectId }) => objectId))).toEqual(
        new Set([emulator.gatewayPrincipalId]),
      );
      expect(new Set(outcomes())).toEqual(new Set(["accepted"]));
      expect([new Set(redis.signIns.map(({ connection }) => connection)).size, redis.expired()]).toEqual([
        1, 0,
      ]);
      expect(await metric(gateway, 'obo_gateway_exchange_events_total{event="shared_refused"}')).toBe(0);
    },
  );

  test("an identity without an access policy is a warning that names the object id and the remedy; requests are served", async () => {
    await surround();
    const gateway = await start();
    await until(() => outcomes().includes("unknown identity"), "the refusal");
    expect(await call(gateway)).toBe(200);
    expect((await gateway.admin("/readyz")).status).toBe(200);
    const line = () => gateway.logs.find(({ reason }) => reason === "WRONGPASS");
    await until(() => line() !== undefined, "the line");
    expect(line()).toMatchObject({
      level: "warn",
      objectId: emulator.gatewayPrincipalId,
      msg: expect.stringContaining(
        `assign an access policy of the Redis to object id ${emulator.gatewayPrincipalId} (az redisenterprise database access-policy-assignment create)`,
      ),
    });
    expect(await metric(gateway, 'obo_gateway_exchange_events_total{event="shared_refused"}')).toBe(1);
    redis.grant(emulator.gatewayPrincipalId);
    await until(() => isShared(gateway), "Redis is connected to");
    expect(await call(gateway)).toBe(200);
    await until(
      () => gateway.logs.some(({ msg }) => String(msg).endsWith("accepts the gateway again")),
      "the all-clear",
    );
  });

  test("an identity that is revoked in use costs no request, and neither does Redis that is killed or stands still", async () => {
    await surround();
    redis.grant(emulator.gatewayPrincipalId);
    const gateway = await start();
    await until(() => isShared(gateway), "Redis is connected to");
    const seen: number[] = [];
    const calls = async (count: number) => {
      for (let each = 0; each < count; each += 1) seen.push(await call(gateway));
    };
    await redis.revoke(emulator.gatewayPrincipalId);
    await calls(8);
    redis.grant(emulator.gatewayPrincipalId);
    await until(() => isUsed(gateway), "Redis is used again");
    redis.server.freeze();
    await calls(8);
    redis.server.resume();
    await redis.server.kill();
    await calls(8);
    await redis.server.restart();
    await until(() => isUsed(gateway), "Redis is used after all");
    await calls(8);
    expect(seen.filter((status) => status !== 200)).toEqual([]);
  });

  test("Entra that gives no token delays no start, and Redis is used once it does", async () => {
    await surround();
    redis.grant(emulator.gatewayPrincipalId);
    const outage = emulator.faults.inject({ endpoint: "token", behaviour: { kind: "json", status: 503 } });
    const began = performance.now();
    const gateway = await start();
    expect(performance.now() - began).toBeLessThan(8_000);
    const line = () =>
      gateway.logs.find(({ msg }) => String(msg).startsWith("Entra gave no token for Redis"));
    await until(() => line() !== undefined, "the line");
    expect(line()).toMatchObject({ level: "warn", msg: expect.stringMatching(/going on without Redis$/) });
    expect(redis.signIns).toEqual([]);
    outage.remove();
    await until(() => isShared(gateway), "Redis is connected to");
  });

  test("a new file of keys is taken up by SIGHUP's reload, and one that is none keeps the old keys", async () => {
    await surround(3_600);
    redis.grant(emulator.gatewayPrincipalId);
    const gateway = await start();
    await until(() => isShared(gateway), "Redis is connected to");
    const replace = async (content: string) => {
      await writeFile(`${keysFile}.new`, content);
      await rename(`${keysFile}.new`, keysFile);
      await gateway.reload();
    };
    await replace("garbage");
    expect(gateway.logs.at(-1)).toMatchObject({
      level: "warn",
      msg: expect.stringMatching(
        /^the master keys cannot be read anew, and those before serve on: TOKEN_CACHE_KEYS_FILE/,
      ),
    });
    expect(await call(gateway)).toBe(200);
    await replace(newKey());
    expect(
      gateway.logs.filter(({ msg }) => String(msg).includes("its first key seals from now on")),
    ).toHaveLength(1);
    const tokens = async () => (await redis.server.inspect.keys("*:token")).length;
    const before = await tokens();
    expect(await call(gateway)).toBe(200);
    await until(async () => (await tokens()) > before, "a token under the new key");
  });
});
