/** Keep, list, end and their bounds: what stands in Redis, who may do what, and what the audit is given. */

import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { DelegationsOptions } from "../../src/delegations/contract.ts";
import { GatewayError } from "../../src/errors.ts";
import type { ExchangeRequest } from "../../src/exchange/contract.ts";
import { ownerOf } from "../../src/foundation/budget.ts";
import { Secret } from "../../src/foundation/secret.ts";
import type { OpenRedis } from "../../src/redis/contract.ts";
import { CLIENT, FOREIGN, GRAPH, HOME, START } from "../exchange/fake-entra.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import {
  connect,
  DAY_MS,
  type DelegationRoom,
  delegationRoom,
  JOB,
  jobOf,
  principal,
  RULES,
} from "./room.ts";

describeWithRedis("delegations are kept", () => {
  let server: RedisServer;
  let redis: OpenRedis;
  let room: DelegationRoom;
  const key = () => new Secret(randomBytes(32).toString("base64"));
  const [old, young] = [key(), key()];
  const opened: OpenRedis[] = [];
  beforeAll(async () => {
    server = await startRedis();
    redis = await connect(server.url, old);
    opened.push(redis);
  });
  afterAll(async () => {
    for (const one of opened) one.close();
    await server.close();
  });
  beforeEach(() => {
    room = delegationRoom(redis);
  });

  const ada = () => principal({ objectId: room.user, subject: room.user });
  const resume = (handle: string, over = {}, options: Partial<DelegationsOptions> = {}) =>
    room.open(options).resume({ handle, job: jobOf(over), correlationId: "use", route: "/graph" });
  const end = (id: string, by = ada()) => room.open().end({ id, by, correlationId: "end" });
  const listed = async () => (await room.open().list(ada())).map(({ id }) => id);
  const record = (id: string) => `obo:{${id}}:delegation`;
  const lists = async () => {
    const names = await server.inspect.keys("*:delegations");
    return Promise.all(
      names.map(async (name) => [name, await server.inspect.zrangebyscore(name, "-inf", "+inf")] as const),
    );
  };
  const naming = async (id: string) => (await lists()).filter(([, ids]) => ids.includes(id)).length;

  test("by an exchange for the first API, on the user's account", async () => {
    const asked: ExchangeRequest[] = [];
    const signal = new AbortController().signal;
    const delegations = room.open({
      exchange: {
        async grantOffline(request) {
          asked.push(request);
          return new Secret("first");
        },
      },
    });
    const caller = {
      principal: ada(),
      assertion: { ...assertion(), objectId: room.user },
      owner: ownerOf(ada()),
    };
    const kept = await delegations.keep({ caller, correlationId: "keep", signal });
    expect(asked).toEqual([
      { assertion: caller.assertion, scopes: GRAPH, correlationId: "keep", clientId: "front-end", signal },
    ]);
    expect(kept).toEqual({
      id: expect.stringMatching(/^[\w-]{43}$/),
      handle: expect.stringMatching(/^obo_dlg_[\w-]{43}$/),
      createdAt: START,
      expiresAt: START + 30 * DAY_MS,
      clients: [JOB],
    });
    const facts = {
      correlationId: "keep",
      id: kept.id,
      tenantId: HOME,
      objectId: room.user,
      clientId: "front-end",
    };
    expect(room.events).toEqual([{ type: "created", facts, expiresAt: kept.expiresAt }]);
    expect(await server.inspect.pttl(record(kept.id))).toBeGreaterThan(29 * DAY_MS);
    expect(await server.inspect.pttl(record(kept.id))).toBeLessThanOrEqual(30 * DAY_MS);
    expect(await naming(kept.id)).toBe(2);
  });

  const assertion = () => ({
    token: new Secret("a"),
    digest: "d".repeat(43),
    tenantId: HOME,
    objectId: "ada",
    expiresAt: START + 3_600_000,
  });

  test.each([["an application", { kind: "app" } as const]])(
    "but not for %s, and Entra is not asked",
    async (_, over) => {
      const delegations = room.open({ exchange: { grantOffline: () => Promise.reject(new Error("asked")) } });
      await expect(room.keep(delegations, over)).rejects.toMatchObject({ code: "user_token_required" });
    },
  );

  test("nor for a job that acts as the user", async () => {
    const { handle } = await room.keep(room.open());
    const { caller } = await resume(handle);
    await expect(room.open().keep({ caller, correlationId: "keep" })).rejects.toMatchObject({
      code: "user_token_required",
    });
    expect(await listed()).toHaveLength(1);
  });

  test("and not where Entra refuses: its refusal is the caller's", async () => {
    const refusal = new GatewayError("consent_required", { detail: "no" });
    const delegations = room.open({ exchange: { grantOffline: () => Promise.reject(refusal) } });
    await expect(room.keep(delegations)).rejects.toBe(refusal);
    expect(await listed()).toEqual([]);
  });

  describe("and serve", () => {
    test("a listed job of the tenant, in whatever letter case", async () => {
      const { handle, id } = await room.keep(room.open());
      const { caller } = await resume(handle, { clientId: JOB.toUpperCase() });
      expect(caller.assertion).toMatchObject({ digest: id, tenantId: HOME, objectId: room.user });
      expect(caller.owner).toEqual(ownerOf(caller.principal));
      const used = {
        correlationId: "use",
        id,
        tenantId: HOME,
        objectId: room.user,
        clientId: JOB.toUpperCase(),
      };
      expect(room.events.at(-1)).toEqual({ type: "used", facts: { ...used, route: "/graph" } });
    });

    test.each<[string, object, string]>([
      ["of another tenant", { tenantId: FOREIGN }, "tenant"],
      ["for which it was not left", { clientId: "77777777-7777-4777-8777-777777777777" }, "client"],
    ])("not a job %s; the reason is the audit's alone", async (_, over, reason) => {
      const { handle, id } = await room.keep(room.open());
      // The operator listed another client since.
      const rules = { ...RULES, clients: [JOB, "77777777-7777-4777-8777-777777777777"] };
      await expect(resume(handle, over, { rules })).rejects.toMatchObject({
        code: "delegation_ended",
        reason,
      });
      const facts = { correlationId: "use", id, tenantId: HOME, clientId: JOB, route: "/graph", ...over };
      expect(room.events.at(-1)).toEqual({ type: "refused", facts, reason });
    });

    test("an unknown handle leaves its digest in the audit, and no user", async () => {
      await expect(resume(`obo_dlg_${"B".repeat(43)}`)).rejects.toMatchObject({
        code: "delegation_ended",
        reason: "unknown",
      });
      const facts = {
        correlationId: "use",
        id: expect.any(String),
        tenantId: HOME,
        clientId: JOB,
        route: "/graph",
      };
      expect(room.events).toEqual([{ type: "refused", facts, reason: "unknown" }]);
    });

    test.each<[string, object, string]>([
      ["a user", { kind: "user" }, "delegation_kind"],
      ["a client that is not listed", { clientId: CLIENT }, "delegation_client"],
    ])("not %s, and no handle is looked up", async (_, over, reason) => {
      const store = { ...redis.store, read: () => Promise.reject(new Error("read")) };
      const { handle } = await room.keep(room.open());
      await expect(resume(handle, over, { redis: { ...redis, store } })).rejects.toMatchObject({
        code: "scope_insufficient",
        reason,
      });
    });

    test.each([
      "",
      "x",
      `xobo_dlg_${"B".repeat(43)}`,
      `obo_dlg_${"B".repeat(44)}`,
      `obo_dlg_${"B".repeat(42)}.`,
    ])("not %p, which is no handle", async (text) => {
      await expect(resume(text)).rejects.toMatchObject({ code: "request_malformed", reason: "delegation" });
    });

    test("until the earlier of their end and what maxDays says today", async () => {
      const { handle, id } = await room.keep(room.open());
      const rules = { ...RULES, maxDays: 2 };
      room.clock.time = START + 2 * DAY_MS - 1;
      expect((await resume(handle, {}, { rules })).caller.principal.expiresAt).toBe(START + 2 * DAY_MS);
      expect(await room.open({ rules }).list(ada())).toMatchObject([{ id, expiresAt: START + 2 * DAY_MS }]);
      room.clock.time += 1;
      await expect(resume(handle, {}, { rules })).rejects.toMatchObject({ reason: "expired" });
      expect(await room.open({ rules }).list(ada())).toEqual([]);
      expect(await listed()).toEqual([id]);
    });
  });

  describe("and demand of the user what a job cannot give", () => {
    const facts = { correlationId: "use" };
    const demanded = async (error: unknown) => {
      const { handle } = await room.keep(room.open());
      const resumed = await resume(handle);
      return resumed.demanded(error);
    };

    test.each<
      ["claims_challenged" | "interaction_required" | "consent_required" | "admin_consent_required", RegExp]
    >([
      ["claims_challenged", /with these claims and delegate anew/],
      ["interaction_required", /sign in.* and delegate anew/],
      ["consent_required", /consent, at this address; the delegation goes on/],
      ["admin_consent_required", /administrator has to consent, at this address/],
    ])("%s", async (code, detail) => {
      const error = new GatewayError(code, {
        detail: "for a user",
        claims: "{}",
        consentUri: "https://consent",
        reason: "r",
        diagnostics: { status: 400 },
      });
      const { claims, consentUri, reason, diagnostics } = error;
      const phrased = await demanded(error);
      expect(phrased).toMatchObject({ code, claims, consentUri, reason, diagnostics, cause: error });
      expect((phrased as GatewayError).detail).toMatch(detail);
      expect(room.events.at(-1)).toMatchObject({ type: "user_needed", facts, code, claims, consentUri });
    });

    test("another demand keeps its words, and is reported too", async () => {
      const error = new GatewayError("blocked_by_policy", { detail: "a policy" });
      expect(await demanded(error)).toMatchObject({ code: "blocked_by_policy", detail: "a policy" });
      expect(room.events.at(-1)).toMatchObject({ type: "user_needed", code: "blocked_by_policy" });
    });

    test("a refusal of the assertion is the end of the delegation's, since the handle stands for it", async () => {
      const error = new GatewayError("token_rejected", { detail: "expired", reason: "assertion_expired" });
      expect(await demanded(error)).toMatchObject({
        code: "delegation_ended",
        reason: "assertion_expired",
        cause: error,
      });
    });

    test.each([new GatewayError("authority_timeout", { detail: "late" }), new Error("defect"), undefined])(
      "%p is none",
      async (error) => {
        expect(await demanded(error)).toBe(error);
        expect(room.events.map(({ type }) => type)).not.toContain("user_needed");
      },
    );
  });

  describe("and end", () => {
    test("for their user, once", async () => {
      const { handle, id } = await room.keep(room.open());
      expect(await end(id)).toBe(true);
      const facts = { correlationId: "end", id, tenantId: HOME, clientId: "front-end", objectId: room.user };
      expect(room.events.at(-1)).toEqual({ type: "ended", facts, by: "user" });
      expect([await end(id), await naming(id)]).toEqual([false, 0]);
      await expect(resume(handle)).rejects.toMatchObject({ reason: "unknown" });
    });

    test("for an administrator of the tenant, user or application, whose name is kept out of the user's place", async () => {
      for (const kind of ["user", "app"] as const) {
        const { id } = await room.keep(room.open());
        expect(await end(id, principal({ kind, objectId: "root", roles: ["Other", "Admin"] }))).toBe(true);
        const facts = { correlationId: "end", id, tenantId: HOME, clientId: "front-end" };
        expect(room.events.at(-1)).toEqual({ type: "ended", facts, by: "administrator" });
        expect(await naming(id)).toBe(0);
      }
    });

    test.each<[string, object]>([
      ["another user", { objectId: "eve" }],
      ["the same object id of another tenant", { tenantId: FOREIGN }],
      ["the same object id as an application", { kind: "app" }],
      ["an administrator of another tenant", { tenantId: FOREIGN, objectId: "root", roles: ["Admin"] }],
    ])("not for %s", async (_, over) => {
      const { handle, id } = await room.keep(room.open());
      expect(await end(id, { ...ada(), ...over })).toBe(false);
      expect((await resume(handle)).id).toBe(id);
      expect(room.events.map(({ type }) => type)).not.toContain("ended");
    });

    test("not for any administrator where no role is named", async () => {
      const { id } = await room.keep(room.open());
      const { adminRole: _, ...rules } = RULES;
      const by = principal({ objectId: "root", roles: ["Admin", "undefined", ""] });
      expect(await room.open({ rules }).end({ id, by, correlationId: "end" })).toBe(false);
    });

    test.each(["", "x", `x${"A".repeat(43)}`, `${"A".repeat(43)}x`, "A".repeat(42), "A".repeat(43)])(
      "not by %p, which is no id, or no delegation's",
      async (id) => {
        expect(await end(id)).toBe(false);
      },
    );
  });

  describe("within bounds", () => {
    test("of their user: the next is refused before Entra is asked, and its place is free at an end", async () => {
      const first = await room.keep(room.open());
      await room.keep(room.open());
      await room.keep(room.open());
      const unasked = room.open({ exchange: { grantOffline: () => Promise.reject(new Error("asked")) } });
      await expect(room.keep(unasked)).rejects.toMatchObject({
        code: "rate_limited",
        reason: "delegations_of_user",
        message: expect.stringContaining("This user has as many"),
        retryAfterSeconds: 60,
      });
      await end(first.id);
      await room.keep(room.open());
      expect(await listed()).toHaveLength(3);
    });

    test("of a client with all its users", async () => {
      const open = () => room.open({ rules: { ...RULES, maxPerClient: 2 } });
      const clientId = `client-of-${room.user}`;
      await room.keep(open(), { clientId });
      await room.keep(open(), { clientId, objectId: "grace" });
      const third = room.keep(open(), { clientId, objectId: "linus" });
      await expect(third).rejects.toMatchObject({ code: "rate_limited", reason: "delegations_of_client" });
      await room.keep(open(), { clientId: `other-${clientId}`, objectId: "linus" });
      // Clients of different tenants are different clients.
      await room.keep(open(), { clientId, objectId: "linus", tenantId: FOREIGN });
    });

    test("where many come at once, each is counted, and those past the bound leave nothing behind", async () => {
      const before = (await server.inspect.keys("*:delegation")).length;
      const all = await Promise.allSettled(Array.from({ length: 8 }, () => room.keep(room.open())));
      expect(all.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
      expect((await server.inspect.keys("*:delegation")).length).toBe(before + 3);
      expect(await listed()).toHaveLength(3);
    });

    test("where many of one client come at once, too", async () => {
      const before = (await server.inspect.keys("*:delegation")).length;
      const open = () => room.open({ rules: { ...RULES, maxPerClient: 2 } });
      const clientId = `crowd-of-${room.user}`;
      const all = await Promise.allSettled(
        Array.from({ length: 6 }, (_, index) =>
          room.keep(open(), { clientId, objectId: `${room.user}-${index}` }),
        ),
      );
      const reasons = all.map((one) => (one.status === "rejected" ? one.reason.reason : "kept"));
      expect(reasons.toSorted()).toEqual([...Array(4).fill("delegations_of_client"), "kept", "kept"]);
      expect((await server.inspect.keys("*:delegation")).length).toBe(before + 2);
      // None of those that were refused takes a place of its user.
      const taken = await Promise.all(
        all.map(
          async (_, index) =>
            (await room.open().list(principal({ objectId: `${room.user}-${index}` }))).length,
        ),
      );
      expect(taken.reduce((sum, one) => sum + one)).toBe(2);
    });

    test("an expired one takes no place", async () => {
      for (let count = 0; count < 3; count += 1) await room.keep(room.open());
      room.clock.time = START + 30 * DAY_MS;
      await room.keep(room.open());
      expect(await listed()).toHaveLength(1);
    });

    test("one whose record Redis lost gives its place away, and those that live keep theirs", async () => {
      const [lost, alive] = [await room.keep(room.open()), await room.keep(room.open())];
      await room.keep(room.open());
      await server.inspect.del(record(lost.id));
      await room.keep(room.open());
      expect(await listed()).toContain(alive.id);
      expect([await listed().then((ids) => ids.length), await naming(lost.id)]).toEqual([3, 0]);
    });
  });

  describe("where Redis takes a part only", () => {
    const failing = (fails: (script: string, name: string) => boolean, write = redis.store.write) => ({
      ...redis,
      store: {
        ...redis.store,
        write,
        run: async (script: string, name: string, args: readonly (string | Buffer)[]) =>
          fails(script, name) ? undefined : redis.store.run(script, name, args),
      },
    });
    const leftBehind = async (delegations: ReturnType<DelegationRoom["open"]>) => {
      const before = await server.inspect.keys("*:delegation");
      await expect(room.keep(delegations)).rejects.toMatchObject({ code: "overloaded" });
      const after = await server.inspect.keys("*:delegation");
      return after.filter((name) => !before.includes(name));
    };

    test("a record that could not be written is not listed, and its handle is never shown", async () => {
      const store = failing(
        () => false,
        async () => undefined,
      );
      expect(await leftBehind(room.open({ redis: store }))).toEqual([]);
      expect(await listed()).toEqual([]);
      expect(room.events).toEqual([]);
    });

    test.each([1, 2])("one that could not be listed (%i) is taken back", async (nth) => {
      let enlisted = 0;
      const store = failing((script) => {
        if (!script.includes("zadd")) return false;
        enlisted += 1;
        return enlisted === nth;
      });
      expect(await leftBehind(room.open({ redis: store }))).toEqual([]);
      expect(await listed()).toEqual([]);
    });

    test("what could not be removed is not said to be over", async () => {
      const { handle, id } = await room.keep(room.open());
      const delegations = room.open({ redis: failing((script) => script.includes('"del"')) });
      await expect(delegations.end({ id, by: ada(), correlationId: "end" })).rejects.toMatchObject({
        code: "overloaded",
      });
      expect((await resume(handle)).id).toBe(id);
      expect(room.events.map(({ type }) => type)).not.toContain("ended");
    });
  });

  test("past its end an id leads to nothing, though Redis may hold it still", async () => {
    const { id } = await room.keep(room.open());
    room.clock.time = START + 30 * DAY_MS;
    expect(await end(id)).toBe(false);
  });

  describe("and are listed", () => {
    test("the youngest first, for their user alone", async () => {
      const first = await room.keep(room.open());
      room.clock.time += 1_000;
      const second = await room.keep(room.open());
      const shown = ({ handle: _, ...rest }: typeof first) => rest;
      expect(await room.open().list(ada())).toEqual([shown(second), shown(first)]);
      expect(await room.open().list(principal({ objectId: "eve" }))).toEqual([]);
      expect(await room.open().list({ ...ada(), tenantId: FOREIGN })).toEqual([]);
    });

    test("not where another user's id was slipped into the list", async () => {
      const mine = await room.keep(room.open());
      const other = await room.keep(room.open(), { objectId: `eve-${room.user}` });
      const name = (await lists()).find(([, ids]) => ids.length === 1 && ids.includes(mine.id))?.[0] ?? "";
      await server.inspect.zadd(name, START + DAY_MS, other.id);
      expect(await listed()).toEqual([mine.id]);
    });

    test("not where the line in front of the record was changed, by which it cannot be ended either", async () => {
      const { id } = await room.keep(room.open());
      const stored = (await server.inspect.getBuffer(record(id))) ?? Buffer.alloc(0);
      const changed = Buffer.from(
        stored.toString("latin1").replace(`"clients":["${JOB}"]`, '"clients":[]'),
        "latin1",
      );
      expect(changed.equals(stored)).toBe(false);
      await server.inspect.set(record(id), changed, "PX", DAY_MS);
      expect([await listed(), await end(id)]).toEqual([[], false]);
    });
  });

  describe("under keys that change", () => {
    test("a list holds what either key names, and what is renewed moves, lists included", async () => {
      const moved = await room.keep(room.open());
      const left = await room.keep(room.open());
      const both = await connect(server.url, young, old);
      const only = await connect(server.url, young);
      opened.push(both, only);
      const at = (one: OpenRedis) => room.open({ redis: one });
      const { renewal } = await room.subject(at(both), moved.handle);
      await renewal.renew(async () => ({ refreshToken: new Secret("second") }));
      const ids = async (one: OpenRedis) => (await at(one).list(ada())).map(({ id }) => id).toSorted();
      expect(await ids(both)).toEqual([moved.id, left.id].toSorted());
      expect(await ids(only)).toEqual([moved.id]);
      expect(await naming(moved.id)).toBe(2);
      // The bound counts both names.
      await room.keep(at(both));
      await expect(room.keep(at(both))).rejects.toMatchObject({ reason: "delegations_of_user" });
      await expect(room.subject(at(only), left.handle)).rejects.toMatchObject({ code: "delegation_ended" });
      expect(await at(both).end({ id: left.id, by: ada(), correlationId: "end" })).toBe(true);
      expect(await at(only).end({ id: moved.id, by: ada(), correlationId: "end" })).toBe(true);
      expect([await naming(left.id), await naming(moved.id)]).toEqual([0, 0]);
    });

    test("a renewal under the same key moves nothing", async () => {
      const { handle, id } = await room.keep(room.open());
      const before = (await lists()).filter(([, ids]) => ids.includes(id)).map(([name]) => name);
      const { renewal } = await room.subject(room.open(), handle);
      await renewal.renew(async () => ({ refreshToken: new Secret("second") }));
      expect((await lists()).filter(([, ids]) => ids.includes(id)).map(([name]) => name)).toEqual(before);
    });
  });
});
