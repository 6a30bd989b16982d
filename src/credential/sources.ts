/** The table of sources: what each is called, which setting brings it into being, what opens it. */

import type { ConfigurationFault } from "../errors.ts";
import type { CredentialOptions, CredentialSource } from "./contract.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

/** Loads the file of a source, and gives what opens it. */
type LoadOpener = () => Promise<(ports: SourcePorts) => Promise<SourceCredential>>;

interface SourceEntry {
  /** Whether opening it asks a platform or a proxy over the network, and not this machine alone. */
  readonly asksNetwork: boolean;
  /** What usually keeps the settings from being there, as the end of a sentence. */
  readonly hint?: string;
  /** Environment variables (for the callback, the part) that have to be set for the source to exist. */
  readonly settings: readonly string[];
  /** Undefined where one of them is absent or empty. Only the files of chosen sources are loaded. */
  readonly opener: (options: CredentialOptions) => LoadOpener | undefined;
}

/** Azure/azure-workload-identity: the webhook sets the variable, at creation of the pod, and only where it is asked to. */
const WEBHOOK_HINT =
  'on AKS the workload identity webhook sets it: the pod (not the service account) needs the label azure.workload.identity/use: "true", ' +
  "the service account the annotation azure.workload.identity/client-id and to be named in serviceAccountName, " +
  "and a pod that is older than label or annotation has to be created anew (kubectl rollout restart)";

