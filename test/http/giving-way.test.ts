/** Where as many connections are open as may be, a newcomer takes the place of the one whose caller loses least. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "@jest/globals";
import type { Request } from "express";
import type { ConnectionRoom } from "../../src/http/contract.ts";
import { createGivingWay, type Occupant } from "../../src/http/giving-way.ts";
import { openRecord } from "../../src/http/pipeline.ts";
import { type Listening, listen } from "../../src/http/server.ts";
import { CONNECTION_LIMITS } from "./connection-limits.ts";

interface Facts {
  /** Undefined where none came. */
  readonly request?: "idle" | "open" | "waits";
  readonly user?: string;
  readonly idleMs?: number;
  readonly stalledMs?: number;
  readonly isAhead?: boolean;
  readonly hasEnded?: boolean;
  readonly openedAt?: number;
  /** Whether a request has come since the last look. */
  readonly isActive?: boolean;
}

const ROOM: ConnectionRoom = { max: 100, idleGivesWay: "after seconds" };

/** A full house. Every connection is closed by its name. */
function house(all: Readonly<Record<string, Facts>>) {
  const closed: string[] = [];
  let time = 0;
  const occupants = new Map(
    Object.entries(all).map(([name, facts], order) => {
      const {
        request,
        user,
        idleMs = 0,
        stalledMs = 0,
        isActive = false,
        isAhead = false,
        hasEnded = false,
        openedAt = -50,
      } = facts;
      const socket = {
        destroyed: false,
        destroy() {
          this.destroyed = true;
          closed.push(name);
        },
      };
      const connection = {
        socket,
        requests: () => (request === undefined ? 0 : 1),
        user: () => (request === "waits" ? undefined : user),
        isAhead: () => isAhead,
        hasEnded: () => hasEnded,
        open: () => (request === undefined || request === "idle" ? 0 : 1),
      } as unknown as Occupant["connection"];
      const progress = { stalledMs: () => stalledMs };
      const seen = request === undefined || isActive ? 0 : 1;
      return [name, { order, openedAt, connection, progress, idleMs, seen }] as const;
    }),
  );
  const givingWay = createGivingWay({
    all: { size: occupants.size, [Symbol.iterator]: () => occupants.values() },
    now: () => time,
  });
  for (const one of occupants.values()) givingWay.opened(one);
  return {
    closed,
    occupants: occupants as ReadonlyMap<string, Occupant>,
    givingWay,
    pass(ms: number) {
      time += ms;
    },
    /** Names of those that gave way to so many newcomers, and how many found no room. */
    newcomers(count: number, room = ROOM) {
      closed.length = 0;
      let turnedAway = 0;
      for (let index = 0; index < count; index++) if (!givingWay.makeRoom(room)) turnedAway += 1;
      return { closed: [...closed], turnedAway };
    },
  };
}

const crowd = (size: number, facts: Facts) =>
  Object.fromEntries(Array.from({ length: size }, (_, index) => [`crowd ${index}`, facts]));

