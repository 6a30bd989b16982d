/** `POST /oauth2/token`: passes the two grants of MCP clients on to Entra, and its answers back with wrapped refresh tokens. */

import { createHash } from "node:crypto";
import {
  type BoundedResponse,
  boundedFetch,
  type Fetch,
  FetchFailure,
} from "../../foundation/bounded-fetch.ts";
import { type JsonObject, parseJsonObject } from "../../foundation/json.ts";
import { GUID } from "../../foundation/patterns.ts";
import { Secret } from "../../foundation/secret.ts";
import type { Endpoint, EndpointAnswer, EndpointRequest } from "../contract.ts";
import type { Clients } from "./clients.ts";
import type { SignIns } from "./handles.ts";
import type { Marks } from "./marks.ts";
import type { Met } from "./met.ts";
import {
  answerOAuth,
  json,
  malformed,
  OAuthRefusal,
  type Parameters,
  readParameters,
  required,
} from "./oauth.ts";
import type { RefreshTokens } from "./refresh-tokens.ts";
import { type AskableScopes, cutToOurs, type Resources, SIGN_IN_SCOPES } from "./scopes.ts";

export interface TokenOptions {
  /** Client id of the registration that all MCP clients share. */
  readonly clientId: string;
  /** Tenant whose endpoint redeems codes: the one whose authorization endpoint issued them, or `organizations`. */
  readonly tenant: string;
  readonly tokenEndpoint: (tenant: string) => string;
  readonly clients: Clients;
  readonly resources: Resources;
  readonly refreshTokens: RefreshTokens;
  readonly signIns: SignIns;
  readonly marks: Marks;
  readonly fetch: Fetch;
  readonly timeoutMs: number;
  readonly now: () => number;
}

const MOST_BODY = 64 * 1024;
/** Tokens of a user in many groups are long, and an answer holds three. */
const MOST_ANSWER = 256 * 1024;
/** Requests to Entra under way at once, for each grant: a flood of false codes must not keep clients from renewing. */
const MOST_UNDER_WAY = 100;
const VERIFIER = /^[A-Za-z0-9._~-]{43,128}$/;
/** By which a client would prove itself: those of the bridge are public, and the registration has no secret. */
const PROOFS = ["client_secret", "client_assertion", "client_assertion_type"];

type Form = Readonly<Record<string, string>>;

interface Grant {
  readonly tenant: string;
  readonly form: Form;
  /** Makes the client's answer of Entra's. */
  granted(issued: Issued): Promise<readonly Met[]>;
  readonly client: string;
  /** The one that was used, where Entra does not give a new one. */
  readonly refreshToken: Secret | undefined;
}

export function tokenEndpoint(options: TokenOptions): Endpoint {
  const places = { authorization_code: createPlaces(), refresh_token: createPlaces() };
  return {
    methods: ["POST"],
    body: { type: "application/x-www-form-urlencoded", maxBytes: MOST_BODY },
    anyOrigin: false,
    answer: (request) =>
      answerOAuth(async () => {
        const parameters = readForm(request);
        const kind = required(parameters, "grant_type");
        if (kind !== "authorization_code" && kind !== "refresh_token")
          throw new OAuthRefusal(
            "unsupported_grant_type",
            "grant_type",
            "The grant type must be authorization_code or refresh_token.",
          );
        const client = options.clients.identify(required(parameters, "client_id"));
        const grant =
          kind === "authorization_code"
            ? codeGrant(parameters, client, options)
            : await refreshGrant(parameters, client, options);
        const answer = await places[kind](() => askEntra(grant, request, options));
        return answer.status === 200 ? passTokens(answer, grant, options) : passRefusal(answer);
      }),
  };
}

function readForm({ body, query, hasAuthorization }: EndpointRequest): Parameters {
  // RFC 6749 §2.3.1: parameters of the body must not stand in the URL, which logs keep.
  if (query !== "") throw malformed("query", "The token endpoint takes its parameters from the body alone.");
  const parameters = readParameters(body);
  if (hasAuthorization || PROOFS.some((name) => parameters.has(name)))
    throw new OAuthRefusal(
      "invalid_client",
      "client_proof",
      "Clients of this gateway are public: send client_id alone, without a secret or an assertion.",
    );
  return parameters;
}