// The order of the rows is that of a configuration that names none: what the platform renews by itself comes first, a secret last.
const SOURCES: Readonly<Record<CredentialSource, SourceEntry>> = {
  "workload-identity": {
    asksNetwork: false,
    settings: ["AZURE_FEDERATED_TOKEN_FILE"],
    hint: WEBHOOK_HINT,
    opener: ({ federatedTokenFile: path, federationAudience: audience }) =>
      path
        ? async () => {
            const { openWorkloadIdentity } = await import("./workload-identity.ts");
            return (ports) => openWorkloadIdentity({ path, audience }, ports);
          }
        : undefined,
  },
  certificate: {
    asksNetwork: false,
    settings: ["AZURE_CLIENT_CERTIFICATE_PATH"],
    opener({
      certificatePath: path,
      certificate: text,
      certificatePassword: password,
      sendCertificateChain,
    }) {
      const from = path ? { path } : text?.reveal() ? { text } : undefined;
      const options = from && { from, password, sendChain: sendCertificateChain };
      return (
        options &&
        (async () => {
          const { openCertificate } = await import("./certificate.ts");
          return (ports) => openCertificate(options, ports);
        })
      );
    },
  },
  "client-assertion": {
    asksNetwork: true,
    settings: ["a clientAssertion callback"],
    opener: ({ clientAssertion: callback, issuerTimeoutMs: timeoutMs }) =>
      callback &&
      (async () => {
        const { openClientAssertionCallback } = await import("./client-assertion-callback.ts");
        return (ports) => openClientAssertionCallback({ callback, timeoutMs }, ports);
      }),
  },
  "github-actions": {
    asksNetwork: true,
    settings: ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"],
    opener({ githubActions = {}, federationAudience: audience, ...options }) {
      const { fetch = globalThis.fetch, issuerTimeoutMs: timeoutMs } = options;
      const { requestUrl, requestToken } = githubActions;
      if (!requestUrl || !requestToken?.reveal()) return undefined;
      const issuer = { requestUrl, requestToken, audience, timeoutMs };
      return async () => {
        const { openGitHubActions } = await import("./assertion-sources.ts");
        return (ports) => openGitHubActions(issuer, fetch, ports);
      };
    },
  },
  "azure-pipelines": {
    asksNetwork: true,
    settings: ["SYSTEM_OIDCREQUESTURI", "SYSTEM_ACCESSTOKEN", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"],
    opener({ azurePipelines = {}, fetch = globalThis.fetch, issuerTimeoutMs: timeoutMs }) {
      const { requestUri, accessToken, serviceConnectionId } = azurePipelines;
      if (!requestUri || !accessToken?.reveal() || !serviceConnectionId) return undefined;
      const issuer = { requestUri, accessToken, serviceConnectionId, timeoutMs };
      return async () => {
        const { openAzurePipelines } = await import("./assertion-sources.ts");
        return (ports) => openAzurePipelines(issuer, fetch, ports);
      };
    },
  },
  "identity-binding": {
    asksNetwork: true,
    settings: [
      "AZURE_KUBERNETES_TOKEN_PROXY",
      "AZURE_FEDERATED_TOKEN_FILE",
      "credential.managedIdentityClientId",
    ],
    opener(options) {
      const { tokenProxy, federatedTokenFile, managedIdentityClientId: clientId, canary } = options;
      if (!tokenProxy?.url || !federatedTokenFile || !clientId || canary === undefined) return undefined;
      const { tokenEndpoint } = canary.request;
      const binding = {
        ...tokenProxy,
        timeoutMs: options.issuerTimeoutMs,
        url: tokenProxy.url,
        federatedTokenFile,
        clientId,
        tokenEndpoint,
        audience: options.federationAudience,
      };
      return async () => {
        const { openIdentityBinding } = await import("./identity-binding.ts");
        return (ports) => openIdentityBinding(binding, ports);
      };
    },
  },
  "managed-identity": {
    asksNetwork: true,
    settings: ["credential.managedIdentityClientId"],
    opener: ({ managedIdentityToken: obtainToken, federationAudience: audience }) =>
      obtainToken &&
      (async () => {
        const { openManagedIdentity } = await import("./managed-identity.ts");
        return (ports) => openManagedIdentity({ obtainToken, audience }, ports);
      }),
  },
  "client-secret": {
    asksNetwork: false,
    settings: ["AZURE_CLIENT_SECRET"],
    opener: ({ clientSecret: secret, production }) =>
      secret?.reveal()
        ? async () => {
            const { openClientSecret } = await import("./client-secret.ts");
            return (ports) => openClientSecret({ secret, production }, ports);
          }
        : undefined,
  },
};

/** What has the settings of an identity binding, and would be refused: the pod's token is for the proxy alone. */
const USED_BY_BINDING: readonly string[] = ["workload-identity", "managed-identity"];

export interface ChosenOpener {
  readonly load: LoadOpener;
  readonly asksNetwork: boolean;
}

/** What to open, in order, and what is wrong with the choice. */
export interface ChosenSources {
  readonly openers: readonly ChosenOpener[];
  /** Sources that were named and are not set up, each with a sentence that says what they need. */
  readonly absent: readonly { readonly source: CredentialSource; readonly problem: string }[];
  readonly faults: readonly ConfigurationFault[];
}

/**
 * A named source without its setting is passed over while another one can serve: one file then does for a cluster
 * with workload identity and a machine with a certificate. When none can, each is a fault.
 */
export function chooseSources(options: CredentialOptions): ChosenSources {
  const { sources: names } = options;
  if (names === undefined) {
    const bound = SOURCES["identity-binding"].opener(options) !== undefined;
    const openers = Object.entries(SOURCES).flatMap(([name, { opener, asksNetwork }]) => {
      const load = bound && USED_BY_BINDING.includes(name) ? undefined : opener(options);
      return load === undefined ? [] : [{ load, asksNetwork }];
    });
    return { openers, absent: [], faults: openers.length > 0 ? [] : [NOTHING_CONFIGURED] };
  }
  const openers: ChosenOpener[] = [];
  const absent: { source: CredentialSource; problem: string; hint: string | undefined; index: number }[] = [];
  const faults: ConfigurationFault[] = names.length > 0 ? [] : [NOTHING_CONFIGURED];
  for (const [index, name] of names.entries()) {
    const path = `credential.sources[${index}]`;
    if (!Object.hasOwn(SOURCES, name)) {
      const known = Object.keys(SOURCES).join(", ");
      faults.push({ path, problem: `no source is named ${JSON.stringify(name)}; there are ${known}` });
      continue;
    }
    const { settings, hint, opener, asksNetwork } = SOURCES[name];
    const load = opener(options);
    if (names.indexOf(name) < index) faults.push({ path, problem: `${name} is named twice` });
    else if (load === undefined) absent.push({ source: name, problem: needs(name, settings), hint, index });
    else openers.push({ load, asksNetwork });
  }
  if (openers.length === 0)
    for (const { problem, hint, index } of absent)
      faults.push({
        path: `credential.sources[${index}]`,
        problem: hint === undefined ? problem : `${problem}; ${hint}`,
      });
  return { openers, absent, faults };
}

function needs(source: CredentialSource, settings: readonly string[]): string {
  const [only, ...others] = settings;
  return others.length === 0
    ? `${source} needs ${only}, which is not set`
    : `${source} needs ${settings.join(", ")}, which are not all set`;
}

const NOTHING_CONFIGURED: ConfigurationFault = {
  path: "credential.sources",
  problem:
    "no credential is configured; set AZURE_FEDERATED_TOKEN_FILE (workload identity), " +
    "AZURE_CLIENT_CERTIFICATE_PATH or AZURE_CLIENT_CERTIFICATE (certificate) or AZURE_CLIENT_SECRET (for development)",
};
