/** Shared claims: texts and lists that many principals have in common are held once, and each principal is charged for what it adds. */

import type { Groups, Principal } from "./contract.ts";

export interface SharedClaims {
  /** An equal principal that shares with those before it, and what it adds to what they hold, bytes, by estimate. */
  share(principal: Principal): { readonly principal: Principal; readonly bytes: number };
  clear(): void;
}

/** Texts and lists to find again, and characters of one that is worth it: two or three megabytes when all are long. */
const MOST_TEXTS = 8_192;
const LONGEST_TEXT = 128;
const MOST_LISTS = 1_024;
const LONGEST_LIST = 1_024;
/** What texts and lists take beside their characters and members, and a principal beside those; measured, rounded up. */
const PRINCIPAL_BYTES = 160;
const TEXT_BYTES = 24;
const LIST_BYTES = 48;
const REFERENCE_BYTES = 8;

const UNLISTED = {
  absent: Object.freeze({ kind: "absent" }),
  overage: Object.freeze({ kind: "overage" }),
} as const satisfies Record<string, Groups>;

/**
 * The principal that brings something first is charged for it. It also leaves first, as principals are forgotten in the order in which
 * they came, so what is still shared and no longer paid for is never more than one filling of the tables.
 */
export function createSharedClaims(): SharedClaims {
  const texts = new Map<string, string>();
  const lists = new Map<string, readonly string[]>();
  let added = 0;

  function own(text: string): string {
    added += TEXT_BYTES + text.length;
    return text;
  }

  function shareText(text: string): string {
    if (text.length > LONGEST_TEXT) return own(text);
    const known = texts.get(text);
    if (known !== undefined) return known;
    // Emptied rather than thinned out: those who share go on sharing, and who is common is soon there again.
    if (texts.size >= MOST_TEXTS) texts.clear();
    texts.set(text, text);
    return own(text);
  }

  function shareList(list: readonly string[]): readonly string[] {
    const key = JSON.stringify(list);
    const known = lists.get(key);
    if (known !== undefined) return known;
    added += LIST_BYTES + list.length * REFERENCE_BYTES;
    const shared = Object.freeze(list.map(shareText));
    if (key.length > LONGEST_LIST) return shared;
    if (lists.size >= MOST_LISTS) lists.clear();
    lists.set(key, shared);
    return shared;
  }

  function shareGroups(groups: Groups): Groups {
    if (groups.kind !== "listed") return UNLISTED[groups.kind];
    added += LIST_BYTES;
    return Object.freeze({ kind: groups.kind, ids: shareList(groups.ids) });
  }

  return {
    share(principal) {
      added = PRINCIPAL_BYTES;
      const shared = Object.freeze<Principal>({
        kind: principal.kind,
        tenantId: shareText(principal.tenantId),
        objectId: own(principal.objectId),
        subject: own(principal.subject),
        clientId: shareText(principal.clientId),
        tokenVersion: principal.tokenVersion === "1.0" ? "1.0" : "2.0",
        scopes: shareList(principal.scopes),
        roles: shareList(principal.roles),
        groups: shareGroups(principal.groups),
        authContexts: shareList(principal.authContexts),
        acceptsClaimsChallenge: principal.acceptsClaimsChallenge,
        expiresAt: principal.expiresAt,
      });
      return { principal: shared, bytes: added };
    },
    clear() {
      texts.clear();
      lists.clear();
    },
  };
}
