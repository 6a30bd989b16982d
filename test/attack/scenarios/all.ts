/** Every scenario, in the order of the table. */

import type { Scenario } from "../scenario.ts";
import { a1 } from "./a1-pipelined-floods.ts";
import { a2 } from "./a2-unread-answers.ts";
import { a3 } from "./a3-link-rewriter.ts";
import { a4 } from "./a4-one-users-share.ts";
import { a5 } from "./a5-batch-memory.ts";
import { a6 } from "./a6-waiting-callers.ts";
import { a7 } from "./a7-throttled-accounts.ts";
import { a8 } from "./a8-exchange-slots.ts";
import { a9 } from "./a9-key-rollover.ts";
import { a10 } from "./a10-revoked-user.ts";
import { adminPort } from "./admin-port.ts";
import { connections } from "./connections.ts";
import { garbageTokens } from "./garbage-tokens.ts";

/** No attack: what the measuring itself shows, and how long an orderly end takes. */
export const CALM: Scenario = {
  name: "calm",
  title: "no attack",
  ms: 2_000,
  attack: async ({ over }) => {
    await over;
    return [];
  },
};

export const SCENARIOS: readonly Scenario[] = [
  CALM,
  ...a1,
  ...a2,
  ...a3,
  ...a4,
  ...a5,
  ...a6,
  ...a7,
  ...a8,
  ...a9,
  ...a10,
  ...connections,
  ...garbageTokens,
  ...adminPort,
];

export interface Selection {
  /** Names, or what names begin with before a hyphen: `a1` is all of that family, and not `a10`. */
  readonly only?: readonly string[] | undefined;
  readonly quick: boolean;
}

/** The calm run is never among them: every run begins with it. */
export function chosen(scenarios: readonly Scenario[], { only, quick }: Selection): readonly Scenario[] {
  return scenarios.filter((scenario) => {
    const { name } = scenario;
    if (scenario === CALM) return false;
    if (only !== undefined) return only.some((one) => name === one || name.startsWith(`${one}-`));
    return !quick || scenario.quick === true;
  });
}
