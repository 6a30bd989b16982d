/** One contender of the downstream scenario, in a process of its own so that its memory can be told apart. */

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { Pool } from "undici";
import { compileTarget } from "../../src/downstream/downstream-api.ts";
import { createForward } from "../../src/downstream/forward.ts";
import { createTransport } from "../../src/downstream/transport.ts";
import { Secret } from "../../src/secret.ts";

const SAMPLE_MS = 10;
const [contender = "", apiPort = ""] = process.argv.slice(2);
const origin = `http://127.0.0.1:${apiPort}`;

/** What a capable engineer writes in a dozen lines: both bodies stream, nothing is checked. */
function bare(): http.RequestListener {
  const pool = new Pool(origin);
  return (request, response) => {
    const { "x-bytes": bytes } = request.headers;
    pool
      .stream(
        {
          path: request.url ?? "/",
          method: request.method as "GET",
          headers: { "x-bytes": String(bytes) },
          body: request.method === "GET" ? null : request,
        },
        ({ statusCode }) => response.writeHead(statusCode),
      )
      .catch(() => response.destroy());
  };
}

function gateway(): http.RequestListener {
  const api = {
    name: "graph",
    baseUrl: origin,
    scopes: [],
    timeoutMs: 30_000,
    idleTimeoutMs: 30_000,
    maxRequestBytes: 2 ** 40,
    allowPrivateNetwork: true,
  };
  const forward = createForward({ transport: createTransport({ apis: [api] }) });
  const target = compileTarget(api, { path: "/graph", methods: ["GET", "PUT"], allow: ["/**"] });
  const token = new Secret("token");
  return (incoming, outgoing) => {
    const request = { incoming, outgoing, token, correlationId: "bench" };
    forward({ ...request, target: target(incoming.method ?? "", incoming.url ?? "") }).catch(() =>
      outgoing.destroy(),
    );
  };
}

const server = http.createServer(contender === "bare" ? bare() : gateway());
server.listen(0, "127.0.0.1");
await once(server, "listening");

let peak = 0;
let sampling: NodeJS.Timeout | undefined;
process.on("message", (command) => {
  const { rss } = process.memoryUsage();
  if (command === "start") {
    peak = rss;
    sampling = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
    }, SAMPLE_MS);
    process.send?.({ rss });
    return;
  }
  clearInterval(sampling);
  process.send?.({ rss: Math.max(peak, rss) });
});
process.send?.({ port: (server.address() as AddressInfo).port });
