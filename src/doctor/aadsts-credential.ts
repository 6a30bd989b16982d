/** AADSTS numbers that speak of the gateway's own credential and registration. */

import type { AadstsRow, Situation } from "./aadsts.ts";
import {
  createFederatedCredential,
  listCertificates,
  listFederatedCredentials,
  registerCertificate,
} from "./commands.ts";

const federated = ({ registration, identity }: Situation) => [
  listFederatedCredentials(registration),
  ...(identity === undefined ? [] : [createFederatedCredential(registration, identity)]),
];
const certificate = ({ registration }: Situation) => [
  listCertificates(registration),
  registerCertificate(registration),
];
const secret = ({ registration: { clientId } }: Situation) => [
  `az ad app credential reset --id ${clientId} --append --query password -o tsv`,
];
const principal = ({ registration: { clientId } }: Situation) => [
  `az ad app show --id ${clientId} --query appId -o tsv`,
  `az ad sp create --id ${clientId}`,
];
const tenant = () => ["az account show --query '{tenant:tenantId,cloud:environmentName}'"];
const clock = () => ["timedatectl status"];

export const CREDENTIAL_ROWS: readonly AadstsRow[] = [
  {
    numbers: [7000215],
    meaning: "the client secret is wrong; often the secret's id was copied instead of its value",
    mend: "set AZURE_CLIENT_SECRET to a secret's value",
    commands: secret,
  },
  {
    numbers: [7000222],
    meaning: "the client secret has expired",
    mend: "make a new one and set AZURE_CLIENT_SECRET, or better use a federated token or a certificate",
    commands: secret,
  },
  {
    numbers: [7000218],
    meaning: "the request reached Entra without the gateway's credential",
    mend: "find the proxy that changes request bodies on the way to Entra",
  },
  {
    numbers: [700027],
    meaning:
      "the certificate is not registered with the application, or its key does not match the registered one",
    mend: "compare the thumbprints, and register this certificate",
    commands: certificate,
  },
  {
    numbers: [50012],
    meaning: "the client assertion's signature or chain is refused",
    mend: "register exactly the certificate or the issuer whose key signed it",
    commands: (situation) =>
      situation.identity === undefined ? certificate(situation) : federated(situation),
  },
  {
    numbers: [50048, 700021],
    meaning: "the client assertion names another application than AZURE_CLIENT_ID",
    mend: "set AZURE_CLIENT_ID to the gateway's own registration",
    commands: principal,
  },
  {
    numbers: [700023],
    meaning: "the client assertion was made for another tenant or cloud",
    mend: "check AZURE_TENANT_ID and AZURE_AUTHORITY_HOST",
    commands: tenant,
  },
  {
    numbers: [700024],
    meaning: "the client assertion is outside its validity: a stale token file, or a clock that is off",
    mend: "see that the token file is still renewed and that this machine's clock is right",
    commands: clock,
  },
  {
    numbers: [7000214, 1000502],
    meaning: "the certificate is revoked or outside its validity",
    mend: "register a new certificate and put its file in place",
    commands: certificate,
  },
  {
    numbers: [7000277, 7000274],
    meaning: "the credential is blocked",
    mend: "ask the tenant's administrator; then register a new one",
    commands: certificate,
  },
  {
    numbers: [700030],
    meaning: "the certificate's subject is not authorised for this application",
    mend: "trust its subject name and issuer in the registration, and set AZURE_CLIENT_SEND_CERTIFICATE_CHAIN=true",
    commands: certificate,
  },
  {
    numbers: [70025],
    meaning: "the application has no federated credential at all",
    mend: "add one with the token's own issuer, subject and audience",
    commands: federated,
  },
  {
    numbers: [700211],
    meaning: "no federated credential of the application has this issuer",
    mend: "copy the issuer as it stands in the token, trailing slash included",
    commands: federated,
  },
  {
    numbers: [700212],
    meaning: "no federated credential of the application has this audience",
    mend: "use one audience in both: the token's and the credential's",
    commands: federated,
  },
  {
    numbers: [700213],
    meaning: "no federated credential of the application has this subject",
    mend: "copy the subject as it stands in the token: system:serviceaccount:<namespace>:<service account>",
    commands: federated,
  },
  {
    numbers: [7002138],
    meaning: "the subject differs from the federated credential's in letter case only",
    mend: "write the subject in the credential exactly as it stands in the token",
    commands: federated,
  },
  {
    numbers: [7002137],
    meaning: "the subject has a form that the federated credential does not allow",
    mend: "write the subject in the credential exactly as it stands in the token",
    commands: federated,
  },
  {
    numbers: [70021],
    meaning: "no federated credential has this issuer, subject and audience together",
    mend: "compare the three byte by byte",
    commands: federated,
  },
  {
    numbers: [700229],
    meaning: "the federated credential trusts Entra itself and was given a user's token",
    mend: "use the token of a user-assigned managed identity, or a service account's",
  },
  {
    numbers: [90061],
    meaning: "Entra cannot read the discovery document of the token's issuer",
    mend: "see that the issuer's document is reachable from the internet; on AKS switch its OIDC issuer on",
    commands: () => ["az aks update -g <group> -n <cluster> --enable-oidc-issuer --enable-workload-identity"],
  },
  {
    numbers: [700016],
    meaning: "this tenant does not know the application",
    mend: "check AZURE_CLIENT_ID and AZURE_TENANT_ID; create the service principal where it is missing",
    commands: principal,
  },
  {
    numbers: [700038],
    meaning: "AZURE_CLIENT_ID is not an application id",
    mend: "set it to the application (client) id, not to an object id",
    commands: () => ["az ad app list --display-name obo-gateway --query '[].appId' -o tsv"],
  },
  {
    numbers: [7000112],
    meaning: "the application is disabled in this tenant",
    mend: "enable its service principal",
    commands: ({ registration: { clientId } }) => [
      `az ad sp update --id ${clientId} --set accountEnabled=true`,
    ],
  },
  {
    numbers: [90002],
    meaning: "there is no such tenant in this cloud",
    mend: "check AZURE_TENANT_ID, and AZURE_AUTHORITY_HOST for a national cloud",
    commands: tenant,
  },
  {
    numbers: [90038, 900382, 900432, 50049],
    meaning: "tenant or application live in another cloud",
    mend: "set AZURE_AUTHORITY_HOST to that cloud's host",
    commands: tenant,
  },
  {
    numbers: [9001023, 90124, 90130, 50194],
    meaning: "the request needs the tenant's own endpoint",
    mend: "set AZURE_TENANT_ID to the tenant's id",
    commands: tenant,
  },
  {
    numbers: [70003, 900144, 9000411],
    meaning: "the token request arrived changed",
    mend: "find the proxy that changes request bodies on the way to Entra",
  },
];
