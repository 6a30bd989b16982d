/** Checks the gateway's proof, source by source: that it opens, how long it is valid, and what Entra has to know of it. */

import type { CredentialSource } from "../credential/contract.ts";
import { checkCertificate } from "./certificate.ts";
import type { Examination } from "./examination.ts";
import { checkFederatedToken } from "./federated-token.ts";
import { type Opened, open, sentence } from "./opened.ts";
import { checkTokenRequest } from "./token-request.ts";
import { type Check, type CheckName, fault, ok, once, skipped, type Verdict, warning } from "./verdict.ts";

/** The check of what each source has on this machine; an `issued-token` comes from a platform and leaves no file here. */
const CHECK_OF: Readonly<Record<CredentialSource, CheckName>> = {
  "workload-identity": "federated-token",
  certificate: "certificate",
  "client-assertion": "issued-token",
  "github-actions": "issued-token",
  "azure-pipelines": "issued-token",
  "identity-binding": "issued-token",
  "managed-identity": "issued-token",
  "client-secret": "client-secret",
};

/** Two checks for each source that has its settings: one of what lies on this machine, one of Entra's answer. */
export function credentialChecks(examination: Examination): Check[] {
  const choice: Check = { name: "credential", run: async () => checkChoice(await open(examination)) };
  return [
    choice,
    ...configuredSources(examination).flatMap((source): Check[] => {
      const opened = once(() => open(examination, source));
      const name = CHECK_OF[source];
      return [
        {
          name,
          ...(name === "issued-token" && { about: source }),
          run: async () => checkSource(source, await opened(), examination),
        },
        {
          name: "token-request",
          about: source,
          async run() {
            const outcome = await opened();
            if ("error" in outcome) return skipped(`needs a usable ${name}`);
            return checkTokenRequest(outcome.ring, examination);
          },
        },
      ];
    }),
  ];
}

/** Those that are named, or all, as far as their settings are there; the check `credential` says what the others lack. */
function configuredSources({ config }: Examination): readonly CredentialSource[] {
  const { credential } = config;
  const { githubActions = {}, azurePipelines = {}, tokenProxy = {}, managedIdentityClientId } = credential;
  const isBound = Boolean(tokenProxy.url && credential.federatedTokenFile && managedIdentityClientId);
  const isNamed = (source: CredentialSource) => credential.sources?.includes(source) === true;
  const settings: Readonly<Record<CredentialSource, boolean>> = {
    // In a pod with an identity binding its token is for the proxy alone.
    "workload-identity": Boolean(credential.federatedTokenFile) && (!isBound || isNamed("workload-identity")),
    certificate: Boolean(credential.certificatePath ?? credential.certificate?.reveal()),
    "client-assertion": isNamed("client-assertion"),
    "github-actions": Boolean(githubActions.requestUrl && githubActions.requestToken?.reveal()),
    "azure-pipelines": Boolean(
      azurePipelines.requestUri && azurePipelines.accessToken?.reveal() && azurePipelines.serviceConnectionId,
    ),
    "identity-binding": isBound,
    "managed-identity": Boolean(managedIdentityClientId) && (!isBound || isNamed("managed-identity")),
    "client-secret": Boolean(credential.clientSecret?.reveal()),
  };
  const isChosen = (source: CredentialSource) => credential.sources === undefined || isNamed(source);
  return (Object.keys(settings) as CredentialSource[]).filter(
    (source) => settings[source] && isChosen(source),
  );
}

function checkChoice(opened: Opened): Verdict {
  if ("error" in opened) {
    const ofChoice = opened.error.faults.filter(({ path }) => path.startsWith("credential."));
    if (ofChoice.length === 0) return skipped("a source cannot be opened; see below");
    return fault(
      ofChoice.map(({ path, problem }) => `${path}: ${problem}`).join("; "),
      "give the gateway one way to prove itself, and name each source once",
    );
  }
  const { serving, sources } = opened.ring.status();
  const others = sources.map(({ source }) => source).filter((source) => source !== serving);
  const absent = opened.events.filter(({ type }) => type === "absent").map(({ message }) => message);
  const finding = [`${serving} serves`, ...others.map((source) => `${source} stands by`), ...absent].join(
    "; ",
  );
  return ok(finding, { facts: { serving } });
}

async function checkSource(
  source: CredentialSource,
  opened: Opened,
  examination: Examination,
): Promise<Verdict> {
  const { federatedTokenFile = "" } = examination.config.credential;
  if (source === "certificate") return checkCertificate(opened, examination);
  if (source === "workload-identity") return checkFederatedToken(opened, federatedTokenFile, examination);
  if (source === "client-assertion")
    return skipped("the program that embeds the gateway makes this assertion; only that program can try it");
  if (source !== "client-secret") return checkIssuedToken(source, opened);
  if ("error" in opened) return fault(sentence(opened.error), "set AZURE_CLIENT_SECRET");
  const [notice] = opened.events;
  if (notice !== undefined)
    return warning(notice.message, "use workload identity or a certificate, and unset AZURE_CLIENT_SECRET");
  return ok("a client secret is set: for development");
}

type IssuedSource = Exclude<
  CredentialSource,
  "certificate" | "workload-identity" | "client-assertion" | "client-secret"
>;

/** Who issues the token, and what to look at where that fails. */
const ISSUERS: Readonly<Record<IssuedSource, readonly [issuer: string, fix: string]>> = {
  "github-actions": ["GitHub", "give the job the permission id-token: write"],
  "azure-pipelines": [
    "Azure Pipelines",
    "hand SYSTEM_ACCESSTOKEN to the step, and name a service connection that uses workload identity federation",
  ],
  "identity-binding": [
    "the cluster's token proxy",
    "label the pod azure.workload.identity/use=true, annotate it azure.workload.identity/use-identity-binding=true, and bind the identity to the cluster",
  ],
  "managed-identity": [
    "the platform's identity endpoint",
    "assign the user-assigned identity of credential.managedIdentityClientId to this machine or app; on a virtual machine allow 169.254.169.254",
  ],
};

function checkIssuedToken(source: IssuedSource, opened: Opened): Verdict {
  const [issuer, fix] = ISSUERS[source];
  if ("error" in opened) return fault(sentence(opened.error), fix);
  const endsAt = opened.ring.status().sources[0]?.expiresAt;
  const facts = endsAt === undefined ? {} : { expiresAt: new Date(endsAt).toISOString() };
  return ok(`${issuer} issues a token to prove the gateway with`, { facts });
}
