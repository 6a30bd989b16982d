/** What sign-in of MCP clients hands to the public side: endpoints, and challenges that such clients can follow. Types only. */

import type { GatewayErrorCode } from "../errors.ts";

/** A request to an endpoint, as far as endpoints look at it. */
export interface EndpointRequest {
  /** As it was written, without the question mark. */
  readonly query: string;
  /** Empty where the endpoint takes none. */
  readonly body: string;
  /** Whether the request has a field `Authorization`. */
  readonly hasAuthorization: boolean;
  readonly correlationId: string;
  /** Aborts when the client has left. */
  readonly signal: AbortSignal;
}

export interface EndpointAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** For the log and the metrics, where the request was refused. */
  readonly refusal?: { readonly code: GatewayErrorCode; readonly reason: string };
}

export interface Endpoint {
  readonly methods: readonly string[];
  /** The body that it takes; without it none is read. */
  readonly body?: { readonly type: string; readonly maxBytes: number };
  /** Whether scripts of any origin may read the answer: it is the same for every reader. */
  readonly anyOrigin: boolean;
  answer(request: EndpointRequest): EndpointAnswer | Promise<EndpointAnswer>;
}

/** A route of an MCP server, as its challenges name it. */
export interface McpRoute {
  /** Mount path of the route. */
  readonly path: string;
  /** Scopes as they stand in tokens. */
  readonly scopes: readonly string[];
  /** Scopes of single tools: clients may ask for them when a challenge names one, and are not shown them before. */
  readonly toolScopes?: readonly string[];
}

/** What `WWW-Authenticate` of one MCP route names. */
export interface RouteChallenge {
  /** Qualified scopes, separated by blanks. */
  readonly scope: string;
  readonly resourceMetadata: string;
  /** A scope as it stands in tokens, as clients ask for it. */
  qualified(scope: string): string;
}

/** What the user has to do: meet a claims request, consent, sign in anew, or sign in for a further scope. */
export type Demand =
  | { readonly kind: "claims"; readonly claims: string }
  /** As it stands in tokens: the one that a tool needs. */
  | { readonly kind: "scope"; readonly scope: string }
  | { readonly kind: "consent" }
  | { readonly kind: "login" };

/** Who met the demand, and with which token. */
export interface Challenged {
  readonly tenantId: string;
  readonly objectId: string;
  /** `azp` of the token. */
  readonly clientId: string;
  /** Digest of the access token, base64url. */
  readonly tokenDigest: string;
}

/**
 * `carried`: the scope takes the demand through the client's next sign-in. `plain`: it does not fit there. `unmet`: the
 * token comes from a sign-in that this very demand led to, so another one would not help.
 */
export type Carried =
  | { readonly kind: "carried"; readonly scope: string }
  | { readonly kind: "plain" }
  | { readonly kind: "unmet" };

export interface Bridge {
  /** Client id of the registration that MCP clients sign in with. */
  readonly clientId: string;
  /** By exact path. */
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  /** By the mount path of the route. */
  readonly routes: ReadonlyMap<string, RouteChallenge>;
  carry(challenged: Challenged, demand: Demand): Promise<Carried>;
}
