/** The gateway's own proof, source by source: can it be opened, for how long is it good, what should Entra know of it? */

import type { CredentialSource } from "../credential/contract.ts";
import { judgeCertificate } from "./certificate.ts";
import type { Examination } from "./examination.ts";
import { judgeFederatedToken } from "./federated-token.ts";
import { type Opened, open, sentence } from "./opened.ts";
import { judgeTokenRequest } from "./token-request.ts";
import { type Check, type CheckName, fault, ok, once, skipped, type Verdict, warning } from "./verdict.ts";

type Source = Extract<CredentialSource, "workload-identity" | "certificate" | "client-secret">;

const CHECK_OF: Readonly<Record<Source, CheckName>> = {
  "workload-identity": "federated-token",
  certificate: "certificate",
  "client-secret": "client-secret",
};

/** Two checks for each source that has its setting: what lies here, and what Entra says to it. */
export function credentialChecks(examination: Examination): Check[] {
  const { credential } = examination.config;
  const settings: Readonly<Record<Source, unknown>> = {
    "workload-identity": credential.federatedTokenFile,
    certificate: credential.certificatePath,
    "client-secret": credential.clientSecret,
  };
  const configured = credential.sources ?? "auto";
  const sources = (Object.keys(settings) as Source[])
    .filter((source) => configured === "auto" || configured.includes(source))
    .filter((source) => Boolean(settings[source]));

  const whole: Check = { name: "credential", run: async () => judgeChoice(await open(examination)) };
  return [
    whole,
    ...sources.flatMap((source): Check[] => {
      const opened = once(() => open(examination, source));
      return [
        { name: CHECK_OF[source], run: async () => judge(source, await opened(), examination) },
        {
          name: "token-request",
          about: source,
          async run() {
            const outcome = await opened();
            if ("error" in outcome) return skipped(`needs a usable ${CHECK_OF[source]}`);
            return judgeTokenRequest(outcome.ring, examination);
          },
        },
      ];
    }),
  ];
}

function judgeChoice(opened: Opened): Verdict {
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

async function judge(source: Source, opened: Opened, examination: Examination): Promise<Verdict> {
  const { certificatePath = "", federatedTokenFile = "" } = examination.config.credential;
  if (source === "certificate") return judgeCertificate(opened, certificatePath, examination);
  if (source === "workload-identity") return judgeFederatedToken(opened, federatedTokenFile, examination);
  if ("error" in opened) return fault(sentence(opened.error), "set AZURE_CLIENT_SECRET");
  const [notice] = opened.events;
  if (notice !== undefined)
    return warning(notice.message, "use workload identity or a certificate, and unset AZURE_CLIENT_SECRET");
  return ok("a client secret is set: for development");
}
