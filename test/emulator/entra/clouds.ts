/** Which cloud a request addresses: the emulator's own origin, or a production one by its Host header. */

export interface Cloud {
  /** Ends in `/`. */
  readonly authorityHost: string;
  /** Every host under which this authority answers. */
  readonly hosts: readonly string[];
  readonly instanceName: string;
  readonly msgraphHost: string;
  v1Issuer(tenantId: string): string;
  /** `{tenantid}` gives the template that multi-tenant documents show. */
  v2Issuer(tenantId: string): string;
}

/** Hosts of the public cloud, US Government and China; the first one of each row is the preferred one. */
const PRODUCTION = [
  {
    hosts: ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"],
    instanceName: "microsoftonline.com",
    msgraphHost: "graph.microsoft.com",
    v1Host: "sts.windows.net",
  },
  {
    hosts: ["login.microsoftonline.us", "login.usgovcloudapi.net"],
    instanceName: "microsoftonline.us",
    msgraphHost: "graph.microsoft.us",
    v1Host: "sts.windows.net",
  },
  {
    hosts: ["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"],
    instanceName: "partner.microsoftonline.cn",
    msgraphHost: "microsoftgraph.chinacloudapi.cn",
    // Not confirmed.
    v1Host: "sts.chinacloudapi.cn",
  },
] as const;

const GRAPH_HOSTS = [
  "graph.microsoft.com",
  "graph.microsoft.us",
  "dod-graph.microsoft.us",
  "microsoftgraph.chinacloudapi.cn",
] as const;

/** For the listeners' certificate: tests may lead the production names to loopback. */
export const PRODUCTION_HOSTS: readonly string[] = [
  ...PRODUCTION.flatMap(({ hosts }) => hosts),
  ...GRAPH_HOSTS,
];

export const GRAPH_ORIGINS: readonly string[] = GRAPH_HOSTS.map((host) => `https://${host}`);

export interface Clouds {
  readonly own: Cloud;
  readonly all: readonly Cloud[];
  /** By the `Host` header of a request; anything unknown is the emulator's own origin. */
  ofHost(host: string | undefined): Cloud;
  /** By an authority host URL, for minting. */
  ofAuthority(authorityHost: string | undefined): Cloud;
}

export function createClouds(ownAuthorityHost: string): Clouds {
  const own = cloud(
    ownAuthorityHost,
    [new URL(ownAuthorityHost).host],
    "microsoftonline.com",
    "graph.microsoft.com",
  );
  const production = PRODUCTION.map(({ hosts, instanceName, msgraphHost, v1Host }) =>
    cloud(`https://${hosts[0]}/`, hosts, instanceName, msgraphHost, v1Host),
  );
  const ofHost = (host: string | undefined): Cloud => {
    const name = host?.toLowerCase().replace(/:\d+$/, "") ?? "";
    return production.find(({ hosts }) => hosts.includes(name)) ?? own;
  };
  return {
    own,
    all: [own, ...production],
    ofHost,
    ofAuthority: (authorityHost) => (authorityHost === undefined ? own : ofHost(new URL(authorityHost).host)),
  };
}

function cloud(
  authorityHost: string,
  hosts: readonly string[],
  instanceName: string,
  msgraphHost: string,
  v1Host = "sts.windows.net",
): Cloud {
  return {
    authorityHost,
    hosts,
    instanceName,
    msgraphHost,
    v1Issuer: (tenantId) => `https://${v1Host}/${tenantId}/`,
    v2Issuer: (tenantId) => `${authorityHost}${tenantId}/v2.0`,
  };
}
