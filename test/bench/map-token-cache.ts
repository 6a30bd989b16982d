/** The token cache with Maps in the place of its record store, as far as finding and adding go: what the store has to be better than. */

import type { CachedToken, NewEntry, TokenKey } from "../../src/exchange/cache/token-cache.ts";
import { createUserIndex } from "../../src/exchange/cache/token-cache.ts";
import type { DownstreamToken } from "../../src/exchange/contract.ts";

interface Entry {
  slot: number;
  readonly user: string;
  before: Entry | undefined;
  after: Entry | undefined;
  readonly digest: string;
  readonly token: DownstreamToken;
  readonly tokenExpiresAt: number;
  readonly until: number;
  refreshAt: number;
  isUsed: boolean;
  readonly bytes: number;
  readonly order: number;
}

export interface MapTokenCache {
  get(key: TokenKey, time: number): CachedToken | undefined;
  put(entry: NewEntry): void;
}

/** Entries are listed as well, as the search for one to evict needs them. */
export function createMapTokenCache(): MapTokenCache {
  const groups = new Map<string, Map<string, Entry>>();
  const entries: Entry[] = [];
  const byUser = createUserIndex<Entry>();
  return {
    get({ group, digest }, time) {
      const entry = groups.get(group)?.get(digest);
      if (entry === undefined || entry.until <= time) return undefined;
      entry.isUsed = true;
      return { token: entry.token, origin: "cache", due: entry.refreshAt <= time };
    },
    put({ group, digest, user, token, tokenExpiresAt, order }) {
      let members = groups.get(group);
      if (members === undefined) {
        members = new Map();
        groups.set(group, members);
      }
      const until = Math.min(tokenExpiresAt, token.expiresAt);
      const entry: Entry = {
        slot: entries.length,
        user,
        before: undefined,
        after: undefined,
        digest,
        token,
        tokenExpiresAt,
        until,
        refreshAt: until * 0.8,
        isUsed: false,
        bytes: user.length + token.accessToken.reveal().length,
        order,
      };
      members.set(digest, entry);
      entries.push(entry);
      byUser.add(entry);
    },
  };
}
