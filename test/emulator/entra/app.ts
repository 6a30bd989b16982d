/** The routes of the authority. */

import express, { type Express, type Request, type RequestHandler, type Response } from "express";
import type { FaultEndpoint } from "../fault.ts";
import type { FaultInjection } from "../faults.ts";
import { decodeJws, isObject } from "../jws.ts";
import { type Draft, type Recorder, sha256Hex } from "../request-log.ts";
import type { AuthorizeRecord, MetadataRequest, TokenRequest } from "../request-record.ts";
import type { AuthorizeEndpoint, Outcome } from "./authorize-endpoint.ts";
import type { Parameters } from "./authorize-request.ts";
import { credentialKind, namedThumbprint } from "./client-authentication.ts";
import type { Clouds } from "./clouds.ts";
import type { Directory } from "./directory.ts";
import { discoveryDocument, instanceDiscoveryDocument, MULTI_TENANT_SEGMENTS } from "./discovery.ts";
import type { SigningKeys } from "./keys.ts";
import { EntraRefusal, refusalAnswer } from "./refusal.ts";
import type { createSignOut } from "./sign-out.ts";
import type { TokenEndpoint } from "./token-endpoint.ts";
import { readTokenRequest, requestedScopes, type TokenForm } from "./token-request.ts";

export function createEntraApp(parts: {
  readonly clouds: Clouds;
  readonly directory: Directory;
  readonly keys: SigningKeys;
  readonly tokenEndpoint: TokenEndpoint;
  readonly authorizeEndpoint: AuthorizeEndpoint;
  readonly signOut: ReturnType<typeof createSignOut>;
  readonly recorder: Recorder;
  readonly faults: FaultInjection;
  readonly now: () => number;
}): Express {
  const { clouds, directory, keys, tokenEndpoint, authorizeEndpoint, signOut, recorder, faults, now } = parts;
  const app = express().disable("x-powered-by").disable("etag");

  const observe =
    (endpoint: MetadataRequest["endpoint"]): RequestHandler =>
    (request, response, next) => {
      const draft: Draft<MetadataRequest> = {
        endpoint,
        at: now(),
        status: 0,
        faulted: false,
        aborted: false,
        path: request.path,
        tenant: String(request.params.tenant ?? ""),
      };
      recorder.arrived(draft, response);
      next();
    };

  const metadata = (
    path: string,
    endpoint: FaultEndpoint & MetadataRequest["endpoint"],
    document: (request: Request) => object,
  ) => {
    app.get(path, observe(endpoint), faults.meets(endpoint), (request, response) => {
      try {
        // Pages of any origin read it.
        response
          .set({ "Cache-Control": "max-age=86400, private", "Access-Control-Allow-Origin": "*" })
          .json(document(request));
      } catch (error) {
        answerRefusal(error, request, response);
      }
    });
  };

  const answerRefusal = (error: unknown, request: Request, response: Response) => {
    if (!(error instanceof EntraRefusal)) throw error;
    const form = readTokenRequest(request, clouds);
    const about = { ...form, at: now(), authorityHost: form.cloud.authorityHost };
    const { status, body } = refusalAnswer(error, about);
    response.status(status).json(body);
  };

  /** Lower-case GUID or multi-tenant segment. @throws {EntraRefusal} */
  const segmentOf = (request: Request): string => {
    const segment = String(request.params.tenant).toLowerCase();
    if (MULTI_TENANT_SEGMENTS.includes(segment)) return segment;
    const tenant = directory.tenant(segment);
    if (tenant === undefined) throw new EntraRefusal(90002, { error: "invalid_tenant" });
    return tenant.id;
  };
  const cloudOf = (request: Request) => clouds.ofHost(request.get("host"));
  const tenantOf = (request: Request) => {
    const segment = segmentOf(request);
    return MULTI_TENANT_SEGMENTS.includes(segment) ? undefined : segment;
  };

  metadata("/common/discovery/instance", "instance-discovery", (request) =>
    instanceDiscoveryDocument(
      cloudOf(request),
      new URL(String(request.query.authorization_endpoint ?? "https://x/common/")).pathname.split("/")[1] ??
        "common",
    ),
  );
  metadata("/:tenant/v2.0/.well-known/openid-configuration", "discovery", (request) =>
    discoveryDocument(cloudOf(request), segmentOf(request), 2),
  );
  metadata("/:tenant/.well-known/openid-configuration", "discovery", (request) =>
    discoveryDocument(cloudOf(request), segmentOf(request), 1),
  );
  metadata("/:tenant/discovery/v2.0/keys", "keys", (request) =>
    keys.document(cloudOf(request), tenantOf(request), 2),
  );
  metadata("/:tenant/discovery/keys", "keys", (request) =>
    keys.document(cloudOf(request), tenantOf(request), 1),
  );

  const form = express.urlencoded({ extended: false, limit: "1mb" });

  /** A request of a browser: recorded by what the client asked for, whichever page it is about. */
  const page = (
    answer: (parameters: Parameters, request: Request, response: Response) => Outcome,
  ): RequestHandler => {
    return (request, response, next) => {
      const parameters = textParameters(request.method === "POST" ? request.body : request.query);
      const asked = "step" in parameters ? authorizeEndpoint.parametersOf(parameters) : parameters;
      const draft = describePage(request, asked, now());
      recorder.arrived(draft, response);
      faults.meets("authorize")(request, response, (error?: unknown) => {
        if (error !== undefined) return next(error);
        draft.aadsts = answer(parameters, request, response);
      });
    };
  };
  const authorize = page((parameters, request, response) =>
    authorizeEndpoint.begin("authorize", parameters, request, response),
  );
  app.get("/:tenant/oauth2/v2.0/authorize", authorize);
  app.post("/:tenant/oauth2/v2.0/authorize", form, authorize);
  app.post("/:tenant/login", form, page(authorizeEndpoint.advance));
  app.get(
    ["/:tenant/v2.0/adminconsent", "/:tenant/adminconsent"],
    page((parameters, request, response) =>
      authorizeEndpoint.begin("admin-consent", parameters, request, response),
    ),
  );
  const leave = page((parameters, request, response) => {
    signOut(parameters, request, response);
    return 0;
  });
  app.get("/:tenant/oauth2/v2.0/logout", leave);
  app.post("/:tenant/oauth2/v2.0/logout", form, leave);

  app.options("/:tenant/oauth2/v2.0/token", (request, response) => {
    response
      .set({
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": request.get("access-control-request-headers") ?? "",
        "Access-Control-Max-Age": "86400",
      })
      .sendStatus(200);
  });
  app.post("/:tenant/oauth2/v2.0/token", form, (request, response, next) => {
    const form = readTokenRequest(request, clouds);
    const draft = describe(form, now());
    recorder.arrived(draft, response);
    faults.meets("token")(request, response, (error?: unknown) => {
      if (error !== undefined) return next(error);
      tokenEndpoint.answer(form, response).then((code) => {
        draft.aadsts = code;
      }, next);
    });
  });
  return app;
}

