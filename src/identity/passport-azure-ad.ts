/** Default verifier: passport-azure-ad's BearerStrategy, reduced to "verify this token with this key". */

import type passport from "passport";
import BearerStrategy, {
  type LoadMetadata,
  type VerifyCallback,
} from "passport-azure-ad/lib/bearerstrategy.js";
import { tokenRejected } from "./rejection.ts";
import {
  type Admission,
  type BearerRequest,
  refuse,
  type StrategyOptions,
  sharedStrategy,
  standInRequest,
  tokenOf,
} from "./strategy.ts";

const OVERRIDDEN = ["authenticate", "loadMetadata", "failWithLog"] as const;

/**
 * The package is no longer maintained. It verifies well; what surrounds that can end the process or hang every later
 * request when metadata is odd, reads tokens from bodies, and answers with internal messages. None of it is reached:
 *
 * - the parent sees a request that holds nothing but the Authorization header;
 * - `loadMetadata` hands over issuer, algorithm and key, settled before it runs; nothing is fetched and nothing is
 *   kept in the module's own cache, and the header's `x5t`, which the parent would prefer to `kid`, chooses nothing;
 * - `failWithLog` ends in a refusal of ours instead of an internal message;
 * - the verify callback is synchronous and cannot throw: it runs in `process.nextTick`, where a throw would end the
 *   process.
 *
 * @throws {Error} when the installed package lacks what is overridden here: an override that overrides nothing would
 * leave the parent's behaviour in force without a sign.
 */
export function createPassportAzureAdStrategy(options: StrategyOptions): passport.Strategy {
  for (const method of OVERRIDDEN)
    if (typeof BearerStrategy.prototype[method] !== "function")
      throw new Error(
        `passport-azure-ad has no BearerStrategy.${method}; install exactly the pinned version`,
      );

  const { admit, principalOf } = options;

  const verify: VerifyCallback = (claims, done) => {
    let outcome: Parameters<typeof done>;
    try {
      outcome = [null, principalOf(claims)];
    } catch (refusal) {
      outcome = [refusal];
    }
    done(...outcome);
  };

  class HardenedBearerStrategy extends BearerStrategy {
    /** Of one request: passport derives an object from this strategy for each request that names it. */
    admission: Admission | undefined;

    override authenticate(request: BearerRequest): void {
      if (this === strategy) {
        this.error(sharedStrategy());
        return;
      }
      const token = tokenOf(request);
      admit(token)
        .then((admission) => {
          this.admission = admission;
          super.authenticate(standInRequest(token));
        })
        .catch((refusal: unknown) => refuse(this, refusal));
    }

    override loadMetadata(_parameters: unknown, next: LoadMetadata): void {
      const { admission } = this;
      if (admission === undefined) throw new Error("not admitted");
      next(null, {
        oidc: { issuer: admission.issuer, algorithms: ["RS256"] },
        generateOidcPEM: () => admission.key,
      });
    }

    /** Claims were checked before, so what is left to fail is the signature. The parent's message is dropped. */
    override failWithLog(): void {
      refuse(this, tokenRejected("signature"));
    }
  }

  const strategy = new HardenedBearerStrategy(
    {
      // Required, but never fetched. Must not contain /common/, which would switch issuer validation to a list.
      identityMetadata: "https://metadata.invalid/.well-known/openid-configuration",
      // Only the default audience is made of it, and audiences are given.
      clientID: "unused",
      audience: [...options.audiences],
      validateIssuer: true,
      clockSkew: clockSkewOf(options),
      loggingNoPII: true,
      // Not `scope`, which crashes on a claim of another type; never `passReqToCallback` nor `ignoreExpiration`.
      loggingLevel: "fatal",
    },
    verify,
  );
  return strategy;
}

/**
 * The parent reads the system's clock and no other. Where the gateway was given another clock, its window is opened
 * so wide that it decides nothing, and the claims policy alone decides about time.
 */
function clockSkewOf({ now, clockToleranceSeconds }: StrategyOptions): number {
  // 0 would be read as the default of 300.
  return now === Date.now ? Math.max(1, clockToleranceSeconds) : Number.MAX_SAFE_INTEGER;
}
