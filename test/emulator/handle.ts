/** What a test, the demo or a person can ask of a running emulator: types only. */

import type { KeyObject } from "node:crypto";
import type { Faults } from "./fault.ts";
import type { RequestLog } from "./request-record.ts";

export interface EmulatorOptions {
  /** Milliseconds since the epoch; every `iat`, `exp` and check uses it. Default `Date.now`. */
  readonly now?: () => number;
  /** Address to listen on. Default `127.0.0.1`. */
  readonly host?: string;
  /** Name that stands in the emulator's own URLs; must lead to `host`. Default `localhost`. */
  readonly publicHost?: string;
  /** Default 0: any free port. */
  readonly ports?: {
    readonly authority?: number;
    readonly graph?: number;
    readonly kubernetes?: number;
    readonly control?: number;
  };
  /** Tenants besides the three seeded ones. */
  readonly tenants?: readonly TenantOptions[];
  /** Life of issued access tokens in seconds: plain (default 4500) and for clients that declared cp1 (default 86399). */
  readonly tokenLifetimeSeconds?: { readonly plain?: number; readonly longLived?: number };
  /**
   * How long a refresh token stays good after its first use, stricter than Entra, which never ends one because it was
   * used. Default: without end.
   */
  readonly refreshTokenOverlapSeconds?: number;
  /** Whether Graph refuses a call whose token lacks each permission that its table accepts. Default true. */
  readonly enforceGraphPermissions?: boolean;
  /** Directory for certificates and token files; it stays after `close()`. Default: a temporary one, removed by `close()`. */
  readonly stateDirectory?: string;
}

export interface TenantOptions {
  /** GUID. */
  readonly id: string;
  /** Verified domain, for example `contoso.example`. */
  readonly domain: string;
  /** Whether the gateway application has a service principal and administrator consent there. */
  readonly gatewayOnboarded: boolean;
}

export interface Tenant {
  readonly id: string;
  readonly domain: string;
}

