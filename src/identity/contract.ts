/** What the identity room hands to the others: the authority, the verified caller, and the port that verifies. Types only. */

import type { GatewayError } from "../errors.ts";
import type { Owner } from "../foundation/budget.ts";
import type { Secret } from "../foundation/secret.ts";

/**
 * Group memberships as the token states them. A token of a user in more than 200 groups names a link instead
 * of the groups (`_claim_names`); that is "unknown", and must never read as "none".
 */
export type Groups =
  | { readonly kind: "listed"; readonly ids: readonly string[] }
  | { readonly kind: "overage" }
  | { readonly kind: "absent" };

/** The caller, copied claim by claim from a token whose signature and claims have been checked. Frozen. */
export interface Principal {
  /** `user` for a delegated token, `app` for an application's own. */
  readonly kind: "user" | "app";
  /** `tid`, lower case. */
  readonly tenantId: string;
  /** `oid`: the user's (or service principal's) object id in that tenant. */
  readonly objectId: string;
  /** `sub`: pairwise, differs per application. */
  readonly subject: string;
  /** `azp` (v2) or `appid` (v1): the client that presented the token. */
  readonly clientId: string;
  /** `ver`. */
  readonly tokenVersion: "1.0" | "2.0";
  /** `scp`, split; empty for an application. */
  readonly scopes: readonly string[];
  /** `roles`. */
  readonly roles: readonly string[];
  readonly groups: Groups;
  /** `acrs`: authentication contexts that the sign-in satisfied. */
  readonly authContexts: readonly string[];
  /** Whether the client declared `cp1` in `xms_cc`, any case, and so understands a claims challenge. */
  readonly acceptsClaimsChallenge: boolean;
  /** `exp`, ms since the epoch. */
  readonly expiresAt: number;
}

/** The caller's validated token in its role as OBO `assertion` (Entra, v2-oauth2-on-behalf-of-flow). */
export interface UserAssertion {
  readonly token: Secret;
  /** Base64url SHA-256 of the token: its identity in caches and logs. */
  readonly digest: string;
  /** Tenant whose authority the exchange must address; always from the validated token, never from a request. */
  readonly tenantId: string;
  /** `oid` of the user the token speaks for. */
  readonly objectId: string;
  /** `exp`, ms since the epoch. No downstream token obtained with this assertion may be served past it. */
  readonly expiresAt: number;
}

/** A validated call: the principal for everyone, the assertion for the exchange alone. */
export interface VerifiedCaller {
  readonly principal: Principal;
  readonly assertion: UserAssertion;
  /** For whom the other rooms hold places, bytes and slots, so that one caller takes no more than a share of them. */
  readonly owner: Owner;
}

export type Cloud =
  | "public"
  | "us-government"
  | "china"
  | "france"
  | "germany"
  | "singapore"
  /** Microsoft Entra External ID: a host below ciamlogin.com. */
  | "external-id"
  /** A host that is not listed: a custom domain, an emulator, a proxy, a younger cloud. Trusted as configured. */
  | "private";

/** `ver`: which form an API's registration asks for. */
export type TokenVersion = Principal["tokenVersion"];

/** The members of an OpenID Connect discovery document that the gateway goes by. */
export interface Discovered {
  readonly issuer: string;
  readonly tokenEndpoint?: string | undefined;
  readonly authorizeEndpoint?: string | undefined;
}

