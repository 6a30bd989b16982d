/** Second verifier: jose behind the same port, as a passport strategy of our own. */

import { errors, jwtVerify } from "jose";
import type passport from "passport";
import { tokenRejected } from "./rejection.ts";
import { refuse, type StrategyOptions, sharedStrategy, tokenOf } from "./strategy.ts";

/** Keys come from the key set, not from jose's remote set: that one serves no stale keys when the authority is down. */
export function createJoseStrategy(options: StrategyOptions): passport.Strategy {
  const { admit, principalOf, audiences, clockToleranceSeconds, now } = options;

  async function verify(token: string) {
    const { key, issuer } = await admit(token);
    const { payload } = await jwtVerify(token, key, {
      algorithms: ["RS256"],
      typ: "JWT",
      issuer,
      audience: [...audiences],
      clockTolerance: clockToleranceSeconds,
      currentDate: new Date(now()),
    });
    return principalOf(payload);
  }

  const strategy: passport.Strategy = {
    authenticate(request) {
      if (this === strategy) this.error(sharedStrategy());
      else
        verify(tokenOf(request)).then(
          (principal) => this.success(principal),
          // Claims were checked before, so what is left to fail in jose is the signature. Its errors carry the claims
          // of the token and are dropped for that.
          (error: unknown) =>
            refuse(this, error instanceof errors.JOSEError ? tokenRejected("signature") : error),
        );
    },
  };
  return strategy;
}
