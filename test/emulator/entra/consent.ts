/** What an application was allowed to ask for, what it still lacks, and who may allow it. */

import type { User } from "../handle.ts";
import type { Directory, Grant, Registration } from "./directory.ts";
import type { RequestedResource } from "./scopes.ts";

/** Permissions of one API that one application asks for. */
export interface Permissions {
  readonly application: Registration;
  readonly resource: Registration;
  readonly names: readonly string[];
}

/**
 * Everything that a consent page would show. `.default` stands for what the application's registration lists, and
 * reaches through an API that knows the application as one of its front ends to that API's own permissions.
 */
export function requestedPermissions(
  application: Registration,
  wanted: readonly RequestedResource[],
  directory: Directory,
): Permissions[] {
  return wanted.flatMap(({ resource, names }) => {
    if (!names.includes(".default")) return [{ application, resource, names }];
    const listed = application.requiredResources.get(resource.clientId) ?? [];
    const behind = resource.knownClients.has(application.clientId)
      ? requiredPermissions(resource, directory)
      : [];
    return [{ application, resource, names: listed }, ...behind];
  });
}

/** What an application's registration lists (`requiredResourceAccess`). */
export function requiredPermissions(application: Registration, directory: Directory): Permissions[] {
  return [...application.requiredResources].flatMap(([clientId, names]) => {
    const resource = directory.application(clientId);
    return resource === undefined || names.length === 0 ? [] : [{ application, resource, names }];
  });
}

/**
 * The part that is not granted to this user yet. `.default` asks for nothing as soon as the application holds any
 * permission of that API (Entra, permissions-consent-overview).
 */
export function missingPermissions(
  application: Registration,
  wanted: readonly RequestedResource[],
  directory: Directory,
  user: User,
): Permissions[] {
  const grantedTo = (client: Registration, resource: Registration) =>
    directory.grantedScopes(user.tenantId, client.clientId, resource.clientId, user.objectId);
  const open = wanted.filter(
    ({ resource, names }) => !names.includes(".default") || grantedTo(application, resource).length === 0,
  );
  return requestedPermissions(application, open, directory).flatMap((permissions) => {
    const granted = grantedTo(permissions.application, permissions.resource);
    const names = permissions.names.filter((name) => !granted.includes(name));
    return names.length === 0 ? [] : [{ ...permissions, names }];
  });
}

export function needsAdministrator(
  permissions: readonly Permissions[],
  directory: Directory,
  tenantId: string,
): boolean {
  return (
    directory.adminConsentTenants.has(tenantId) ||
    permissions.some(({ resource, names }) => names.some((name) => resource.adminScopes.has(name)))
  );
}

/** Writes down only what is not granted yet, so that repeated consent does not grow the directory. */
export function grantPermissions(
  permissions: readonly Permissions[],
  directory: Directory,
  user: User,
  forWholeTenant: boolean,
): void {
  const covers = ({ userObjectId }: Grant) => userObjectId === undefined || !forWholeTenant;
  for (const { application, resource, names } of permissions) {
    const granted = directory.grants
      .filter(
        (grant) =>
          grant.tenantId === user.tenantId &&
          grant.clientId === application.clientId &&
          grant.resourceId === resource.clientId &&
          covers(grant) &&
          (grant.userObjectId === undefined || grant.userObjectId === user.objectId),
      )
      .flatMap(({ scopes }) => scopes);
    const scopes = names.filter((name) => !granted.includes(name));
    if (scopes.length === 0) continue;
    directory.grants.push({
      tenantId: user.tenantId,
      clientId: application.clientId,
      resourceId: resource.clientId,
      scopes,
      ...(forWholeTenant ? {} : { userObjectId: user.objectId }),
    });
  }
}
