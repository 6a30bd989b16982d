/**
 * Over generated sequences of keep, use, rotate, revoke, end, expire, crash and lost writes, at two replicas: a delegation
 * serves its user and no other, never after its end or a revocation, and is never lost while Entra would renew it.
 */

import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { DelegationEvent, Delegations } from "../../src/delegations/contract.ts";
import { createDelegations } from "../../src/delegations/delegations.ts";
import { GatewayError } from "../../src/errors.ts";
import type { ExchangeRequest, OpenTokenExchange } from "../../src/exchange/contract.ts";
import type { SendGrant } from "../../src/exchange/entra/msal.ts";
import { createTokenExchange } from "../../src/exchange/exchange.ts";
import { type BoundedResponse, FetchFailure } from "../../src/foundation/bounded-fetch.ts";
import { Secret } from "../../src/foundation/secret.ts";
import type { Principal } from "../../src/identity/contract.ts";
import type { OpenRedis, RedisStore } from "../../src/redis/contract.ts";
import { openRedis } from "../../src/redis/redis.ts";
import {
  assertionOf,
  CLIENT,
  FOREIGN,
  HOME,
  HOST,
  secretCredential,
  startClock,
} from "../exchange/fake-entra.ts";
import { createRandom } from "../support/random.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1);
const STEPS = 70;
const USERS = ["ada", "grace", "linus"];
const APIS = [
  Object.freeze(["https://graph.microsoft.com/.default"]),
  Object.freeze(["api://orders/.default"]),
];
const JOB = "44444444-4444-4444-8444-444444444444";
const OTHER_JOB = "55555555-5555-4555-8555-555555555555";
const MAX_DAYS = 30;
const DAY_MS = 24 * 3_600_000;
const LIFE_SECONDS = 3_600;
const CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}';
const LIMIT_MS = 120_000;

/** A text by which a mix-up of users, grants or times shows. */
interface TokenFacts {
  readonly user: string;
  readonly grant: number;
  readonly at: number;
  readonly serial: number;
}
const writeToken = (facts: TokenFacts) => Buffer.from(JSON.stringify(facts)).toString("base64url");
const readToken = (text: string): TokenFacts => JSON.parse(Buffer.from(text, "base64url").toString());

type Fault = "none" | "silent" | "answer lost";

/** Entra, as far as refresh tokens go: each use gives a new one; with an overlap, a used one ends so long afterwards. */
function modelEntra(now: () => number, overlapMs: number) {
  const revokedAt = new Map<string, number>();
  const firstUse = new Map<string, number>();
  let grants = 0;
  let serial = 0;
  const issue = (user: string, grant: number): BoundedResponse => {
    serial += 1;
    const token = writeToken({ user, grant, at: now(), serial });
    return answer(200, {
      token_type: "Bearer",
      expires_in: LIFE_SECONDS,
      access_token: token,
      refresh_token: writeToken({ user, grant, at: now(), serial: -serial }),
    });
  };
  return {
    isRevoked: (user: string, since: number) => (revokedAt.get(user) ?? -1) >= since,
    revoke: (user: string) => void revokedAt.set(user, now()),
    respond({ assertion, refreshToken }: Parameters<SendGrant>[0]): BoundedResponse {
      if (refreshToken === undefined) {
        grants += 1;
        return issue(assertion.objectId, grants);
      }
      const text = refreshToken.reveal();
      const { user, grant, at } = readToken(text);
      const used = firstUse.get(text);
      const isOver = used !== undefined && now() - used > overlapMs;
      if (isOver || (revokedAt.get(user) ?? -1) >= at)
        return answer(400, { error: "invalid_grant", error_codes: [50173], suberror: "bad_token" });
      firstUse.set(text, used ?? now());
      return issue(user, grant);
    },
  };
}

function answer(status: number, body: object): BoundedResponse {
  return { status, headers: new Headers(), text: JSON.stringify(body) };
}

interface Replica {
  readonly delegations: Delegations;
  readonly exchange: OpenTokenExchange;
  /** Met by the next request to Entra, and those after it. */
  fault: Fault;
  isDead(): boolean;
  /** Redis takes no more renewals from this replica while set. */
  losesWrites: boolean;
  /** The process ends when Entra's next answer arrives: nothing of it is stored, and nothing more is done. */
  dies: (() => void) | undefined;
}

interface Model {
  readonly handle: string;
  readonly id: string;
  readonly user: string;
  readonly createdAt: number;
  isOver: boolean;
}

