/** Order of issue of every token, so that "issued before the revocation" does not depend on whole seconds. */

import { randomBytes } from "node:crypto";
import type { Claims } from "./jws.ts";

/** First bytes of a `uti` made here; a token that carries another one is judged by its `iat`. */
const MARK = 0x0b0e;

export interface Sessions {
  /** A fresh `uti` claim: 16 bytes, base64url, as Entra writes it. */
  nextTokenId(): string;
  /** Voids all tokens issued to this `oid` so far; `public`: only those of clients that hold no credential. */
  revoke(objectId: string, scope?: "all" | "public"): void;
  /** @param client who holds it; access tokens, whose holder does not matter, are asked about without it. */
  isRevoked(claims: Claims, client?: "confidential" | "public" | "single-page"): boolean;
  /** A test for tokens issued up to this moment. */
  issuedUntilNow(): (claims: Claims) => boolean;
}

export function createSessions(now: () => number): Sessions {
  let issued = 0;
  const revocations = new Map<unknown, (claims: Claims) => boolean>();
  const publicRevocations: typeof revocations = new Map();

  const issuedUntilNow = () => {
    const last = issued;
    const second = Math.floor(now() / 1000);
    return (claims: Claims) => {
      const number = ordinal(claims.uti);
      return number === undefined ? Number(claims.iat ?? 0) <= second : number <= last;
    };
  };

  return {
    nextTokenId() {
      issued += 1;
      const bytes = randomBytes(16);
      bytes.writeUInt16BE(MARK, 0);
      bytes.writeUIntBE(issued, 2, 6);
      return bytes.toString("base64url");
    },
    revoke(objectId, scope = "all") {
      (scope === "all" ? revocations : publicRevocations).set(objectId, issuedUntilNow());
    },
    isRevoked(claims, client = "confidential") {
      const applying = client === "confidential" ? [revocations] : [revocations, publicRevocations];
      return applying.some((each) => each.get(claims.oid)?.(claims) ?? false);
    },
    issuedUntilNow,
  };
}

function ordinal(uti: unknown): number | undefined {
  if (typeof uti !== "string") return undefined;
  const bytes = Buffer.from(uti, "base64url");
  return bytes.length === 16 && bytes.readUInt16BE(0) === MARK ? bytes.readUIntBE(2, 6) : undefined;
}
