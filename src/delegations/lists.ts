/** Lists of ids in Redis, by which delegations are counted and shown: bounded, and rid of those whose time is over. */

import type { RedisStore, Unavailable } from "../redis/contract.ts";

export interface DelegationLists {
  /** Whether there was room. An id that is listed already is listed on, whatever the bound. */
  enlist(tag: string, id: string, expiresAt: number, most: number): Promise<boolean | Unavailable>;
  /** Lists are for counting and showing: a stroke that fails costs its user a place until the delegation's end. */
  strike(id: string, tags: readonly string[]): Promise<void>;
  /** Ids of all these lists, each with the list that holds it. */
  idsOf(tags: readonly string[]): Promise<ReadonlyMap<string, string> | Unavailable>;
  count(tags: readonly string[]): Promise<number | Unavailable>;
}

const ENLIST = `
redis.call("zremrangebyscore", KEYS[1], "-inf", ARGV[2])
if redis.call("zcard", KEYS[1]) >= tonumber(ARGV[4]) and not redis.call("zscore", KEYS[1], ARGV[1]) then return 0 end
redis.call("zadd", KEYS[1], ARGV[3], ARGV[1])
local last = redis.call("zrange", KEYS[1], -1, -1, "WITHSCORES")[2]
redis.call("pexpire", KEYS[1], math.max(1, math.floor(tonumber(last) - tonumber(ARGV[2]))))
return 1`;
const COUNT = `return redis.call("zcount", KEYS[1], "(" .. ARGV[1], "+inf")`;
const LISTED = `return redis.call("zrangebyscore", KEYS[1], "(" .. ARGV[1], "+inf")`;
const STRIKE = `return redis.call("zrem", KEYS[1], ARGV[1])`;

const listName = (tag: string) => `obo:{${tag}}:delegations`;

export function createLists(store: Pick<RedisStore, "run">, now: () => number): DelegationLists {
  /** What the script finds in each list of what is not over yet. */
  const ofEach = (script: string, tags: readonly string[]) =>
    Promise.all(tags.map((tag) => store.run(script, listName(tag), [String(now())])));

  return {
    async enlist(tag, id, expiresAt, most) {
      const args = [id, String(now()), String(expiresAt), String(most)];
      const answer = await store.run(ENLIST, listName(tag), args);
      return answer === undefined ? undefined : answer === 1;
    },

    async strike(id, tags) {
      await Promise.all(tags.map((tag) => store.run(STRIKE, listName(tag), [id])));
    },

    async idsOf(tags) {
      const lists = await ofEach(LISTED, tags);
      if (lists.some((list) => !Array.isArray(list))) return undefined;
      return new Map(
        tags.flatMap((tag, index) => (lists[index] as string[]).map((id) => [id, tag] as const)),
      );
    },

    async count(tags) {
      const counts = await ofEach(COUNT, tags);
      if (counts.some((one) => typeof one !== "number")) return undefined;
      return counts.reduce<number>((sum, one) => sum + (one as number), 0);
    },
  };
}
