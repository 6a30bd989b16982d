/** The doctor's look at a Redis, healthy and broken in every way that an operator meets. */

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { createPatient, type Patient } from "../../doctor/support.ts";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { type EntraRedis, startEntraRedis } from "../../support/entra-redis.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { type RedisServer, startRedis } from "../../support/redis-server.ts";

const KEYS = Buffer.alloc(32, 1).toString("base64");
const PASSWORD = "s3cret";

let emulator: Emulator;
let patient: Patient;
beforeAll(async () => {
  emulator = await startEmulator();
  patient = await createPatient(emulator);
});
afterAll(async () => {
  await patient.close();
  await emulator.close();
});

async function look(
  url: string,
  {
    keys = KEYS,
    timeoutMs = 5_000,
    auth = "password",
    env,
    delegations = false,
  }: {
    keys?: string;
    timeoutMs?: number;
    auth?: string;
    env?: Record<string, string>;
    delegations?: boolean;
  } = {},
) {
  const jobs = delegations ? "delegations: { clients: [7d4f2b1c-3a5e-4f60-8b9a-0c1d2e3f4a5b] }\n" : "";
  const section = `${jobs}exchange: { cache: { redis: { url: "${url}", auth: ${auth}, timeoutMs: ${timeoutMs} } } }\ndownstreamApis:`;
  return patient.diagnose({
    yaml: [["downstreamApis:", section]],
    env: env ?? { TOKEN_CACHE_KEYS: keys },
  });
}

test("without a Redis there is nothing to look at", async () => {
  const { verdicts } = await patient.diagnose();
  expect(verdicts.map(({ check }) => check)).not.toContain("shared-cache");
});

test("a port without a listener", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const report = await look(`redis://127.0.0.1:${port}`);
  // The gateway goes on without it.
  expect(report.works).toBe(true);
  expect(report.of("shared-cache")).toMatchObject({
    outcome: "warning",
    finding:
      "Redis cannot be reached: the connection is refused (ECONNREFUSED); until then the gateway goes on without it",
    fix: expect.stringContaining("whether anything listens there"),
    commands: [`redis-cli -h 127.0.0.1 -p ${port} ping`],
  });
});

test("REDIS_URL that the file does not use is a warning", async () => {
  const unused = await patient.diagnose({ env: { REDIS_URL: "redis://127.0.0.1:1" } });
  expect(unused.works).toBe(true);
  expect(unused.of("shared-cache")).toMatchObject({
    outcome: "warning",
    finding: expect.stringMatching(/^REDIS_URL is set, and the configuration file does not use it/),
  });
});

test("keys that are none are reported before Redis is asked", async () => {
  const report = await look("redis://127.0.0.1:1", { keys: "c2hvcnQ=" });
  expect(report.configured).toBe(false);
  expect(report.of("configuration").finding).toMatch(/^TOKEN_CACHE_KEYS: /);
});

test("a file of keys that cannot be used is a fault of the configuration, beside those of the credential", async () => {
  const report = await look("redis://127.0.0.1:1", {
    env: { TOKEN_CACHE_KEYS_FILE: "/nowhere/keys", AZURE_FEDERATED_TOKEN_FILE: "/nowhere/token" },
  });
  expect(report.configured).toBe(false);
  const findings = report.verdicts.map(({ finding }) => finding);
  expect(findings).toEqual([
    expect.stringMatching(/^TOKEN_CACHE_KEYS_FILE: \/nowhere\/keys does not exist/),
    expect.stringMatching(/^AZURE_FEDERATED_TOKEN_FILE: \/nowhere\/token does not exist/),
  ]);
});