export interface User {
  /** Short name used by tests and the demo: `ada`. */
  readonly name: string;
  /** `oid`. */
  readonly objectId: string;
  readonly tenantId: string;
  readonly displayName: string;
  readonly userPrincipalName: string;
  readonly managerObjectId?: string;
  readonly hasPhoto: boolean;
  /** How many messages the mailbox holds. */
  readonly messageCount: number;
  /** May consent for the whole tenant. */
  readonly administrator?: boolean;
  /** Drop-in claims of every token of this user: `groups`, `wids`, `roles`. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** A user by handle, by `oid`, or by short name (of the home tenant first). */
export type UserRef = User | string;

/** What a redirect URI was registered as: a web page's script, a server, or a program on the user's machine. */
export type RedirectType = "spa" | "web" | "public";

/** An application whose tokens or grants the directory knows. */
export interface Application {
  readonly clientId: string;
  readonly displayName: string;
  /** Every spelling under which clients may name this resource; the first one is its App ID URI. */
  readonly identifierUris: readonly string[];
  /** `requestedAccessTokenVersion`. */
  readonly accessTokenVersion: 1 | 2;
  /** Delegated permissions that it exposes. */
  readonly exposedScopes: readonly string[];
}

export interface ClientCertificateOptions {
  readonly commonName?: string;
  /** Milliseconds since the epoch. Default: an hour ago, and in a year. */
  readonly notBefore?: number;
  readonly notAfter?: number;
  /** PKCS#8 or PKCS#1 PEM of an existing key; by default a new RSA-2048 key is made. */
  readonly keyPem?: string;
}

export interface ClientCertificate {
  readonly certificatePem: string;
  /** PKCS#8. */
  readonly privateKeyPem: string;
  /** Certificate of the issuing CA. */
  readonly chainPem: string;
  /** Key, certificate and chain in one file, as `AZURE_CLIENT_CERTIFICATE_PATH` expects it. */
  readonly pem: string;
  /** Upper-case hex. */
  readonly thumbprintSha256: string;
  readonly thumbprintSha1: string;
}

export interface FederatedCredential {
  readonly issuer: string;
  readonly subject: string;
  readonly audience: string;
}

/** Which key signs: `active`; a key of the mixed common set that serves other issuers; or one nobody publishes. */
export type SigningKeyChoice =
  | "active"
  | "next"
  | "unpublished"
  | "consumer-accounts"
  | "other-cloud"
  | (string & {});

export interface MintOptions {
  /** Default: the first seeded user of the tenant. */
  readonly user?: UserRef;
  /** Default: the user's tenant, else the home tenant. */
  readonly tenantId?: string;
  /** The client that "acquired" the token (`azp` / `appid`). Default: the front-end application. */
  readonly clientId?: string;
  /** `scp`. Default `["access_as_user"]`. */
  readonly scopes?: readonly string[];
  readonly version?: "1.0" | "2.0";
  /** Default: the gateway's client id; for v1 its App ID URI. */
  readonly audience?: string;
  /** Merged over all other claims; a member that is `undefined` deletes the claim. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Seconds from now; may be negative. Default 4500. */
  readonly expiresInSeconds?: number;
  /** `xms_cc`, for example `["cp1"]`. Absent by default. */
  readonly capabilities?: readonly string[];
  /** A claims request as it stood in a challenge (decoded JSON): the token satisfies it, as after a new sign-in. */
  readonly claimsRequest?: string;
  /** A token of an application itself: no `scp`, `oid` = `sub`. */
  readonly appOnly?: boolean;
  /** Default: the emulator's own origin. A production authority host gives the production issuer. */
  readonly authorityHost?: string;
  /** Merged over the header; a member that is `undefined` deletes it. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** Which key signs (a `kid` names any key, retired ones too). Header `kid` follows it unless overridden. */
  readonly signWith?: SigningKeyChoice;
}

export type GrantName = "on-behalf-of" | "client-credentials" | "authorization-code" | "refresh-token";

export interface RefusalOptions {
  /** AADSTS number. */
  readonly code: number;
  /** Conditions: all that are given must hold. None = every request. */
  readonly user?: UserRef;
  readonly tenantId?: string;
  readonly clientId?: string;
  /** One of the requested scopes, exactly as requested. */
  readonly scope?: string;
  /** Without it: every request to the token endpoint. `authorize` is the sign-in page, which must be named. */
  readonly grant?: GrantName | "authorize";
  /** How often. Default: until cleared. */
  readonly times?: number;
  /** A claims request to send along (JSON text), or `true` for a policy of our own. */
  readonly claims?: string | true;
  /** MFA-like rows have two spellings on the wire: their own error, or `invalid_grant` with suberror `basic_action`. */
  readonly spelling?: "own-error" | "basic-action";
  readonly description?: "one-line" | "crlf";
  readonly errorUri?: boolean;
  /** Overrides of the table's row. `null` leaves `suberror` out. */
  readonly error?: string;
  readonly suberror?: string | null;
  readonly status?: number;
  readonly retryAfterSeconds?: number;
}

export interface MfaRequirement {
  /** Authentication context (`c1`) to ask for by `acrs`; without it a Conditional Access policy id is sent (`capolids`). */
  readonly authContext?: string;
  readonly spelling?: "own-error" | "basic-action";
  /** The policy covers the gateway itself, so sign-in and renewal ask for it. Default: only what lies behind an exchange. */
  readonly atSignIn?: boolean;
}

export interface Removable {
  remove(): void;
}

export interface ServiceAccountTokenOptions {
  /** Default `obo-gateway`. */
  readonly namespace?: string;
  readonly serviceAccount?: string;
  /** Default `api://AzureADTokenExchange`. */
  readonly audience?: string;
  /** Default 3600. */
  readonly expirationSeconds?: number;
  /** Merged over the claims; `undefined` deletes. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

export interface MountOptions extends ServiceAccountTokenOptions {
  /** Default: a new temporary directory. */
  readonly directory?: string;
  /** Default `azure-identity-token`. */
  readonly fileName?: string;
  /** Default 0o640, as the kubelet does it. */
  readonly fileMode?: number;
}

/** A projected service-account volume with the kubelet's layout on disk. */
export interface TokenVolume {
  readonly directory: string;
  readonly tokenFile: string;
  /** A fresh token through an atomic exchange of `..data`, as the kubelet rotates; also mends a broken volume. */
  rotate(changes?: ServiceAccountTokenOptions): Promise<void>;
  /** The same exchange, with unusable content. */
  breakWith(defect: "missing" | "empty" | "half-written"): Promise<void>;
  /** Removes what was written. `close()` of the emulator does it too. */
  remove(): Promise<void>;
}

export interface KubernetesIssuer {
  /** Ends in `/`, as on AKS. */
  readonly issuer: string;
  readonly jwksUri: string;
  issueServiceAccountToken(options?: ServiceAccountTokenOptions): string;
  mountServiceAccountToken(options?: MountOptions): Promise<TokenVolume>;
  /** A new signing key; the old one stays published unless told otherwise. */
  rollKey(options?: { readonly retireOld?: boolean }): Promise<void>;
}

export interface GraphChallengeOptions {
  /** Claims request as JSON text. Default: `nbf` of this second (continuous access evaluation). */
  readonly claims?: string;
  /** Default `new-token`: tokens issued later pass (or, for `acrs`, tokens that hold the value). */
  readonly satisfiedBy?: "new-token" | "nothing";
  /** Whole `WWW-Authenticate` value instead of the usual one; `{claims}` is replaced by the base64 text. */
  readonly header?: string;
  readonly times?: number;
  /** Only calls whose path holds this text, parts of a batch one by one. Default: every request as a whole. */
  readonly path?: string;
}

export interface GraphThrottleOptions {
  /** Text that the path holds; parts of a batch count one by one. Default: every call. */
  readonly path?: string;
  readonly times?: number;
  /** Seconds; left out, the answer names none. */
  readonly retryAfter?: number;
}

export interface GraphControl {
  /** Graph answers 401 with a claims challenge to this user's tokens. Only tokens with `xms_cc` cp1 are challenged. */
  challenge(user: UserRef, options?: GraphChallengeOptions): Removable;
  /** Graph answers 429. */
  throttle(options?: GraphThrottleOptions): Removable;
  /** Ends challenges and throttling. */
  clearChallenges(): void;
  /** Any one of them lets a delegated call pass; undefined: the table does not know the call. */
  acceptedPermissions(method: string, path: string): readonly string[] | undefined;
  /** Switches the check of permissions by method and path. */
  enforcePermissions(enforced: boolean): void;
}

export interface Emulator {
  /** `https://localhost:PORT/`. */
  readonly authorityHost: string;
  /** `https://localhost:PORT/v1.0`. */
  readonly graphUrl: string;
  /** `http://127.0.0.1:PORT`. */
  readonly controlUrl: string;
  readonly ports: Readonly<Record<"authority" | "graph" | "kubernetes" | "control", number>>;
  /** PEM of the private CA that every listener's certificate chains to. */
  readonly caCertificate: string;
  /** Files in the state directory: CA, gateway certificate with key, and a mounted service-account token. */
  readonly files: {
    readonly caCertificate: string;
    readonly clientCertificate: string;
    readonly federatedToken: string;
  };

