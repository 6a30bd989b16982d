/** What a renewal does where another process, the user or Entra is quicker. */

import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { Delegations, DelegationsOptions } from "../../src/delegations/contract.ts";
import { GatewayError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import type { OpenRedis, SealedPlace } from "../../src/redis/contract.ts";
import { assertionOf, FOREIGN, START } from "../exchange/fake-entra.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { connect, DAY_MS, type DelegationRoom, delegationRoom, JOB, jobOf, principal } from "./room.ts";

const job = jobOf();
const over = () => new GatewayError("delegation_ended", { detail: "over", reason: "session_ended" });

describeWithRedis("a renewal", () => {
  let server: RedisServer;
  let redis: OpenRedis;
  let room: DelegationRoom;
  const keys = [new Secret(randomBytes(32).toString("base64"))];
  beforeAll(async () => {
    server = await startRedis();
    redis = await connect(server.url, ...keys);
  });
  afterAll(async () => {
    redis.close();
    await server.close();
  });
  beforeEach(() => {
    room = delegationRoom(redis);
  });

  const open = (options?: Partial<DelegationsOptions>) => room.open(options);
  const keep = (delegations: Delegations) => room.keep(delegations);
  const subject = (delegations: Delegations, handle: string) => room.subject(delegations, handle);
  const ada = () => principal({ objectId: room.user, subject: room.user });

  /** Redeems what Entra would: the last of these is the newest. */
  function redeemWith(good: Readonly<Record<string, string>>) {
    const asked: string[] = [];
    return {
      asked,
      redeem: async (token: Secret) => {
        const text = token.reveal();
        asked.push(text);
        if (!Object.hasOwn(good, text)) throw over();
        return { refreshToken: new Secret(good[text] ?? ""), access: `by ${text}` };
      },
    };
  }

  const renewalsOf = async (
    delegations: Delegations,
    handle: string,
    good: Readonly<Record<string, string>>,
  ) => {
    const { asked, redeem } = redeemWith(good);
    const { renewal } = await subject(delegations, handle);
    const granted = await renewal.renew(redeem);
    return { asked, granted };
  };

  test("redeems the newest refresh token, and the one before it where that is refused", async () => {
    const delegations = open();
    const { handle } = await keep(delegations);
    expect((await renewalsOf(delegations, handle, { first: "second" })).asked).toEqual(["first"]);
    expect((await renewalsOf(delegations, handle, { second: "third" })).asked).toEqual(["second"]);
    // As after a crash between Entra's answer and Redis, the newest is not the one that Entra goes on with.
    const { asked, granted } = await renewalsOf(delegations, handle, { second: "fourth" });
    expect([asked, granted.access]).toEqual([["third", "second"], "by second"]);
    expect((await renewalsOf(delegations, handle, { fourth: "fifth" })).asked).toEqual(["fourth"]);
  });

  test("that is refused reads again, and goes on with what another process has kept meanwhile", async () => {
    const delegations = open();
    const { handle, id } = await keep(delegations);
    const slow = await subject(delegations, handle);
    await renewalsOf(open(), handle, { first: "second" });
    await renewalsOf(open(), handle, { second: "third" });
    const { asked, redeem } = redeemWith({ third: "fourth" });
    expect((await slow.renewal.renew(redeem)).access).toBe("by third");
    expect(asked).toEqual(["first", "third"]);
    expect(room.events.map(({ type }) => type)).not.toContain("ended");
    expect(await server.inspect.exists(`obo:{${id}}:delegation`)).toBe(1);
  });

  test("of a delegation that ended while Entra was asked serves nothing, and puts nothing back", async () => {
    const delegations = open();
    const { handle, id } = await keep(delegations);
    const { renewal } = await subject(delegations, handle);
    const renewed = renewal.renew(async () => {
      const by = ada();
      expect(await open().end({ id, by, correlationId: "end" })).toBe(true);
      return { refreshToken: new Secret("second") };
    });
    await expect(renewed).rejects.toMatchObject({ code: "delegation_ended", reason: "gone" });
    expect(await server.inspect.exists(`obo:{${id}}:delegation`)).toBe(0);
  });

  test("is reported once the next refresh token is kept, for the rest of the delegation's life and no longer", async () => {
    const delegations = open();
    const { handle, id } = await keep(delegations);
    room.clock.time += 10 * DAY_MS;
    await renewalsOf(delegations, handle, { first: "second" });
    expect(room.events.map(({ type }) => type)).toEqual(["created", "used", "renewed"]);
    const life = await server.inspect.pttl(`obo:{${id}}:delegation`);
    expect(life).toBeLessThanOrEqual(20 * DAY_MS);
    expect(life).toBeGreaterThan(20 * DAY_MS - 60_000);
  });

  test.each([undefined, "first"])("writes nothing where Entra returns no new one (%p)", async (next) => {
    const delegations = open();
    const { handle, id } = await keep(delegations);
    const { renewal } = await subject(delegations, handle);
    const before = await server.inspect.getBuffer(`obo:{${id}}:delegation`);
    await renewal.renew(async () => ({ refreshToken: next === undefined ? undefined : new Secret(next) }));
    expect(await server.inspect.getBuffer(`obo:{${id}}:delegation`)).toEqual(before);
    expect(room.events.map(({ type }) => type)).toEqual(["created", "used"]);
  });

  test("that others outrun again and again gives up for the moment, and ends nothing", async () => {
    const delegations = open();
    const { handle, id } = await keep(delegations);
    const slow = await subject(delegations, handle);
    let newest = "first";
    const asked: string[] = [];
    const outrun = slow.renewal.renew(async (token) => {
      asked.push(token.reveal());
      if (asked.length % 2 === 1) {
        const next = `next-${asked.length}`;
        await renewalsOf(open(), handle, { [newest]: next });
        await renewalsOf(open(), handle, { [next]: `${next}-newer` });
        newest = `${next}-newer`;
      }
      throw over();
    });
    await expect(outrun).rejects.toMatchObject({ code: "overloaded", reason: "delegations_unavailable" });
    expect(asked.length).toBeLessThanOrEqual(6);
    expect(await server.inspect.exists(`obo:{${id}}:delegation`)).toBe(1);
  });

  test("that comes second keeps the other's refresh token, and serves", async () => {
    const delegations = open();
    const { handle } = await keep(delegations);
    const slow = await subject(delegations, handle);
    const granted = await slow.renewal.renew(async (token) => {
      await renewalsOf(open(), handle, { first: "theirs" });
      return { refreshToken: new Secret("ours"), access: token.reveal() };
    });
    expect(granted.access).toBe("first");
    // One renewal was theirs, and ours is neither kept nor lost.
    expect(room.events.filter(({ type }) => type.startsWith("renew")).map(({ type }) => type)).toEqual([
      "renewed",
    ]);
    expect((await renewalsOf(delegations, handle, { theirs: "next" })).asked).toEqual(["theirs"]);
  });

  test("refused by Entra ends the delegation once, with the reason, at every process", async () => {
    const [one, other] = [open(), open()];
    const { handle, id } = await keep(one);
    const [first, second] = [await subject(one, handle), await subject(other, handle)];
    const refuse = async () => {
      throw over();
    };
    const both = await Promise.allSettled([first.renewal.renew(refuse), second.renewal.renew(refuse)]);
    expect(both.map((result) => result.status === "rejected" && result.reason.code)).toEqual([
      "delegation_ended",
      "delegation_ended",
    ]);
    const ended = room.events.filter(({ type }) => type === "ended");
    expect(ended).toMatchObject([
      { by: "authority", reason: "session_ended", facts: { id, objectId: room.user } },
    ]);
    await expect(subject(one, handle)).rejects.toMatchObject({ code: "delegation_ended" });
    // Nor does it take a place any more.
    const lists = await server.inspect.keys("*:delegations");
    const scores = await Promise.all(lists.map((name) => server.inspect.zscore(name, id)));
    expect(scores.filter((score) => score !== null)).toEqual([]);
  });

  describe("where Redis does not answer", () => {
    const without = (names: readonly ("run" | "removeIf" | "read")[]): DelegationsOptions["redis"] => ({
      ...redis,
      store: { ...redis.store, ...Object.fromEntries(names.map((name) => [name, async () => undefined])) },
    });

    test("after Entra did, serves, says so, and goes on with the token before", async () => {
      const delegations = open({ redis: without(["run"]) });
      const { handle } = await keep(open());
      const { granted } = await renewalsOf(delegations, handle, { first: "lost" });
      expect(granted.access).toBe("by first");
      expect(room.events.map(({ type }) => type)).toContain("renewal_lost");
      expect((await renewalsOf(open(), handle, { first: "second" })).asked).toEqual(["first"]);
    });

    test("after Entra refused, ends nothing: a newer token may be there", async () => {
      const { handle, id } = await keep(open());
      const { renewal } = await subject(open({ redis: without(["removeIf"]) }), handle);
      const refused = renewal.renew(async () => {
        throw over();
      });
      await expect(refused).rejects.toMatchObject({ code: "overloaded", reason: "delegations_unavailable" });
      expect(await server.inspect.exists(`obo:{${id}}:delegation`)).toBe(1);
    });

    test.each<[string, (delegations: Delegations, handle: string, id: string) => Promise<unknown>]>([
      ["resume", (delegations, handle) => subject(delegations, handle)],
      ["keep", (delegations) => keep(delegations)],
      ["list", (delegations) => delegations.list(principal())],
      ["end", (delegations, _, id) => delegations.end({ id, by: ada(), correlationId: "c" })],
    ])("%s is 503 for the moment, and says neither yes nor no", async (_, ask) => {
      const { handle, id } = await keep(open());
      const delegations = open({ redis: without(["run", "removeIf", "read"]) });
      await expect(ask(delegations, handle, id)).rejects.toMatchObject({
        code: "overloaded",
        retryAfterSeconds: 2,
      });
    });
  });

  test("is not refused for a fault of Entra, the network or the gateway, and keeps what there is", async () => {
    const delegations = open();
    const { handle } = await keep(delegations);
    for (const code of [
      "authority_timeout",
      "client_rejected",
      "interaction_required",
      "internal",
    ] as const) {
      const { renewal } = await subject(delegations, handle);
      const asked: string[] = [];
      const refused = renewal.renew(async (token) => {
        asked.push(token.reveal());
        throw new GatewayError(code, { detail: "no" });
      });
      await expect(refused).rejects.toMatchObject({ code });
      expect(asked).toEqual(["first"]);
    }
    expect((await renewalsOf(delegations, handle, { first: "second" })).asked).toEqual(["first"]);
  });

  test("is not reached by an unknown handle, for which the same keys are derived and as much is opened as for a known one", async () => {
    const work: string[] = [];
    const noting =
      <Asked, Answer>(name: string, act: (asked: Asked) => Answer) =>
      (asked: Asked): Answer => {
        work.push(name);
        return act(asked);
      };
    const counting: DelegationsOptions["redis"] = {
      store: { ...redis.store, read: noting("read", redis.store.read) },
      sealing: {
        userNames: noting("hash", redis.sealing.userNames),
        places(material, binding) {
          work.push("derive");
          const [first, ...others] = redis.sealing.places(material, binding);
          const counted = (place: SealedPlace): SealedPlace => ({
            ...place,
            open: noting("open", place.open),
          });
          return [counted(first), ...others.map(counted)];
        },
      },
    };
    const { handle } = await keep(open());
    const refused = async (text: string) => {
      work.length = 0;
      const asked = {
        handle: text,
        job: { ...job, tenantId: FOREIGN },
        correlationId: "use",
        route: "/graph",
      };
      await expect(open({ redis: counting }).resume(asked)).rejects.toMatchObject({
        code: "delegation_ended",
      });
      return [...work];
    };
    const known = await refused(handle);
    expect(new Set(known)).toEqual(new Set(["hash", "derive", "read", "open"]));
    expect(await refused(`obo_dlg_${"A".repeat(43)}`)).toEqual(known);
  });

  test("holds for maxDays from the creation, whatever is renewed", async () => {
    const delegations = open();
    const { handle } = await keep(delegations);
    for (let day = 1; day < 30; day += 7) {
      room.clock.time = START + day * DAY_MS;
      const { caller } = await delegations.resume({ handle, job, correlationId: "use", route: undefined });
      expect(caller.assertion.expiresAt).toBe(START + 30 * DAY_MS);
    }
    room.clock.time = START + 30 * DAY_MS;
    await expect(subject(delegations, handle)).rejects.toMatchObject({ reason: "expired" });
  });

  test("the user that is resumed holds what was held, and nothing that a job cannot vouch for", async () => {
    const delegations = open();
    const rich = principal({
      objectId: room.user,
      roles: ["Reports.Read"],
      groups: { kind: "listed", ids: ["g1"] },
      authContexts: ["c1"],
    });
    const kept = await delegations.keep({
      caller: { principal: rich, assertion: assertionOf(room.user) },
      correlationId: "keep",
    });
    const { caller } = await delegations.resume({
      handle: kept.handle,
      job,
      correlationId: "c",
      route: "/graph",
    });
    expect(caller.principal).toEqual({
      ...rich,
      clientId: JOB,
      groups: { kind: "overage" },
      authContexts: [],
      acceptsClaimsChallenge: false,
      expiresAt: START + 30 * DAY_MS,
    });
  });
});
