/** The one module of passport-azure-ad that is loaded, as far as it is used. */

// @types/passport-azure-ad describes the package's main entry, which also loads the OpenID Connect strategy, node-jose,
// node-forge and hundreds of modules more.
declare module "passport-azure-ad/lib/bearerstrategy.js" {
  type KeyObject = import("node:crypto").KeyObject;

  export interface BearerStrategyOptions {
    identityMetadata: string;
    clientID: string;
    audience: string[];
    validateIssuer: boolean;
    clockSkew: number;
    loggingLevel: string;
    loggingNoPII: boolean;
  }

  export type VerifyCallback = (
    claims: Readonly<Record<string, unknown>>,
    done: (error: unknown, principal?: object) => void,
  ) => void;

  export type LoadMetadata = (
    error: unknown,
    metadata: {
      oidc: { issuer: string; algorithms: string[] };
      generateOidcPEM: (keyId: string) => KeyObject;
    },
  ) => void;

  export default class BearerStrategy {
    constructor(options: BearerStrategyOptions, verify: VerifyCallback);
    authenticate(request: { headers: { authorization?: string | undefined } }): void;
    loadMetadata(parameters: unknown, next: LoadMetadata): void;
    failWithLog(message: unknown): void;
    // Attached by passport to the object that it derives from the strategy for each request.
    success(principal: object): void;
    fail(challenge: object): void;
    error(error: unknown): void;
  }
}
