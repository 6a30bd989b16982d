/** Refresh tokens as clients of the bridge get them: Entra's, sealed together with its user and its client. */

import { parseJsonObject } from "../../foundation/json.ts";
import { Secret } from "../../foundation/secret.ts";
import { type Met, readMet } from "./met.ts";
import type { Seal } from "./seals.ts";

export interface WrappedToken {
  readonly refreshToken: Secret;
  readonly tenantId: string;
  readonly objectId: string;
  /** The client that it was given to (RFC 6749 §6). */
  readonly client: string;
  /** Qualified scopes that were granted with it. */
  readonly scopes: readonly string[];
  /** Demands that the sign-in behind it met. */
  readonly met: readonly Met[];
}

export interface RefreshTokens {
  wrap(token: WrappedToken): string;
  /** Undefined for anything that this gateway did not wrap. */
  unwrap(text: string): WrappedToken | undefined;
}

/** Marks a wrapped token, so that it differs from one of Entra in a client's store. */
const PREFIX = "obo1.";
/** Entra's own are one to two kilobytes. */
const MOST_LENGTH = 16 * 1024;

export function createRefreshTokens(seal: Seal): RefreshTokens {
  return {
    wrap({ refreshToken, tenantId, objectId, client, scopes, met }) {
      const value = {
        r: refreshToken.reveal(),
        t: tenantId,
        o: objectId,
        c: client,
        s: scopes.join(" "),
        ...(met.length > 0 && { m: met }),
      };
      return PREFIX + seal.seal(JSON.stringify(value));
    },
    unwrap(text) {
      if (text.length > MOST_LENGTH || !text.startsWith(PREFIX)) return undefined;
      const opened = seal.open(text.slice(PREFIX.length));
      const value = opened === undefined ? undefined : parseJsonObject(opened);
      if (value === undefined) return undefined;
      const { r, t, o, c, s, m } = value;
      if (typeof r !== "string" || typeof t !== "string" || typeof o !== "string") return undefined;
      if (typeof c !== "string" || typeof s !== "string") return undefined;
      const scopes = s.split(" ");
      return { refreshToken: new Secret(r), tenantId: t, objectId: o, client: c, scopes, met: readMet(m) };
    },
  };
}
