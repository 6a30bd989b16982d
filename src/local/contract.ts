/** Types that the files of this room share: what is configured for an API, and what a request for a token may ask. */

import type { AssertAllowed } from "../downstream/contract.ts";
import type { CallableApi } from "../http/code-route.ts";
import type { RoutePolicy } from "../identity/contract.ts";

/** What the configuration says of one API. */
export interface LocalApiRules {
  readonly requiredScopes: readonly string[];
  readonly requiredRoles: readonly string[];
  readonly allowedClients: readonly string[];
  /** Which options of a request may differ from the configured ones. */
  readonly overrides: readonly ("scopes" | "tenant")[];
  /** Whether tokens of the application itself are given. */
  readonly applicationTokens: boolean;
  /** Paths that may be called through the gateway; undefined is any. */
  readonly allow?: readonly string[] | undefined;
}

/** An API whose tokens the local API gives. */
export interface LocalApi extends LocalApiRules {
  readonly name: string;
  readonly scopes: readonly string[];
  /** For tokens of users. */
  readonly policy: RoutePolicy;
  readonly callable: CallableApi;
  readonly assertAllowed: AssertAllowed | undefined;
}

/** What a request asks of its token, as it was written. */
export interface TokenWish {
  /** In place of the configured ones. */
  readonly scopes: readonly string[] | undefined;
  /** Tenant of the token. */
  readonly tenant: string | undefined;
  /** Claims request as decoded JSON text, from a challenge of the API. */
  readonly claims: string | undefined;
  /** No token from the cache. */
  readonly fresh: boolean;
  /** A token of the application itself, not of the caller. */
  readonly asApplication: boolean;
}

/** Names of the fields that tell an API behind a proxy who calls. */
export interface IdentityFields {
  readonly user?: string | undefined;
  readonly tenant?: string | undefined;
  readonly client?: string | undefined;
  readonly scopes?: string | undefined;
  readonly roles?: string | undefined;
}
