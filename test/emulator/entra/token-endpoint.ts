/** `POST /{tenant}/oauth2/v2.0/token`: the on-behalf-of and client-credentials grants, checked as Entra checks them. */

import { randomUUID } from "node:crypto";
import type { Response } from "express";
import type { EmulatorOptions } from "../handle.ts";
import type { AccessTokenRequest, TokenFactory } from "./access-tokens.ts";
import type { AuthenticatedClient, ClientAuthentication } from "./client-authentication.ts";
import type { Directory } from "./directory.ts";
import { MULTI_TENANT_SEGMENTS } from "./discovery.ts";
import type { SigningKeys } from "./keys.ts";
import { requestedValues } from "./mint.ts";
import type { Policies } from "./policies.ts";
import { EntraRefusal, refusalAnswer } from "./refusal.ts";
import { consentedScopes, parseScopes, type RequestedResource, wants } from "./scopes.ts";
import { requestedClaims, requestedScopes, required, type TokenForm } from "./token-request.ts";
import type { UserAssertionVerifier, VerifiedUser } from "./user-assertion.ts";

const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const PLAIN_LIFETIME_SECONDS = 4_500;
const LONG_LIFETIME_SECONDS = 86_399;

export interface TokenEndpoint {
  /** Answers, and returns the AADSTS number; 0 = a token was issued. */
  answer(form: TokenForm, response: Response): Promise<number>;
}

