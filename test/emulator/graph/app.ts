/** The connection's side of Graph: authenticates, records, answers, streams. */

import { createHash, randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import express, { type Express, type Request, type Response } from "express";
import { GRAPH_ORIGINS } from "../entra/clouds.ts";
import type { FaultInjection } from "../faults.ts";
import { type Draft, type Recorder, sha256Hex } from "../request-log.ts";
import type { GraphRequest } from "../request-record.ts";
import { type GraphAnswer, type GraphCall, GraphProblem, graphErrorBody, readAll } from "./answer.ts";
import { batchAnswer, type PartAnswer } from "./batch.ts";
import type { GraphChallenges } from "./challenges.ts";
import type { createTokenCheck, DelegatedCaller } from "./delegated-token.ts";
import type { Files } from "./files.ts";
import type { Uploads } from "./uploads.ts";

const ROOT = /^\/(?:v1\.0|beta)(?=\/)/;

interface Ids {
  readonly requestId: string;
  readonly clientRequestId: string;
}

export function createGraphApp(parts: {
  readonly origin: string;
  readonly checkToken: ReturnType<typeof createTokenCheck>;
  readonly challenges: GraphChallenges;
  readonly resources: (call: GraphCall) => Promise<GraphAnswer>;
  readonly files: Files;
  readonly uploads: Uploads;
  readonly recorder: Recorder;
  readonly faults: FaultInjection;
  readonly now: () => number;
}): Express {
  const { origin, checkToken, challenges, resources, files, uploads, recorder, faults, now } = parts;

  const answer = async (request: Request, draft: Draft<GraphRequest>): Promise<GraphAnswer> => {
    const followed = files.followed(request.path, request.get("authorization"));
    if (followed !== undefined) return followed;
    const { method, path, headers } = request;
    const continued = await uploads.continued({ method, path, headers, body: metered(request, draft) });
    if (continued !== undefined) return continued;
    const caller = checkToken(request.get("authorization"));
    draft.userObjectId = caller.user.objectId;
    draft.tenantId = caller.user.tenantId;
    draft.scopes = caller.scopes;
    challenges.check(caller);
    if (!ROOT.test(request.path)) throw new GraphProblem(404, "Request_ResourceNotFound", "Invalid version.");
    const call: GraphCall = {
      method: request.method,
      path: request.path.replace(ROOT, ""),
      query: new URLSearchParams(draft.query),
      headers: request.headers,
      origin: GRAPH_ORIGINS.find((known) => known === `https://${request.get("host")}`) ?? origin,
      user: caller.user,
      scopes: caller.scopes,
      body: metered(request, draft),
    };
    if (call.path === "/$batch" && call.method === "POST") {
      return batchAnswer(call, (part) => answerPart(part, caller));
    }
    challenges.checkCall(caller, call.path);
    return resources(call);
  };

  const answerPart = async (call: GraphCall, caller: DelegatedCaller): Promise<PartAnswer> => {
    const draft = describe(call.method, call.path, call.query.toString(), call.headers, now());
    draft.batched = true;
    draft.userObjectId = call.user.objectId;
    draft.tenantId = call.user.tenantId;
    draft.scopes = call.scopes;
    recorder.enter(draft);
    const answered = async () => {
      challenges.checkCall(caller, call.path);
      return resources(call);
    };
    const { status, headers = {}, body } = await answered().catch((error) => problemAnswer(error));
    draft.status = status;
    if (body === undefined) return { status, headers };
    const json = !(body instanceof Readable || body instanceof Buffer);
    if (json) return { status, headers: { ...headers, "Content-Type": "application/json" }, body };
    const bytes = body instanceof Readable ? await readAll(body) : body;
    return { status, headers, body: bytes.toString("base64") };
  };

  const problemAnswer = (
    error: unknown,
    ids: Ids = { requestId: randomUUID(), clientRequestId: randomUUID() },
  ) => {
    if (!(error instanceof GraphProblem)) throw error;
    return {
      status: error.status,
      headers: error.headers,
      body: graphErrorBody(error, { ...ids, at: now() }),
    };
  };

  const handle = async (request: Request, response: Response, draft: Draft<GraphRequest>) => {
    const requestId = randomUUID();
    const clientRequestId = request.get("client-request-id") ?? requestId;
    const {
      status,
      headers = {},
      body,
    } = await answer(request, draft).catch((error: unknown) =>
      problemAnswer(error, { requestId, clientRequestId }),
    );
    // What a resource left unread; an early answer must not make the client's upload fail.
    for await (const chunk of metered(request, draft)) void chunk;
    response.status(status).set({
      "request-id": requestId,
      "client-request-id": clientRequestId,
      "x-ms-ags-diagnostic":
        '{"ServerInfo":{"DataCenter":"Emulator","Slice":"E","Ring":"1","RoleInstance":"EMU00000001"}}',
      "Cache-Control": "no-cache",
      // Not for localhost: a browser would apply it to the plain-HTTP pages of every port.
      ...(isProductionHost(request) ? { "Strict-Transport-Security": "max-age=31536000" } : {}),
      ...headers,
    });
    if (body instanceof Readable) await pipeline(body, response);
    else if (body instanceof Buffer) response.set("Content-Length", String(body.length)).end(body);
    else if (body === undefined) response.end();
    else sendJson(response, body);
  };

  const app = express().disable("x-powered-by").disable("etag");
  app.use((request, response, next) => {
    const [path = "", query = ""] = request.originalUrl.split("?");
    const draft = describe(request.method, path, query, request.headers, now());
    draft.headerNames = request.rawHeaders.filter((_, index) => index % 2 === 0);
    recorder.arrived(draft, response);
    faults.meets("graph")(request, response, () => {
      handle(request, response, draft).catch((error: unknown) => {
        // A client that leaves in the middle is part of the game; the record says so.
        if (request.socket.destroyed) response.destroy();
        else next(error);
      });
    });
  });
  return app;
}

function isProductionHost(request: Request): boolean {
  return GRAPH_ORIGINS.includes(`https://${request.get("host")}`);
}

/** Reads the body once, for the resource or for the rest of it, and notes its size and digest. */
async function* metered(request: IncomingMessage, draft: Draft<GraphRequest>): AsyncGenerator<Buffer> {
  if (request.readableEnded) return;
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    yield chunk;
  }
  draft.body = { bytes, sha256: hash.digest("hex") };
}

function sendJson(response: Response, body: object): void {
  response.type(
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8",
  );
  response.end(JSON.stringify(body));
}

function describe(
  method: string,
  path: string,
  query: string,
  headers: IncomingMessage["headers"],
  at: number,
): Draft<GraphRequest> {
  const shown = Object.entries(headers).map(([name, value]) => {
    const text = [value].flat().join(", ");
    return [name, name === "authorization" ? `sha256:${sha256Hex(text.replace(/^bearer /i, ""))}` : text];
  });
  return {
    endpoint: "graph",
    at,
    status: 0,
    faulted: false,
    aborted: false,
    method,
    path,
    query,
    headers: Object.fromEntries(shown),
    headerNames: [],
    userObjectId: undefined,
    tenantId: undefined,
    scopes: [],
    body: { bytes: 0, sha256: sha256Hex("") },
    batched: false,
  };
}
