/** A credential in the shape of `@azure/core-auth`'s TokenCredential, so that Azure and Graph clients act for the user. */

import { GatewayError } from "../errors.ts";
import type { DownstreamToken } from "../exchange/contract.ts";
import type { ObtainToken } from "./obtain-token.ts";

/** What the SDKs hand over as signal: less than the platform's own. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

export interface GetTokenOptions {
  /** Claims request as decoded JSON text, from a challenge: no cached token is good enough then. */
  readonly claims?: string | undefined;
  /** The user's own tenant or nothing: an exchange goes to the tenant that the assertion is from. */
  readonly tenantId?: string | undefined;
  /** Always on: the gateway declares `cp1` with every exchange. */
  readonly enableCae?: boolean | undefined;
  readonly abortSignal?: AbortSignalLike | undefined;
}

export interface AccessToken {
  readonly token: string;
  /** Ms since the epoch. */
  readonly expiresOnTimestamp: number;
  /** When a client may ask again ahead of the end, ms since the epoch. */
  readonly refreshAfterTimestamp: number;
  readonly tokenType: "Bearer";
}

/** Assignable to `TokenCredential` of `@azure/core-auth`, which the gateway itself does not need. */
export interface UserTokenCredential {
  /** @throws {TokenCredentialError} */
  getToken(scopes: string | string[], options?: GetTokenOptions): Promise<AccessToken>;
}

/**
 * The names are those of `@azure/identity`, where chains of credentials tell them apart: *unavailable* has not even
 * tried, and another credential may be used instead; with *authentication failed*, Entra said no. `cause` is the
 * refusal that the caller of the gateway is to see.
 */
export class TokenCredentialError extends Error {
  override readonly name: "CredentialUnavailableError" | "AuthenticationError";
  override readonly cause: GatewayError;

  constructor(cause: GatewayError) {
    super(cause.message, { cause });
    this.name = UNTRIED.includes(cause.code) ? "CredentialUnavailableError" : "AuthenticationError";
    this.cause = cause;
  }
}

/** Refusals before any request to Entra. */
const UNTRIED: readonly string[] = [
  "credential_unavailable",
  "downstream_misconfigured",
  "overloaded",
] satisfies readonly GatewayError["code"][];

/** A token is given again until this long before its end, ms: time for the request that carries it. */
const MARGIN_MS = 5_000;
const REFRESH_MS = 5 * 60_000;

export interface TokenCredentialOptions {
  /** The configured scopes: whatever a client asks for, the token has these. */
  readonly scopes: readonly string[];
  readonly tenantId: string;
  readonly obtainToken: ObtainToken;
  /** Aborts when the caller has left. */
  readonly signal: AbortSignal;
  readonly onFailure: (failure: TokenCredentialError) => void;
}

/**
 * For one request and one API. Shares cache and flights with every other way to the API, since it asks for the same
 * scopes; a client that names another resource is refused instead of given a token that would not do there.
 *
 * The last token is kept and given again while it is good: the SDKs' refresh in the background outlives the request,
 * and no code would handle a failure of it.
 */
export function createTokenCredential(options: TokenCredentialOptions): UserTokenCredential {
  const { scopes, tenantId, obtainToken, signal, onFailure } = options;
  let held: DownstreamToken | undefined;

  function misused(
    asked: readonly string[],
    { tenantId: other, ...more }: GetTokenOptions,
  ): string | undefined {
    const resources = new Set(scopes.map(resourceOf));
    if (asked.some((scope) => scope.includes("/") && !resources.has(resourceOf(scope))))
      return "credential_scopes";
    if (other !== undefined && other.toLowerCase() !== tenantId.toLowerCase()) return "credential_tenant";
    return "proofOfPossessionOptions" in more && more.proofOfPossessionOptions !== undefined
      ? "credential_proof_of_possession"
      : undefined;
  }

  return {
    async getToken(asked, request = {}) {
      const { claims, abortSignal } = request;
      try {
        const reason = misused([asked].flat(), request);
        if (reason !== undefined) throw misconfigured(reason);
        if (claims !== undefined || held === undefined || held.expiresAt - MARGIN_MS <= Date.now()) {
          const either =
            abortSignal === undefined ? signal : AbortSignal.any([signal, platformSignal(abortSignal)]);
          held = await obtainToken({ signal: either, ...(claims !== undefined && { claims }) });
        }
      } catch (cause) {
        if (!(cause instanceof GatewayError)) throw cause;
        const failure = new TokenCredentialError(cause);
        onFailure(failure);
        throw failure;
      }
      const { accessToken, expiresAt } = held;
      return {
        token: accessToken.reveal(),
        expiresOnTimestamp: expiresAt,
        refreshAfterTimestamp: expiresAt - REFRESH_MS,
        tokenType: "Bearer",
      };
    },
  };
}

/**
 * The refusal behind what a handler threw: the error itself, or its cause, or, for clients that keep neither but
 * note the name as `code`, the credential's last failure.
 */
export function refusalBehind(thrown: unknown, failure: TokenCredentialError | undefined): unknown {
  for (let error = thrown, depth = 0; error instanceof Error && depth < 8; error = error.cause, depth += 1) {
    if (error instanceof GatewayError) return error;
    if (failure !== undefined && "code" in error && error.code === failure.name) return failure.cause;
  }
  return thrown;
}

/** `https://vault.azure.net/` of `https://vault.azure.net//.default`, without its closing slashes. */
function resourceOf(scope: string): string {
  return scope.slice(0, scope.lastIndexOf("/")).replace(/\/+$/, "");
}

function platformSignal(like: AbortSignalLike): AbortSignal {
  if (like instanceof AbortSignal) return like;
  const controller = new AbortController();
  if (like.aborted) controller.abort();
  like.addEventListener("abort", () => controller.abort());
  return controller.signal;
}

function misconfigured(reason: string): GatewayError {
  return new GatewayError("downstream_misconfigured", {
    detail: "The gateway's configuration for this downstream API is not valid.",
    reason,
  });
}
