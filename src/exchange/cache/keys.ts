/** Keys of exchanges: strings that two exchanges share exactly where they are the same in the key's terms. */

import { createHash } from "node:crypto";
import { GatewayError } from "../../errors.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "../../foundation/json.ts";
import type { TokenSubject } from "../contract.ts";

/** One exchange, by everything that it is known under. */
export interface ExchangeKeys {
  /**
   * Identity of a delegated token: authority, client, tenant, user assertion and the set of scopes. Claims are
   * not part of it: a token that satisfies more claims takes the place of the one before.
   */
  readonly token: string;
  /** The same identity without the assertion's digest, which the cache compares by itself. */
  readonly group: string;
  /** The user, across assertions and scopes. */
  readonly user: string;
  /** The user and the set of scopes, across assertions. */
  readonly userAndScopes: string;
  /** The assertion, across scopes. */
  readonly assertion: string;
}

/** The exchange as the shared tier needs to know it. */
export interface SharedKeys {
  /** Authority, client, tenant and scopes, unambiguously. */
  readonly binding: string;
  /** The user, across assertions and scopes. */
  readonly user: string;
}

export interface KeyMaker {
  of(subject: TokenSubject, scopes: readonly string[]): ExchangeKeys;
  group(subject: TokenSubject, scopes: readonly string[]): string;
  shared(subject: TokenSubject, scopes: readonly string[]): SharedKeys;
}

/** RFC 6749 §3.3 `scope-token`. A blank inside would make two scopes of one on the wire. */
const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/;

/** Longest claims request, characters. */
const MAX_CLAIMS_LENGTH = 8192;
/** Claims requests are three levels deep (OpenID Connect Core §5.5); an array of values makes it four. */
const DEEPEST_CLAIMS = 8;

/** Tenants whose keys are remembered for each set of scopes; the keys of others are put together each time. */
const MAX_TENANTS = 1_000;

/**
 * Unambiguous by construction: parts of varying content carry their length in front. The part that all users of an
 * API have in common comes last and digested, so that a million keys do not repeat it; before the digest it is JSON,
 * whose strings cannot break out of their quotes.
 */
export function createKeyMaker(authorityHost: string, clientId: string): KeyMaker {
  const suffixes = new WeakMap<readonly string[], string>();
  /** By scopes, then tenant: the very same string each time, so that a Map need not hash it anew. */
  const groups = new WeakMap<readonly string[], Map<string, string>>();

  function suffix(scopes: readonly string[]): string {
    const known = suffixes.get(scopes);
    if (known !== undefined) return known;
    const made = digestOf(JSON.stringify([authorityHost, clientId, ...canonicalScopes(scopes)]));
    // An array that could still change must be read anew each time, or its key would name other scopes.
    if (Object.isFrozen(scopes)) suffixes.set(scopes, made);
    return made;
  }

  function group(tenantId: string, scopes: readonly string[]): string {
    const known = groups.get(scopes)?.get(tenantId);
    if (known !== undefined) return known;
    const made = framed(tenantId) + suffix(scopes);
    if (!Object.isFrozen(scopes)) return made;
    const ofScopes = groups.get(scopes) ?? new Map<string, string>();
    groups.set(scopes, ofScopes);
    if (ofScopes.size < MAX_TENANTS) ofScopes.set(tenantId, made);
    return made;
  }

  return {
    of({ tenantId, objectId, digest }, scopes) {
      const end = suffix(scopes);
      const tenant = framed(tenantId);
      const user = tenant + framed(objectId);
      const assertion = tenant + framed(digest);
      return { token: assertion + end, group: tenant + end, user, userAndScopes: user + end, assertion };
    },
    group: ({ tenantId }, scopes) => group(tenantId, scopes),
    shared: ({ tenantId, objectId }, scopes) => ({
      binding: JSON.stringify([authorityHost, clientId, tenantId, ...canonicalScopes(scopes)]),
      user: JSON.stringify([authorityHost, clientId, tenantId, objectId]),
    }),
  };
}

/**
 * Sorted, each once. The letter case stays, since which scopes a resource tells apart is not ours to know.
 *
 * @throws {GatewayError} `downstream_misconfigured` when there is none, or one that is not a scope token. An empty
 * set is not harmless: MSAL's additions alone would make it a request for a Microsoft Graph token.
 */
function canonicalScopes(scopes: readonly string[]): string[] {
  if (scopes.length === 0 || !scopes.every((scope) => SCOPE_TOKEN.test(scope))) {
    throw new GatewayError("downstream_misconfigured", {
      detail: "The gateway's configuration for this downstream API is not valid.",
      reason: "scopes",
    });
  }
  return [...new Set(scopes)].sort();
}

/**
 * The claims request with its members in order and without blanks: an API that spells the same request anew each time
 * must not make each of them an exchange of its own.
 *
 * @throws {GatewayError} `internal` for text that is no claims request (OpenID Connect Core §5.5: an object of
 * objects). MSAL sends anything else as if no claims had been requested.
 */
export function canonicalClaims(claims: string): string {
  const members = claims.length > MAX_CLAIMS_LENGTH ? undefined : parseJsonObject(claims);
  if (
    members === undefined ||
    !Object.values(members).every(isJsonObject) ||
    depthOf(claims) > DEEPEST_CLAIMS
  ) {
    throw new GatewayError("internal", {
      detail: "The gateway could not form its token request.",
      reason: "claims_malformed",
    });
  }
  return JSON.stringify(ordered(members));
}

/** Brackets that are open at once, those inside of strings included: an upper bound of how deep the value is. */
function depthOf(json: string): number {
  let open = 0;
  let deepest = 0;
  for (const character of json) {
    if (character === "{" || character === "[") deepest = Math.max(deepest, ++open);
    else if (character === "}" || character === "]") open -= 1;
  }
  return deepest;
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (!isJsonObject(value)) return value;
  const members: JsonObject = value;
  return Object.fromEntries(
    Object.keys(members)
      .sort()
      .map((name) => [name, ordered(members[name])]),
  );
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

function framed(value: string): string {
  return `${value.length}:${value}`;
}
