/** Authority: what is known of each Microsoft cloud, and the addresses and issuers that follow from its host. */

import { ConfigurationError } from "../errors.ts";
import { GUID } from "../foundation/patterns.ts";
import type { Authority, Cloud, Discovered, TokenVersion } from "./contract.ts";

interface CloudFacts {
  readonly cloud: Cloud;
  /** The preferred host first; MSAL's instance metadata treats the others as names of the same authority. */
  readonly hosts: readonly [string, ...string[]];
  readonly v1IssuerOrigin: string;
  readonly federatedCredentialAudience: string;
  readonly cloudInstanceName?: string;
}

const PUBLIC_V1_ISSUER = "https://sts.windows.net";
const PUBLIC_AUDIENCE = "api://AzureADTokenExchange";

/**
 * Hosts and aliases: msal-common `AuthorityMetadata`. Audiences: Entra's workload identity federation pages, and
 * Azure SDK for JavaScript for the three newest clouds. The v1 issuers of those three are not published; the value
 * here is the one that public and US Government share, so a wrong guess refuses v1 tokens and admits none.
 */
const CLOUDS: readonly CloudFacts[] = [
  {
    cloud: "public",
    hosts: ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"],
    v1IssuerOrigin: PUBLIC_V1_ISSUER,
    federatedCredentialAudience: PUBLIC_AUDIENCE,
    cloudInstanceName: "microsoftonline.com",
  },
  {
    cloud: "us-government",
    hosts: ["login.microsoftonline.us", "login.usgovcloudapi.net"],
    v1IssuerOrigin: PUBLIC_V1_ISSUER,
    federatedCredentialAudience: "api://AzureADTokenExchangeUSGov",
    cloudInstanceName: "microsoftonline.us",
  },
  {
    cloud: "china",
    hosts: ["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"],
    v1IssuerOrigin: "https://sts.chinacloudapi.cn",
    federatedCredentialAudience: "api://AzureADTokenExchangeChina",
    cloudInstanceName: "partner.microsoftonline.cn",
  },
  {
    cloud: "france",
    hosts: ["login.sovcloud-identity.fr"],
    v1IssuerOrigin: PUBLIC_V1_ISSUER,
    federatedCredentialAudience: "api://AzureADTokenExchangeFrance",
  },
  {
    cloud: "germany",
    hosts: ["login.sovcloud-identity.de"],
    v1IssuerOrigin: PUBLIC_V1_ISSUER,
    federatedCredentialAudience: "api://AzureADTokenExchangeGermany",
  },
  {
    cloud: "singapore",
    hosts: ["login.sovcloud-identity.sg"],
    v1IssuerOrigin: PUBLIC_V1_ISSUER,
    federatedCredentialAudience: "api://AzureADTokenExchangeGovSG",
  },
];

/**
 * Resolves what an operator writes as `AZURE_AUTHORITY_HOST`: an https URL or a bare host, with or without port and
 * trailing slash. Pure.
 *
 * @throws {ConfigurationError} for http, and for anything besides scheme, host and port: a tenant in the path would
 * silently be ignored otherwise.
 */
export function resolveAuthority(authorityHost: string): Authority {
  const { origin, host } = parseHost(authorityHost);
  const facts = CLOUDS.find(({ hosts }) => hosts.includes(host));
  if (facts !== undefined) return createAuthority(`https://${facts.hosts[0]}`, facts);
  const isExternalId = host.endsWith(`.${EXTERNAL_ID_DOMAIN}`);
  return createAuthority(origin, {
    cloud: isExternalId ? "external-id" : "private",
    hosts: [host],
    v1IssuerOrigin: PUBLIC_V1_ISSUER,
    federatedCredentialAudience: PUBLIC_AUDIENCE,
  });
}

/**
 * Entra External ID: the issuer is on the host of the tenant's id, whichever name of the tenant or custom domain the
 * document was read from.
 */
const EXTERNAL_ID_DOMAIN = "ciamlogin.com";
const externalIdOrigin = (tenantId: string) => `https://${tenantId}.${EXTERNAL_ID_DOMAIN}`;

