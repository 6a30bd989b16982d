/** Answers as a test lists them, to scripts of any origin, and repeats what it was sent. */

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text as textOf } from "node:stream/consumers";

/** One answer of a case, in the order of its requests. The last one repeats. */
export interface ScriptedAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Never ends: what was written so far has to be read without the rest. */
  readonly open?: boolean;
  /** Not before so many requests of the case are here. */
  readonly together?: number;
}

export interface SeenRequest {
  readonly method: string;
  readonly authorization: string | undefined;
  readonly body: string;
  readonly field: string | undefined;
}

interface Case {
  readonly answers: ScriptedAnswer[];
  readonly seen: SeenRequest[];
  readonly waiting: (() => void)[];
}

/** `PUT /script/<case>` lists the answers of `/case/<case>`, `GET /seen/<case>` what came. */
export async function startScriptedGateway() {
  const cases = new Map<string, Case>();
  const server = createServer(async (request, response) => {
    const [, kind = "", name = ""] = (request.url ?? "").split(/[/?]/);
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-expose-headers", "www-authenticate, retry-after, x-correlation-id");
    if (request.method === "OPTIONS") {
      const headers = { "access-control-allow-headers": "authorization, x-field, content-type" };
      response.writeHead(204, { ...headers, "access-control-allow-methods": "GET, HEAD, POST, PUT" }).end();
      return;
    }
    const body = await textOf(request);
    if (kind === "") {
      response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>page</title>");
      return;
    }
    if (kind === "script") {
      cases.set(name, { answers: JSON.parse(body), seen: [], waiting: [] });
      response.writeHead(204).end();
      return;
    }
    const scripted = cases.get(name);
    if (scripted === undefined) return void response.writeHead(404).end();
    if (kind === "seen") {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(scripted.seen));
      return;
    }
    const { seen, answers, waiting } = scripted;
    const { authorization, "x-field": field } = request.headers;
    seen.push({ method: request.method ?? "", authorization, body, field: field as string | undefined });
    const answer = answers[Math.min(seen.length, answers.length) - 1] ?? { status: 500 };
    if (answer.together !== undefined && seen.length < answer.together) {
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else for (const go of waiting.splice(0)) go();
    response.writeHead(answer.status, answer.headers);
    if (answer.open) response.write(answer.body ?? "");
    else response.end(request.method === "HEAD" ? undefined : answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
