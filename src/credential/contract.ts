/** What the credential room hands to the others: the gateway's proof of identity, its status and its events. Types only. */

import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { Secret } from "../foundation/secret.ts";

/** The names an operator writes under `credential.sources`. */
export type CredentialSource =
  | "workload-identity"
  | "certificate"
  | "client-assertion"
  | "github-actions"
  | "azure-pipelines"
  | "managed-identity"
  | "identity-binding"
  | "client-secret";

/** What a credential adds to a token request: RFC 7523 §2.2 client assertion, or RFC 6749 §2.3.1 secret. */
export type ClientAuthentication =
  | { readonly method: "client_assertion"; readonly clientAssertion: Secret }
  | { readonly method: "client_secret"; readonly clientSecret: Secret };

export interface AuthenticationRequest {
  readonly clientId: string;
  /** The authority's token endpoint for the tenant: audience of an assertion that the gateway signs itself. */
  readonly tokenEndpoint: string;
}

/** What a proof was made from. */
export interface ProofOrigin {
  readonly source: CredentialSource;
  /** Counts the different contents of the source since the start, from 1. */
  readonly generation: number;
}

export interface ClientCredential {
  readonly source: CredentialSource;
  /**
   * Proof for one token request. Cheap enough to call for each: it reuses what is still valid.
   * Rejects with `credential_unavailable` when nothing usable can be had.
   */
  authenticate(request: AuthenticationRequest): Promise<ClientAuthentication>;
  /**
   * Tells that Entra answered `invalid_client` to this proof, so that its source is read anew or another one takes
   * over. Resolves true when one more request with a fresh `authenticate()` is worth sending. Never rejects.
   */
  refused?: (authentication: ClientAuthentication) => Promise<boolean>;
  /** What a proof was made from, for the log. */
  originOf?: (authentication: ClientAuthentication) => ProofOrigin | undefined;
}

/** What `openCredential` gives: a credential that can also tell how it is. */
export interface CredentialRing extends ClientCredential {
  refused(authentication: ClientAuthentication): Promise<boolean>;
  /** Never waits: what was known at the last look at each source, so a watcher calls `refresh()` now and then. */
  status(): CredentialStatus;
  /** Looks at every source where that is due, so that `status()` is true of an idle gateway too. */
  refresh(): Promise<void>;
  /**
   * Tries the credential at Entra until it has been accepted once, in the background after the first attempt, and ends
   * when the signal fires. Resolves when the first attempt has ended. Never rejects. Without a canary nothing is tried.
   */
  warmUp(signal?: AbortSignal): Promise<void>;
}

export interface CredentialStatus {
  /** The source that proved the gateway last, or will be the first to be asked. */
  readonly serving: CredentialSource;
  /**
   * Whether any source has something to offer. One that Entra refuses counts: it is asked as a last resort, cached
   * tokens need no credential, and only requests can find out that it is accepted again.
   */
  readonly usable: boolean;
  /**
   * Whether this process may become ready: Entra has accepted a proof once, or the first trial ended without a decision
   * (Entra could not be reached). False before the first trial has ended, and after a definite refusal until Entra has
   * accepted a proof once. Stays true from the first acceptance on.
   */
  readonly accepted: boolean;
  /** How the trial that `warmUp()` makes stands. The problem names Entra's numbers and nothing secret. */
  readonly firstTrial:
    | { readonly state: "pending" | "accepted"; readonly problem?: never }
    | { readonly state: "refused" | "undecided"; readonly problem: string };
  /** In the order in which they are tried. */
  readonly sources: readonly SourceStatus[];
}

export interface SourceStatus {
  readonly source: CredentialSource;
  /**
   * As of the last look at the source: `unusable` means it had nothing valid to offer, `refused` that Entra does
   * not accept what it offers. An idle source is not called unusable just because time went by, or a gateway
   * that is taken out of rotation for it would never look again.
   */
  readonly state: "usable" | "unusable" | "refused";
  /** Counts the different contents read from the source since the start, from 1. */
  readonly generation: number;
  /** End of the certificate's or the federated token's own validity, ms since the epoch. */
  readonly expiresAt?: number;
  /** What is wrong with the source now, while an older generation may still serve. */
  readonly fault?: { readonly since: number; readonly problem: string };
  /** Newer content that Entra has not accepted yet. It takes over when it is, or when the one that serves is not. */
  readonly candidate?: {
    readonly generation: number;
    readonly state: "on trial" | Exclude<TrialVerdict["verdict"], "accepted">;
  };
}

/** What Entra says to a proof that no request depends on yet. `undecided`: nothing, or something about another matter. */
export type TrialVerdict =
  | { readonly verdict: "accepted" }
  | { readonly verdict: "refused" | "undecided"; readonly problem: string };

/** Tries a proof before requests depend on it. */
export interface Canary {
  /** The client, and the endpoint of the tenant where its credentials are registered. */
  readonly request: AuthenticationRequest;
  /** Never rejects, and takes a bounded time. */
  readonly proveWith: (authentication: ClientAuthentication) => Promise<TrialVerdict>;
}

