/** The Azure CLI and Graph commands that correct a registration, ready to be pasted into a shell. */

import type { Cloud } from "../identity/contract.ts";

/** The gateway's own app registration. */
export interface Registration {
  readonly clientId: string;
  readonly tenantId: string;
  readonly cloud: Cloud;
}

/** Microsoft Graph's deployments. */
const GRAPH: Partial<Record<Cloud, string>> = {
  "us-government": "https://graph.microsoft.us",
  china: "https://microsoftgraph.chinacloudapi.cn",
};

/** One word of a POSIX shell, whatever the text holds: the claims of a token are text from outside. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

export const listFederatedCredentials = ({ clientId }: Registration): string =>
  `az ad app federated-credential list --id ${clientId} ` +
  `--query '[].{name:name,issuer:issuer,subject:subject,audiences:audiences}'`;

export interface FederatedIdentity {
  readonly issuer: string;
  readonly subject: string;
  readonly audience: string;
}

export function createFederatedCredential(
  { clientId }: Registration,
  { issuer, subject, audience }: FederatedIdentity,
): string {
  const parameters = JSON.stringify({ name: "obo-gateway", issuer, subject, audiences: [audience] });
  return `az ad app federated-credential create --id ${clientId} --parameters ${quote(parameters)}`;
}

/** `customKeyIdentifier` is the SHA-1 thumbprint that the portal shows too. */
export const listCertificates = ({ clientId }: Registration): string =>
  `az ad app credential list --id ${clientId} --cert ` +
  `--query '[].{sha1Thumbprint:customKeyIdentifier,end:endDateTime}' -o table`;

export const registerCertificate = ({ clientId }: Registration): string =>
  `az ad app credential reset --id ${clientId} --append --cert @cert.pem`;

export const patchApplication = ({ clientId, cloud }: Registration, change: object): string =>
  `az rest --method PATCH --url ${quote(`${GRAPH[cloud] ?? "https://graph.microsoft.com"}/v1.0/applications(appId='${clientId}')`)} ` +
  `--headers Content-Type=application/json --body ${quote(JSON.stringify(change))}`;

export const showApplication = ({ clientId }: Registration): string =>
  `az ad app show --id ${clientId} --query ` +
  quote(
    "{uris:identifierUris,tokenVersion:api.requestedAccessTokenVersion,scopes:api.oauth2PermissionScopes[].value}",
  );
