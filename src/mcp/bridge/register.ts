/** `POST /oauth2/register`: dynamic client registration (RFC 7591) that registers nothing, and names the one client there is. */

import { parseJsonObject } from "../../foundation/json.ts";
import type { Endpoint, EndpointAnswer } from "../contract.ts";
import type { Clients } from "./clients.ts";
import { answerOAuth, json, malformed, OAuthRefusal } from "./oauth.ts";

export interface RegisterOptions {
  readonly clientId: string;
  readonly clients: Pick<Clients, "registersRedirect">;
  readonly now: () => number;
}

const MOST_BODY = 16 * 1024;
const MOST_REDIRECT_URIS = 32;
const GRANT_TYPES: readonly string[] = ["authorization_code", "refresh_token"];

export function registerEndpoint(options: RegisterOptions): Endpoint {
  return {
    methods: ["POST"],
    body: { type: "application/json", maxBytes: MOST_BODY },
    anyOrigin: false,
    answer: ({ body }) => answerOAuth(() => register(body, options)),
  };
}

/**
 * URLs of the client's metadata (`logo_uri`, `jwks_uri` and the like) are never fetched, and are no part of the answer.
 * Whatever way to authenticate the client asks for, it gets none: it cannot keep a secret that all clients share.
 */
function register(text: string, { clientId, clients, now }: RegisterOptions): EndpointAnswer {
  const asked = parseJsonObject(text);
  if (asked === undefined) throw malformed("json", "The body is not a JSON object.");
  const redirectUris = listOf(asked.redirect_uris);
  if (redirectUris === undefined || redirectUris.length === 0 || redirectUris.length > MOST_REDIRECT_URIS)
    throw refused("invalid_redirect_uri", "redirect_uris", "The client must name its redirect URIs.");
  if (!redirectUris.every(clients.registersRedirect))
    throw refused(
      "invalid_redirect_uri",
      "redirect_uri",
      "A redirect URI is not among those of this gateway.",
    );
  const responseTypes = listOf(asked.response_types ?? ["code"]);
  if (responseTypes?.every((type) => type === "code") !== true)
    throw refused("invalid_client_metadata", "response_types", "The only response type is code.");
  const grantTypes = listOf(asked.grant_types ?? ["authorization_code"])?.filter((type) =>
    GRANT_TYPES.includes(type),
  );
  if (grantTypes?.includes("authorization_code") !== true)
    throw refused(
      "invalid_client_metadata",
      "grant_types",
      "The grant types must include authorization_code.",
    );
  const name = asked.client_name;
  return json(201, {
    client_id: clientId,
    client_id_issued_at: Math.floor(now() / 1000),
    redirect_uris: redirectUris,
    grant_types: grantTypes,
    response_types: ["code"],
    token_endpoint_auth_method: "none",
    ...(typeof name === "string" && name.length <= 200 && { client_name: name }),
  });
}

function listOf(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) && value.every((one) => typeof one === "string") ? value : undefined;
}

function refused(error: string, reason: string, description: string): OAuthRefusal {
  return new OAuthRefusal(error, reason, description);
}
