/** Everything around the gateway, broken one thing after the other: what breaks, what repairs it, and what is due meanwhile. */

import { randomBytes } from "node:crypto";
import { readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Emulator } from "../../emulator/handle.ts";
import type { EntraRedis } from "../../support/entra-redis.ts";
import type { Excuses } from "./load.ts";
import type { Replicas } from "./replicas.ts";

export interface Surroundings {
  readonly emulator: Emulator;
  readonly redis: EntraRedis;
  readonly replicas: Replicas;
  readonly auditFiles: readonly string[];
  readonly keysFile: string;
  readonly certificateFile: string;
}

export interface ChaosFault {
  readonly name: string;
  readonly excuses?: Excuses;
  /** Breaks it, for about so many ms, and resolves when it is whole again. */
  run(activeMs: number): Promise<void>;
  /** Whether what was broken is used again; looked at until it is. Default: as soon as nothing is excused any more. */
  isOver?(): Promise<boolean>;
}

const UNAVAILABLE = ["503 authority_unavailable", "504 authority_timeout"];
/** What piles up behind an Entra that does not answer is bounded, for all and for each user. */
const PILED_UP = ["503 overloaded", "429 rate_limited"];

export function chaosFaults(surroundings: Surroundings): ChaosFault[] {
  const { emulator, redis, replicas, auditFiles, keysFile, certificateFile } = surroundings;
  const { server } = redis;
  const identity = emulator.gatewayPrincipalId;
  const { tokenVolume, faults } = emulator;

  const redisIsUsed = async () => {
    const available = await Promise.all(
      replicas.all().map((replica) => replica.metric("obo_gateway_shared_cache_available")),
    );
    return available.every((one) => one === 1);
  };
  /** A behaviour of the token endpoint, as long as the fault lasts. */
  const entra = async (behaviour: Parameters<typeof faults.inject>[0]["behaviour"], activeMs: number) => {
    const fault = faults.inject({ endpoint: "token", behaviour });
    await sleep(activeMs);
    fault.remove();
  };
  const toAll = (change: { readonly clockOffsetMs?: number; readonly isResolverGone?: boolean }) =>
    Promise.all(replicas.all().map((replica) => replica.surround(change)));
  /** Steps that share the time. */
  const inTurn = async (activeMs: number, ...steps: (() => Promise<unknown>)[]) => {
    for (const step of steps) {
      await step();
      await sleep(activeMs / steps.length);
    }
  };
  const auditSizes = () => Promise.all(auditFiles.map((file) => stat(file).then(({ size }) => size)));
  let sizesWhenRepaired: readonly number[] = [];
  const hangUp = () => {
    for (const replica of replicas.all()) replica.signal("SIGHUP");
  };

  return [
    {
      name: "Redis killed, started again",
      async run(activeMs) {
        await server.kill();
        await sleep(activeMs);
        await server.restart();
      },
      isOver: redisIsUsed,
    },
    {
      name: "Redis stands still",
      async run(activeMs) {
        server.freeze();
        await sleep(activeMs);
        server.resume();
      },
      isOver: redisIsUsed,
    },
    {
      name: "Redis full",
      async run(activeMs) {
        await server.inspect.config("SET", "maxmemory", "1");
        await sleep(activeMs);
        await server.inspect.config("SET", "maxmemory", "0");
      },
      isOver: redisIsUsed,
    },
    {
      name: "Redis refuses the identity",
      async run(activeMs) {
        await redis.revoke(identity);
        await sleep(activeMs);
        redis.grant(identity);
      },
      isOver: redisIsUsed,
    },
    {
      name: "sealing keys swapped, garbage, gone, back",
      async run(activeMs) {
        const put = async (content: string) => {
          await writeFile(`${keysFile}.new`, content);
          await rename(`${keysFile}.new`, keysFile);
          hangUp();
        };
        const key = randomBytes(32).toString("base64");
        await inTurn(
          activeMs,
          () => put(key),
          () => put("garbage"),
          () => rm(keysFile).then(hangUp),
          () => put(key),
        );
      },
      isOver: redisIsUsed,
    },
    {
      name: "Entra answers 503",
      excuses: { exchanges: UNAVAILABLE },
      run: (activeMs) => entra({ kind: "json", status: 503 }, activeMs),
    },
    {
      name: "Entra answers 429",
      excuses: { exchanges: ["503 authority_throttled", "429 rate_limited"] },
      run: (activeMs) => entra({ kind: "json", status: 429, retryAfter: 1 }, activeMs),
    },
    {
      name: "Entra silent",
      excuses: { exchanges: [...UNAVAILABLE, ...PILED_UP] },
      run: (activeMs) => entra({ kind: "stall", when: "before-headers" }, activeMs),
    },
    {
      name: "Entra slow (800 ms)",
      run: (activeMs) => entra({ kind: "delay", ms: 800 }, activeMs),
    },
    {
      name: "Entra refuses connections",
      excuses: { exchanges: UNAVAILABLE },
      async run(activeMs) {
        const refusal = await faults.refuseConnections("authority");
        await sleep(activeMs);
        await refusal.end();
      },
    },
    {
      name: "DNS gone",
      excuses: { exchanges: UNAVAILABLE, all: ["502 downstream_unreachable"] },
      async run(activeMs) {
        await toAll({ isResolverGone: true });
        await sleep(activeMs);
        await toAll({ isResolverGone: false });
      },
    },
    {
      name: "token file rotated, garbage, gone, back",
      run: (activeMs) =>
        inTurn(
          activeMs,
          () => tokenVolume.rotate(),
          () => tokenVolume.breakWith("half-written"),
          () => tokenVolume.breakWith("missing"),
          () => tokenVolume.rotate(),
        ),
    },
    {
      name: "certificate rotated, garbage, gone, back",
      async run(activeMs) {
        const next = await emulator.issueClientCertificate();
        emulator.registerCertificate(emulator.clientId, next);
        const put = async (content: string) => {
          await writeFile(`${certificateFile}.new`, content, { mode: 0o600 });
          await rename(`${certificateFile}.new`, certificateFile);
        };
        await inTurn(
          activeMs,
          () => put(next.pem),
          () => put(next.pem.slice(0, next.pem.length / 2)),
          () => rm(certificateFile),
          () => put(next.pem),
        );
      },
    },
    {
      name: "output blocked",
      async run(activeMs) {
        for (const replica of replicas.all()) replica.blockOutput();
        await sleep(activeMs);
        for (const replica of replicas.all()) replica.unblockOutput();
      },
    },
    {
      name: "disk of the audit file full",
      async run(activeMs) {
        for (const file of auditFiles) {
          await rename(file, `${file}.1`);
          // The device of which each write fails for want of room.
          await symlink("/dev/full", file);
        }
        hangUp();
        await sleep(activeMs);
        for (const file of auditFiles) {
          await rm(file);
          await rename(`${file}.1`, file);
        }
        sizesWhenRepaired = await auditSizes();
        hangUp();
      },
      async isOver() {
        const sizes = await auditSizes();
        return sizes.every((size, index) => size > (sizesWhenRepaired[index] ?? 0));
      },
    },
    {
      name: "SIGHUP, ten a second",
      async run(activeMs) {
        for (const end = performance.now() + activeMs; performance.now() < end; await sleep(100)) hangUp();
      },
    },
    {
      name: "clock two minutes behind",
      // Until the gateway has seen three answers of Entra by which it knows the difference.
      excuses: { fresh: ["401 token_rejected"] },
      async run(activeMs) {
        await toAll({ clockOffsetMs: -120_000 });
        await sleep(activeMs);
        await toAll({ clockOffsetMs: 0 });
      },
    },
    {
      name: "clock two minutes ahead",
      // The emulator takes no client assertion from the future, and a certificate's is signed by the host's clock.
      excuses: { exchanges: ["503 client_rejected", "503 credential_unavailable"] },
      async run(activeMs) {
        await toAll({ clockOffsetMs: 120_000 });
        await sleep(activeMs);
        await toAll({ clockOffsetMs: 0 });
      },
    },
    {
      name: "reader of the output gone, then rolled by SIGTERM",
      async run(activeMs) {
        for (const replica of replicas.all()) replica.breakOutput();
        await sleep(activeMs);
        await replicas.roll("SIGTERM");
      },
      isOver: redisIsUsed,
    },
    {
      name: "rolled by SIGQUIT",
      async run() {
        await replicas.roll("SIGQUIT");
      },
      isOver: redisIsUsed,
    },
  ];
}

/** A copy that a fault may change; the emulator's stays. */
export async function copyOf(file: string, to: string): Promise<string> {
  await writeFile(to, await readFile(file), { mode: 0o600 });
  return to;
}
