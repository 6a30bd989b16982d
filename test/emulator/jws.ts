/** JSON Web Signatures in compact form (RFC 7515), including the ill-formed ones that attack tests need. */

import { constants, createHmac, type KeyObject, sign, verify } from "node:crypto";

export type Claims = Readonly<Record<string, unknown>>;

export interface DecodedJws {
  readonly header: Claims;
  readonly payload: Claims;
  readonly signingInput: string;
  readonly signature: Buffer;
}

const PSS = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
};

/**
 * Signs as `header.alg` says: RS256, PS256, HS256 (with the public key's PEM as secret, the classic confusion)
 * or none. Any other name is signed as RS256, so that a token can lie about its algorithm.
 */
export function signJws(header: Claims, payload: Claims, key: KeyObject, publicKey?: KeyObject): string {
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${signatureFor(header.alg, input, key, publicKey).toString("base64url")}`;
}

function signatureFor(alg: unknown, input: string, key: KeyObject, publicKey?: KeyObject): Buffer {
  const data = Buffer.from(input);
  if (alg === "none") return Buffer.alloc(0);
  if (alg === "PS256") return sign("sha256", data, { key, ...PSS });
  if (alg === "HS256" && publicKey !== undefined) {
    return createHmac("sha256", publicKey.export({ type: "spki", format: "pem" }))
      .update(data)
      .digest();
  }
  return sign("sha256", data, key);
}

/** Undefined for anything that is not three base64url parts with two JSON objects in front. */
export function decodeJws(token: string): DecodedJws | undefined {
  const parts = token.split(".");
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || header === undefined || payload === undefined || signature === undefined) {
    return undefined;
  }
  if (!parts.every((part) => /^[A-Za-z0-9_-]*$/.test(part))) return undefined;
  const decoded = { header: decodeObject(header), payload: decodeObject(payload) };
  if (decoded.header === undefined || decoded.payload === undefined) return undefined;
  return {
    header: decoded.header,
    payload: decoded.payload,
    signingInput: `${header}.${payload}`,
    signature: Buffer.from(signature, "base64url"),
  };
}

/** Whether the signature is good under one of the algorithms that the caller allows. */
export function isSignedBy(
  jws: Pick<DecodedJws, "header" | "signingInput" | "signature">,
  key: KeyObject,
  algorithms: readonly ("RS256" | "PS256")[],
): boolean {
  const algorithm = algorithms.find((allowed) => allowed === jws.header.alg);
  if (algorithm === undefined || key.asymmetricKeyType !== "rsa") return false;
  const data = Buffer.from(jws.signingInput);
  return algorithm === "PS256"
    ? verify("sha256", data, { key, ...PSS }, jws.signature)
    : verify("sha256", data, key, jws.signature);
}

export function encode(value: Claims): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function decodeObject(part: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Claims {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Copies `changes` over `base`; a member that is `undefined` deletes. */
export function merged(base: Claims, changes: Claims | undefined): Record<string, unknown> {
  const result: Record<string, unknown> = { ...base, ...changes };
  for (const [name, value] of Object.entries(result)) if (value === undefined) delete result[name];
  return result;
}