  readonly homeTenant: Tenant;
  /** The gateway is onboarded there, too. */
  readonly secondTenant: Tenant;
  /** The gateway has no service principal there. */
  readonly foreignTenant: Tenant;
  /** Home tenant's id and the gateway's client id, the two most needed. */
  readonly tenantId: string;
  readonly clientId: string;
  /** Single-page application; its redirect URI is `http://localhost` with any port. */
  readonly frontEndClientId: string;
  /** Public client for programs on the user's machine: command lines, MCP clients. */
  readonly publicClientId: string;
  /** `oid` of tokens that the gateway gets for itself. */
  readonly gatewayPrincipalId: string;
  readonly gateway: Application;
  /** A second downstream API besides Graph, with v2 tokens and scope `orders.read`. */
  readonly ordersApi: Application;
  readonly users: Readonly<Record<"ada" | "grace" | "edsger" | "linus" | "mallory", User>>;
  /** The certificate registered for the gateway at start. */
  readonly clientCertificate: ClientCertificate;
  /** The volume behind `files.federatedToken`; matches the seeded federated credential. */
  readonly tokenVolume: TokenVolume;
  readonly kubernetes: KubernetesIssuer;
  readonly graph: GraphControl;
  readonly faults: Faults;
  readonly requests: RequestLog;

