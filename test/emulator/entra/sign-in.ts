/** How a user proved who she is; browser sessions, codes and refresh tokens carry it. */

import type { User } from "../handle.ts";
import type { Claims } from "../jws.ts";
import type { Sessions } from "../sessions.ts";

export interface SignIn {
  readonly userObjectId: string;
  readonly tenantId: string;
  /** Seconds since the epoch: `auth_time`. */
  readonly at: number;
  /** `amr`: `pwd`, and `mfa` after a second factor. */
  readonly methods: readonly string[];
  /** `acrs`: authentication contexts that this sign-in satisfies. */
  readonly contexts: readonly string[];
  /** Its place in the order of issue, against which revocations are compared. */
  readonly id: string;
}

export function newSignIn(user: User, sessions: Sessions, now: () => number): SignIn {
  return {
    userObjectId: user.objectId,
    tenantId: user.tenantId,
    at: Math.floor(now() / 1000),
    methods: ["pwd"],
    contexts: [],
    id: sessions.nextTokenId(),
  };
}

/** A second factor was given, for these contexts among others. */
export function withSecondFactor(signIn: SignIn, contexts: readonly string[], now: () => number): SignIn {
  return {
    ...signIn,
    at: Math.floor(now() / 1000),
    methods: ["pwd", "mfa"],
    contexts: [...new Set([...signIn.contexts, ...contexts])],
  };
}

/** The sign-in behind a user assertion; an access token does not say when the user signed in, so its `iat` has to do. */
export function signInOfAssertion(user: User, claims: Claims, sessions: Sessions): SignIn {
  const texts = (claim: unknown) => [claim].flat().filter((value) => typeof value === "string");
  return {
    userObjectId: user.objectId,
    tenantId: user.tenantId,
    at: Number(claims.iat),
    methods: claims.amr === undefined ? ["pwd"] : texts(claims.amr),
    contexts: texts(claims.acrs),
    id: sessions.nextTokenId(),
  };
}

/** Claims that an access token repeats of the sign-in behind it. `amr` only where it says more than a password. */
export function signInClaims({ methods, contexts }: SignIn): Claims {
  return {
    ...(methods.includes("mfa") ? { amr: methods } : {}),
    ...(contexts.length === 0 ? {} : { acrs: contexts }),
  };
}
