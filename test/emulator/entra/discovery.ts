/** Discovery documents: v2, v1 and the instance discovery of the whole cloud. */

import type { Cloud } from "./clouds.ts";

/** Segments that address no single tenant. */
export const MULTI_TENANT_SEGMENTS = ["common", "organizations", "consumers"];

/** @param segment tenant GUID, or one of the multi-tenant segments, in the spelling for URLs. */
export function discoveryDocument(cloud: Cloud, segment: string, version: 1 | 2): object {
  const multiTenant = MULTI_TENANT_SEGMENTS.includes(segment);
  const base = `${cloud.authorityHost}${segment}`;
  const issuerTenant = multiTenant ? "{tenantid}" : segment;
  const endpoints =
    version === 2
      ? {
          token_endpoint: `${base}/oauth2/v2.0/token`,
          jwks_uri: `${base}/discovery/v2.0/keys`,
          issuer: cloud.v2Issuer(issuerTenant),
          authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
          device_authorization_endpoint: `${base}/oauth2/v2.0/devicecode`,
          end_session_endpoint: `${base}/oauth2/v2.0/logout`,
          userinfo_endpoint: `https://${cloud.msgraphHost}/oidc/userinfo`,
        }
      : {
          token_endpoint: `${base}/oauth2/token`,
          jwks_uri: `${cloud.authorityHost}common/discovery/keys`,
          issuer: cloud.v1Issuer(issuerTenant),
          authorization_endpoint: `${base}/oauth2/authorize`,
          device_authorization_endpoint: `${base}/oauth2/devicecode`,
          end_session_endpoint: `${base}/oauth2/logout`,
          userinfo_endpoint: `${base}/openid/userinfo`,
        };
  return {
    ...endpoints,
    token_endpoint_auth_methods_supported: [
      "client_secret_post",
      "private_key_jwt",
      "client_secret_basic",
      "self_signed_tls_client_auth",
    ],
    response_modes_supported: ["query", "fragment", "form_post"],
    subject_types_supported: ["pairwise"],
    id_token_signing_alg_values_supported: ["RS256"],
    response_types_supported: ["code", "id_token", "code id_token", "id_token token"],
    scopes_supported: ["openid", "profile", "email", "offline_access"],
    request_uri_parameter_supported: false,
    http_logout_supported: true,
    frontchannel_logout_supported: true,
    claims_supported: [
      "sub",
      "iss",
      "cloud_instance_name",
      "cloud_instance_host_name",
      "cloud_graph_host_name",
      "msgraph_host",
      "aud",
      "exp",
      "iat",
      "auth_time",
      "acr",
      "nonce",
      "preferred_username",
      "name",
      "tid",
      "ver",
      "at_hash",
      "c_hash",
      "email",
    ],
    kerberos_endpoint: `${base}/kerberos`,
    mtls_endpoint_aliases: {
      token_endpoint: `https://mtlsauth.${cloud.instanceName}/${segment}/oauth2/v2.0/token`,
    },
    tls_client_certificate_bound_access_tokens: true,
    tenant_region_scope: multiTenant ? null : "EU",
    cloud_instance_name: cloud.instanceName,
    cloud_graph_host_name: "graph.windows.net",
    msgraph_host: cloud.msgraphHost,
    rbac_url: "https://pas.windows.net",
  };
}

export function instanceDiscoveryDocument(cloud: Cloud, tenantSegment: string): object {
  return {
    tenant_discovery_endpoint: `${cloud.authorityHost}${tenantSegment}/v2.0/.well-known/openid-configuration`,
    "api-version": "1.1",
    metadata: [{ preferred_network: cloud.hosts[0], preferred_cache: cloud.hosts[0], aliases: cloud.hosts }],
  };
}