/** The qualified scopes that the request names, by `resource` or `scope`; undefined where it names neither. */
function namedScopes(parameters: Parameters, { resources }: TokenOptions): readonly string[] | undefined {
  const resource = parameters.get("resource");
  const scope = parameters.get("scope");
  if (resource === undefined && scope === undefined) return undefined;
  const requested = (scope ?? "").split(" ").filter((one) => one !== "" && !/^urn:/i.test(one));
  return cutToOurs(requested, resources.scopesFor(resource));
}

function scopeText(scopes: readonly string[]): string {
  return [...scopes, ...SIGN_IN_SCOPES].join(" ");
}

function codeGrant(parameters: Parameters, client: string, options: TokenOptions): Grant {
  const code = required(parameters, "code");
  const redirectUri = required(parameters, "redirect_uri");
  const verifier = required(parameters, "code_verifier");
  if (!VERIFIER.test(verifier)) throw malformed("code_verifier", "The code verifier is not one of RFC 7636.");
  if (!options.clients.allowsRedirect(client, redirectUri))
    throw malformed("redirect_uri", "The redirect URI is not among those of this gateway.");
  const { clientId, tenant, signIns, marks } = options;
  // Without scope, Entra takes those of the sign-in; more than those would be refused.
  const scopes = namedScopes(parameters, options);
  return {
    tenant,
    client,
    refreshToken: undefined,
    form: {
      grant_type: "authorization_code",
      client_id: clientId,
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
      ...(scopes !== undefined && { scope: scopeText(scopes) }),
    },
    async granted({ tenantId, objectId, nonce }) {
      const signIn = signIns.open(nonce);
      if (signIn === undefined) return [];
      if (signIn.tenantId !== tenantId || signIn.objectId !== objectId)
        throw invalidGrant(
          "other_user",
          "Another user signed in than the one whom the server asked to. Sign in as that user.",
        );
      await marks.met({ tenantId, objectId, clientId }, signIn.handleId);
      return signIn.demands;
    },
  };
}

async function refreshGrant(parameters: Parameters, client: string, options: TokenOptions): Promise<Grant> {
  const { clientId, refreshTokens, marks } = options;
  const wrapped = refreshTokens.unwrap(required(parameters, "refresh_token"));
  if (wrapped === undefined)
    throw invalidGrant("refresh_token", "The refresh token was not issued by this gateway.");
  if (wrapped.client !== client)
    throw invalidGrant("refresh_token_client", "The refresh token was issued to another client.");
  const { tenantId, objectId, refreshToken, met } = wrapped;
  // Without scope, Entra gives a token for another API, or none.
  const scope = scopeText(namedScopes(parameters, options) ?? wrapped.scopes);
  if (await marks.isPending({ tenantId, objectId, clientId }))
    throw invalidGrant(
      "challenge_pending",
      "The server asked the user to sign in again, which no renewal can replace.",
      "interaction_required",
    );
  return {
    tenant: tenantId,
    client,
    refreshToken,
    form: {
      grant_type: "refresh_token",
      client_id: clientId,
      refresh_token: refreshToken.reveal(),
      scope,
    },
    async granted(issued) {
      if (issued.tenantId !== tenantId || issued.objectId !== objectId)
        throw invalidGrant("other_user", "The refresh token is not this user's.");
      return met;
    },
  };
}

function invalidGrant(
  reason: string,
  description: string,
  code: OAuthRefusal["code"] = "token_rejected",
): OAuthRefusal {
  return new OAuthRefusal("invalid_grant", reason, description, { code });
}

async function askEntra(
  { tenant, form }: Grant,
  { correlationId, signal }: EndpointRequest,
  { fetch, tokenEndpoint, timeoutMs }: TokenOptions,
): Promise<BoundedResponse> {
  try {
    return await boundedFetch(fetch, tokenEndpoint(tenant), {
      method: "POST",
      headers: {
        accept: "application/json",
        "content-type": "application/x-www-form-urlencoded",
        "client-request-id": correlationId,
      },
      body: new URLSearchParams(form).toString(),
      timeoutMs,
      maxBytes: MOST_ANSWER,
      signal,
    });
  } catch (cause) {
    if (!(cause instanceof FetchFailure)) throw cause;
    throw unavailable(
      cause.kind === "timeout" ? "authority_timeout" : "authority_unavailable",
      cause.kind,
      cause,
    );
  }
}

