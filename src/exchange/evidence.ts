/** What a token request leaves behind for whoever has to find it again in Entra's logs. */

import type { CredentialSource } from "../credential/contract.ts";

/** Of the request that Entra answered last in an exchange. Nothing secret. */
export interface ExchangeEvidence {
  /** Entra's `x-ms-request-id`, its own word for a trace id. */
  readonly requestId: string | undefined;
  /** What proved the gateway. */
  readonly source: CredentialSource;
  /** Counts the contents that the source has had since the start, from 1. */
  readonly generation?: number | undefined;
}

/** The span of one token request. */
export interface AuthoritySpan {
  ended(outcome: { readonly status?: number | undefined; readonly code?: string | undefined }): void;
}

/** The trace that token requests are part of. */
export interface ExchangeTrace {
  asking(endpoint: string): AuthoritySpan;
}

const IDENTIFIER = /^[\w-]{1,64}$/;

export function requestIdOf(headers: Headers): string | undefined {
  const id = headers.get("x-ms-request-id");
  return id !== null && IDENTIFIER.test(id) ? id : undefined;
}
