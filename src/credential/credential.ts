/** How the gateway proves itself to Entra: one function type, many sources. */

import type { Secret } from "../secret.ts";

/** The names an operator writes under `credential.sources`. */
export type CredentialSource = "certificate" | "workload-identity" | "client-secret";

/** What a credential adds to a token request: RFC 7523 §2.2 client assertion, or RFC 6749 §2.3.1 secret. */
export type ClientAuthentication =
  | { readonly method: "client_assertion"; readonly clientAssertion: Secret }
  | { readonly method: "client_secret"; readonly clientSecret: Secret };

export interface AuthenticationRequest {
  readonly clientId: string;
  /** The authority's token endpoint for the tenant: audience of an assertion that the gateway signs itself. */
  readonly tokenEndpoint: string;
}

export interface ClientCredential {
  readonly source: CredentialSource;
  /**
   * Proof for one token request. Cheap enough to call for each: it reuses what is still valid.
   * Rejects with `credential_unavailable` when nothing usable can be had.
   */
  authenticate(request: AuthenticationRequest): Promise<ClientAuthentication>;
}