  /** The emulator's clock, offset included, ms. */
  now(): number;
  /** Moves the emulator's clock by so many ms, for good. */
  advanceClock(ms: number): void;

  user(ref: UserRef): User;
  addUser(user?: Partial<User>): User;
  issueClientCertificate(options?: ClientCertificateOptions): Promise<ClientCertificate>;
  registerCertificate(clientId: string, certificate: Pick<ClientCertificate, "certificatePem">): void;
  /** The certificate is not registered any more. */
  revokeCertificate(clientId: string, certificate: Pick<ClientCertificate, "certificatePem">): void;
  addClientSecret(
    clientId: string,
    options?: { readonly value?: string; readonly expiresAt?: number },
  ): string;
  /** `effectiveInMs`: a new credential is not seen by every Entra server at once. */
  addFederatedCredential(
    clientId: string,
    credential: FederatedCredential,
    options?: { readonly effectiveInMs?: number },
  ): void;
  removeFederatedCredential(clientId: string, credential: FederatedCredential): void;

  mintUserToken(options?: MintOptions): string;
  /** Signs any header and payload with the active key (or another), as they are. */
  signJwt(
    header: Readonly<Record<string, unknown>>,
    payload: Readonly<Record<string, unknown>>,
    signWith?: SigningKeyChoice,
  ): string;
  /** Public half of a signing key, for tests that forge. */
  publicKey(kid?: string): KeyObject;
  /** Default: the already published next key becomes active. `publish: false`: a new key signs before any set shows it. */
  rollKeys(options?: {
    readonly publish?: boolean;
  }): Promise<{ readonly activeKid: string; readonly previousKid: string }>;
  /** Puts a key into the published set. */
  publishKey(kid: string): void;
  /** Takes a key out of the published set. */
  retireKey(kid: string): void;

  /** The token endpoint refuses matching requests. */
  refuse(options: RefusalOptions): Removable;
  clearRefusals(): void;
  /** Until `remove()`, only user assertions whose `amr` has `mfa` (or `acrs` the context) are exchanged. */
  requireMfa(user: UserRef, requirement?: MfaRequirement): Removable;
  /** Takes consent away; without a user, the administrator's consent of the whole tenant. */
  revokeConsent(options: {
    readonly clientId?: string;
    readonly tenantId?: string;
    readonly resource?: string;
  }): void;
  grantConsent(options: {
    readonly scopes: readonly string[];
    readonly clientId?: string;
    readonly tenantId?: string;
    readonly resource?: string;
    /** Only for this user; default: administrator consent for all. */
    readonly user?: UserRef;
  }): void;
  disableUser(user: UserRef): void;
  enableUser(user: UserRef): void;
  unassignUser(user: UserRef): void;
  assignUser(user: UserRef): void;
  /** Tokens issued until now are void: Entra answers AADSTS50173 to them, Graph challenges them. */
  revokeSessions(user: UserRef): void;
  /**
   * `administrator` (default): a reset, which ends everything. `user`: ends browser sessions and the refresh tokens of
   * public clients; those of confidential clients stay alive, as documented.
   */
  changePassword(user: UserRef, options?: { readonly by?: "user" | "administrator" }): void;
  /** Conditional Access: a sign-in older than so many seconds must be repeated. */
  requireSignInFrequency(user: UserRef, seconds: number): Removable;
  /** Whether users of the tenant may consent for themselves. Default: they may, to permissions that need no administrator. */
  setUserConsent(options: { readonly allowed: boolean; readonly tenantId?: string }): void;
  registerRedirectUri(
    clientId: string,
    redirect: { readonly uri: string; readonly type: RedirectType },
  ): void;

  close(): Promise<void>;
}
