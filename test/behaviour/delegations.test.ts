/** Jobs that act for users who have gone home: keep, use, list, end, over a real Redis and the emulator's refresh grant. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import {
  type DelegationRig,
  delegationsYaml,
  JOB,
  OTHER_JOB,
  startDelegationRig,
} from "../support/delegations.ts";
import { describeWithRedis } from "../support/redis.ts";

const DAY_MS = 24 * 3_600_000;
const HOUR_MS = 3_600_000;
const claimsOf = (text: string) => Buffer.from(text).toString("base64");

describeWithRedis("delegations", () => {
  let rig: DelegationRig;
  let skew = 0;
  beforeAll(async () => {
    rig = await startDelegationRig({ now: () => Date.now() + skew });
  });
  afterAll(() => rig.close());
  afterEach(() => {
    rig.emulator.clearRefusals();
    rig.emulator.faults.clear();
    rig.challenge = undefined;
  });
  const grants = () => rig.emulator.requests.token.filter(({ grantType }) => grantType === "refresh_token");
  /** Past the life of every cached token of the gateway's, so that the next use has to renew. */
  const laterThanTokens = () => {
    skew += 25 * HOUR_MS;
  };

  describe("a user leaves a job what it needs", () => {
    test("and is given a handle, its end and the jobs that it serves", async () => {
      const { token } = rig.user();
      const answer = await rig.gateway.send("post", "/delegations", token);
      expect(answer.status).toBe(201);
      expect(answer.headers["cache-control"]).toBe("no-store");
      expect(answer.body).toEqual({
        id: expect.stringMatching(/^[\w-]{43}$/),
        handle: expect.stringMatching(/^obo_dlg_[\w-]{43}$/),
        createdAt: expect.any(String),
        expiresAt: expect.any(String),
        clients: [JOB, OTHER_JOB],
      });
      const { createdAt, expiresAt } = answer.body;
      expect(Date.parse(expiresAt) - Date.parse(createdAt)).toBe(30 * DAY_MS);
    });

    test("the job's request runs as the user, long after the user's token has ended", async () => {
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      laterThanTokens();
      const { status, body } = await rig.use(handle);
      expect([status, body.id]).toEqual([200, oid]);
      expect((await rig.gateway.get("/graph/me", token)).body.code).toBe("token_rejected");
    });

    test("for another API than the first one, and for a handler that ships, by refresh tokens as well", async () => {
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      expect((await rig.use(handle, "/orders/1")).status).toBe(200);
      const payload = rig.received.at(-1)?.authorization?.split(".")[1] ?? "";
      expect(JSON.parse(Buffer.from(payload, "base64url").toString())).toMatchObject({
        oid,
        aud: rig.emulator.ordersApi.clientId,
      });
      expect((await rig.use(handle, "/api/profile")).body.me.id).toBe(oid);
    });

    test("a token that is cached serves the next request, and concurrent requests share one renewal", async () => {
      const { token } = rig.user();
      const { handle } = await rig.keep(token);
      laterThanTokens();
      const before = grants().length;
      const all = await Promise.all(Array.from({ length: 12 }, () => rig.use(handle)));
      expect(all.map(({ status }) => status)).toEqual(Array(12).fill(200));
      expect((await rig.use(handle)).status).toBe(200);
      expect(grants().length - before).toBe(1);
    });

    test("another replica takes the token from Redis, sealed under the handle, and asks Entra nothing", async () => {
      const replica = await rig.replica();
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      await rig.use(handle).expect(200);
      const before = grants().length;
      const there = await replica.get("/graph/me", rig.job()).set("delegation", handle);
      expect([there.status, there.body.id]).toEqual([200, oid]);
      expect(await replica.line(String(there.headers["x-correlation-id"]))).toMatchObject({
        tokenOrigin: "shared",
      });
      expect(grants().length).toBe(before);
    });

    test("a user of another tenant leaves it to the job of that tenant, and to no other's", async () => {
      const tenantId = rig.emulator.secondTenant.id;
      const user = rig.emulator.addUser({ tenantId });
      const { handle } = await rig.keep(rig.emulator.mintUserToken({ user }));
      const there = await rig.use(handle, "/graph/me", rig.job({ tenantId }));
      expect([there.status, there.body.id]).toEqual([200, user.objectId]);
      expect((await rig.use(handle)).body.code).toBe("delegation_ended");
    });

    test("two delegations of one user are apart: the end of one leaves the other", async () => {
      const { token } = rig.user();
      const [one, other] = [await rig.keep(token), await rig.keep(token)];
      expect(one.handle).not.toBe(other.handle);
      await rig.gateway.send("delete", `/delegations/${one.id}`, token).expect(204);
      expect((await rig.use(one.handle)).body.code).toBe("delegation_ended");
      expect((await rig.use(other.handle)).status).toBe(200);
    });
  });

  describe("a user looks at what there is, and ends it", () => {
    test("the list has the user's delegations, and no handle", async () => {
      const { token } = rig.user();
      const first = await rig.keep(token);
      skew += 1_000;
      const second = await rig.keep(token);
      await rig.keep(rig.user().token);
      const { body, status } = await rig.gateway.get("/delegations", token);
      const shown = ({ handle: _, ...rest }: typeof first) => rest;
      expect([status, body]).toEqual([200, { delegations: [shown(second), shown(first)] }]);
    });

    test("the end takes effect at once, on another replica and where a token is cached", async () => {
      const replica = await rig.replica();
      const { token } = rig.user();
      const { id, handle } = await rig.keep(token);
      const there = () => replica.get("/graph/me", rig.job()).set("delegation", handle);
      expect((await there()).status).toBe(200);
      await rig.gateway.send("delete", `/delegations/${id}`, token).expect(204);
      expect((await there()).body.code).toBe("delegation_ended");
      expect((await rig.gateway.get("/delegations", token)).body).toEqual({ delegations: [] });
      await rig.gateway.send("delete", `/delegations/${id}`, token).expect(404);
    });

    test("an administrator of the tenant ends it: a user or an application with the role", async () => {
      for (const appOnly of [true, false]) {
        const { id, handle } = await rig.keep(rig.user().token);
        const admin = rig.emulator.mintUserToken({ appOnly, claims: { roles: ["Delegations.Admin"] } });
        await rig.gateway.send("delete", `/delegations/${id}`, admin).expect(204);
        expect((await rig.use(handle)).body.code).toBe("delegation_ended");
        expect(rig.audit("ended").at(-1)).toMatchObject({ delegation: id, by: "administrator" });
      }
    });

    test("other methods are told which there are", async () => {
      const { token } = rig.user();
      const one = await rig.gateway.send("put", "/delegations", token).expect(405);
      expect(one.headers.allow).toBe("POST, GET, HEAD");
      const other = await rig.gateway.get("/delegations/x", token).expect(405);
      expect(other.headers.allow).toBe("DELETE");
    });

    test("past its days a delegation serves no more, and is not listed", async () => {
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      skew += 30 * DAY_MS;
      expect((await rig.use(handle)).body.code).toBe("delegation_ended");
      const fresh = rig.emulator.mintUserToken({ user: oid });
      expect((await rig.gateway.get("/delegations", fresh)).body).toEqual({ delegations: [] });
    });

    test("an operator who lowers maxDays, or takes a client away, means those that are there", async () => {
      const { handle } = await rig.keep(rig.user().token);
      const brief = await rig.replica({ yaml: delegationsYaml(undefined, "  maxDays: 1") });
      const narrow = await rig.replica({ yaml: delegationsYaml(`[${OTHER_JOB}]`) });
      const at = (replica: typeof brief) => replica.get("/graph/me", rig.job()).set("delegation", handle);
      expect((await at(narrow)).status).toBe(403);
      expect((await at(brief)).status).toBe(200);
      skew += DAY_MS;
      expect((await at(brief)).body.code).toBe("delegation_ended");
      expect((await rig.use(handle)).status).toBe(200);
    });
  });

  describe("what there may be is bounded", () => {
    test("one user has so many, and one more when one of them has ended", async () => {
      const { token } = rig.user();
      const all = [await rig.keep(token), await rig.keep(token), await rig.keep(token)];
      const before = rig.emulator.requests.token.length;
      const refused = await rig.gateway.send("post", "/delegations", token);
      expect([refused.status, refused.body.code]).toEqual([429, "rate_limited"]);
      expect(refused.headers["retry-after"]).toBe("60");
      expect(rig.emulator.requests.token.length).toBe(before);
      await rig.gateway.send("delete", `/delegations/${all[1]?.id}`, token).expect(204);
      await rig.keep(token);
    });

    test("many at once do not pass the bound", async () => {
      const { token } = rig.user();
      const all = await Promise.all(
        Array.from({ length: 10 }, () => rig.gateway.send("post", "/delegations", token)),
      );
      expect(all.filter(({ status }) => status === 201)).toHaveLength(3);
      expect(new Set(all.map(({ status }) => status))).toEqual(new Set([201, 429]));
      expect((await rig.gateway.get("/delegations", token)).body.delegations).toHaveLength(3);
    });

    test("a place of one that Entra ended is given away", async () => {
      const { token, oid } = rig.user();
      const all = [await rig.keep(token), await rig.keep(token), await rig.keep(token)];
      // As if the list had been out of reach at the end.
      await rig.redis.inspect.del(`obo:{${all[0]?.id}}:delegation`);
      await rig.keep(rig.emulator.mintUserToken({ user: oid }));
    });

    test("so has one client with all its users", async () => {
      const replica = await rig.replica({ yaml: delegationsYaml(undefined, "  maxPerClient: 2") });
      const clientId = "1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b7c8d";
      const post = () => replica.send("post", "/delegations", rig.user({ clientId }).token);
      const codes = [await post(), await post(), await post()].map(({ status }) => status);
      expect(codes).toEqual([201, 201, 429]);
      const other = rig.user({ clientId: "2b3c4d5e-6f7a-4b2c-9d3e-4f5a6b7c8d9e" });
      expect((await replica.send("post", "/delegations", other.token)).status).toBe(201);
    });

    test("a job's requests count as the job's, before its handle is looked up", async () => {
      const token = rig.job({ clientId: OTHER_JOB });
      const handle = `obo_dlg_${"A".repeat(43)}`;
      const codes = [];
      for (let call = 0; call < 3; call += 1) codes.push((await rig.use(handle, "/limited/1", token)).status);
      expect(codes).toEqual([401, 401, 429]);
    });
  });

  describe("Entra ends a delegation, and nothing else does", () => {
    const renew = (handle: string) => {
      laterThanTokens();
      return rig.use(handle);
    };

    test.each<[string, (oid: string) => void]>([
      ["sessions are revoked", (oid) => rig.emulator.revokeSessions(oid)],
      ["an administrator resets the password", (oid) => rig.emulator.changePassword(oid)],
      ["the sign-in is too old for a policy", (oid) => void rig.emulator.requireSignInFrequency(oid, 0)],
      [
        "Entra knows the grant no more",
        () => void rig.emulator.refuse({ code: 70000, grant: "refresh-token" }),
      ],
      [
        "Entra refuses with a number that nobody knows",
        () =>
          void rig.emulator.refuse({
            code: 50173,
            grant: "refresh-token",
            error: "invalid_grant",
            suberror: null,
          }),
      ],
    ])("when %s: delegation_ended, and gone for good", async (_, act) => {
      const { token, oid } = rig.user();
      const { id, handle } = await rig.keep(token);
      act(oid);
      const { status, body, headers } = await renew(handle);
      expect([status, body.code]).toEqual([401, "delegation_ended"]);
      expect(headers["www-authenticate"]).toBe('Bearer error="invalid_grant"');
      expect(rig.audit("ended").at(-1)).toMatchObject({ delegation: id, by: "authority", oid });
      rig.emulator.clearRefusals();
      expect((await rig.use(handle)).body.code).toBe("delegation_ended");
      expect(await rig.redis.inspect.exists(`obo:{${id}}:delegation`)).toBe(0);
    });

    test.each<[string, string, number, (oid: string) => () => void]>([
      [
        "a policy asks for a second factor",
        "interaction_required",
        401,
        (oid) => {
          const policy = rig.emulator.requireMfa(oid);
          return () => policy.remove();
        },
      ],
      [
        "the account is disabled",
        "blocked_by_policy",
        403,
        (oid) => {
          rig.emulator.disableUser(oid);
          return () => rig.emulator.enableUser(oid);
        },
      ],
      [
        "the assignment is lost",
        "not_assigned",
        403,
        (oid) => {
          rig.emulator.unassignUser(oid);
          return () => rig.emulator.assignUser(oid);
        },
      ],
      ...(
        [
          ["consent is missing", "consent_required", 403, { code: 65001 }],
          ["a policy blocks", "blocked_by_policy", 403, { code: 53003 }],
          ["the gateway's registration is at fault", "client_rejected", 503, { code: 700016 }],
          ["Entra is throttling", "authority_throttled", 503, { code: 90055, status: 429 }],
          ["Entra is busy", "authority_unavailable", 503, { code: 90033 }],
        ] as const
      ).map(
        ([name, code, status, refusal]) =>
          [
            name,
            code,
            status,
            () => {
              const one = rig.emulator.refuse({ ...refusal, grant: "refresh-token" });
              return () => one.remove();
            },
          ] as [string, string, number, (oid: string) => () => void],
      ),
    ])("but not where %s: %s, and it goes on afterwards", async (_, code, status, act) => {
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      const undo = act(oid);
      const refused = await renew(handle);
      expect([refused.status, refused.body.code]).toEqual([status, code]);
      undo();
      // Longer than any refusal is remembered.
      skew += 10 * 60_000;
      const { status: again, body } = await rig.use(handle);
      expect([again, body.id]).toEqual([200, oid]);
    });

    test.each([
      ["dies before an answer", { kind: "reset", when: "before-headers" }],
      ["dies amid an answer", { kind: "reset", when: "amid-body" }],
      ["answers half", { kind: "truncated" }],
      ["answers in HTML", { kind: "html" }],
      ["answers 200 without a token", { kind: "patch", remove: ["access_token"] }],
    ] as const)("nor where the connection to Entra %s", async (_, behaviour) => {
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      rig.emulator.faults.inject({ endpoint: "token", behaviour });
      const refused = await renew(handle);
      expect(refused.status).toBe(503);
      rig.emulator.faults.clear();
      expect((await rig.use(handle)).body.id).toBe(oid);
    });

    test("nor where Redis does not answer: 503 meanwhile, and it goes on", async () => {
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      rig.redis.freeze();
      const refused = await rig.use(handle);
      rig.redis.resume();
      expect([refused.status, refused.body.code]).toEqual([503, "overloaded"]);
      expect(refused.headers["retry-after"]).toBe("2");
      let again = await rig.use(handle);
      for (let attempt = 0; again.status === 503 && attempt < 200; attempt += 1)
        again = await rig.use(handle);
      expect([again.status, again.body.id]).toEqual([200, oid]);
    });
  });

  describe("what only the user can meet reaches job and audit", () => {
    test("claims of Entra: in the problem, with what to send to the user", async () => {
      const { token, oid } = rig.user();
      const { id, handle } = await rig.keep(token);
      const policy = rig.emulator.requireMfa(oid);
      laterThanTokens();
      const { body, headers } = await rig.use(handle);
      policy.remove();
      expect(body).toMatchObject({
        code: "interaction_required",
        claims: expect.stringContaining("capolids"),
      });
      expect(body.detail).toContain("delegate anew");
      // A job cannot answer a challenge, so it is sent none.
      expect(headers["www-authenticate"]).not.toContain("insufficient_claims");
      expect(rig.audit("user_needed").at(-1)).toMatchObject({
        delegation: id,
        oid,
        azp: JOB,
        code: "interaction_required",
        claims: body.claims,
      });
    });

    test("consent: with the address at which to give it", async () => {
      const { token } = rig.user();
      const { handle } = await rig.keep(token);
      rig.emulator.refuse({ code: 65001, grant: "refresh-token" });
      laterThanTokens();
      const { body } = await rig.use(handle);
      expect(body).toMatchObject({
        code: "consent_required",
        consentUri: expect.stringContaining("prompt=consent"),
      });
      expect(rig.audit("user_needed").at(-1)).toMatchObject({ consentUri: body.consentUri });
    });

    test("claims of the API that a new token meets are met without the user", async () => {
      const { token, oid } = rig.user();
      const { handle } = await rig.keep(token);
      expect((await rig.use(handle)).status).toBe(200);
      skew += 2_000;
      rig.emulator.graph.challenge(oid);
      const { status, body } = await rig.use(handle);
      rig.emulator.graph.clearChallenges();
      expect([status, body.id]).toEqual([200, oid]);
    });

    test("claims of the API that none meets", async () => {
      const { token } = rig.user();
      const { id, handle } = await rig.keep(token);
      const claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
      rig.challenge = `Bearer error="insufficient_claims", claims="${claimsOf(claims)}"`;
      const { status, body } = await rig.use(handle, "/recorder/1");
      expect([status, body.code]).toEqual([401, "interaction_required"]);
      expect(rig.audit("user_needed").at(-1)).toMatchObject({ delegation: id, claims: body.claims });
      expect(body.claims).toContain("acrs");
    });

    test("a user who would delegate gets the claims as on any route", async () => {
      const { token, oid } = rig.user({ capabilities: ["cp1"] });
      const policy = rig.emulator.requireMfa(oid);
      const { status, headers } = await rig.gateway.send("post", "/delegations", token);
      policy.remove();
      expect(status).toBe(401);
      expect(headers["www-authenticate"]).toContain("insufficient_claims");
    });
  });

  describe("each use leaves a trace", () => {
    test("created, used, refused and ended stand in the audit, and in the metrics", async () => {
      const { token, oid } = rig.user();
      const { id, handle } = await rig.keep(token);
      const { headers } = await rig.use(handle);
      await rig.use(handle, "/graph/me", rig.job({ tenantId: rig.emulator.secondTenant.id }));
      await rig.gateway.send("delete", `/delegations/${id}`, token).expect(204);
      const of = (event: string) => rig.audit(event).filter(({ delegation }) => delegation === id);
      expect(of("created")).toMatchObject([
        { oid, tid: rig.emulator.tenantId, expiresAt: expect.any(String) },
      ]);
      const correlationId = headers["x-correlation-id"];
      expect(of("used")).toMatchObject([{ oid, azp: JOB, route: "/graph", correlationId }]);
      expect(of("refused")).toMatchObject([
        { azp: JOB, reason: "tenant", tid: rig.emulator.secondTenant.id },
      ]);
      expect(of("ended")).toMatchObject([{ oid, by: "user" }]);
      expect(await rig.gateway.line(String(correlationId))).toMatchObject({ oid, azp: JOB, delegation: id });
      const { text } = await rig.gateway.admin("/metrics");
      for (const event of ["created", "used", "refused", "ended", "renewed", "user_needed"])
        expect(text).toMatch(new RegExp(`delegation_events_total\\{event="${event}"\\} [1-9]`));
    });

    test("no line holds a handle", async () => {
      await rig.keep(rig.user().token);
      expect(JSON.stringify(rig.gateway.logs)).not.toContain("obo_dlg_");
    });
  });

  describe("handlers", () => {
    test("keep the caller's leave, and resume it for a job", async () => {
      const { token, oid } = rig.user();
      const { body } = await rig.gateway.send("post", "/api/keep", token).expect(200);
      expect(body).toMatchObject({ handle: expect.any(String), clients: [JOB, OTHER_JOB] });
      laterThanTokens();
      const resumed = await rig.gateway.get("/api/resume", rig.job()).set("x-stored", body.handle);
      expect([resumed.status, resumed.body]).toMatchObject([200, { oid, me: { id: oid } }]);
    });

    test.each([
      ["an application that is not listed", { clientId: "9f6b4d3e-5c70-4b82-8dbc-2e3f4a5b6c7d" }, 403],
      ["a listed one of another tenant", "tenant", 401],
    ] as const)("resume it not for %s", async (_, who, status) => {
      const { handle } = await rig.keep(rig.user().token);
      const token = rig.job(who === "tenant" ? { tenantId: rig.emulator.secondTenant.id } : who);
      expect((await rig.gateway.get("/api/resume", token).set("x-stored", handle)).status).toBe(status);
    });

    test("resume nothing from a text that is no handle", async () => {
      const answer = await rig.gateway.get("/api/resume", rig.job()).set("x-stored", "obo_dlg_short");
      expect([answer.status, answer.body.code]).toEqual([400, "request_malformed"]);
    });
  });

  describe("keys are rotated", () => {
    test("the first key seals, all open; what is used moves to the new key, and the old one may go", async () => {
      const [old = ""] = [rig.env.TOKEN_CACHE_KEYS];
      const young = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64");
      const { token, oid } = rig.user();
      const [used, left] = [await rig.keep(token), await rig.keep(token)];
      const both = await rig.replica({ env: { TOKEN_CACHE_KEYS: `${young},${old}` } });
      const at = (replica: typeof both, handle: string) =>
        replica.get("/orders/1", rig.job()).set("delegation", handle);
      expect((await at(both, used.handle)).status).toBe(200);
      const fresh = rig.emulator.mintUserToken({ user: oid });
      expect((await both.get("/delegations", fresh)).body.delegations).toHaveLength(2);
      const only = await rig.replica({ env: { TOKEN_CACHE_KEYS: young } });
      expect((await at(only, used.handle)).status).toBe(200);
      expect((await at(only, left.handle)).body.code).toBe("delegation_ended");
      expect((await only.get("/delegations", fresh)).body.delegations).toMatchObject([{ id: used.id }]);
      await only.send("delete", `/delegations/${used.id}`, fresh).expect(204);
      expect((await at(only, used.handle)).body.code).toBe("delegation_ended");
    });
  });
});
