/** Graph's own check of the token it is given. */

import { hashedNonce } from "../entra/access-tokens.ts";
import type { Clouds } from "../entra/clouds.ts";
import type { Directory, Registration } from "../entra/directory.ts";
import type { SigningKeys } from "../entra/keys.ts";
import type { User } from "../handle.ts";
import { type Claims, decodeJws, encode, isSignedBy } from "../jws.ts";
import { GraphProblem } from "./answer.ts";

export interface DelegatedCaller {
  readonly user: User;
  readonly scopes: readonly string[];
  readonly claims: Claims;
}

export function createTokenCheck(parts: {
  readonly directory: Directory;
  readonly keys: SigningKeys;
  readonly clouds: Clouds;
  readonly graph: Registration;
  readonly now: () => number;
}): (authorization: string | undefined) => DelegatedCaller {
  const { directory, keys, clouds, graph, now } = parts;
  const challenge = [
    'Bearer realm=""',
    `authorization_uri="${clouds.own.authorityHost}common/oauth2/authorize"`,
    `client_id="${graph.clientId}"`,
  ].join(", ");
  const refused = (message: string) =>
    new GraphProblem(401, "InvalidAuthenticationToken", message, { "WWW-Authenticate": challenge });

  return (authorization) => {
    const token = /^bearer ([^\s,]+)$/i.exec(authorization ?? "")?.[1];
    if (token === undefined) throw refused("Access token is empty.");
    const jws = decodeJws(token);
    if (jws === undefined) throw refused("IDX14100: JWT is not well formed.");

    // The signature covers the nonce's hash; the wire shows the nonce itself.
    const { nonce } = jws.header;
    const header = typeof nonce === "string" ? { ...jws.header, nonce: hashedNonce(nonce) } : jws.header;
    const signed = { ...jws, signingInput: `${encode(header)}.${token.split(".")[1]}` };
    const key = keys.published(jws.header.kid);
    if (key === undefined || !isSignedBy(signed, key.publicKey, ["RS256"])) {
      throw refused("Signature is invalid.");
    }

    const { payload: claims } = jws;
    if (!graph.identifierUris.includes(String(claims.aud))) throw refused("Invalid audience.");
    // After the audience: only Graph's own tokens have the nonce.
    if (typeof nonce !== "string") throw refused("Signature is invalid.");
    const tenantId = String(claims.tid);
    if (!clouds.all.some((cloud) => cloud.v1Issuer(tenantId) === claims.iss))
      throw refused("Invalid issuer.");
    if (typeof claims.exp !== "number" || now() / 1000 >= claims.exp) {
      throw refused("Lifetime validation failed, the token is expired.");
    }
    if (typeof claims.scp !== "string") {
      throw new GraphProblem(
        400,
        "BadRequest",
        "/me request is only valid with delegated authentication flow.",
      );
    }
    const user = directory.findUser(claims.oid, tenantId);
    if (user === undefined) throw refused("The user was not found.");
    return { user, scopes: claims.scp.split(" "), claims };
  };
}
