/** The local API in OpenAPI 3.1, for generators of clients. */

import { ACTOR_OF } from "../errors.ts";
import type { LocalApi } from "./contract.ts";

type Json = Readonly<Record<string, unknown>>;

export function localOpenapi(apis: ReadonlyMap<string, LocalApi>): Json {
  const apiName = {
    name: "apiName",
    in: "path",
    required: true,
    schema: { type: "string", enum: [...apis.keys()] },
  };
  const tokenOptions = [
    option("Scopes", { type: "array", items: { type: "string" } }, "Scopes in place of the configured ones."),
    option("RequestAppToken", { type: "boolean" }, "A token of the application itself."),
    option("AcquireTokenOptions.Tenant", { type: "string" }, "Tenant of the token."),
    option("AcquireTokenOptions.ForceRefresh", { type: "boolean" }, "No token older than 30 seconds."),
    option("AcquireTokenOptions.Claims", { type: "string" }, "Claims request of a challenge, decoded JSON."),
    option("AcquireTokenOptions.CorrelationId", { type: "string" }, "Name of the request in logs."),
  ];
  const callOptions = [
    option("RelativePath", { type: "string" }, "Path and query below the API's base URL."),
    option("HttpMethod", { type: "string", enum: ["GET", "POST", "PUT", "PATCH", "DELETE"] }, "Default GET."),
  ];
  const header = (summary: string, security: Json) => ({
    get: {
      summary,
      parameters: [apiName, ...tokenOptions],
      ...security,
      responses: { "200": json("AuthorizationHeader"), default: problem("Problem") },
    },
  });
  const call = (summary: string, security: Json) =>
    Object.fromEntries(
      ["get", "post", "put", "patch", "delete"].map((method) => [
        method,
        {
          summary,
          parameters: [apiName, ...callOptions, ...tokenOptions],
          ...(method !== "get" && { requestBody: { content: { "*/*": { schema: {} } } } }),
          ...security,
          responses: { "200": json("DownstreamApiResult"), default: problem("Problem") },
        },
      ]),
    );
  const texas = (summary: string, request: string, response: string) => ({
    post: {
      summary,
      requestBody: {
        required: true,
        content: {
          "application/json": { schema: ref(request) },
          "application/x-www-form-urlencoded": { schema: ref(request) },
        },
      },
      ...OPEN,
      responses: { "200": json(response), default: problem("TokenError", "application/json") },
    },
  });
  return {
    openapi: "3.1.0",
    info: {
      title: "obo-gateway, local API",
      version: "1",
      description: "Tokens of downstream APIs for programs of the same machine or pod.",
    },
    paths: {
      "/Validate": {
        get: {
          summary: "Verifies the caller's token.",
          ...USER,
          responses: { "200": json("Validation"), default: problem("Problem") },
        },
      },
      "/AuthorizationHeader/{apiName}": header("The field Authorization for an API, as the caller.", USER),
      "/AuthorizationHeaderUnauthenticated/{apiName}": header(
        "The field Authorization for an API, as the application itself.",
        OPEN,
      ),
      "/DownstreamApi/{apiName}": call("Calls an API as the caller.", USER),
      "/DownstreamApiUnauthenticated/{apiName}": call("Calls an API as the application itself.", OPEN),
      "/api/v1/token/exchange": texas("Exchanges a user's token.", "TokenExchangeRequest", "Token"),
      "/api/v1/token": texas("A token of the application itself.", "TokenRequest", "Token"),
      "/api/v1/introspect": texas("Verifies a token.", "IntrospectRequest", "Introspection"),
      "/healthz": {
        get: {
          summary: "Whether the gateway is ready.",
          ...OPEN,
          responses: { "200": { description: "Healthy" }, "503": { description: "Unhealthy" } },
        },
      },
    },
    components: {
      securitySchemes: { user: { type: "http", scheme: "bearer", bearerFormat: "JWT" } },
      schemas: schemas([...apis.keys()]),
    },
  };
}

const USER = { security: [{ user: [] }] };
const OPEN = { security: [] };

const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const json = (name: string) => ({
  description: "Granted.",
  content: { "application/json": { schema: ref(name) } },
});
const problem = (name: string, type = "application/problem+json") => ({
  description: "Refused; the status says who has to act, and the code why.",
  headers: {
    "www-authenticate": { description: "Challenge of a 401 or 403.", schema: { type: "string" } },
    "retry-after": { description: "Seconds to wait.", schema: { type: "integer" } },
  },
  content: { [type]: { schema: ref(name) } },
});

function option(name: string, schema: Json, description: string): Json {
  return { name: `optionsOverride.${name}`, in: "query", required: false, schema, description };
}

function object(required: readonly string[], properties: Json): Json {
  return { type: "object", required, properties };
}

const TEXT = { type: "string" };
const CLAIMS = { type: "object", additionalProperties: true };

function schemas(names: readonly string[]): Json {
  const provider = { type: "string", enum: ["entra_id"] };
  const target = { type: "string", description: "Name of an API, or its scope.", examples: names };
  const refusal = {
    type: TEXT,
    title: TEXT,
    status: { type: "integer" },
    code: { type: "string", enum: Object.keys(ACTOR_OF) },
    detail: TEXT,
    correlationId: TEXT,
    reason: TEXT,
    requiredScopes: { type: "array", items: TEXT },
    consentUri: TEXT,
    claims: { type: "string", description: "Claims request of Entra, decoded JSON." },
  };
  const always = ["type", "title", "status", "code", "detail", "correlationId"];
  return {
    AuthorizationHeader: object(["authorizationHeader"], { authorizationHeader: TEXT }),
    Validation: object(["protocol", "token", "claims"], { protocol: TEXT, token: TEXT, claims: CLAIMS }),
    DownstreamApiResult: object(["statusCode", "headers", "content"], {
      statusCode: { type: "integer" },
      headers: { type: "object", additionalProperties: { type: "array", items: TEXT } },
      content: TEXT,
      contentEncoding: { type: "string", enum: ["base64"], description: "Where the content is no text." },
    }),
    TokenExchangeRequest: object(["identity_provider", "target", "user_token"], {
      identity_provider: provider,
      target,
      user_token: TEXT,
      skip_cache: { type: "boolean" },
      claims: { type: "string", description: "Claims request of a challenge of the API, decoded JSON." },
    }),
    TokenRequest: object(["identity_provider", "target"], {
      identity_provider: provider,
      target,
      skip_cache: { type: "boolean" },
    }),
    IntrospectRequest: object(["identity_provider", "token"], { identity_provider: provider, token: TEXT }),
    Token: object(["access_token", "token_type", "expires_in"], {
      access_token: TEXT,
      token_type: { type: "string", enum: ["Bearer"] },
      expires_in: { type: "integer" },
    }),
    Introspection: {
      ...object(["active"], { active: { type: "boolean" }, error: TEXT }),
      additionalProperties: true,
    },
    Problem: object(always, refusal),
    TokenError: object(["error", "error_description", ...always], {
      error: TEXT,
      error_description: TEXT,
      ...refusal,
    }),
  };
}