export interface Authority {
  readonly cloud: Cloud;
  /** Scheme, host and, where it is not 443, port; without trailing slash. Aliases are resolved to the preferred host. */
  readonly origin: string;
  /** `host[:port]`, the spelling in which MSAL wants a known authority. */
  readonly host: string;
  /** `cloud_instance_name` of this cloud's keys, where it is known: for metadata that does not state its own. */
  readonly cloudInstanceName: string | undefined;
  /** `aud` that a federated credential's assertion carries by default in this cloud. */
  readonly federatedCredentialAudience: string;
  /** OpenID Connect discovery document of a tenant (or `common`); each token version has its own. */
  metadataUrl(tenant: string, version: TokenVersion): string;
  /**
   * `iss` of that tenant's tokens: as its discovery document stated it where that was read, else as it is expected.
   * `{tenantid}` as tenant gives the template that multi-tenant documents state.
   */
  issuer(tenantId: string, version: TokenVersion): string;
  /** Every `iss` that the tenant's discovery document may state, each of them bound to the tenant's id. */
  issuers(tenantId: string, version: TokenVersion): readonly string[];
  /** Whether keys and endpoints of a tenant may stand at this address: at the authority's origin or the tenant's. */
  isTrusted(url: string, tenantId: string): boolean;
  /**
   * Takes note of what a tenant's discovery document states (`common` for those of any tenant). What it may not state
   * is passed over.
   */
  learn(tenant: string, version: TokenVersion, discovered: Discovered): void;
  /** v2 token endpoint of a tenant. */
  tokenEndpoint(tenant: string): string;
  /** v2 authorization endpoint of a tenant. */
  authorizeEndpoint(tenant: string): string;
}

/** What a route asks of a principal. All parts must be met; an empty list asks nothing. */
export interface RoutePolicy {
  /** Any one of them in `scp`. Asked of users only: an application has no scopes. */
  readonly requiredScopes: readonly string[];
  /** Any one of them in `roles`. */
  readonly requiredRoles: readonly string[];
  /** Client ids. Narrows the gateway's own list. */
  readonly allowedClients: readonly string[];
  readonly callers: "user" | "app" | "any";
  /** Authentication context (`c1`) that the sign-in must have satisfied. */
  readonly authContext?: string;
}

/** Three outcomes that must never be confused: granted, the caller has to act, the authority has to answer. */
export type Verification =
  | { readonly outcome: "verified"; readonly caller: VerifiedCaller }
  | { readonly outcome: "rejected"; readonly error: GatewayError<"token_missing" | "token_rejected"> }
  | { readonly outcome: "unavailable"; readonly error: GatewayError<"key_set_unavailable"> };

export interface TokenVerifier {
  /**
   * Verifies the values of a request's `Authorization` header fields (RFC 6750 §2.1: none is `token_missing`, more
   * than one is `token_rejected`). Sees nothing else of the request, so a token in a body or query is invisible.
   * Never throws or rejects: whatever the token or the authority does ends in one of the three outcomes. The answer
   * for a token that was verified a moment ago is there at once, since most requests bring one.
   */
  verify(authorization: readonly string[]): Verification | Promise<Verification>;
  /** The caller whose token was verified a moment ago; undefined where the token would have to be verified now. */
  recognize(authorization: readonly string[]): VerifiedCaller | undefined;
  /** The user of whom a token speaks that has not been verified: of no worth but to tell callers who wait apart. */
  claimedUser(authorization: readonly string[]): string | undefined;
  /** Whether signing keys are at hand, so that a genuine token would be verified right now. */
  ready(): boolean;
  /** Fetches keys until there are some; resolves when `ready()` would be true. */
  warmUp(signal?: AbortSignal): Promise<void>;
  /** Stops background refresh. */
  close(): void;
}

/** What happened in the room, for metrics and logs. Holds nothing of a token. */
export type TokenVerifierEvent =
  | KeySetEvent
  | { readonly type: "token_verified"; readonly origin: "cache" | "signature" };

export type KeySetEvent =
  /** `changed` is false when the authority published the same keys as before. */
  | {
      readonly type: "key_set_refreshed";
      readonly keySet: string;
      readonly keys: number;
      readonly changed: boolean;
    }
  /** The error's reason and diagnostics say why: the document, its status, Entra's `error` and AADSTS numbers. */
  | {
      readonly type: "key_set_failed";
      readonly keySet: string;
      readonly error: GatewayError<"key_set_unavailable">;
    }
  /** A token named a key that is not in the set. `refetched` tells whether the set was read again for it. */
  | { readonly type: "key_unknown"; readonly keySet: string; readonly refetched: boolean };
