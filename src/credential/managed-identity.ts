/** Managed identity: the platform's token for a user-assigned identity is the client assertion. */

import { ConfigurationError } from "../errors.ts";
import type { ManagedIdentityToken } from "./contract.ts";
import { openIssuedToken } from "./issued-token.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

const SETTING = "credential.managedIdentityClientId";

/** These tokens live for a day; the platform's own cache gives a newer one only near the end. */
const RENEW_MS = 10 * 60_000;

export interface ManagedIdentityOptions {
  readonly obtainToken: ManagedIdentityToken;
  /** `aud` of the token, as the federated credential has it: `api://AzureADTokenExchange` in the public cloud. */
  readonly audience: string;
}

/**
 * Entra, "Configure an application to trust a managed identity": a federated credential whose issuer is the tenant
 * and whose subject is the identity's principal id.
 *
 * @throws {ConfigurationError} when the platform gives no token now.
 */
export function openManagedIdentity(
  { obtainToken, audience }: ManagedIdentityOptions,
  ports: SourcePorts,
): Promise<SourceCredential> {
  return openIssuedToken(
    {
      source: "managed-identity",
      setting: SETTING,
      origin: "the managed identity",
      renewMs: RENEW_MS,
      inBackground: true,
      async obtain() {
        const answer = await obtainToken(audience);
        if ("token" in answer) return answer.token;
        throw new ConfigurationError([
          {
            path: SETTING,
            problem: `the managed identity ${answer.problem}; is it assigned to this machine or app?`,
          },
        ]);
      },
    },
    ports,
  );
}
