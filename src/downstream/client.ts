/** The client for route handlers written in code: one downstream API, spoken to on behalf of one user. */

import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { GatewayError } from "../errors.ts";
import type { DownstreamToken } from "../exchange/contract.ts";
import type { Secret } from "../foundation/secret.ts";
import { createBatch } from "./client/batch.ts";
import { readPages } from "./client/pages.ts";
import { readClientPath } from "./client/path.ts";
import { createResponse } from "./client/response.ts";
import type {
  AssertAllowed,
  DownstreamApiOptions,
  DownstreamClient,
  DownstreamPath,
  DownstreamRequestOptions,
  Target,
  TransferRecord,
  Transport,
} from "./contract.ts";
import { type Answer, openAnswer } from "./forward/answer.ts";
import type { BatchPart } from "./graph/batch-parts.ts";
import { sendBatch } from "./graph/batch-rounds.ts";
import { challengeOf } from "./headers/claims-challenge.ts";
import { downstreamRequestHeaders, headerRulesOf } from "./headers/headers.ts";
import { belowBase, compileTarget, joinBase, readBaseUrl } from "./target/downstream-api.ts";
import { throttlePauseMs } from "./transport/retry-after.ts";
import { throttleWaited } from "./transport/transfer.ts";

export interface DownstreamClientOptions {
  readonly transport: Transport;
  readonly api: DownstreamApiOptions;
  /** The user's token for this API. Asked for at each call; with `claims` it must be a new one. */
  readonly obtainToken: (request: {
    readonly claims?: string;
    /** The token that the API refused with those claims. */
    readonly refused?: Secret;
  }) => Promise<DownstreamToken>;
  readonly correlationId: string;
  /** Where it is noted how the requests fared. */
  readonly record?: TransferRecord | undefined;
  /** Ends all calls, for example when the caller has gone. */
  readonly signal?: AbortSignal;
  /** Throws for a call that the route does not allow; see `compileCallRules`. Default: none throws. */
  readonly assertAllowed?: AssertAllowed | undefined;
  /** Largest answer that `json`, `text` and `bytes` take into memory, bytes. */
  readonly maxBytes: number;
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/** The paths that a handler may call, compiled once for all requests of its route. */
export function compileCallRules(api: DownstreamApiOptions, allow: readonly string[]): AssertAllowed {
  const targetOf = compileTarget(api, { path: "/", methods: METHODS, allow });
  return (method, path) => void targetOf(method, path);
}

/** A client bound to one user and one API, made for one request and dropped with it. */
export function createDownstreamClient(options: DownstreamClientOptions): DownstreamClient {
  const { api, obtainToken } = options;
  const { assertAllowed = () => {} } = options;
  const base = readBaseUrl(api);

  const targetOf = (method: string, path: string, query: string): Target => {
    assertAllowed(method, path);
    return {
      api,
      origin: base.origin,
      path: joinBase(base, path) + query,
      redirected(redirectedPath) {
        const below = readClientPath(belowBase(base, redirectedPath), undefined, api.encodedSlashes);
        return targetOf(method, below.path, below.query);
      },
    };
  };

  async function call(method: string, path: DownstreamPath, request: DownstreamRequestOptions = {}) {
    const below = readClientPath(path, request.query, api.encodedSlashes);
    const target = targetOf(method, below.path, below.query);
    const body = bodyOf(request);

    let refused: Secret | undefined;
    const tokenFor = async (claims?: string): Promise<Secret> => {
      const { accessToken } = await obtainToken({
        ...(claims !== undefined && { claims }),
        ...(refused !== undefined && { refused }),
      });
      refused = accessToken;
      return accessToken;
    };

    const attempt = async (claims?: string): Promise<Answer> =>
      sendPatiently(options, { target, method, body, request, token: await tokenFor(claims) });

    let answer = await attempt();
    const claims = takeChallenge(answer);
    if (claims !== undefined) {
      if (body instanceof Readable) {
        // The stream is gone, but the exchange may know better what the user lacks, and a repeated call finds its token.
        await tokenFor(claims);
        throw challenged(claims);
      }
      answer = await attempt(claims);
      const again = takeChallenge(answer);
      // The new token was not enough: only the user can give what is missing now.
      if (again !== undefined) throw challenged(again);
    }
    return createResponse(answer, options.maxBytes);
  }

  return {
    pages: (path, request = {}) =>
      // A link holds the query already.
      readPages(base, path, (asked, isFirst) =>
        call("GET", asked, isFirst ? request : { ...request, query: {} }),
      ),
    batch: () => createBatch((parts) => sendParts(options, parts), assertAllowed),
    get: (path, request) => call("GET", path, request),
    post: (path, request) => call("POST", path, request),
    put: (path, request) => call("PUT", path, request),
    patch: (path, request) => call("PATCH", path, request),
    delete: (path, request) => call("DELETE", path, request),
  };
}

/** A call with the token that it goes with. */
interface TokenCall {
  readonly target: Target;
  readonly method: string;
  readonly body: ReturnType<typeof bodyOf>;
  readonly request: DownstreamRequestOptions;
  readonly token: Secret;
}

/** Sends it, and again after the pause that a throttled answer asks for, while the call has time. */
async function sendPatiently(
  { api, transport, correlationId, record, signal: ofClient }: DownstreamClientOptions,
  { target, method, body, request, token }: TokenCall,
): Promise<Answer> {
  const ours = { token, correlationId, contentLength: undefined };
  const headers = downstreamRequestHeaders(fieldsOf(request), ours, headerRulesOf(api).request);
  const signal = anyOf(ofClient, request.signal);
  const until = Date.now() + Math.min(request.timeoutMs ?? api.timeoutMs, api.timeoutMs);
  for (let round = 1; ; round++) {
    const msLeft = until - Date.now();
    const answer = await openAnswer(
      transport,
      { target, method, headers, body, record },
      {
        timeoutMs: msLeft,
        idleTimeoutMs: api.idleTimeoutMs,
        streamIdleTimeoutMs: api.streamIdleTimeoutMs,
        signal,
      },
    );
    const nowMs = Date.now();
    const { status, headers: fields } = answer;
    const throttled = { attempt: round, method, status, headers: fields, msLeft: until - nowMs, nowMs };
    const pauseMs = throttlePauseMs(api, throttled);
    if (pauseMs === undefined || body instanceof Readable) return answer;
    answer.body.destroy();
    throttleWaited(record, pauseMs);
    await sleep(pauseMs, undefined, signal === undefined ? {} : { signal });
  }
}

/** One `$batch` request, sent again as far as its parts are throttled. */
async function sendParts(options: DownstreamClientOptions, parts: readonly BatchPart[]) {
  const { api, obtainToken, record } = options;
  const base = readBaseUrl(api);
  const until = Date.now() + api.timeoutMs;
  const msLeft = () => Math.max(1, until - Date.now());
  const signal = options.signal;
  let token = await obtainToken({});
  return await sendBatch({
    parts,
    msLeft,
    now: Date.now,
    fields: { rules: headerRulesOf(api).response },
    // The handler is the operator's own code: the answer's largest size is bound enough.
    mayKeep: () => true,
    owner: record?.owner?.user,
    pause(ms) {
      throttleWaited(record, ms);
      return sleep(ms, undefined, signal === undefined ? {} : { signal });
    },
    async send(body, claims) {
      if (claims !== undefined) token = await obtainToken({ claims });
      const { accessToken } = token;
      const ours = { token: accessToken, correlationId: options.correlationId, contentLength: undefined };
      const headers = downstreamRequestHeaders(fieldsOf({ json: parts }), ours);
      const target: Target = { api, origin: base.origin, path: joinBase(base, "/$batch") };
      return openAnswer(
        options.transport,
        { target, method: "POST", headers, body, record },
        { timeoutMs: msLeft(), idleTimeoutMs: api.idleTimeoutMs, signal },
      );
    },
  });
}

function bodyOf({ json, body }: DownstreamRequestOptions): Readable | Uint8Array | undefined {
  if (json !== undefined) return Buffer.from(JSON.stringify(json));
  return typeof body === "string" ? Buffer.from(body) : body;
}

function fieldsOf({ headers = {}, json }: DownstreamRequestOptions): string[] {
  const fields: Record<string, string> = { accept: "application/json" };
  if (json !== undefined) fields["content-type"] = "application/json";
  for (const [name, value] of Object.entries(headers)) fields[name.toLowerCase()] = value;
  return Object.entries(fields).flat();
}

function takeChallenge({ status, headers, body, isElsewhere }: Answer): string | undefined {
  if (isElsewhere) return undefined;
  try {
    const claims = challengeOf(status, headers["www-authenticate"]);
    if (claims !== undefined) body.destroy();
    return claims;
  } catch (error) {
    body.destroy();
    throw error;
  }
}

function challenged(claims: string): GatewayError {
  return new GatewayError("claims_challenged", {
    detail: "The downstream API asks for a new sign-in.",
    reason: "downstream_challenge",
    claims,
  });
}

function anyOf(...signals: readonly (AbortSignal | undefined)[]): AbortSignal | undefined {
  const given = signals.filter((signal) => signal !== undefined);
  return given.length > 1 ? AbortSignal.any(given) : given[0];
}