/** The cloud whose issuer this is, where the host alone shows it: public and US Government share theirs for v1 tokens. */
export function cloudOfIssuer(issuer: unknown): Cloud | undefined {
  if (typeof issuer !== "string" || !URL.canParse(issuer)) return undefined;
  const { host, origin } = new URL(issuer);
  return CLOUDS.find(
    ({ hosts, v1IssuerOrigin }) =>
      origin !== PUBLIC_V1_ISSUER && (hosts.includes(host) || v1IssuerOrigin === origin),
  )?.cloud;
}

function createAuthority(origin: string, facts: CloudFacts): Authority {
  // Only these hosts leave open what their documents state; those of the other clouds are known.
  const isOpen = facts.cloud === "private" || facts.cloud === "external-id";
  const learned = new Map<string, Discovered>();

  function issuers(tenantId: string, version: TokenVersion): readonly string[] {
    if (version === "1.0") return [`${facts.v1IssuerOrigin}/${tenantId}/`];
    const here = `${origin}/${tenantId}/v2.0`;
    const external = `${externalIdOrigin(tenantId)}/${tenantId}/v2.0`;
    if (facts.cloud === "external-id") return [external];
    return isOpen ? [here, external] : [here];
  }

  function isTrusted(url: string, tenantId: string): boolean {
    if (!URL.canParse(url)) return false;
    const found = new URL(url);
    if (found.username !== "" || found.password !== "") return false;
    const isTenants = isOpen && GUID.test(tenantId) && found.origin === externalIdOrigin(tenantId);
    return found.origin === origin || isTenants;
  }

  function discoveredFor(tenantId: string, version: TokenVersion): Discovered | undefined {
    return learned.get(`${tenantId} ${version}`) ?? learned.get(`common ${version}`);
  }

  /** An address that a document states, when its host may serve the tenant. */
  function trustedEndpoint(stated: string | undefined, tenant: string): string | undefined {
    return stated !== undefined && isTrusted(stated, tenant) ? stated : undefined;
  }

  return Object.freeze({
    cloud: facts.cloud,
    origin,
    host: facts.hosts[0],
    cloudInstanceName: facts.cloudInstanceName,
    federatedCredentialAudience: facts.federatedCredentialAudience,
    metadataUrl: (tenant: string, version: TokenVersion) =>
      `${origin}/${tenant}${version === "2.0" ? "/v2.0" : ""}/.well-known/openid-configuration`,
    issuers,
    isTrusted,
    issuer(tenantId: string, version: TokenVersion): string {
      const stated = discoveredFor(tenantId, version)?.issuer.replaceAll("{tenantid}", tenantId);
      return stated ?? issuers(tenantId, version)[0] ?? "";
    },
    learn(tenant: string, version: TokenVersion, discovered: Discovered): void {
      const expected = issuers(tenant === "common" ? "{tenantid}" : tenant, version);
      if (isOpen && expected.includes(discovered.issuer)) learned.set(`${tenant} ${version}`, discovered);
    },
    tokenEndpoint: (tenant: string) =>
      trustedEndpoint(learned.get(`${tenant} 2.0`)?.tokenEndpoint, tenant) ??
      `${origin}/${tenant}/oauth2/v2.0/token`,
    authorizeEndpoint: (tenant: string) =>
      trustedEndpoint(learned.get(`${tenant} 2.0`)?.authorizeEndpoint, tenant) ??
      `${origin}/${tenant}/oauth2/v2.0/authorize`,
  });
}

function parseHost(authorityHost: string): URL {
  const text = authorityHost.trim();
  const absolute = text.includes("://") ? text : `https://${text}`;
  if (!URL.canParse(absolute)) throw fault("must be an https URL");
  const url = new URL(absolute);
  if (url.protocol !== "https:") throw fault("must be an https URL");
  if (url.username !== "" || url.password !== "") throw fault("must not hold user information");
  if (url.pathname.replaceAll("/", "") + url.search + url.hash !== "")
    throw fault(
      "must be a host alone, such as https://login.microsoftonline.com/; the tenant has its own setting",
    );
  return url;
}

function fault(problem: string): ConfigurationError {
  return new ConfigurationError([{ path: "AZURE_AUTHORITY_HOST", problem }]);
}
