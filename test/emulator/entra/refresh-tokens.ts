/** Refresh tokens: each use gives a new one, the old one stays good; time, revocation and policies end them. */

import { createHash } from "node:crypto";
import type { EmulatorOptions } from "../handle.ts";
import type { Sessions } from "../sessions.ts";
import { EntraRefusal } from "./refusal.ts";
import type { Seals } from "./sealed.ts";
import type { SignIn } from "./sign-in.ts";

const DAY_MS = 24 * 3_600_000;
const IDLE_LIFETIME_MS = 90 * DAY_MS;
const SINGLE_PAGE_LIFETIME_MS = DAY_MS;
const USED_KEPT = 10_000;

export interface RefreshGrant {
  readonly clientId: string;
  readonly signIn: SignIn;
  /** Exchanges are governed by the policies of the APIs behind the middle tier, sign-ins by those of the front door. */
  readonly origin: "sign-in" | "on-behalf-of";
  /** What the client has to be when it comes back. */
  readonly client: "confidential" | "public" | "single-page";
  /** Set at the first sign-in of a single-page application and handed on: its refresh tokens cannot be extended. */
  readonly endsAt?: number;
}

export interface RefreshTokens {
  issue(grant: RefreshGrant): string;
  /** @throws {EntraRefusal} */
  redeem(token: string, clientId: string): RefreshGrant;
}

export function createRefreshTokens(parts: {
  readonly seals: Seals;
  readonly sessions: Sessions;
  readonly now: () => number;
  readonly overlapSeconds: EmulatorOptions["refreshTokenOverlapSeconds"];
}): RefreshTokens {
  const { seals, sessions, now, overlapSeconds } = parts;
  /** First use of each token, kept only where old ones are to end. */
  const firstUse = new Map<string, number>();

  const checkOverlap = (token: string) => {
    if (overlapSeconds === undefined) return;
    const digest = createHash("sha256").update(token).digest("base64url");
    const used = firstUse.get(digest);
    if (used !== undefined && now() - used > overlapSeconds * 1000) throw new EntraRefusal(50173);
    if (used !== undefined) return;
    firstUse.set(digest, now());
    const [oldest] = firstUse.keys();
    if (firstUse.size > USED_KEPT && oldest !== undefined) firstUse.delete(oldest);
  };

  return {
    issue(grant) {
      const endsAt =
        grant.client === "single-page" ? (grant.endsAt ?? now() + SINGLE_PAGE_LIFETIME_MS) : undefined;
      const kept: RefreshGrant = endsAt === undefined ? grant : { ...grant, endsAt };
      return seals.seal("refresh-token", {
        grant: kept,
        idleUntil: now() + IDLE_LIFETIME_MS,
        issuedAt: Math.floor(now() / 1000),
        id: sessions.nextTokenId(),
      });
    },
    redeem(token, clientId) {
      const opened = seals.open<{ grant: RefreshGrant; idleUntil: number; issuedAt: number; id: string }>(
        "refresh-token",
        token,
      );
      if (opened === undefined) throw new EntraRefusal(9002313, "the refresh token is malformed");
      const { grant, idleUntil, issuedAt, id } = opened;
      if (grant.clientId !== clientId) throw new EntraRefusal(70000, "the refresh token is another client's");
      if (grant.endsAt !== undefined && now() >= grant.endsAt) throw new EntraRefusal(700084);
      if (now() >= idleUntil) throw new EntraRefusal(700082);
      const claims = { oid: grant.signIn.userObjectId, uti: id, iat: issuedAt };
      if (sessions.isRevoked(claims, grant.client)) throw new EntraRefusal(50173);
      checkOverlap(token);
      return grant;
    },
  };
}
