/** The measure of streaming: what a capable engineer writes in a dozen lines. Both bodies stream, nothing is checked. */

import { createServer } from "node:http";
import { Pool } from "undici";
import { announce, settings } from "./peers/peer.ts";

const pool = new Pool(settings().apiUrl);

const server = createServer((request, response) => {
  pool
    .stream(
      {
        path: request.url ?? "/",
        method: request.method as "GET",
        headers: { "x-bytes": String(request.headers["x-bytes"]) },
        body: request.method === "GET" ? null : request,
      },
      ({ statusCode }) => response.writeHead(statusCode),
    )
    .catch(() => response.destroy());
});
announce(server);
