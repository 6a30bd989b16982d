/** Credentials change under a steady load in which every request is an exchange: none of them fails. */

import { writeFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import {
  startTestGateway,
  TEST_YAML,
  type TestGateway,
  type TestGatewayOptions,
} from "../support/gateway.ts";

const CALLERS = 4;

/** Milliseconds that all clocks are ahead: a certificate's file is looked at every few seconds. */
let aheadMs = 0;
const now = () => Date.now() + aheadMs;
let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator({ now });
});
afterAll(() => emulator.close());

/** Calls without a pause until `change` is done, each with a user token of its own, so that no cache can help. */
async function underLoad(gateway: TestGateway, change: () => Promise<void>): Promise<number[]> {
  const statuses: number[] = [];
  let changing = true;
  const callers = Array.from({ length: CALLERS }, async () => {
    while (changing) {
      const { status } = await gateway.get("/graph/me", emulator.mintUserToken({ user: "edsger" }));
      statuses.push(status);
    }
  });
  const grown = async () => {
    const before = statuses.length;
    while (statuses.length < before + 2 * CALLERS) await setTimeout(2);
  };
  try {
    await grown();
    await change();
    await grown();
  } finally {
    changing = false;
    await Promise.all(callers);
  }
  return statuses;
}

async function withGateway<T>(
  options: Omit<TestGatewayOptions, "emulator" | "now">,
  run: (gateway: TestGateway) => Promise<T>,
): Promise<T> {
  emulator.requests.clear();
  // The clock leaps while requests are under way; that alone must not be the end of their time.
  const env = { EXCHANGE_TIMEOUT_MS: "120000", GRAPH_TIMEOUT_MS: "120000", ...options.env };
  const gateway = await startTestGateway({ emulator, now, ...options, env });
  try {
    return await run(gateway);
  } finally {
    await gateway.stop();
  }
}

/** Waits until Entra has accepted an exchange that satisfies the condition. */
const accepted = (condition: (exchange: Emulator["requests"]["token"][number]) => boolean) =>
  emulator.requests.until(({ token }) =>
    token.some((one) => one.aadsts === 0 && one.grantType !== "client_credentials" && condition(one)),
  );

const failed = (statuses: readonly number[]) => statuses.filter((status) => status !== 200);

describe("under load, no request fails while", () => {
  test("the certificate is replaced by a registered one", async () => {
    await withGateway({ credential: "certificate" }, async (gateway) => {
      const next = await emulator.issueClientCertificate();
      emulator.registerCertificate(emulator.clientId, next);
      const statuses = await underLoad(gateway, async () => {
        await writeFile(emulator.files.clientCertificate, next.pem);
        aheadMs += 5_000;
        await accepted(({ thumbprint }) => thumbprint === next.thumbprintSha256);
      });
      expect(failed(statuses)).toEqual([]);
      expect(emulator.requests.token.filter(({ aadsts }) => aadsts !== 0)).toEqual([]);
    });
  });

  test("the certificate is replaced before it is registered: no exchange even meets a refusal", async () => {
    await withGateway({ credential: "certificate" }, async (gateway) => {
      const next = await emulator.issueClientCertificate();
      const statuses = await underLoad(gateway, async () => {
        await writeFile(emulator.files.clientCertificate, next.pem);
        aheadMs += 5_000;
        await emulator.requests.until(({ token }) => token.some(({ aadsts }) => aadsts === 700027));
        emulator.registerCertificate(emulator.clientId, next);
        // Past the pause after a refused trial, which begins when the gateway has read the refusal.
        while (
          !emulator.requests.token.some((one) => one.aadsts === 0 && one.thumbprint === next.thumbprintSha256)
        ) {
          aheadMs += 10_000;
          await setTimeout(20);
        }
        await accepted(({ thumbprint }) => thumbprint === next.thumbprintSha256);
      });
      expect(failed(statuses)).toEqual([]);
      const refused = emulator.requests.token.filter(({ aadsts }) => aadsts !== 0);
      expect(refused.every(({ grantType }) => grantType === "client_credentials")).toBe(true);
    });
  });

  test("the federated token is rotated three times", async () => {
    await withGateway({ credential: "workload-identity" }, async (gateway) => {
      const proofs = () => new Set(emulator.requests.token.map((one) => one.clientAssertionSha256));
      const statuses = await underLoad(gateway, async () => {
        for (let rotation = 1; rotation <= 3; rotation += 1) {
          await emulator.tokenVolume.rotate();
          await emulator.requests.until(() => proofs().size > rotation);
        }
      });
      expect(failed(statuses)).toEqual([]);
      expect(emulator.requests.token.filter(({ aadsts }) => aadsts !== 0)).toEqual([]);
    });
  });

  test.each(["missing", "empty", "half-written"] as const)(
    "the federated token's file is %s for a while",
    async (defect) => {
      await withGateway({ credential: "workload-identity" }, async (gateway) => {
        const statuses = await underLoad(gateway, async () => {
          await emulator.tokenVolume.breakWith(defect);
          const before = emulator.requests.counts.token;
          await emulator.requests.until(({ counts }) => counts.token > before + CALLERS);
          await emulator.tokenVolume.rotate();
        });
        expect(failed(statuses)).toEqual([]);
      });
    },
  );

  test("the first credential is revoked, and the second one takes over within the same requests", async () => {
    const own = await emulator.issueClientCertificate();
    emulator.registerCertificate(emulator.clientId, own);
    await writeFile(emulator.files.clientCertificate, own.pem);
    const options = {
      credential: "certificate",
      yaml: `${TEST_YAML}credential: { sources: [certificate, workload-identity] }\n`,
      env: { AZURE_FEDERATED_TOKEN_FILE: emulator.files.federatedToken },
    } as const;
    await withGateway(options, async (gateway) => {
      const statuses = await underLoad(gateway, async () => {
        await accepted(({ credential }) => credential === "certificate");
        emulator.revokeCertificate(emulator.clientId, own);
        await accepted(({ credential }) => credential === "federated");
      });
      expect(failed(statuses)).toEqual([]);
      // Those under way at that moment, and not one more: what was refused is remembered.
      const refused = emulator.requests.token.filter(({ aadsts }) => aadsts === 700027);
      expect(refused.length).toBeGreaterThan(0);
      expect(refused.length).toBeLessThanOrEqual(CALLERS);
      const { body } = await gateway.admin("/readyz").expect(200);
      expect(body.checks).toContainEqual({
        name: "credential",
        ready: true,
        detail: {
          serving: "workload-identity",
          sources: [
            expect.objectContaining({ source: "certificate", state: "refused" }),
            expect.objectContaining({ source: "workload-identity", state: "usable" }),
          ],
        },
      });
    });
  });
});
