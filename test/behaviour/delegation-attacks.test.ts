/** What an attacker may try with a handle, a job's token, a dump of Redis or a field of the request; each attempt is one row. */

import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import { createSealing } from "../../src/redis/sealing.ts";
import type { MintOptions } from "../emulator/handle.ts";
import {
  ADMIN_ROLE,
  type DelegationRig,
  JOB,
  type Kept,
  OTHER_JOB,
  STRANGER,
  startDelegationRig,
} from "../support/delegations.ts";
import { describeWithRedis } from "../support/redis.ts";

interface Verdict {
  readonly status: number;
  readonly code: string;
}

const ENDED: Verdict = { status: 401, code: "delegation_ended" };
const NOT_LISTED: Verdict = { status: 403, code: "scope_insufficient" };
const MALFORMED: Verdict = { status: 400, code: "request_malformed" };
const NOT_HERE: Verdict = { status: 403, code: "target_forbidden" };
const USER_WANTED: Verdict = { status: 403, code: "user_token_required" };
const NO_TOKEN: Verdict = { status: 401, code: "token_missing" };
const BAD_TOKEN: Verdict = { status: 401, code: "token_rejected" };
const UNKNOWN: Verdict = { status: 404, code: "route_unknown" };

describeWithRedis("attacks on delegations", () => {
  let rig: DelegationRig;
  /** The victim, a user of the home tenant, and what the victim left. */
  let victim: { readonly token: string; readonly oid: string };
  let kept: Kept;
  beforeAll(async () => {
    rig = await startDelegationRig();
    victim = rig.user({ claims: { roles: ["Reports.Read"] } });
    kept = await rig.keep(victim.token);
  });
  afterAll(() => rig.close());
  beforeEach(() => {
    rig.received.length = 0;
  });

  const attempt = async (path: string, token: string | undefined, handle: string, method = "get") => {
    const request = method === "get" ? rig.gateway.get(path, token) : rig.gateway.send("post", path, token);
    const { status, body } = await request.set("delegation", handle);
    return { status, code: body.code };
  };
  const foreign = (): MintOptions => ({ tenantId: rig.emulator.secondTenant.id });
  const flip = (text: string, at: number) =>
    text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);

  describe("the other party", () => {
    test.each<[string, Verdict, () => string | undefined]>([
      ["no token", NO_TOKEN, () => undefined],
      ["an application that is not listed", NOT_LISTED, () => rig.job({ clientId: STRANGER })],
      ["a listed job of another tenant", ENDED, () => rig.job(foreign())],
      [
        "an unlisted application of another tenant",
        NOT_LISTED,
        () => rig.job({ ...foreign(), clientId: STRANGER }),
      ],
      ["the user who left it", NOT_LISTED, () => victim.token],
      ["another user", NOT_LISTED, () => rig.user().token],
      ["a user who calls by the job's client", NOT_LISTED, () => rig.user({ clientId: JOB }).token],
      ["the gateway's own client id", NOT_LISTED, () => rig.job({ clientId: rig.emulator.clientId })],
      ["a job's token that has ended", BAD_TOKEN, () => rig.job({ expiresInSeconds: -60 })],
      [
        "a job's token for another API",
        BAD_TOKEN,
        () => rig.job({ audience: rig.emulator.ordersApi.clientId }),
      ],
      ["a job's token that nobody signed", BAD_TOKEN, () => rig.job({ signWith: "unpublished" })],
      [
        "a job's token of a tenant that is not accepted",
        BAD_TOKEN,
        () => rig.job({ tenantId: rig.emulator.foreignTenant.id }),
      ],
      [
        "a job that says that it is the user",
        ENDED,
        () => rig.job({ ...foreign(), claims: { oid: victim.oid, sub: victim.oid } }),
      ],
    ])("a stolen handle in the hands of %s", async (_, verdict, token) => {
      expect(await attempt("/recorder/1", token(), kept.handle)).toEqual(verdict);
      expect(rig.received).toEqual([]);
    });

    test("a listed job without a handle is an application on a user's route", async () => {
      const { status, body } = await rig.gateway.get("/recorder/1", rig.job());
      expect({ status, code: body.code }).toEqual(USER_WANTED);
    });

    test("a job that is listed, and that the route does not admit", async () => {
      expect(await attempt("/narrow/1", rig.job({ clientId: OTHER_JOB }), kept.handle)).toEqual(NOT_LISTED);
      expect((await rig.use(kept.handle, "/narrow/1")).status).toBe(200);
    });
  });

  describe("the handle", () => {
    test.each<[string, Verdict, () => string]>([
      ["a guess", ENDED, () => `obo_dlg_${"A".repeat(43)}`],
      ["the first character changed", ENDED, () => flip(kept.handle, 8)],
      ["a character in the middle changed", ENDED, () => flip(kept.handle, 30)],
      ["the id of the list in its place", MALFORMED, () => kept.id],
      ["the id in the form of a handle", ENDED, () => `obo_dlg_${kept.id}`],
      ["the prefix left out", MALFORMED, () => kept.handle.slice(8)],
      ["cut short", MALFORMED, () => kept.handle.slice(0, -1)],
      ["made longer", MALFORMED, () => `${kept.handle}A`],
      ["in capitals", MALFORMED, () => kept.handle.toUpperCase()],
      ["nothing", MALFORMED, () => ""],
      ["the handle twice, as a list", MALFORMED, () => `${kept.handle}, ${kept.handle}`],
      ["a handle as parameter", MALFORMED, () => `handle=${kept.handle}`],
      ["a pattern of Redis", MALFORMED, () => "obo_dlg_*"],
      ["a path", MALFORMED, () => "obo_dlg_../../../../../../../../../../../../../etc/passwd"],
      ["a prototype's name", MALFORMED, () => "__proto__"],
      ["much", MALFORMED, () => "obo_dlg_".padEnd(8_000, "A")],
    ])("%s", async (_, verdict, handle) => {
      expect(await attempt("/recorder/1", rig.job(), handle())).toEqual(verdict);
      expect(rig.received).toEqual([]);
    });

    test("replayed after its end, at once and later", async () => {
      const { id, handle } = await rig.keep(victim.token);
      expect((await rig.use(handle, "/recorder/1")).status).toBe(200);
      await rig.gateway.send("delete", `/delegations/${id}`, victim.token).expect(204);
      rig.received.length = 0;
      for (const path of ["/recorder/1", "/orders/1", "/graph/me"])
        expect(await attempt(path, rig.job(), handle)).toEqual(ENDED);
      expect(rig.received).toEqual([]);
    });

    test("a refusal says nothing of the handle: unknown, ended and foreign ones read the same", async () => {
      const { id, handle } = await rig.keep(victim.token);
      await rig.gateway.send("delete", `/delegations/${id}`, victim.token).expect(204);
      const answers = await Promise.all([
        rig.use(`obo_dlg_${"A".repeat(43)}`),
        rig.use(handle),
        rig.use(kept.handle, "/graph/me", rig.job(foreign())),
      ]);
      const texts = answers.map(({ body: { correlationId: _, ...rest }, headers, status }) =>
        JSON.stringify([status, rest, headers["www-authenticate"], headers["content-length"]]),
      );
      expect(new Set(texts).size).toBe(1);
    });

    test("known and unknown handles are refused by the same work in Redis", async () => {
      const { inspect } = rig.redis;
      const commands = async (handle: string, token: string) => {
        await inspect.call("CONFIG", "RESETSTAT");
        await rig.use(handle, "/graph/me", token);
        const stats = String(await inspect.info("commandstats"));
        return [...stats.matchAll(/cmdstat_(\w+):calls=(\d+)/g)]
          .map(([, name, calls]) => `${name} ${calls}`)
          .filter((line) => !/^(?:config|info)/.test(line));
      };
      const unknown = await commands(`obo_dlg_${"A".repeat(43)}`, rig.job());
      expect(unknown).toEqual(["getrange 1"]);
      expect(await commands(kept.handle, rig.job(foreign()))).toEqual(unknown);
    });

    test("and in time: neither stands out from the other", async () => {
      const timed = async (handle: string) => {
        const began = performance.now();
        await rig.use(handle, "/graph/me", token);
        return performance.now() - began;
      };
      const token = rig.job(foreign());
      const known: number[] = [];
      const unknown: number[] = [];
      for (let round = 0; round < 60; round += 1) {
        const guess = `obo_dlg_${createHash("sha256").update(String(round)).digest("base64url")}`;
        // In turns, so that whatever else the machine does falls upon both.
        if (round % 2 === 0) known.push(await timed(kept.handle));
        unknown.push(await timed(guess));
        if (round % 2 === 1) known.push(await timed(kept.handle));
      }
      const median = (times: number[]) => times.toSorted((one, other) => one - other)[times.length >> 1] ?? 0;
      // A request takes milliseconds, and the work that could tell them apart microseconds.
      const ratio = median(known) / median(unknown);
      expect(ratio).toBeGreaterThan(0.6);
      expect(ratio).toBeLessThan(1.7);
    });
  });

  describe("the request", () => {
    /** Bytes as they are, since no client sends some of these. */
    async function raw(fields: readonly string[], path = "/recorder/1"): Promise<number> {
      const { port } = new URL(rig.gateway.url);
      const socket = connect(Number(port), "127.0.0.1");
      await once(socket, "connect");
      const head = [`GET ${path} HTTP/1.1`, "host: gateway", "connection: close", ...fields];
      socket.write(`${head.join("\r\n")}\r\n\r\n`);
      let text = "";
      for await (const chunk of socket) text += String(chunk);
      return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
    }
    const authorization = () => `authorization: Bearer ${rig.job()}`;

    test.each<[string, number, () => readonly string[]]>([
      [
        "two fields with the same handle",
        400,
        () => [`delegation: ${kept.handle}`, `delegation: ${kept.handle}`],
      ],
      ["two fields, the second one unknown", 400, () => [`Delegation: ${kept.handle}`, "delegation: x"]],
      ["two fields in different case, one empty", 400, () => [`DELEGATION: ${kept.handle}`, "delegation:"]],
      ["a blank before the colon", 400, () => [`delegation : ${kept.handle}`]],
      ["a folded line", 400, () => ["delegation:", ` ${kept.handle}`]],
      ["another name with an underscore", 403, () => [`x_delegation: ${kept.handle}`]],
      ["blanks around the handle", 200, () => [`delegation:   ${kept.handle}  `]],
    ])("%s: %i", async (_, status, fields) => {
      expect(await raw([authorization(), ...fields()])).toBe(status);
      expect(rig.received).toHaveLength(status === 200 ? 1 : 0);
    });

    test("the handle as a query parameter or in a body is nothing", async () => {
      expect(await raw([authorization()], `/recorder/1?delegation=${kept.handle}`)).toBe(403);
      const posted = await rig.gateway
        .send("post", "/recorder/1", rig.job())
        .send({ delegation: kept.handle });
      expect(posted.status).toBe(403);
    });

    test("two tokens, the job's and a user's", async () => {
      const fields = [authorization(), `authorization: Bearer ${victim.token}`, `delegation: ${kept.handle}`];
      expect(await raw(fields)).toBe(401);
    });

    test.each<[string, string, Verdict]>([
      ["a route that is not listed", "/unlisted/1", NOT_HERE],
      ["a route that acts as the application", "/as-app/1", NOT_HERE],
      ["the list of delegations", "/delegations", NOT_HERE],
      ["a route within a listed one", "/graph/me/admin", NOT_HERE],
      ["a path that the route does not allow", "/graph/groups", { status: 403, code: "target_forbidden" }],
      ["a path out of the route", "/recorder/../unlisted/1", NOT_HERE],
      ["a route that there is not", "/nowhere", UNKNOWN],
    ])("a good handle on %s", async (_, path, verdict) => {
      expect(await attempt(path, rig.job(), kept.handle)).toEqual(verdict);
      expect(rig.received).toEqual([]);
    });

    test.each([
      ["keep another one by POST /delegations", "/delegations", NOT_HERE],
      ["keep another one by a handler", "/api/keep-by-job", USER_WANTED],
    ])("a job cannot %s", async (_, path, verdict) => {
      expect(await attempt(path, rig.job(), kept.handle, "post")).toEqual(verdict);
    });

    test("nor can an application by itself", async () => {
      const { status, body } = await rig.gateway.send("post", "/delegations", rig.job());
      expect({ status, code: body.code }).toEqual(USER_WANTED);
    });

    test("the field reaches no API: with a handle, without delegations on the route, and with any other text", async () => {
      await rig.use(kept.handle, "/recorder/1").expect(200);
      const plain = delegationsOff();
      const other = await rig.replica({ yaml: plain });
      await other.get("/recorder/1", victim.token).set("delegation", kept.handle).expect(200);
      await other.get("/recorder/1", victim.token).set("delegation", "anything").expect(200);
      expect(rig.received).toHaveLength(3);
      expect(rig.received.filter((headers) => "delegation" in headers)).toEqual([]);
      expect(JSON.stringify(rig.received)).not.toContain(kept.handle);
      // The path is free for whoever has no delegations.
      await other.get("/delegations", victim.token).expect(404);
    });

    test("a job acts for itself nowhere by a field that its replica does not know of yet", async () => {
      const other = await rig.replica({ yaml: delegationsOff() });
      const tried = async () => {
        const answers = [];
        for (const path of ["/as-app/1", "/recorder/1", "/api/resume"])
          answers.push(await other.get(path, rig.job()).set("delegation", kept.handle));
        return answers.map(({ status, body }) => ({ status, code: body.code }));
      };
      expect(await tried()).toEqual([NOT_HERE, NOT_HERE, NOT_HERE]);
      // A reload takes routes over, and `delegations` waits for a restart.
      expect(await other.reconfigure(rig.yaml.replace("/as-app,", "/as-app-now,"))).toMatchObject({
        outcome: "taken_over",
        needRestart: ["delegations"],
      });
      expect(await tried()).toEqual([UNKNOWN, NOT_HERE, NOT_HERE]);
      const renamed = await other.get("/as-app-now/1", rig.job()).set("delegation", kept.handle);
      expect({ status: renamed.status, code: renamed.body.code }).toEqual(NOT_HERE);
      expect(rig.received).toEqual([]);
      // Without the field the job is an application as before.
      await other.get("/as-app-now/1", rig.job()).expect(200);
    });

    test("a reload that leaves delegations out gives their paths to no route before the restart", async () => {
      const other = await rig.replica();
      const yaml = delegationsOff().replace(
        "routes:\n",
        'routes:\n  - { path: /delegations, downstreamApi: recorder, methods: [POST], allow: ["/**"] }\n',
      );
      expect(await other.reconfigure(yaml)).toMatchObject({
        outcome: "refused",
        faults: [{ path: "route /delegations" }],
      });
      expect((await other.get("/delegations", victim.token)).status).toBe(200);
    });

    test("the field reaches no API in the part of a batch", async () => {
      const yaml = delegationsOff()
        .replace('allow: ["/me", "/me/**", "/users/*"]', 'allow: ["/**"]')
        .replace(
          '  graph:\n    baseUrl: "${GRAPH_URL}"',
          '  graph:\n    kind: graph\n    baseUrl: "${RECORDER_URL}"',
        );
      const other = await rig.replica({ yaml });
      await other.send("post", "/graph/$batch", victim.token).send({
        requests: [{ id: "1", method: "GET", url: "/me", headers: { Delegation: kept.handle } }],
      });
      expect(JSON.stringify(rig.received)).not.toContain(kept.handle);
    });

    const delegationsOff = () => rig.yaml.replace(/delegations:\n(?: {2}.*\n)+/, "");

    test("a user's roles of today do not help a delegation of yesterday", async () => {
      const before = rig.user();
      const { handle } = await rig.keep(before.token);
      expect(await attempt("/roles/1", rig.job({ claims: { roles: ["Reports.Read"] } }), handle)).toEqual(
        NOT_LISTED,
      );
      expect((await rig.use(kept.handle, "/roles/1")).status).toBe(200);
    });
  });

  describe("the id", () => {
    const end = async (id: string, token: string) => {
      const { status, body } = await rig.gateway.send("delete", `/delegations/${id}`, token);
      return { status, code: body.code };
    };

    test.each<[string, () => string]>([
      ["another user", () => rig.user().token],
      ["the job", () => rig.job()],
      [
        "an administrator of another tenant",
        () => rig.job({ ...foreign(), claims: { roles: [ADMIN_ROLE] } }),
      ],
      [
        "a role of a similar name",
        () => rig.job({ claims: { roles: [`${ADMIN_ROLE}s`, ADMIN_ROLE.toLowerCase()] } }),
      ],
      [
        "an application with the user's object id",
        () => rig.job({ claims: { oid: victim.oid, sub: victim.oid } }),
      ],
      [
        "a user of the same object id in another tenant",
        () => rig.emulator.mintUserToken({ ...foreign(), claims: { oid: victim.oid } }),
      ],
    ])("is not ended by %s, who learns nothing of it", async (_, token) => {
      expect(await end(kept.id, token())).toEqual(UNKNOWN);
      expect(await end("A".repeat(43), token())).toEqual(UNKNOWN);
      expect((await rig.use(kept.handle)).status).toBe(200);
    });

    test.each(["", "..", "%2e%2e", "*", "A%0d%0aDEL", "__proto__", "A".repeat(500)])(
      "that is none ends nothing: %p",
      async (id) => {
        expect(
          (await rig.gateway.send("delete", `/delegations/${id}`, victim.token)).status,
        ).toBeGreaterThanOrEqual(400);
        expect((await rig.use(kept.handle)).status).toBe(200);
      },
    );

    test("the list shows a user nobody else's", async () => {
      const { body } = await rig.gateway.get("/delegations", rig.user().token);
      expect(body).toEqual({ delegations: [] });
    });
  });

  describe("the store", () => {
    test("a dump together with the master key opens nothing, and names no user", async () => {
      const dump = (await rig.redis.dump()).toString("latin1");
      for (const text of [kept.handle, kept.handle.slice(8), victim.oid, victim.token])
        expect(dump.includes(text)).toBe(false);
      const sealing = createSealing([new Secret(rig.env.TOKEN_CACHE_KEYS ?? "")]);
      const binding = JSON.stringify(["delegation", rig.emulator.authorityHost, rig.emulator.clientId]);
      const stored = (await rig.redis.inspect.getBuffer(`obo:{${kept.id}}:delegation`)) ?? Buffer.alloc(0);
      const line = stored.indexOf("\n");
      const opens = (material: string) => {
        const [place] = sealing.places(new Secret(material), binding);
        return place.open(stored.subarray(line + 1)) !== undefined;
      };
      // With the handle it opens, so the attempts below try the right thing.
      expect(opens(kept.handle)).toBe(true);
      const written = stored.subarray(0, line).toString();
      const facts = JSON.parse(written.slice(43));
      // Everything that a thief of the dump has, in the handle's place.
      const materials = [
        kept.id,
        `obo_dlg_${kept.id}`,
        "obo_dlg_",
        written.slice(0, 43),
        written,
        facts.user,
      ];
      for (const material of [...materials, rig.env.TOKEN_CACHE_KEYS ?? "x", facts.tenant, facts.client])
        expect(opens(material)).toBe(false);
      expect(written).not.toContain(rig.emulator.tenantId);
    });

    test("a record under another handle's name serves no one", async () => {
      const mine = rig.user();
      const own = await rig.keep(mine.token);
      const name = ({ id }: Kept) => `obo:{${id}}:delegation`;
      const stolen = await rig.redis.inspect.getBuffer(name(kept));
      await rig.redis.inspect.set(name(own), stolen ?? "", "PX", 60_000);
      expect(await attempt("/recorder/1", rig.job(), own.handle)).toEqual(ENDED);
    });

    test.each<[string, (stored: Buffer) => Buffer]>([
      [
        "a bit of the sealed part",
        (stored) => Buffer.concat([stored.subarray(0, -1), Buffer.of((stored.at(-1) ?? 0) ^ 1)]),
      ],
      ["the line in front of it", (stored) => Buffer.concat([Buffer.from("A"), stored.subarray(1)])],
      ["all of it", () => Buffer.from("garbage")],
      ["an empty text", () => Buffer.alloc(0)],
      ["a line without an end", (stored) => stored.subarray(0, 60)],
    ])("a record of which %s was changed is refused, and no defect", async (_, change) => {
      const { id, handle } = await rig.keep(rig.user().token);
      const stored = (await rig.redis.inspect.getBuffer(`obo:{${id}}:delegation`)) ?? Buffer.alloc(0);
      await rig.redis.inspect.set(`obo:{${id}}:delegation`, change(stored), "PX", 60_000);
      expect(await attempt("/recorder/1", rig.job(), handle)).toEqual(ENDED);
    });

    test("an old record put back after the end revives nothing that Entra has ended", async () => {
      const mine = rig.user();
      const { id, handle } = await rig.keep(mine.token);
      const name = `obo:{${id}}:delegation`;
      const stored = (await rig.redis.inspect.getBuffer(name)) ?? Buffer.alloc(0);
      rig.emulator.revokeSessions(mine.oid);
      expect(await attempt("/recorder/1", rig.job(), handle)).toEqual(ENDED);
      await rig.redis.inspect.set(name, stored, "PX", 60_000);
      expect(await attempt("/recorder/1", rig.job(), handle)).toEqual(ENDED);
    });
  });
});
