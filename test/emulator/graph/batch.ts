/** `POST /$batch`: up to twenty requests in one. */

import { isObject } from "../jws.ts";
import { type GraphAnswer, type GraphCall, GraphProblem, readJson } from "./answer.ts";

const MAX_PARTS = 20;

interface Part {
  readonly id: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: unknown;
  readonly dependsOn: readonly string[];
}

export interface PartAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/**
 * The whole is 200 even when parts fail; a part that depends on a failed one is 424. Parts come back in reverse,
 * because clients must not rely on an order.
 */
export async function batchAnswer(
  call: GraphCall,
  answerPart: (part: GraphCall) => Promise<PartAnswer>,
): Promise<GraphAnswer> {
  const parts = readParts(await readJson(call.body));
  const statuses = new Map<string, number>();
  const responses: object[] = [];
  for (const part of parts) {
    const blocked = part.dependsOn.some((id) => (statuses.get(id) ?? 424) >= 400);
    const answer: PartAnswer = blocked
      ? {
          status: 424,
          headers: {},
          body: { error: { code: "FailedDependency", message: "A dependency failed." } },
        }
      : await answerPart(partCall(call, part));
    statuses.set(part.id, answer.status);
    responses.unshift({ id: part.id, ...answer });
  }
  return { status: 200, body: { responses } };
}

function readParts(request: unknown): Part[] {
  const given = isObject(request) ? request.requests : undefined;
  if (!Array.isArray(given) || given.length === 0) throw bad("The 'requests' property is missing or empty.");
  if (given.length > MAX_PARTS) throw bad(`The maximum number of requests is ${MAX_PARTS}.`);
  const parts = given.map(readPart);
  if (new Set(parts.map(({ id }) => id.toLowerCase())).size !== parts.length)
    throw bad("Request ids must be unique.");
  return parts;
}

function readPart(value: unknown): Part {
  if (!isObject(value) || typeof value.id !== "string" || typeof value.url !== "string") {
    throw bad("A request needs 'id', 'method' and 'url'.");
  }
  if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(value.url))
    throw bad("The 'url' must be relative to the version root.");
  const headers = isObject(value.headers) ? value.headers : {};
  if (
    value.body !== undefined &&
    !Object.keys(headers).some((name) => name.toLowerCase() === "content-type")
  ) {
    throw bad("A request with a body needs a content type.");
  }
  return {
    id: value.id,
    method: String(value.method ?? "GET").toUpperCase(),
    url: value.url.startsWith("/") ? value.url : `/${value.url}`,
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, text]) => [name.toLowerCase(), String(text)]),
    ),
    body: value.body,
    dependsOn: Array.isArray(value.dependsOn) ? value.dependsOn.map(String) : [],
  };
}

function partCall(outer: GraphCall, part: Part): GraphCall {
  const [path = "/", query = ""] = part.url.split("?");
  const text =
    typeof part.body === "string" ? Buffer.from(part.body, "base64url") : JSON.stringify(part.body);
  return {
    ...outer,
    method: part.method,
    path,
    query: new URLSearchParams(query),
    headers: part.headers,
    body: once(part.body === undefined ? Buffer.alloc(0) : Buffer.from(text)),
  };
}

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content;
}

function bad(message: string): GraphProblem {
  return new GraphProblem(400, "BadRequest", message);
}
