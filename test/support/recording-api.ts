/** A downstream API that remembers which requests reached it, and takes its time over bodies either way. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface RecordingApi {
  readonly url: string;
  /** The paths asked for, each of which a test uses once. */
  readonly seen: ReadonlySet<string>;
  close(): void;
}

/** Pieces of a slow body, and the pause after each, ms. */
const PIECES = 10;
const PAUSE_MS = 20;

/** What a GET of a path is answered with. One below `/me/slow` comes in pieces. */
export function bodyOf(path: string): string {
  return path.startsWith("/me/slow") ? `${path};`.repeat(PIECES) : path;
}

export async function startRecordingApi(): Promise<RecordingApi> {
  const seen = new Set<string>();
  const server = createServer(async (request, response) => {
    const { url = "" } = request;
    seen.add(url);
    if (request.method === "PUT") response.end(await lengthOf(request));
    else if (url.startsWith("/me/slow")) await answerSlowly(url, response);
    else response.end(bodyOf(url));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** The body of a PUT, at the pace of a caller with a slow line. */
export async function* slowBody(): AsyncGenerator<string> {
  for (let piece = 0; piece < PIECES; piece++) {
    yield "x".repeat(1_000);
    await sleep(PAUSE_MS);
  }
}

/** What a PUT of `slowBody` is answered with. */
export const SLOW_BODY_LENGTH = String(PIECES * 1_000);

async function lengthOf(request: IncomingMessage): Promise<string> {
  let length = 0;
  for await (const chunk of request) length += chunk.length;
  return String(length);
}

async function answerSlowly(url: string, response: ServerResponse): Promise<void> {
  for (let piece = 0; piece < PIECES; piece++) {
    response.write(`${url};`);
    await sleep(PAUSE_MS);
  }
  response.end();
}
