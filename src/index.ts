/** The package's entry for programs that embed the gateway; docs/routes-and-handlers.md shows some. */

// The types below name Node's own; a project that does not list "node" among its types has them all the same.
/// <reference types="node" preserve="true" />

// Each export stays compatible within a major version. A file below `src` that is not re-exported here may change at
// any time.

/** Start: configuration from file and environment, and a gateway that listens until `stop`. */
export { type GatewayConfig, loadConfig } from "./config/load.ts";
/** Client assertions made by the program, for the credential source `client-assertion`. */
export type { ClientAssertionCallback } from "./credential/contract.ts";
/** What a handler gets of `delegation.keep()`: leave for a job to act in the user's absence. */
export type { KeptDelegation } from "./delegations/contract.ts";
/** The client of a downstream API that acts for the caller: single calls, pages and batches. */
export type {
  BatchHandle,
  BatchPartResponse,
  DownstreamBatch,
  DownstreamClient,
  DownstreamPath,
  DownstreamRequestOptions,
  DownstreamResponse,
  Page,
} from "./downstream/contract.ts";
/**
 * Errors. A handler may throw a `GatewayError`, whose code decides the problem that the caller gets; the functions
 * that start a gateway throw a `ConfigurationError` with all faults.
 */
export { type Actor, ConfigurationError, GatewayError, type GatewayErrorCode } from "./errors.ts";
/** A text that prints as `[redacted]`, and is revealed where it is used. */
export { Secret } from "./foundation/secret.ts";
/**
 * Assemble without listeners: an Express app for the program's server, the admin side, and `close`; or only the
 * middleware that verifies callers and acts on their behalf (`createDelegation`).
 */
export {
  createDelegation,
  createGateway,
  type Delegation,
  type Gateway,
  type GatewayParts,
} from "./gateway.ts";
export type { DelegatedRequest, DelegationMiddleware } from "./http/code-route.ts";
/**
 * Routes in code. `routeHandler` leaves path and policy to gateway.yaml (`handlers` of `GatewayParts`), `codeRoute`
 * brings both along (`routes`). A handler gets `GatewayRequest` and `OnBehalfOf`.
 */
/** A `TokenCredential` for clients of the Azure SDKs, and the error by which a refusal passes through them. */
export {
  type CodeRoute,
  codeRoute,
  type GatewayRequest,
  type HandlerDelegation,
  type OnBehalfOf,
  type ResumedUser,
  type RouteHandler,
  routeHandler,
  TokenCredentialError,
  type UserTokenCredential,
} from "./http/code-route.ts";
export type { RateLimitRules } from "./http/contract.ts";
/** The caller of a request, and who may call a route. */
export type { Groups, Principal, RoutePolicy } from "./identity/contract.ts";
export { runGateway } from "./run.ts";
export { type RunningGateway, startGateway } from "./start.ts";