/** What happened to a source. */
export type CredentialEventType =
  /** Entra accepted it for the first time since the start. */
  | "accepted"
  /** It is named in `credential.sources`, but what it needs is not set; the others serve. */
  | "absent"
  /** It changed and its new content serves. */
  | "reloaded"
  /** Entra did not accept its new content in a trial; the previous generation serves on while it is valid. */
  | "trial_failed"
  /** It changed into something unusable; the previous generation serves on while it is valid. */
  | "reload_failed"
  /** It has nothing valid left; the next one is tried. */
  | "unusable"
  /** Entra refused what it offers, and it has nothing newer. */
  | "refused"
  /** It serves instead of another. */
  | "switched"
  /** Its certificate ends within 30 days. */
  | "expiring"
  /** Its private key is in a file that everyone on this machine may read. */
  | "file_exposed"
  /** Its federated token is for another audience than this cloud's. */
  | "audience_unexpected"
  /** Its federated token begins in the future. */
  | "clock_doubtful"
  /** It is a client secret, and this is production. */
  | "secret_in_production";

/** What is worth a log line or a metric. Holds names of files and settings, never what stands in them. */
export interface CredentialEvent {
  readonly type: CredentialEventType;
  readonly source: CredentialSource;
  readonly generation: number;
  /** Sentence for the operator: file or setting, what is wrong, what to do. */
  readonly message: string;
  /** End of the certificate or token that the event is about, ms since the epoch. */
  readonly expiresAt?: number;
}

/**
 * Asks the platform (App Service, Container Apps, a virtual machine) for the identity's token. Never rejects; the
 * problem is the end of a sentence and quotes nothing of the answer.
 */
export type ManagedIdentityToken = (
  audience: string,
) => Promise<{ readonly token: string } | { readonly problem: string }>;

/** The address of AKS' identity-binding proxy and what its certificate is checked against. */
export interface TokenProxyOptions {
  /** Milliseconds for one answer, connecting included. */
  readonly timeoutMs: number;
  /** AZURE_KUBERNETES_TOKEN_PROXY: https, without query, fragment and user information. */
  readonly url: string;
  /** AZURE_KUBERNETES_SNI_NAME: name that the proxy's certificate is for. */
  readonly sniName?: string | undefined;
  /** AZURE_KUBERNETES_CA_FILE: PEM, read for each request since it may be renewed. */
  readonly caFile?: string | undefined;
  /** AZURE_KUBERNETES_CA_DATA: the same as text. Neither of the two: the system's roots. */
  readonly caData?: string | undefined;
}

/**
 * Gives a JWT that a federated credential of the app registration accepts (RFC 7523 §3). It should keep what it
 * can reuse, and end when `signal` fires.
 */
export type ClientAssertionCallback = (
  request: AuthenticationRequest & { readonly signal: AbortSignal },
) => Promise<string>;

export interface CredentialOptions {
  /** Tried in this order. Left out: every source whose settings are present. */
  readonly sources?: readonly CredentialSource[] | undefined;
  /** AZURE_CLIENT_CERTIFICATE_PATH: PEM or PKCS#12 file with an RSA key and its certificate. */
  readonly certificatePath?: string | undefined;
  /** AZURE_CLIENT_CERTIFICATE: the content of such a file, as text or base64. The file wins where both are given. */
  readonly certificate?: Secret | undefined;
  /** AZURE_CLIENT_CERTIFICATE_PASSWORD: opens a PKCS#12 file, or an encrypted key in a PEM file. */
  readonly certificatePassword?: Secret | undefined;
  /** AZURE_CLIENT_SEND_CERTIFICATE_CHAIN: adds `x5c`, which trust by subject name and issuer needs. */
  readonly sendCertificateChain: boolean;
  /** AZURE_FEDERATED_TOKEN_FILE: projected service-account token. */
  readonly federatedTokenFile?: string | undefined;
  /** AZURE_CLIENT_SECRET: for local development. */
  readonly clientSecret?: Secret | undefined;
  /** Asked for each proof by a program that embeds the gateway. */
  readonly clientAssertion?: ClientAssertionCallback | undefined;
  /** ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN: for integration tests on GitHub. */
  readonly githubActions?:
    | { readonly requestUrl?: string | undefined; readonly requestToken?: Secret | undefined }
    | undefined;
  /**
   * SYSTEM_OIDCREQUESTURI, SYSTEM_ACCESSTOKEN and AZURESUBSCRIPTION_SERVICE_CONNECTION_ID: for integration tests in
   * Azure Pipelines, under the names that an AzureCLI@2 or AzurePowerShell@5 step gives them.
   */
  readonly azurePipelines?:
    | {
        readonly requestUri?: string | undefined;
        readonly accessToken?: Secret | undefined;
        readonly serviceConnectionId?: string | undefined;
      }
    | undefined;
  /** Gives tokens of the managed identity that a federated credential of the app registration names. */
  readonly managedIdentityToken?: ManagedIdentityToken | undefined;
  /** Client id of that identity, for the source that asks for its token over a proxy. */
  readonly managedIdentityClientId?: string | undefined;
  /** AZURE_KUBERNETES_TOKEN_PROXY and its siblings, which AKS sets in a pod with an identity binding. */
  readonly tokenProxy?:
    | (Omit<TokenProxyOptions, "url" | "timeoutMs"> & { readonly url?: string | undefined })
    | undefined;
  /** Audience of tokens that are asked for: `api://AzureADTokenExchange` in the public cloud; others have their own. */
  readonly federationAudience: string;
  /** Proves what replaces a credential while the old one serves on. Without it, what is new takes over at once. */
  readonly canary?: Canary | undefined;
  /** Milliseconds for one answer of a platform, proxy or callback that gives federated tokens. */
  readonly issuerTimeoutMs: number;
  /** Default the global one. */
  readonly fetch?: Fetch | undefined;
  /** Whether this process serves production, where a client secret earns a warning. */
  readonly production: boolean;
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: (() => number) | undefined;
  /** Called synchronously; must not throw. */
  readonly onEvent?: ((event: CredentialEvent) => void) | undefined;
}
