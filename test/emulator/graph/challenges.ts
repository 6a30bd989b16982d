/** Continuous access evaluation: tokens that Graph does not accept any more, and the challenge it answers with. */

import type { Directory, Registration } from "../entra/directory.ts";
import { requestedValues } from "../entra/mint.ts";
import type { GraphChallengeOptions, GraphControl, Removable, UserRef } from "../handle.ts";
import { type Claims, isObject } from "../jws.ts";
import type { Sessions } from "../sessions.ts";
import { GraphProblem } from "./answer.ts";
import type { DelegatedCaller } from "./delegated-token.ts";

interface Challenge {
  readonly userObjectId: string;
  readonly claims: string;
  readonly header: string | undefined;
  readonly refuses: (claims: Claims) => boolean;
  left: number;
}

export interface GraphChallenges extends GraphControl {
  /** @throws {GraphProblem} 401 with a claims challenge */
  check(caller: DelegatedCaller): void;
}

export function createGraphChallenges(parts: {
  readonly directory: Directory;
  readonly sessions: Sessions;
  readonly graph: Registration;
  readonly authorityHost: string;
  readonly now: () => number;
}): GraphChallenges {
  const { directory, sessions, graph, authorityHost, now } = parts;
  const challenges = new Set<Challenge>();
  const nbfClaims = () =>
    JSON.stringify({
      access_token: { nbf: { essential: true, value: String(Math.floor(now() / 1000)) } },
    });

  const problem = (claims: string, header: string | undefined): GraphProblem => {
    const encoded = Buffer.from(claims).toString("base64");
    // The camel-case name of the description is how the real service spells it.
    const usual = [
      'Bearer realm=""',
      `authorization_uri="${authorityHost}common/oauth2/authorize"`,
      `client_id="${graph.clientId}"`,
      'errorDescription="Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp"',
      'error="insufficient_claims"',
      'claims="{claims}"',
    ].join(", ");
    return new GraphProblem(
      401,
      "InvalidAuthenticationToken",
      "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp",
      { "WWW-Authenticate": (header ?? usual).replaceAll("{claims}", encoded) },
    );
  };

  return {
    challenge(ref: UserRef, options: GraphChallengeOptions = {}): Removable {
      const contexts = contextsOf(options.claims);
      const issuedBefore = sessions.issuedUntilNow();
      const challenge: Challenge = {
        userObjectId: directory.user(ref).objectId,
        claims: options.claims ?? nbfClaims(),
        header: options.header,
        left: options.times ?? Number.POSITIVE_INFINITY,
        refuses: (claims) => {
          if (options.satisfiedBy === "nothing") return true;
          if (contexts.length === 0) return issuedBefore(claims);
          const held = [claims.acrs].flat();
          return !contexts.every((context) => held.includes(context));
        },
      };
      challenges.add(challenge);
      return { remove: () => void challenges.delete(challenge) };
    },
    clearChallenges: () => challenges.clear(),
    check({ user, claims }) {
      // Without the capability a token simply lives out its hour.
      const capable = [claims.xms_cc].flat().some((value) => String(value).toLowerCase() === "cp1");
      if (!capable) return;
      if (sessions.isRevoked(claims)) throw problem(nbfClaims(), undefined);
      for (const challenge of challenges) {
        if (challenge.userObjectId !== user.objectId || !challenge.refuses(claims)) continue;
        challenge.left -= 1;
        if (challenge.left === 0) challenges.delete(challenge);
        throw problem(challenge.claims, challenge.header);
      }
    },
  };
}

/** A challenge made on purpose may be no JSON at all. */
function contextsOf(claims: string | undefined): string[] {
  try {
    const value: unknown = JSON.parse(claims ?? "{}");
    const wanted = isObject(value) && isObject(value.access_token) ? value.access_token : {};
    return requestedValues(wanted.acrs);
  } catch {
    return [];
  }
}