describeWithRedis("delegations, over generated sequences", () => {
  let redis: RedisServer;
  let connections: OpenRedis[];
  let rigs = 0;
  beforeAll(async () => {
    redis = await startRedis();
    const keys = [new Secret(randomBytes(32).toString("base64"))];
    const options = { url: new Secret(redis.url), keys, timeoutMs: 5_000 };
    const opened = await Promise.all([openRedis(options), openRedis(options)]);
    connections = opened.filter((one) => one !== undefined);
    while (!connections.every((one) => one.available()))
      await new Promise((resolve) => setTimeout(resolve, 10));
  });
  afterAll(async () => {
    for (const one of connections) one.close();
    await redis.close();
  });

  function rig(seed: number, overlapMs: number, allowsLosses: boolean) {
    const { below } = createRandom(seed);
    const clock = startClock();
    const { now } = clock;
    const entra = modelEntra(now, overlapMs);
    const all: Model[] = [];
    // All sequences share one Redis.
    rigs += 1;
    const users = USERS.map((name) => `${name}-${rigs}`);
    const counts = { served: 0, ended: 0, crashed: 0, lost: 0, refused: 0 };
    const events: DelegationEvent["type"][] = [];
    const replicas = connections.map(startReplica);

    function startReplica({ store, ...rest }: OpenRedis): Replica {
      const isDead = () => hasDied;
      let hasDied = false;
      /** Of a process that is no more, nothing reaches Redis, and nothing comes back. */
      const alive =
        <Args extends readonly unknown[], T>(operation: (...args: Args) => Promise<T>) =>
        (...args: Args): Promise<T> =>
          isDead() ? new Promise<T>(() => {}) : operation(...args);
      const guarded: RedisStore = {
        ...store,
        read: alive(store.read),
        write: alive(store.write),
        take: alive(store.take),
        isTaken: alive(store.isTaken),
        removeIf: alive(store.removeIf),
        run: alive(async (script, name, args) =>
          replica.losesWrites && script.includes('ARGV[2], "PX"') ? undefined : store.run(script, name, args),
        ),
      };
      const redisOf = { ...rest, store: guarded };
      const send: SendGrant = async (grant) => {
        if (replica.fault === "silent") throw new FetchFailure("too_large");
        const response = entra.respond(grant);
        if (replica.fault === "answer lost") throw new FetchFailure("too_large");
        if (replica.dies !== undefined) {
          hasDied = true;
          replica.dies();
          return new Promise(() => {});
        }
        return response;
      };
      const exchange = createTokenExchange(
        {
          clientId: CLIENT,
          authorityHost: HOST,
          tokenEndpoint: (tenantId) => `${HOST}${tenantId}/oauth2/v2.0/token`,
          authorizeEndpoint: (tenantId) => `${HOST}${tenantId}/oauth2/v2.0/authorize`,
          homeTenantId: HOME,
          allowedTenants: [HOME, FOREIGN],
          credential: secretCredential,
          fetch: () => Promise.reject(new Error("there is no network")),
          // A lock that a dead replica left is waited for a quarter of this.
          timeoutMs: 200,
          cache: { maxEntries: 1_000, maxBytes: 2 ** 29, expiryMarginMs: 60_000 },
          redis: redisOf,
          refusalMemoryMs: 3_000,
          budget: { total: 1_000, userShare: 1, clientShare: 1 },
          now,
        },
        send,
      );
      const delegations = createDelegations({
        rules: {
          clients: [JOB, OTHER_JOB],
          maxDays: MAX_DAYS,
          maxPerUser: 1_000,
          maxPerClient: 1_000,
          adminRole: "Admin",
        },
        authorityHost: HOST,
        clientId: CLIENT,
        scopes: APIS[0] ?? [],
        redis: redisOf,
        exchange,
        now,
        onEvent: ({ type }) => events.push(type),
      });
      const replica: Replica = {
        delegations,
        exchange,
        fault: "none",
        losesWrites: false,
        dies: undefined,
        isDead,
      };
      return replica;
    }

    const principalOf = (user: string, over: Partial<Principal> = {}): Principal => ({
      kind: "user",
      tenantId: HOME,
      objectId: user,
      subject: user,
      clientId: "front-end",
      tokenVersion: "2.0",
      scopes: ["access_as_user"],
      roles: [],
      groups: { kind: "absent" },
      authContexts: [],
      acceptsClaimsChallenge: false,
      expiresAt: now() + LIFE_SECONDS * 1_000,
      ...over,
    });
    const jobOf = (over: Partial<Principal> = {}) =>
      principalOf("job", { kind: "app", scopes: [], clientId: JOB, ...over });

    async function keep(replica: Replica, user: string): Promise<void> {
      const principal = principalOf(user);
      const assertion = assertionOf(user, { serial: below(1_000_000), expiresAt: now() + 3_600_000 });
      const kept = await replica.delegations.keep({
        caller: { principal, assertion },
        correlationId: "keep",
      });
      all.push({ handle: kept.handle, id: kept.id, user, createdAt: now(), isOver: false });
    }

    /** As the pipeline does it. */
    async function request(replica: Replica, handle: string, job: Principal, isForced: boolean, api: number) {
      const asked = { handle, job, correlationId: "use", route: "/graph" };
      const { caller } = await replica.delegations.resume(asked);
      const wanted: ExchangeRequest = {
        assertion: caller.assertion,
        scopes: APIS[api] ?? [],
        correlationId: "use",
        ...(isForced && { claims: CLAIMS }),
      };
      const { token } =
        (isForced ? undefined : replica.exchange.recall(wanted)) ?? (await replica.exchange.exchange(wanted));
      return { principal: caller.principal, token: readToken(token.accessToken.reveal()) };
    }

    function isOver({ isOver, createdAt }: Model): boolean {
      return isOver || now() >= createdAt + MAX_DAYS * DAY_MS;
    }

    async function use(
      replica: Replica,
      model: Model,
      over: { forced?: boolean; api?: number } = {},
    ): Promise<void> {
      const { forced = below(2) === 0, api = below(APIS.length) } = over;
      const wasOver = isOver(model);
      const isRevoked = entra.isRevoked(model.user, model.createdAt);
      const { fault } = replica;
      const outcome = await request(replica, model.handle, jobOf(), forced, api).catch(
        (error: unknown) => error,
      );
      if (outcome instanceof GatewayError) {
        if (outcome.code === "delegation_ended") {
          // The one thing that must not be: Entra would have gone on.
          expect({ wasOver, isRevoked }).not.toEqual({ wasOver: false, isRevoked: false });
          counts.ended += 1;
          model.isOver = true;
        } else {
          expect({ code: outcome.code, fault }).not.toEqual({ code: outcome.code, fault: "none" });
          counts.refused += 1;
        }
        return;
      }
      if (outcome instanceof Error) throw outcome;
      const { principal, token } = outcome as Awaited<ReturnType<typeof request>>;
      expect([principal.objectId, token.user, principal.tenantId]).toEqual([model.user, model.user, HOME]);
      expect(wasOver).toBe(false);
      // A token that was cached before the revocation may serve on; none of Entra's since.
      if (isRevoked) expect(entra.isRevoked(model.user, token.at)).toBe(true);
      if (isRevoked) expect(forced).toBe(false);
      expect(now() - token.at).toBeLessThan(LIFE_SECONDS * 1_000);
      counts.served += 1;
    }

    async function useByStranger(replica: Replica, model: Model): Promise<void> {
      const strangers = [
        jobOf({ tenantId: FOREIGN }),
        jobOf({ clientId: "66666666-6666-4666-8666-666666666666" }),
        principalOf(model.user),
        principalOf("mallory", { clientId: JOB }),
      ];
      const stranger = strangers[below(strangers.length)] as Principal;
      const outcome = await request(replica, model.handle, stranger, false, 0).catch(
        (error: unknown) => error,
      );
      expect(outcome).toBeInstanceOf(GatewayError);
      expect(["delegation_ended", "scope_insufficient"]).toContain((outcome as GatewayError).code);
    }

    async function crash(index: number, model: Model): Promise<void> {
      const replica = replicas[index] as Replica;
      const died = new Promise<void>((resolve) => {
        replica.dies = resolve;
      });
      const asked = request(replica, model.handle, jobOf(), true, below(APIS.length)).catch(() => {});
      // It lives where Entra is not asked, since the delegation is over.
      await Promise.race([died, asked]);
      if (replica.isDead()) counts.crashed += 1;
      replicas[index] = startReplica(connections[index] as OpenRedis);
    }

    async function step(): Promise<void> {
      const index = below(2);
      const replica = replicas[index] as Replica;
      const alive = all.filter((one) => !isOver(one) && !entra.isRevoked(one.user, one.createdAt));
      // Mostly one that lives, so that its life is long enough to be of interest.
      const among = alive.length > 0 && below(5) > 0 ? alive : all;
      const model = among[below(among.length)];
      if (model === undefined) return keep(replica, users[below(users.length)] ?? "");
      switch (below(14)) {
        case 0:
          return keep(replica, users[below(users.length)] ?? "");
        case 1:
        case 2:
        case 3:
          return use(replica, model);
        case 4:
        case 5: {
          // Both replicas, both APIs, at once.
          const [one, other] = replicas as [Replica, Replica];
          await Promise.all([
            use(one, model, { forced: true, api: 0 }),
            use(other, model, { forced: true, api: 1 }),
            use(one, model, { forced: true, api: 1 }),
          ]);
          return;
        }
        case 6:
          return void clock.advance(30_000 + below(120_000));
        case 7:
          return void clock.advance(below(3) * 3_600_000);
        case 8:
          return useByStranger(replica, model);
        case 9: {
          if (below(4) > 0) return;
          entra.revoke(model.user);
          // The next sign-in is a moment later.
          clock.advance(1);
          return;
        }
        case 10: {
          const by = below(2) === 0 ? principalOf(model.user) : jobOf({ roles: ["Admin"] });
          if (below(3) > 0) return use(replica, model);
          // While the other replica renews: it serves or refuses, and puts nothing back.
          const other = replicas[1 - index] as Replica;
          const renewed = request(other, model.handle, jobOf(), true, 0).catch((error: unknown) => error);
          const wasOver = isOver(model);
          const found = await replica.delegations.end({ id: model.id, by, correlationId: "end" });
          if (!wasOver) expect([found, model.isOver]).toEqual([true, false]);
          model.isOver = true;
          await renewed;
          return use(other, model, { forced: true });
        }
        case 11: {
          replica.fault = allowsLosses && below(2) === 0 ? "answer lost" : "silent";
          await use(replica, model, { forced: true });
          replica.fault = "none";
          return;
        }
        case 12:
          if (allowsLosses) return crash(index, model);
          return void (below(6) === 0 && clock.advance(MAX_DAYS * DAY_MS));
        default: {
          if (!allowsLosses) return use(replica, model, { forced: true });
          replica.losesWrites = true;
          await use(replica, model, { forced: true });
          replica.losesWrites = false;
          counts.lost += 1;
        }
      }
    }

    return { step, users, use, all, replicas, counts, events, entra, principalOf, isOver };
  }

  type Rig = ReturnType<typeof rig>;

  async function play(seed: number, overlapMs: number, allowsLosses: boolean): Promise<Rig> {
    const one = rig(seed, overlapMs, allowsLosses);
    for (let step = 0; step < STEPS; step += 1) await one.step();
    // In the end each is as the model says, at both replicas, by Entra's word and not the cache's.
    for (const model of one.all)
      for (const replica of one.replicas) await one.use(replica, model, { forced: true });
    for (const user of one.users) {
      const listed = await one.replicas[0]?.delegations.list(one.principalOf(user));
      const alive = one.all.filter((model) => model.user === user && !one.isOver(model));
      expect(listed?.map(({ id }) => id).sort()).toEqual(alive.map(({ id }) => id).sort());
    }
    return one;
  }

  test.each(SEEDS)(
    "where used refresh tokens live on, as at Entra, crashes and lost writes cost no delegation (seed %i)",
    async (seed) => {
      const { counts } = await play(seed, Number.POSITIVE_INFINITY, true);
      expect(counts.served).toBeGreaterThan(5);
    },
    LIMIT_MS,
  );

  test.each(SEEDS)(
    "where a used one ends within a minute, the newest is always kept (seed %i)",
    async (seed) => {
      const { counts } = await play(seed + 1_000, 60_000, false);
      expect(counts.served).toBeGreaterThan(5);
    },
    LIMIT_MS,
  );

  test(
    "the sequences reach what they are about",
    async () => {
      const sum = { served: 0, ended: 0, crashed: 0, lost: 0, refused: 0 };
      const seen = new Set<string>();
      for (const seed of [1, 2, 3, 4, 5]) {
        const { counts, events } = await play(seed, Number.POSITIVE_INFINITY, true);
        for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += counts[key];
        for (const type of events) seen.add(type);
      }
      for (const count of Object.values(sum)) expect(count).toBeGreaterThan(0);
      expect([...seen].sort()).toEqual(["created", "ended", "refused", "renewal_lost", "renewed", "used"]);
    },
    LIMIT_MS,
  );
});
