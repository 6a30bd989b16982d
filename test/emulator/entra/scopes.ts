/** From the `scope` parameter to one resource and what was consented to of it. */

import type { Directory, Registration } from "./directory.ts";
import { EntraRefusal } from "./refusal.ts";

/** What a name without a resource belongs to. */
const GRAPH = "https://graph.microsoft.com";
const OIDC_SCOPES = ["openid", "profile", "email", "offline_access"];

export interface RequestedResource {
  readonly resource: Registration;
  /** The resource in the client's own spelling. */
  readonly identifier: string;
  /** Without the resource in front; `[".default"]` or names. */
  readonly names: readonly string[];
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
  return { resource, identifier: first.identifier, names };
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
