/** Which connection gives way to a new one, where as many are open as may be. */

import type { Socket } from "node:net";
import { createQueue, type Members } from "../foundation/members.ts";
import type { ConnectionRoom } from "./contract.ts";

/** What is looked at of a connection. */
export interface Occupant {
  /** Counts connections since the start. */
  readonly order: number;
  /** In the time of `now`. */
  readonly openedAt: number;
  readonly connection: {
    readonly socket: Pick<Socket, "destroyed" | "destroy">;
    /** Requests whose heads were parsed. */
    requests(): number;
    /** The user of the request that began last, once its caller is known. */
    user(): string | undefined;
    /** Answers that are not closed yet. */
    open(): number;
    /** Whether it has sent requests that are not parsed yet. */
    isAhead(): boolean;
    /** Whether nothing more of what it sends is processed, as where it has sent too much ahead. */
    hasEnded(): boolean;
  };
  readonly progress: {
    /** For how long the caller has taken nothing of an answer that is there, ms. */
    stalledMs(): number;
  };
  /** For how long no request had been open at the last look, ms; one whose head is still on its way is not open. */
  readonly idleMs: number;
  /** The requests that it had brought then. */
  readonly seen: number;
}

export interface GivingWayOptions {
  readonly all: Pick<Members<Occupant>, "size" | typeof Symbol.iterator>;
  /** Ms of a clock that only goes forward. */
  readonly now?: () => number;
}

export interface GivingWay {
  opened(one: Occupant): void;
  closed(one: Occupant): void;
  /** Closes one connection for a newcomer, or says that none gives way. */
  makeRoom(room: ConnectionRoom): boolean;
}

/** Without progress for so long, a connection gives way, known caller or not, ms. */
const GIVES_WAY_MS = 5_000;

/**
 * A user who holds a larger part of the connections than this gives way at once with those that are idle, and past the larger
 * part with those that carry a request. A browser has six connections for a host: so few are no crowd, whatever the part.
 */
const IDLE_SHARE = 1 / 8;
const BUSY_SHARE = 1 / 2;
const FEW = 8;

/**
 * A connection that has just been accepted has its request on the way, and often in the same turn of the event loop: for so
 * long, ms, callers who are not known and send ahead go before it.
 */
const NEW_MS = 50;

/** How long passes until all are looked through again, ms for each of them: of eight thousand it takes half a millisecond. */
const PAUSE_MS = 0.0025;

/** Who goes first. A connection that has brought no request yet comes behind the first of these, a new one behind the third. */
const RANKS = ["unread", "unknown", "ahead", "crowd", "idle", "busy"] as const;
type Rank = (typeof RANKS)[number];

interface Listed {
  readonly one: Occupant;
  readonly rank: Rank;
  /** The requests that it had brought when it was listed: another one has come since where it differs. */
  readonly requests: number;
  /** Within the rank, the largest goes first. */
  readonly weight: number;
}

/**
 * An answer that is not read keeps most, so it goes first. Then a connection that has brought no request, and one that has
 * brought none of a verified caller: opening these costs nothing, so that anyone can fill the house with them, and their
 * callers lose nothing that was begun; nor do those who have sent more requests ahead before they are known. Connections of
 * verified callers stay for `GIVES_WAY_MS` after their last request, unless one user has a crowd of them.
 */
export function createGivingWay({ all, now = () => performance.now() }: GivingWayOptions): GivingWay {
  /** Those that have brought no request, in the order in which they came; some that have are still among them. */
  const silent = createQueue<Occupant>();
  /** The rest, as they were when all were looked through; the last one goes next. */
  const listed: Listed[] = [];
  let listedAt = Number.NEGATIVE_INFINITY;
  /** Connections by the user of their latest request, when all were looked through, less those that gave way since. */
  const heldBy = new Map<string, number>();

  function idleOf({ connection, idleMs, seen }: Occupant): number {
    return connection.requests() === seen ? idleMs : 0;
  }

  function rankOf(one: Occupant, { idleGivesWay, max }: ConnectionRoom): Rank | undefined {
    const { connection, progress } = one;
    if (connection.socket.destroyed) return undefined;
    if (progress.stalledMs() >= GIVES_WAY_MS) return "unread";
    // Without a request, it stands in the other line.
    if (connection.requests() === 0) return undefined;
    const user = one.connection.user();
    const isBusy = connection.open() > 0;
    if (user === undefined && !isBusy) return "unknown";
    if (user === undefined) return connection.isAhead() || connection.hasEnded() ? "ahead" : undefined;
    const held = heldBy.get(user) ?? 0;
    if (isBusy) return held > Math.max(FEW, max * BUSY_SHARE) ? "busy" : undefined;
    if (held > Math.max(FEW, max * IDLE_SHARE)) return "crowd";
    return idleGivesWay === "at once" || idleOf(one) >= GIVES_WAY_MS ? "idle" : undefined;
  }

  /** Of those that wait alike the oldest goes; of requests that are under way the newest, which has come least far. */
  function weightOf(one: Occupant, rank: Rank): number {
    if (rank === "busy") return one.order;
    return rank === "unread" ? one.progress.stalledMs() : idleOf(one);
  }

  function lookThrough(room: ConnectionRoom): void {
    heldBy.clear();
    for (const one of all) {
      const user = one.connection.socket.destroyed ? undefined : one.connection.user();
      if (user !== undefined) heldBy.set(user, (heldBy.get(user) ?? 0) + 1);
    }
    for (const one of all) {
      const rank = rankOf(one, room);
      if (rank === undefined) continue;
      listed.push({ one, rank, requests: one.connection.requests(), weight: weightOf(one, rank) });
    }
    listed.sort(
      (a, b) =>
        RANKS.indexOf(b.rank) - RANKS.indexOf(a.rank) || a.weight - b.weight || b.one.order - a.one.order,
    );
  }

  /** The next one of the list that still deserves its place there. */
  function nextListed(room: ConnectionRoom, of?: Rank): Occupant | undefined {
    for (let next = listed.at(-1); next !== undefined; next = listed.at(-1)) {
      if (of !== undefined && next.rank !== of) return undefined;
      listed.pop();
      const { one, rank, requests } = next;
      if (one.connection.requests() !== requests || rankOf(one, room) !== rank) continue;
      const user = one.connection.user();
      if (user !== undefined) heldBy.set(user, (heldBy.get(user) ?? 1) - 1);
      return one;
    }
    return undefined;
  }

  function nextSilent(openedUntil: number): Occupant | undefined {
    for (let one = silent.first(); one !== undefined; one = silent.first()) {
      if (one.openedAt > openedUntil) return undefined;
      silent.delete(one);
      if (!one.connection.socket.destroyed && one.connection.requests() === 0) return one;
    }
    return undefined;
  }

  return {
    opened: silent.add,
    closed(one) {
      silent.delete(one);
    },
    makeRoom(room) {
      const time = now();
      if (listed.length === 0 && time - listedAt >= all.size * PAUSE_MS) {
        listedAt = time;
        lookThrough(room);
      }
      const one =
        nextListed(room, "unread") ??
        nextSilent(time - NEW_MS) ??
        nextListed(room, "unknown") ??
        nextListed(room, "ahead") ??
        nextSilent(time) ??
        nextListed(room);
      one?.connection.socket.destroy();
      return one !== undefined;
    },
  };
}
