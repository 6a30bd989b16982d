/** Answers that are refusals: of one request for a reason, or of whatever arrives. */

import express, { type ErrorRequestHandler, type Express, type Request, type Response } from "express";
import type { OwnFields } from "../downstream/contract.ts";
import { GatewayError } from "../errors.ts";
import type { RouteChallenge } from "../mcp/contract.ts";
import type { McpSignIn, Problem, RequestRecord } from "./contract.ts";
import { type CrossOriginOptions, crossOrigin } from "./cross-origin.ts";
import { openRecord, recordOf, sayOwnFields, targetBelowPrefix } from "./pipeline.ts";
import { type ChallengeFacts, phraseProblem, sendProblem } from "./problem.ts";

export interface RefusalOptions {
  readonly challenge: ChallengeFacts;
  readonly own: OwnFields;
  readonly cors: CrossOriginOptions;
}

/** Refuses whatever arrives, and does as little as it can for it. Default: because shutdown has begun in earnest. */
export function createRefusal({ challenge, cors, own }: RefusalOptions, refusal = draining()): Express {
  const app = express();
  app.disable("x-powered-by");
  app.use((request, response, next) => {
    const { correlationId } = openRecord(request);
    // A preflight is answered before anything is refused.
    if (cors.origins.length > 0) sayOwnFields(response, own, correlationId);
    next();
  });
  if (cors.origins.length > 0) app.use(crossOrigin(cors));
  app.use(() => {
    throw refusal;
  });
  app.use(answerErrors({ challenge, own, onInternalError: () => {} }));
  return app;
}

export function draining(): GatewayError {
  return new GatewayError("draining", {
    detail: "This instance is shutting down. Send the request again; another will take it.",
    retryAfterSeconds: 1,
  });
}

export interface ErrorAnswerOptions extends Pick<RefusalOptions, "challenge" | "own"> {
  /** Undefined where MCP clients do not sign in through the gateway. */
  readonly mcpSignIn?: Pick<McpSignIn, "challengeOf" | "carry"> | undefined;
  /** An error that no room throws as a refusal: a defect of the gateway. */
  readonly onInternalError: (error: unknown, record: RequestRecord) => void;
  /** Phrases the problem as the interface's clients know it. Default: as it is. */
  readonly adapt?: ((problem: Problem, record: RequestRecord) => Problem) | undefined;
}

/** Every error of an app becomes a problem. */
export function answerErrors(options: ErrorAnswerOptions): ErrorRequestHandler {
  const { mcpSignIn } = options;
  const answer = (
    thrown: unknown,
    error: GatewayError,
    request: Request,
    response: Response,
    mcp?: { readonly route: RouteChallenge; readonly carriedScope: string | undefined },
  ) => {
    const record = recordOf(request);
    if (error.code === "internal") options.onInternalError(thrown, record);
    record.refusal = { code: error.code, reason: error.reason, diagnostics: error.diagnostics };
    const tenantId = record.caller?.principal.tenantId;
    if (!response.headersSent) sayOwnFields(response, options.own, record.correlationId);
    const facts = mcp === undefined ? options.challenge : { ...options.challenge, mcp: mcp.route };
    const problem = phraseProblem(error, facts, {
      correlationId: record.correlationId,
      tenantId,
      target: targetBelowPrefix(request, record),
      accept: request.headers.accept,
      isGraphSdk: request.headers.sdkversion !== undefined,
      carriedScope: mcp?.carriedScope,
    });
    sendProblem(response, options.adapt?.(problem, record) ?? problem);
  };
  return (thrown: unknown, request, response, _next) => {
    const error = asGatewayError(thrown);
    const record = recordOf(request);
    const route = mcpSignIn?.challengeOf(record.route ?? "");
    if (mcpSignIn === undefined || route === undefined || response.headersSent)
      return answer(thrown, error, request, response);
    return mcpSignIn.carry(error, record, route).then(
      (carried) => answer(thrown, carried.error, request, response, { route, ...carried }),
      // A defect in carrying must not leave the caller without the answer that it would have had without it.
      (defect: unknown) => {
        options.onInternalError(defect, record);
        answer(thrown, error, request, response, { route, carriedScope: undefined });
      },
    );
  };
}

/**
 * Express' own refusals are a URIError, or say by `expose` that they are the caller's to know; anything else unknown
 * is a defect. A status alone proves nothing: clients of other services put the one that they received on theirs.
 */
function asGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  const { status, expose } = (thrown instanceof Error ? thrown : {}) as {
    status?: unknown;
    expose?: unknown;
  };
  const isRefusal = expose === true || thrown instanceof URIError;
  if (isRefusal && typeof status === "number" && status >= 400 && status < 500)
    return new GatewayError("request_malformed", { detail: "The request could not be read.", cause: thrown });
  return new GatewayError("internal", { detail: "The gateway failed to handle the request.", cause: thrown });
}
