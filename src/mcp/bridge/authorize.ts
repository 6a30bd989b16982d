/** `GET /oauth2/authorize`: checks what an MCP client asks for, and sends the browser on to Entra with what Entra takes. */

import type { Endpoint, EndpointAnswer } from "../contract.ts";
import type { Clients } from "./clients.ts";
import type { Handles, OpenedHandle, SignIns } from "./handles.ts";
import type { Marks } from "./marks.ts";
import { answerOAuth, malformed, OAuthRefusal, type Parameters, readParameters, required } from "./oauth.ts";
import { cutToOurs, type Resources, SIGN_IN_SCOPES } from "./scopes.ts";

export interface AuthorizeOptions {
  /** Client id of the registration that all MCP clients share. */
  readonly clientId: string;
  /** Entra's authorization endpoint, the only address that browsers are sent to. */
  readonly authorizeEndpoint: () => string;
  /** App ID URI of the gateway. */
  readonly appIdUri: string;
  readonly clients: Clients;
  readonly resources: Resources;
  readonly handles: Handles;
  readonly signIns: SignIns;
  readonly marks: Pick<Marks, "isUsed">;
  readonly now: () => number;
}

/** Longest query: several handles and a long state. */
const MOST_QUERY = 16 * 1024;
const RESPONSE_MODES: readonly string[] = ["query", "fragment", "form_post"];
const PROMPTS: readonly string[] = ["none", "login", "select_account"];
/** RFC 7636 §4.2: base64url of a SHA-256. */
const S256 = /^[A-Za-z0-9_-]{43}$/;

/**
 * Every refusal is shown to the user and none is sent to the client's redirect URI: the gateway redirects to Entra
 * alone, so that it can be no step of a redirect to elsewhere.
 */
export function authorizeEndpoint(options: AuthorizeOptions): Endpoint {
  return {
    methods: ["GET"],
    anyOrigin: false,
    answer: ({ query }) => answerOAuth(() => authorize(query, options)),
  };
}

async function authorize(query: string, options: AuthorizeOptions): Promise<EndpointAnswer> {
  if (query.length > MOST_QUERY) throw malformed("query_long", "The request is too long.");
  const parameters = readParameters(query);
  checkClient(parameters, options.clients);
  checkKinds(parameters);
  const requested = (parameters.get("scope") ?? "").split(" ").filter((scope) => scope !== "");
  const scopes = cutToOurs(
    requested.filter((scope) => !/^urn:/i.test(scope)),
    options.resources.scopesFor(parameters.get("resource")),
  );
  const { handles, marks, now } = options;
  const handle = await handles.newest(requested, now(), marks.isUsed);
  return redirect(entraRequest(parameters, scopes, handle, options), options.authorizeEndpoint());
}

function checkClient(parameters: Parameters, clients: Clients): void {
  const client = clients.identify(required(parameters, "client_id"));
  if (!clients.allowsRedirect(client, required(parameters, "redirect_uri")))
    throw malformed("redirect_uri", "The redirect URI is not among those of this gateway.");
}

function checkKinds(parameters: Parameters): void {
  // OpenID Connect Core §6: a request object would be another set of parameters beside the checked one.
  if (parameters.has("request") || parameters.has("request_uri"))
    throw new OAuthRefusal("request_not_supported", "request_object", "Request objects are not supported.");
  if (required(parameters, "response_type") !== "code")
    throw new OAuthRefusal("unsupported_response_type", "response_type", "The response type must be code.");
  const mode = parameters.get("response_mode") ?? "query";
  if (!RESPONSE_MODES.includes(mode)) throw malformed("response_mode", "The response mode is not supported.");
  // RFC 9700 §2.1.1: without PKCE a code that was stolen or injected could be redeemed.
  if (
    parameters.get("code_challenge_method") !== "S256" ||
    !S256.test(required(parameters, "code_challenge"))
  )
    throw malformed("code_challenge", "The request needs a code challenge with the method S256 (RFC 7636).");
}

/** Parameters that pass as the client wrote them. `resource` is not among them: Entra refuses it (AADSTS9010010). */
const PASSED = [
  "redirect_uri",
  "state",
  "response_mode",
  "code_challenge",
  "code_challenge_method",
  "login_hint",
  "domain_hint",
  "max_age",
  "ui_locales",
] as const;

function entraRequest(
  parameters: Parameters,
  scopes: readonly string[],
  handle: OpenedHandle | undefined,
  { clientId, appIdUri, signIns, now }: AuthorizeOptions,
): URLSearchParams {
  const demand = handle?.demand;
  const request = new URLSearchParams({ client_id: clientId, response_type: "code" });
  // Entra shows the permissions of the gateway together with the client's only for `.default`, and for a client that
  // the gateway's registration lists in knownClientApplications.
  const asked = demand?.kind === "consent" ? [`${appIdUri}/.default`] : scopes;
  request.set("scope", [...asked, ...SIGN_IN_SCOPES].join(" "));
  const set = (name: string, value: string | undefined) => {
    if (value !== undefined) request.set(name, value);
  };
  for (const name of PASSED) set(name, parameters.get(name));
  set("nonce", handle === undefined ? parameters.get("nonce") : signIns.nonceOf(handle, now()));
  set("prompt", promptOf(parameters.get("prompt"), demand?.kind));
  set("claims", demand?.kind === "claims" ? demand.claims : undefined);
  return request;
}

/**
 * Clients send `prompt=consent` whenever they want a refresh token; Entra would then ask for an administrator
 * (AADSTS90095). Only a demand for consent brings it in.
 */
function promptOf(
  requested: string | undefined,
  demand: OpenedHandle["demand"]["kind"] | undefined,
): string | undefined {
  if (demand === "consent") return "consent";
  if (demand === "login") return "login";
  const prompts = (requested ?? "").split(" ").filter((prompt) => prompt !== "" && prompt !== "consent");
  if (prompts.length === 0) return undefined;
  const [prompt = ""] = prompts;
  if (prompts.length > 1 || !PROMPTS.includes(prompt))
    throw malformed("prompt", "The parameter prompt is not supported with this value.");
  return prompt;
}

function redirect(parameters: URLSearchParams, endpoint: string): EndpointAnswer {
  const location = new URL(endpoint);
  for (const [name, value] of parameters) location.searchParams.set(name, value);
  return {
    status: 302,
    headers: { location: location.href, "cache-control": "no-store" },
    body: "",
  };
}
