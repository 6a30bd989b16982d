/** An authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1), read and checked as far as no user is needed. */

import type { Claims } from "../jws.ts";
import { isObject } from "../jws.ts";
import type { CodeGrant } from "./authorization-codes.ts";
import type { Directory, Registration } from "./directory.ts";
import { MULTI_TENANT_SEGMENTS } from "./discovery.ts";
import { chosenRedirect, type Redirect } from "./redirect-uris.ts";
import { EntraRefusal } from "./refusal.ts";
import { checkResourceParameter } from "./scopes.ts";
import { isGuid } from "./token-request.ts";

export type Parameters = Readonly<Record<string, string>>;
export type ResponseMode = "query" | "fragment" | "form_post";
type Prompt = "none" | "login" | "select_account" | "consent";

const RESPONSE_MODES: readonly string[] = ["query", "fragment", "form_post"];
const PROMPTS: readonly string[] = ["none", "login", "select_account", "consent"];

/** Where an answer may go, known before anything else of the request is looked at. */
export interface ReplyAddress {
  readonly application: Registration;
  readonly redirect: Redirect;
  readonly responseMode: ResponseMode;
  readonly state: string | undefined;
}

export interface AuthorizeRequest {
  readonly scopes: readonly string[];
  readonly prompt: Prompt | undefined;
  readonly loginHint: string | undefined;
  readonly domainHint: string | undefined;
  /** Seconds. */
  readonly maxAge: number | undefined;
  readonly nonce: string | undefined;
  readonly challenge: CodeGrant["challenge"];
  /** `access_token` member of the claims request. */
  readonly requested: Claims;
  readonly tellsAuthTime: boolean;
  readonly wantsClientInfo: boolean;
}

/** GUID of the tenant, or undefined for a multi-tenant segment. @throws {EntraRefusal} 90002 */
export function tenantOfSegment(segment: string, directory: Directory): string | undefined {
  if (MULTI_TENANT_SEGMENTS.includes(segment.toLowerCase())) return undefined;
  const tenant = directory.tenant(segment);
  if (tenant === undefined) throw new EntraRefusal(90002);
  return tenant.id;
}

/** @throws {EntraRefusal} one that must be shown to the user, because no address to answer to can be trusted. */
export function readReplyAddress(
  parameters: Parameters,
  directory: Directory,
  tenantId: string | undefined,
): ReplyAddress {
  const clientId = parameters.client_id ?? "";
  if (clientId === "") throw new EntraRefusal(900144, "'client_id'");
  if (!isGuid(clientId)) throw new EntraRefusal(700016, "the client id is no GUID");
  const application = directory.application(clientId);
  const isPresent = tenantId === undefined || application?.tenants.has(tenantId) === true;
  if (application === undefined || !isPresent) throw new EntraRefusal(700016);
  const redirect = chosenRedirect(application, parameters.redirect_uri);
  const mode = parameters.response_mode ?? "query";
  return {
    application,
    redirect,
    responseMode: RESPONSE_MODES.includes(mode) ? (mode as ResponseMode) : "query",
    state: parameters.state,
  };
}

/** @throws {EntraRefusal} one that the client is answered with. */
export function readAuthorizeRequest(
  parameters: Parameters,
  { redirect }: ReplyAddress,
  directory: Directory,
): AuthorizeRequest {
  checkKinds(parameters);
  const scopes = (parameters.scope ?? "").split(/\s+/).filter((scope) => scope !== "");
  if (scopes.length === 0) throw new EntraRefusal(900144, "'scope'");
  checkResourceParameter(parameters.resource, scopes, directory);
  const claims = readClaims(parameters.claims);
  const maxAge = readMaxAge(parameters.max_age);
  return {
    scopes,
    prompt: parameters.prompt as Prompt | undefined,
    loginHint: parameters.login_hint,
    domainHint: parameters.domain_hint,
    maxAge,
    nonce: parameters.nonce,
    challenge: readChallenge(parameters, redirect),
    requested: claims.accessToken,
    // OpenID Connect Core §3.1.2.1: a client that limits the age can check it.
    tellsAuthTime: maxAge !== undefined || "auth_time" in claims.idToken,
    wantsClientInfo: parameters.client_info === "1",
  };
}

function checkKinds(parameters: Parameters): void {
  const type = parameters.response_type;
  if (type === undefined) throw new EntraRefusal(900144, "'response_type'");
  if (type !== "code") throw new EntraRefusal(700054, type);
  const mode = parameters.response_mode;
  if (mode !== undefined && !RESPONSE_MODES.includes(mode)) throw new EntraRefusal(70007, mode);
  const { prompt } = parameters;
  if (prompt !== undefined && !PROMPTS.includes(prompt)) throw new EntraRefusal(90023, "'prompt'");
}

/** Pages and devices must send an S256 challenge; a server may leave it out (for devices stricter than documented). */
function readChallenge(parameters: Parameters, redirect: Redirect): CodeGrant["challenge"] {
  const { code_challenge: value, code_challenge_method: method = "plain" } = parameters;
  const isRequired = redirect.type !== "web";
  if (value === undefined) {
    if (isRequired) throw new EntraRefusal(9002325);
    return undefined;
  }
  if (!/^[A-Za-z0-9._~-]{43,128}$/.test(value)) throw new EntraRefusal(501491);
  if (method === "S256") return { value, method };
  if (method !== "plain" || isRequired) throw new EntraRefusal(50149, method);
  return { value, method };
}

function readMaxAge(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new EntraRefusal(90023, "'max_age'");
  return Number(text);
}

function readClaims(text: string | undefined): { readonly accessToken: Claims; readonly idToken: Claims } {
  if (text === undefined) return { accessToken: {}, idToken: {} };
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) {
      const member = (name: string) => (isObject(value[name]) ? value[name] : {});
      return { accessToken: member("access_token"), idToken: member("id_token") };
    }
  } catch {
    // Falls through to the refusal.
  }
  throw new EntraRefusal(90023, "'claims' is not a JSON object");
}
