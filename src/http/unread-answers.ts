/** One limit for every answer that its caller does not read, whichever part wrote it: at the socket, where all of them pass. */

import type { Socket } from "node:net";

export interface UnreadLimits {
  /** Longest pause in which a caller takes nothing of what is there for it, s. */
  readonly stallSeconds: number;
  /** Least rate at which a caller takes what is there, bytes a second, once it has taken longer than a pause may be. */
  readonly minBytesPerSecond: number;
  /** Longest time until the caller has taken what was handed over last, s; the time to make an answer is not counted. */
  readonly totalSeconds: number;
}

/** How a caller has been taking its answers. */
export interface Progress {
  /** Takes note that `ms` have passed, and says whether a limit is broken. */
  passed(ms: number, limits: UnreadLimits): boolean;
  /** For how long nothing has been taken of what is there, ms. */
  stalledMs(): number;
}

/** Held by libuv, and so part of `writableLength` to its last byte; without it a large write would look like a pause. */
type Written = Socket & { readonly _handle?: { readonly writeQueueSize?: number } | null };

/** An idle producer leaves nothing unread, so a stream of events may pause for as long as it likes. */
export function watchProgress(socket: Socket): Progress {
  let isUnread = false;
  let taken = 0;
  let takenSince = 0;
  let unreadMs = 0;
  let stalledMs = 0;
  let handedOver = 0;
  let unchangedMs = 0;

  return {
    passed(ms, { stallSeconds, minBytesPerSecond, totalSeconds }) {
      const unread = socket.writableLength;
      if (unread === 0) {
        isUnread = false;
        stalledMs = 0;
        return false;
      }
      const written = socket.bytesWritten;
      const now = written - unread - ((socket as Written)._handle?.writeQueueSize ?? 0);
      if (!isUnread) {
        isUnread = true;
        taken = now;
        takenSince = 0;
        unreadMs = 0;
        handedOver = written;
        unchangedMs = 0;
        return false;
      }
      const moved = Math.max(0, now - taken);
      taken = now;
      takenSince += moved;
      unreadMs += ms;
      stalledMs = moved > 0 ? 0 : stalledMs + ms;
      unchangedMs = written === handedOver ? unchangedMs + ms : 0;
      handedOver = written;
      return (
        stalledMs >= stallSeconds * 1000 ||
        unchangedMs >= totalSeconds * 1000 ||
        (unreadMs > stallSeconds * 1000 && takenSince < (minBytesPerSecond * unreadMs) / 1000)
      );
    },
    stalledMs: () => stalledMs,
  };
}
