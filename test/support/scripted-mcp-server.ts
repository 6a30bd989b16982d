/** A server that answers whatever a test says, and remembers what reached it. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ReceivedMessage {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export interface ScriptedMcpServer {
  readonly url: string;
  readonly received: ReceivedMessage[];
  /** Answers from now on. Default: an empty result. */
  answer(script: (received: ReceivedMessage, response: ServerResponse) => void): void;
  close(): void;
}

const DEFAULT = (_received: ReceivedMessage, response: ServerResponse) =>
  void response
    .writeHead(200, { "content-type": "application/json" })
    .end('{"jsonrpc":"2.0","id":1,"result":{}}');

export async function startScriptedMcpServer(): Promise<ScriptedMcpServer> {
  const received: ReceivedMessage[] = [];
  let script: (received: ReceivedMessage, response: ServerResponse) => void = DEFAULT;
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    const { method = "", url = "", headers } = request;
    const message = { method, path: url, headers, body };
    received.push(message);
    script(message, response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    received,
    answer(next) {
      script = next;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
