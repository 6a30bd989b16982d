/** The federated token: who it says it is, compared byte for byte with what Entra will compare it with. */

import { readFederatedToken } from "../credential/federated-token.ts";
import { describeClientAssertion } from "../exchange/entra/answers.ts";
import {
  createFederatedCredential,
  type FederatedIdentity,
  listFederatedCredentials,
  quote,
} from "./commands.ts";
import type { Examination } from "./examination.ts";
import { contentOf, type Opened, sentence } from "./opened.ts";
import { fault, ok, type Verdict, warning } from "./verdict.ts";

/** The kubelet renews when a fifth of the life is left, and lives are an hour at least. */
const RENEWAL_NOTICE_MS = 5 * 60_000;

/** Audiences of every cloud begin so; one of another cloud, or in other letters, is refused. */
const ENTRA_AUDIENCE = /^api:\/\/AzureADTokenExchange/i;

export async function checkFederatedToken(
  opened: Opened,
  path: string,
  examination: Examination,
): Promise<Verdict> {
  const { registration, now, expected, authority } = examination;
  if ("error" in opened)
    return fault(
      sentence(opened.error),
      "let the workload identity webhook mount the token: label azure.workload.identity/use=true on the pod, an annotated service account",
      {
        commands: [
          `ls -lL ${quote(path)}`,
          "kubectl get pods -n azure-workload-identity-system; kubectl get mutatingwebhookconfigurations | grep azure-wi",
        ],
      },
    );
  const identity = await identityIn(path);
  if (identity === undefined)
    return fault(
      "the token lacks iss, sub or aud",
      "mount a service account token, projected for Entra's audience",
      { commands: [listFederatedCredentials(registration)] },
    );
  const facts = { ...identity, expiresInSeconds: 0 };
  const endsAt = opened.ring.status().sources[0]?.expiresAt ?? 0;
  facts.expiresInSeconds = Math.floor((endsAt - now()) / 1000);
  const list = listFederatedCredentials(registration);
  const commands = [list, createFederatedCredential(registration, identity)];

  const differences = (["issuer", "subject", "audience"] as const).flatMap((part) => {
    const wanted = expected[part];
    return wanted === undefined || wanted === identity[part]
      ? []
      : [
          `${part}: ${howTheyDiffer(wanted, identity[part])}; expected ${wanted}, the token has ${identity[part]}`,
        ];
  });
  if (differences.length > 0)
    return fault(
      `the token is not what the federated credential expects: ${differences.join("; ")}`,
      "make both the same, byte for byte: Entra folds no case and forgives no slash",
      { facts, commands },
    );

  const cloudAudience = authority.federatedCredentialAudience;
  if (expected.audience === undefined && identity.audience !== cloudAudience) {
    const finding = `the token's audience is ${identity.audience}; in this cloud it is ${cloudAudience}: ${howTheyDiffer(cloudAudience, identity.audience)}`;
    const fix =
      "project the token for that audience (annotation and label of the webhook, or audience: of the projected volume), and name the same in the federated credential";
    const rest = {
      facts,
      commands: [list, createFederatedCredential(registration, { ...identity, audience: cloudAudience })],
    };
    // Another audience altogether can have been registered on purpose; these are slips.
    return ENTRA_AUDIENCE.test(identity.audience) ? fault(finding, fix, rest) : warning(finding, fix, rest);
  }
  if (endsAt - now() < RENEWAL_NOTICE_MS)
    return warning(
      `the token ends in ${facts.expiresInSeconds} s and has not been renewed`,
      "see that the pod still runs on its node and that the volume is a projected service account token",
      { facts, commands: [`ls -lL ${quote(path)}`] },
    );
  const compared = Object.keys(expected).length === 0 ? "; compare it with the federated credential" : "";
  return ok(`${identity.subject} of ${identity.issuer}${compared}`, { facts, commands: [list] });
}

/** Issuer, subject and audience of the token in this file. Neither is secret, and nothing else is kept of it. */
export async function identityIn(path: string | undefined): Promise<FederatedIdentity | undefined> {
  const content = path === undefined ? undefined : await contentOf(path);
  const token = readFederatedToken(content?.toString("utf8") ?? "");
  if ("problem" in token) return undefined;
  const { clientAssertion } = token;
  const {
    assertion_iss: issuer,
    assertion_sub: subject,
    assertion_aud: audience,
  } = describeClientAssertion({ method: "client_assertion", clientAssertion });
  if (issuer === undefined || subject === undefined || audience === undefined) return undefined;
  return { issuer, subject, audience };
}

/** The slips that look alike on a screen, by name. */
function howTheyDiffer(one: string, other: string): string {
  if (one.toLowerCase() === other.toLowerCase()) return "they differ in letter case only";
  if (one.replace(/\/$/, "") === other.replace(/\/$/, "")) return "they differ in a trailing slash only";
  if (one.replaceAll(/\s/g, "") === other.replaceAll(/\s/g, "")) return "they differ in white space only";
  return "they differ";
}
