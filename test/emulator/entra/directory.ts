/** What Entra knows: tenants, users, applications with their credentials, and who consented to what. */

import { createHash, type KeyObject, randomBytes, X509Certificate } from "node:crypto";
import type {
  Application,
  ClientCertificate,
  FederatedCredential,
  RedirectType,
  Tenant,
  User,
  UserRef,
} from "../handle.ts";

export interface RegisteredCertificate {
  readonly thumbprintSha256: string;
  readonly thumbprintSha1: string;
  readonly publicKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface Registration extends Application {
  readonly certificates: RegisteredCertificate[];
  readonly secrets: { readonly value: string; readonly expiresAt: number }[];
  readonly federatedCredentials: (FederatedCredential & { readonly effectiveAt: number })[];
  /** Tenants that hold a service principal. */
  readonly tenants: Set<string>;
  /** Resources that `.default` may name, by client id, each with the permissions asked for (`requiredResourceAccess`). */
  readonly requiredResources: Map<string, readonly string[]>;
  readonly redirectUris: { readonly uri: string; readonly type: RedirectType }[];
  /** Of the exposed scopes, those that only an administrator may grant. */
  readonly adminScopes: ReadonlySet<string>;
  /** Front ends whose consent covers this application's own permissions as well (`knownClientApplications`). */
  readonly knownClients: Set<string>;
}

export interface Grant {
  readonly tenantId: string;
  readonly clientId: string;
  readonly resourceId: string;
  readonly scopes: readonly string[];
  /** Absent: an administrator consented for everybody. */
  readonly userObjectId?: string;
}

export interface Directory {
  readonly tenants: Tenant[];
  readonly users: Iterable<User>;
  readonly applications: Registration[];
  readonly grants: Grant[];
  readonly disabledUsers: Set<string>;
  readonly unassignedUsers: Set<string>;
  /** Tenants whose users may not consent for themselves. */
  readonly adminConsentTenants: Set<string>;
  /** By GUID in any letter case, or by verified domain. */
  tenant(segment: string): Tenant | undefined;
  application(clientId: string): Registration | undefined;
  /** @throws when nobody is meant: a test's typing mistake must not look like a refusal of Entra. */
  registration(clientId: string): Registration;
  resource(identifier: string): Registration | undefined;
  addUser(user: User): void;
  findUser(objectId: unknown, tenantId: string): User | undefined;
  user(ref: UserRef): User;
  grantedScopes(tenantId: string, clientId: string, resourceId: string, userObjectId: string): string[];
}

export function createDirectory(): Directory {
  const tenants: Tenant[] = [];
  // By tenant and oid: a benchmark has tens of thousands.
  const users = new Map<string, User>();
  const applications: Registration[] = [];
  const grants: Grant[] = [];
  const application = (clientId: string) =>
    applications.find((candidate) => candidate.clientId === clientId.toLowerCase());

  return {
    tenants,
    users: { [Symbol.iterator]: () => users.values() },
    applications,
    grants,
    disabledUsers: new Set(),
    unassignedUsers: new Set(),
    adminConsentTenants: new Set(),
    tenant: (segment) => {
      const wanted = segment.toLowerCase();
      return tenants.find(({ id, domain }) => id === wanted || domain === wanted);
    },
    application,
    registration(clientId) {
      const found = application(clientId);
      if (found === undefined) throw new Error(`the emulator knows no application ${clientId}`);
      return found;
    },
    // Byte for byte: Entra compares App ID URIs with case.
    resource: (identifier) => applications.find(({ identifierUris }) => identifierUris.includes(identifier)),
    addUser: (user) => void users.set(`${user.tenantId}/${user.objectId}`, user),
    findUser: (objectId, tenantId) => users.get(`${tenantId}/${String(objectId)}`),
    user(ref) {
      if (typeof ref !== "string") return ref;
      let found: User | undefined;
      for (const user of users.values()) {
        if (user.name === ref || user.objectId === ref) {
          found = user;
          break;
        }
      }
      if (found === undefined) throw new Error(`the emulator knows no user ${ref}`);
      return found;
    },
    grantedScopes(tenantId, clientId, resourceId, userObjectId) {
      const scopes = grants
        .filter(
          (grant) =>
            grant.tenantId === tenantId &&
            grant.clientId === clientId &&
            grant.resourceId === resourceId &&
            (grant.userObjectId === undefined || grant.userObjectId === userObjectId),
        )
        .flatMap((grant) => grant.scopes);
      return [...new Set(scopes)];
    },
  };
}

export function readCertificate({
  certificatePem,
}: Pick<ClientCertificate, "certificatePem">): RegisteredCertificate {
  const certificate = new X509Certificate(certificatePem);
  const thumbprint = (algorithm: string) =>
    createHash(algorithm).update(certificate.raw).digest("hex").toUpperCase();
  return {
    thumbprintSha256: thumbprint("sha256"),
    thumbprintSha1: thumbprint("sha1"),
    publicKey: certificate.publicKey,
    notBefore: Date.parse(certificate.validFrom),
    notAfter: Date.parse(certificate.validTo),
  };
}

/** A secret in the shape of Entra's: 40 characters. */
export function newSecret(): string {
  return randomBytes(30).toString("base64url");
}
