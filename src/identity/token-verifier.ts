/** Token verifier: an Authorization header goes in, a verified caller or the reason why not comes out. */

import passport from "passport";
import { ConfigurationError, GatewayError, type GatewayErrorCode } from "../errors.ts";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import { type ClaimsPolicyOptions, createClaimsPolicy } from "./claims-policy.ts";
import { readBearerToken, readClaimedUser } from "./compact-jwt.ts";
import type {
  Principal,
  TokenVerifier,
  TokenVerifierEvent,
  Verification,
  VerifiedCaller,
} from "./contract.ts";
import { createTenantKeys, type KeySetTimings, type Schedule, scheduleTimeout } from "./key-set.ts";
import { tokenRejected } from "./rejection.ts";
import { type BearerRequest, createAdmission, type StrategyOptions, standInRequest } from "./strategy.ts";
import { createVerifiedTokens, type VerifiedTokensOptions } from "./verified-tokens.ts";

export interface TokenVerifierOptions extends Omit<ClaimsPolicyOptions, "now"> {
  readonly verifier: "passport-azure-ad" | "jose";
  /**
   * Scopes of this gateway that its public metadata names, for refusals of tokens that were meant for something else.
   * Default: none, and the refusal names none.
   */
  readonly publishedScopes?: () => readonly string[];
  /** How metadata and keys are fetched. */
  readonly fetch: Fetch;
  /** Ms since the epoch; default `Date.now`. */
  readonly now?: () => number;
  /**
   * How far this host's clock is ahead of the authority's, ms (negative: behind), by the `Date` of its latest answers;
   * undefined while that is not known. Default: not known.
   */
  readonly clockDriftMs?: () => number | undefined;
  readonly keySet: KeySetTimings;
  readonly cache: Omit<VerifiedTokensOptions, "now">;
  /** Timer of the background refresh; default an unreferenced `setTimeout`. */
  readonly schedule?: Schedule;
  readonly onEvent?: (event: TokenVerifierEvent) => void;
}

/** Only the one that is asked for is loaded, with what it depends on. */
const STRATEGIES: Readonly<
  Record<TokenVerifierOptions["verifier"], () => Promise<(options: StrategyOptions) => passport.Strategy>>
> = {
  "passport-azure-ad": async () => (await import("./passport-azure-ad.ts")).createPassportAzureAdStrategy,
  jose: async () => (await import("./jose.ts")).createJoseStrategy,
};

type Authenticate = (request: BearerRequest, response: unknown, next: (error?: unknown) => void) => void;

/**
 * A verifier over its own passport instance, so that nothing else in the process can add a strategy to it. Nothing is
 * fetched before `warmUp` or the first plausible token.
 *
 * @throws {ConfigurationError} when there is no tenant or no audience to accept.
 */
