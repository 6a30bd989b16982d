/** Types of the browser client: what a page hands over, what its sign-in library is asked for, and what is reported. */

import type { GatewayErrorCode } from "../errors.ts";

/** Codes that name a demand which this client tries to meet before it gives up. */
export type Demand = Extract<
  GatewayErrorCode,
  "token_rejected" | "claims_challenged" | "interaction_required" | "consent_required"
>;

/** A request that can be sent again after the page was left and loaded anew: its body is text, or absent. */
export interface ResumableRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body?: string;
}

/** What the sign-in library is asked for. Without any member: a token, from its cache where it holds one. */
export interface TokenRequest {
  /** Claims request of Entra as JSON text, to be passed on as it is: no cached token meets it. */
  readonly claims?: string;
  /** The gateway did not accept the token that was sent: take none from the cache. */
  readonly renew?: boolean;
  /** No silent renewal can help: the user has to sign in. */
  readonly interactive?: boolean;
  /** The request that waits for this token, where it can be resumed after a redirect. */
  readonly resumable?: ResumableRequest;
}

export type AcquireToken = (request: TokenRequest) => Promise<string>;

/** What the client did about a refusal, for pages that show it. Holds no token and no claims. */
export type GatewayFetchEvent =
  | { readonly type: "refused"; readonly code: GatewayErrorCode; readonly correlationId: string }
  | {
      readonly type: "signing_in" | "joined" | "renewing" | "consenting" | "repeated";
      readonly code: Demand;
    };

export interface GatewayFetchOptions {
  /** Address of the gateway. Relative addresses are resolved against it; the token goes to its origin alone. */
  readonly gateway: string | URL;
  readonly acquireToken: AcquireToken;
  /**
   * Lets the user consent at this address; the request is repeated when it resolves to true. Default: a window, which is
   * waited for until it closes.
   */
  readonly openConsent?: (uri: string) => Promise<boolean>;
  /** Default: the global `fetch`. */
  readonly fetch?: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
  /** Must not throw. */
  readonly onEvent?: (event: GatewayFetchEvent) => void;
}

/** As the global `fetch`; rejects with a `GatewayRefusal` where the gateway itself refuses. */
export type GatewayFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
