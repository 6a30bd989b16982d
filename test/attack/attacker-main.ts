/** The attacker as a process, with the emulator beside: its work must not slow the second user's clock. */

import { setTimeout as sleep } from "node:timers/promises";
import { startEmulator } from "../emulator/emulator.ts";
import type { Surroundings } from "./scenario.ts";
import { SCENARIOS } from "./scenarios/all.ts";
import { createAttacker } from "./wire.ts";

interface Order {
  readonly port: number;
  readonly adminPort: number;
  readonly ms: number;
}

const [, , name = "", newcomers = "0", quick = ""] = process.argv;
const say = (kind: string, value: unknown) => {
  // The run has given up on an attacker that is late.
  if (process.connected) process.send?.({ kind, value });
};

try {
  const scenario = SCENARIOS.find((one) => one.name === name);
  if (scenario === undefined) throw new Error(`no scenario is named ${name}`);
  const emulator = await startEmulator();
  process.once("disconnect", () => void emulator.close().then(() => process.exit(0)));
  const newToken = () => emulator.mintUserToken({ user: emulator.addUser() });
  const surroundings: Surroundings = { emulator, newToken, quick: quick === "quick" };
  const token = newToken();
  const facts = {
    token,
    newcomers: Array.from({ length: Number(newcomers) }, newToken),
    env: {
      NODE_EXTRA_CA_CERTS: emulator.files.caCertificate,
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      AZURE_AUTHORITY_HOST: emulator.authorityHost,
      AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate,
    },
  };
  process.once("message", ({ port, adminPort, ms }: Order) => {
    let isOver = false;
    const over = sleep(ms).then(() => {
      isOver = true;
    });
    const attacker = createAttacker(port);
    scenario
      .attack({ ...surroundings, port, adminPort, ms, attacker, over, isOver: () => isOver })
      .then(async (targets) => {
        await over;
        say("found", { targets, outcomes: attacker.outcomes(), connections: attacker.connections() });
      })
      .catch((error: unknown) => say("failed", error instanceof Error ? error.stack : String(error)));
  });
  scenario.prepare?.(surroundings);
  say("facts", facts);
} catch (error) {
  say("failed", error instanceof Error ? error.stack : String(error));
}
