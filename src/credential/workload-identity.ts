/** Workload identity: the service-account token that the kubelet keeps fresh in a file is the client assertion. */

import { ConfigurationError } from "../errors.ts";
import type { SourceCredential, SourcePorts } from "./credential.ts";
import { type FederatedToken, readFederatedToken } from "./federated-token.ts";
import { openReloadingFile } from "./reloading-file.ts";

const SETTING = "AZURE_FEDERATED_TOKEN_FILE";

/** A token request that is under way has to arrive before the token ends. */
const MARGIN_MS = 10_000;

/**
 * The file is looked at for every proof, so that a token which the kubelet replaced is used by the next exchange.
 * A look is one `stat` that follows the `..data` link, on cache misses only, ahead of a request over the network;
 * watching the file itself would miss the swap.
 *
 * @throws {ConfigurationError} when the file is missing, empty, not a JWT, or its token is over.
 */
export async function openWorkloadIdentity(
  { path }: { readonly path: string },
  ports: SourcePorts,
): Promise<SourceCredential> {
  const { canary } = ports;
  const file = await openReloadingFile(
    {
      source: "workload-identity",
      setting: SETTING,
      path,
      maxBytes: 64 * 1024,
      intervalMs: 0,
      marginMs: MARGIN_MS,
      parse: async (content) => judge(content.toString("utf8"), path, ports.now()),
      // A renewal is as good as the token before; only one that speaks for somebody else can be news to Entra.
      trial:
        canary &&
        (({ identity, clientAssertion }, current) =>
          identity === current.identity
            ? undefined
            : canary.proveWith({ method: "client_assertion", clientAssertion })),
    },
    ports,
  );
  return {
    source: "workload-identity",
    async prove() {
      const { value, generation } = await file.read();
      const { clientAssertion } = value;
      return { authentication: { method: "client_assertion", clientAssertion }, generation };
    },
    look: file.look,
    status: file.status,
  };
}

function judge(text: string, path: string, now: number): FederatedToken {
  const token = readFederatedToken(text);
  if ("problem" in token)
    throw new ConfigurationError([{ path: SETTING, problem: `${path} ${token.problem}` }]);
  if (token.expiresAt - MARGIN_MS <= now) {
    const end = new Date(token.expiresAt).toISOString();
    const problem = `the token in ${path} ended at ${end}; is the file still renewed, and is the clock right?`;
    throw new ConfigurationError([{ path: SETTING, problem }]);
  }
  return token;
}