export async function createTokenVerifier(options: TokenVerifierOptions): Promise<TokenVerifier> {
  checkOptions(options);
  const createStrategy = await STRATEGIES[options.verifier]();
  const { authority, now = Date.now, onEvent = () => {} } = options;
  const tokenTime = createTokenTime(now, options.clockDriftMs);
  const cache = createVerifiedTokens({ ...options.cache, now: tokenTime });
  const keys = createTenantKeys({
    authority,
    tenants: options.tenants,
    fetch: options.fetch,
    now,
    schedule: options.schedule ?? scheduleTimeout,
    timings: options.keySet,
    onChange: cache.clear,
    onEvent,
  });
  const principalOf = createClaimsPolicy({ ...options, now: tokenTime });
  const authenticator = new passport.Passport();
  // Registered and asked for by name: only then does passport derive a strategy object per request.
  authenticator.use(
    options.verifier,
    createStrategy({
      admit: createAdmission({
        principalOf,
        keys,
        authority,
        audiences: options.audiences,
        publishedScopes: options.publishedScopes ?? (() => []),
      }),
      principalOf,
      audiences: options.audiences,
      clockToleranceSeconds: options.clockToleranceSeconds,
      now: tokenTime,
    }),
  );

  function authenticate(token: string): Promise<Principal> {
    return new Promise((resolve, reject) => {
      const run: Authenticate = authenticator.authenticate(
        options.verifier,
        { session: false },
        (error: unknown, principal?: Principal | false | null, refusal?: unknown) => {
          if (principal) resolve(principal);
          else reject(error ?? refusal);
        },
      );
      run(standInRequest(token), undefined, reject);
    });
  }

  async function verifyAnew(
    authorization: readonly string[],
    unknown: string | undefined,
  ): Promise<VerifiedCaller> {
    const token = readBearerToken(authorization);
    const known = token === unknown ? undefined : cache.get(token);
    if (known !== undefined) {
      onEvent(FROM_CACHE);
      return known;
    }
    const generation = cache.generation();
    const principal = await authenticate(token);
    const caller = cache.add(token, principal, generation);
    onEvent({ type: "token_verified", origin: "signature" });
    return caller;
  }

  return {
    verify(authorization) {
      try {
        const token = usuallySpelt(authorization);
        const known = token === undefined ? undefined : cache.get(token);
        if (known === undefined) return verifyAnew(authorization, token).then(verified, explain);
        onEvent(FROM_CACHE);
        return verified(known);
      } catch (error) {
        return explain(error);
      }
    },
    recognize(authorization) {
      const token = usuallySpelt(authorization);
      return token === undefined ? undefined : cache.get(token);
    },
    claimedUser(authorization) {
      const token = usuallySpelt(authorization);
      return token === undefined ? undefined : readClaimedUser(token);
    },
    ready: keys.ready,
    warmUp: keys.warmUp,
    close: keys.close,
  };
}

/** A clock that is further behind is no drift, and the answers that say so may be wrong. */
const MOST_DRIFT_MS = 10 * 60_000;

/**
 * The time by which tokens are looked at. A host whose clock is behind would refuse each fresh token as not valid yet and
 * blame the caller, so there it is the authority's time, which came over TLS with its latest answers. Time is only ever
 * moved ahead: an expired token is refused earlier by that, never later. A host whose clock is ahead keeps its own time:
 * it refuses tokens as expired before they are, and the caller's renewal helps.
 */
function createTokenTime(
  now: () => number,
  clockDriftMs: TokenVerifierOptions["clockDriftMs"],
): () => number {
  // Untouched where there is no drift to ask for: the parent of one strategy reads the system's clock alone.
  if (clockDriftMs === undefined) return now;
  return () => {
    const behindMs = -(clockDriftMs() ?? 0);
    return behindMs > 0 && behindMs <= MOST_DRIFT_MS ? now() + behindMs : now();
  };
}

const FROM_CACHE: TokenVerifierEvent = { type: "token_verified", origin: "cache" };

/**
 * What follows `Bearer `, its grammar unread: nothing but a token that was verified can equal one, so for that it needs
 * no look.
 */
function usuallySpelt(authorization: readonly string[]): string | undefined {
  const [value = ""] = authorization;
  const isUsual = value.startsWith("Bearer ") && authorization.length === 1;
  return isUsual ? value.slice("Bearer ".length) : undefined;
}

function verified(caller: VerifiedCaller): Verification {
  return { outcome: "verified", caller };
}

function checkOptions({ tenants, audiences }: TokenVerifierOptions): void {
  const faults = [
    ...(tenants.length === 0 ? [{ path: "identity.tenants", problem: "name at least one tenant" }] : []),
    ...(tenants.length > 1 && tenants.includes("*")
      ? [{ path: "identity.tenants", problem: '"*" stands alone: it already accepts every tenant' }]
      : []),
    ...(audiences.length === 0
      ? [{ path: "identity.audiences", problem: "name at least one audience" }]
      : []),
  ];
  if (faults.length > 0) throw new ConfigurationError(faults);
}

/** Fails closed: an error that is not one of ours is no reason to let anybody in, nor to end the process. */
function explain(error: unknown): Verification {
  if (hasCode(error, "key_set_unavailable")) return { outcome: "unavailable", error };
  if (hasCode(error, "token_missing") || hasCode(error, "token_rejected"))
    return { outcome: "rejected", error };
  return { outcome: "rejected", error: tokenRejected("internal", { cause: error }) };
}

function hasCode<Code extends GatewayErrorCode>(error: unknown, code: Code): error is GatewayError<Code> {
  return error instanceof GatewayError && error.code === code;
}
