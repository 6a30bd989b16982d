/** The endpoints of nais' token exchange service (Texas), under its names and with its shapes: RFC 6749 §5, RFC 7662 §2.2. */

import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import type { DownstreamToken } from "../exchange/contract.ts";
import { resourceOf } from "../http/code-route.ts";
import type { PlainHandler, Problem, RequestRecord, SecondSide } from "../http/contract.ts";
import { decodeCompactJwt } from "../identity/compact-jwt.ts";
import type { TokenVerifier } from "../identity/contract.ts";
import { readBody, readMembers } from "./body.ts";
import type { LocalApi } from "./contract.ts";
import { answerJson } from "./endpoint.ts";
import type { ObtainLocally } from "./tokens.ts";

export interface TexasOptions {
  readonly admitting: SecondSide["admitting"];
  readonly apis: ReadonlyMap<string, LocalApi>;
  readonly obtain: ObtainLocally;
  readonly verifier: TokenVerifier;
  readonly maxBodyBytes: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Handlers by path; each takes POST alone. */
export function texasEndpoints(options: TexasOptions): Readonly<Record<string, PlainHandler>> {
  const { admitting, apis, obtain, verifier, maxBodyBytes, now } = options;
  const read = async (request: IncomingMessage, record: RequestRecord): Promise<Members> => {
    const body = await readBody(request, record, maxBodyBytes);
    const members = readMembers(request.headers["content-type"], body);
    checkProvider(members);
    return members;
  };
  const tokenOf = ({ accessToken, expiresAt }: DownstreamToken) => ({
    access_token: accessToken.reveal(),
    token_type: "Bearer",
    expires_in: Math.max(0, Math.floor((expiresAt - now()) / 1000)),
  });

  return {
    "/api/v1/token/exchange": async (request, response, record) => {
      const members = await read(request, record);
      const api = targetOf(apis, text(members, "target"));
      const token = text(members, "user_token");
      const wish = {
        scopes: undefined,
        tenant: undefined,
        claims: members.has("claims") ? text(members, "claims") : undefined,
        fresh: flag(members, "skip_cache"),
        asApplication: false,
      };
      const route = { path: `/api/v1/token/exchange/${api.name}`, policy: api.policy, token };
      return admitting(route, async () => {
        answerJson(response, record.correlationId, tokenOf(await obtain(record, api, wish)));
      })(request, response, record);
    },

    "/api/v1/token": async (request, response, record) => {
      const members = await read(request, record);
      const api = targetOf(apis, text(members, "target"));
      record.route = `/api/v1/token/${api.name}`;
      const fresh = flag(members, "skip_cache");
      const wish = { scopes: undefined, tenant: undefined, claims: undefined, fresh, asApplication: true };
      answerJson(response, record.correlationId, tokenOf(await obtain(record, api, wish)));
    },

    "/api/v1/introspect": async (request, response, record) => {
      const members = await read(request, record);
      const token = text(members, "token");
      record.route = "/api/v1/introspect";
      const verification = await verifier.verify([`Bearer ${token}`]);
      if (verification.outcome === "unavailable") throw verification.error;
      if (verification.outcome === "rejected") {
        answerJson(response, record.correlationId, { active: false, error: verification.error.detail });
        return;
      }
      record.caller = verification.caller;
      answerJson(response, record.correlationId, { ...decodeCompactJwt(token).claims, active: true });
    },
  };
}

type Members = ReadonlyMap<string, unknown>;

/** The one provider that this gateway speaks to, under both names that Texas has given it. */
const PROVIDERS: readonly unknown[] = ["entra_id", "azuread"];

function checkProvider(members: Members): void {
  if (PROVIDERS.includes(members.get("identity_provider"))) return;
  throw malformed("identity_provider", "The identity_provider has to be entra_id.");
}

function text(members: Members, name: string): string {
  const value = members.get(name);
  if (typeof value === "string" && value !== "") return value;
  throw malformed("parameter", `The body has to hold ${name} as text.`);
}

function flag(members: Members, name: string): boolean {
  const value = members.get(name) ?? false;
  if (typeof value === "boolean") return value;
  if (value === "true" || value === "false") return value === "true";
  throw malformed("parameter", `${name} is true or false.`);
}

/** An API by its name, its scope (`api://…/.default`), or the resource of its scopes, where that is one API's alone. */
function targetOf(apis: ReadonlyMap<string, LocalApi>, target: string): LocalApi {
  const named = apis.get(target);
  if (named !== undefined) return named;
  const found = [...apis.values()].filter(
    ({ scopes }) =>
      (scopes.length === 1 && scopes[0] === target) || scopes.every((scope) => resourceOf(scope) === target),
  );
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0) return only;
  throw new GatewayError("request_malformed", {
    detail:
      only === undefined
        ? "The target is no API whose tokens are given here."
        : "The target stands for several APIs; name one of them.",
    reason: "target",
  });
}

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}

/** RFC 6749 §5.2, RFC 8693 §2.2.2 and OpenID Connect Core §3.1.2.6, by the problem's code or reason. */
const ERROR_OF: Readonly<Record<string, string>> = {
  request_malformed: "invalid_request",
  body_too_large: "invalid_request",
  token_missing: "invalid_request",
  target: "invalid_target",
  application_tokens: "unauthorized_client",
  target_forbidden: "unauthorized_client",
  token_rejected: "invalid_grant",
  scope_insufficient: "invalid_grant",
  user_token_required: "invalid_grant",
  claims_challenged: "interaction_required",
  interaction_required: "interaction_required",
  consent_required: "consent_required",
  admin_consent_required: "consent_required",
  blocked_by_policy: "access_denied",
  not_assigned: "access_denied",
  tenant_not_onboarded: "access_denied",
  rate_limited: "slow_down",
  internal: "server_error",
  downstream_misconfigured: "server_error",
};

/** A problem as OAuth clients read it. Its status, fields and members stay, so that no cause is lost on the way. */
export function oauthProblem({ status, headers, body }: Problem): Problem {
  const { code, reason, detail } = body;
  const error =
    ERROR_OF[String(reason)] ??
    ERROR_OF[String(code)] ??
    (status >= 500 ? "temporarily_unavailable" : "invalid_request");
  return {
    status,
    headers: { ...headers, "content-type": "application/json" },
    body: { ...body, error, error_description: detail },
  };
}
