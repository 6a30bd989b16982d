/** The measure of all others: node:http and undici.stream, no authentication, no routing, no log. */

import { createServer } from "node:http";
import { Pool } from "undici";
import { announce, settings } from "./peer.ts";

const { apiUrl } = settings();
const pool = new Pool(apiUrl, { connections: 1024 });

const server = createServer((incoming, outgoing) => {
  pool
    .stream({ method: "GET", path: "/me", opaque: outgoing }, ({ statusCode, headers, opaque }) =>
      (opaque as typeof outgoing).writeHead(statusCode, headers as Record<string, string>),
    )
    .catch(() => outgoing.destroy());
  incoming.resume();
});
announce(server);
