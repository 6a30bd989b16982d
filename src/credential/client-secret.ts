/** Client secret: for local development, where neither a certificate nor a federated token is at hand. */

import type { Secret } from "../foundation/secret.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

/** The secret as it was configured; nothing of it can be checked before Entra has seen it. */
export async function openClientSecret(
  { secret, production }: { readonly secret: Secret; readonly production: boolean },
  { emit }: SourcePorts,
): Promise<SourceCredential> {
  if (production) {
    emit({
      type: "secret_in_production",
      source: "client-secret",
      generation: 1,
      message:
        "AZURE_CLIENT_SECRET: a client secret is meant for development; " +
        "use a federated token or a certificate in production",
    });
  }
  return {
    source: "client-secret",
    prove: async () => ({
      authentication: { method: "client_secret", clientSecret: secret },
      generation: 1,
    }),
    // An environment variable cannot change while the process runs.
    look: async () => {},
    status: () => ({ source: "client-secret", state: "usable", generation: 1 }),
  };
}
