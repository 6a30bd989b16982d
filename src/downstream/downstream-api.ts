/** A named downstream API, and the one function that turns a caller's path into a target below its base URL. */

/** What configuration says of a downstream API. */
export interface DownstreamApiOptions {
  readonly name: string;
  /** Absolute https URL (http only with `allowPrivateNetwork`), no query, no fragment, no userinfo. */
  readonly baseUrl: string;
  readonly scopes: readonly string[];
  /** Total time for one forwarded request, ms, until the answer's headers are here. */
  readonly timeoutMs: number;
  /** Longest pause between two chunks of a body, ms, in either direction. */
  readonly idleTimeoutMs: number;
  /** Largest request body, bytes. */
  readonly maxRequestBytes: number;
  readonly allowPrivateNetwork: boolean;
}

/** What a route lets through to its API. */
export interface TargetRules {
  /** Where the route is mounted, without trailing slash: `/graph`. */
  readonly path: string;
  /** Upper-case method names. */
  readonly methods: readonly string[];
  /** Patterns of downstream paths: `*` is one segment, `**` any number. Nothing else passes. */
  readonly allow: readonly string[];
}

/** A request target proven to lie below the API's base URL. */
export interface Target {
  readonly api: DownstreamApiOptions;
  /** Scheme, host and port. */
  readonly origin: string;
  /** Path below the origin, with the caller's query untouched. */
  readonly path: string;
}
