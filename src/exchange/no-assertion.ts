/** What stands where a user assertion would when the gateway asks for itself: the client-credentials grant. */

import type { UserAssertion } from "../identity/contract.ts";

/** No user: the grant is RFC 6749 §4.4, and the token holds the gateway's own permissions in the tenant. */
export interface NoAssertion extends Omit<UserAssertion, "token"> {
  readonly token: undefined;
}

/** For whom a token is asked. */
export type AnyAssertion = UserAssertion | NoAssertion;

/** Shorter than any SHA-256 digest, so that no user's token shares its key in the cache. */
const DIGEST = "application";

export function noAssertion(tenantId: string, clientId: string): NoAssertion {
  return {
    token: undefined,
    digest: DIGEST,
    tenantId,
    objectId: clientId,
    expiresAt: Number.POSITIVE_INFINITY,
  };
}
