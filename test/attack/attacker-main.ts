/** The attacker as a process: its work must not slow the second user's clock. */

import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, entraBehind } from "./entra.ts";
import type { Surroundings } from "./scenario.ts";
import { SCENARIOS } from "./scenarios/all.ts";
import { createAttacker } from "./wire.ts";

interface Order {
  readonly port: number;
  readonly adminPort: number;
  readonly ms: number;
}

type Message = { readonly order: Order } | { readonly id: string; readonly answer: Answer };

/** More than any scenario takes. */
const NEW_TOKENS = 8;

const [, , name = "", quick = ""] = process.argv;
const say = (kind: string, value: unknown) => {
  // The run has given up on an attacker that is late.
  if (process.connected) process.send?.({ kind, value });
};
process.once("disconnect", () => process.exit(0));

const waiting = new Map<string, (answer: Answer) => void>();
const entra = entraBehind(
  (question) =>
    new Promise((resolve) => {
      waiting.set(question.id, resolve);
      say("question", question);
    }),
);
const ordered = new Promise<Order>((resolve) => {
  process.on("message", (message: Message) => {
    if ("order" in message) return resolve(message.order);
    waiting.get(message.id)?.(message.answer);
    waiting.delete(message.id);
  });
});

try {
  const scenario = SCENARIOS.find((one) => one.name === name);
  if (scenario === undefined) throw new Error(`no scenario is named ${name}`);
  // Fetched ahead: the attacks that take one begin with it at once.
  const tokens = [...(await entra.mintTokens(Array.from({ length: NEW_TOKENS }, () => ({}))))];
  const newToken = () => {
    const token = tokens.pop();
    if (token === undefined) throw new Error(`a scenario takes at most ${NEW_TOKENS} new tokens`);
    return token;
  };
  const surroundings: Surroundings = { entra, newToken, quick: quick === "quick" };
  await scenario.prepare?.(surroundings);
  say("ready", undefined);
  const { port, adminPort, ms } = await ordered;
  let isOver = false;
  const over = sleep(ms).then(() => {
    isOver = true;
  });
  const attacker = createAttacker(port);
  const targets = await scenario.attack({
    ...surroundings,
    port,
    adminPort,
    ms,
    attacker,
    over,
    isOver: () => isOver,
  });
  await over;
  say("found", { targets, outcomes: attacker.outcomes(), connections: attacker.connections() });
} catch (error) {
  say("failed", error instanceof Error ? error.stack : String(error));
}
