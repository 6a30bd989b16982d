/** All connections of a listener: how many there are, which give way when there are too many, and which are cut. */

import type { Socket } from "node:net";
import { type Connection, openConnection, type PipelinesHeld } from "./connection.ts";
import type { ConnectionEvent, ConnectionLimits, ConnectionRoom } from "./contract.ts";
import { createMembers } from "./members.ts";
import { userOf } from "./request-record.ts";
import { type Progress, type UnreadLimits, watchProgress } from "./unread-answers.ts";

export interface ConnectionsOptions extends Pick<Parameters<typeof openConnection>[1], "run"> {
  readonly limits: ConnectionLimits;
  /** Asked for each connection. Default: as the limits say. */
  readonly room?: (() => ConnectionRoom) | undefined;
  readonly onEvent: (event: ConnectionEvent) => void;
}

export interface Connections {
  /** Takes a connection in, or closes it where the most are open and none gives way. */
  opened(socket: Socket): void;
  /**
   * From now on unread answers go first: a caller who does not take its answer does not hold up the end. Nor does one
   * that keeps sending ahead: what of it is not parsed yet is not processed, so that it can be sent to another instance.
   */
  drain(): void;
  /** Whether an answer, or a part of one, has been handed over and is not sent yet. */
  hasUnread(): boolean;
  close(): void;
}

interface Watched {
  /** Counts connections since the start. */
  readonly order: number;
  readonly connection: Connection;
  readonly progress: Progress;
  /** For how long no request has been open, ms; one whose head is still on its way is not open. */
  idleMs: number;
  /** While the process ends: bytes that the caller had sent at the last look, and for how long it has sent no more, ms. */
  read: number;
  silentMs: number;
}

/** How often progress is looked at, ms. A busy event loop looks less often, and that is to the caller's advantage. */
const LOOK_MS = 1_000;
/** Without progress for so long, a connection gives way to a new one, ms. */
const GIVES_WAY_MS = 5_000;

/** While the process ends: what an honest caller on a slow line still keeps, and one who does not read does not. */
const DRAINING: UnreadLimits = { stallSeconds: 2, minBytesPerSecond: 16_384, totalSeconds: 20 };

/** While the process ends: longest pause in a request's body, ms. */
const BODY_PAUSE_MS = 2_000;

/**
 * A user who still has more requests than this under way when the process has been ending for so long, ms, loses them:
 * browsers have six connections for a host, and one caller must not hold up the end for the others.
 */
const MOST_AWAITED = 8;
const CROWD_WAIT_MS = 3_000;

export function watchConnections(options: ConnectionsOptions): Connections {
  const { limits, run, onEvent } = options;
  const { room = () => ({ max: limits.max, idleGivesWay: "after seconds" }) } = options;
  const watched = createMembers<Watched>();
  let opened = 0;
  const held: PipelinesHeld = { requests: 0, bytes: 0 };
  let unreadLimits: UnreadLimits = {
    stallSeconds: limits.writeStallSeconds,
    minBytesPerSecond: limits.minWriteBytesPerSecond,
    totalSeconds: limits.writeTimeoutSeconds,
  };
  let drainingMs = 0;
  const lookMs = Math.min(LOOK_MS, limits.writeStallSeconds * 250);
  const timer = setInterval(look, lookMs).unref();

  function look(): void {
    // One that is cut leaves the collection a turn later.
    for (const one of watched) {
      one.idleMs = one.connection.open() === 0 ? one.idleMs + lookMs : 0;
      if (unreadLimits === DRAINING && one.connection.isAhead()) one.connection.endAfterAnswers();
      if (!one.progress.passed(lookMs, unreadLimits)) continue;
      cut(one, "unread");
    }
    if (unreadLimits === DRAINING) lookAtTheEnd();
  }

  function cut({ connection }: Watched, reason: "unread" | "held_up"): void {
    onEvent(reason);
    connection.socket.destroy();
  }

  /** Lets go of what would hold up the end: bodies that do not come, and users with many requests under way. */
  function lookAtTheEnd(): void {
    drainingMs += lookMs;
    for (const one of watched) {
      const { socket } = one.connection;
      const isAwaited = isBodyAwaited(one.connection) && socket.bytesRead === one.read;
      one.silentMs = isAwaited ? one.silentMs + lookMs : 0;
      one.read = socket.bytesRead;
      if (one.silentMs >= BODY_PAUSE_MS) cut(one, "held_up");
    }
    if (drainingMs < CROWD_WAIT_MS) return;
    const requests = new Map<string, number>();
    for (const one of watched) {
      const user = userOfConnection(one);
      if (user !== undefined) requests.set(user, (requests.get(user) ?? 0) + one.connection.open());
    }
    for (const one of watched) {
      const user = userOfConnection(one);
      if (user !== undefined && (requests.get(user) ?? 0) > MOST_AWAITED) cut(one, "held_up");
    }
  }

  function userOfConnection({ connection }: Watched): string | undefined {
    const newest = connection.open() === 0 || connection.socket.destroyed ? undefined : connection.newest();
    return newest && userOf(newest.req);
  }

  /** An answer that is not read keeps more than an idle connection, so it goes first; then who has waited longest. */
  function giveWay(idleGivesWayMs: number): boolean {
    let least: Watched | undefined;
    let most = -1;
    for (const one of watched) {
      if (one.connection.socket.destroyed) continue;
      const stalledMs = one.progress.stalledMs();
      const isStalled = stalledMs >= GIVES_WAY_MS;
      // A request may have come since the last look at the connection.
      if (!isStalled && (one.connection.open() > 0 || one.idleMs < idleGivesWayMs)) continue;
      const without = isStalled ? stalledMs + 1e9 : one.idleMs;
      // Of those that are idle alike, the newest is about to send a request.
      if (without < most || (without === most && least !== undefined && one.order > least.order)) continue;
      most = without;
      least = one;
    }
    least?.connection.socket.destroy();
    return least !== undefined;
  }

  return {
    opened(socket) {
      const { max, idleGivesWay } = room();
      if (watched.size >= max) {
        if (!giveWay(idleGivesWay === "at once" ? 0 : GIVES_WAY_MS)) {
          onEvent("dropped");
          socket.destroy();
          return;
        }
        onEvent("gave_way");
      }
      const connection = openConnection(socket, { maxPipelined: limits.maxPipelined, run, held });
      const one = {
        order: opened++,
        connection,
        progress: watchProgress(socket),
        idleMs: 0,
        read: 0,
        silentMs: 0,
      };
      watched.add(one);
      onEvent("opened");
      socket.once("close", () => {
        watched.delete(one);
        onEvent("closed");
      });
    },
    drain() {
      unreadLimits = DRAINING;
    },
    hasUnread() {
      for (const { connection } of watched) if (connection.socket.writableLength > 0) return true;
      return false;
    },
    close() {
      clearInterval(timer);
    },
  };
}

/** Whether the rest of a body is wanted and not here. One that the gateway has not asked for yet may take its time. */
function isBodyAwaited(connection: Connection): boolean {
  const request = connection.newest()?.req;
  return request?.complete === false && request.readableFlowing === true && !connection.socket.isPaused();
}
