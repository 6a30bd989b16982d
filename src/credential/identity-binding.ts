/** AKS identity binding: the pod's token buys the token of a user-assigned identity, which proves the gateway. */

import { ConfigurationError } from "../errors.ts";
import { parseJsonObject } from "../foundation/json.ts";
import type { TokenProxyOptions } from "./contract.ts";
import { openIssuedToken } from "./issued-token.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";
import { createTokenProxy } from "./token-proxy.ts";
import { openWorkloadIdentity } from "./workload-identity.ts";

const SETTING = "AZURE_KUBERNETES_TOKEN_PROXY";

/** These tokens live for a day. */
const RENEW_MS = 10 * 60_000;

/** RFC 7523 §2.2. */
const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

export interface IdentityBindingOptions extends TokenProxyOptions {
  /** AZURE_FEDERATED_TOKEN_FILE: the pod's token, here with audience `api://AKSIdentityBinding`. */
  readonly federatedTokenFile: string;
  /** `credential.managedIdentityClientId`: the identity that is bound to the cluster. */
  readonly clientId: string;
  /** Token endpoint of the identity's tenant, which is the gateway's own. */
  readonly tokenEndpoint: string;
  /** `aud` of the identity's token, as the app registration's federated credential has it. */
  readonly audience: string;
}

/**
 * A managed identity cannot run the on-behalf-of flow, so a binding is only the first of two hops: here a
 * client-credentials request of the identity through the proxy; then its token as the gateway's client assertion.
 *
 * @throws {ConfigurationError} when the pod's token cannot be read or the proxy gives no token now.
 */
export async function openIdentityBinding(
  options: IdentityBindingOptions,
  ports: SourcePorts,
): Promise<SourceCredential> {
  const { clientId, tokenEndpoint, audience } = options;
  const send = createTokenProxy(options);
  // Quiet, and under no canary: what this source is made of is no source of the operator's.
  const pod = await openWorkloadIdentity(
    { path: options.federatedTokenFile, audience: undefined },
    { now: ports.now, emit: () => {} },
  );

  async function obtain(): Promise<string> {
    const { authentication } = await pod.prove({ clientId, tokenEndpoint }).catch((cause: unknown) => {
      throw fault("the pod's token is over or cannot be read; see AZURE_FEDERATED_TOKEN_FILE", cause);
    });
    if (authentication.method !== "client_assertion")
      throw new TypeError("a federated token is an assertion");
    const { status, text } = await send(
      tokenEndpoint,
      new URLSearchParams({
        grant_type: "client_credentials",
        client_id: clientId,
        scope: `${audience}/.default`,
        client_assertion_type: ASSERTION_TYPE,
        client_assertion: authentication.clientAssertion.reveal(),
      }),
    );
    const token = status === 200 ? accessTokenOf(text) : undefined;
    if (token !== undefined) return token;
    throw fault(
      `the proxy answered ${status}${status === 200 ? " without a token" : ""}; is the identity bound to the cluster, ` +
        "and may the service account use it (verb use-managed-identity)?",
    );
  }

  return openIssuedToken(
    {
      source: "identity-binding",
      setting: SETTING,
      origin: "the identity binding",
      renewMs: RENEW_MS,
      inBackground: true,
      obtain,
    },
    ports,
  );
}

function accessTokenOf(text: string): string | undefined {
  const token = parseJsonObject(text)?.access_token;
  return typeof token === "string" ? token : undefined;
}

function fault(problem: string, cause?: unknown): ConfigurationError {
  return new ConfigurationError([{ path: SETTING, problem }], { cause });
}
