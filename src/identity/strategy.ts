/** Strategy: what the two passport strategies share, so that a token's fate does not depend on the library. */

import type { KeyObject } from "node:crypto";
import { GatewayError } from "../errors.ts";
import type { ClaimsPolicyOptions, PrincipalOf } from "./claims-policy.ts";
import { decodeCompactJwt, readCompactJwt } from "./compact-jwt.ts";
import type { TenantKeys } from "./key-set.ts";
import { type Expected, explainRefusal } from "./misdirected.ts";
import { type RejectionReason, tokenRejected } from "./rejection.ts";

/** All that a strategy may see of a request. */
export interface BearerRequest {
  readonly headers: { readonly authorization?: string | undefined };
}

/** What is needed to verify one token, once it has been found worth verifying. */
export interface Admission {
  readonly key: KeyObject;
  /** The only `iss` that this token may have. */
  readonly issuer: string;
}

export interface StrategyOptions
  extends Pick<ClaimsPolicyOptions, "audiences" | "clockToleranceSeconds" | "now"> {
  /**
   * Everything that can be settled before the signature. Rejects with GatewayError `token_rejected` or
   * `key_set_unavailable`.
   */
  readonly admit: (token: string) => Promise<Admission>;
  /** Maps claims whose signature has been verified. */
  readonly principalOf: PrincipalOf;
}

interface ExpectedTokens extends Expected {
  /** Scopes of this gateway that its public metadata names; empty where it publishes none. */
  readonly publishedScopes: () => readonly string[];
}

export interface AdmissionOptions extends ExpectedTokens {
  readonly principalOf: PrincipalOf;
  readonly keys: Pick<TenantKeys, "find">;
}

/**
 * The pre-check: form, header and claims are looked at first, although nothing proves them yet, because a token that
 * would be refused in any case is worth neither a signature check nor a request to the authority.
 */
export function createAdmission({
  principalOf,
  keys,
  ...expected
}: AdmissionOptions): StrategyOptions["admit"] {
  const { authority } = expected;

  async function admit(token: string): Promise<Admission> {
    const { keyId, claims } = readCompactJwt(token);
    const unproven = principalOf(claims);
    const key = await keys.find(keyId, unproven);
    const issuer = authority.issuer(unproven.tenantId, unproven.tokenVersion);
    if (claims.iss !== issuer) throw tokenRejected("issuer");
    return { key, issuer };
  }

  return async (token) => {
    try {
      return await admit(token);
    } catch (refusal) {
      throw refusal instanceof GatewayError && refusal.code === "token_rejected"
        ? explained(refusal, token, expected)
        : refusal;
    }
  };
}

/** The same refusal, with the reason that helps its caller most and the scope to ask for. */
function explained(refusal: GatewayError, token: string, expected: ExpectedTokens): GatewayError {
  const reason = refusal.reason as RejectionReason;
  if (reason === "malformed") return refusal;
  return tokenRejected(explainRefusal({ reason, ...decodeCompactJwt(token) }, expected), {
    scopes: expected.publishedScopes(),
  });
}

/** The bearer token of a request made by `standInRequest`. */
export function tokenOf({ headers }: BearerRequest): string {
  return headers.authorization?.slice("Bearer ".length) ?? "";
}

/** A request that holds nothing but the token: whatever else the caller sent is out of a library's reach. */
export function standInRequest(token: string): { headers: { authorization: string } } {
  return { headers: { authorization: `Bearer ${token}` } };
}

/** Ends a strategy with a refusal: passport's `fail` is the caller's fault, its `error` is not. */
export function refuse(
  strategy: { fail(challenge: object): void; error(error: unknown): void },
  refusal: unknown,
): void {
  if (refusal instanceof GatewayError && refusal.code === "token_rejected") strategy.fail(refusal);
  else if (refusal instanceof GatewayError) strategy.error(refusal);
  else strategy.fail(tokenRejected("internal", { cause: refusal }));
}

/**
 * For a strategy that finds itself asked directly. Passport derives an object per request only from a strategy that
 * is named; one that is handed over is shared by concurrent requests, and one caller would get another's principal.
 */
export function sharedStrategy(): Error {
  return new Error("register the strategy with passport and authenticate by its name");
}
