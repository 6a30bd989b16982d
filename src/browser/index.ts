/** Package entry `obo-gateway/browser`: the client of the gateway for web pages. */

export type {
  AcquireToken,
  GatewayFetch,
  GatewayFetchEvent,
  GatewayFetchOptions,
  ResumableRequest,
  TokenRequest,
} from "./contract.ts";
export { createGatewayFetch } from "./gateway-fetch.ts";
export { type Msal, type MsalTokens, type MsalTokensOptions, msalTokens } from "./msal.ts";
export { GatewayRefusal } from "./refusal.ts";
