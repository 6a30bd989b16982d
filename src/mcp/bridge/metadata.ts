/** The documents by which MCP clients find where to sign in (RFC 9728, RFC 8414, OpenID Connect Discovery). */

import type { Endpoint } from "../contract.ts";
import { PROTECTED_RESOURCE, type Resource } from "./scopes.ts";

export interface MetadataOptions {
  /** Also the issuer, byte for byte: clients compare it with the URL by which they found the document. */
  readonly publicUrl: string;
  /** Keys of Entra's ID tokens; OpenID Connect Discovery requires the member. */
  readonly jwksUri: string;
  readonly register: boolean;
  readonly resources: readonly Resource[];
}

/** Paths of the endpoints on the public port. */
export const PATHS = {
  authorize: "/oauth2/authorize",
  token: "/oauth2/token",
  register: "/oauth2/register",
} as const;

export function metadataEndpoints(options: MetadataOptions): readonly (readonly [string, Endpoint])[] {
  const { publicUrl, resources } = options;
  const { pathname } = new URL(publicUrl);
  const prefix = pathname.replace(/\/+$/, "");
  const server = authorizationServer(options);
  const oauth = documentAt(server);
  const openid = documentAt({
    ...server,
    jwks_uri: options.jwksUri,
    subject_types_supported: ["pairwise"],
    id_token_signing_alg_values_supported: ["RS256"],
  });
  const wellKnown = (name: string, document: Endpoint): [string, Endpoint][] => [
    [`/.well-known/${name}`, document],
    // RFC 8414 §3: between host and path, for an issuer with a path.
    [`/.well-known/${name}${prefix}`, document],
    // OpenID Connect Discovery §4 appends it.
    [`${prefix}/.well-known/${name}`, document],
  ];
  return [
    ...wellKnown("oauth-authorization-server", oauth),
    ...wellKnown("openid-configuration", openid),
    ...resources.flatMap((resource): [string, Endpoint][] => {
      const document = documentAt(protectedResource(resource, publicUrl));
      return [
        [`${PROTECTED_RESOURCE}${resource.path}`, document],
        [`${PROTECTED_RESOURCE}${prefix}${resource.path}`, document],
      ];
    }),
  ];
}

function authorizationServer({ publicUrl, register, resources }: MetadataOptions) {
  const base = publicUrl.replace(/\/+$/, "");
  return {
    issuer: publicUrl,
    authorization_endpoint: base + PATHS.authorize,
    token_endpoint: base + PATHS.token,
    ...(register && { registration_endpoint: base + PATHS.register }),
    response_types_supported: ["code"],
    response_modes_supported: ["query", "fragment", "form_post"],
    grant_types_supported: ["authorization_code", "refresh_token"],
    token_endpoint_auth_methods_supported: ["none"],
    code_challenge_methods_supported: ["S256"],
    // Without offline_access: clients that read it there add prompt=consent, which Entra may answer with AADSTS90095.
    scopes_supported: [...new Set(resources.flatMap(({ scopes }) => scopes))],
    client_id_metadata_document_supported: true,
  };
}

function protectedResource({ resource, scopes }: Resource, publicUrl: string) {
  return {
    resource,
    authorization_servers: [publicUrl],
    scopes_supported: scopes,
    bearer_methods_supported: ["header"],
  };
}

function documentAt(document: object): Endpoint {
  const body = JSON.stringify(document);
  return {
    methods: ["GET", "HEAD"],
    anyOrigin: true,
    answer: () => ({
      status: 200,
      headers: { "content-type": "application/json", "cache-control": "public, max-age=3600" },
      body,
    }),
  };
}
