/** What an administrator does in the portal: credentials, consent, users. */

import type { Emulator, UserRef } from "../handle.ts";
import { type Directory, newSecret, type Registration, readCertificate } from "./directory.ts";
import { newUser } from "./seed.ts";

type Administration = Pick<
  Emulator,
  | "user"
  | "addUser"
  | "registerCertificate"
  | "revokeCertificate"
  | "addClientSecret"
  | "addFederatedCredential"
  | "removeFederatedCredential"
  | "revokeConsent"
  | "grantConsent"
  | "disableUser"
  | "enableUser"
  | "unassignUser"
  | "assignUser"
  | "setUserConsent"
  | "registerRedirectUri"
>;

export function createAdministration(parts: {
  readonly directory: Directory;
  readonly gateway: Registration;
  readonly homeTenantId: string;
  readonly now: () => number;
}): Administration {
  const { directory, gateway, homeTenantId, now } = parts;
  const objectIdOf = (ref: UserRef) => directory.user(ref).objectId;
  const resourceId = (identifier: string) => {
    const resource = directory.resource(identifier);
    if (resource === undefined) throw new Error(`the emulator knows no resource ${identifier}`);
    return resource.clientId;
  };

  return {
    user: (ref) => directory.user(ref),
    addUser(given = {}) {
      const user = newUser(given);
      directory.addUser(user);
      return user;
    },
    registerCertificate(clientId, certificate) {
      directory.registration(clientId).certificates.push(readCertificate(certificate));
    },
    revokeCertificate(clientId, certificate) {
      const { thumbprintSha256 } = readCertificate(certificate);
      remove(
        directory.registration(clientId).certificates,
        (each) => each.thumbprintSha256 === thumbprintSha256,
      );
    },
    addClientSecret(clientId, { value = newSecret(), expiresAt = Number.POSITIVE_INFINITY } = {}) {
      directory.registration(clientId).secrets.push({ value, expiresAt });
      return value;
    },
    addFederatedCredential(clientId, credential, { effectiveInMs = 0 } = {}) {
      const effectiveAt = now() + effectiveInMs;
      directory.registration(clientId).federatedCredentials.push({ ...credential, effectiveAt });
    },
    removeFederatedCredential(clientId, { issuer, subject, audience }) {
      remove(
        directory.registration(clientId).federatedCredentials,
        (each) => each.issuer === issuer && each.subject === subject && each.audience === audience,
      );
    },
    revokeConsent({ clientId = gateway.clientId, tenantId = homeTenantId, resource }) {
      directory.registration(clientId);
      const only = resource === undefined ? undefined : resourceId(resource);
      remove(
        directory.grants,
        (grant) =>
          grant.clientId === clientId &&
          grant.tenantId === tenantId &&
          (only === undefined || grant.resourceId === only),
      );
    },
    grantConsent(options) {
      const { scopes, clientId = gateway.clientId, tenantId = homeTenantId, user } = options;
      directory.registration(clientId);
      directory.grants.push({
        tenantId,
        clientId,
        resourceId: resourceId(options.resource ?? "https://graph.microsoft.com"),
        scopes,
        ...(user === undefined ? {} : { userObjectId: objectIdOf(user) }),
      });
    },
    disableUser: (ref) => void directory.disabledUsers.add(objectIdOf(ref)),
    enableUser: (ref) => void directory.disabledUsers.delete(objectIdOf(ref)),
    unassignUser: (ref) => void directory.unassignedUsers.add(objectIdOf(ref)),
    assignUser: (ref) => void directory.unassignedUsers.delete(objectIdOf(ref)),
    setUserConsent({ allowed, tenantId = homeTenantId }) {
      if (directory.tenant(tenantId) === undefined)
        throw new Error(`the emulator knows no tenant ${tenantId}`);
      if (allowed) directory.adminConsentTenants.delete(tenantId);
      else directory.adminConsentTenants.add(tenantId);
    },
    registerRedirectUri(clientId, { uri, type }) {
      if (!URL.canParse(uri)) throw new Error(`no absolute URI: ${uri}`);
      const { redirectUris } = directory.registration(clientId);
      if (!redirectUris.some((known) => known.uri === uri)) redirectUris.push({ uri, type });
    },
  };
}

function remove<Item>(items: Item[], isUnwanted: (item: Item) => boolean): void {
  items.splice(0, items.length, ...items.filter((item) => !isUnwanted(item)));
}
