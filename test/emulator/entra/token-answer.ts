/** The body of a successful token answer, the same for every grant that speaks for a user. */

import type { EmulatorOptions } from "../handle.ts";
import type { Claims } from "../jws.ts";
import type { AccessTokenRequest, TokenFactory } from "./access-tokens.ts";
import type { AuthenticatedClient } from "./client-authentication.ts";
import type { Directory } from "./directory.ts";
import type { SigningKeys } from "./keys.ts";
import { requestedValues } from "./mint.ts";
import type { RefreshGrant, RefreshTokens } from "./refresh-tokens.ts";
import { EntraRefusal } from "./refusal.ts";
import { consentedScopes, OIDC_SCOPES, type RequestedResource, wants } from "./scopes.ts";
import { type SignIn, signInClaims } from "./sign-in.ts";
import type { TokenForm } from "./token-request.ts";

const PLAIN_LIFETIME_SECONDS = 4_500;
const LONG_LIFETIME_SECONDS = 86_399;

export interface UserAnswerRequest {
  readonly form: TokenForm;
  readonly client: AuthenticatedClient;
  readonly signIn: SignIn;
  /** The resource that the token is for, and the scopes as the client wrote them. */
  readonly wanted: RequestedResource;
  readonly scopes: readonly string[];
  /** `access_token` member of the claims request. */
  readonly requested: Claims;
  /** Of the ID token. */
  readonly idTokenClaims?: Claims;
  /** Who may renew, where `offline_access` is asked for. */
  readonly refresh: Omit<RefreshGrant, "clientId" | "signIn">;
}

export interface TokenAnswers {
  /** @throws {EntraRefusal} where consent is missing. */
  forUser(request: UserAnswerRequest): Record<string, unknown>;
  forApplication(request: Omit<AccessTokenRequest, "lifetimeSeconds">): Record<string, unknown>;
}

export function createTokenAnswers(parts: {
  readonly directory: Directory;
  readonly keys: SigningKeys;
  readonly tokens: TokenFactory;
  readonly refreshTokens: RefreshTokens;
  readonly lifetimes: NonNullable<EmulatorOptions["tokenLifetimeSeconds"]>;
}): TokenAnswers {
  const { directory, keys, tokens, refreshTokens, lifetimes } = parts;
  const plainLifetime = lifetimes.plain ?? PLAIN_LIFETIME_SECONDS;

  const issued = (request: AccessTokenRequest) => ({
    token_type: "Bearer",
    expires_in: request.lifetimeSeconds,
    ext_expires_in: request.lifetimeSeconds,
    access_token: tokens.accessToken(request, keys.active()),
  });

  return {
    forUser(request) {
      const { form, client, signIn, wanted, scopes, requested } = request;
      const { application } = client;
      const { tenantId, userObjectId } = signIn;
      const user = directory.findUser(userObjectId, tenantId);
      if (user === undefined) throw new EntraRefusal(50034);
      const granted = [
        ...consentedScopes(wanted, application, directory, { tenantId, userObjectId }),
        // A token for who the user is, and nothing else.
        ...(wanted.names.length === 0 ? scopes.filter(isIdentityScope) : []),
      ];
      const capable = requestedValues(requested.xms_cc).some((value) => value.toLowerCase() === "cp1");
      const token: AccessTokenRequest = {
        cloud: form.cloud,
        tenant: { id: tenantId },
        resource: wanted.resource,
        audience: audienceOf(wanted),
        version: wanted.resource.accessTokenVersion,
        clientId: application.clientId,
        clientAuthentication: client.authentication,
        user,
        scopes: granted,
        lifetimeSeconds: capable ? (lifetimes.longLived ?? LONG_LIFETIME_SECONDS) : plainLifetime,
        claims: { ...signInClaims(signIn), ...(capable ? { xms_cc: ["CP1"] } : {}) },
      };
      return {
        ...issued(token),
        scope: scopeOf(wanted, granted),
        ...(wants(scopes, "offline_access")
          ? {
              refresh_token: refreshTokens.issue({
                clientId: application.clientId,
                signIn,
                ...request.refresh,
              }),
            }
          : {}),
        ...(wants(scopes, "openid")
          ? { id_token: tokens.idToken(token, keys.active(), request.idTokenClaims) }
          : {}),
        ...(form.parameters.get("client_info") === "1"
          ? { client_info: clientInfo(userObjectId, tenantId) }
          : {}),
      };
    },
    forApplication: (request) => issued({ ...request, lifetimeSeconds: plainLifetime }),
  };
}

export function audienceOf({ resource, identifier }: RequestedResource): string {
  return resource.accessTokenVersion === 2 ? resource.clientId : identifier;
}

/** What MSAL names an account by. */
export function clientInfo(uid: string, utid: string): string {
  return Buffer.from(JSON.stringify({ uid, utid })).toString("base64url");
}

function scopeOf({ identifier, names, isQualified }: RequestedResource, granted: readonly string[]): string {
  const listed = names.includes(".default") ? [...granted, ".default"] : granted;
  return listed
    .map((name) => (isQualified && !isIdentityScope(name) ? `${identifier}/${name}` : name))
    .join(" ");
}

function isIdentityScope(scope: string): boolean {
  return scope !== "offline_access" && OIDC_SCOPES.includes(scope);
}
