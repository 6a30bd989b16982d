/** The local side: token endpoints and forward-auth for programs of the same machine or pod, by the same rooms as the public side. */

import type { IncomingMessage, RequestListener } from "node:http";
import { GatewayError } from "../errors.ts";
import { fixedFields } from "../foundation/checked-head.ts";
import type { CallableApi } from "../http/code-route.ts";
import type { OpenSecondSide, PlainHandler, Problem, SecondSide, Via } from "../http/contract.ts";
import type { TokenVerifier } from "../identity/contract.ts";
import type { IdentityFields, LocalApi, LocalApiRules } from "./contract.ts";
import { answer, answerJson } from "./endpoint.ts";
import { createForwardAuth, isForwardAuth, problemInField } from "./forward-auth.ts";
import { localOpenapi } from "./openapi.ts";
import { checkHost, refuseBrowsers } from "./protection.ts";
import { correlationIdOf, sidecarEndpoints, unknown } from "./sidecar.ts";
import { oauthProblem, texasEndpoints } from "./texas.ts";
import { createTokens } from "./tokens.ts";

export interface LocalSideOptions {
  /** Opens the side by the routes, limits and ports of the gateway. */
  readonly open: OpenSecondSide;
  readonly verifier: TokenVerifier;
  /** Tenant of the gateway's registration. */
  readonly homeTenantId: string;
  /** Names that may stand in Host besides those of this machine, in lower case. */
  readonly hosts: readonly string[];
  readonly maxBodyBytes: number;
  /** Rules by the names of APIs; without any, every API gives tokens of users. */
  readonly apis: Readonly<Record<string, LocalApiRules>> | undefined;
  readonly callable: Readonly<Record<string, CallableApi>>;
  readonly forwardAuth: { readonly cacheSeconds: number; readonly identityFields: IdentityFields };
  readonly isReady: () => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface LocalSide extends Pick<SecondSide, "refuse"> {
  readonly listener: RequestListener;
}

/** Answers say little of themselves: no page ever reads them. */
const OWN = fixedFields(["x-content-type-options", "nosniff"], ["x-correlation-id"]);

const TEXAS = "/api/";

/** How a refusal reads to the clients of each interface. */
const ADAPTED: Readonly<Record<Via, (problem: Problem) => Problem>> = {
  sidecar: (problem) => problem,
  texas: oauthProblem,
  "forward-auth": problemInField,
};

export function createLocalSide(options: LocalSideOptions): LocalSide {
  const { hosts, maxBodyBytes, isReady } = options;
  const side = options.open({
    own: OWN,
    adapt: (problem, { via }) => (via === undefined ? problem : ADAPTED[via](problem)),
  });
  const apis = localApis(options);
  const { admitting, tokensFor } = side;
  const obtain = createTokens({ ...options, tokensFor });
  const sidecar = sidecarEndpoints({ admitting, apis, obtain, maxBodyBytes });
  const texas = texasEndpoints({ ...options, admitting, apis, obtain });
  const openapi = localOpenapi(apis);

  const forwardAuth = createForwardAuth(side, { ...options.forwardAuth, now: options.now }, (request) =>
    // No look at Origin: the proxy in front passes on what its caller sent, which may well be a page.
    checkHost(request, hosts),
  );
  const endpoints = side.serve(
    (request, response, record) => {
      const path = pathOf(request);
      checkHost(request, hosts);
      refuseBrowsers(request);
      // Forward-auth alone asks for a user by it. Here a job would get a token of the application, or none.
      refuseDelegation(request);
      return handlerOf(path)(request, response, record);
    },
    {
      viaOf: ({ url = "" }) => (url.startsWith(TEXAS) ? "texas" : "sidecar"),
      prepare(request) {
        const given = correlationIdOf(request);
        if (given !== undefined) request.headers["x-correlation-id"] ??= given;
      },
    },
  );

  function handlerOf(path: string): PlainHandler {
    const exchange = texas[path];
    if (exchange !== undefined) return taking(["POST"], exchange);
    if (path === "/healthz")
      return taking(["GET", "HEAD"], (_request, response, { correlationId }) => {
        const ready = isReady();
        answer(response, correlationId, "text/plain", ready ? "Healthy" : "Unhealthy", ready ? 200 : 503);
      });
    if (path === "/openapi/v1.json")
      return taking(["GET", "HEAD"], (_request, response, { correlationId }) =>
        answerJson(response, correlationId, openapi),
      );
    const [, name = "", rest = "", ...more] = path.split("/");
    const endpoint = Object.hasOwn(sidecar, name.toLowerCase()) ? sidecar[name.toLowerCase()] : undefined;
    if (endpoint === undefined || more.length > 0) throw unknown();
    return taking(endpoint.methods, endpoint.handle(rest));
  }

  return {
    listener: (request, response) =>
      (isForwardAuth(request.url ?? "") ? forwardAuth : endpoints)(request, response),
    refuse: side.refuse,
  };
}

/** Owner of the turns of programs beside the gateway whose user is not known yet, or stands in the body. */
const PROGRAMS = "programs of the local API";

/**
 * Such programs share the turns of one user: among callers who are not known, each would wait behind a flood of them at
 * the public side. The callers behind forward-auth are the public's, and wait as they do there.
 *
 * @param recognize The user of a request whose token was verified before.
 */
export function recognizeLocally(
  recognize: (request: IncomingMessage) => string | undefined,
): (request: IncomingMessage) => string | undefined {
  return (request) => recognize(request) ?? (isForwardAuth(request.url ?? "") ? undefined : PROGRAMS);
}

/** @throws {GatewayError} `target_forbidden` where the request has a `Delegation` field. */
function refuseDelegation({ headers }: IncomingMessage): void {
  if (headers.delegation === undefined) return;
  throw new GatewayError("target_forbidden", {
    detail: "This endpoint takes no Delegation field.",
    reason: "delegation_not_here",
  });
}

function pathOf({ url = "" }: IncomingMessage): string {
  const query = url.indexOf("?");
  return query === -1 ? url : url.slice(0, query);
}

/** RFC 9110 §15.5.6: a 405 names what would have been allowed. */
function taking(methods: readonly string[], handler: PlainHandler): PlainHandler {
  return (request, response, record) => {
    if (methods.includes(request.method ?? "")) return handler(request, response, record);
    response.setHeader("allow", methods.join(", "));
    throw new GatewayError("method_not_allowed", {
      detail: "This endpoint does not take the method of the request.",
    });
  };
}

const ORDINARY: LocalApiRules = {
  requiredScopes: [],
  requiredRoles: [],
  allowedClients: [],
  overrides: [],
  applicationTokens: false,
};

function localApis({ apis, callable }: LocalSideOptions): ReadonlyMap<string, LocalApi> {
  const names = apis === undefined ? Object.keys(callable) : Object.keys(apis);
  return new Map(
    names.flatMap((name): [string, LocalApi][] => {
      const api = callable[name];
      if (api === undefined) return [];
      const rules = apis?.[name] ?? ORDINARY;
      const { requiredScopes, requiredRoles, allowedClients, allow } = rules;
      return [
        [
          name,
          {
            ...rules,
            name,
            scopes: api.scopes,
            policy: { callers: "user", requiredScopes, requiredRoles, allowedClients },
            callable: api,
            assertAllowed: allow && api.callRules(allow),
          },
        ],
      ];
    }),
  );
}
