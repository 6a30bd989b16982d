/** Authorization codes: good once, for ten minutes, for the client and redirect URI that they were issued to. */

import type { Claims } from "../jws.ts";
import type { Redirect } from "./redirect-uris.ts";
import { EntraRefusal } from "./refusal.ts";
import type { Seals } from "./sealed.ts";
import type { SignIn } from "./sign-in.ts";

const LIFETIME_MS = 10 * 60_000;
/** Codes of ten minutes; a test that redeems more of them than this forgets the oldest. */
const REDEEMED_KEPT = 10_000;

export interface CodeGrant {
  readonly clientId: string;
  readonly tenantId: string;
  readonly redirect: Redirect;
  readonly scopes: readonly string[];
  /** `access_token` member of the claims request. */
  readonly requested: Claims;
  readonly signIn: SignIn;
  readonly nonce?: string;
  readonly challenge?: { readonly value: string; readonly method: "S256" | "plain" };
  readonly tellsAuthTime: boolean;
}

export interface AuthorizationCodes {
  issue(grant: CodeGrant): string;
  /** @throws {EntraRefusal} for a code that is unknown, expired, another client's or already redeemed. */
  redeem(code: string, clientId: string): CodeGrant;
}

export function createAuthorizationCodes(seals: Seals, now: () => number): AuthorizationCodes {
  const redeemed = new Set<string>();
  return {
    issue: (grant) => seals.seal("authorization-code", { grant, issuedAt: now() }),
    redeem(code, clientId) {
      const opened = seals.open<{ grant: CodeGrant; issuedAt: number }>("authorization-code", code);
      if (opened === undefined) throw new EntraRefusal(9002313, "the code is malformed");
      const { grant, issuedAt } = opened;
      if (grant.clientId !== clientId) throw new EntraRefusal(70000, "the code is another client's");
      if (redeemed.has(code)) throw new EntraRefusal(54005);
      if (now() - issuedAt >= LIFETIME_MS) throw new EntraRefusal(70008);
      redeemed.add(code);
      const [oldest] = redeemed;
      if (redeemed.size > REDEEMED_KEPT && oldest !== undefined) redeemed.delete(oldest);
      return grant;
    },
  };
}