/** A parameter that stands twice counts with its first value. */
function textParameters(source: unknown): Parameters {
  const texts = Object.entries(isObject(source) ? source : {}).map(([name, value]) => [
    name,
    [value].flat()[0],
  ]);
  return Object.fromEntries(texts.filter(([, value]) => typeof value === "string"));
}

function describePage(request: Request, asked: Parameters, at: number): Draft<AuthorizeRecord> {
  return {
    endpoint: "authorize",
    at,
    status: 0,
    faulted: false,
    aborted: false,
    method: request.method,
    path: request.path,
    tenant: String(request.params.tenant),
    clientId: asked.client_id,
    redirectUri: asked.redirect_uri,
    scopes: (asked.scope ?? "").split(/\s+/).filter((scope) => scope !== ""),
    prompt: asked.prompt,
    loginHint: asked.login_hint,
    claims: asked.claims,
    resource: asked.resource,
    challengeMethod:
      asked.code_challenge === undefined ? undefined : (asked.code_challenge_method ?? "plain"),
    aadsts: undefined,
  };
}

function describe(form: TokenForm, at: number): Draft<TokenRequest> {
  const { parameters } = form;
  const assertion = parameters.get("assertion");
  const clientAssertion = parameters.get("client_assertion");
  const refreshToken = parameters.get("refresh_token");
  const oid = assertion === undefined ? undefined : decodeJws(assertion)?.payload.oid;
  const named = namedThumbprint(decodeJws(clientAssertion ?? "")?.header ?? {});
  return {
    endpoint: "token",
    at,
    status: 0,
    faulted: false,
    aborted: false,
    tenant: form.tenantSegment,
    grantType: parameters.get("grant_type"),
    clientId: form.basic?.clientId ?? parameters.get("client_id"),
    userObjectId: typeof oid === "string" ? oid : undefined,
    scopes: requestedScopes(form),
    claims: parameters.get("claims"),
    credential: credentialKind(form),
    clientAssertionSha256: clientAssertion === undefined ? undefined : sha256Hex(clientAssertion),
    userAssertionSha256: assertion === undefined ? undefined : sha256Hex(assertion),
    refreshTokenSha256: refreshToken === undefined ? undefined : sha256Hex(refreshToken),
    resource: parameters.get("resource"),
    thumbprint: named.sha256 ?? named.sha1,
    correlationId: form.correlationId,
    aadsts: undefined,
  };
}
