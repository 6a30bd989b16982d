/** What a program that embeds the gateway may import. */

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
export { createGateway, type Gateway, type GatewayParts } from "./gateway.ts";
export {
  type CodeRoute,
  codeRoute,
  type GatewayRequest,
  type OnBehalfOf,
  type RouteHandler,
  routeHandler,
} from "./http/code-route.ts";
export type { RateLimitRules } from "./http/rate-limits.ts";
export { TokenCredentialError, type UserTokenCredential } from "./http/token-credential.ts";
export type { Groups, Principal, RoutePolicy } from "./identity/contract.ts";
export { type RunningGateway, startGateway } from "./start.ts";
