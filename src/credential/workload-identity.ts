/** Workload identity: the service-account token that the kubelet keeps fresh in a file is the client assertion. */

import { ConfigurationError } from "../errors.ts";
import type { CredentialEvent } from "./contract.ts";
import { type FederatedToken, readFederatedToken } from "./federated-token.ts";
import { openReloadingFile } from "./reloading-value.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

const SETTING = "AZURE_FEDERATED_TOKEN_FILE";

/** Clocks of a cluster and of Entra agree within seconds; Entra forgives five minutes. */
const CLOCK_TOLERANCE_MS = 60_000;

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
  { path, audience }: { readonly path: string; readonly audience: string | undefined },
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
      async parse(content, { generation }) {
        const token = parseToken(content.toString("utf8"), path, ports.now());
        for (const doubt of doubtsOf(token, path, audience, ports.now()))
          ports.emit({ ...doubt, source: "workload-identity", generation });
        return token;
      },
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

function parseToken(text: string, path: string, now: number): FederatedToken {
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

/** What Entra is likely to refuse, though only Entra can know: a federated credential may name any audience. */
function doubtsOf(
  { audiences, startsAt }: FederatedToken,
  path: string,
  expected: string | undefined,
  now: number,
): Pick<CredentialEvent, "type" | "message">[] {
  const doubts: Pick<CredentialEvent, "type" | "message">[] = [];
  if (expected !== undefined && !audiences.includes(expected)) {
    const message =
      `${SETTING}: the aud of the token in ${path} is not ${expected}; set that audience on the projected token, ` +
      "unless the federated credential names another one";
    doubts.push({ type: "audience_unexpected", message });
  }
  if (startsAt !== undefined && startsAt > now + CLOCK_TOLERANCE_MS) {
    const start = new Date(startsAt).toISOString();
    const message = `${SETTING}: the token in ${path} is not valid before ${start}; is the clock right?`;
    doubts.push({ type: "clock_doubtful", message });
  }
  return doubts;
}
