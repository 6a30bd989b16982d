/** Stands in front of a server of the Model Context Protocol: reads messages, applies the route's tool policy, filters its lists. */

import type { Request, RequestHandler, Response } from "express";
import type { DownstreamApiOptions, OwnFields } from "../downstream/contract.ts";
import { discardBody, readJsonBody } from "../downstream/forward.ts";
import { GatewayError } from "../errors.ts";
import type { Budget, Owner } from "../foundation/budget.ts";
import type { MessageRefusal, ToolRules } from "../mcp/tools/contract.ts";
import { createToolGate } from "../mcp/tools/tool-gate.ts";
import type { McpGate, RequestRecord } from "./contract.ts";
import { callerOf, framingOf, recordOf, sayOwnFields } from "./pipeline.ts";
import type { LimitRoute } from "./rate-limits.ts";

export interface McpGateOptions {
  /** The route's, for limits and lists. */
  readonly path: string;
  readonly rules: ToolRules | undefined;
  /** Bounds of a body. */
  readonly body: Pick<DownstreamApiOptions, "maxRequestBytes" | "idleTimeoutMs" | "timeoutMs">;
  readonly limit: LimitRoute;
  readonly own: OwnFields;
  /** Bytes of messages that are under way, for all routes together. */
  readonly memory: Budget;
}

/** Largest body, bytes, where the API takes no less: as much as the SDKs' servers take. */
const MAX_MESSAGE = 4 * 2 ** 20;
/** What a message costs besides its own bytes, so that many small ones are bounded, too. */
const OVERHEAD = 1_024;

export function createMcpGate({ path, rules, body, limit, own, memory }: McpGateOptions): McpGate {
  const gate = createToolGate(rules);
  const counters = new Map<string, readonly RequestHandler[]>(
    Object.entries(rules?.limits ?? {}).map(([pattern, limits]) => [
      pattern,
      limit(`${path} tool ${pattern}`, limits, { besides: true }),
    ]),
  );

  return {
    stream: gate.stream,
    async read(request, response) {
      const record = recordOf(request);
      const text = await receive(request, response, { memory, ...body });
      if (text === undefined) return undefined;
      const { principal } = callerOf(record);
      const verdict = await gate.decide({
        text,
        headers: request.headers,
        scopes: principal.scopes,
        correlationId: record.correlationId,
        owner: record.owner?.user,
        onRead(facts) {
          record.mcp = { ...facts, token: undefined };
        },
      });
      if (verdict.kind === "refused") {
        answerInstead(response, record, own, verdict.refusal);
        return undefined;
      }
      if (verdict.kind === "scope_missing") throw missingScope(verdict.requiredScopes, principal.scopes);
      for (const pattern of verdict.countedAs)
        for (const count of counters.get(pattern) ?? []) await count(request, response, () => {});
      return { body: text, rewrite: verdict.rewrite };
    },
  };
}

/** Reason of a refusal for want of a tool's scope, which is the last one that the refusal names. */
export const TOOL_SCOPE = "tool_scope";

/**
 * MCP (Authorization, scope challenge handling): the challenge names what the token lacks, and what it has, since clients
 * sign in for exactly what is named.
 */
function missingScope([first = ""]: readonly string[], held: readonly string[]): GatewayError {
  return new GatewayError("scope_insufficient", {
    detail: "The access token lacks the permission that this tool needs.",
    requiredScopes: [...held, first],
    reason: TOOL_SCOPE,
  });
}

interface Receiving extends Pick<McpGateOptions, "memory"> {
  readonly maxRequestBytes: number;
  readonly idleTimeoutMs: number;
  readonly timeoutMs: number;
}

/** The memory is held until the answer has ended: the body may be sent again until the answer begins, and is dropped with it. */
async function receive(
  request: Request,
  response: Response,
  { memory, maxRequestBytes, idleTimeoutMs, timeoutMs }: Receiving,
): Promise<Buffer | undefined> {
  const record = recordOf(request);
  const { owner } = record;
  if (owner === undefined) throw new Error("gate without admit() in front of it");
  if (response.destroyed) return undefined;
  const maxBytes = Math.min(maxRequestBytes, MAX_MESSAGE);
  const hold = openHold(memory, owner);
  response.once("close", hold.release);
  try {
    hold.take(OVERHEAD);
    return await readJsonBody(request, {
      what: "message",
      framing: framingOf(record),
      take: hold.take,
      maxBytes,
      idleMs: idleTimeoutMs,
      timeoutMs,
      owner: owner.user,
    });
  } catch (error) {
    if (response.destroyed) return undefined;
    // A body that has not come whole may never come: its connection is of no more use.
    if (!request.complete) response.shouldKeepAlive = false;
    discardBody(request, maxBytes);
    throw error;
  }
}

function openHold(memory: Budget, owner: Owner) {
  let held = 0;
  let isReleased = false;
  return {
    take(bytes: number) {
      // Late bytes of a request that has ended would never be given back.
      if (isReleased) return;
      const exhausted = memory.take(owner, bytes);
      if (exhausted !== undefined) throw exhaustedMemory(exhausted);
      held += bytes;
    },
    release() {
      isReleased = true;
      if (held > 0) memory.give(owner, held);
      held = 0;
    },
  };
}

function exhaustedMemory(exhausted: "user" | "client" | "process"): GatewayError {
  const whose = { user: "This user has", client: "This client has", process: "The gateway has" }[exhausted];
  return new GatewayError(exhausted === "process" ? "overloaded" : "rate_limited", {
    detail: `${whose} as many messages under way as may be. Send the request again.`,
    reason: `mcp_bytes_${exhausted}`,
    retryAfterSeconds: 1,
  });
}

/** The answer is JSON-RPC's, which clients of the protocol read, and the log has the refusal all the same. */
function answerInstead(
  response: Response,
  record: RequestRecord,
  own: OwnFields,
  { status, body, code, reason }: MessageRefusal,
): void {
  record.refusal = { code, reason, diagnostics: undefined };
  if (response.destroyed) return;
  sayOwnFields(response, own, record.correlationId);
  response.setHeader("cache-control", "no-store");
  response.setHeader("content-type", "application/json");
  response.statusCode = status;
  response.end(body);
}
