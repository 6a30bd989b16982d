/** Continuous access evaluation: tokens that Graph does not accept any more, and the challenge it answers with. */

import type { Directory, Registration } from "../entra/directory.ts";
import { requestedValues } from "../entra/mint.ts";
import type {
  GraphChallengeOptions,
  GraphControl,
  GraphThrottleOptions,
  Removable,
  UserRef,
} from "../handle.ts";
import { type Claims, isObject } from "../jws.ts";
import type { Sessions } from "../sessions.ts";
import { GraphProblem } from "./answer.ts";
import type { DelegatedCaller } from "./delegated-token.ts";

interface Challenge {
  readonly userObjectId: string;
  readonly claims: string;
  readonly header: string | undefined;
  readonly path: string | undefined;
  readonly refuses: (claims: Claims) => boolean;
  left: number;
}

export interface GraphChallenges extends Omit<GraphControl, "acceptedPermissions" | "enforcePermissions"> {
  /** For a request as a whole. @throws {GraphProblem} 401 with a claims challenge */
  check(caller: DelegatedCaller): void;
  /** For one call, a part of a batch included. @throws {GraphProblem} 401 with a claims challenge, or 429 */
  checkCall(caller: DelegatedCaller, path: string): void;
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
  const throttles = new Set<GraphThrottleOptions & { left: number }>();
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

  const challengeAt = (caller: DelegatedCaller, isMeant: (path: string | undefined) => boolean): void => {
    if (!isCapable(caller)) return;
    for (const challenge of challenges) {
      const concerns = challenge.userObjectId === caller.user.objectId && isMeant(challenge.path);
      if (!concerns || !challenge.refuses(caller.claims)) continue;
      challenge.left -= 1;
      if (challenge.left === 0) challenges.delete(challenge);
      throw problem(challenge.claims, challenge.header);
    }
  };

  return {
    challenge(ref: UserRef, options: GraphChallengeOptions = {}): Removable {
      const contexts = contextsOf(options.claims);
      const issuedBefore = sessions.issuedUntilNow();
      const challenge: Challenge = {
        userObjectId: directory.user(ref).objectId,
        claims: options.claims ?? nbfClaims(),
        header: options.header,
        path: options.path,
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
    throttle(options = {}) {
      const throttle = { ...options, left: options.times ?? Number.POSITIVE_INFINITY };
      throttles.add(throttle);
      return { remove: () => void throttles.delete(throttle) };
    },
    clearChallenges() {
      challenges.clear();
      throttles.clear();
    },
    check(caller) {
      if (isCapable(caller) && sessions.isRevoked(caller.claims)) throw problem(nbfClaims(), undefined);
      challengeAt(caller, (path) => path === undefined);
    },
    checkCall(caller, called) {
      for (const throttle of throttles) {
        if (!called.includes(throttle.path ?? "")) continue;
        throttle.left -= 1;
        if (throttle.left === 0) throttles.delete(throttle);
        const { retryAfter } = throttle;
        throw new GraphProblem(
          429,
          "TooManyRequests",
          "Too many requests.",
          retryAfter === undefined ? {} : { "Retry-After": String(retryAfter) },
        );
      }
      challengeAt(caller, (path) => path !== undefined && called.includes(path));
    },
  };
}

/** Without the capability a token simply lives out its hour. */
function isCapable({ claims }: DelegatedCaller): boolean {
  return [claims.xms_cc].flat().some((value) => String(value).toLowerCase() === "cp1");
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
