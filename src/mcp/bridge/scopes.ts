/** The MCP routes as resources: their addresses, and their scopes as Entra wants them asked for. */

import type { McpRoute, RouteChallenge } from "../contract.ts";
import { OAuthRefusal } from "./oauth.ts";

export interface ResourceOptions {
  /** How callers reach the gateway. */
  readonly publicUrl: string;
  /** App ID URI of the gateway: a scope without one is taken for Microsoft Graph's (AADSTS650053). */
  readonly appIdUri: string;
  readonly routes: readonly McpRoute[];
}

export interface Resource extends RouteChallenge {
  /** Mount path of the route. */
  readonly path: string;
  /** The identifier of RFC 9728, which must equal the URL that the client uses. */
  readonly resource: string;
  /** Qualified. */
  readonly scopes: readonly string[];
  readonly toolScopes: readonly string[];
}

/** Qualified scopes that a client may ask for. */
export interface AskableScopes {
  /** What it gets where it names none. */
  readonly usual: readonly string[];
  /** Scopes of single tools, which it gets where it names them. */
  readonly besides: readonly string[];
}

export interface Resources {
  readonly all: readonly Resource[];
  /**
   * Qualified scopes that may be asked for with this `resource` parameter (RFC 8707); without one, those of all routes.
   *
   * @throws {OAuthRefusal} `invalid_target` where no MCP route is there.
   */
  scopesFor(resource: string | undefined): AskableScopes;
}

export const PROTECTED_RESOURCE = "/.well-known/oauth-protected-resource";

export function createResources({ publicUrl, appIdUri, routes }: ResourceOptions): Resources {
  const base = publicUrl.replace(/\/+$/, "");
  const { origin, pathname } = new URL(base);
  const prefix = pathname === "/" ? "" : pathname;
  const qualified = (scope: string) => `${appIdUri}/${scope}`;
  const all = routes.map(({ path, scopes, toolScopes = [] }) => ({
    path,
    resource: `${base}${path}`,
    scopes: scopes.map(qualified),
    toolScopes: toolScopes.map(qualified),
    scope: scopes.map(qualified).join(" "),
    // RFC 9728 §3.1: the well-known segment goes between host and path.
    resourceMetadata: `${origin}${PROTECTED_RESOURCE}${prefix}${path}`,
    qualified,
  }));
  const askable = (some: typeof all): AskableScopes => {
    const usual = new Set(some.flatMap(({ scopes }) => scopes));
    const besides = new Set(some.flatMap(({ toolScopes }) => toolScopes));
    return { usual: [...usual], besides: [...besides].filter((scope) => !usual.has(scope)) };
  };
  const byAddress = new Map(all.map((one) => [comparable(one.resource), askable([one])]));
  const union = askable(all);
  return {
    all,
    scopesFor(resource) {
      if (resource === undefined) return union;
      const scopes = byAddress.get(comparable(resource));
      if (scopes === undefined)
        throw new OAuthRefusal(
          "invalid_target",
          "resource_unknown",
          "The resource is not the address of an MCP server behind this gateway.",
        );
      return scopes;
    },
  };
}

/** Clients differ in the spelling of scheme and host, and in a slash at the end. */
function comparable(resource: string): string {
  if (!URL.canParse(resource)) return resource;
  const { href, username, password } = new URL(resource);
  return username + password === "" ? href.replace(/\/$/, "") : resource;
}

/** Scopes of OpenID Connect, which Entra grants besides those of an API. */
const OPENID_SCOPES: ReadonlySet<string> = new Set(["openid", "profile", "email", "offline_access"]);
/** Asked for with every sign-in: the ids of the user, and a token to renew with. */
export const SIGN_IN_SCOPES = ["openid", "profile", "offline_access"];

/**
 * The part of the requested scopes that is the gateway's. Qualified and bare names count; what is another API's is cut
 * off. Where the client names none but OpenID Connect's, it gets all.
 *
 * @throws {OAuthRefusal} `invalid_scope` where nothing is left of what it named.
 */
export function cutToOurs(
  requested: readonly string[],
  { usual, besides }: AskableScopes,
): readonly string[] {
  const named = requested.filter((scope) => !OPENID_SCOPES.has(scope));
  if (named.length === 0) return usual;
  const kept = [...usual, ...besides].filter(
    (scope) => named.includes(scope) || named.includes(nameOf(scope)),
  );
  if (kept.length === 0)
    throw new OAuthRefusal(
      "invalid_scope",
      "scope_foreign",
      "None of the requested scopes is one of this gateway's MCP servers.",
    );
  return kept;
}

function nameOf(scope: string): string {
  return scope.slice(scope.lastIndexOf("/") + 1);
}
