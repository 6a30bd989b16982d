/** Tokens for programs beside the gateway: what a request may ask of one, and how it is obtained. */

import { GatewayError } from "../errors.ts";
import type { DownstreamToken } from "../exchange/contract.ts";
import { parseJsonObject } from "../foundation/json.ts";
import { GUID } from "../foundation/patterns.ts";
import { resourceOf } from "../http/code-route.ts";
import type { ObtainToken, RequestRecord, SecondSide, TokenAccess } from "../http/contract.ts";
import type { LocalApi, TokenWish } from "./contract.ts";
import { createFreshness } from "./freshness.ts";

export interface TokensOptions {
  readonly tokensFor: SecondSide["tokensFor"];
  /** Tenant of the gateway's registration: the application's own, where no user calls. */
  readonly homeTenantId: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/**
 * Rejects with what the API's rules, the exchange or Entra refuse.
 *
 * @param challenge Claims with which the API has refused a token of the same request: no wish of the caller, so it does
 * not count as one.
 */
export type ObtainLocally = (
  record: RequestRecord,
  api: LocalApi,
  wish: TokenWish,
  challenge?: Pick<NonNullable<Parameters<ObtainToken>[0]>, "claims" | "refused">,
) => Promise<DownstreamToken>;

export function createTokens({ tokensFor, homeTenantId, now }: TokensOptions): ObtainLocally {
  const freshness = createFreshness(now);

  /** For the caller, or for the gateway itself in a tenant. */
  function subjectOf(record: RequestRecord, api: LocalApi, wish: TokenWish) {
    const { tenant, asApplication } = wish;
    const { caller } = record;
    const usual = caller?.principal.tenantId ?? homeTenantId;
    const isOther = tenant !== undefined && tenant.toLowerCase() !== usual;
    if (tenant !== undefined && !GUID.test(tenant)) throw malformed("tenant", "A tenant is named by its id.");
    if (!asApplication) {
      // The grant is for the tenant that the user's token is from, and no other would accept it.
      if (isOther)
        throw notAllowed("override_tenant", "A user's token is exchanged in the user's own tenant.");
      return "user";
    }
    if (!api.applicationTokens)
      throw notAllowed(
        "application_tokens",
        `Tokens of the application itself are not given for ${api.name}; local.apis.${api.name}.applicationTokens would allow it.`,
      );
    if (isOther && !api.overrides.includes("tenant")) throw overrideOf("tenant", api);
    return { tenantId: tenant?.toLowerCase() ?? usual };
  }

  /** Once in a while past the cache; in between the token of that time is fresh enough. */
  async function obtainFresh(
    record: RequestRecord,
    tokens: TokenAccess,
    claims: string | undefined,
  ): Promise<DownstreamToken> {
    const { digest, tenantId } = tokens.subject;
    const earlier = freshness.pass(`${digest} ${tenantId}`, claims);
    const held = tokens.recall();
    if (earlier !== undefined) {
      if (claims === undefined || (claims === earlier.claims && held !== undefined))
        return held ?? tokens.obtain({ recalled: true });
      throw new GatewayError("rate_limited", {
        detail: "A token with claims was requested a moment ago for the same user.",
        reason: "claims_repeated",
        retryAfterSeconds: freshness.waitSeconds(earlier.at),
      });
    }
    const refused = held?.accessToken;
    if (claims !== undefined) return tokens.obtain({ claims, ...(refused !== undefined && { refused }) });
    tokens.forget(refused);
    const obtained = await tokens.obtain({ recalled: true });
    if (record.tokenOrigin !== "shared") return obtained;
    // Another process had put it there, and it may be as old as the one that is not wanted.
    tokens.forget(obtained.accessToken);
    return tokens.obtain({ recalled: true });
  }

  return async (record, api, wish, challenge) => {
    const as = subjectOf(record, api, wish);
    const tokens = tokensFor(record, { as, scopes: scopesFor(api, wish) });
    const { claims, fresh } = wish;
    if (claims !== undefined && parseJsonObject(claims) === undefined)
      throw malformed("claims", "Claims are a JSON object, as the API's challenge holds it, decoded.");
    if (challenge?.claims !== undefined) return tokens.obtain(challenge);
    if (fresh || claims !== undefined) return obtainFresh(record, tokens, claims);
    return tokens.recall() ?? tokens.obtain({ recalled: true });
  };
}

/** RFC 6749 §3.3 `scope-token`. */
const SCOPE = /^[\x21\x23-\x5B\x5D-\x7E]{1,512}$/;
const MOST_SCOPES = 32;

/** Scopes of another resource are refused even where scopes may differ: the token is for this API. */
function scopesFor(api: LocalApi, { scopes, asApplication }: TokenWish): readonly string[] {
  if (scopes === undefined || isSame(scopes, api.scopes)) return api.scopes;
  if (!api.overrides.includes("scopes")) throw overrideOf("scopes", api);
  const resource = resourceOf(api.scopes[0] ?? "");
  if (scopes.length > MOST_SCOPES || !scopes.every((scope) => SCOPE.test(scope)))
    throw malformed("scopes", "A scope is ASCII without blanks, and there are few of them.");
  const asked = scopes.map((scope) => (scope.includes("/") ? scope : `${resource}/${scope}`));
  if (asked.some((scope) => resourceOf(scope) !== resource))
    throw notAllowed("override_resource", `The scopes are not of the resource of ${api.name}.`);
  const isDefault = asked.some((scope) => scope.endsWith("/.default"));
  if ((isDefault || asApplication) && !(isDefault && asked.length === 1))
    throw malformed(
      "scopes",
      "The scope .default stands alone, and a token of the application takes no other.",
    );
  return [...new Set(asked)].sort();
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  const one = new Set(some);
  return one.size === new Set(others).size && others.every((scope) => one.has(scope));
}

function overrideOf(option: "scopes" | "tenant", api: LocalApi): GatewayError {
  return notAllowed(
    "override_not_allowed",
    `A request may not change the ${option} of ${api.name}; local.apis.${api.name}.overrides would allow it.`,
  );
}

function notAllowed(reason: string, detail: string): GatewayError {
  return new GatewayError("target_forbidden", { detail, reason });
}

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}