describeWithRedis("a Redis that is signed in to by Entra", () => {
  let redis: EntraRedis;
  beforeAll(async () => {
    redis = await startEntraRedis();
  });
  afterAll(() => redis.close());
  const byEntra = { auth: "entra" };

  test("is found to work where an access policy names the gateway's service principal", async () => {
    redis.grant(emulator.gatewayPrincipalId);
    const keysFile = await patient.file("keys", `${KEYS}\n`);
    const report = await look(redis.url, { ...byEntra, env: { TOKEN_CACHE_KEYS_FILE: keysFile } });
    expect(report).toMatchObject({ works: true, text: "" });
    expect(report.of("shared-cache")).toMatchObject({ outcome: "ok", facts: { signIn: "entra", keys: 1 } });
    expect(redis.signIns.map(({ outcome }) => outcome)).toEqual(["accepted"]);
  });

  test("and does not know the gateway is a fault whose command assigns the policy to the object id", async () => {
    await redis.revoke(emulator.gatewayPrincipalId);
    const report = await look(redis.url, byEntra);
    expect(report.works).toBe(false);
    expect(report.of("shared-cache")).toMatchObject({
      outcome: "fault",
      finding: "Redis refuses: it does not know the gateway's identity (WRONGPASS)",
      fix: expect.stringContaining("docker/setup/azure.sh --redis"),
      facts: { objectId: emulator.gatewayPrincipalId },
      commands: [
        expect.stringMatching(
          new RegExp(
            `^az redisenterprise database access-policy-assignment create .*--object-id ${emulator.gatewayPrincipalId}$`,
          ),
        ),
      ],
    });
  });

  test("while Entra gives no token is a warning in an outage, and a fault where it refuses", async () => {
    const match = { path: "/token" };
    const outage = emulator.faults.inject({
      endpoint: "token",
      match,
      behaviour: { kind: "json", status: 503 },
    });
    const during = await look(redis.url, byEntra);
    outage.remove();
    expect(during.of("shared-cache")).toMatchObject({
      outcome: "warning",
      finding: expect.stringMatching(/^Entra gives no token for Redis \(authority_unavailable: /),
    });
    const refusal = emulator.faults.inject({
      endpoint: "token",
      match,
      behaviour: {
        kind: "json",
        status: 401,
        body: { error: "invalid_client", error_codes: [700016], error_description: "AADSTS700016: unknown" },
      },
    });
    const refused = await look(redis.url, byEntra);
    refusal.remove();
    expect(refused.of("shared-cache")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(/^Entra gives no token for Redis \(client_rejected: .*AADSTS700016/),
    });
  });
});

describeWithRedis("a Redis that answers", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterEach(async () => {
    await redis.inspect.config("SET", "requirepass", "");
    await redis.inspect.config("SET", "maxmemory", "0");
    await redis.inspect.replicaof("NO", "ONE");
    await redis.inspect.call("ACL", "DELUSER", "reader");
  });
  afterAll(() => redis.close());
  const withUser = (credentials: string) => redis.url.replace("//", `//${credentials}@`);

  test.each([
    ["allkeys-lru", "1gb", "warning"],
    ["volatile-lru", "1gb", "warning"],
    ["volatile-ttl", "1gb", "ok"],
    ["noeviction", "1gb", "ok"],
    ["allkeys-lru", "0", "ok"],
  ])("that evicts by %s of %s is right or wrong for delegations: %s", async (policy, memory, outcome) => {
    await redis.inspect.config("SET", "maxmemory", memory);
    await redis.inspect.config("SET", "maxmemory-policy", policy);
    const report = await look(redis.url, { delegations: true });
    expect(report.of("shared-cache")).toMatchObject({
      outcome,
      finding: expect.stringContaining(outcome === "ok" ? "Redis answers" : policy),
    });
    // Tokens can be had again.
    expect((await look(redis.url)).of("shared-cache")).toMatchObject({ outcome: "ok" });
    await redis.inspect.config("SET", "maxmemory", "0");
    await redis.inspect.config("SET", "maxmemory-policy", "noeviction");
  });

  test("is found to work, and nothing of the look stays behind", async () => {
    const report = await look(redis.url);
    expect(report).toMatchObject({ works: true, text: "" });
    expect(report.of("shared-cache")).toMatchObject({
      outcome: "ok",
      finding: "Redis answers, and the keys open what they sealed",
      facts: {
        servers: `127.0.0.1:${redis.port}`,
        topology: "single",
        tls: "no",
        keys: 1,
        signIn: "password",
      },
    });
    expect(await redis.inspect.keys("*")).toEqual([]);
  });

  test.each<[string, () => Promise<string>, RegExp, RegExp]>([
    [
      "wants a password that the URL lacks",
      async () => {
        await redis.inspect.config("SET", "requirepass", PASSWORD);
        return redis.url;
      },
      /^Redis refuses: it wants a password/,
      /rediss:\/\/user:password@host/,
    ],
    [
      "has another password",
      async () => {
        await redis.inspect.config("SET", "requirepass", PASSWORD);
        return withUser(`:not-${PASSWORD}`);
      },
      /^Redis refuses: it does not accept the user name and password/,
      /an access key that was regenerated/,
    ],
    [
      "lets this user read only",
      async () => {
        await redis.inspect.call(
          "ACL",
          "SETUSER",
          "reader",
          "on",
          `>${PASSWORD}`,
          "~*",
          "+@read",
          "+@connection",
        );
        return withUser(`reader:${PASSWORD}`);
      },
      /^Redis refuses: the user .* may not do/,
      /allow it GET, GETRANGE, SET/,
    ],
    [
      "is full, and evicts nothing",
      async () => {
        await redis.inspect.config("SET", "maxmemory-policy", "noeviction");
        await redis.inspect.config("SET", "maxmemory", "1");
        return redis.url;
      },
      /^Redis refuses: its memory is full/,
      /allkeys-lru/,
    ],
    [
      "is a replica",
      async () => {
        await redis.inspect.replicaof("127.0.0.1", 1);
        return redis.url;
      },
      /^Redis refuses: it is a replica/,
      /name the primary/,
    ],
    [
      "does not speak TLS",
      async () => redis.url.replace("redis:", "rediss:"),
      /^Redis cannot be reached: /,
      /if that port does not speak TLS, name the one that does/,
    ],
  ])("and %s", async (_, break_, finding, fix) => {
    const report = await look(await break_());
    const outcome = finding.source.includes("cannot be reached") ? "warning" : "fault";
    expect(report.works).toBe(outcome === "warning");
    expect(report.of("shared-cache")).toMatchObject({
      outcome,
      finding: expect.stringMatching(finding),
      fix: expect.stringMatching(fix),
    });
  });
});
