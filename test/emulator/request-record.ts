/** What the emulator notes of each request: types only. */

import type { FaultEndpoint } from "./fault.ts";

interface RequestRecord {
  /** Milliseconds since the epoch, of the emulator's clock. */
  readonly at: number;
  readonly status: number;
  /** A fault answered, or changed the answer. */
  readonly faulted: boolean;
  /** The connection ended before the answer did. */
  readonly aborted: boolean;
}

export interface MetadataRequest extends RequestRecord {
  readonly endpoint: Exclude<FaultEndpoint, "token" | "graph" | "authorize">;
  readonly path: string;
  readonly tenant: string;
}

export interface TokenRequest extends RequestRecord {
  readonly endpoint: "token";
  /** Tenant segment of the URL, as sent. */
  readonly tenant: string;
  readonly grantType: string | undefined;
  readonly clientId: string | undefined;
  /** `oid` of the user assertion. */
  readonly userObjectId: string | undefined;
  readonly scopes: readonly string[];
  /** The `claims` parameter as sent. */
  readonly claims: string | undefined;
  readonly credential: "certificate" | "federated" | "secret-in-body" | "secret-basic" | "none";
  /** Hex SHA-256 of the client assertion and of the user assertion. */
  readonly clientAssertionSha256: string | undefined;
  readonly userAssertionSha256: string | undefined;
  readonly refreshTokenSha256: string | undefined;
  /** RFC 8707's parameter, as sent. */
  readonly resource: string | undefined;
  /** Hex SHA-256 thumbprint that a certificate assertion named (SHA-1 when it used `x5t`), upper case. */
  readonly thumbprint: string | undefined;
  readonly correlationId: string;
  /** AADSTS number; 0 = token issued; undefined = a fault answered. */
  readonly aadsts: number | undefined;
}

/** The authorize endpoint and the pages behind it; no code and no token is noted. */
export interface AuthorizeRecord extends RequestRecord {
  readonly endpoint: "authorize";
  readonly method: string;
  readonly path: string;
  readonly tenant: string;
  readonly clientId: string | undefined;
  readonly redirectUri: string | undefined;
  readonly scopes: readonly string[];
  readonly prompt: string | undefined;
  readonly loginHint: string | undefined;
  /** The `claims` parameter as sent. */
  readonly claims: string | undefined;
  readonly resource: string | undefined;
  readonly challengeMethod: string | undefined;
  /** AADSTS number; 0 = the client was answered; undefined = a page was shown, or a fault answered. */
  readonly aadsts: number | undefined;
}

export interface GraphRequest extends RequestRecord {
  readonly endpoint: "graph";
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** Lower-case names; several lines joined by ", ". `authorization` is `sha256:<hex of the token>`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Names in order and spelling of arrival. */
  readonly headerNames: readonly string[];
  /** Of the delegated token, once it was verified. */
  readonly userObjectId: string | undefined;
  readonly tenantId: string | undefined;
  readonly scopes: readonly string[];
  readonly body: { readonly bytes: number; readonly sha256: string };
  /** Part of a `$batch`. */
  readonly batched: boolean;
}

type ListName = "token" | "authorize" | "discovery" | "keys" | "graph" | "kubernetes";

export interface RequestLog {
  readonly token: readonly TokenRequest[];
  readonly authorize: readonly AuthorizeRecord[];
  readonly discovery: readonly MetadataRequest[];
  readonly keys: readonly MetadataRequest[];
  readonly graph: readonly GraphRequest[];
  readonly kubernetes: readonly MetadataRequest[];
  /** Requests since the start or the last `clear()`; the lists hold the newest few thousand. */
  readonly counts: Readonly<Record<ListName, number>>;
  /** How many requests have arrived and are not answered yet. */
  readonly pending: Readonly<Record<ListName, number>>;
  /** Resolves when `condition` holds, checked now and after every arrival and answer. */
  until(condition: (log: RequestLog) => boolean): Promise<void>;
  clear(): void;
}
