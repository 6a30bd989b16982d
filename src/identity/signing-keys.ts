/** Signing keys: one read of an authority's metadata and JWKS, whole and plausible or not at all. */

import { createPublicKey, type KeyObject } from "node:crypto";
import { GatewayError } from "../errors.ts";
import { type BoundedResponse, boundedFetch, type Fetch, FetchFailure } from "../foundation/bounded-fetch.ts";

/** Entra's largest documents are near 60 KB. */
const MAX_DOCUMENT_BYTES = 512 * 1024;

/** NIST SP 800-131A: shorter RSA keys are not acceptable. Entra's are 2048. */
const MIN_MODULUS_BITS = 2048;

export interface SigningKey {
  readonly key: KeyObject;
  /** Issuer that the authority binds this key to, possibly with `{tenantid}`; undefined binds to none. */
  readonly issuer: string | undefined;
}

/** Keys by `kid`. An authority may publish one key under several issuers. */
export type SigningKeys = ReadonlyMap<string, readonly SigningKey[]>;

export interface SigningKeySource {
  readonly metadataUrl: string;
  /** What the metadata must state as `issuer`, braces included where it is a template. */
  readonly issuer: string;
  /** Cloud of the keys, for metadata that does not state its own. */
  readonly cloudInstanceName: string | undefined;
}

export interface SigningKeyRequest {
  readonly fetch: Fetch;
  /** Ms for both documents together. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Why no keys could be had, as label of `key_set_unavailable`. */
type Failure = FetchFailure["kind"] | "status" | "content" | "issuer" | "jwks_uri" | "no_keys";

type JsonObject = Readonly<Record<string, unknown>>;

/** @throws {GatewayError} `key_set_unavailable`, whatever the authority answers or fails to answer. */
export async function fetchSigningKeys(
  source: SigningKeySource,
  request: SigningKeyRequest,
): Promise<SigningKeys> {
  // Elapsed time, not the time of day: the deadline must hold whatever the clock does.
  const deadline = performance.now() + request.timeoutMs;

  const metadata = await fetchObject(source.metadataUrl, "metadata", request, deadline);
  if (metadata.issuer !== source.issuer) throw unavailable("issuer", "metadata");
  const keysUrl = sameOrigin(metadata.jwks_uri, source.metadataUrl);

  const document = await fetchObject(keysUrl, "keys", request, deadline);
  const cloud =
    typeof metadata.cloud_instance_name === "string"
      ? metadata.cloud_instance_name
      : source.cloudInstanceName;
  const keys = importKeys(Array.isArray(document.keys) ? document.keys : [], cloud);
  if (keys.size === 0) throw unavailable("no_keys", "keys");
  return keys;
}

async function fetchObject(
  url: string,
  document: string,
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
    throw unavailable(cause instanceof FetchFailure ? cause.kind : "network", document, { cause });
  }
  if (response.status !== 200) throw unavailable("status", document, { status: response.status });
  const value = parseObject(response.text);
  if (value === undefined) throw unavailable("content", document);
  return value;
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Keys from another origin would let whoever can write the metadata, but not serve TLS for it, choose the keys. */
function sameOrigin(keysUrl: unknown, metadataUrl: string): string {
  if (typeof keysUrl !== "string" || !URL.canParse(keysUrl)) throw unavailable("jwks_uri", "metadata");
  const url = new URL(keysUrl);
  if (url.origin !== new URL(metadataUrl).origin || url.username !== "" || url.password !== "")
    throw unavailable("jwks_uri", "metadata");
  return url.href;
}

/**
 * Only RSA keys meant for signatures, of this cloud, and strong enough. Others are passed over, not refused: a set
 * holds keys of other clouds, and one strange entry must not lock everybody out.
 */
function importKeys(entries: readonly unknown[], cloud: string | undefined): SigningKeys {
  const keys = new Map<string, SigningKey[]>();
  for (const entry of entries) {
    if (!isObject(entry) || typeof entry.kid !== "string" || entry.kid === "") continue;
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
    return (key.asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_MODULUS_BITS ? key : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unavailable(
  reason: Failure,
  document: string,
  more: { readonly cause?: unknown; readonly status?: number } = {},
): GatewayError<"key_set_unavailable"> {
  return new GatewayError("key_set_unavailable", {
    detail: "The keys that access tokens are signed with cannot be read at the moment.",
    reason,
    diagnostics: { document, ...(more.status !== undefined && { status: more.status }) },
    ...(more.cause !== undefined && { cause: more.cause }),
  });
}