export function createTokenEndpoint(parts: {
  readonly directory: Directory;
  readonly keys: SigningKeys;
  readonly tokens: TokenFactory;
  readonly policies: Policies;
  readonly clientAuthentication: ClientAuthentication;
  readonly userAssertions: UserAssertionVerifier;
  readonly now: () => number;
  readonly lifetimes: NonNullable<EmulatorOptions["tokenLifetimeSeconds"]>;
}): TokenEndpoint {
  const { directory, keys, tokens, policies, clientAuthentication, userAssertions, now, lifetimes } = parts;

  const grant = async (form: TokenForm): Promise<Record<string, unknown>> => {
    if (form.duplicates.length > 0) throw new EntraRefusal(9000411, form.duplicates.join(", "));
    const grantType = required(form, "grant_type");
    if (grantType !== JWT_BEARER && grantType !== "client_credentials") throw new EntraRefusal(70003);
    if (MULTI_TENANT_SEGMENTS.includes(form.tenantSegment.toLowerCase())) throw new EntraRefusal(9001023);
    const tenant = directory.tenant(form.tenantSegment);
    if (tenant === undefined) throw new EntraRefusal(90002);
    required(form, "scope");
    const client = await clientAuthentication.authenticate(form, tenant.id);
    return grantType === JWT_BEARER
      ? onBehalfOf(form, client, tenant.id)
      : clientCredentials(form, client, tenant.id);
  };

  const onBehalfOf = (form: TokenForm, client: AuthenticatedClient, tenantId: string) => {
    if (required(form, "requested_token_use") !== "on_behalf_of") {
      throw new EntraRefusal(900144, "'requested_token_use'");
    }
    const { application } = client;
    const verified = userAssertions.verify(required(form, "assertion"), application, tenantId, form.cloud);
    const scopes = requestedScopes(form);
    const requested = requestedClaims(form);
    policies.check({
      grant: "on-behalf-of",
      tenantId,
      clientId: application.clientId,
      scopes,
      ...verified,
      requested,
    });
    const wanted = parseScopes(scopes, directory, tenantId);
    const granted = consentedScopes(wanted, application, directory, {
      tenantId,
      userObjectId: verified.user.objectId,
    });
    const capable = requestedValues(requested.xms_cc).some((value) => value.toLowerCase() === "cp1");
    const request = delegatedToken(form, client, tenantId, wanted, granted, verified, capable);
    return {
      ...issued(request),
      scope: scopeOf(wanted, granted),
      ...(wants(scopes, "offline_access") ? { refresh_token: `1.emulator-${randomUUID()}` } : {}),
      ...(wants(scopes, "openid") ? { id_token: tokens.idToken(request, keys.active()) } : {}),
      ...(form.parameters.get("client_info") === "1"
        ? { client_info: clientInfo(verified.user.objectId, tenantId) }
        : {}),
    };
  };

  const clientCredentials = (form: TokenForm, client: AuthenticatedClient, tenantId: string) => {
    const scopes = requestedScopes(form);
    const { application } = client;
    policies.check({
      grant: "client-credentials",
      tenantId,
      clientId: application.clientId,
      scopes,
      requested: requestedClaims(form),
    });
    const wanted = parseScopes(scopes, directory, tenantId);
    if (wanted.names[0] !== ".default") throw new EntraRefusal(70011, "client credentials need .default");
    return issued({
      cloud: form.cloud,
      tenant: { id: tenantId },
      resource: wanted.resource,
      audience: audienceOf(wanted),
      version: wanted.resource.accessTokenVersion,
      clientId: application.clientId,
      clientAuthentication: client.authentication,
      principalId: application.clientId.replace(/^.{8}/, "5e5e5e5e"),
      scopes: [],
      lifetimeSeconds: lifetimes.plain ?? PLAIN_LIFETIME_SECONDS,
    });
  };

  const delegatedToken = (
    form: TokenForm,
    client: AuthenticatedClient,
    tenantId: string,
    wanted: RequestedResource,
    granted: readonly string[],
    { user, claims }: VerifiedUser,
    capable: boolean,
  ): AccessTokenRequest => ({
    cloud: form.cloud,
    tenant: { id: tenantId },
    resource: wanted.resource,
    audience: audienceOf(wanted),
    version: wanted.resource.accessTokenVersion,
    clientId: client.application.clientId,
    clientAuthentication: client.authentication,
    user,
    scopes: granted,
    lifetimeSeconds: capable
      ? (lifetimes.longLived ?? LONG_LIFETIME_SECONDS)
      : (lifetimes.plain ?? PLAIN_LIFETIME_SECONDS),
    claims: {
      ...(claims.acrs === undefined ? {} : { acrs: claims.acrs }),
      ...(claims.amr === undefined ? {} : { amr: claims.amr }),
      ...(capable ? { xms_cc: ["CP1"] } : {}),
    },
  });

  const issued = (request: AccessTokenRequest) => ({
    token_type: "Bearer",
    expires_in: request.lifetimeSeconds,
    ext_expires_in: request.lifetimeSeconds,
    access_token: tokens.accessToken(request, keys.active()),
  });

  return {
    async answer(form, response) {
      try {
        const body = await grant(form);
        setHeaders(form, response, 0).status(200).json(body);
        return 0;
      } catch (error) {
        if (!(error instanceof EntraRefusal)) throw error;
        const { status, retryAfterSeconds, body } = refusalAnswer(error, {
          ...form,
          at: now(),
          authorityHost: form.cloud.authorityHost,
        });
        if (retryAfterSeconds !== undefined) response.set("Retry-After", String(retryAfterSeconds));
        setHeaders(form, response, error.code).status(status).json(body);
        return error.code;
      }
    },
  };
}

function audienceOf({ resource, identifier }: RequestedResource): string {
  return resource.accessTokenVersion === 2 ? resource.clientId : identifier;
}

function scopeOf({ identifier, names }: RequestedResource, granted: readonly string[]): string {
  const listed = names.includes(".default") ? [...granted, ".default"] : granted;
  return listed.map((name) => `${identifier}/${name}`).join(" ");
}

function clientInfo(uid: string, utid: string): string {
  return Buffer.from(JSON.stringify({ uid, utid })).toString("base64url");
}

function setHeaders(form: TokenForm, response: Response, code: number): Response {
  response.set({
    "Cache-Control": "no-store, no-cache",
    Pragma: "no-cache",
    Expires: "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    P3P: 'CP="DSP CUR OTPi IND OTRi ONL FIN"',
    "x-ms-request-id": form.traceId,
    "x-ms-ests-server": "2.1.0 - EMULATOR ProdSlices",
    "x-ms-clitelem": `1,${code},0,,`,
    "Set-Cookie": [
      "fpc=emulator; path=/; secure; HttpOnly; SameSite=None",
      "x-ms-gateway-slice=estsfd; path=/; secure; httponly",
      "stsservicecookie=estsfd; path=/; secure; httponly",
    ],
  });
  if (form.echoCorrelationId) response.set("client-request-id", form.correlationId);
  return response;
}
