/** What a program that embeds the gateway may import. */

// The types below name Node's own; a project that does not list "node" among its types has them all the same.
/// <reference types="node" preserve="true" />

export { type GatewayConfig, loadConfig } from "./config/load.ts";
export type { ClientAssertionCallback } from "./credential/contract.ts";
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
export { type Actor, ConfigurationError, GatewayError, type GatewayErrorCode } from "./errors.ts";
export { Secret } from "./foundation/secret.ts";
export {
  createDelegation,
  createGateway,
  type Delegation,
  type Gateway,
  type GatewayParts,
} from "./gateway.ts";
export {
  type CodeRoute,
  codeRoute,
  type GatewayRequest,
  type OnBehalfOf,
  type RouteHandler,
  routeHandler,
} from "./http/code-route.ts";
export type { DelegatedRequest, DelegationMiddleware } from "./http/middleware.ts";
export type { RateLimitRules } from "./http/rate-limits.ts";
export { TokenCredentialError, type UserTokenCredential } from "./http/token-credential.ts";
export type { Groups, Principal, RoutePolicy } from "./identity/contract.ts";
export { runGateway } from "./run.ts";
export { type RunningGateway, startGateway } from "./start.ts";
