/** Two gateways as processes of their own: one of them is killed between Entra's answer and Redis. */

import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { delegationsYaml, JOB } from "../../support/delegations.ts";
import { type GatewayProcess, startGatewayProcess } from "../../support/processes.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { type RedisServer, startRedis } from "../../support/redis-server.ts";

const LIMIT_MS = 60_000;

describeWithRedis("a gateway that is killed while it renews", () => {
  let emulator: Emulator;
  let redis: RedisServer;
  let directory: string;
  let env: Readonly<Record<string, string>>;
  const running: GatewayProcess[] = [];
  beforeAll(async () => {
    [emulator, redis, directory] = await Promise.all([
      startEmulator(),
      startRedis(),
      mkdtemp(join(tmpdir(), "delegation-crash-")),
    ]);
    await writeFile(join(directory, "gateway.yaml"), delegationsYaml());
    env = {
      GATEWAY_CONFIG: join(directory, "gateway.yaml"),
      REDIS_URL: redis.url,
      TOKEN_CACHE_KEYS: randomBytes(32).toString("base64"),
      RECORDER_URL: "http://127.0.0.1:1",
      ORDERS_ID: emulator.ordersApi.identifierUris[0] ?? "",
      SECOND_TENANT: emulator.secondTenant.id,
    };
  });
  afterAll(async () => {
    await Promise.all(running.map((gateway) => gateway.kill()));
    await Promise.all([emulator.close(), redis.close()]);
    await rm(directory, { recursive: true });
  });

  async function start(): Promise<GatewayProcess> {
    const { authorityHost, graphUrl, controlUrl, tenantId, clientId, frontEndClientId, files } = emulator;
    const { publicClientId, ordersApi } = emulator;
    const clients = { clientId, frontEndClientId, publicClientId, ordersClientId: ordersApi.clientId };
    const facts = { authorityHost, graphUrl, controlUrl, tenantId, ...clients };
    const gateway = await startGatewayProcess(
      {
        ...facts,
        caFile: files.caCertificate,
        clientCertificateFile: files.clientCertificate,
        federatedTokenFile: files.federatedToken,
      },
      { credential: "certificate", env },
    );
    running.push(gateway);
    return gateway;
  }

  test(
    "loses no delegation: the other one goes on with the refresh token before, and is given the next",
    async () => {
      const user = emulator.addUser();
      const authorization = (token: string) => ({ authorization: `Bearer ${token}` });
      const first = await start();
      const posted = await fetch(`${first.url}/delegations`, {
        method: "POST",
        headers: authorization(emulator.mintUserToken({ user })),
      });
      const { handle } = (await posted.json()) as { handle: string };
      const use = (at: GatewayProcess, path = "/graph/me") =>
        fetch(at.url + path, {
          headers: {
            ...authorization(emulator.mintUserToken({ appOnly: true, clientId: JOB })),
            delegation: handle,
          },
        });
      const redeemed = () =>
        emulator.requests.token.flatMap(({ refreshTokenSha256: digest }) =>
          digest === undefined ? [] : [digest],
        );

      // The answer, with the next refresh token in it, is under way byte by byte when the process dies.
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "drip", intervalMs: 50 } });
      const lost = use(first).catch(() => "died");
      while (redeemed().length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      await first.kill();
      expect(await lost).toBe("died");
      emulator.faults.clear();

      const second = await start();
      const answer = await use(second);
      expect([answer.status, ((await answer.json()) as { id: string }).id]).toEqual([200, user.objectId]);
      // Another API's token is renewed by what came with the last one; the API itself does not listen.
      await use(second, "/orders/1");
      const [before, again, next] = redeemed();
      expect(redeemed()).toHaveLength(3);
      expect(again).toBe(before);
      expect(next).not.toBe(before);
    },
    LIMIT_MS,
  );
});
