/** The log line of a request, spelt by hand: there is one for each, and a general serialiser costs several times as much. */

import { ACTOR_OF, type GatewayErrorCode } from "../errors.ts";
import { createLogThrottles } from "../foundation/throttled-log.ts";
import type { Logger, LogSink } from "./contract.ts";
import { isoTime } from "./log.ts";

/** What is known of a request at its end. Fields without a value are left out of the line. */
export interface RequestFacts {
  readonly correlationId: string;
  readonly caller:
    | {
        readonly principal: {
          readonly tenantId: string;
          readonly objectId: string;
          readonly clientId: string;
        };
      }
    | undefined;
  readonly tokenOrigin: string | undefined;
  readonly refusal:
    | { readonly code: string; readonly reason: string | undefined; readonly diagnostics: object | undefined }
    | undefined;
  readonly downstreamStatus: number | undefined;
  readonly cut: string | undefined;
  readonly downstreamRequestId: string | undefined;
  /** Of the token request to Entra, where there was one. */
  readonly tokenRequest:
    | {
        readonly requestId: string | undefined;
        readonly source: string;
        readonly generation?: number | undefined;
      }
    | undefined;
  readonly trace: { readonly traceId: string } | undefined;
  /** Milliseconds spent in each room, and in pauses that an API asked for. */
  readonly verifyMs: number | undefined;
  readonly exchangeMs: number | undefined;
  readonly downstreamMs: number | undefined;
  readonly throttleMs: number | undefined;
}

export interface RequestEnd {
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly code: string;
  readonly completed: boolean;
  readonly elapsedMs: number;
}

export type LogRequest = (facts: RequestFacts, end: RequestEnd) => void;

export interface RequestLogOptions {
  /** Which granted requests get a line. */
  readonly granted: "all" | "sampled" | "none";
  /** With `sampled`, one in so many. */
  readonly sampleOneIn: number;
}

type Level = "info" | "warn" | "error";

/**
 * Writes what `log.info(…, "request")` would, and where it would. The path is left out on purpose: it may hold a
 * user's name or address.
 *
 * The level says who must act: `error` for a defect, `warn` where the operator must act or the authority fails. Of such
 * refusals one of each code in half a minute is a warning, and the rest are information: an outage must not bury
 * everything else that has the level.
 */
export function createRequestLog(
  log: Logger,
  sink: LogSink,
  { granted, sampleOneIn }: RequestLogOptions,
  warnings = createLogThrottles(),
): LogRequest {
  let passedOver = sampleOneIn - 1;

  function isLeftOut(): boolean {
    if (granted === "all") return false;
    if (granted === "none") return true;
    passedOver = (passedOver + 1) % sampleOneIn;
    return passedOver !== 0;
  }

  return (facts, end) => {
    if (end.code === "granted" && isLeftOut()) return;
    const level = levelOf(end.code, warnings);
    if (log.isLevelEnabled(level)) sink.write(requestLine(level, facts, end));
  };
}

function levelOf(code: string, warnings: ReturnType<typeof createLogThrottles>): Level {
  if (code === "internal") return "error";
  const actor = code in ACTOR_OF ? ACTOR_OF[code as GatewayErrorCode] : undefined;
  if (actor !== "operator" && actor !== "authority") return "info";
  return warnings.due(code) === undefined ? "info" : "warn";
}

function requestLine(level: Level, facts: RequestFacts, end: RequestEnd): string {
  const { refusal } = facts;
  const principal = facts.caller?.principal;
  let line = `{"level":"${level}","time":"${isoTime()}","correlationId":${quoted(facts.correlationId)}`;
  if (facts.trace !== undefined) line += `,"traceId":"${facts.trace.traceId}"`;
  line += refusal === undefined ? ',"granted":true' : ',"granted":false';
  line += `,"code":${quoted(end.code)}`;
  if (refusal?.reason !== undefined) line += `,"reason":${quoted(refusal.reason)}`;
  line += `,"method":${quoted(end.method)},"route":${quoted(end.route)},"status":${end.status}`;
  line += end.completed ? ',"completed":true' : ',"completed":false';
  if (principal !== undefined) {
    line += `,"tid":${quoted(principal.tenantId)},"oid":${quoted(principal.objectId)}`;
    line += `,"azp":${quoted(principal.clientId)}`;
  }
  if (facts.tokenOrigin !== undefined) line += `,"tokenOrigin":"${facts.tokenOrigin}"`;
  if (facts.tokenRequest !== undefined) {
    const { source, generation, requestId } = facts.tokenRequest;
    line += `,"credential":"${source}"`;
    if (generation !== undefined) line += `,"credentialGeneration":${generation}`;
    if (requestId !== undefined) line += `,"entraRequestId":${quoted(requestId)}`;
  }
  if (facts.downstreamStatus !== undefined) line += `,"downstreamStatus":${facts.downstreamStatus}`;
  if (facts.downstreamRequestId !== undefined)
    line += `,"downstreamRequestId":${quoted(facts.downstreamRequestId)}`;
  if (facts.cut !== undefined) line += `,"cut":"${facts.cut}"`;
  if (refusal?.diagnostics !== undefined) line += `,"diagnostics":${JSON.stringify(refusal.diagnostics)}`;
  line += `,"ms":${hundredths(end.elapsedMs)}`;
  if (facts.verifyMs !== undefined) line += `,"verifyMs":${hundredths(facts.verifyMs)}`;
  if (facts.exchangeMs !== undefined) line += `,"exchangeMs":${hundredths(facts.exchangeMs)}`;
  if (facts.downstreamMs !== undefined) line += `,"downstreamMs":${hundredths(facts.downstreamMs)}`;
  if (facts.throttleMs !== undefined) line += `,"throttleMs":${hundredths(facts.throttleMs)}`;
  return `${line},"msg":"request"}\n`;
}

/** Anything that JSON would have to escape, or that is not ASCII. */
const UNSAFE = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

function quoted(text: string): string {
  return UNSAFE.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** As `Math.round(ms * 100) / 100` prints, by whole numbers: those of a double take ten times as long to spell. */
function hundredths(ms: number): string {
  const all = Math.round(ms * 100);
  const whole = Math.floor(all / 100);
  const rest = all - whole * 100;
  if (rest === 0) return `${whole}`;
  if (rest % 10 === 0) return `${whole}.${rest / 10}`;
  return rest < 10 ? `${whole}.0${rest}` : `${whole}.${rest}`;
}
