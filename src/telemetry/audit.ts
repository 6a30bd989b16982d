/** The audit stream: which tokens Entra gave or refused, for whom and on whose proof. Nothing in it opens anything. */

import type { Logger } from "./contract.ts";

/** One exchange with Entra. */
export interface AuditedExchange {
  readonly correlationId: string;
  readonly grant: string;
  readonly tenantId: string;
  readonly objectId: string | undefined;
  readonly assertion: string | undefined;
  readonly token?: string;
  readonly scopes: readonly string[];
  /** By which interface of the local API; absent on the public side. */
  readonly via?: string | undefined;
  readonly challenged: boolean;
  readonly ahead: boolean;
  /** Ms since the epoch. */
  readonly expiresAt?: number;
  readonly tokenRequest:
    | {
        readonly requestId: string | undefined;
        readonly source: string;
        readonly generation?: number | undefined;
      }
    | undefined;
}

export interface AuditedRefusal {
  readonly code: string;
  readonly reason: string | undefined;
  readonly diagnostics: object | undefined;
}

/** One call of a tool of an MCP server: who called, for whom, and with which delegated token. */
export interface AuditedToolCall {
  readonly correlationId: string;
  readonly route: string;
  readonly tool: string;
  readonly tenantId: string | undefined;
  readonly objectId: string | undefined;
  readonly clientId: string | undefined;
  /** `granted`, or why not. */
  readonly code: string;
  readonly reason: string | undefined;
  /** First 8 hex digits of the token's SHA-256; the line of its exchange has the same. */
  readonly token: string | undefined;
  readonly tokenRequest: AuditedExchange["tokenRequest"];
  readonly downstreamStatus: number | undefined;
}

export interface Audit {
  /** Without a refusal: granted. */
  exchange(exchange: AuditedExchange, durationMs: number, refusal?: AuditedRefusal): void;
  tool(call: AuditedToolCall): void;
  credential(type: string, source: string, generation: number, message: string): void;
  /** Which job acted for which user, and on whose leave; `more` says what is particular to the event. */
  delegation(
    type: string,
    delegation: AuditedDelegation,
    more: Readonly<Record<string, string | undefined>>,
  ): void;
}

export interface AuditedDelegation {
  readonly correlationId: string;
  readonly id: string;
  readonly tenantId: string;
  readonly objectId?: string | undefined;
  readonly clientId: string;
  readonly route?: string | undefined;
}

/** Lines are the log's own with `"stream":"audit"`. They do not depend on its level, unless that is `silent`. */
export function createAudit(log: Logger): Audit {
  const level = log.level === "silent" ? "silent" : "info";
  const stream = log.child({ stream: "audit" }, { level });

  return {
    exchange({ tokenRequest, expiresAt, tenantId, objectId, ...facts }, durationMs, refusal) {
      const line = {
        event: refusal === undefined ? "exchange_granted" : "exchange_refused",
        ...facts,
        tid: tenantId,
        oid: objectId,
        credential: tokenRequest?.source,
        credentialGeneration: tokenRequest?.generation,
        entraRequestId: tokenRequest?.requestId,
        expiresAt: expiresAt === undefined ? undefined : new Date(expiresAt).toISOString(),
        ms: Math.round(durationMs),
      };
      stream.info({ ...line, ...refusal }, "audit");
    },
    tool({ tokenRequest, tenantId, objectId, clientId, ...facts }) {
      stream.info(
        {
          event: facts.code === "granted" ? "tool_called" : "tool_refused",
          ...facts,
          tid: tenantId,
          oid: objectId,
          azp: clientId,
          credential: tokenRequest?.source,
          credentialGeneration: tokenRequest?.generation,
          entraRequestId: tokenRequest?.requestId,
        },
        "audit",
      );
    },
    delegation(type, { correlationId, id, tenantId, objectId, clientId, route }, more) {
      const line = {
        event: `delegation_${type}`,
        correlationId,
        delegation: id,
        tid: tenantId,
        oid: objectId,
      };
      stream.info({ ...line, azp: clientId, route, ...more }, "audit");
    },
    credential(type, source, generation, message) {
      stream.info(
        { event: `credential_${type}`, credential: source, credentialGeneration: generation, message },
        "audit",
      );
    },
  };
}
