/** From the `scope` parameter to one resource and what was consented to of it. */

import type { Directory, Registration } from "./directory.ts";
import { EntraRefusal } from "./refusal.ts";

/** What a name without a resource belongs to. */
const GRAPH = "https://graph.microsoft.com";
export const OIDC_SCOPES = ["openid", "profile", "email", "offline_access"];

export interface RequestedResource {
  readonly resource: Registration;
  /** The resource in the client's own spelling. */
  readonly identifier: string;
  /** Without the resource in front; `[".default"]` or names. */
  readonly names: readonly string[];
  /** Whether the client wrote the resource in front of its scopes; the answer repeats its spelling. */
  readonly isQualified: boolean;
}

/** @throws {EntraRefusal} for an unknown or second resource, an unknown name, or nothing at all. */
export function parseScopes(
  scopes: readonly string[],
  directory: Directory,
  tenantId: string,
): RequestedResource {
  const parsed = scopes.filter((scope) => !OIDC_SCOPES.includes(scope)).map(splitScope);
  const [first] = parsed;
  if (first === undefined) throw new EntraRefusal(70011, "no resource");
  const resource = directory.resource(first.identifier);
  if (resource === undefined || !resource.tenants.has(tenantId)) throw new EntraRefusal(500011);
  if (parsed.some(({ identifier }) => directory.resource(identifier) !== resource))
    throw new EntraRefusal(28000);
  const names = parsed.map(({ name }) => name);
  if (names.includes(".default")) {
    if (names.length > 1) throw new EntraRefusal(70011, ".default beside other scopes");
  } else if (!names.every((name) => resource.exposedScopes.includes(name))) {
    throw new EntraRefusal(70011);
  }
  return { resource, identifier: first.identifier, names, isQualified: true };
}

/**
 * The same for a sign-in: several resources may be named for consent, and the token is for the first one. Without
 * any, it is for Graph, which then answers who the user is.
 *
 * @throws {EntraRefusal}
 */
export function parseSignInScopes(
  scopes: readonly string[],
  application: Registration,
  directory: Directory,
  tenantId: string,
): readonly [RequestedResource, ...RequestedResource[]] {
  const byResource = new Map<Registration, RequestedResource>();
  for (const scope of scopes.filter((each) => !OIDC_SCOPES.includes(each))) {
    const { identifier, name } = splitScope(scope);
    const resource = directory.resource(identifier);
    if (resource === undefined || !resource.tenants.has(tenantId)) {
      throw new EntraRefusal(500011, identifier);
    }
    // Reported; a bare scope is taken for one of Graph's.
    if (name !== ".default" && !resource.exposedScopes.includes(name)) {
      throw new EntraRefusal(650053, `'${name}' on the resource '${resource.clientId}'`);
    }
    if (resource === application && identifier !== application.clientId) throw new EntraRefusal(90009);
    const known = byResource.get(resource);
    byResource.set(resource, {
      resource,
      identifier: known?.identifier ?? identifier,
      names: [...(known?.names ?? []), name],
      isQualified: scope.includes("/"),
    });
  }
  const [first, ...more] = byResource.values();
  if (first !== undefined) return [first, ...more];
  const graph = directory.resource(GRAPH);
  if (graph === undefined) throw new EntraRefusal(500011, GRAPH);
  return [{ resource: graph, identifier: GRAPH, names: [], isQualified: false }];
}

/**
 * RFC 8707's parameter beside scopes of another resource: refused since spring 2026, as users report.
 *
 * @throws {EntraRefusal} 9010010
 */
export function checkResourceParameter(
  resource: string | undefined,
  scopes: readonly string[],
  directory: Directory,
): void {
  if (resource === undefined) return;
  const named = directory.resource(resource);
  const matches = scopes
    .filter((scope) => !OIDC_SCOPES.includes(scope))
    .every((scope) => directory.resource(splitScope(scope).identifier) === named);
  if (named === undefined || !matches) throw new EntraRefusal(9010010);
}

/** Everything that was granted, not only what was asked for: so does Entra. @throws {EntraRefusal} */
export function consentedScopes(
  { resource, names }: RequestedResource,
  application: Registration,
  directory: Directory,
  who: { readonly tenantId: string; readonly userObjectId: string },
): string[] {
  const isDefault = names.includes(".default");
  if (isDefault && !application.requiredResources.has(resource.clientId)) throw new EntraRefusal(650057);
  const granted = directory.grantedScopes(
    who.tenantId,
    application.clientId,
    resource.clientId,
    who.userObjectId,
  );
  const enough = isDefault ? granted.length > 0 : names.every((name) => granted.includes(name));
  if (!enough) throw new EntraRefusal(65001);
  return granted;
}

function splitScope(scope: string): { identifier: string; name: string } {
  const slash = scope.lastIndexOf("/");
  return slash < 0
    ? { identifier: GRAPH, name: scope }
    : { identifier: scope.slice(0, slash), name: scope.slice(slash + 1) };
}

export function wants(scopes: readonly string[], scope: (typeof OIDC_SCOPES)[number]): boolean {
  return scopes.includes(scope);
}