describe("the connection that gives way", () => {
  test("is one whose answer is not read, then one without a request, then one without a verified caller, then one that such a caller sends ahead on, then the longest idle", () => {
    const { newcomers } = house({
      idle: { request: "idle", user: "ada", idleMs: 6_000 },
      longIdle: { request: "idle", user: "grace", idleMs: 9_000 },
      ahead: { request: "waits", isAhead: true },
      ended: { request: "waits", hasEnded: true },
      refused: { request: "idle" },
      oldestSilent: {},
      silent: { idleMs: 3_000 },
      unread: { request: "open", user: "ada", stalledMs: 5_000 },
      longUnread: { request: "open", stalledMs: 8_000 },
    });
    expect(newcomers(10)).toEqual({
      closed: [
        "longUnread",
        "unread",
        "oldestSilent",
        "silent",
        "refused",
        "ahead",
        "ended",
        "longIdle",
        "idle",
      ],
      turnedAway: 1,
    });
  });

  test("is not one that was accepted less than 50 ms ago, while callers who are not known have sent requests", () => {
    const { newcomers } = house({
      new: { openedAt: -49 },
      newer: { openedAt: 0 },
      ahead: { request: "waits", isAhead: true },
      refused: { request: "idle" },
      idle: { request: "idle", user: "ada", idleMs: 5_000 },
    });
    expect(newcomers(5).closed).toEqual(["refused", "ahead", "new", "newer", "idle"]);
  });

  test.each<[string, Facts]>([
    ["that waits for its turn", { request: "waits" }],
    ["of a caller who is not known yet", { request: "open" }],
    ["of a user", { request: "open", user: "ada" }],
    ["of a user who sends ahead", { request: "open", user: "ada", isAhead: true }],
    ["whose answer is not taken for less than five seconds", { request: "open", stalledMs: 4_999 }],
  ])("is never one with a request %s", (_of, facts) => {
    expect(house({ one: facts }).newcomers(1)).toEqual({ closed: [], turnedAway: 1 });
  });

  test("is none whose verified caller sent a request less than five seconds ago, be it between two looks", () => {
    const { newcomers } = house({
      recent: { request: "idle", user: "ada", idleMs: 4_999 },
      active: { request: "idle", user: "grace", idleMs: 60_000, isActive: true },
    });
    expect(newcomers(1).turnedAway).toBe(1);
  });

  test("is any idle one where file descriptors are few", () => {
    const { newcomers } = house({ recent: { request: "idle", user: "ada" } });
    expect(newcomers(1, { max: 1, idleGivesWay: "at once" })).toEqual({ closed: ["recent"], turnedAway: 0 });
  });

  test("is an idle one of a user who holds more than an eighth of all, at once, and no more of them than that", () => {
    const { newcomers } = house({
      recent: { request: "idle", user: "ada" },
      ...crowd(15, { request: "idle", user: "mallory" }),
    });
    expect(newcomers(4)).toEqual({ closed: ["crowd 0", "crowd 1", "crowd 2"], turnedAway: 1 });
  });

  test("is one with a request of a user who holds more than half of all, the newest first", () => {
    const { newcomers } = house({
      ...crowd(52, { request: "open", user: "mallory" }),
      other: { request: "open", user: "ada" },
    });
    expect(newcomers(3)).toEqual({ closed: ["crowd 51", "crowd 50"], turnedAway: 1 });
  });

  test("is none of eight of one user, whatever part of all they are: a browser has six", () => {
    const { newcomers } = house({
      ...crowd(4, { request: "open", user: "ada" }),
      ...Object.fromEntries(
        Array.from({ length: 4 }, (_, index) => [`idle ${index}`, { request: "idle", user: "ada" }]),
      ),
    });
    expect(newcomers(1, { max: 8, idleGivesWay: "after seconds" }).turnedAway).toBe(1);
  });

  test("is not one that has got a request since all were looked through", () => {
    const { givingWay, occupants, closed } = house({
      first: { request: "idle" },
      second: { request: "idle" },
      third: { request: "idle" },
    });
    givingWay.makeRoom(ROOM);
    Object.assign(occupants.get("second")?.connection ?? {}, { open: () => 1 });
    givingWay.makeRoom(ROOM);
    expect(closed).toEqual(["first", "third"]);
  });

  test("is looked for among all again after a while, and not for each newcomer of a full house", () => {
    const { newcomers, pass, occupants } = house({
      ...crowd(399, { request: "open" }),
      late: { request: "open" },
    });
    expect(newcomers(1).turnedAway).toBe(1);
    Object.assign(occupants.get("late")?.connection ?? {}, { open: () => 0 });
    expect(newcomers(1).turnedAway).toBe(1);
    pass(1);
    expect(newcomers(1)).toEqual({ closed: ["late"], turnedAway: 0 });
  });
});

describe("a server with as many connections as it takes", () => {
  const open: Listening[] = [];
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await Promise.all(open.splice(0).map((server) => server.drain(0)));
  });

  test("serves every newcomer, while those who say nothing, are refused or flood hold all places again and again", async () => {
    const server = await listen(
      (request, response) => {
        const record = openRecord(request as Request);
        const user = request.url === "/ada" ? "ada" : undefined;
        record.owner = user === undefined ? undefined : { user, client: "web" };
        response.end(user ?? "refused");
      },
      {
        host: "127.0.0.1",
        port: 0,
        setting: "PORT",
        connections: { ...CONNECTION_LIMITS, max: 20 },
        refuse: (_request, response) => void response.writeHead(503).end(),
      },
    );
    open.push(server);
    const dial = async () => {
      const socket = connect(server.port, "127.0.0.1").on("error", () => {});
      sockets.push(socket);
      await once(socket, "connect");
      return socket;
    };
    const ask = async (socket: Socket, path: string) => {
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
      const [answer] = await Promise.race([once(socket, "data"), once(socket, "close").then(() => [""])]);
      return String(answer);
    };
    const kept = await dial();
    expect(await ask(kept, "/ada")).toMatch(/ada$/);
    for (let round = 0; round < 4; round++) {
      const attackers = await Promise.all(Array.from({ length: 30 }, dial));
      for (const socket of attackers.slice(0, 8)) socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
      for (const socket of attackers.slice(8, 16))
        socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_500));
      expect(await ask(await dial(), "/ada")).toMatch(/ada$/);
      expect(await ask(kept, "/ada")).toMatch(/ada$/);
    }
  });
});
