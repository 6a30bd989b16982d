/** Authority: what is known of each Microsoft cloud, and the addresses and issuers that follow from its host. */

import { ConfigurationError } from "../errors.ts";
import type { Authority, Cloud, TokenVersion } from "./contract.ts";

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
  if (facts === undefined)
    return createAuthority(origin, {
      cloud: "private",
      hosts: [host],
      v1IssuerOrigin: PUBLIC_V1_ISSUER,
      federatedCredentialAudience: PUBLIC_AUDIENCE,
    });
  return createAuthority(`https://${facts.hosts[0]}`, facts);
}

function createAuthority(origin: string, facts: CloudFacts): Authority {
  return Object.freeze({
    cloud: facts.cloud,
    origin,
    host: facts.hosts[0],
    cloudInstanceName: facts.cloudInstanceName,
    federatedCredentialAudience: facts.federatedCredentialAudience,
    metadataUrl: (tenant: string, version: TokenVersion) =>
      `${origin}/${tenant}${version === "2.0" ? "/v2.0" : ""}/.well-known/openid-configuration`,
    issuer: (tenantId: string, version: TokenVersion) =>
      version === "2.0" ? `${origin}/${tenantId}/v2.0` : `${facts.v1IssuerOrigin}/${tenantId}/`,
    tokenEndpoint: (tenant: string) => `${origin}/${tenant}/oauth2/v2.0/token`,
    authorizeEndpoint: (tenant: string) => `${origin}/${tenant}/oauth2/v2.0/authorize`,
  });
}

function parseHost(authorityHost: string): URL {
  const text = authorityHost.trim();
  const absolute = text.includes("://") ? text : `https://${text}`;
  if (!URL.canParse(absolute)) throw fault("must be an https URL");
  const url = new URL(absolute);
  if (url.protocol !== "https:") throw fault("must be an https URL");
  if (url.username !== "" || url.password !== "") throw fault("must not hold user information");
  if (!/^\/*$/.test(url.pathname) || url.search !== "" || url.hash !== "")
    throw fault(
      "must be a host alone, such as https://login.microsoftonline.com/; the tenant has its own setting",
    );
  return url;
}

function fault(problem: string): ConfigurationError {
  return new ConfigurationError([{ path: "AZURE_AUTHORITY_HOST", problem }]);
}
