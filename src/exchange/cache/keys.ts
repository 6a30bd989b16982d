/** What makes two exchanges the same, as strings that no two different exchanges share. */

import { createHash } from "node:crypto";
import { GatewayError } from "../../errors.ts";
import type { AnyAssertion } from "../no-assertion.ts";
import type { SharedSubject } from "./shared-tokens.ts";

export interface ExchangeKeys {
  /**
   * Identity of a delegated token: authority, client, tenant, user assertion and the set of scopes. Claims are
   * not part of it: a token that satisfies more claims takes the place of the one before.
   */
  token(assertion: AnyAssertion, scopes: readonly string[]): string;
  /** The same identity without the assertion's digest, which the cache compares by itself. */
  group(assertion: AnyAssertion, scopes: readonly string[]): string;
  /** The user, across assertions and scopes. */
  user(assertion: AnyAssertion): string;
  /** The user and the set of scopes, across assertions. */
  userAndScopes(assertion: AnyAssertion, scopes: readonly string[]): string;
  /** The exchange as the shared tier needs to know it; undefined without a token of the user's, which alone can seal. */
  shared(assertion: AnyAssertion, scopes: readonly string[]): SharedSubject | undefined;
}

/** RFC 6749 §3.3 `scope-token`. A blank inside would make two scopes of one on the wire. */
const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/;

/** Tenants whose keys are remembered for each set of scopes; the keys of others are put together each time. */
const MAX_TENANTS = 1_000;

/**
 * Unambiguous by construction: parts of varying content carry their length in front. What is the same for all users
 * of an API comes last and digested, so that a million keys do not repeat it; before the digest it is JSON, whose
 * strings cannot break out of their quotes.
 */
export function createExchangeKeys(authorityHost: string, clientId: string): ExchangeKeys {
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
    token: ({ tenantId, digest }, scopes) => framed(tenantId) + framed(digest) + suffix(scopes),
    group: ({ tenantId }, scopes) => group(tenantId, scopes),
    user: ({ tenantId, objectId }) => framed(tenantId) + framed(objectId),
    userAndScopes: ({ tenantId, objectId }, scopes) => framed(tenantId) + framed(objectId) + suffix(scopes),
    shared({ token, expiresAt, tenantId, objectId }, scopes) {
      // Sealed by the master key alone, a token would be open to whoever holds that.
      if (token === undefined) return undefined;
      return {
        assertion: token,
        assertionExpiresAt: expiresAt,
        binding: JSON.stringify([authorityHost, clientId, tenantId, ...canonicalScopes(scopes)]),
        user: JSON.stringify([authorityHost, clientId, tenantId, objectId]),
      };
    },
  };
}

/**
 * Sorted, each once. The letter case stays, since which scopes a resource tells apart is not ours to know.
 *
 * @throws {GatewayError} `downstream_misconfigured` when there is none, or one that is not a scope token. An empty
 * set is not harmless: what MSAL adds of its own would make it a request for a Microsoft Graph token.
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

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

function framed(value: string): string {
  return `${value.length}:${value}`;
}
