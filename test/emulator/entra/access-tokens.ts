/** Builds tokens as Entra issues them: v1 and v2 access tokens, Graph's own kind, ID tokens. */

import { createHash, randomBytes } from "node:crypto";
import type { Application, Tenant, User } from "../handle.ts";
import { type Claims, encode, merged, signJws } from "../jws.ts";
import type { Sessions } from "../sessions.ts";
import type { Cloud } from "./clouds.ts";
import type { SigningKey } from "./keys.ts";
import { GRAPH_APP_ID } from "./seed.ts";

const ID_TOKEN_LIFETIME_SECONDS = 3_600;

export interface AccessTokenRequest {
  readonly cloud: Cloud;
  readonly tenant: Pick<Tenant, "id">;
  /** The API that the token is for. */
  readonly resource: Pick<Application, "clientId">;
  readonly audience: string;
  readonly version: 1 | 2;
  readonly clientId: string;
  /** `azpacr` / `appidacr`: 0 public client, 1 secret, 2 certificate or assertion. */
  readonly clientAuthentication: "0" | "1" | "2";
  /** Absent for an application's own token; then `principalId` is the service principal's object id. */
  readonly user?: User;
  readonly principalId?: string;
  readonly scopes: readonly string[];
  readonly lifetimeSeconds: number;
  /** Further claims, merged last; `undefined` deletes. */
  readonly claims?: Claims;
  readonly header?: Claims;
}

export interface TokenFactory {
  accessToken(request: AccessTokenRequest, key: SigningKey): string;
  /** @param claims further ones, such as the `nonce` of the sign-in request. */
  idToken(request: AccessTokenRequest, key: SigningKey, claims?: Claims): string;
}

export function createTokenFactory(now: () => number, sessions: Sessions): TokenFactory {
  const times = (lifetimeSeconds: number) => {
    const iat = Math.floor(now() / 1000);
    return { iat, nbf: iat, exp: iat + lifetimeSeconds };
  };
  const plumbing = () => ({
    aio: randomBytes(48).toString("base64"),
    rh: `1.${randomBytes(24).toString("base64url")}.`,
    uti: sessions.nextTokenId(),
  });
  const who = ({ user, resource, principalId }: AccessTokenRequest) =>
    user === undefined
      ? { oid: principalId, sub: principalId }
      : { oid: user.objectId, sub: pairwiseSubject(user.objectId, resource.clientId) };

  const v2Claims = (request: AccessTokenRequest): Claims => ({
    aud: request.audience,
    iss: request.cloud.v2Issuer(request.tenant.id),
    ...times(request.lifetimeSeconds),
    azp: request.clientId,
    azpacr: request.clientAuthentication,
    ...who(request),
    ...(request.user === undefined
      ? {}
      : {
          name: request.user.displayName,
          preferred_username: request.user.userPrincipalName,
          scp: request.scopes.join(" "),
        }),
    tid: request.tenant.id,
    ver: "2.0",
    xms_ftd: randomBytes(24).toString("base64url"),
    ...plumbing(),
  });

  const v1Claims = (request: AccessTokenRequest): Claims => ({
    aud: request.audience,
    iss: request.cloud.v1Issuer(request.tenant.id),
    ...times(request.lifetimeSeconds),
    appid: request.clientId,
    appidacr: request.clientAuthentication,
    ...who(request),
    ...(request.user === undefined
      ? { idp: request.cloud.v1Issuer(request.tenant.id), idtyp: "app" }
      : {
          acr: "1",
          amr: ["pwd"],
          family_name: request.user.displayName.split(" ").slice(1).join(" "),
          given_name: request.user.displayName.split(" ")[0],
          ipaddr: "203.0.113.7",
          name: request.user.displayName,
          upn: request.user.userPrincipalName,
          unique_name: request.user.userPrincipalName,
          scp: request.scopes.join(" "),
        }),
    tid: request.tenant.id,
    ver: "1.0",
    ...plumbing(),
  });

  return {
    accessToken(request, key) {
      const payload = merged(request.version === 2 ? v2Claims(request) : v1Claims(request), request.claims);
      const header = {
        typ: "JWT",
        alg: "RS256",
        ...(request.version === 1 ? { x5t: key.kid } : {}),
        kid: key.kid,
      };
      if (request.resource.clientId === GRAPH_APP_ID) return signForGraph(header, payload, key);
      return signJws(merged(header, request.header), payload, key.privateKey, key.publicKey);
    },
    idToken(request, key, claims) {
      const {
        azp: _,
        azpacr: _acr,
        scp: _scp,
        xms_ftd: _ftd,
        ...others
      } = v2Claims({
        ...request,
        audience: request.clientId,
        // Its subject is pairwise for the client, not for the API.
        resource: { clientId: request.clientId },
        lifetimeSeconds: ID_TOKEN_LIFETIME_SECONDS,
      });
      return signJws({ typ: "JWT", alg: "RS256", kid: key.kid }, merged(others, claims), key.privateKey);
    },
  };
}

/**
 * The header on the wire shows a nonce and the signature covers its SHA-256, so that nobody but Graph can check
 * it. That Graph's tokens are opaque to others is documented; this way of doing it is from memory.
 */
function signForGraph(header: Claims, payload: Claims, key: SigningKey): string {
  const nonce = randomBytes(32).toString("base64url");
  const signed = signJws({ ...header, nonce: hashedNonce(nonce) }, payload, key.privateKey);
  const [, payloadPart, signature] = signed.split(".");
  return `${encode({ ...header, nonce })}.${payloadPart}.${signature}`;
}

export function hashedNonce(nonce: string): string {
  return createHash("sha256").update(nonce).digest("base64url");
}

/** `sub` differs for each resource. */
export function pairwiseSubject(objectId: string, clientId: string): string {
  return createHash("sha256").update(`${objectId}/${clientId}`).digest("base64url");
}
