/** Explains Entra's AADSTS numbers to an operator: the rows of the exchange's table, with commands for this registration. */

import { aadstsEntry, type RemedyCommand } from "../exchange/entra/answers.ts";
import {
  createFederatedCredential,
  type FederatedIdentity,
  listCertificates,
  listFederatedCredentials,
  type Registration,
  registerCertificate,
  showApplication,
} from "./commands.ts";

/** What the commands are about. */
export interface Situation {
  readonly registration: Registration;
  /** Resource that was asked for: `https://graph.microsoft.com`. */
  readonly resource: string;
  /** Subject of the gateway's federated token, where one was sent. */
  readonly identity?: FederatedIdentity | undefined;
}

export interface Explanation {
  readonly meaning: string;
  readonly fix: string;
  readonly commands: readonly string[];
}

/** The explanation of the first number that the table has: Entra puts the most specific number first. */
export function explain(numbers: readonly number[], situation: Situation): Explanation | undefined {
  const entry = aadstsEntry(numbers);
  if (entry === undefined) return undefined;
  const { meaning, fix, commands } = entry;
  return { meaning, fix, commands: commands === undefined ? [] : COMMANDS[commands](situation) };
}

const federated = ({ registration, identity }: Situation) => [
  listFederatedCredentials(registration),
  ...(identity === undefined ? [] : [createFederatedCredential(registration, identity)]),
];
const certificates = ({ registration }: Situation) => [
  listCertificates(registration),
  registerCertificate(registration),
];

const COMMANDS: Readonly<Record<RemedyCommand, (situation: Situation) => readonly string[]>> = {
  "federated-credentials": federated,
  certificates,
  "signing-credential": (situation) =>
    situation.identity === undefined ? certificates(situation) : federated(situation),
  secret: ({ registration: { clientId } }) => [
    `az ad app credential reset --id ${clientId} --append --query password -o tsv`,
  ],
  "service-principal": ({ registration: { clientId } }) => [
    `az ad app show --id ${clientId} --query appId -o tsv`,
    `az ad sp create --id ${clientId}`,
  ],
  "application-id": () => ["az ad app list --display-name obo-gateway --query '[].appId' -o tsv"],
  "enable-service-principal": ({ registration: { clientId } }) => [
    `az ad sp update --id ${clientId} --set accountEnabled=true`,
  ],
  tenant: () => ["az account show --query '{tenant:tenantId,cloud:environmentName}'"],
  clock: () => ["timedatectl status"],
  "oidc-issuer": () => [
    "az aks update -g <group> -n <cluster> --enable-oidc-issuer --enable-workload-identity",
  ],
  resource: ({ resource }) => [
    `az ad sp list --filter "servicePrincipalNames/any(n:n eq '${resource.replaceAll(/[^\w:/.-]/g, "")}')" --query '[].appId'`,
  ],
  permissions: ({ registration: { clientId } }) => [
    `az ad app permission list --id ${clientId}`,
    `az ad app permission add --id ${clientId} --api 00000003-0000-0000-c000-000000000000 ` +
      "--api-permissions e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope",
    `az ad app permission admin-consent --id ${clientId}`,
  ],
  "exposed-api": ({ registration }) => [showApplication(registration)],
  assignment: ({ registration: { clientId } }) => [
    `az ad sp update --id ${clientId} --set appRoleAssignmentRequired=false`,
  ],
};
