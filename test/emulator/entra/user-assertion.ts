/** Verifies the access token that a middle tier presents as its user's assertion. */

import type { User } from "../handle.ts";
import { type Claims, decodeJws, isSignedBy } from "../jws.ts";
import type { Sessions } from "../sessions.ts";
import type { Cloud } from "./clouds.ts";
import type { Directory, Registration } from "./directory.ts";
import type { SigningKeys } from "./keys.ts";
import { EntraRefusal } from "./refusal.ts";

export interface VerifiedUser {
  readonly user: User;
  readonly claims: Claims;
}

export interface UserAssertionVerifier {
  /** @throws {EntraRefusal} */
  verify(assertion: string, application: Registration, tenantId: string, cloud: Cloud): VerifiedUser;
}

export function createUserAssertionVerifier(parts: {
  readonly directory: Directory;
  readonly keys: SigningKeys;
  readonly sessions: Sessions;
  readonly now: () => number;
}): UserAssertionVerifier {
  const { directory, keys, sessions, now } = parts;
  return {
    verify(assertion, application, tenantId, cloud) {
      const jws = decodeJws(assertion);
      if (jws === undefined || jws.header.alg !== "RS256") throw new EntraRefusal(50027, "form");
      const { payload: claims } = jws;
      const key = keys.published(jws.header.kid);
      if (key === undefined) throw new EntraRefusal(50013, "The key was not found");
      if (!isSignedBy(jws, key.publicKey, ["RS256"])) throw new EntraRefusal(50013, "Signature");

      const issuers = [cloud.v2Issuer(tenantId), cloud.v1Issuer(tenantId)];
      if (!issuers.includes(String(claims.iss)) || claims.tid !== tenantId) {
        throw new EntraRefusal(50013, "Issuer and tenant");
      }
      // With case: an App ID URI in another spelling is another audience.
      const isForUs =
        claims.aud === application.clientId || application.identifierUris.includes(String(claims.aud));
      if (!isForUs) throw new EntraRefusal(500131);

      // No leeway: the real service refused an assertion 21 s after its end.
      const seconds = now() / 1000;
      if (typeof claims.exp !== "number" || seconds >= claims.exp) throw new EntraRefusal(500133);
      if (typeof claims.nbf !== "number" || Math.ceil(seconds) < claims.nbf) throw new EntraRefusal(500133);

      if (typeof claims.scp !== "string" || claims.scp === "") throw new EntraRefusal(7000114);
      const user = directory.findUser(claims.oid, tenantId);
      if (user === undefined) throw new EntraRefusal(50034);
      if (directory.disabledUsers.has(user.objectId)) throw new EntraRefusal(50057);
      if (sessions.isRevoked(claims)) throw new EntraRefusal(50173);
      if (directory.unassignedUsers.has(user.objectId)) throw new EntraRefusal(50105);
      return { user, claims };
    },
  };
}
