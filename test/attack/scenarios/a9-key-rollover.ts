/** Tokens under keys that do not exist, just before the authority's keys roll over in an emergency. */

import { get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Target } from "../../bench/result.ts";
import type { Attack, AttackStage, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const ROLL_AFTER_MS = 2_000;
const MEASURED_MS = 18_000;
/** Honest users who come with tokens under the new key, one after the other. */
const HONEST_EVERY_MS = 100;
const HONEST_CLIENTS = 4;
const ACCEPTED_WITHIN_S = 10;

/** `bogusPerSecond` names the rate of tokens, each with another key id. */
function rollover(bogusPerSecond: number): Attack {
  return async (stage) => {
    const { attacker, entra, newToken, isOver, over } = stage;
    const bogus = bogusTokens(newToken());
    const [socket] = await attacker.hold(1, "all", () => requestOf("/graph/me", bearer(bogus())));
    const rest = (async () => {
      await sleep(500);
      while (!isOver() && bogusPerSecond > 0) {
        if (socket?.writable) socket.write(requestOf("/graph/me", bearer(bogus())));
        await sleep(1000 / bogusPerSecond);
      }
    })();
    await sleep(ROLL_AFTER_MS);
    const keyReads = await entra.keyReads();
    await entra.rollKeys();
    const rolledAt = performance.now();
    const accepted = await untilAccepted(stage);
    await Promise.all([rest, over]);
    const targets: Target[] = [
      {
        what: "s until a token under the new key is accepted",
        value: accepted === undefined ? Number.NaN : (accepted - rolledAt) / 1000,
        digits: 1,
        limit: { atMost: ACCEPTED_WITHIN_S },
      },
      {
        what: "reads of the key set after the rollover",
        value: (await entra.keyReads()) - keyReads,
        digits: 0,
        limit: { atMost: 20 },
      },
    ];
    return targets;
  };
}

/** The same claims, another key id each time: of the right shape, so that only the key set can tell. */
function bogusTokens(template: string): () => string {
  const [head = "", payload = "", signature = ""] = template.split(".");
  const header = JSON.parse(Buffer.from(head, "base64url").toString());
  let serial = 0;
  return () => {
    const kid = `bogus-${serial++}-${process.pid}`;
    const fields = { ...header, kid, ...("x5t" in header && { x5t: kid }) };
    return `${Buffer.from(JSON.stringify(fields)).toString("base64url")}.${payload}.${signature}`;
  };
}

async function untilAccepted({ entra, port, isOver }: AttackStage): Promise<number | undefined> {
  for (let serial = 0; !isOver(); serial++) {
    const clientId = `00000000-0000-4000-8000-00000000000${serial % HONEST_CLIENTS}`;
    // Each by itself, for none under the new key can be had before it signs.
    const [token = ""] = await entra.mintTokens([{ clientId }]);
    if ((await statusOf(port, token)) === 200) return performance.now();
    await sleep(HONEST_EVERY_MS);
  }
  return undefined;
}

function statusOf(port: number, token: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    get({ port, host: "127.0.0.1", path: "/graph/me", agent: false, headers: bearer(token) }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on("error", () => resolve(undefined));
  });
}

export const a9: readonly Scenario[] = [
  {
    name: "a9-one-bogus-key",
    title: "a single token under an unknown key, then an emergency rollover",
    ms: MEASURED_MS,
    attack: rollover(0),
  },
  {
    name: "a9-bogus-keys",
    title: "one token a second under an unknown key, and an emergency rollover amid",
    ms: MEASURED_MS,
    attack: rollover(1),
  },
  {
    name: "a9-flood-of-keys",
    title: "100 tokens a second, each under an unknown key, and an emergency rollover amid",
    ms: MEASURED_MS,
    attack: rollover(100),
  },
];
