/** One user's failure never changes another user's answer: random interleavings, each user compared with being alone. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { GatewayError } from "../../src/errors.ts";
import { createRandom } from "../support/random.ts";
import {
  type Answer,
  assertionOf,
  CLAIMS,
  entraError,
  exchangeWith,
  type FakeEntra,
  granted,
  type Rig,
  startFakeEntra,
  type TokenRequest,
} from "./fake-entra.ts";

const USERS = 7;
const STEPS = 60;
const SCOPES = [["https://graph.microsoft.com/.default"], ["api://orders/.default"]].map((scopes) =>
  Object.freeze(scopes),
);

/** How Entra may treat a user, for as long as one assertion lives. */
const FATES: readonly ((request: TokenRequest) => Answer)[] = [
  (request) => granted(request, 0),
  () => entraError("invalid_grant", 65001, { suberror: "consent_required" }),
  () => entraError("interaction_required", 50076, { claims: CLAIMS }),
  () => entraError("invalid_grant", 50173, { suberror: "bad_token" }),
  () => entraError("invalid_grant", 53003, { suberror: "message_only" }),
  () => entraError("invalid_grant", 50105),
  () => entraError("invalid_grant", 50013),
  () => ({ ...entraError("temporarily_unavailable", 90033), status: 503, headers: { "retry-after": "30" } }),
  () => ({ ...entraError("temporarily_unavailable", 50196), status: 400 }),
  () => ({ status: 200, body: {} }),
];
/** Given to one user at most: two throttled users are, by design, taken for a throttled tenant. */
const THROTTLED = (): Answer => ({ status: 429, body: "Too many", headers: { "retry-after": "20" } });

interface Step {
  readonly user: number;
  /** Which of the user's tokens is presented; each has a fate of its own. */
  readonly serial: number;
  readonly scopes: readonly string[];
  readonly claims: boolean;
  readonly forgets: boolean;
  /** How many calls at once. */
  readonly calls: number;
}
/** Steps that run at the same time, and the time that passes after them, ms. */
type Round = readonly [steps: readonly Step[], pauseMs: number];

function scheduleOf(below: (limit: number) => number): Round[] {
  const pauses = [0, 0, 500, 5_000, 40_000, 600_000];
  return Array.from({ length: STEPS / 3 }, (): Round => {
    const steps = Array.from({ length: 1 + below(5) }, () => ({
      user: below(USERS),
      serial: below(2),
      scopes: SCOPES[below(SCOPES.length)] ?? [],
      claims: below(6) === 0,
      forgets: below(6) === 0,
      calls: 1 + below(3),
    }));
    // One user's steps of the same round depend on each other; only other users' may not matter.
    const first = new Map(steps.map((step) => [step.user, step]));
    return [[...first.values()], pauses[below(pauses.length)] ?? 0];
  });
}

/** What each user saw, in order: the refusal's code, or whose token it was. */
async function run(rig: Rig, rounds: readonly Round[]): Promise<Map<number, string[]>> {
  const seen = new Map<number, string[]>();
  for (const [steps, pauseMs] of rounds) {
    const outcomes = await Promise.all(
      steps.map(async ({ user, serial, scopes, claims, forgets, calls }) => {
        const assertion = assertionOf(`user-${user}`, { serial });
        if (forgets) rig.forget({ assertion, scopes });
        const request = { assertion, scopes, correlationId: "c", ...(claims && { claims: CLAIMS }) };
        const all = await Promise.all(
          Array.from({ length: calls }, () => rig.exchange(request).then(ownerOf, codeOf)),
        );
        return [user, all] as const;
      }),
    );
    for (const [user, all] of outcomes) seen.set(user, [...(seen.get(user) ?? []), ...all]);
    rig.clock.advance(pauseMs);
  }
  return seen;
}

/** The fake endpoint writes tenant and assertion into the token. */
function ownerOf({ token }: Awaited<ReturnType<Rig["exchange"]>>): string {
  return Buffer.from(token.accessToken.reveal(), "base64url").toString().split("|")[1] ?? "nobody";
}

function codeOf(error: unknown): string {
  return error instanceof GatewayError ? error.code : String(error);
}

/** Each seed is one interleaving. */
export function describeInterleavings(seeds: number): void {
  let entra: FakeEntra;
  beforeAll(async () => {
    entra = await startFakeEntra();
  });
  afterAll(() => entra.close());

  test.each(Array.from({ length: seeds }, (_, seed) => seed + 1))("interleaving %i", async (seed) => {
    const { below } = createRandom(seed);
    const fates = new Map<string, (request: TokenRequest) => Answer>();
    const unlucky = below(USERS);
    for (let user = 0; user < USERS; user += 1) {
      for (const serial of [0, 1]) {
        const fate = FATES[below(2) === 0 ? 0 : below(FATES.length)];
        const text = assertionOf(`user-${user}`, { serial }).token.reveal();
        fates.set(text, user === unlucky && serial === 0 ? THROTTLED : (fate ?? THROTTLED));
      }
    }
    entra.respond((request) => fates.get(request.form.get("assertion") ?? "")?.(request) ?? { status: 400 });
    const rounds = scheduleOf(below);

    const together = await run(exchangeWith(entra), rounds);
    for (let user = 0; user < USERS; user += 1) {
      const own = rounds.map(
        ([steps, pauseMs]): Round => [steps.filter((step) => step.user === user), pauseMs],
      );
      const alone = await run(exchangeWith(entra), own);
      expect([user, together.get(user)]).toEqual([user, alone.get(user)]);
      // A token, where there was one, is the user's own.
      for (const seen of together.get(user) ?? [])
        if (seen.startsWith("assertion-of-")) expect(seen).toMatch(new RegExp(`-user-${user}-`));
    }
  });
}
