/** Signing keys: one read of an authority's metadata and JWKS, whole and plausible or not at all. */

import { createPublicKey, type KeyObject } from "node:crypto";
import { GatewayError } from "../errors.ts";
import {
  type BoundedResponse,
  boundedFetch,
  type Fetch,
  type FetchFailure,
} from "../foundation/bounded-fetch.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "../foundation/json.ts";
import { rsaWeakness } from "../foundation/rsa-strength.ts";
import type { Discovered } from "./contract.ts";

/** Entra's largest documents are near 60 KB. */
const MAX_DOCUMENT_BYTES = 512 * 1024;

export interface SigningKey {
  readonly key: KeyObject;
  /** Issuer that the authority binds this key to, possibly with `{tenantid}`; undefined binds to none. */
  readonly issuer: string | undefined;
}

/** Keys by `kid`. An authority may publish one key under several issuers. */
export type SigningKeys = ReadonlyMap<string, readonly SigningKey[]>;

export interface SigningKeySource {
  readonly metadataUrl: string;
  /** Of these the metadata must state one as `issuer`, braces included where it is a template. */
  readonly issuers: readonly string[];
  /** Whether keys may be read from an address that the metadata states. */
  readonly isTrusted: (url: string) => boolean;
  /** Cloud of the keys, for metadata that does not state its own. */
  readonly cloudInstanceName: string | undefined;
}

/** What one read of an authority gave. */
export interface PublishedKeys {
  readonly keys: SigningKeys;
  readonly discovered: Discovered;
}

export interface SigningKeyRequest {
  readonly fetch: Fetch;
  /** Ms for both documents together. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Why no keys could be had, as label of `key_set_unavailable`. */
type Failure = FetchFailure["kind"] | "status" | "content" | "issuer" | "jwks_uri" | "no_keys";

/** @throws {GatewayError} `key_set_unavailable`, whatever the authority answers or fails to answer. */
export async function fetchSigningKeys(
  source: SigningKeySource,
  request: SigningKeyRequest,
): Promise<PublishedKeys> {
  // Elapsed time, not the time of day: the deadline must hold whatever the clock does.
  const deadline = performance.now() + request.timeoutMs;

  const metadata = await fetchObject(source.metadataUrl, "metadata", request, deadline);
  const { issuer } = metadata;
  if (typeof issuer !== "string" || !source.issuers.includes(issuer)) throw unavailable("issuer", "metadata");
  // Keys from any other origin would let those who can write the metadata, but not serve TLS for it, choose the keys.
  const keysUrl = metadata.jwks_uri;
  if (typeof keysUrl !== "string" || !source.isTrusted(keysUrl)) throw unavailable("jwks_uri", "metadata");

  const document = await fetchObject(keysUrl, "keys", request, deadline);
  const cloud =
    typeof metadata.cloud_instance_name === "string"
      ? metadata.cloud_instance_name
      : source.cloudInstanceName;
  const keys = importKeys(Array.isArray(document.keys) ? document.keys : [], cloud);
  if (keys.size === 0) throw unavailable("no_keys", "keys");
  return {
    keys,
    discovered: {
      issuer,
      tokenEndpoint: textOf(metadata.token_endpoint),
      authorizeEndpoint: textOf(metadata.authorization_endpoint),
    },
  };
}

async function fetchObject(
  url: string,
  document: "metadata" | "keys",
  request: SigningKeyRequest,
  deadline: number,
): Promise<JsonObject> {
  let response: BoundedResponse;
  try {
    response = await boundedFetch(request.fetch, url, {
      headers: { accept: "application/json" },
      timeoutMs: Math.max(1, deadline - performance.now()),
      maxBytes: MAX_DOCUMENT_BYTES,
      signal: request.signal,
    });
  } catch (cause) {
    throw unavailable((cause as FetchFailure).kind, document, { cause });
  }
  const value = parseJsonObject(response.text);
  if (response.status !== 200)
    throw unavailable("status", document, { status: response.status, ...refusalOf(value) });
  if (value === undefined) throw unavailable("content", document);
  return value;
}

/** Entra's error label and numbers, which say for example that the tenant does not exist. Its text is left where it is. */
function refusalOf(answer: JsonObject | undefined): {
  readonly error?: string;
  readonly errorCodes?: number[];
} {
  const { error, error_codes: codes } = answer ?? {};
  const errorCodes = Array.isArray(codes)
    ? codes.filter((code) => Number.isSafeInteger(code)).slice(0, 8)
    : [];
  return {
    ...(typeof error === "string" && /^[a-z0-9_]{1,64}$/i.test(error) && { error }),
    ...(errorCodes.length > 0 && { errorCodes }),
  };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/**
 * Only RSA keys meant for signatures, of this cloud, and strong enough. Others are passed over, not refused: a set
 * holds keys of other clouds, and one strange entry must not lock everybody out.
 */
function importKeys(entries: readonly unknown[], cloud: string | undefined): SigningKeys {
  const keys = new Map<string, SigningKey[]>();
  for (const entry of entries) {
    if (!isJsonObject(entry) || typeof entry.kid !== "string" || entry.kid === "") continue;
    if (!isMeantForSignatures(entry) || !isOfCloud(entry, cloud)) continue;
    const key = importRsaKey(entry);
    if (key === undefined) continue;
    const issuer = typeof entry.issuer === "string" ? entry.issuer : undefined;
    keys.set(entry.kid, [...(keys.get(entry.kid) ?? []), { key, issuer }]);
  }
  return keys;
}

/** RFC 7517 §4.2 to §4.4. Entra states `use` and no `alg`. */
function isMeantForSignatures({ kty, use, alg, key_ops: operations }: JsonObject): boolean {
  return (
    kty === "RSA" &&
    (use === undefined || use === "sig") &&
    (alg === undefined || alg === "RS256") &&
    (operations === undefined || (Array.isArray(operations) && operations.includes("verify")))
  );
}

function isOfCloud({ cloud_instance_name: stated }: JsonObject, cloud: string | undefined): boolean {
  return stated === undefined || cloud === undefined || stated === cloud;
}

/** From modulus and exponent alone: the certificate in `x5c` is another statement of the same key, and unchecked. */
function importRsaKey({ n, e }: JsonObject): KeyObject | undefined {
  if (typeof n !== "string" || typeof e !== "string") return undefined;
  try {
    const key = createPublicKey({ key: { kty: "RSA", n, e }, format: "jwk" });
    return rsaWeakness(key) === undefined ? key : undefined;
  } catch {
    return undefined;
  }
}

function unavailable(
  reason: Failure,
  document: "metadata" | "keys",
  more: {
    readonly cause?: unknown;
    readonly status?: number;
    readonly error?: string;
    readonly errorCodes?: readonly number[];
  } = {},
): GatewayError<"key_set_unavailable"> {
  const { cause, status, error, errorCodes } = more;
  return new GatewayError("key_set_unavailable", {
    detail: "The keys that access tokens are signed with cannot be read at the moment.",
    reason,
    diagnostics: {
      document,
      ...(status !== undefined && { status }),
      ...(error !== undefined && { error }),
      ...(errorCodes !== undefined && { error_codes: errorCodes }),
    },
    ...(cause !== undefined && { cause }),
  });
}