function unavailable(code: OAuthRefusal["code"], reason: string, cause?: unknown): OAuthRefusal {
  return new OAuthRefusal(
    "temporarily_unavailable",
    reason,
    "The identity provider did not answer as expected. Try again.",
    { status: code === "authority_timeout" ? 504 : 503, code, retryAfterSeconds: 5, cause },
  );
}

/** What an answer of Entra says of its tokens. It came by TLS from Entra itself (OpenID Connect Core §3.1.3.7, 6). */
interface Issued {
  readonly tenantId: string;
  readonly objectId: string;
  readonly nonce: unknown;
}

async function passTokens(
  { text }: BoundedResponse,
  grant: Grant,
  { refreshTokens, marks, resources }: TokenOptions,
): Promise<EndpointAnswer> {
  const body = parseJsonObject(text);
  const accessToken = body?.access_token;
  // The access token is for the gateway, which therefore may read it (Entra: an API reads the tokens for itself).
  const { tid, oid } = claimsOf(accessToken) ?? {};
  if (body === undefined || typeof accessToken !== "string" || !isGuid(tid) || !isGuid(oid))
    throw unavailable("authority_unavailable", "answer_unusable");
  const tenantId = tid.toLowerCase();
  const met = await grant.granted({ tenantId, objectId: oid, nonce: claimsOf(body.id_token)?.nonce });
  await marks.issued(createHash("sha256").update(accessToken).digest("base64url"), met);
  const given = typeof body.refresh_token === "string" ? new Secret(body.refresh_token) : grant.refreshToken;
  // The ID token names Entra as its issuer, which is not the issuer that the client knows: strict clients refuse it.
  const { id_token: _, client_info: __, ...rest } = body;
  return json(200, {
    ...rest,
    ...(given !== undefined && {
      refresh_token: refreshTokens.wrap({
        refreshToken: given,
        tenantId,
        objectId: oid,
        client: grant.client,
        scopes: grantedOf(body.scope, resources.scopesFor(undefined)),
        met,
      }),
    }),
  });
}

/** What a renewal is to ask for again. */
function grantedOf(scope: unknown, { usual, besides }: AskableScopes): readonly string[] {
  const granted = typeof scope === "string" ? scope.split(" ") : [];
  const kept = [...usual, ...besides].filter((one) => granted.includes(one));
  return kept.length === 0 ? usual : kept;
}

function isGuid(value: unknown): value is string {
  return typeof value === "string" && GUID.test(value);
}

function claimsOf(token: unknown): JsonObject | undefined {
  const [, payload] = typeof token === "string" ? token.split(".") : [];
  return payload === undefined ? undefined : parseJsonObject(Buffer.from(payload, "base64url").toString());
}

/** Errors that Entra answers token requests with, which label the log's line; any other is `other`. */
const KNOWN_ERRORS: readonly string[] = [
  "invalid_request",
  "invalid_client",
  "invalid_grant",
  "unauthorized_client",
  "unsupported_grant_type",
  "invalid_scope",
  "invalid_resource",
  "interaction_required",
  "consent_required",
  "login_required",
  "access_denied",
  "temporarily_unavailable",
  "server_error",
];

/** Entra's own refusal: status, body and Retry-After as they came. */
function passRefusal({ status, headers, text }: BoundedResponse): EndpointAnswer {
  const body = parseJsonObject(text);
  if (body === undefined || typeof body.error !== "string" || status < 400)
    throw unavailable("authority_unavailable", "answer_unusable");
  const retryAfter = headers.get("retry-after");
  const label = KNOWN_ERRORS.includes(body.error) ? body.error : "other";
  return {
    ...json(
      status,
      body,
      retryAfter !== null && /^[\x20-\x7e]{1,64}$/.test(retryAfter) ? { "retry-after": retryAfter } : {},
    ),
    refusal: {
      code:
        status === 429 ? "authority_throttled" : status >= 500 ? "authority_unavailable" : "token_rejected",
      reason: `entra_${label}`,
    },
  };
}

/** Places for requests under way; without a free one the request is refused at once. */
function createPlaces() {
  let taken = 0;
  return async <T>(run: () => Promise<T>): Promise<T> => {
    if (taken >= MOST_UNDER_WAY)
      throw new OAuthRefusal("temporarily_unavailable", "sign_ins", "Too many sign-ins are under way.", {
        status: 503,
        code: "overloaded",
        retryAfterSeconds: 1,
      });
    taken += 1;
    try {
      return await run();
    } finally {
      taken -= 1;
    }
  };
}
