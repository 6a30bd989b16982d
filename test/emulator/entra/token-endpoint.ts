/** `POST /{tenant}/oauth2/v2.0/token`: which grant is asked for, and the answer's frame around it. */

import type { Response } from "express";
import type { ClientAuthentication } from "./client-authentication.ts";
import type { Directory } from "./directory.ts";
import { MULTI_TENANT_SEGMENTS } from "./discovery.ts";
import { EntraRefusal, refusalAnswer } from "./refusal.ts";
import { required, type TokenForm } from "./token-request.ts";

const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

type Body = Record<string, unknown>;

/** Grants whose client proves itself first, and which need a tenant of their own. */
type ApplicationGrant = (
  form: TokenForm,
  client: Awaited<ReturnType<ClientAuthentication["authenticate"]>>,
  tenantId: string,
) => Body;
/** Grants that carry their tenant and the kind of their client in a code or refresh token. */
type SignInGrant = (form: TokenForm, tenantId: string | undefined) => Promise<Body>;

export interface TokenEndpoint {
  /** Answers, and returns the AADSTS number; 0 = a token was issued. */
  answer(form: TokenForm, response: Response): Promise<number>;
}

export function createTokenEndpoint(parts: {
  readonly directory: Directory;
  readonly clientAuthentication: ClientAuthentication;
  readonly onBehalfOf: ApplicationGrant;
  readonly clientCredentials: ApplicationGrant;
  readonly authorizationCode: SignInGrant;
  readonly refreshToken: SignInGrant;
  readonly now: () => number;
}): TokenEndpoint {
  const { directory, clientAuthentication, now } = parts;
  const applicationGrants = new Map([
    [JWT_BEARER, parts.onBehalfOf],
    ["client_credentials", parts.clientCredentials],
  ]);
  const signInGrants = new Map([
    ["authorization_code", parts.authorizationCode],
    ["refresh_token", parts.refreshToken],
  ]);

  const grant = async (form: TokenForm): Promise<Body> => {
    if (form.duplicates.length > 0) throw new EntraRefusal(9000411, form.duplicates.join(", "));
    const grantType = required(form, "grant_type");
    const applicationGrant = applicationGrants.get(grantType);
    const signInGrant = signInGrants.get(grantType);
    if (applicationGrant === undefined && signInGrant === undefined) throw new EntraRefusal(70003);
    const isMultiTenant = MULTI_TENANT_SEGMENTS.includes(form.tenantSegment.toLowerCase());
    if (isMultiTenant && applicationGrant !== undefined) throw new EntraRefusal(9001023);
    const tenant = directory.tenant(form.tenantSegment);
    if (tenant === undefined && !isMultiTenant) throw new EntraRefusal(90002);
    if (signInGrant !== undefined) return await signInGrant(form, tenant?.id);
    if (applicationGrant === undefined || tenant === undefined) throw new EntraRefusal(70003);
    required(form, "scope");
    const client = await clientAuthentication.authenticate(form, tenant.id);
    return applicationGrant(form, client, tenant.id);
  };

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

function setHeaders(form: TokenForm, response: Response, code: number): Response {
  response.set({
    "Cache-Control": "no-store, no-cache",
    Pragma: "no-cache",
    Expires: "-1",
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
  // Not for localhost: a browser applies it to every port, and the page of a front end there speaks plain HTTP.
  if (!isLoopback(form.cloud.authorityHost)) {
    response.set("Strict-Transport-Security", "max-age=31536000; includeSubDomains");
  }
  // Every origin may read the answer, refusals included; which origin may redeem is decided by the grant.
  if (form.origin !== undefined) {
    response.set({
      "Access-Control-Allow-Origin": "*",
      "Access-Control-Expose-Headers": "Content-Length,Content-Encoding,x-ms-request-id,x-ms-srs",
    });
  }
  if (form.echoCorrelationId) response.set("client-request-id", form.correlationId);
  return response;
}

function isLoopback(authorityHost: string): boolean {
  return ["localhost", "127.0.0.1"].includes(new URL(authorityHost).hostname);
}
