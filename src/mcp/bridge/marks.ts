/** What replicas remember of challenges under way: marks with an end, in Redis where there is one, and in bounded maps. */

import { type BoundedMap, createBoundedMap } from "../../foundation/bounded-map.ts";
import type { OpenRedis } from "../../redis/contract.ts";
import { endOf, type Met, readMet, stillMet } from "./met.ts";

export interface MarkedUser {
  readonly tenantId: string;
  readonly objectId: string;
  readonly clientId: string;
}

export interface Marks {
  /**
   * Marks that a challenge waits for this user's next sign-in.
   *
   * @returns How many this process has noted since the user was last quiet for as long as a mark lasts.
   */
  challenged(user: MarkedUser): Promise<number>;
  isPending(user: MarkedUser): Promise<boolean>;
  /** The user has signed in with this handle. */
  met(user: MarkedUser, handleId: string): Promise<void>;
  isUsed(handleId: string): Promise<boolean>;
  /** The token with this digest comes from a sign-in that met these demands. */
  issued(tokenDigest: string, met: readonly Met[]): Promise<void>;
  /** Demands that the sign-in behind the token has met within the last minutes. */
  metBy(tokenDigest: string): Promise<readonly Met[]>;
}

/** How long a client's silent renewal is refused while it should sign in. */
const PENDING_MS = 5 * 60_000;
/** Longer than a handle is good. */
const USED_MS = 11 * 60_000;
/** Entries of each map. An entry that gives way costs its user one more sign-in, or a client's clear refusal. */
const MOST_ENTRIES = 10_000;

export function createMarks({
  redis,
  now,
}: {
  readonly redis: Pick<OpenRedis, "store" | "sealing"> | undefined;
  readonly now: () => number;
}): Marks {
  const pending = createBoundedMap<number>({ maxEntries: MOST_ENTRIES });
  const used = createBoundedMap<string>({ maxEntries: MOST_ENTRIES });
  const issued = createBoundedMap<string>({ maxEntries: MOST_ENTRIES });
  const keyOf = ({ tenantId, objectId, clientId }: MarkedUser) =>
    `${tenantId} ${objectId} ${clientId}`.toLowerCase();
  /** A keyed hash: a reader of Redis learns neither who is challenged nor, by trying known ids, whether a user is. */
  const nameOf = (kind: string, subject: string) =>
    `obo:{${redis?.sealing.userNames(`mcp ${kind}\n${subject}`)[0]}}:mcp`;

  async function write(map: BoundedMap<string>, kind: string, key: string, value: string, until: number) {
    map.set(key, value, until);
    const lifeMs = until - now();
    if (lifeMs > 0) await redis?.store.write(nameOf(kind, key), value, lifeMs);
  }

  /** Redis knows what all replicas noted. Where it does not answer, this process' own notes have to do. */
  async function read(map: BoundedMap<string>, kind: string, key: string): Promise<string | undefined> {
    const shared = await redis?.store.read(nameOf(kind, key));
    if (shared === undefined) return map.get(key, now());
    return shared?.toString();
  }

  return {
    async challenged(user) {
      const key = keyOf(user);
      const count = (pending.get(key, now()) ?? 0) + 1;
      pending.set(key, count, now() + PENDING_MS);
      await redis?.store.write(nameOf("pending", key), "1", PENDING_MS);
      return count;
    },
    async isPending(user) {
      const key = keyOf(user);
      const shared = await redis?.store.isTaken(nameOf("pending", key));
      return shared ?? pending.get(key, now()) !== undefined;
    },
    async met(user, handleId) {
      const key = keyOf(user);
      pending.delete(key);
      await redis?.store.removeIf(nameOf("pending", key), "1");
      await write(used, "used", handleId, "1", now() + USED_MS);
    },
    isUsed: async (handleId) => (await read(used, "used", handleId)) !== undefined,
    async issued(tokenDigest, met) {
      if (met.length > 0) await write(issued, "issued", tokenDigest, JSON.stringify(met), endOf(met));
    },
    async metBy(tokenDigest) {
      const text = await read(issued, "issued", tokenDigest);
      return text === undefined ? [] : stillMet(readMet(JSON.parse(text)), now());
    },
  };
}
